"""The batches of a training, one a step, in the order of the recipe's seed."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from genarium.data.audio import AudioData
from genarium.data.feed import feed
from genarium.data.images import ImageData
from genarium.training.stages import Part
from genarium.training.steps import batch_indices, step_seed

Lessons = ImageData | AudioData


class Batches(Iterator[dict[str, Any]]):
    """The share of one process in the batches of a part's steps.

    Args:
        lessons: what the steps see.
        part: of the training.
        begin, end: steps of the whole run, of which the first is the next to do.
        rank, world: number of this process, and of all.
    """

    def __init__(self, lessons: Lessons, part: Part, begin: int, end: int, rank: int = 0, world: int = 1):
        workers = lessons.num_workers if isinstance(lessons, ImageData) else 0
        keys = _keys(len(lessons), part, begin, end, rank, world)
        self._batches: Generator[dict[str, Any], None, None] = feed(partial(_batch, lessons), keys, workers)

    def __next__(self) -> dict[str, Any]:
        return next(self._batches)

    def close(self) -> None:
        """End the processes that compute ahead."""
        self._batches.close()


def _keys(size: int, part: Part, begin: int, end: int, rank: int, world: int) -> Iterator[tuple[np.ndarray, int]]:
    """Yield for each step the rows of this process, and the seed of what is drawn for them."""
    spec = part.spec
    share = spec.batch_size // world
    for step in range(begin, end):
        indices = batch_indices(spec.seed, step - part.first, spec.batch_size, size)
        yield indices[rank * share : (rank + 1) * share].numpy(), step_seed(spec, step, rank)


def _batch(lessons: Lessons, key: tuple[np.ndarray, int]) -> dict[str, Any]:
    rows, seed = key
    return lessons.batch(torch.from_numpy(rows), torch.Generator().manual_seed(seed))
