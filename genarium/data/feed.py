"""What is computed for one key after another, in processes that run ahead, in the order of the keys."""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar, cast

import torch
from torch.utils.data import DataLoader, Dataset

from genarium.errors import GenariumError

MMAP_THRESHOLD = -3  # M_MMAP_THRESHOLD of malloc.h

Key = TypeVar("Key")
Made = TypeVar("Made")


def feed(make: Callable[[Key], Made], keys: Iterable[Key], workers: int) -> Generator[Made, None, None]:
    """Yield `make(key)` for each key in order.

    Keys are taken in this process, up to two for each worker ahead. So what a key is may depend on all keys before it, and
    the results are the same for any number of workers.

    Args:
        make: a function of the key alone, which can be pickled where processes are not forked.
        keys: read once.
        workers: processes that compute; 0: this process does.

    Raises:
        GenariumError: `make` raised it.
    """
    if not workers:
        yield from map(make, keys)
        return
    loader: DataLoader = DataLoader(
        _Made(make),
        batch_size=None,
        sampler=keys,
        num_workers=workers,
        collate_fn=_as_it_is,
        worker_init_fn=_begin,
        # torch draws a seed of the workers, by default from the generator that the training's noise comes from
        generator=torch.Generator(),
    )
    for made in loader:
        if isinstance(made, GenariumError):
            raise made
        yield cast(Made, made)


class _Made(Dataset):
    """The results by their keys. An error of ours is a result: torch would put a traceback into its message."""

    def __init__(self, make: Callable[[Any], Any]):
        self.make = make

    def __getitem__(self, key: Any) -> Any:
        try:
            return self.make(key)
        except GenariumError as error:
            return error


def _begin(worker: int) -> None:
    """Keep a worker small.

    What it has inherited is left out of its garbage collection, which would copy the memory that it shares with the training.
    Large tensors get memory of their own, which goes back to the system when they do. Otherwise glibc's allocator soon takes
    them from its heap, which then grew by 200 MB in 50 batches of 3 MB.
    """
    gc.freeze()
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None  # glibc alone has it
    if mallopt is not None:
        mallopt(MMAP_THRESHOLD, 128 * 1024)  # glibc's own first value, which otherwise grows


def _as_it_is(made: Any) -> Any:
    return made
