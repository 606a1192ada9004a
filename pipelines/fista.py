"""FISTA: the sparse code of a picture, by an accelerated proximal gradient method.

    F(a) = 1/2 |m (x - a D)|^2 + lambda |a|_1,      a >= 0 if wished
    a_k     = prox(y_k - grad f(y_k) / L),      prox: shrink by lambda / L       Beck and Teboulle 2009 eq. 4.1
    t_k+1   = (1 + sqrt(1 + 4 t_k^2)) / 2                                        eq. 4.2
    y_k+1   = a_k + (t_k - 1) / t_k+1 (a_k - a_k-1)                              eq. 4.3
    F(a_k) - F(a*) <= 2 L |a_0 - a*|^2 / (k + 1)^2                               theorem 4.4

Beck, Teboulle: A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems, 2009,
https://doi.org/10.1137/080716542
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch


def shrink(a: torch.Tensor, by: torch.Tensor | float, nonnegative: bool = True) -> torch.Tensor:
    """Return the proximal point of by |a|_1: each number moved towards 0, and with `nonnegative` those below 0 set to 0."""
    return (a - by).clamp(min=0) if nonnegative else a.sign() * (a.abs() - by).clamp(min=0)


def lasso(a: torch.Tensor, x: torch.Tensor, dictionary: torch.Tensor, penalty: torch.Tensor | float) -> torch.Tensor:
    """Return F(a), the objective at the top of this file without a mask: float [N]."""
    return 0.5 * (x - a @ dictionary).square().sum(1) + (penalty * a.abs()).sum(1)


def fista(
    x: torch.Tensor,
    dictionary: torch.Tensor,
    penalty: torch.Tensor | float,
    lipschitz: torch.Tensor | float,
    num_steps: int,
    start: torch.Tensor | None = None,
    mask: torch.Tensor | None = None,
    support: torch.Tensor | None = None,
    nonnegative: bool = True,
    on_step: Callable[[int, torch.Tensor], None] | None = None,
) -> torch.Tensor:
    """Return the codes after `num_steps` of FISTA.

    Args:
        x: signals [N, P].
        dictionary: D, atoms [K, P].
        penalty: lambda, a number or [N, 1].
        lipschitz: L, at least the largest eigenvalue of D D^T.
        num_steps: k.
        start: a_0 [N, K]; None: zeros.
        mask: m [N, P], 1 where a signal is known and 0 where it is missing.
        support: [N, K], 1 for the atoms that may be used.
        nonnegative: whether codes must be at least 0.
        on_step: called as (k, a_k) after each step.

    Returns:
        [N, K].
    """
    a = x.new_zeros(len(x), len(dictionary)) if start is None else start
    y, t = a, 1.0
    for k in range(num_steps):
        residual = y @ dictionary - x  # [N, P]
        gradient = (residual if mask is None else residual * mask) @ dictionary.T  # [N, K]
        following = shrink(y - gradient / lipschitz, penalty / lipschitz, nonnegative)
        if support is not None:
            following = following * support
        t_next = (1 + math.sqrt(1 + 4 * t * t)) / 2
        y = following + (t - 1) / t_next * (following - a)
        a, t = following, t_next
        if on_step is not None:
            on_step(k, a)
    return a
