"""Samplers of score-based models: reverse SDEs, Langevin dynamics and the probability-flow ODE, for any process.

Each takes x(start) ~ N(0, s^2 sigma^2 I), [N, C, H, W], and falling times of the process, and returns x_0. Each calls back
as report(step, sigma, number of steps, x_0). All end by denoising at the last time, the step that Karras et al. call the
Euler step to sigma = 0 and Song et al. the mean.

Papers:
    Song, Ermon: Generative Modeling by Estimating Gradients of the Data Distribution, 2019, https://arxiv.org/abs/1907.05600
    Song, Ermon: Improved Techniques for Training Score-Based Generative Models, 2020, https://arxiv.org/abs/2006.09011
    Song et al.: Score-Based Generative Modeling through Stochastic Differential Equations, 2021,
        https://arxiv.org/abs/2011.13456
    Karras et al.: Elucidating the Design Space of Diffusion-Based Generative Models, 2022, https://arxiv.org/abs/2206.00364
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch

from pipelines.probability_flow import Denoise, rk45_path
from pipelines.processes import Process, per_sample

Noise = Callable[[], torch.Tensor]  # a fresh standard normal draw of the batch's shape


def _score(process: Process, denoise: Denoise, x: torch.Tensor, t: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (grad log p_t(x), x_0)."""
    s, sigma = process.scale(t), process.sigma(t)
    x0 = denoise(x / s, sigma)
    return (s * x0 - x) / (s * sigma) ** 2, x0


def _finish(process: Process, denoise: Denoise, x: torch.Tensor, times: list[float], report: Callable) -> torch.Tensor:
    """Return x_0 by denoising at the last time."""
    x0 = denoise(x / process.scale(times[-1]), process.sigma(times[-1]))
    report(len(times) - 1, process.sigma(times[-1]), len(times), x0)
    return x0


def euler_maruyama(process, denoise, x, times, noise: Noise, report: Callable) -> torch.Tensor:
    """Solve the reverse SDE dx = (f x - g^2 score) dt + g dw (Song et al. 2021 eq. 6), by Euler and Maruyama's steps."""
    for i, (t, t_next) in enumerate(pairwise(times)):
        score, x0 = _score(process, denoise, x, t)
        f, g, step = process.drift(t), process.diffusion(t), t_next - t  # step < 0
        x = x + (f * x - g**2 * score) * step + g * math.sqrt(-step) * noise()
        report(i, process.sigma(t), len(times), x0)
    return _finish(process, denoise, x, times, report)


def _transition(process: Process, t: float, t_next: float) -> tuple[float, float]:
    """Return (a, b) of the forward move from t_next up to t: x(t) | x(t_next) = N(a x(t_next), b I)."""
    b = process.scale(t) ** 2 * (process.sigma(t) ** 2 - process.sigma(t_next) ** 2)
    return process.scale(t) / process.scale(t_next), b


def _reverse_diffusion_step(process, denoise, x, t, t_next, noise) -> tuple[torch.Tensor, torch.Tensor]:
    """Return x at t_next and x_0, of one step of `reverse_diffusion`."""
    score, x0 = _score(process, denoise, x, t)
    a, b = _transition(process, t, t_next)
    return (2 - a) * x + b * score + math.sqrt(b) * noise(), x0


def reverse_diffusion(process, denoise, x, times, noise: Noise, report: Callable) -> torch.Tensor:
    """Reverse the forward process' own steps: x' = (2 - a) x + b score + sqrt(b) z (Song et al. 2021 eq. 46, app. E).

    With a = 1, b = sigma_i^2 - sigma_{i-1}^2 for VE; with a = sqrt(1 - beta_i), b = beta_i for VP.
    """
    for i, (t, t_next) in enumerate(pairwise(times)):
        x, x0 = _reverse_diffusion_step(process, denoise, x, t, t_next, noise)
        report(i, process.sigma(t), len(times), x0)
    return _finish(process, denoise, x, times, report)


