"""Pictures from people: open them safely, bring them into a model's form; and results that remember how they were made."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL.Image
import PIL.ImageOps
from PIL.PngImagePlugin import PngInfo

from genarium.errors import InputError
from genarium.files import write_file
from genarium.media.decoding import PICTURES, UNREADABLE_PICTURES, open_picture
from genarium.media.metadata import KEY as METADATA_KEY
from genarium.media.metadata import parse_request, read_png_text
from genarium.notices import fail, note

Invert = Literal["auto", "yes", "no"]

DIMMED = (36, 140)  # of 255: what black and white become below a heat map
HEAT = (0.15, 0.9)  # the weight of a heat map's colour where it is nothing, and where it is most


def fit_picture(
    image: PIL.Image.Image, size: int, channels: int, dark_background: bool = False, invert: Invert = "auto"
) -> PIL.Image.Image:
    """Bring a picture into a model's form: square by padding with its border's colour, `size` x `size`, L or RGB.

    Args:
        dark_background: the model's data are bright on dark (MNIST, Fashion-MNIST). With "auto", a picture whose border
            is bright is then inverted.
        invert: "yes" and "no" decide it for the user.
    """
    image = image.convert({1: "L", 3: "RGB"}[channels])
    if image.size == (size, size) and invert == "no":  # most pictures of data sets: nobody asks for the border's colour
        return image
    pixels = np.atleast_3d(np.asarray(image))
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])  # [edge, C]
    fill = np.median(border, axis=0)
    # First the size, then the padding: a picture of 30000 x 30 pixels must not become one of 30000 x 30000.
    scale = size / max(image.size)
    fitted = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    if image.size != fitted:
        image = image.resize(fitted, PIL.Image.Resampling.LANCZOS)
    if fitted != (size, size):
        colour = tuple(int(v) for v in fill) if channels == 3 else int(fill[0])
        canvas = PIL.Image.new(image.mode, (size, size), colour)
        canvas.paste(image, ((size - image.width) // 2, (size - image.height) // 2))
        image = canvas
    if invert == "yes" or (invert == "auto" and dark_background and fill.mean() > 127):
        image = PIL.ImageOps.invert(image)
    return image


def to_pictures(pixels: np.ndarray) -> list[PIL.Image.Image]:
    """Convert uint8 [N, H, W, C] to N pictures, L or RGB."""
    return [PIL.Image.fromarray(p[:, :, 0] if p.shape[-1] == 1 else p) for p in pixels]


def to_pixels(pictures: Iterable[PIL.Image.Image]) -> np.ndarray:
    """Convert pictures of one size to uint8 [N, H, W, C]."""
    return np.stack([np.atleast_3d(np.asarray(p)) for p in pictures])


def enlarge(image: PIL.Image.Image, side: int = 224) -> PIL.Image.Image:
    """Enlarge a picture by a whole number to about `side` pixels, by nearest neighbour, so that it stays crisp."""
    factor = max(1, round(side / max(image.size)))
    return image.resize((image.width * factor, image.height * factor), PIL.Image.Resampling.NEAREST)


def grid(pictures: list[PIL.Image.Image], columns: int | None = None, gap: int = 2) -> PIL.Image.Image:
    """Draw pictures side by side, row by row."""
    columns = columns or min(len(pictures), max(1, round(len(pictures) ** 0.5)))
    rows = -(-len(pictures) // columns)
    width, height = pictures[0].size
    sheet = PIL.Image.new(pictures[0].mode, (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for i, picture in enumerate(pictures):
        sheet.paste(picture, (i % columns * (width + gap), i // columns * (height + gap)))
    return sheet


def cut(sheet: PIL.Image.Image, size: int, gap: int = 2) -> list[list[PIL.Image.Image]]:
    """Cut a sheet that `grid` drew, and `enlarge` may have enlarged, into rows of its pictures.

    Args:
        sheet: of square pictures.
        size: of a picture in pixels, before it was enlarged.
        gap: between pictures, before they were enlarged.

    Returns:
        Rows of pictures, `size` x `size`; none if the sheet cannot have been drawn so.
    """
    for factor in range(max(sheet.size) // size, 0, -1):
        across, down = (side / factor + gap for side in sheet.size)
        if across % (size + gap) == 0 and down % (size + gap) == 0:
            break
    else:
        return []
    small = sheet.resize((round(across) - gap, round(down) - gap), PIL.Image.Resampling.NEAREST)
    places = range(0, small.width, size + gap)
    return [[small.crop((x, y, x + size, y + size)) for x in places] for y in range(0, small.height, size + gap)]


def inferno(share: np.ndarray) -> np.ndarray:
    """Return the colours of numbers in [0, 1] in matplotlib's map "inferno", dark violet to yellow, float [..., 3] in [0, 255]."""
    stops = np.array([[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]], np.float64)
    return np.stack([np.interp(share, np.linspace(0, 1, len(stops)), stops[:, c]) for c in range(3)], axis=-1)


