"""Styles on a plane, as an SVG: those that a model knows, and those of this run among them."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np

from genarium.tasks.swap_style.results import StyleMap
from genarium.ui.texts import TaskTexts

WIDTH, HEIGHT, MARGIN = 640, 360, 44
NAMED = 12  # known styles whose names are written beside them; of more, the names come on hover
LETTER, LINE = 7.0, 14.0  # room that a name takes: for each letter and in height, in the style sheet's type
DOT, MARK = 6, 12  # half the room of a known style's point, and of a mark
SIDES = (  # of a point: anchor of the name, and where from the point
    ("middle", 0, 18),
    ("middle", 0, -10),
    ("start", 10, 4),
    ("end", -10, 4),
)
MARKS = {  # a shape for each part of a run, about its point; the style sheet gives each a colour
    "content": "M-7,-7h14v14h-14z",
    "style": "M0,-9l9,16h-18z",
    "result": "M-11,0a11,11 0 1,0 22,0a11,11 0 1,0 -22,0",  # a ring, since it often lies on the style
}

Side = tuple[str, int, int]
Box = tuple[float, float, float, float]  # left, top, right, bottom


def map_html(style_map: StyleMap | None, texts: TaskTexts) -> str:
    """Return the map with a legend and an explanation in both languages; "" where there is no map."""
    if style_map is None or not np.isfinite(style_map.points).all():
        return ""
    places = _places(style_map.points)
    known, given = places[: len(style_map.names)], places[len(style_map.names) :]
    sides: Sequence[Side | None] = _sides(style_map.names, known, given) if len(known) <= NAMED else [None] * len(known)
    marks = [_known(name, x, y, side) for name, (x, y), side in zip(style_map.names, known, sides, strict=True)]
    marks += [_mark(part, x, y) for part, (x, y) in zip(style_map.parts, given, strict=True)]
    legend = "".join(
        f'<span><svg viewBox="-13 -13 26 26" width="18" height="18">{_mark(part)}</svg>{texts.both(f"map_{part}")}</span>'
        for part in style_map.parts
    )
    return (
        f'<figure class="style-map"><svg viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(marks)}</svg>'
        f'<div class="legend">{legend}</div><figcaption class="note">{texts.both("style_map")}</figcaption></figure>'
    )


def _places(points: np.ndarray) -> np.ndarray:
    """Scale points [N, 2] to places in the picture, alike along both axes, so that distances can be compared."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.array([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN])
    scale = (room / np.maximum(high - low, 1e-9)).min()
    return np.array([WIDTH, HEIGHT]) / 2 + (points - (low + high) / 2) * scale * [1, -1]


def _sides(names: Sequence[str], known: np.ndarray, given: np.ndarray) -> list[Side | None]:
    """Choose for each name the side of its point on which it covers neither a mark nor a name, or None."""
    taken = [(x - r, y - r, x + r, y + r) for points, r in ((known, DOT), (given, MARK)) for x, y in points]
    found = []
    for name, (x, y) in zip(names, known, strict=True):
        boxes = {side: _box(name, x, y, side) for side in SIDES}
        free = (side for side, box in boxes.items() if _inside(box) and not any(_overlap(box, b) for b in taken))
        found.append(next(free, None))
        if found[-1] is not None:
            taken.append(boxes[found[-1]])
    return found


def _box(name: str, x: float, y: float, side: Side) -> Box:
    """Return the room of a name on a side of its point."""
    anchor, dx, dy = side
    width = LETTER * len(name)
    left = x + dx - {"start": 0, "middle": width / 2, "end": width}[anchor]
    return left, y + dy + 2 - LINE, left + width, y + dy + 2


def _inside(box: Box) -> bool:
    left, top, right, bottom = box
    return left >= 0 and top >= 0 and right <= WIDTH and bottom <= HEIGHT


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def _known(name: str, x: float, y: float, side: Side | None) -> str:
    name, text = html.escape(name), ""
    if side is not None:
        anchor, dx, dy = side
        text = f'<text x="{x + dx:.1f}" y="{y + dy:.1f}" text-anchor="{anchor}">{name}</text>'
    return f'<g class="known"><circle cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{name}</title></circle>{text}</g>'


def _mark(part: str, x: float = 0.0, y: float = 0.0) -> str:
    return f'<path class="{part}" d="{MARKS[part]}" transform="translate({x:.1f},{y:.1f})"/>'
