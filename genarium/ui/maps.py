"""Styles on a plane, as an SVG: those that a model knows, and those of this run among them."""

from __future__ import annotations

import html

import numpy as np

from genarium.runtime import StyleMap
from genarium.ui.texts import Texts

WIDTH, HEIGHT, MARGIN = 640, 360, 44
NAMED = 12  # known styles whose names are written beside them; of more, the names come on hover
MARKS = {  # a shape for each part of a run, about its point; the style sheet gives each a colour
    "content": "M-7,-7h14v14h-14z",
    "style": "M0,-9l9,16h-18z",
    "result": "M-8,0a8,8 0 1,0 16,0a8,8 0 1,0 -16,0",
}


def map_html(style_map: StyleMap | None) -> str:
    """The map with what it shows in words, in both languages; nothing where there is none."""
    if style_map is None or not np.isfinite(style_map.points).all():
        return ""
    places = _places(style_map.points)
    known, given = places[: len(style_map.names)], places[len(style_map.names) :]
    marks = [_known(name, *place, len(known) <= NAMED) for name, place in zip(style_map.names, known)]
    marks += [_mark(part, x, y) for part, (x, y) in zip(style_map.parts, given, strict=True)]
    legend = "".join(
        f'<span><svg viewBox="-10 -10 20 20" width="14" height="14">{_mark(part)}</svg>{Texts.both(f"map_{part}")}</span>'
        for part in style_map.parts
    )
    return (
        f'<figure class="style-map"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(marks)}</svg>'
        f'<div class="legend">{legend}</div><figcaption class="note">{Texts.both("style_map")}</figcaption></figure>'
    )


def _places(points: np.ndarray) -> np.ndarray:
    """[N, 2] -> places in the picture, the same scale along both directions, so that distances can be compared."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.array([WIDTH - 2 * MARGIN, HEIGHT - 2 * MARGIN])
    scale = (room / np.maximum(high - low, 1e-9)).min()
    return np.array([WIDTH, HEIGHT]) / 2 + (points - (low + high) / 2) * scale * [1, -1]


def _known(name: str, x: float, y: float, written: bool) -> str:
    name = html.escape(name)
    text = f'<text x="{x:.1f}" y="{y + 18:.1f}">{name}</text>' if written else ""
    return f'<g class="known"><circle cx="{x:.1f}" cy="{y:.1f}" r="5"><title>{name}</title></circle>{text}</g>'


def _mark(part: str, x: float = 0.0, y: float = 0.0) -> str:
    return f'<path class="{part}" d="{MARKS[part]}" transform="translate({x:.1f},{y:.1f})"/>'
