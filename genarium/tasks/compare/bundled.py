"""The measured figures of checkpoints, and a chart of them: how good, how fast, how large, how long in training."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from genarium.checkpoints import Checkpoint
from genarium.tasks.generate.figures import TIMED_IMAGES

AXES = ("seconds", "parameters", "images")  # what the Fréchet distance can be drawn against


@dataclass(frozen=True)
class Point:
    """What is known of one checkpoint.

    Args:
        name: of the checkpoint.
        family: its title.
        data: Hub id of its training data.
        frechet: Fréchet distance of its samples.
        of_real: Fréchet distance of other real pictures, the floor; None if not measured.
        seconds: for 16 pictures; None if not measured.
        parameters: in millions.
        images: that the training saw, in thousands, of all stages; None without a recipe.
    """

    name: str
    title: Mapping[str, str]
    family: str
    data: str
    frechet: float
    of_real: float | None
    seconds: float | None
    parameters: float
    images: float | None


def points(checkpoints: Mapping[str, Checkpoint]) -> list[Point]:
    """Return what was measured of the checkpoints whose samples were measured."""
    found = []
    for name, checkpoint in checkpoints.items():
        figures = figures_of(checkpoint)
        if "frechet_distance" not in figures or not checkpoint.recipe:
            continue
        each = figures.get("seconds_per_image")
        found.append(
            Point(
                name=name,
                title=checkpoint.title,
                family=checkpoint.family.title,
                data=checkpoint.recipe.data.name,
                frechet=figures["frechet_distance"],
                of_real=figures.get("frechet_distance_of_real"),
                seconds=None if each is None else TIMED_IMAGES * each,
                parameters=checkpoint.size / 2e6,  # weights are stored in two bytes each
                images=_images(checkpoint),
            )
        )
    return found


def figures_of(checkpoint: Checkpoint) -> dict[str, float]:
    """Return what was measured of a checkpoint, by the name of the figure; nothing where it was not evaluated."""
    return {metric["name"]: metric["value"] for metric in checkpoint.evaluation.get("metrics", ())}


def _images(checkpoint: Checkpoint) -> float | None:
    """Return how many pictures the training saw, in thousands; of all stages."""
    training = checkpoint.recipe.training if checkpoint.recipe else None
    if training is None:
        return None
    stages = [training.of_stage(stage) for stage in training.stages] or [training]
    return sum(stage.images or 0 for stage in stages) / 1000


# ---- the chart ----

WIDTH, HEIGHT = 640, 360  # of the drawing, in its own units
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 16, 40
COLOURS = 8  # of families; the style sheet names them


def chart_html(found: Sequence[Point], axis: str, title: str, link: str) -> str:
    """Return the chart as SVG: Fréchet distance against one of AXES, a point for each checkpoint, the floor as a line.

    Both axes are logarithmic. Each point is a link, and says its figures when the pointer rests on it. The colours come from
    the style sheet, so that they suit both schemes.

    Args:
        found: points of one data set; those that lack the axis are left out.
        axis: one of AXES.
        title: of the axis, as HTML text inside SVG.
        link: of a point, a format string over {name}.
    """
    shown = sorted((p for p in found if getattr(p, axis)), key=lambda p: getattr(p, axis))
    if not shown:
        return ""
    floor = next((p.of_real for p in shown if p.of_real), None)
    across = _Scale([getattr(p, axis) for p in shown], LEFT, WIDTH - RIGHT)
    upward = _Scale([*(p.frechet for p in shown), *([floor] if floor else [])], HEIGHT - BOTTOM, TOP)
    families = {family: i % COLOURS for i, family in enumerate(dict.fromkeys(p.family for p in shown))}
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
    lines: list[float] = []  # heights of the names so far, of points close to each other
    for p in shown:
        x, y = across(getattr(p, axis)), upward(p.frechet)
        end = x > WIDTH / 2
        name = in_svg(*(html.escape(p.title[language]) for language in ("en", "zh")))
        words = f"{html.escape(p.name)}: {p.frechet:.0f}; {getattr(p, axis):.3g}"
        label = _free(y + 4, lines)
        parts.append(
            f'<a href="{html.escape(link.format(name=p.name))}" class="hue-{families[p.family]}">'
            f'<title>{words}</title><circle cx="{x:.1f}" cy="{y:.1f}" r="6"/>'
            f'<text x="{x + (-10 if end else 10):.1f}" y="{label:.1f}" text-anchor="{"end" if end else "start"}">{name}</text></a>'
        )
    return f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}">{"".join(parts)}</svg>'


def in_svg(english: str, chinese: str) -> str:
    """Return markup inside an SVG in both languages, of which the page shows one."""
    return f'<tspan class="in-en">{english}</tspan><tspan class="in-zh">{chinese}</tspan>'


def _free(height: float, taken: list[float], room: float = 13) -> float:
    """Return the height nearest to the wanted one at which a name covers no other, and take it."""
    candidates = sorted(
        (height + sign * step * room / 2 for step in range(40) for sign in (1, -1)), key=lambda c: abs(c - height)
    )
    free = next(c for c in candidates if TOP < c < HEIGHT - BOTTOM and all(abs(c - other) >= room for other in taken))
    taken.append(free)
    return free


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