def ancestral(process, denoise, x, times, noise: Noise, report: Callable) -> torch.Tensor:
    """Draw from q(x_{i-1} | x_i, x_0 = D): DDPM's for VP (Ho et al. 2020 eq. 7), Song et al. 2021 eq. 47 for VE."""
    for i, (t, t_next) in enumerate(pairwise(times)):
        sigma, sigma_next = process.sigma(t), process.sigma(t_next)
        y = x / process.scale(t)
        x0 = denoise(y, sigma)
        ratio = (sigma_next / sigma) ** 2
        y = x0 + ratio * (y - x0) + sigma_next * math.sqrt(1 - ratio) * noise()
        x = process.scale(t_next) * y
        report(i, sigma, len(times), x0)
    return _finish(process, denoise, x, times, report)


def predictor_corrector(
    process, denoise, x, times, noise: Noise, report: Callable, num_corrector_steps: int = 1, snr: float = 0.16
) -> torch.Tensor:
    """Sample by reverse diffusion, each step followed by Langevin steps at the level it reached (Song et al. 2021 alg. 2 to 5).

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
        report(i, process.sigma(t_next), len(times), x0)
    return _finish(process, denoise, x, times, report)


def ncsn_step_size(ratio: float, num_steps: int) -> float:
    """Return NCSN's step size in units of the squared noise level, by technique 4 of Song and Ermon 2020 (eq. 5).

    For data in one point the variance of T Langevin steps is known; the step is chosen, as in the paper by search, so
    that it comes closest to the level's own variance after the levels' `ratio` = sigma_{i-1} / sigma_i.
    """
    d = torch.linspace(1e-4, 0.9999, 10_000, dtype=torch.float64)
    rest = 1 / (1 - d / 2)  # 2 e / (sigma^2 - sigma^2 (1 - e / sigma^2)^2) with d = e / sigma^2
    variance = (1 - d) ** (2 * num_steps) * (ratio**2 - rest) + rest
    return float(d[(variance - 1).abs().argmin()])


def annealed_langevin_dynamics(
    process, denoise, x, times, noise: Noise, report: Callable, num_corrector_steps: int = 5
) -> torch.Tensor:
    """Sample as NCSN: at each level T Langevin steps x + a_i score + sqrt(2 a_i) z, a_i = e sigma_i^2 / sigma_L^2.

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
            report(i, sigma, len(times), x0)
    return _finish(process, denoise, y * process.scale(times[-1]), times, report)


def heun(
    process,
    denoise,
    x,
    times,
    noise: Noise,
    report: Callable,
    churn: float = 0.0,
    churn_min: float = 0.0,
    churn_max: float = math.inf,
    churn_noise: float = 1.0,
) -> torch.Tensor:
    """Solve the probability-flow ODE by Heun's method: dx/dt = f x - g^2 score / 2 (Song et al. 2021 eq. 13).

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
        report(i, sigma, len(times), x0)
    return _finish(process, denoise, x, times, report)


def rk45(
    process, denoise, x, times, noise: Noise, report: Callable, tolerance: float = 1e-3, sigma_data: float = 0.5
) -> torch.Tensor:
    """Solve the probability-flow ODE by `rk45_path`, with adaptive steps; of `times` it takes the ends.

    It cannot know its number of steps, and reports per cent.
    """
    first, last = process.sigma(times[0]), process.sigma(times[-1])

    def evaluate(y, sigma, rows):
        return denoise(y, sigma, rows), 0.0

    def before_the_last(step: int, *values) -> None:
        report(min(step, 98), *values)

    start = x / process.scale(times[0])
    y, _ = rk45_path(evaluate, start, first, last, tolerance, sigma_data, before_the_last)
    x0 = denoise(y, last)
    report(99, last, 100, x0)
    return x0


SAMPLERS: dict[str, Callable[..., torch.Tensor]] = {
    "heun": heun,
    "rk45": rk45,
    "ancestral": ancestral,
    "euler-maruyama": euler_maruyama,
    "reverse diffusion": reverse_diffusion,
    "predictor-corrector": predictor_corrector,
    "annealed langevin": annealed_langevin_dynamics,
}
