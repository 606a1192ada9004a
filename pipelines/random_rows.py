"""Uniform random numbers for many samples at once, each from its own generator."""

from __future__ import annotations

from collections.abc import Callable

import torch

from pipelines.family import Generators

Draw = Callable[[int], torch.Tensor]  # width -> uniform numbers in [0, 1), float32 [N, width]


def uniform_rows(number: int, generator: Generators, device: torch.device) -> Draw:
    """Return a source of uniform numbers for N samples.

    Args:
        number: N.
        generator: None, one generator, or a list of N: then row i comes from generator i alone.
        device: of the numbers.
    """

    def draw(width: int) -> torch.Tensor:
        if isinstance(generator, list):
            rows = [torch.rand(width, generator=g, device=g.device, dtype=torch.float32) for g in generator]
            return torch.stack([row.to(device) for row in rows])
        where = device if generator is None else generator.device
        return torch.rand(number, width, generator=generator, device=where, dtype=torch.float32).to(device)

    return draw
