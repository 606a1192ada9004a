"""Stochastic differential equations of score-based models: processes, preconditioning, samplers, likelihood.

Every forward process here adds Gaussian noise by a linear SDE

    dx = f(t) x dt + g(t) dw,      p(x(t) | x_0) = N(s(t) x_0, s(t)^2 sigma(t)^2 I)      Karras et al. 2022 eq. 10-14
    s(t) = exp int f,              sigma(t)^2 = int g^2 / s^2

so y = x / s is x_0 + W(sigma^2), a Brownian motion run on the clock sigma^2. VE, VP, sub-VP and EDM therefore differ
only in the clock sigma(t), in the scale s(t) and in where they end: on the noise levels that two of them share, they
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

This file stands alone: with diffusers installed it needs nothing else.

Papers:
    Song, Ermon: Generative Modeling by Estimating Gradients of the Data Distribution, 2019, https://arxiv.org/abs/1907.05600
    Song, Ermon: Improved Techniques for Training Score-Based Generative Models, 2020, https://arxiv.org/abs/2006.09011
    Song et al.: Score-Based Generative Modeling through Stochastic Differential Equations, 2021,
        https://arxiv.org/abs/2011.13456
    Karras et al.: Elucidating the Design Space of Diffusion-Based Generative Models, 2022, https://arxiv.org/abs/2206.00364
    Salimans, Ho: Progressive Distillation for Fast Sampling of Diffusion Models, 2022, https://arxiv.org/abs/2202.00512
    Kingma et al.: Variational Diffusion Models, 2021, https://arxiv.org/abs/2107.00630 (low-variance noise levels)
    Dormand, Prince: A Family of Embedded Runge-Kutta Formulae, 1980
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch
from diffusers import SchedulerMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config

# denoise(y [n, C, H, W], sigma: float or [n], index: int64 [n] or None) -> D(y; sigma) = E[x_0 | y], [n, C, H, W].
# `index` says which samples of the batch these are, where a solver works on some of them only.
Denoiser = Callable[..., torch.Tensor]
Noise = Callable[[], torch.Tensor]  # a fresh standard normal draw of the batch's shape
OnStep = Callable[[int, float, torch.Tensor], None]  # (step, sigma, x_0)


def per_sample(value: float | torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """A number, or one for each sample, in the shape that multiplies x [N, C, H, W]."""
    return torch.as_tensor(value, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 1))


# ---- the four views of one network ----


def views(x: torch.Tensor, x0: torch.Tensor, scale: float, sigma: float | torch.Tensor) -> dict[str, torch.Tensor]:
    """What a denoiser's x_0 says about x = s (x_0 + sigma eps), in the terms of the literature.

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
    """The inverse of `views`: x_0 from any one of them.

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
    """A forward SDE. Times are numbers: `stop`, all but clean, up to `start`, all but noise. Computed in float64.

    Args:
        sigma_min: noise level at `stop`, where sampling ends with one last denoising.
    """

    start = 1.0

    def __init__(self, sigma_min: float):
        self.stop = self.time(sigma_min)

    def scale(self, t: float) -> float:
        """s(t)."""
        return 1.0

    @abstractmethod
    def sigma(self, t: float) -> float:
        """Noise level of y = x / s."""

    @abstractmethod
    def time(self, sigma: float) -> float:
        """The inverse of `sigma`."""

    def drift(self, t: float) -> float:
        """f(t)."""
        return 0.0

    @abstractmethod
    def diffusion(self, t: float) -> float:
        """g(t)."""

    def times(self, num: int) -> list[float]:
        """`num` falling times, evenly spaced from `start` to `stop`."""
        return np.linspace(self.start, self.stop, num).tolist() if num > 1 else [self.start]


class VE(Process):
    """Variance exploding (Song et al. 2021 eq. 30); at `num` times, NCSN's geometric noise levels."""

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
    """Variance preserving, linear beta (Song et al. 2021 eq. 32): DDPM in continuous time."""

    def __init__(self, sigma_min: float, beta_min: float, beta_max: float):
        self.beta_min, self.beta_max = beta_min, beta_max
        super().__init__(sigma_min)

    def beta(self, t):
        return self.beta_min + t * (self.beta_max - self.beta_min)

    def integral(self, t):
        """B(t) = int_0^t beta."""
        return self.beta_min * t + (self.beta_max - self.beta_min) * t**2 / 2

    def scale(self, t):
        return math.exp(-self.integral(t) / 2)

    def sigma(self, t):
        return math.sqrt(math.expm1(self.integral(t)))

    def time(self, sigma):
        return self._time(math.log1p(sigma**2))

    def _time(self, integral):
        """The inverse of B: the positive root of a quadratic, in the form that does not cancel near 0."""
        slope = self.beta_max - self.beta_min
        return 2 * integral / (self.beta_min + math.sqrt(self.beta_min**2 + 2 * slope * integral))

    def drift(self, t):
        return -self.beta(t) / 2

    def diffusion(self, t):
        return math.sqrt(self.beta(t))


