"""Answers that are known without a network, for the tests of more than one family."""

from collections.abc import Callable

import torch


def two_class_velocity(centres: torch.Tensor, std: torch.Tensor) -> Callable:
    """The straight path's E[x_1 - x_0 | x_t], x_0 of class y being N(centres[y], std^2) and x_1 white noise.

    Args:
        centres: [2, C, H, W].
        std: [C, H, W] or what broadcasts to it.

    Returns:
        velocity(x [N, C, H, W], t [N], labels int64 [N] or None): of the given class; where none is (None or 2), of both
        classes as often.
    """

    def velocity(x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        t = t.reshape(-1, 1, 1, 1).to(x.dtype)
        variance = (1 - t) ** 2 * std**2 + t**2
        centred = [(x - (1 - t) * centre) / variance for centre in centres]
        each = torch.stack([t * c - (m + (1 - t) * std**2 * c) for c, m in zip(centred, centres, strict=True)])
        density = torch.stack([(-0.5 * variance * c.square()).sum((1, 2, 3)) for c in centred])  # log, up to a constant
        even = (each * density.softmax(0)[..., None, None, None]).sum(0)
        if labels is None:
            return even
        conditional = each[labels.clamp(max=1), torch.arange(len(x))]
        return torch.where((labels < 2)[:, None, None, None], conditional, even)

    return velocity
