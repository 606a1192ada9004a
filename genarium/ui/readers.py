"""Who is there: the open connections on which visitors and programs read the results of their events.

A run that nobody reads is work for nobody. `reader_left` says so to the run itself, wherever it is started. The runtime lets
visitors take turns, and `know_visitors` tells it who they are.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import Any

import gradio as gr
from gradio.context import LocalContext

from genarium.runtime.visitors import VISITOR, Visitor

GRACE_SECONDS = 20  # between asking and reading, or between two connections
MAX_KNOWN = 10_000  # sessions of which it is known when they last read


class Readers:
    """Sessions whose events are being read, and the visits that are open. Used in the server's event loop only."""

    def __init__(self) -> None:
        self._reading: Counter[str] = Counter()
        self._last: OrderedDict[str, float] = OrderedDict()  # session -> when it last read

    @contextlib.contextmanager
    def reading(self, session: str) -> Iterator[None]:
        """Count a connection of a session while the block runs."""
        self._reading[session] += 1
        try:
            yield
        finally:
            self._reading[session] -= 1
            if not self._reading[session]:
                del self._reading[session]
            self._last[session] = time.monotonic()
            self._last.move_to_end(session)
            while len(self._last) > MAX_KNOWN:
                self._last.popitem(last=False)

    def open(self, session: str) -> bool:
        """Return whether a session has a connection now."""
        return session in self._reading

    def left(self, event: Any) -> bool:
        """Return whether nobody reads a Gradio event: its reader closed the connection, or none has come in time."""
        if not event.alive:
            return True
        if event.session_hash in self._reading:
            return False
        return time.monotonic() - max(event.enqueue_time, self._last.get(event.session_hash, 0.0)) > GRACE_SECONDS


READERS = Readers()
VISITS = Readers()  # pages that are open in a browser


def reader_left() -> bool:
    """Return whether nobody reads the event of which this is a part. Outside of an event somebody does."""
    blocks, event_id = LocalContext.blocks.get(None), LocalContext.event_id.get(None)
    event = None if blocks is None or event_id is None else blocks._queue.event_ids_to_events.get(event_id)
    return event is not None and READERS.left(event)


def know_visitors(app: gr.Blocks) -> None:
    """Let the runtime know in every event of an app whose event it is."""
    process: Any = app.process_api

    async def process_api(*arguments: Any, request: Any = None, event_id: str | None = None, **options: Any) -> Any:
        VISITOR.set(visitor_of(request, event_id))
        return await process(*arguments, request=request, event_id=event_id, **options)

    app.process_api = process_api  # type: ignore[method-assign]


def visitor_of(request: Any, event_id: str | None = None) -> Visitor:
    """Return who sent a request of Gradio: by address, and by the page, or the program that keeps a session as pages do.

    A call without a session gets the number of its event for one. All such calls of an address count as one page.
    """
    client = getattr(request, "client", None)
    session = getattr(request, "session_hash", None) or ""
    return Visitor(client.host if client else "unknown", "" if session == event_id else session)
