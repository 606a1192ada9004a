"""Ctrl-C, as against a KeyboardInterrupt that code raises of itself."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def watch_interrupts() -> Iterator[threading.Event]:
    """Yield an event that is set once somebody presses Ctrl-C inside the block, where that raises as it always does.

    Other threads than the main one get no Ctrl-C: there the event stays unset.
    """
    pressed = threading.Event()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(before):
        yield pressed
        return

    def handle(number, frame):
        pressed.set()
        before(number, frame)

    signal.signal(signal.SIGINT, handle)
    try:
        yield pressed
    finally:
        signal.signal(signal.SIGINT, before)
