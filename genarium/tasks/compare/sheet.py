"""A comparison as files: one PNG sheet that remembers it, and a .zip of all pictures with their figures as JSON."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from genarium.media.pictures import enlarge, save_picture
from genarium.runtime.program import how_to_install
from genarium.tasks.compare.agreement import together
from genarium.tasks.compare.comparison import MAX_COLUMNS
from genarium.tasks.compare.running import Compared, Row

SIDE = 112  # pixels of a picture, about
GAP, NAMES, HEAD = 8, 230, 30  # pixels between pictures, for the names on the left, for the titles above
INK, PALE, PAPER = "#18181b", "#71717a", "white"


def draw_sheet(compared: Compared) -> PIL.Image.Image:
    """Draw the comparison as a table, at most MAX_COLUMNS wide: the checkpoints' names on the left, the columns' titles above."""
    columns = min(MAX_COLUMNS, max(len(row.cells) for row in compared.rows))
    sizes = [max(enlarge(cell.picture, SIDE).size) for row in compared.rows for cell in row.cells]
    side = max(sizes) + GAP
    sheet = PIL.Image.new("RGB", (NAMES + columns * side, HEAD + len(compared.rows) * side), PAPER)
    pen = PIL.ImageDraw.Draw(sheet)
    large, small = PIL.ImageFont.load_default(14), PIL.ImageFont.load_default(12)
    corner = _fitting(pen, compared.comparison.corner, small, NAMES - 16)
    pen.text((NAMES - 8 - pen.textlength(corner, small), HEAD - 20), corner, PALE, small)
    for i, title in enumerate(compared.titles[:columns]):
        pen.text((NAMES + i * side, HEAD - 20), _fitting(pen, title, small, side - GAP), INK, small)
    for y, row in enumerate(compared.rows):
        top = HEAD + y * side
        pen.text((8, top + 6), _fitting(pen, row.checkpoint.stem, large, NAMES - 16), INK, large)
        pen.text((8, top + 28), cost_in_words(row), PALE, small)
        for x, cell in enumerate(row.cells[:columns]):
            place = (NAMES + x * side, top)
            sheet.paste(enlarge(cell.picture, SIDE).convert("RGB"), place)
            if words := figures_in_words(cell.figures):
                box = pen.textbbox((place[0] + 3, place[1] + 3), words, small)
                pen.rectangle((box[0] - 3, box[1] - 3, box[2] + 3, box[3] + 3), fill=PAPER)
                pen.text((place[0] + 3, place[1] + 3), words, INK, small)
    return sheet


def _fitting(pen: PIL.ImageDraw.ImageDraw, text: str, font: Any, width: int) -> str:
    """Return the text, cut where it is too wide."""
    while text and pen.textlength(text, font) > width:
        text = text[:-2] + "…" if len(text) > 2 else ""
    return text


def cost_in_words(row: Row) -> str:
    """Return the seconds of a row, and its network evaluations for each sample where they are counted."""
    cost = f"{row.seconds:.2f} s"
    return f"{cost}, {row.evaluations:.4g} evaluations" if row.evaluations else cost


def figures_in_words(figures: Any) -> str:
    """Return the figures of a picture, short."""
    if "psnr" in figures:
        return f"{figures['psnr']:.1f} dB, {figures['ssim']:.2f}"
    if "percentile" in figures:
        return f"{figures['percentile']:.1f} %"
    return f"{figures['score']:.3g}" if "score" in figures else ""


def save_sheet(compared: Compared, path: Path) -> Path:
    """Write the sheet as a PNG with the comparison in its metadata.

    Raises:
        FileError: it cannot be written.
    """
    return save_picture(draw_sheet(compared), path, {"comparison": compared.comparison.to_dict()})


def report(compared: Compared) -> dict[str, Any]:
    """Return the comparison and what came of it, as plain values; of anomaly scores also what the models say together."""
    judged = {"together": together(compared.rows)} if compared.comparison.task == "anomaly" else {}
    return {
        "comparison": compared.comparison.to_dict(),
        "columns": list(compared.titles),
        "seconds": compared.seconds,
        "rows": [
            {
                "checkpoint": row.checkpoint.name,
                "seconds": row.seconds,
                "network_evaluations": row.evaluations,
                "figures": [dict(cell.figures) for cell in row.cells],
            }
            for row in compared.rows
        ],
        **judged,
    }


def zip_of(compared: Compared) -> bytes:
    """Return a .zip of all pictures, a folder for each checkpoint, with the sheet and `comparison.json`.

    Each picture has the request that made it in its metadata.
    """
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        archive.writestr("comparison.json", json.dumps(report(compared), indent=2))
        archive.write(save_sheet(compared, folder / "sheet.png"), "sheet.png")
        for row in compared.rows:
            for i, cell in enumerate(row.cells):
                picture = save_picture(cell.picture, folder / "picture.png", cell.request.to_dict())
                archive.write(picture, f"{row.checkpoint.stem}/{i:02d}.png")
    return data.getvalue()


def to_python(compared: Compared) -> str:
    """Return the program that makes the same comparison wherever this package is installed."""
    comparison = compared.comparison
    needs = {"generate": "", "interpolate": '"a.png", "b.png"'}.get(comparison.task, '"picture.png"')
    values = {name: value for name, value in comparison.to_dict().items() if value not in ((), {}, "")}
    arguments = "\n".join(f"    {name}={value!r}," for name, value in values.items())
    return (
        f"{how_to_install()}\n"
        "from pathlib import Path\n\n"
        "from genarium.runtime import Runtime\n"
        "from genarium.tasks.compare.comparison import Comparison\n"
        "from genarium.tasks.compare.running import compare\n"
        "from genarium.tasks.compare.sheet import save_sheet\n\n"
        f"comparison = Comparison(\n{arguments}\n)\n"
        + ("# your pictures, saved beside this program under these names\n" if needs else "")
        + f"compared = compare(Runtime(), comparison, [{needs}])\n"
        'save_sheet(compared, Path("comparison.png"))\n'
    )
