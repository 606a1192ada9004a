"""Forward processes of score-based models, and what one denoiser says about any of them.

Every process here adds Gaussian noise by a linear SDE

    dx = f(t) x dt + g(t) dw,      p(x(t) | x_0) = N(s(t) x_0, s(t)^2 sigma(t)^2 I)      Karras et al. 2022 eq. 10-14
    s(t) = exp int f,              sigma(t)^2 = int g^2 / s^2

so y = x / s is x_0 + W(sigma^2), a Brownian motion run on the clock sigma^2. VE, VP, sub-VP and EDM therefore differ
only in the clock sigma(t), in the scale s(t) and in where they end. On the noise levels that two of them share, they
are the same process, exactly, with the same denoiser D(y; sigma), reverse SDE and probability-flow paths. What does
differ is what a solver makes of them in finitely many steps.

    process   f(t)            g(t)^2                               s(t)          sigma(t)
    "ve"      0               sigma^2 2 log(sigma_max/sigma_min)   1             sigma_min (sigma_max/sigma_min)^t
    "vp"      -beta(t) / 2    beta(t)                              exp(-B/2)     sqrt(e^B - 1)
    "sub-vp"  -beta(t) / 2    beta(t) (1 - e^-2B)                  exp(-B/2)     2 sinh(B/2)
    "edm"     0               2 t                                  1             t

    beta(t) = beta_min + t (beta_max - beta_min),  B(t) = int_0^t beta           Song et al. 2021 eq. 30-33, app. C

NCSN (Song and Ermon 2019) is "ve" at L equally spaced times, whose noise levels are a geometric sequence; DDPM is "vp"
at 1000 (Song et al. 2021 app. B). "ve" begins at sigma_min rather than at 0, in Song et al. as well.

Papers:
    Song, Ermon: Generative Modeling by Estimating Gradients of the Data Distribution, 2019, https://arxiv.org/abs/1907.05600
    Song et al.: Score-Based Generative Modeling through Stochastic Differential Equations, 2021,
        https://arxiv.org/abs/2011.13456
    Karras et al.: Elucidating the Design Space of Diffusion-Based Generative Models, 2022, https://arxiv.org/abs/2206.00364
    Salimans, Ho: Progressive Distillation for Fast Sampling of Diffusion Models, 2022, https://arxiv.org/abs/2202.00512
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import numpy as np
import torch


def per_sample(value: float | torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Return a number, or one for each sample, in the shape that multiplies x [N, C, H, W]."""
    return torch.as_tensor(value, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 1))


# ---- the four views of one network ----


def views(x: torch.Tensor, x0: torch.Tensor, scale: float, sigma: float | torch.Tensor) -> dict[str, torch.Tensor]:
    """Return what a denoiser's x_0 says about x = s (x_0 + sigma eps), in the terms of the literature.

    Args:
        x: [N, C, H, W], a sample at scale s and noise level sigma.
        x0: the network's E[x_0 | x], of the same shape.
        scale: s > 0.
        sigma: > 0, a number or [N].

    Returns:
        "x0"; "epsilon" = (x / s - x_0) / sigma; "score" = grad log p(x) = -epsilon / (s sigma) (Vincent 2011 eq. 9,
        Karras et al. eq. 3 and 20); "v" = (epsilon - sigma x_0) / sqrt(1 + sigma^2), which is Salimans and Ho's
        alpha epsilon - sigma_vp x_0 (app. D) with alpha = 1 / sqrt(1 + sigma^2).
    """
    sigma = per_sample(sigma, x)
    epsilon = (x / scale - x0) / sigma
    return {
        "x0": x0,
        "epsilon": epsilon,
        "score": -epsilon / (scale * sigma),
        "v": (epsilon - sigma * x0) / (1 + sigma**2).sqrt(),
    }


def x0_from_view(
    view: str, value: torch.Tensor, x: torch.Tensor, scale: float, sigma: float | torch.Tensor
) -> torch.Tensor:
    """Return x_0 from any one of the `views`: their inverse.

    Raises:
        ValueError: an unknown view.
    """
    sigma = per_sample(sigma, x)
    y = x / scale
    if view == "x0":
        return value
    if view == "epsilon":
        return y - sigma * value
    if view == "score":
        return y + scale * sigma**2 * value  # Tweedie's formula
    if view == "v":  # the rotation of (x_0, epsilon) undone: x_0 = alpha x_vp - sigma_vp v
        return (y / (1 + sigma**2).sqrt() - sigma * value) / (1 + sigma**2).sqrt()
    raise ValueError(f"view: choose 'x0', 'epsilon', 'score' or 'v', not {view!r}.")


