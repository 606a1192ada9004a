"""The batches of a training, one a step, in the order of the recipe's seed."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch

from genarium.data.audio import AudioData
from genarium.data.budget import num_workers
from genarium.data.feed import feed
from genarium.data.images import ImageData
from genarium.data.stream import ImageStream, Position, Row
from genarium.training.stages import Part
from genarium.training.steps import batch_indices, step_seed

Lessons = ImageData | AudioData | ImageStream


class Batches(Iterator[dict[str, Any]]):
    """The share of one process in the batches of a part's steps.

    Args:
        lessons: what the steps see.
        part: of the training.
        begin, end: steps of the whole run, of which the first is the next to do.
        rank, world: number of this process, and of all.
        position: of a stream, from which to go on.
    """

    position: Position | None  # of a stream, after the last batch

    def __init__(
        self,
        lessons: Lessons,
        part: Part,
        begin: int,
        end: int,
        rank: int = 0,
        world: int = 1,
        position: Position | None = None,
    ):
        self.position = position
        self._batches: Generator[tuple[dict[str, Any], Position | None], None, None]
        if isinstance(lessons, ImageStream):
            drawn = _drawn(lessons, part, begin, end, rank, world, position)
            self._batches = feed(partial(_batch_of_stream, lessons), drawn, num_workers())
        else:
            workers = lessons.num_workers if isinstance(lessons, ImageData) else 0
            keys = _keys(len(lessons), part, begin, end, rank, world)
            self._batches = feed(partial(_batch, lessons), keys, workers)

    def __next__(self) -> dict[str, Any]:
        batch, self.position = next(self._batches)
        return batch

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


def _batch(lessons: ImageData | AudioData, key: tuple[np.ndarray, int]) -> tuple[dict[str, Any], None]:
    rows, seed = key
    return lessons.batch(torch.from_numpy(rows), torch.Generator().manual_seed(seed)), None


# ---- streams ----


def _drawn(
    stream: ImageStream, part: Part, begin: int, end: int, rank: int, world: int, position: Position | None
) -> Iterator[tuple[list[Row], Position, int]]:
    """Yield for each step the rows of this process, the position after them, and the seed of what is drawn for them."""
    spec = part.spec
    with contextlib.closing(stream.draw(spec.batch_size // world, spec.seed, rank, world, position)) as drawn:
        for step in range(begin, end):
            yield *next(drawn), step_seed(spec, step, rank)


def _batch_of_stream(stream: ImageStream, key: tuple[list[Row], Position, int]) -> tuple[dict[str, Any], Position]:
    rows, position, seed = key
    return stream.batch(rows, torch.Generator().manual_seed(seed)), position