class SubVP(VP):
    """Sub-VP: VP's drift with a variance that stays below VP's (Song et al. 2021 eq. 28)."""

    def sigma(self, t):
        return 2 * math.sinh(self.integral(t) / 2)

    def time(self, sigma):
        return self._time(2 * math.asinh(sigma / 2))

    def diffusion(self, t):
        return math.sqrt(self.beta(t) * -math.expm1(-2 * self.integral(t)))


class EDM(Process):
    """sigma(t) = t and s = 1, on which probability-flow paths are straightest (Karras et al. 2022 sec. 3)."""

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
        """Karras et al. 2022 eq. 5: denser towards the clean end."""
        ends = self.start ** (1 / self.rho), self.stop ** (1 / self.rho)
        return (np.linspace(*ends, num) ** self.rho).tolist() if num > 1 else [self.start]


# ---- samplers ----
# Each takes x(start) ~ N(0, s^2 sigma^2 I) and falling times of the process, and returns x_0, [N, C, H, W]. All end by
# denoising at the last time, the step that Karras et al. call the Euler step to sigma = 0 and Song et al. the mean.


def _score(process: Process, denoise: Denoiser, x: torch.Tensor, t: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(grad log p_t(x), x_0)."""
    s, sigma = process.scale(t), process.sigma(t)
    x0 = denoise(x / s, sigma)
    return (s * x0 - x) / (s * sigma) ** 2, x0


def _finish(process: Process, denoise: Denoiser, x: torch.Tensor, times: list[float], on_step: OnStep) -> torch.Tensor:
    x0 = denoise(x / process.scale(times[-1]), process.sigma(times[-1]))
    on_step(len(times) - 1, process.sigma(times[-1]), x0)
    return x0


def euler_maruyama(process, denoise, x, times, noise: Noise, on_step: OnStep) -> torch.Tensor:
    """The reverse SDE dx = (f x - g^2 score) dt + g dw (Song et al. 2021 eq. 6), by Euler and Maruyama's steps."""
    for i, (t, t_next) in enumerate(pairwise(times)):
        score, x0 = _score(process, denoise, x, t)
        f, g, step = process.drift(t), process.diffusion(t), t_next - t  # step < 0
        x = x + (f * x - g**2 * score) * step + g * math.sqrt(-step) * noise()
        on_step(i, process.sigma(t), x0)
    return _finish(process, denoise, x, times, on_step)


def _transition(process: Process, t: float, t_next: float) -> tuple[float, float]:
    """(a, b) of the forward move from t_next up to t: x(t) | x(t_next) = N(a x(t_next), b I)."""
    b = process.scale(t) ** 2 * (process.sigma(t) ** 2 - process.sigma(t_next) ** 2)
    return process.scale(t) / process.scale(t_next), b


def _reverse_diffusion_step(process, denoise, x, t, t_next, noise) -> tuple[torch.Tensor, torch.Tensor]:
    score, x0 = _score(process, denoise, x, t)
    a, b = _transition(process, t, t_next)
    return (2 - a) * x + b * score + math.sqrt(b) * noise(), x0


def reverse_diffusion(process, denoise, x, times, noise: Noise, on_step: OnStep) -> torch.Tensor:
    """The forward process' own steps, reversed: x' = (2 - a) x + b score + sqrt(b) z (Song et al. 2021 eq. 46, app. E).

    With a = 1, b = sigma_i^2 - sigma_{i-1}^2 for VE; with a = sqrt(1 - beta_i), b = beta_i for VP.
    """
    for i, (t, t_next) in enumerate(pairwise(times)):
        x, x0 = _reverse_diffusion_step(process, denoise, x, t, t_next, noise)
        on_step(i, process.sigma(t), x0)
    return _finish(process, denoise, x, times, on_step)


def ancestral(process, denoise, x, times, noise: Noise, on_step: OnStep) -> torch.Tensor:
    """Draws from q(x_{i-1} | x_i, x_0 = D): DDPM's for VP (Ho et al. 2020 eq. 7), Song et al. 2021 eq. 47 for VE."""
    for i, (t, t_next) in enumerate(pairwise(times)):
        sigma, sigma_next = process.sigma(t), process.sigma(t_next)
        y = x / process.scale(t)
        x0 = denoise(y, sigma)
        ratio = (sigma_next / sigma) ** 2
        y = x0 + ratio * (y - x0) + sigma_next * math.sqrt(1 - ratio) * noise()
        x = process.scale(t_next) * y
        on_step(i, sigma, x0)
    return _finish(process, denoise, x, times, on_step)


def predictor_corrector(
    process, denoise, x, times, noise: Noise, on_step: OnStep, num_corrector_steps: int = 1, snr: float = 0.16
) -> torch.Tensor:
    """Reverse diffusion, each step followed by Langevin steps at the level it reached (Song et al. 2021 alg. 2 to 5).

    A corrector step is x + e score + sqrt(2 e) z with e = 2 a^2 (snr |z| / |score|)^2, norms per sample: their mean over
    the batch, as in the paper's code, would let the samples of a batch depend on each other.
    """
    for i, (t, t_next) in enumerate(pairwise(times)):
        x, x0 = _reverse_diffusion_step(process, denoise, x, t, t_next, noise)
        a, _ = _transition(process, t, t_next)
        for _ in range(num_corrector_steps):
            score, x0 = _score(process, denoise, x, t_next)
            z = noise()
            step = 2 * a**2 * (snr * z.flatten(1).norm(dim=1) / score.flatten(1).norm(dim=1)) ** 2
            step = per_sample(step, x)
            x = x + step * score + (2 * step).sqrt() * z
        on_step(i, process.sigma(t_next), x0)
    return _finish(process, denoise, x, times, on_step)


def ncsn_step_size(ratio: float, num_steps: int) -> float:
    """NCSN's step size in units of the squared noise level, by technique 4 of Song and Ermon 2020 (eq. 5).

    For data in one point the variance of T Langevin steps is known; the step is chosen, as in the paper by search, so
    that it comes closest to the level's own variance after the levels' `ratio` = sigma_{i-1} / sigma_i.
    """
    d = torch.linspace(1e-4, 0.9999, 10_000, dtype=torch.float64)
    rest = 1 / (1 - d / 2)  # 2 e / (sigma^2 - sigma^2 (1 - e / sigma^2)^2) with d = e / sigma^2
    variance = (1 - d) ** (2 * num_steps) * (ratio**2 - rest) + rest
    return float(d[(variance - 1).abs().argmin()])


def annealed_langevin_dynamics(
    process, denoise, x, times, noise: Noise, on_step: OnStep, num_corrector_steps: int = 5
) -> torch.Tensor:
    """NCSN's sampler: at each level T Langevin steps x + a_i score + sqrt(2 a_i) z, a_i = e sigma_i^2 / sigma_L^2.

    Song and Ermon 2019 alg. 1 with the step size and the last denoising of Song and Ermon 2020 (techniques 4 and 5; its
    alg. 1 writes the step as here, the older paper a_i / 2). It runs on y = x / s, so of the process only the levels matter.

    Args:
        num_corrector_steps: T.
    """
    y = x / process.scale(times[0])
    levels = [process.sigma(t) for t in times]
    for i, sigma in enumerate(levels):
        ratio = levels[max(i, 1) - 1] / levels[max(i, 1)] if len(levels) > 1 else 1.0
        step = ncsn_step_size(ratio, num_corrector_steps) * sigma**2
        for _ in range(num_corrector_steps):
            x0 = denoise(y, sigma)
            y = y + step * (x0 - y) / sigma**2 + math.sqrt(2 * step) * noise()
        if i < len(levels) - 1:
            on_step(i, sigma, x0)
    return _finish(process, denoise, y * process.scale(times[-1]), times, on_step)


def heun(
    process,
    denoise,
    x,
    times,
    noise: Noise,
    on_step: OnStep,
    churn: float = 0.0,
    churn_min: float = 0.0,
    churn_max: float = math.inf,
    churn_noise: float = 1.0,
) -> torch.Tensor:
    """Heun's method on the probability-flow ODE dx/dt = f x - g^2 score / 2 (Song et al. 2021 eq. 13).

    Karras et al. 2022 alg. 1 for any s(t) and sigma(t); with churn, the stochastic alg. 2: before each step the noise
    level is raised by fresh noise. 2 n - 1 evaluations for n times.

    Args:
        churn: S_churn, noise added over the whole path; 0 is deterministic.
        churn_min, churn_max: S_tmin and S_tmax, the noise levels where it is added.
        churn_noise: S_noise, the deviation of the added noise.
    """

    def slope(x, t):
        score, x0 = _score(process, denoise, x, t)
        return process.drift(t) * x - 0.5 * process.diffusion(t) ** 2 * score, x0

    for i, (t, t_next) in enumerate(pairwise(times)):
        sigma = process.sigma(t)
        if churn > 0 and churn_min <= sigma <= churn_max:
            raised = sigma * (1 + min(churn / len(times), math.sqrt(2) - 1))
            t_hat = process.time(raised)
            s = process.scale(t_hat)
            x = s / process.scale(t) * x + s * math.sqrt(raised**2 - sigma**2) * churn_noise * noise()
            t = t_hat
        step = t_next - t
        d, x0 = slope(x, t)
        d_next, _ = slope(x + step * d, t_next)
        x = x + step * (d + d_next) / 2
        on_step(i, sigma, x0)
    return _finish(process, denoise, x, times, on_step)


# ---- the probability-flow ODE between two noise levels, and likelihood ----


def with_divergence(denoise: Denoiser, probes: torch.Tensor | None) -> Callable:
    """D with the trace of its Jacobian: (y, sigma, index) -> (D [n, C, H, W], tr dD/dy [n]).

    Args:
        probes: [P, N, C, H, W] of mean 0 and covariance I, for Skilling and Hutchinson's estimator mean_p e^T dD/dy e
            (Song et al. 2021 eq. 40); None: the exact trace, one backward pass for each of the C H W dimensions.
    """

    def evaluate(y, sigma, index=None):
        with torch.enable_grad():
            y = y.detach().requires_grad_(True)
            x0 = denoise(y, sigma, index)
            if probes is None:
                flat = x0.flatten(1)
                rows = [
                    torch.autograd.grad(flat[:, j].sum(), y, retain_graph=True)[0].flatten(1)[:, j]
                    for j in range(flat.shape[1])
                ]
                return x0.detach(), torch.stack(rows).sum(0)
            trace = 0.0
            for probe in probes:
                e = probe if index is None else probe[index]
                (row,) = torch.autograd.grad((x0 * e).sum(), y, retain_graph=True)  # e^T dD/dy
                trace = trace + (row * e).flatten(1).sum(1) / len(probes)
        return x0.detach(), trace

    return evaluate


def heun_path(evaluate: Callable, y: torch.Tensor, sigmas: list[float], on_step: OnStep):
    """Heun's method on dy/dsigma = (y - D) / sigma from sigmas[0] to sigmas[-1], up or down (Karras et al. eq. 1).

    Along the path, the log-density changes by d log p = -(d - tr dD/dy) d log sigma (Song et al. 2021 eq. 39 for this ODE);
    that integral is a trapezoid over log sigma, where the integrand lies smoothly between 0 and d.

    Args:
        evaluate: from `with_divergence`.

    Returns:
        (y at the end, log p(start) - log p(end), [N]).
    """
    dimensions = y[0].numel()
    change = torch.zeros(len(y), device=y.device, dtype=torch.float64)
    x0, trace = evaluate(y, sigmas[0])
    for i, (sigma, sigma_next) in enumerate(pairwise(sigmas)):
        step = sigma_next - sigma
        d = (y - x0) / sigma
        guess = y + step * d
        x0_next, trace_next = evaluate(guess, sigma_next)
        y = y + step * (d + (guess - x0_next) / sigma_next) / 2
        change += math.log(sigma_next / sigma) * (dimensions - (trace + trace_next) / 2)
        on_step(i, sigma_next, x0_next)
        if i < len(sigmas) - 2:
            x0, trace = evaluate(y, sigma_next)
    return y, change


# Dormand and Prince 1980 table 2: nodes, stages (the last row is the fifth-order solution), fifth minus fourth order
DP_NODES = (0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1)
DP_STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
DP_ERROR = (71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def dormand_prince(
    slope: Callable, x: torch.Tensor, start: float, stop: float, tolerance: float, on_step: Callable
) -> torch.Tensor:
    """Adaptive Runge-Kutta of order 5(4), RK45, with a step size for each sample.

    One step size for the whole batch, as in `scipy.integrate.solve_ivp`, would let samples depend on each other.

    Args:
        slope: (t [n], x [n, K], index [n]) -> dx/dt [n, K], for those samples of the batch.
        x: [N, K] at `start`.
        start, stop: times.
        tolerance: of the error of a step, absolute and relative, as a root mean square over K.
        on_step: called with the part of the way that the slowest sample has gone, after each round.

    Returns:
        [N, K] at `stop`.
    """
    span, direction = abs(stop - start), math.copysign(1.0, stop - start)
    gone = torch.zeros(len(x), dtype=torch.float64, device=x.device)  # of the span
    steps = torch.full_like(gone, span / 20)
    index = torch.arange(len(x), device=x.device)
    x = x.clone()
    first = slope(start + direction * gone, x, index)
    while len(index):
        rest = span - gone[index]
        h = torch.minimum(steps[index], rest)
        last = h >= rest
        h_x = (direction * h).to(x.dtype)[:, None]
        k = [first[index]]
        for node, row in zip(DP_NODES[1:], DP_STAGES[1:]):
            at = x[index] + h_x * sum(c * s for c, s in zip(row, k) if c)
            k.append(slope(start + direction * (gone[index] + node * h), at, index))
        error = h_x * sum(c * s for c, s in zip(DP_ERROR, k) if c)  # `at` is now the fifth-order solution
        bound = tolerance * (1 + torch.maximum(x[index].abs(), at.abs()))
        size = (error / bound).square().mean(1).sqrt().double()
        # a network in half precision is not smooth below its rounding: steps need not shrink without end
        accepted = (size <= 1) | (h <= span / 500)
        moved = index[accepted]
        x[moved], first[moved] = at[accepted], k[-1][accepted]
        gone[moved] = torch.where(last, span, gone[index] + h)[accepted]
        steps[index] = h * (0.9 * size.clamp(min=1e-10) ** -0.2).clamp(0.2, 5.0)
        index = index[~(accepted & last)]
        on_step(float(gone.min() / span))
    return x


def rk45_path(
    evaluate: Callable,
    y: torch.Tensor,
    sigma_from: float,
    sigma_to: float,
    tolerance: float,
    on_step: OnStep,
    sigma_data: float = 0.5,
):
    """The probability-flow ODE by `dormand_prince`, up or down; the same for every process (see the top of this file).

    It is solved for c_in y over log sigma, which stays of unit size and all but still at both ends of the path; the
    change of the log-density is one more component of the state.

    Args, Returns:
        as `heun_path`; `on_step` gets per cent of the way as its step.
    """
    shape, dimensions = y.shape, y[0].numel()

    def c_in(log_sigma):
        return 1 / (sigma_data**2 + torch.exp(2 * log_sigma)).sqrt()

    latest = torch.zeros_like(y)

    def slope(log_sigma, state, index):
        c = c_in(log_sigma)[:, None].to(y.dtype)  # [n, 1]
        sigma = log_sigma.exp().to(y.dtype)
        at = state[:, :-1]
        x0, trace = evaluate((at / c).reshape(-1, *shape[1:]), sigma, index)
        latest[index] = x0
        # d(c y)/dlog sigma = c (y - D) - c^3 sigma^2 y, with c^2 (sigma_data^2 + sigma^2) = 1
        flow = (c * sigma_data) ** 2 * at - c * x0.flatten(1)
        # in units of d, so that its error weighs as one pixel's
        change = (1 - torch.as_tensor(trace, device=y.device) / dimensions).to(y.dtype).expand(len(index))
        return torch.cat([flow, change[:, None]], dim=1)

    start, stop = math.log(sigma_from), math.log(sigma_to)
    ends = c_in(torch.tensor([start, stop], dtype=torch.float64)).tolist()
    state = torch.cat([ends[0] * y.flatten(1), y.new_zeros(len(y), 1)], dim=1)

    def report(part):
        on_step(min(int(100 * part), 99), math.exp(start + part * (stop - start)), latest)

    state = dormand_prince(slope, state, start, stop, tolerance, report)
    return (state[:, :-1] / ends[1]).reshape(shape), dimensions * state[:, -1].double()


SAMPLERS = {
    "heun": heun,
    "ancestral": ancestral,
    "euler-maruyama": euler_maruyama,
    "reverse diffusion": reverse_diffusion,
    "predictor-corrector": predictor_corrector,
    "annealed langevin": annealed_langevin_dynamics,
}


class ScoreSdeScheduler(SchedulerMixin, ConfigMixin):
    """Noise levels, preconditioning and solvers of a score-based model. It has no state but its configuration.

    Args:
        sigma_data: deviation of the data about 0, in their range [-1, 1].
        sigma_min, sigma_max: the noise levels where sampling ends and begins; VP and sub-VP begin where t = 1 lies.
        rho: spacing of EDM's noise levels (Karras et al. 2022 eq. 5).
        beta_min, beta_max: of VP and sub-VP (Song et al. 2021 app. C).
        log_sigma_mean, log_sigma_std: P_mean and P_std of the training's noise levels (Karras et al. 2022 tab. 1).
        network: what the network gives: "edm", F of Karras et al. 2022 eq. 7; or "score", grad log p itself, of images in
            [0, 1] and asked at the noise level, as in diffusers' ScoreSdeVePipeline.

    Raises:
        ValueError: noise levels that are not 0 < sigma_min < sigma_max, or an unknown kind of network.
    """

    order = 1

    @register_to_config
    def __init__(
        self,
        sigma_data: float = 0.5,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        rho: float = 7.0,
        beta_min: float = 0.1,
        beta_max: float = 20.0,
        log_sigma_mean: float = -1.2,
        log_sigma_std: float = 1.2,
        network: str = "edm",
    ):
        if network not in ("edm", "score"):
            raise ValueError(f"network: choose 'edm' or 'score', not {network!r}.")
        if not 0 < sigma_min < sigma_max:
            raise ValueError(f"sigma_min, sigma_max: need 0 < sigma_min < sigma_max, not {sigma_min} and {sigma_max}.")

    @classmethod
    def adopt(cls, stock: SchedulerMixin) -> ScoreSdeScheduler:
        """The noise levels of diffusers' `ScoreSdeVeScheduler`, doubled: images here span [-1, 1], there [0, 1]."""
        return cls(sigma_min=2 * stock.config.sigma_min, sigma_max=2 * stock.config.sigma_max, network="score")

    def preconditioning(self, sigma: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(c_skip, c_out, c_in, c_noise) of D = c_skip y + c_out F(c_in y; c_noise), Karras et al. 2022 eq. 7, tab. 1.

        Args:
            sigma: any shape, which the four share.
        """
        data = self.config.sigma_data
        total = sigma**2 + data**2
        return data**2 / total, sigma * data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4

    def loss_weight(self, sigma: torch.Tensor) -> torch.Tensor:
        """lambda(sigma) = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 = 1 / c_out^2 (Karras et al. 2022 tab. 1)."""
        return (sigma**2 + self.config.sigma_data**2) / (sigma * self.config.sigma_data) ** 2

    def training_sigmas(self, num: int, generator: torch.Generator | None, device) -> torch.Tensor:
        """log sigma ~ N(P_mean, P_std^2) -> sigma [num].

        The batch takes `num` equally likely slices of the distribution, one draw each, all with one offset: each sigma has
        the distribution of the paper, and the loss less variance (Kingma et al. 2021 app. I.1).
        """
        offset = torch.rand(1, generator=generator, device=device)
        u = (torch.arange(num, device=device) + offset) / num
        z = torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6))
        return (self.config.log_sigma_mean + self.config.log_sigma_std * z).exp()

    def process(self, name: str) -> Process:
        """A forward process by name.

        Raises:
            ValueError: an unknown name.
        """
        c = self.config
        if name == "edm":
            return EDM(c.sigma_min, c.sigma_max, c.rho)
        if name == "ve":
            return VE(c.sigma_min, c.sigma_max)
        if name == "vp":
            return VP(c.sigma_min, c.beta_min, c.beta_max)
        if name == "sub-vp":
            return SubVP(c.sigma_min, c.beta_min, c.beta_max)
        raise ValueError(f"process: choose 'edm', 've', 'vp' or 'sub-vp', not {name!r}.")

    def levels(self, num: int, sigma_max: float | None = None) -> list[float]:
        """`num` falling noise levels from sigma_max to sigma_min, spaced by Karras et al. 2022 eq. 5."""
        return EDM(self.config.sigma_min, sigma_max or self.config.sigma_max, self.config.rho).times(num)

    def sample(
        self,
        sampler: str,
        denoise: Denoiser,
        x: torch.Tensor,
        process: Process,
        times: list[float],
        noise: Noise,
        on_step: OnStep,
        tolerance: float = 1e-3,
        **options,
    ) -> torch.Tensor:
        """Run a sampler by name, from x at times[0] to x_0.

        Args:
            sampler: a key of `SAMPLERS`, or "rk45", which takes `tolerance` and of `times` only the ends.
            options: of the sampler's own function.

        Raises:
            ValueError: an unknown sampler.
        """
        if sampler == "rk45":
            ends = [process.sigma(times[0]), process.sigma(times[-1])]
            y = x / process.scale(times[0])

            def evaluate(y, sigma, index=None):
                return denoise(y, sigma, index), 0.0

            y, _ = self.rk45_path(evaluate, y, *ends, tolerance, lambda i, *step: on_step(min(i, 98), *step))
            x0 = denoise(y, ends[1])
            on_step(99, ends[1], x0)
            return x0
        if sampler not in SAMPLERS:
            raise ValueError(f"sampler: choose of {', '.join((*SAMPLERS, 'rk45'))}, not {sampler!r}.")
        return SAMPLERS[sampler](process, denoise, x, times, noise, on_step, **options)

    def rk45_path(self, evaluate, y, sigma_from, sigma_to, tolerance, on_step):
        """`rk45_path` with this model's `sigma_data`."""
        return rk45_path(evaluate, y, sigma_from, sigma_to, tolerance, on_step, self.config.sigma_data)

    # the plain functions, for a pipeline that holds this object and must not import this file by name
    heun_path = staticmethod(heun_path)
    with_divergence = staticmethod(with_divergence)
    views = staticmethod(views)
    x0_from_view = staticmethod(x0_from_view)
