"""What several models say about the same pictures: a consensus, and how far they rank the pictures alike."""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.tasks.compare.running import Row

MOST_DISPUTED = 3  # pictures that are named
THRESHOLD = 95.0  # per cent: one ordinary picture in twenty is called strange, as on the anomaly tab


@dataclass(frozen=True)
class Consensus:
    """What the models say about one picture.

    Args:
        strange: names of the checkpoints that call it strange.
        ordinary: names of those that do not.
        unknown: names of those without quantiles of ordinary pictures, which cannot say.
    """

    strange: tuple[str, ...]
    ordinary: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """ "strange", "ordinary", "divided" where neither has two thirds, or "unknown" where nobody can say."""
        known = len(self.strange) + len(self.ordinary)
        if not known:
            return "unknown"
        share = len(self.strange) / known
        return "strange" if share >= 2 / 3 else "ordinary" if share <= 1 / 3 else "divided"


def consensus(rows: Sequence[Row], picture: int, threshold: float = THRESHOLD) -> Consensus:
    """Return what the models say about one picture.

    Args:
        rows: of a comparison of anomaly scores.
        picture: its number.
        threshold: per cent of ordinary pictures that score lower than a strange one.
    """
    percentiles = {row.checkpoint.name: row.cells[picture].figures.get("percentile") for row in rows}
    return Consensus(
        strange=tuple(name for name, value in percentiles.items() if value is not None and value >= threshold),
        ordinary=tuple(name for name, value in percentiles.items() if value is not None and value < threshold),
        unknown=tuple(name for name, value in percentiles.items() if value is None),
    )


def rank_agreement(rows: Sequence[Row]) -> np.ndarray:
    """Return Spearman's rank correlation of the scores of each pair of models: float [rows, rows]; NaN for equal scores.

    Args:
        rows: of a comparison of anomaly scores, each of the same pictures, two or more.
    """
    pandas = importlib.import_module("pandas")  # Gradio brings it; its types are in another package

    scores = pandas.DataFrame([[cell.figures["score"] for cell in row.cells] for row in rows]).T
    return scores.corr(method="spearman").to_numpy()


def disagreement(rows: Sequence[Row]) -> list[float]:
    """Return the range of the models' percentiles for each picture, in per cent: how far they disagree about it.

    Args:
        rows: of a comparison of anomaly scores, each of the same pictures.
    """
    spread = []
    for i in range(len(rows[0].cells)):
        known = [row.cells[i].figures["percentile"] for row in rows if "percentile" in row.cells[i].figures]
        spread.append(max(known) - min(known) if known else 0.0)
    return spread


def most_disputed(rows: Sequence[Row]) -> list[tuple[int, float]]:
    """Return the pictures about which the models disagree most, at most MOST_DISPUTED: number from 0, range of percentiles."""
    spans = [(i, span) for i, span in enumerate(disagreement(rows)) if span > 0]
    return sorted(spans, key=lambda one: -one[1])[:MOST_DISPUTED]


def together(rows: Sequence[Row]) -> dict[str, Any]:
    """Return what the models say together, as plain values.

    Args:
        rows: of a comparison of anomaly scores, each of the same pictures.

    Returns:
        "consensus" for each picture; "spearman", a matrix in the order of the rows, None for equal scores; "most_disputed",
        pictures by their number from 1 with the range of their percentiles.
    """
    found = [consensus(rows, i) for i in range(len(rows[0].cells))]
    ranks = rank_agreement(rows).tolist() if len(found) > 1 else []
    return {
        "consensus": [
            {"verdict": one.verdict, "strange": list(one.strange), "ordinary": list(one.ordinary)} for one in found
        ],
        "spearman": [[None if math.isnan(value) else value for value in line] for line in ranks],
        "most_disputed": [{"picture": i + 1, "span": span} for i, span in most_disputed(rows)],
    }
