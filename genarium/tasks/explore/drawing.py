"""How codes are drawn as pictures: the map with its legend, and sheets of what lies in a plane."""

from __future__ import annotations

from collections.abc import Sequence

import PIL.Image
import PIL.ImageDraw

from genarium.media.pictures import grid
from genarium.tasks.explore.mapping import CodeMap

# Ten hues that can be distinguished on white and on black, also by most who see fewer colours.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6bb1", "#7f7f7f", "#b5a100", "#e34a6f")


def colour_of(label: int) -> str:
    return COLOURS[label % len(COLOURS)] if label >= 0 else COLOURS[7]


def tight(pictures: Sequence[PIL.Image.Image], columns: int) -> PIL.Image.Image:
    """Return pictures edge to edge, as places of a plane; blanks fill the last row."""
    blank = pictures[0].point(lambda _: 255)
    return grid([*pictures, *[blank] * (-len(pictures) % columns)], columns, gap=0)


def map_picture(code_map: CodeMap, side: int = 900) -> PIL.Image.Image:
    """Return the map with its legend as a picture, for files."""
    scale = 2  # drawn twice as large and shrunk: round dots
    size = side * scale
    names = [(i, name) for i, name in enumerate(code_map.names) if (code_map.labels == i).any()]
    rows = -(-len(names) // 5)
    picture = PIL.Image.new("RGB", (size, size + rows * 30 * scale), "white")
    draw = PIL.ImageDraw.Draw(picture)
    for (x, y), label in zip(code_map.places() * size, code_map.labels, strict=True):
        if 0 <= x <= size and 0 <= y <= size:
            draw.ellipse((x - 7, y - 7, x + 7, y + 7), fill=colour_of(int(label)))
    for k, (i, name) in enumerate(names):
        x, y = k % 5 * size / 5 + 16, size + (k // 5) * 30 * scale + 12
        draw.ellipse((x, y + 8, x + 20, y + 28), fill=colour_of(i))
        draw.text((x + 30, y), name[:22], fill="black", font_size=26)
    return picture.resize((side, picture.height // scale), PIL.Image.Resampling.LANCZOS)