def in_inferno(share: np.ndarray) -> PIL.Image.Image:
    """Draw numbers [H, W] in [0, 1], each a pixel in its colour of "inferno"."""
    return PIL.Image.fromarray(inferno(share).round().astype(np.uint8))


def heat_map(map_: np.ndarray, image: PIL.Image.Image, high: float | None = None) -> PIL.Image.Image:
    """Draw a per-pixel score [H, W] >= 0 over its picture: grey is ordinary, then violet, red, and yellow, which is strange.

    The picture below is grey and dim, for yellow would not be seen on a white one.

    Args:
        high: the value shown in full colour; the map's own maximum by default.
    """
    share = np.clip(map_ / (high or max(float(map_.max()), 1e-12)), 0, 1)[..., None]
    dark, bright = DIMMED
    grey = np.asarray(image.convert("RGB").convert("L").resize(map_.shape[::-1]), np.float64)[..., None] / 255
    weight = HEAT[0] + (HEAT[1] - HEAT[0]) * share
    drawn = (1 - weight) * (dark + (bright - dark) * grey) + weight * inferno(share[..., 0])
    return PIL.Image.fromarray(drawn.round().astype(np.uint8))


def code_map(codes: np.ndarray) -> PIL.Image.Image:
    """Draw a map of codes [h, w], a pixel for each. Equal codes have equal colours, consecutive codes unlike ones."""
    golden = np.asarray(codes, np.float64) * 0.6180339887498949
    hue, saturation, value = golden % 1, 0.35 + 0.55 * (golden * 7 % 1), 0.55 + 0.45 * (golden * 31 % 1)
    bands = [PIL.Image.fromarray((band * 255).astype(np.uint8)) for band in (hue, saturation, value)]
    return PIL.Image.merge("HSV", bands).convert("RGB")


def save_picture(image: PIL.Image.Image, path: str | Path, request: dict[str, Any]) -> Path:
    """Write a PNG whose text chunk says how the picture was made.

    Raises:
        FileError: it cannot be written; the old file is whole.
    """
    info = PngInfo()
    info.add_text(METADATA_KEY, json.dumps(request, ensure_ascii=True))
    return write_file(path, lambda part: image.save(part, format="PNG", pnginfo=info))


def read_request(path: str | Path) -> dict[str, Any]:
    """Return the parameters that `save_picture` wrote into a PNG. No pixel is decoded.

    Raises:
        InputError: the file is no PNG of ours.
    """
    try:
        text = read_png_text(path)
        request = parse_request(text) if text else None
    except (OSError, ValueError) as error:
        raise InputError("This file carries no parameters that can be read; drop a PNG saved by this app.") from error
    if not isinstance(request, dict):
        raise InputError("This picture carries no parameters; drop a PNG saved by this app.")
    return request


def load_folder(source: str | Path) -> tuple[list[PIL.Image.Image], list[str]]:
    """Return pictures and their names, of a folder in order of the names, of one file, or of a uint8 .npy [N, H, W, C].

    In a folder a picture that cannot be read is reported by `notices.fail` and left out.

    Raises:
        InputError: nothing there that can be read, or an array of another kind.
    """
    source = Path(source)
    if source.suffix == ".npy":
        try:
            pixels = np.load(source, allow_pickle=False)
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise InputError(f"{source}: cannot be read as a NumPy array: {error}") from error
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[-1] not in (1, 3) or len(pixels) == 0:
            raise InputError(f"{source}: needs uint8 [N, H, W, 1 or 3], not {pixels.dtype} {list(pixels.shape)}.")
        return to_pictures(pixels), [f"{source.name}[{i}]" for i in range(len(pixels))]
    files = _chosen(source) if source.is_dir() else [source]
    pictures, names = [], []
    for file in files:
        try:
            pictures.append(open_picture(file))
            names.append(file.name)
        except InputError as error:
            if not source.is_dir():
                raise InputError(f"{file.name}: {error}") from error
            fail(file.name, str(error))
    if not pictures:
        raise InputError(f"{source}: none of its {len(files)} pictures can be read.")
    return pictures, names


def _chosen(folder: Path) -> list[Path]:
    """Return the pictures of a folder by their endings, in order of their names; name those that cannot be read.

    Hidden files, such as the "._*" that macOS leaves on other disks, are not looked at.

    Raises:
        InputError: there are none.
    """
    seen = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file())
    files = [path for path in seen if path.suffix.lower() in PICTURES]
    for path in seen:
        if path.suffix.lower() in UNREADABLE_PICTURES and path not in files:
            note(f"{path.name} is skipped: {UNREADABLE_PICTURES[path.suffix.lower()]}.")
    if not files:
        raise InputError(f"{folder}: no pictures here ({', '.join(sorted(PICTURES))}).")
    return files
