"""The probability-flow ODE of a denoiser between two noise levels, up or down, and the density along it.

    dy/dsigma = (y - D(y; sigma)) / sigma                          Karras et al. 2022 eq. 1 and 3
    d log p = -(d - tr dD/dy) d log sigma                          Song et al. 2021 eq. 39 for this ODE

It is the same for every process of `pipelines.processes`: y = x / s knows the noise level only. A denoiser here is called
as denoise(y [n, ...], sigma, rows), where sigma is a number or [n], and rows names the places of these samples in the
whole batch, where a solver works on some of them only.

Papers:
    Song et al.: Score-Based Generative Modeling through Stochastic Differential Equations, 2021,
        https://arxiv.org/abs/2011.13456
    Karras et al.: Elucidating the Design Space of Diffusion-Based Generative Models, 2022, https://arxiv.org/abs/2206.00364
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch

from pipelines.likelihood import with_trace
from pipelines.ode import dormand_prince

Denoise = Callable[..., torch.Tensor]
ALL_ROWS = slice(None)


def with_divergence(denoise: Denoise, probes: torch.Tensor | None) -> Callable:
    """Return a function of (y, sigma, rows) that gives D [n, C, H, W] and the trace of its Jacobian [n].

    Args:
        probes: [P, N, C, H, W] for an estimate, or None for the exact trace; see `with_trace`.
    """

    def evaluate(y, sigma, rows=ALL_ROWS):
        return with_trace(lambda y: denoise(y, sigma, rows), y, None if probes is None else probes[:, rows])

    return evaluate


def heun_path(evaluate: Callable, y: torch.Tensor, sigmas: list[float], report: Callable):
    """Follow the ODE by Heun's method from sigmas[0] to sigmas[-1].

    The change of the log-density is a trapezoid over log sigma, where the integrand lies smoothly between 0 and d.

    Args:
        evaluate: takes (y, sigma) and returns D and tr dD/dy; from `with_divergence`.
        y: [N, C, H, W] at sigmas[0].
        report: called after each step as (step, sigma, number of steps, x_0).

    Returns:
        (y at the end, log p(start) - log p(end), float64 [N]).
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
        report(i, sigma_next, len(sigmas) - 1, x0_next)
        if i < len(sigmas) - 2:
            x0, trace = evaluate(y, sigma_next)
    return y, change


def rk45_path(
    evaluate: Callable,
    y: torch.Tensor,
    sigma_from: float,
    sigma_to: float,
    tolerance: float,
    sigma_data: float,
    report: Callable,
):
    """Follow the ODE by `dormand_prince`.

    It is solved for c_in y over log sigma, c_in = 1 / sqrt(sigma_data^2 + sigma^2), which stays of unit size and all but
    still at both ends of the path. The change of the log-density is one more component of the state.

    Args:
        evaluate: takes (y, sigma [n], rows) and returns D and tr dD/dy; from `with_divergence`.
        y: [N, C, H, W] at `sigma_from`.
        tolerance: of the error of a step.
        report: called as (per cent of the way, sigma, 100, x_0).

    Returns:
        (y at `sigma_to`, log p(start) - log p(end), float64 [N]).
    """
    shape, dimensions = y.shape, y[0].numel()

    def c_in(log_sigma):
        return 1 / (sigma_data**2 + torch.exp(2 * log_sigma)).sqrt()

    latest = torch.zeros_like(y)

    def slope(state, log_sigma, rows):
        c, sigma, at = c_in(log_sigma)[:, None], log_sigma.exp(), state[:, :-1]
        x0, trace = evaluate((at / c).reshape(-1, *shape[1:]), sigma, rows)
        latest[rows] = x0
        # d(c y)/dlog sigma = c (y - D) - c^3 sigma^2 y, with c^2 (sigma_data^2 + sigma^2) = 1
        flow = (c * sigma_data) ** 2 * at - c * x0.flatten(1)
        # in units of d, so that its error weighs as one pixel's
        change = (1 - torch.as_tensor(trace, device=y.device) / dimensions).to(y.dtype).expand(len(rows))
        return torch.cat([flow, change[:, None]], dim=1)

    start, stop = math.log(sigma_from), math.log(sigma_to)
    ends = c_in(torch.tensor([start, stop], dtype=torch.float64)).tolist()
    state = torch.cat([ends[0] * y.flatten(1), y.new_zeros(len(y), 1)], dim=1)

    def on_round(part, *_):
        report(min(int(100 * part), 99), math.exp(start + part * (stop - start)), 100, latest)

    options: dict[str, Any] = {"shortest": 1 / 500, "growth": 5.0, "scale": lambda size: 1 + size}
    state = dormand_prince(slope, state, start, stop, tolerance, on_round, **options)
    return (state[:, :-1] / ends[1]).reshape(shape), dimensions * state[:, -1].double()
