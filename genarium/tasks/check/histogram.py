"""The histogram of the scores of ordinary pictures, with those of strange ones and of this check, and the threshold as a line."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

BINS = 40
WIDTH, HEIGHT, FOOT = 640, 150, 26  # of the drawing, in units of the SVG


def scale_of(*scores: ArrayLike) -> tuple[float, float]:
    """Return the least and the greatest score to show, with a margin, so that a line can stand beyond them."""
    every = np.concatenate([np.asarray(one, np.float64) for one in scores])
    low, high = (float(every.min()), float(every.max())) if len(every) else (0.0, 1.0)
    margin = 0.05 * (high - low) or max(abs(high), 1.0) * 0.05
    return low - margin, high + margin


def histogram_svg(
    normal: np.ndarray, strange: np.ndarray, seen: Sequence[float], threshold: float, label: str, words: dict[str, str]
) -> str:
    """Return the drawing as SVG.

    Args:
        normal, strange: scores of pictures that are known to be so.
        seen: scores of the pictures of this check, drawn as marks below the axis.
        threshold: where the line stands.
        label: of the drawing, for those who do not see it.
        words: {"normal", "strange", "seen"}, for the legend, as HTML.
    """
    low, high = scale_of(normal, strange, seen, np.array([threshold]))
    edges = np.linspace(low, high, BINS + 1)
    counts = {"normal": np.histogram(normal, edges)[0], "strange": np.histogram(strange, edges)[0]}
    shares = {name: one / max(one.sum(), 1) for name, one in counts.items()}
    most = max(float(one.max()) for one in shares.values()) or 1.0
    step = WIDTH / BINS

    def across(score: float) -> float:
        return WIDTH * (score - low) / (high - low)

    bars = ""
    for name, one in shares.items():
        for i, share in enumerate(one):
            if share:
                tall = (HEIGHT - 12) * share / most
                bars += f'<rect class="{name}" x="{i * step + 0.5:.1f}" y="{HEIGHT - tall:.1f}" width="{step - 1:.1f}" height="{tall:.1f}"/>'
    marks = "".join(
        f'<line class="mark" x1="{across(s):.1f}" x2="{across(s):.1f}" y1="{HEIGHT + 2}" y2="{HEIGHT + 10}"/>'
        for s in seen
    )
    x = across(threshold)
    line = f'<line class="limit" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT + 10}"/>'
    end = "end" if x > WIDTH / 2 else "start"
    number = f'<text x="{x + (-5 if end == "end" else 5):.1f}" y="11" text-anchor="{end}">{threshold:.4g}</text>'
    ends = (
        f'<text x="0" y="{HEIGHT + FOOT - 2}">{low:.3g}</text>'
        f'<text x="{WIDTH}" y="{HEIGHT + FOOT - 2}" text-anchor="end">{high:.3g}</text>'
    )
    axis = f'<line class="axis" x1="0" x2="{WIDTH}" y1="{HEIGHT}" y2="{HEIGHT}"/>'
    legend = "".join(f'<span class="of-{name}">{text}</span>' for name, text in words.items())
    return (
        f'<figure class="scores"><svg viewBox="0 0 {WIDTH} {HEIGHT + FOOT}" role="img" aria-label="{label}">'
        f"{bars}{axis}{marks}{line}{number}{ends}</svg><figcaption>{legend}</figcaption></figure>"
    )
