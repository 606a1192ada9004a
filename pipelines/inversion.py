"""Inversion: gradient descent on what a network draws an image from, until the drawing is like a given image.

Zhu et al.: Generative Visual Manipulation on the Natural Image Manifold, 2016, https://arxiv.org/abs/1609.03552
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from pipelines.family import Report

PRIOR_WEIGHT = 0.001


def descend(
    x: torch.Tensor,
    start: torch.Tensor,
    draw: Callable[[torch.Tensor], torch.Tensor],
    steps: int,
    report: Report,
    rate: float = 0.05,
) -> torch.Tensor:
    """Minimise |draw(u) - x|^2 + 0.001 |u|^2, both as means over their entries (Zhu et al. 2016 eq. 4), with Adam.

    Adam works entry by entry and the losses of the rows are summed, so no row depends on the others.

    Args:
        x: the images [N, C, S, S].
        start: where to begin [N, k], of about unit variance. An encoder's guess makes it quick (their sec. 4.1).
        draw: [N, k] -> [N, C, S, S], row by row.
        steps: number of gradient steps.
        report: is called after each step with the drawing before it, as step i of steps + 1.
        rate: of Adam; it falls to zero as a cosine.

    Returns:
        float32 [N, k].
    """
    u, x = start.detach().float(), x.float()
    moment, square = torch.zeros_like(u), torch.zeros_like(u)
    for i in range(steps):
        with torch.enable_grad():
            u.requires_grad_()
            drawn = draw(u).float()
            loss = (drawn - x).square().mean((1, 2, 3)).sum() + PRIOR_WEIGHT * u.square().mean(1).sum()
            (gradient,) = torch.autograd.grad(loss, u)  # of u alone: the network's weights collect none
        moment = 0.9 * moment + 0.1 * gradient
        square = 0.99 * square + 0.01 * gradient.square()
        deviation = (square / (1 - 0.99 ** (i + 1))).sqrt() + 1e-8
        size = rate * 0.5 * (1 + math.cos(math.pi * i / steps))
        u = u.detach() - size * moment / (1 - 0.9 ** (i + 1)) / deviation
        report(i, i, steps + 1, drawn.detach())
    return u
