"""What the clients of MCP send and read. The MCP library checks it without bounds; the gate calls these functions."""

from __future__ import annotations

import json
import re
from typing import Any

from genarium.messages import printable, quoted, shortened
from genarium.ui.answers import MAX_REPEATED

ADDRESS = re.compile(r"/gradio_api/mcp(?:/.*)?$")
DATA = b"data: "  # begins a line of an event stream that carries an answer


def refusal(body: bytes) -> str | None:
    """Return why a request is not read, or None.

    The library answers with status 500 where Python refuses to read JSON: a number of more than 4,300 digits, brackets
    that are nested too deep, halves of UTF-16 pairs.
    """
    try:
        json.dumps(json.loads(body), ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        return f"This is no JSON that this app reads: {quoted(str(error))}."
    return None


def shorten_errors(event: bytes) -> bytes:
    """Cut the errors in an event of a stream after `MAX_REPEATED` characters: they repeat the arguments in whole."""
    if len(event) <= MAX_REPEATED or not (b'"isError":true' in event or b'"error":' in event):
        return event
    return b"\n".join(_shorten_line(line) for line in event.split(b"\n"))


def _shorten_line(line: bytes) -> bytes:
    try:
        answer = json.loads(line.removeprefix(DATA)) if line.startswith(DATA) else None
    except ValueError:  # an event that comes in pieces
        return line
    if not isinstance(answer, dict):
        return line
    for holder, key in _errors(answer):
        holder[key] = printable(shortened(holder[key], MAX_REPEATED))
    return DATA + json.dumps(answer).encode() + (b"\r" if line.endswith(b"\r") else b"")


def _errors(answer: dict) -> list[tuple[dict, str]]:
    """Return where an answer holds the text of an error: as JSON-RPC does, and as a tool does."""
    error, result = answer.get("error"), answer.get("result")
    found: list[tuple[Any, str]] = [(error, "message")]
    if isinstance(result, dict) and result.get("isError"):
        found += [(part, "text") for part in result.get("content") or []]
    return [(holder, key) for holder, key in found if isinstance(holder, dict) and isinstance(holder.get(key), str)]
