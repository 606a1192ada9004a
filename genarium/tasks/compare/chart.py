"""The chart of measured figures as SVG: a named point for each checkpoint, on logarithmic axes."""

from __future__ import annotations

import html
import math
import statistics
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from genarium.tasks.compare.bundled import Point

WIDTH, HEIGHT = 760, 430  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 16, 40
COLOURS = 8  # of families; the style sheet names them
DOT = 6  # radius of a point
LATIN, CHINESE, LINE = 6.1, 12.0, 13.0  # about the width of a letter, and the height of a line


def chart_html(found: Sequence[Point], axis: str, title: str, link: str) -> str:
    """Return the chart as SVG: Fréchet distance against one of AXES, a point for each checkpoint, the floor as a line.

    Both axes are logarithmic. Each point is a link, and says its figures when the pointer rests on it. Its name stands beside
    it where there is room, or at the end of a line. The colours come from the style sheet, so that they suit both schemes.

    Args:
        found: points of one data set; those that lack the axis are left out.
        axis: one of AXES.
        title: of the axis, as HTML text inside SVG.
        link: of a point, a format string over {name}.
    """
    shown = sorted((p for p in found if getattr(p, axis)), key=lambda p: getattr(p, axis))
    if not shown:
        return ""
    floors = [p.of_real for p in shown if p.of_real]
    floor = statistics.median(floors) if floors else None  # those who had fewer samples have a higher one
    across = _Scale([getattr(p, axis) for p in shown], LEFT, WIDTH - RIGHT)
    upward = _Scale([*(p.frechet for p in shown), *([floor] if floor else [])], HEIGHT - BOTTOM, TOP)
    families = {family: i % COLOURS for i, family in enumerate(sorted({p.family for p in found}))}
    parts = [
        f'<line class="axis" x1="{LEFT}" y1="{HEIGHT - BOTTOM}" x2="{WIDTH - RIGHT}" y2="{HEIGHT - BOTTOM}"/>',
        f'<line class="axis" x1="{LEFT}" y1="{TOP}" x2="{LEFT}" y2="{HEIGHT - BOTTOM}"/>',
        f'<text class="title" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 6}" text-anchor="middle">{title}</text>',
    ]
    for value in across.ticks():
        x = across(value)
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{value:g}</text>')
    for value in upward.ticks():
        y = upward(value)
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    if floor:
        y = upward(floor)
        parts.append(f'<line class="floor" x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}"/>')
    places = [(across(getattr(p, axis)), upward(p.frechet)) for p in shown]
    taken = [_Box(x - DOT - 1, y - DOT - 1, x + DOT + 1, y + DOT + 1) for x, y in places]
    points, lines = [], []
    for p, (x, y) in zip(shown, places, strict=True):
        name = in_svg(*(html.escape(p.title[language]) for language in ("en", "zh")))
        words = f"{html.escape(p.name)}: {p.frechet:.0f}; {getattr(p, axis):.3g}"
        box = _place(x, y, max(LATIN * len(p.title["en"]), CHINESE * len(p.title["zh"])), taken)
        end = box.right < x
        edge, middle = (box.right if end else box.left), (box.top + box.bottom) / 2
        if abs(middle - y) > LINE or abs(edge - x) > 3 * DOT:
            lines.append(f'<line class="lead" x1="{x:.1f}" y1="{y:.1f}" x2="{edge:.1f}" y2="{middle:.1f}"/>')
        points.append(
            f'<a href="{html.escape(link.format(name=p.name))}" class="hue-{families[p.family]}">'
            f'<title>{words}</title><circle cx="{x:.1f}" cy="{y:.1f}" r="{DOT}"/>'
            f'<text x="{edge:.1f}" y="{middle + 4:.1f}" text-anchor="{"end" if end else "start"}">{name}</text></a>'
        )
    drawing = "".join([*parts, *lines, *points])
    return f'<div class="chart-frame"><svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}">{drawing}</svg></div>'


def in_svg(english: str, chinese: str) -> str:
    """Return markup inside an SVG in both languages, of which the page shows one."""
    return f'<tspan class="in-en">{english}</tspan><tspan class="in-zh">{chinese}</tspan>'


class _Box(NamedTuple):
    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: _Box) -> bool:
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


def _place(x: float, y: float, width: float, taken: list[_Box]) -> _Box:
    """Return the place of a name that is nearest to its point and covers nothing, and take it."""
    inside = [
        b for b in _boxes(x, y, width) if b.left > LEFT and b.right < WIDTH and b.top > 0 and b.bottom < HEIGHT - BOTTOM
    ]
    box = next((b for b in inside if not any(b.meets(other) for other in taken)), None) or next(iter(inside), None)
    box = box or next(_boxes(x, y, width))
    taken.append(box)
    return box


def _boxes(x: float, y: float, width: float) -> Iterator[_Box]:
    """Yield places for a name on both sides of a point, the nearest first."""
    shifts = [(gap, LINE / 2 * step) for gap in (DOT + 4, 24, 48, 80) for step in range(-18, 19)]
    for gap, down in sorted(shifts, key=lambda shift: math.hypot(*shift)):
        for left in (x + gap, x - gap - width):
            yield _Box(left, y + down - LINE / 2, left + width, y + down + LINE / 2)


class _Scale:
    """A logarithmic axis from the least to the greatest value, with some room at both ends."""

    def __init__(self, values: Sequence[float], start: float, end: float):
        low, high = math.log10(min(values)), math.log10(max(values))
        room = max(0.06, 0.08 * (high - low))
        self.low, self.high, self.start, self.end = low - room, high + room, start, end

    def __call__(self, value: float) -> float:
        share = (math.log10(value) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Return round values on the axis: 1, 2 and 5 times the powers of ten."""
        powers = range(math.floor(self.low), math.ceil(self.high) + 1)
        candidates = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
        return [value for value in candidates if self.low <= math.log10(value) <= self.high]
