"""What a threshold does, as lines of text for a terminal and as sentences for the page."""

from __future__ import annotations

from dataclasses import dataclass

from genarium.tasks.anomaly.calibration import Judge
from genarium.tasks.anomaly.decision import (
    Costs,
    Estimate,
    best_threshold,
    expected_cost,
    false_alarms,
    precision,
    recall,
)


@dataclass(frozen=True)
class Consequences:
    """What a threshold does.

    Args:
        threshold: the score above which a picture is strange.
        number_normal, number_strange: of pictures that are known.
        alarms: share of ordinary pictures that are called strange.
        alarms_per_hour: the same as a number of false alarms.
        recall, precision, cost, best: None without strange pictures. `best` is the threshold of least cost.
    """

    threshold: float
    number_normal: int
    number_strange: int
    alarms: Estimate
    alarms_per_hour: Estimate
    recall: Estimate | None = None
    precision: Estimate | None = None
    cost: Estimate | None = None
    best: Estimate | None = None


def consequences(judge: Judge, per_hour: float, costs: Costs) -> Consequences:
    """Return what the judge's threshold does.

    Args:
        judge: with a threshold.
        per_hour: pictures to come in an hour.
        costs: of errors, and the share of strange pictures among those to come.

    Raises:
        InputError: no ordinary picture is known.
    """
    normal, strange = judge.normal, judge.strange
    alarms = false_alarms(normal, judge.threshold or 0.0)
    assert judge.threshold is not None  # there are ordinary pictures
    found = Consequences(judge.threshold, len(normal), len(strange), alarms, alarms.times(per_hour * (1 - costs.share)))
    if not len(strange):
        return found
    return Consequences(
        found.threshold,
        found.number_normal,
        found.number_strange,
        found.alarms,
        found.alarms_per_hour,
        recall(strange, found.threshold),
        precision(normal, strange, found.threshold, costs.share),
        expected_cost(normal, strange, found.threshold, costs),
        best_threshold(normal, strange, costs),
    )


def report(judge: Judge, per_hour: float, costs: Costs) -> str:
    """Return what a threshold does, as lines of text."""
    found = consequences(judge, per_hour, costs)
    lines = [
        f"Threshold {found.threshold:.4g}: a picture that scores more is strange.",
        f"{found.number_normal} ordinary and {found.number_strange} strange pictures are known; intervals of 95 %.",
        f"Ordinary pictures called strange: {percent(found.alarms)}, {spread(found.alarms_per_hour)} false alarms an hour "
        f"at {per_hour:g} pictures an hour.",
    ]
    if found.recall and found.precision and found.cost and found.best:
        lines += [
            f"Strange pictures found (recall): {percent(found.recall)}.",
            f"Strange among those called so (precision), with {100 * costs.share:g} % strange: {percent(found.precision)}.",
            f"Mean cost of a picture: {spread(found.cost)}; the threshold of least cost is {spread(found.best)}.",
        ]
    return "\n".join(lines)


def percent(estimate: Estimate) -> str:
    """Return an estimate of a share in per cent, with its interval."""
    return f"{spread(estimate.times(100))} %"


def spread(estimate: Estimate) -> str:
    """Return an estimate with its interval."""
    return f"{estimate.value:.3g} ({estimate.low:.3g} to {estimate.high:.3g})"
