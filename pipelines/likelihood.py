"""Densities along an ODE: the divergence of its field, and the noise that makes bytes a continuous variable.

    d log p(x_t) / dt = -div f(x_t, t)        Chen et al. 2018 eq. 8

Papers:
    Chen et al.: Neural Ordinary Differential Equations, 2018, https://arxiv.org/abs/1806.07366
    Grathwohl et al.: FFJORD, 2019, https://arxiv.org/abs/1810.01367 (Hutchinson's estimate of the divergence)
    Hutchinson: A Stochastic Estimator of the Trace of the Influence Matrix, 1990
    Theis et al.: A Note on the Evaluation of Generative Models, 2016, https://arxiv.org/abs/1511.01844 (dequantization)
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable

import torch


def with_trace(
    f: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor, probes: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return f(x) and the trace of its Jacobian, which is the divergence of f, for each sample.

    Args:
        f: from [n, ...] to the same shape, in which no sample depends on the others.
        x: [n, ...].
        probes: [K, n, ...] of mean 0 and covariance I, for Hutchinson's unbiased estimate, the mean of e^T (df/dx) e
            (Grathwohl et al. 2019 eq. 7); None: the exact trace, by a backward pass for each of the D dimensions.

    Returns:
        (f(x) without gradient, trace [n]).
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = f(x)
        if probes is None:  # samples do not mix, so that one gradient serves all of them
            columns = [torch.autograd.grad(o.sum(), x, retain_graph=True)[0] for o in y.flatten(1).unbind(1)]
            return y.detach(), functools.reduce(operator.add, (g.flatten(1)[:, i] for i, g in enumerate(columns)))
        products = []
        for e in probes.to(y.dtype):
            gradient = torch.autograd.grad(y, x, e, retain_graph=True)[0]  # e^T df/dx
            products.append((gradient * e).flatten(1).sum(1))
    return y.detach(), torch.stack(products).mean(0)


def random_signs(noise: torch.Tensor) -> torch.Tensor:
    """Return the signs of standard normal noise, Rademacher's distribution.

    Of all probes with covariance I their estimate of a trace varies least (Hutchinson 1990).
    """
    return torch.where(noise < 0, -1.0, 1.0).to(noise.dtype)


def dequantized(x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """Return images in [-1, 1] with uniform noise of the width of one 8-bit level, 2 / 255 (Theis et al. 2016 sec. 3.1).

    Args:
        x: float [N, ...].
        noise: standard normal [N, ...]. Its distribution function makes the uniform noise.
    """
    return x + (torch.special.ndtr(noise) - 0.5) * 2 / 255


def log_standard_normal(x: torch.Tensor) -> torch.Tensor:
    """Return log N(x; 0, I) of rows [N, ...], [N]."""
    return -0.5 * (x.square() + math.log(2 * math.pi)).flatten(1).sum(1)
