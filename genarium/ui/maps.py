"""Styles on a plane, as an SVG: those that a model knows, and those of this run among them."""

from __future__ import annotations

import html

import numpy as np

from genarium.runtime import StyleMap
from genarium.ui.texts import Texts, in_both

WIDTH, HEIGHT, MARGIN = 640, 360, 44
NAMED = 12  # known styles whose names are written beside them; of more, the names come on hover
LABELS = {"content": -14, "style": -14, "result": 24}  # how far below its point each is written: these two often meet


def map_html(style_map: StyleMap | None) -> str:
    """The map with what it shows in words, in both languages; nothing where there is none."""
    if style_map is None or not np.isfinite(style_map.points).all():
        return ""
    places = _places(style_map.points)
    known, given = places[: len(style_map.names)], places[len(style_map.names) :]
    marks = [_known(name, *place, len(known) <= NAMED) for name, place in zip(style_map.names, known)]
    marks += [_given(part, *place) for part, place in zip(style_map.parts, given, strict=True)]
    return (
        f'<figure class="style-map"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img">{"".join(marks)}</svg>'
        f'<figcaption class="note">{Texts.both("style_map")}</figcaption></figure>'
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


def _given(part: str, x: float, y: float) -> str:
    english, chinese = Texts.plain(f"map_{part}")
    words = in_both(english, chinese, tag="tspan")
    return (
        f'<g class="{part}"><circle cx="{x:.1f}" cy="{y:.1f}" r="8"><title>{english} · {chinese}</title></circle>'
        f'<text x="{x:.1f}" y="{y + LABELS[part]:.1f}">{words}</text></g>'
    )
