"""Whose a run is, and how it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple


class Visitor(NamedTuple):
    """Whose a run is. Programs of this machine that use the runtime directly are one visitor.

    Args:
        address: of the client; addresses share the computing equally.
        page: of the client, as its pages share what is the address's.
    """

    address: str = ""
    page: str = ""


NOBODY = Visitor()
VISITOR: ContextVar[Visitor] = ContextVar("visitor", default=NOBODY)  # of the event that is being handled


class Stop(threading.Event):
    """An event that ends a run, and that also wakes it while it waits for its turn."""

    def __init__(self) -> None:
        super().__init__()
        self._wakes: set[Callable[[], None]] = set()

    def set(self) -> None:
        """Set the event, and wake whoever waits with it."""
        super().set()
        for wake in list(self._wakes):
            wake()

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Let `set` call a function while the block runs. Set already, it calls nothing."""
        self._wakes.add(wake)
        try:
            yield
        finally:
            self._wakes.discard(wake)
