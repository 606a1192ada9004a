"""From the runtime's blocking iterator to an asynchronous one that the browser can leave at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from typing import Any

from genarium.errors import Stopped
from genarium.runtime import Progress, Result, Runtime
from genarium.runtime.request import Request
from genarium.ui.readers import reader_left

UNREAD = "Nobody reads the result of this run, so it was stopped."
BEAT = 0.5  # seconds; so late the app notices at most that a page was closed, or Stop pressed, while its run waits
QUIET_SECONDS = 0.05  # for each run that takes turns, between two news of one: each costs the server some milliseconds


async def follow(
    runtime: Runtime,
    request: Request,
    inputs: Mapping[str, Any] | None = None,
    stop: threading.Event | None = None,
) -> AsyncGenerator[Progress | Result | None, None]:
    """Run a request; yield the newest `Progress`, None at each beat without news, and at last the `Result`.

    Leaving the iterator in any way (a closed page, an error) stops the computation at its next step: Gradio cancels the
    task that awaits us, or closes us at a yield. A blocking generator would be deaf to both while it waits. Setting `stop`
    ends it with `Stopped`, and so does a reader who has left the event, or never came.

    Raises:
        GenariumError: as `Runtime.stream`.
    """
    if reader_left():
        raise Stopped(UNREAD)
    loop = asyncio.get_running_loop()
    news: asyncio.Queue[Any] = asyncio.Queue()
    stop = stop or threading.Event()

    def pump() -> None:
        try:
            for event in runtime.stream(request, inputs, stop):
                loop.call_soon_threadsafe(news.put_nowait, event)
        except BaseException as error:  # handed to the waiting task, whatever it is
            if not loop.is_closed():
                loop.call_soon_threadsafe(news.put_nowait, error)

    # In the visitor's context: a ZeroGPU Space finds there whose quota the run is on.
    visit = contextvars.copy_context()
    threading.Thread(target=visit.run, args=(pump,), name=f"follow {request.task}", daemon=True).start()
    reported, seen, event = loop.time(), False, None  # the last report, and whether the page saw pictures
    try:
        while True:
            with contextlib.suppress(TimeoutError):
                event = _newer(event, await asyncio.wait_for(news.get(), BEAT))
                while isinstance(event, Progress) and not news.empty():
                    event = _newer(event, news.get_nowait())  # a slow connection sees fewer previews, never late ones
            if reader_left():
                raise Stopped(UNREAD)
            if isinstance(event, BaseException):
                raise event
            if stop.is_set() and not isinstance(event, Result):
                raise Stopped("Stopped.")
            if isinstance(event, Progress):
                first = bool(event.pictures) and not seen
                if not first and loop.time() - reported < QUIET_SECONDS * event.outlook.others:
                    continue
                seen = seen or first
            elif event is None and loop.time() - reported < BEAT:
                continue
            yield event
            if isinstance(event, Result):
                return
            reported, event = loop.time(), None
    finally:
        stop.set()


def _newer(event: Progress | None, later: Any) -> Any:
    """Return the later of two events, with the pictures of the earlier one where it brings none: most steps have no preview."""
    if event is not None and isinstance(later, Progress) and later.pictures is None:
        return replace(later, pictures=event.pictures)
    return later


async def finish(runtime: Runtime, request: Request, inputs: Mapping[str, Any] | None = None) -> Result:
    """Run a request to its end; cancelling the awaiting task stops it. Raises as `follow`."""
    events = follow(runtime, request, inputs)
    try:
        async for event in events:
            if isinstance(event, Result):
                return event
    finally:
        await events.aclose()
    raise RuntimeError("The computation ended without a result.")  # pragma: no cover
