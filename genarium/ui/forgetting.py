"""What Gradio would keep of pages, calls and files that are gone, let go: an app runs for weeks, and its memory must not grow.

The contents of a page with an address are built anew for each visit, with functions for its events. Whatever names such a
function keeps the whole page. So the tables of the queue hold functions weakly here, and a function holds what belongs to it.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any
from weakref import WeakKeyDictionary, WeakValueDictionary

import gradio as gr
from gradio.context import LocalContext
from gradio.queueing import EventQueue, ProcessTime

from genarium.ui.readers import READERS

UNREAD_SECONDS = 300  # how long a result waits for the one who asked for it
READ_SECONDS = 60  # how long a page is known after its results were read
SWEEP_SECONDS = 60  # between two looks for what is gone


class Times(WeakKeyDictionary):
    """How long each function of events took, for as long as there is the function; an unknown one begins at nothing."""

    def __getitem__(self, function: Any) -> ProcessTime:
        if function not in self:
            self[function] = ProcessTime()
        return super().__getitem__(function)


class FileNames(list):
    """The sets of file names by which Gradio deletes old files: one of each component, but for those of a visit."""

    def append(self, names: set[str]) -> None:
        if LocalContext.renderable.get(None) is None:
            super().append(names)


def forget_functions(app: gr.Blocks) -> None:
    """Let the queue of an app know functions of events only as long as these live. To be called after `queue`."""
    queue: Any = app._queue
    queues: WeakValueDictionary[str, EventQueue] = WeakValueDictionary(queue.event_queue_per_concurrency_id)
    usual = queue.create_event_queue_for_fn

    def create(function: Any) -> None:
        name = function.concurrency_id
        # Without a limit until Gradio sets the function's own.
        function.event_queue = queues.get(name) or queues.setdefault(name, EventQueue(name, None))
        usual(function)

    queue.event_queue_per_concurrency_id = queues
    queue.create_event_queue_for_fn = create  # Gradio calls it at each event
    queue.process_time_per_fn = Times()


def forget_file_names(app: gr.Blocks) -> None:
    """Let an app remember the files of a visit's components in one set. To be called when the pages are built."""
    app.temp_file_sets = FileNames(app.temp_file_sets)


def share_file_names(app: gr.Blocks) -> None:
    """Let the components that were just built for a visit write down their files where uploads are written down."""
    session: Any = LocalContext.blocks_config.get(None)  # of the visit
    for number, block in session.blocks.items() if session else ():
        if number not in app.default_config.blocks:
            block.temp_files = app.upload_file_set


class Unread:
    """Results that wait for those who asked for them. Used in the server's event loop only.

    Gradio keeps the messages of 2,000 sessions, and the names of all sessions that there ever were.
    """

    def __init__(self) -> None:
        self._clients: dict[str, str] = {}  # session -> client
        self._since: dict[str, float] = {}  # session -> since when nobody reads
        self._swept = time.monotonic()

    def note(self, session: str, client: str) -> None:
        """Remember whose session it is."""
        self._clients[session] = client

    def page_read(self, queue: Any, session: str) -> None:
        """Forget the session of a page whose connection has ended, unless it opens another one soon.

        A page that sends several events at once can be answered before it has opened a connection for the last of them. It
        opens the connection all the same, and would take an unknown session for the end of the app.
        """
        asyncio.get_running_loop().call_later(READ_SECONDS, self.call_read, queue, session)

    def call_read(self, queue: Any, session: str) -> None:
        """Forget a session whose reader has gone, unless events of it are under way."""
        if not queue.pending_event_ids_session.get(session) and not READERS.open(session):
            self._drop(queue, session)

    def bound(self, queue: Any, client: str, most: int) -> None:
        """Forget the oldest results of a client that nobody reads, beyond so many."""
        self._look(queue)
        messages = queue.pending_messages_per_session
        unread = [one for one in self._since if self._clients.get(one) == client and not messages[one].empty()]
        for session in unread[: max(0, len(unread) - most)]:
            self._drop(queue, session)

    def sweep(self, app: Any) -> None:
        """Forget results that waited for too long, and names of files that were deleted; at most once a minute."""
        now = time.monotonic()
        if now - self._swept < SWEEP_SECONDS:
            return
        self._swept = now
        queue = app._queue
        self._look(queue)
        for session in [session for session, since in self._since.items() if now - since > UNREAD_SECONDS]:
            self._drop(queue, session)
        queue.server_app.iterators_to_reset &= queue.event_ids_to_events.keys()
        for names in app.temp_file_sets:
            names.difference_update([name for name in tuple(names) if not os.path.exists(name)])

    def _look(self, queue: Any) -> None:
        """Find out which sessions have no reader and no event under way."""
        now, since = time.monotonic(), {}
        running = {event.session_hash for event in queue.event_ids_to_events.values()}
        for session in list(queue.pending_messages_per_session):
            if session not in running and not READERS.open(session):
                since[session] = self._since.get(session, now)
        self._since = since
        known = queue.pending_messages_per_session
        self._clients = {session: client for session, client in self._clients.items() if session in known}

    def _drop(self, queue: Any, session: str) -> None:
        queue.pending_messages_per_session.pop(session, None)
        queue.pending_event_ids_session.pop(session, None)
        self._since.pop(session, None)
        self._clients.pop(session, None)
