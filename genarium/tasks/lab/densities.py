"""Densities of the plane that are known exactly, with any noise on them: log-density, score, and draws.

With noise of deviation s, a mixture of Gaussians stays one, and so does a mixture of rectangles, whose edges blur:

    p_s(x) = sum_k w_k N(x; m_k, (s_k^2 + s^2) I)
    p_s(x) = sum_k w_k prod_i (Phi((b_ki - x_i) / s) - Phi((a_ki - x_i) / s)) / (b_ki - a_ki)

The score grad log p_s is what a denoiser learns (Vincent 2011, https://doi.org/10.1162/NECO_a_00142, eq. 11).
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np

SQRT_2 = math.sqrt(2)
LOG_2PI = math.log(2 * math.pi)
LEAST = 1e-300  # below any density that float64 holds


class Density(Protocol):
    """A distribution of points of the plane."""

    def draw(self, number: int, random: np.random.Generator) -> np.ndarray:
        """Draw points, float64 [number, 2]."""

    def log_density(self, x: np.ndarray, noise: float = 0.0) -> np.ndarray:
        """Return log p_s at points [N, 2] for noise of deviation s: float64 [N], nats."""

    def score(self, x: np.ndarray, noise: float = 0.0) -> np.ndarray:
        """Return grad log p_s at points [N, 2]: float64 [N, 2]."""


class Gaussians:
    """A mixture of round Gaussians.

    Args:
        means: [K, 2].
        deviations: [K], or one for all.
        weights: [K], in any unit; None: equal ones.
    """

    def __init__(self, means: np.ndarray, deviations: np.ndarray | float, weights: np.ndarray | None = None):
        self.means = np.asarray(means, dtype=np.float64)
        self.deviations = np.broadcast_to(np.asarray(deviations, dtype=np.float64), len(self.means))
        weights = np.ones(len(self.means)) if weights is None else np.asarray(weights, dtype=np.float64)
        self.weights = weights / weights.sum()

    def draw(self, number: int, random: np.random.Generator) -> np.ndarray:
        """Draw points, float64 [number, 2]."""
        chosen = random.choice(len(self.means), number, p=self.weights)
        return self.means[chosen] + self.deviations[chosen, None] * random.standard_normal((number, 2))

    def log_density(self, x: np.ndarray, noise: float = 0.0) -> np.ndarray:
        """Return log p_s at points [N, 2] for noise of deviation s: float64 [N], nats."""
        logs = self._logs(x, noise)
        top = logs.max(1)
        return top + np.log(np.exp(logs - top[:, None]).sum(1))

    def score(self, x: np.ndarray, noise: float = 0.0) -> np.ndarray:
        """Return grad log p_s: the mean of (m_k - x) / (s_k^2 + s^2) by p(k | x). float64 [N, 2]."""
        logs = self._logs(x, noise)
        shares = np.exp(logs - logs.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)  # p(k | x)
        pulls = shares / (self.deviations**2 + noise**2)  # [N, K]
        return pulls @ self.means - pulls.sum(1, keepdims=True) * np.asarray(x, dtype=np.float64)

    def _logs(self, x: np.ndarray, noise: float) -> np.ndarray:
        """Return log w_k N(x; m_k, (s_k^2 + s^2) I), [N, K]."""
        x = np.asarray(x, dtype=np.float64)
        variance = self.deviations**2 + noise**2
        squares = (
            (x**2).sum(1, keepdims=True) - 2 * x @ self.means.T + (self.means**2).sum(1)
        )  # [N, K], in place of an array [N, K, 2]
        return np.log(self.weights) - LOG_2PI - np.log(variance) - np.maximum(squares, 0) / (2 * variance)


class Rectangles:
    """A mixture of rectangles, each filled evenly and as likely as its area is large.

    Args:
        low, high: two corners of each, [K, 2].
    """

    def __init__(self, low: np.ndarray, high: np.ndarray):
        self.low, self.high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        areas = (self.high - self.low).prod(1)
        self.weights, self.area = areas / areas.sum(), float(areas.sum())

    def draw(self, number: int, random: np.random.Generator) -> np.ndarray:
        """Draw points, float64 [number, 2]."""
        chosen = random.choice(len(self.low), number, p=self.weights)
        return self.low[chosen] + (self.high - self.low)[chosen] * random.random((number, 2))

    def log_density(self, x: np.ndarray, noise: float = 0.0) -> np.ndarray:
        """Return log p_s at points [N, 2] for noise of deviation s: float64 [N], nats; about -690 where it vanishes."""
        masses, _ = self._masses(np.asarray(x, dtype=np.float64), noise)
        return np.log(np.maximum(masses.prod(2).sum(1) / self.area, LEAST))

    def score(self, x: np.ndarray, noise: float = 0.0) -> np.ndarray:
        """Return grad log p_s, float64 [N, 2]. Without noise it is 0 everywhere but at the edges, and far away it is 0 too."""
        if noise == 0:
            return np.zeros((len(x), 2))
        masses, slopes = self._masses(np.asarray(x, dtype=np.float64), noise)
        total = masses.prod(2).sum(1)
        by_x = (slopes[..., 0] * masses[..., 1]).sum(1)
        by_y = (slopes[..., 1] * masses[..., 0]).sum(1)
        safe = np.maximum(total, LEAST)
        return np.where((total > LEAST)[:, None], np.stack([by_x, by_y], 1) / safe[:, None], 0.0)

    def _masses(self, x: np.ndarray, noise: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the mass along each axis and its derivative, two [N, K, 2]."""
        from scipy.special import ndtr

        below, above = x[:, None] - self.low, x[:, None] - self.high  # [N, K, 2]
        if noise == 0:
            return ((below >= 0) & (above < 0)).astype(np.float64), np.zeros_like(below)
        # The tails are taken on the side where they are small, so that differences far away keep their digits.
        far = below + above > 0
        masses = np.where(far, ndtr(-above / noise) - ndtr(-below / noise), ndtr(below / noise) - ndtr(above / noise))
        bells = np.exp(-0.5 * (below / noise) ** 2) - np.exp(-0.5 * (above / noise) ** 2)
        return masses, bells / (noise * math.sqrt(2 * math.pi))
