"""Classifier-free guidance, the same for every network that predicts a target affine in the score."""

from __future__ import annotations

from collections.abc import Callable

import torch


def guided(
    network: Callable,
    x: torch.Tensor,
    times: torch.Tensor,
    labels: torch.Tensor | None,
    no_labels: torch.Tensor | None,
    guidance_scale: float,
) -> torch.Tensor:
    """Return a network's output with classifier-free guidance, (1 - g) uncond + g cond.

    Ho and Salimans 2022 (https://arxiv.org/abs/2207.12598) eq. 6 with g = 1 + w, which they state for the noise. Clean
    image, noise, velocity and v are each affine in the score at fixed x and time, so the formula holds for all of them.
    Both outputs are computed in one pass of twice the batch.

    Args:
        network: called as (x, times, labels); returns [N, ...].
        x: [N, ...].
        times: a scalar or [N].
        labels: int64 [N, ...] or None, the condition. Without it the output is the unconditional one, whatever the scale.
        no_labels: of the same shape, the labels that stand for "no class". Not used without `labels`.
        guidance_scale: g. 1 is the plain conditional output and costs one pass; 0 is the unconditional output.
    """
    if labels is None or no_labels is None or guidance_scale == 1.0:
        return network(x, times, labels)
    both_times = torch.cat([times, times]) if times.ndim else times
    output = network(torch.cat([x, x]), both_times, torch.cat([labels, no_labels]))
    conditional, unconditional = output.chunk(2)
    return unconditional + guidance_scale * (conditional - unconditional)
