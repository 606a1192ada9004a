"""How much the Hub may say: its answers about a repository, and its errors, have an end. Files are bounded where they are fetched.

huggingface_hub reads such an answer whole, into the memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import httpx2  # huggingface_hub's own HTTP client
from huggingface_hub import constants, get_session

from genarium.errors import HubError

MAX_ANSWER = 16 * 2**20  # bytes; that about a repository of 50,000 files has a half of it


def bound_answers() -> None:
    """Let huggingface_hub's client of this process refuse answers of more than `MAX_ANSWER` bytes, as HubError.

    Answers are asked for unpacked, and those about a repository must be, so that their length is what comes. To be called
    before each question: huggingface_hub may have a new client.
    """
    hooks = get_session().event_hooks
    if _bound not in hooks["response"]:
        hooks["response"].append(_bound)
        hooks["request"].append(_ask_unpacked)
        get_session().event_hooks = hooks


def _ask_unpacked(request: httpx2.Request) -> None:
    request.headers["Accept-Encoding"] = "identity"


def _bound(response: httpx2.Response) -> None:
    about = response.request.url.path.startswith("/api/")
    if not about and response.status_code < 400:
        return
    packed = about and response.headers.get("Content-Encoding", "identity").lower() != "identity"
    if packed or int(response.headers.get("Content-Length") or 0) > MAX_ANSWER:
        raise HubError(_too_long())
    response.stream = _Counted(cast(httpx2.SyncByteStream, response.stream))


class _Counted(httpx2.SyncByteStream):
    """The body of an answer, which ends with an error where it has too many bytes."""

    def __init__(self, stream: httpx2.SyncByteStream):
        self.stream = stream

    def __iter__(self) -> Iterator[bytes]:
        read = 0
        for chunk in self.stream:
            read += len(chunk)
            if read > MAX_ANSWER:
                raise HubError(_too_long())
            yield chunk

    def close(self) -> None:
        self.stream.close()


def _too_long() -> str:
    return (
        f"The answer of {constants.ENDPOINT} is packed or has more than {MAX_ANSWER / 2**20:g} MiB, so it was thrown away. "
        "Check HF_ENDPOINT; the Hub itself sends no such answer."
    )
