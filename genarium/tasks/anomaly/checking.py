"""Many pictures at once: verdicts, the box of the hottest region in each, overlays, a sheet, and tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image
import PIL.ImageDraw

from genarium.files import write_text
from genarium.media.pictures import heat_map
from genarium.tasks.anomaly.calibration import Judge

if TYPE_CHECKING:
    from genarium.tasks.anomaly.results import PictureScores

HOT = 0.5  # of the way from the map's least value to its greatest: what lies above is the hot region
TILE = 160  # pixels of the side of a picture on the sheet
COLUMNS = 8
MAX_TILES = 400  # of a sheet: the strangest
COLOURS = {"strange": (217, 119, 6), "ordinary": (13, 148, 136)}
FIELDS = ("name", "score", "percentile", "verdict", "left", "top", "right", "bottom")

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class Checked:
    """One picture and what was found.

    Args:
        name: of the file.
        score: higher is stranger.
        percentile: per cent of ordinary pictures that score lower; None where none are known.
        verdict: "strange", "ordinary", or None where no threshold is known.
        box: of the hottest region, (left, top, right, bottom) in pixels of the picture as it was given, the right and the
            bottom excluded; None where the model gives no map.
    """

    name: str
    score: float
    percentile: float | None
    verdict: str | None
    box: Box | None

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "box": None if self.box is None else list(self.box)}


def checked(
    names: Sequence[str], sizes: Sequence[tuple[int, int]], results: Iterable[PictureScores], judge: Judge
) -> list[Checked]:
    """Return what was found of pictures, in their order.

    Args:
        names: of the files.
        sizes: (width, height) of the pictures as they were given.
        results: of the anomaly task, which hold the pictures in their order.
        judge: gives the verdicts.
    """
    found: list[Checked] = []
    for result in results:
        for i, score in enumerate(map(float, result.scores)):
            box = None
            if result.maps is not None:
                box = hottest_box(result.maps[i], sizes[len(found)])
            percentile = judge.percentile(score)
            rounded = None if percentile is None else round(percentile, 2)
            found.append(Checked(names[len(found)], score, rounded, judge.verdict(score), box))
    return found


def strangest_first(rows: Iterable[Checked]) -> list[Checked]:
    """Return what was found, sorted."""
    return sorted(rows, key=lambda row: (-row.score, row.name))


# ---- places: from the model's square back to the picture as it was given ----


def fitted_area(size: tuple[int, int], side: int) -> Box:
    """Return where in the model's square of `side` pixels a picture of a size lies, as `fit_picture` puts it there."""
    scale = side / max(size)
    width, height = (max(1, round(length * scale)) for length in size)
    left, top = (side - width) // 2, (side - height) // 2
    return left, top, left + width, top + height


def cropped(map_: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the part of a map [S, S] that lies on the picture of this size."""
    left, top, right, bottom = fitted_area(size, map_.shape[0])
    return map_[top:bottom, left:right]


def hottest_box(map_: np.ndarray, size: tuple[int, int]) -> Box:
    """Return the box of the hot region around the hottest pixel, in pixels of the picture as it was given.

    Args:
        map_: float [S, S], higher is stranger.
        size: (width, height) of the picture.
    """
    from scipy import ndimage  # here, so that the command line starts quickly

    part = cropped(map_, size)
    low, high = float(part.min()), float(part.max())
    regions, _ = ndimage.label(part >= low + HOT * (high - low))
    rows, columns = np.nonzero(regions == regions[np.unravel_index(part.argmax(), part.shape)])
    across, down = size[0] / part.shape[1], size[1] / part.shape[0]
    return (
        int(columns.min() * across),
        int(rows.min() * down),
        min(size[0], int(np.ceil((columns.max() + 1) * across))),
        min(size[1], int(np.ceil((rows.max() + 1) * down))),
    )


def overlay(picture: PIL.Image.Image, map_: np.ndarray, high: float, box: Box | None = None) -> PIL.Image.Image:
    """Draw a heat map over a picture at the picture's own resolution, and the box of the hottest region.

    Args:
        picture: as it was given.
        map_: float [S, S] >= 0, of the model's square.
        high: the value that is shown in full colour.
        box: in pixels of the picture.
    """
    part = PIL.Image.fromarray(np.ascontiguousarray(cropped(map_, picture.size), np.float32))
    large = np.asarray(part.resize(picture.size, PIL.Image.Resampling.BICUBIC))
    drawn = heat_map(np.maximum(large, 0), picture, high)
    if box is not None:
        _draw_box(drawn, box, max(1, round(max(picture.size) / 160)))
    return drawn


def _draw_box(picture: PIL.Image.Image, box: Box, width: int) -> None:
    left, top, right, bottom = box
    pen = PIL.ImageDraw.Draw(picture)
    pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=COLOURS["strange"], width=width)


# ---- what is written ----


def sheet(rows: Sequence[Checked], pictures: Mapping[str, PIL.Image.Image]) -> PIL.Image.Image:
    """Draw pictures as a sheet, the strangest first: rank and score below each, a frame in the colour of its verdict.

    Args:
        rows: in the order of the sheet; the first MAX_TILES are drawn.
        pictures: of the rows, by name.
    """
    rows = rows[:MAX_TILES]
    columns = min(COLUMNS, max(1, len(rows)))
    height, gap = TILE + 20, 8
    size = (columns * (TILE + gap) + gap, -(-len(rows) // columns) * (height + gap) + gap)
    page = PIL.Image.new("RGB", size, "white")
    pen = PIL.ImageDraw.Draw(page)
    for i, row in enumerate(rows):
        left, top = gap + i % columns * (TILE + gap), gap + i // columns * (height + gap)
        picture = pictures[row.name].convert("RGB")
        small = max(picture.size) < TILE
        how = PIL.Image.Resampling.NEAREST if small else PIL.Image.Resampling.LANCZOS
        scale = TILE / max(picture.size)
        fitted = picture.resize([max(1, round(length * scale)) for length in picture.size], how)
        if row.box is not None and row.verdict == "strange":
            _draw_box(fitted, tuple(round(edge * scale) for edge in row.box), 2)  # type: ignore[arg-type]
        page.paste(fitted, (left + (TILE - fitted.width) // 2, top + (TILE - fitted.height) // 2))
        colour = COLOURS.get(row.verdict or "", (120, 120, 120))
        pen.rectangle((left - 2, top - 2, left + TILE + 1, top + TILE + 1), outline=colour, width=2)
        pen.text((left, top + TILE + 5), f"{i + 1}.  {row.score:.4g}  {row.verdict or ''}", fill=colour)
    return page


def to_csv(rows: Iterable[Checked], header: bool = True) -> str:
    """Return a table with the columns of FIELDS, one row for each picture. A name that a spreadsheet would run is quoted.

    Args:
        rows: in the order of the table.
        header: whether the names of the columns come first.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    if header:
        table.writerow(FIELDS)
    for row in rows:
        name = f"'{row.name}" if row.name[:1] in "=+-@\t\r" else row.name
        box = row.box or ("", "", "", "")
        percentile = "" if row.percentile is None else row.percentile
        table.writerow([name, f"{row.score:.6g}", percentile, row.verdict or "", *box])
    return text.getvalue()


def write_csv(path: Path, rows: Iterable[Checked]) -> None:
    """Write `to_csv` whole."""
    write_text(path, to_csv(rows))


def summary(rows: Sequence[Checked], judge: Judge) -> dict[str, Any]:
    """Return how many pictures got which verdict, and by which threshold."""
    strange = sum(row.verdict == "strange" for row in rows)
    return {"pictures": len(rows), "strange": strange, "threshold": judge.threshold}