# ---- forward processes ----


class Process(ABC):
    """A forward SDE. Times are numbers from `stop`, almost clean, to `start`, almost pure noise. It computes in float64.

    Args:
        sigma_min: noise level at `stop`, where sampling ends with one last denoising.
    """

    start = 1.0

    def __init__(self, sigma_min: float):
        self.stop = self.time(sigma_min)

    def scale(self, t: float) -> float:
        """Return s(t)."""
        return 1.0

    @abstractmethod
    def sigma(self, t: float) -> float:
        """Return the noise level of y = x / s."""

    @abstractmethod
    def time(self, sigma: float) -> float:
        """Return the time of a noise level: the inverse of `sigma`."""

    def drift(self, t: float) -> float:
        """Return f(t)."""
        return 0.0

    @abstractmethod
    def diffusion(self, t: float) -> float:
        """Return g(t)."""

    def times(self, num: int) -> list[float]:
        """Return `num` falling times, evenly spaced from `start` to `stop`."""
        return np.linspace(self.start, self.stop, num).tolist() if num > 1 else [self.start]


class VE(Process):
    """The variance-exploding process (Song et al. 2021 eq. 30), with NCSN's geometric noise levels."""

    def __init__(self, sigma_min: float, sigma_max: float):
        self.sigma_min, self.log_ratio = sigma_min, math.log(sigma_max / sigma_min)
        super().__init__(sigma_min)

    def sigma(self, t):
        return self.sigma_min * math.exp(t * self.log_ratio)

    def time(self, sigma):
        return math.log(sigma / self.sigma_min) / self.log_ratio

    def diffusion(self, t):
        return self.sigma(t) * math.sqrt(2 * self.log_ratio)


class VP(Process):
    """The variance-preserving process with linear beta (Song et al. 2021 eq. 32): DDPM in continuous time."""

    def __init__(self, sigma_min: float, beta_min: float, beta_max: float):
        self.beta_min, self.beta_max = beta_min, beta_max
        super().__init__(sigma_min)

    def beta(self, t):
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def integral(self, t):
        """Return B(t) = int_0^t beta."""
        return self.beta_min * t + (self.beta_max - self.beta_min) * t**2 / 2

    def scale(self, t):
        return math.exp(-self.integral(t) / 2)

    def sigma(self, t):
        return math.sqrt(math.expm1(self.integral(t)))

    def time(self, sigma):
        return self._time(math.log1p(sigma**2))

    def _time(self, integral):
        """Return the inverse of B: the positive root of a quadratic, in the form that does not cancel near 0."""
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + math.sqrt(self.beta_min**2 + 2 * slope * integral))

    def drift(self, t):
        return -self.beta(t) / 2

    def diffusion(self, t):
        return math.sqrt(self.beta(t))


class SubVP(VP):
    """The sub-VP process: VP's drift with a variance that stays below VP's (Song et al. 2021 eq. 28)."""

    def sigma(self, t):
        return 2 * math.sinh(self.integral(t) / 2)

    def time(self, sigma):
        return self._time(2 * math.asinh(sigma / 2))

    def diffusion(self, t):
        return math.sqrt(self.beta(t) * -math.expm1(-2 * self.integral(t)))


class EDM(Process):
    """The process of EDM, sigma(t) = t and s = 1, on which probability-flow paths are straightest (Karras et al. 2022 sec. 3)."""

    def __init__(self, sigma_min: float, sigma_max: float, rho: float):
        self.start, self.rho = sigma_max, rho
        super().__init__(sigma_min)

    def sigma(self, t):
        return t

    def time(self, sigma):
        return sigma

    def diffusion(self, t):
        return math.sqrt(2 * t)

    def times(self, num):
        """Return the times of Karras et al. 2022 eq. 5, denser towards the clean end."""
        ends = self.start ** (1 / self.rho), self.stop ** (1 / self.rho)
        return (np.linspace(*ends, num) ** self.rho).tolist() if num > 1 else [self.start]
