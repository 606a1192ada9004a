"""What is computed for one key after another, in processes that run ahead, in the order of the keys."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from typing import Any, TypeVar, cast

import torch
from torch.utils.data import DataLoader, Dataset

from genarium.errors import GenariumError

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


def _as_it_is(made: Any) -> Any:
    return made
