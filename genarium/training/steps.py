"""What a step is a function of: its images from the permutation of its epoch, and its learning rate."""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from genarium.recipe import TrainingSpec


def learning_rate(spec: TrainingSpec, step: int, num_steps: int) -> float:
    """Return the rate of a step: linear warm-up, then constant, or a linear or cosine decay to zero at the last step."""
    warm = min(1.0, (step + 1) / max(spec.warmup_steps, 1))
    left = max(0.0, 1 - step / num_steps)
    decay = {"constant": 1.0, "linear": left, "cosine": 0.5 * (1 - math.cos(math.pi * left))}[spec.schedule]
    return spec.learning_rate * warm * decay


def batch_indices(seed: int, step: int, batch_size: int, size: int) -> torch.Tensor:
    """Return the images of a step, int64 [batch_size]: consecutive pieces of one permutation of the data after another."""
    start = step * batch_size
    parts = []
    while batch_size > 0:
        epoch, offset = divmod(start, size)
        order = _order(seed * 1_000_003 + epoch, size)
        parts.append(order[offset : offset + batch_size])
        start, batch_size = start + len(parts[-1]), batch_size - len(parts[-1])
    return torch.cat(parts)


@lru_cache(maxsize=1)  # steps of one epoch follow each other, and the order of millions takes time
def _order(seed: int, size: int) -> torch.Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


def step_seed(spec: TrainingSpec, run_step: int, rank: int) -> int:
    """Return the seed of what a process draws in a step of the whole run: mirroring and noise."""
    return (spec.seed * 1_000_003 + run_step) * 4096 + rank
