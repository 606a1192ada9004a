"""Results as files that a visitor can take along: exact PNGs and WAVs that remember their request, and moving pictures."""

from __future__ import annotations

import base64
import contextlib
import io
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
from gradio.context import LocalContext
from gradio.processing_utils import hash_bytes
from gradio.utils import get_upload_folder

from genarium.files import file_errors, write_file
from genarium.media.pictures import enlarge, save_picture
from genarium.media.sounds import save_sound
from genarium.runtime import Request, Result
from genarium.ui.readers import VISITS
from genarium.ui.storage import STORAGE

FRAME_MILLISECONDS = 120
END_MILLISECONDS = 700  # the two ends of an animation are shown longer


def keep(data: bytes, name: str) -> str:
    """Keep a file in Gradio's cache under a name by its content, so that no visitor overwrites another's.

    Two visitors with the same result share one file. It is replaced whole: one may be downloading it while the other's is written.
    """
    return _kept(data, name, lambda path: write_file(path, lambda place: place.write_bytes(data)))


def _kept(data: bytes, name: str, put: Callable[[Path], object]) -> str:
    """Let `put` bring a file to its place in Gradio's cache, and return the place."""
    folder = Path(get_upload_folder()).resolve()
    path = folder / hash_bytes(data) / Path(name).name
    with file_errors(folder.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        put(path)
    STORAGE.add(_owner(), path)
    return str(path)


@contextlib.contextmanager
def _beside_cache() -> Iterator[Path]:
    """Return a folder for as long as the block runs, from which files can be moved into Gradio's cache."""
    cache = Path(get_upload_folder()).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        yield Path(folder)


def _moved(path: Path) -> str:
    """Move a file into Gradio's cache, which is as good as to write it there whole."""
    return _kept(path.read_bytes(), path.name, path.replace)


def _owner() -> str:
    """Return to whom the files of this event count: to the page that shows them, or to the program that asked for them."""
    request: Any = LocalContext.request.get(None)
    if request is None:
        return "nobody"
    session = str(getattr(request, "session_hash", ""))  # a call of a page's script has none
    if VISITS.open(session):
        return f"visit {session}"
    return f"client {request.client.host if request.client else 'unknown'}"


def keep_file(write: Callable[[Path], Path], name: str) -> str:
    """Return the path of a file in Gradio's cache.

    Args:
        write: writes it to a path with this name, and returns the path.
    """
    with _beside_cache() as folder:
        return _moved(write(folder / name))


def keep_picture(picture: PIL.Image.Image, name: str, request: Request) -> str:
    """Keep a picture as a PNG at the model's own resolution, with its request in the metadata."""
    return keep_file(lambda path: save_picture(picture, path, request.to_dict()), name)


def keep_shown(picture: PIL.Image.Image) -> str:
    """Keep a picture that a component shows beside a result. Gradio's own way writes into a file that others may be reading."""
    data = io.BytesIO()
    picture.save(data, format="PNG")
    return keep(data.getvalue(), "image.png")


def keep_results(result: Result) -> list[str]:
    """Return the files of a result; their names say checkpoint, task, seed and place."""
    with _beside_cache() as folder:
        return [_moved(path) for path in result.write(folder)]


def keep_sound(samples: np.ndarray, rate: int, name: str, request: Request | None = None) -> str:
    """Keep a sound as a WAV file. Its metadata say that it was synthesised, and how, if there is a request."""
    asked = None if request is None else request.to_dict()
    return keep_file(lambda path: save_sound(samples, rate, path, asked), name)


def keep_animation(frames: Sequence[PIL.Image.Image], name: str) -> str:
    """Keep pictures as an animation that runs forward and back without end.

    Args:
        frames: of one size.
        name: of the file; its ending says the format, lossless WebP, or GIF with 256 colours.
    """
    large = [enlarge(frame, 320).convert("RGB") for frame in frames]
    loop = [*large, *large[-2:0:-1]]
    durations = [FRAME_MILLISECONDS] * len(loop)
    durations[0] = durations[len(large) - 1] = END_MILLISECONDS
    data = io.BytesIO()
    options: dict[str, Any] = {"append_images": loop[1:], "duration": durations, "loop": 0, "lossless": True}
    loop[0].save(data, format=Path(name).suffix[1:].upper(), save_all=True, **options)
    return keep(data.getvalue(), name)


def data_url(picture: PIL.Image.Image) -> str:
    """Return a picture inside HTML: a preview needs no file and no further request."""
    data = io.BytesIO()
    picture.save(data, format="PNG")
    return "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()


def columns(number: int) -> int:
    """Return the number of columns of a sheet of pictures: near a square, with a full last row if possible."""
    side = min(8, max(4, math.ceil(number**0.5)))
    full = [count for count in range(8, 3, -1) if number % count == 0]
    return min(full or [side], key=lambda count: abs(count - side)) if number > 3 else number


def tiles(pictures: Sequence[PIL.Image.Image]) -> str:
    """Return pictures as an HTML sheet, laid out like the gallery that follows it."""
    images = "".join(f'<img src="{data_url(p)}" alt="">' for p in pictures)
    few = " few" if len(pictures) < 4 else ""
    return f'<div class="tiles{few}" style="--columns:{columns(len(pictures))}">{images}</div>'
