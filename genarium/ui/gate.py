"""The gate before the app: an ASGI middleware that limits how much one client, and all together, may ask at once."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from typing import Any
from urllib.parse import parse_qs

from gradio.route_utils import FnIndexInferError
from starlette.exceptions import HTTPException

from genarium.messages import quoted
from genarium.ui import tools
from genarium.ui.forgetting import Unread
from genarium.ui.readers import READERS, VISITS
from genarium.ui.storage import MIB, STORAGE

CALLS_PER_CLIENT = 24  # events of a client that wait or run, and results of it that nobody reads
UPLOADS_PER_CLIENT = 4  # at the same time
UPLOADS = 16  # of all clients at the same time
MAX_BODY = 4 * MIB  # of a request that uploads no file
MAX_UPLOAD_BODY = 66 * MIB  # a file of the largest size that is taken, and its frame
VISIT_GRACE_SECONDS = 300  # a browser that lost its connection may come back

# What may be posted. Gradio has more, which this app has no use for: a recorder of videos, an editor of code.
POSTS = re.compile(
    r"/(?:(?:gradio_api/)?(?:queue/join|(?:call|run|api)/(?:v2/)?[^/]+|upload|cancel|reset|component_server|login)"
    r"|gradio_api/mcp(?:/.*)?)/?$"
)
# What may not be read: files of other machines, which the app would fetch, and states of pages, which it would write.
CLOSED = re.compile(
    r"/(?:gradio_api/)?(?:proxy=|file[=/]https?:|deep_link|run-history|vibe-|dev/|profiling|monitoring)", re.I
)
LONGEST_NAME = 255  # bytes of one part of a path; file systems take no longer ones
JOIN = re.compile(r"/(?:gradio_api/)?(?:queue/join|call/(?:v2/)?[^/]+)/?$")
ARGUMENTS = (LookupError, TypeError, ValueError, RecursionError, FnIndexInferError)
READ = re.compile(r"/(?:gradio_api/)?call/(?:v2/)?[^/]+/([^/]+)/?$")
DATA = re.compile(r"/(?:gradio_api/)?queue/data/?$")
HEARTBEAT = re.compile(r"/(?:gradio_api/)?heartbeat/([^/]+)/?$")
UPLOAD = re.compile(r"/(?:gradio_api/)?upload/?$")


class TooLarge(Exception):
    """An error: the body of a request is longer than it may be."""


class Gate:
    """An ASGI middleware that refuses what is too much.

    Args:
        app: the ASGI app behind it.
        blocks: the pages of Gradio behind that.
    """

    def __init__(self, app: Any, blocks: Any):
        self.app, self.blocks = app, blocks
        self._unread = Unread()
        self._uploads: Counter[str] = Counter()

    @property
    def queue(self) -> Any:
        """Gradio's queue of events."""
        return self.blocks._queue

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        path, client = scope["path"], (scope.get("client") or ("unknown",))[0]
        posted = scope["method"] not in ("GET", "HEAD", "OPTIONS")
        if not POSTS.search(path) if posted else CLOSED.search(path):
            await _drain(receive, MAX_BODY)
            await _answer(send, 404, "There is nothing at this address.")
        elif max(map(len, path.encode(errors="replace").split(b"/"))) > LONGEST_NAME:
            await _answer(send, 414, "No part of an address may be so long.")
        elif scope["method"] == "GET":
            await self._get(path, scope, receive, send)
        elif UPLOAD.search(path):
            await self._upload(client, scope, receive, send)
        elif JOIN.search(path) and (refusal := await self._refusal(client)):
            await _answer(send, 429, refusal)
        elif tools.ADDRESS.search(path):
            await self._bounded(MAX_BODY, scope, receive, send, self._tool)
        else:
            await self._bounded(MAX_BODY, scope, receive, send)
            if JOIN.search(path):
                for event in self.queue.event_ids_to_events.values():
                    self._unread.note(event.session_hash, _client(event))

    async def _tool(self, scope: Any, receive: Any, send: Any) -> None:
        """Read the whole of a request to the MCP server before it does, and shorten the errors in its answer."""
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        if refusal := tools.refusal(body) if scope["method"] == "POST" else None:
            await _answer(send, 400, refusal)
            return
        sent = iter([{"type": "http.request", "body": body}])

        async def repeated() -> Any:
            return next(sent, None) or await receive()

        async def shortened(message: Any) -> None:
            if body := message.get("body"):
                message = message | {"body": tools.shorten_errors(body)}
            await send(message)

        await self.app(scope, repeated, shortened)

    async def _get(self, path: str, scope: Any, receive: Any, send: Any) -> None:
        """Remember who reads, while the connection is open."""
        if visit := HEARTBEAT.search(path):
            with VISITS.reading(visit[1]):
                try:
                    await self.app(scope, receive, send)
                finally:
                    asyncio.get_running_loop().call_later(VISIT_GRACE_SECONDS, end_visit, visit[1])
            return
        session, over = None, self._unread.page_read
        if found := READ.search(path):
            event = self.queue.event_ids_to_events.get(found[1])
            session = found[1] if event is None else event.session_hash
            if session not in self.queue.pending_messages_per_session:  # Gradio would break off in the middle
                await _answer(send, 404, "There is no such call: its result was read, or the app was started anew.")
                return
            if session == found[1]:  # not one that goes on
                over = self._unread.call_read
        elif DATA.search(path):
            asked = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
            session = asked.get("session_hash", [""])[-1]  # an empty one is a session, too, which nobody has
        if session is None:
            await self.app(scope, receive, send)
        else:
            try:
                with READERS.reading(session):
                    await self._stream(scope, receive, send)
            finally:
                over(self.queue, session)

    async def _stream(self, scope: Any, receive: Any, send: Any) -> None:
        """Let the app send its events. It raises a 404 in the middle of them when the visit ends meanwhile; nobody reads it."""
        try:
            await self.app(scope, receive, send)
        except RuntimeError as error:  # of Starlette: an answer has begun, and the 404 came as another one
            if not isinstance(error.__cause__, HTTPException):
                raise
            await send({"type": "http.response.body", "body": b""})

    async def _refusal(self, client: str) -> str | None:
        """Return why an event of this client is refused, or None. Events that nobody reads leave the queue first."""
        queue = self.queue
        self._unread.sweep(self.blocks)
        self._unread.bound(queue, client, CALLS_PER_CLIENT)
        for event in list(queue.event_ids_to_events.values()):
            if READERS.left(event):
                await queue.clean_events(event_id=event._id)
        waiting = sum(_client(event) == client for event in queue.event_ids_to_events.values())
        if waiting < CALLS_PER_CLIENT:
            return None
        return f"{waiting} of your calls wait or run; at most {CALLS_PER_CLIENT} may. Read the results of those first."

    async def _upload(self, client: str, scope: Any, receive: Any, send: Any) -> None:
        if self._uploads[client] >= UPLOADS_PER_CLIENT or sum(self._uploads.values()) >= UPLOADS:
            await _answer(send, 429, "Too many uploads at the same time. Wait until one of them has ended.")
            return
        status, body = 0, b""

        async def keep_answer(message: Any) -> None:
            nonlocal status, body
            status = message.get("status", status)
            if len(body) < MIB:
                body += message.get("body", b"")
            await send(message)

        self._uploads[client] += 1
        try:
            await self._bounded(MAX_UPLOAD_BODY, scope, receive, keep_answer)
        finally:
            self._uploads[client] -= 1
            if not self._uploads[client]:
                del self._uploads[client]
        if status == 200:
            for path in json.loads(body):
                await asyncio.to_thread(STORAGE.add, f"client {client}", path)

    async def _bounded(self, most: int, scope: Any, receive: Any, send: Any, app: Any = None) -> None:
        """Call the app, or what stands before it, with a body of at most so many bytes, however it is sent."""
        app, read, started = app or self.app, 0, False
        refused = int(dict(scope["headers"]).get(b"content-length", b"0")) > most

        async def counted() -> Any:
            nonlocal read, refused
            message = await receive()
            read += len(message.get("body", b""))
            if read > most:
                refused = True
                raise TooLarge
            return message

        async def noted(message: Any) -> None:
            nonlocal started
            if not refused:  # what the app says of a body that broke off is not the reason
                started = True
                await send(message)

        try:
            if not refused:
                await app(scope, counted, noted)
        except TooLarge:
            pass
        except ARGUMENTS as error:  # Gradio has no such endpoint, or fails over what it was sent, or over saying so
            if started or not POSTS.search(scope["path"]):
                raise
            await _answer(send, 400, f"This is no request that this app understands: {quoted(str(error))}.")
        if refused and not started:
            await _drain(receive, 2 * most - read)
            await _answer(send, 413, f"The request is too large; at most {most / MIB:g} MiB are taken.")


def _client(event: Any) -> str:
    client = event.request.client
    return client.host if client else "unknown"


def end_visit(session: str) -> None:
    """Delete the results of a page that has been closed."""
    if not VISITS.open(session):
        STORAGE.leave(f"visit {session}")


async def _drain(receive: Any, most: int) -> None:
    """Read what is left of a body, up to so many bytes: a client that is still sending would not see the answer."""
    more = True
    while more and most > 0:
        message = await receive()
        more, most = message.get("more_body", False), most - len(message.get("body", b""))


async def _answer(send: Any, status: int, text: str) -> None:
    body = json.dumps({"detail": text}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
