"""What a threshold does: false alarms, recall, precision and cost, with confidence intervals.

    a picture is called strange if its score s > t
    false alarms  a(t) = P(s > t | ordinary)        recall  r(t) = P(s > t | strange)
    precision     p(t) = q r / (q r + (1 - q) a)    q: share of strange pictures among those to come
    cost of a picture   c(t) = (1 - q) A a(t) + q M (1 - r(t))    A, M: cost of a false alarm and of a miss

The intervals hold 95 per cent. That of the false alarms is exact (Clopper and Pearson), because resampling no false alarm gives
no interval. The others are percentiles of a bootstrap over the ordinary and the strange pictures.

Papers:
    Clopper, Pearson: The Use of Confidence or Fiducial Limits Illustrated in the Case of the Binomial, 1934,
        https://doi.org/10.1093/biomet/26.4.404
    Efron: Bootstrap Methods: Another Look at the Jackknife, 1979, https://doi.org/10.1214/aos/1176344552
    Elkan: The Foundations of Cost-Sensitive Learning, 2001, https://dl.acm.org/doi/10.5555/1642194.1642224
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from genarium.errors import InputError

RESAMPLES = 1000
LEVEL = 0.95


@dataclass(frozen=True)
class Estimate:
    """A number with its confidence interval."""

    value: float
    low: float
    high: float

    def times(self, factor: float) -> Estimate:
        return Estimate(self.value * factor, self.low * factor, self.high * factor)


@dataclass(frozen=True)
class Costs:
    """What decides which threshold is best.

    Args:
        false_alarm: cost of an ordinary picture that is called strange.
        miss: cost of a strange picture that is called ordinary.
        share: of strange pictures among those to come, between 0 and 1.

    Raises:
        InputError: a cost that is not positive, or a share that is not between 0 and 1.
    """

    false_alarm: float = 1.0
    miss: float = 10.0
    share: float = 0.01

    def __post_init__(self) -> None:
        if not (0 < self.false_alarm < np.inf and 0 < self.miss < np.inf):
            raise InputError("The costs of a false alarm and of a miss must be positive numbers.")
        if not 0 < self.share < 1:
            raise InputError("The share of strange pictures must lie between 0 and 1, such as 0.01.")


def false_alarms(normal: np.ndarray, threshold: float) -> Estimate:
    """Return the share of ordinary pictures that are called strange.

    Args:
        normal: scores of ordinary pictures, float [N].
        threshold: t.

    Raises:
        InputError: no scores.
    """
    from scipy.stats import binomtest  # here, so that the command line starts quickly

    if not len(normal):
        raise InputError("There are no scores of ordinary pictures.")
    found = binomtest(int((normal > threshold).sum()), len(normal))
    interval = found.proportion_ci(LEVEL, "exact")
    return Estimate(found.statistic, float(interval.low), float(interval.high))


def recall(strange: np.ndarray, threshold: float) -> Estimate:
    """Return the share of strange pictures that are called so, given their scores, float [N]."""
    return _bootstrap(lambda one: float((one[0] > threshold).mean()), strange)


def precision(normal: np.ndarray, strange: np.ndarray, threshold: float, share: float) -> Estimate:
    """Return the share of strange pictures among those that will be called strange; 1 where none will.

    Args:
        normal, strange: scores, float [N] and [M].
        threshold: t.
        share: q, of strange pictures among those to come.
    """

    def value(drawn: tuple[np.ndarray, ...]) -> float:
        alarms = (1 - share) * float((drawn[0] > threshold).mean())
        hits = share * float((drawn[1] > threshold).mean())
        return hits / (hits + alarms) if hits + alarms > 0 else 1.0

    return _bootstrap(value, normal, strange)


def expected_cost(normal: np.ndarray, strange: np.ndarray, threshold: float, costs: Costs) -> Estimate:
    """Return the mean cost of a picture."""

    def value(drawn: tuple[np.ndarray, ...]) -> float:
        return float(_costs_at(drawn[0], drawn[1], np.array([threshold]), costs)[0])

    return _bootstrap(value, normal, strange)


def best_threshold(normal: np.ndarray, strange: np.ndarray, costs: Costs) -> Estimate:
    """Return the threshold with the least expected cost.

    Between two neighbouring scores the cost does not change. So the threshold is the middle of the gap; below all scores, or
    above all, it lies as far out as the least or the greatest score is from its neighbour.

    Raises:
        InputError: scores of one kind are missing.
    """
    if not len(normal) or not len(strange):
        raise InputError("The best threshold needs scores of ordinary and of strange pictures.")
    return _bootstrap(lambda drawn: _least(drawn[0], drawn[1], costs), normal, strange)


def _least(normal: np.ndarray, strange: np.ndarray, costs: Costs) -> float:
    candidates = _gaps(np.concatenate([normal, strange]))
    return float(candidates[_costs_at(normal, strange, candidates, costs).argmin()])


def _gaps(scores: np.ndarray) -> np.ndarray:
    """Return a threshold in each gap between scores, one below and one above all of them."""
    known = np.unique(scores)
    if len(known) == 1:
        return np.array([known[0] - 1e-6, known[0] + 1e-6])
    middles = (known[1:] + known[:-1]) / 2
    return np.concatenate([[2 * known[0] - middles[0]], middles, [2 * known[-1] - middles[-1]]])


def _costs_at(normal: np.ndarray, strange: np.ndarray, thresholds: np.ndarray, costs: Costs) -> np.ndarray:
    alarms = 1 - np.searchsorted(np.sort(normal), thresholds, side="right") / len(normal)
    misses = np.searchsorted(np.sort(strange), thresholds, side="right") / len(strange)
    return (1 - costs.share) * costs.false_alarm * alarms + costs.share * costs.miss * misses


def _bootstrap(value: Callable[[tuple[np.ndarray, ...]], float], *samples: np.ndarray) -> Estimate:
    """Return a statistic of samples with its interval: each resample draws as many scores of each, with replacement."""
    random = np.random.default_rng(0)
    drawn = [value(tuple(random.choice(one, len(one)) for one in samples)) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value(samples), float(low), float(high))
