"""A program that uses the web API by hand, as nobody should: JSON that a client of Gradio would never send."""

from __future__ import annotations

import json
from typing import Any

import httpx

API = "gradio_api"


def post(http: httpx.Client, name: str, body: Any) -> httpx.Response:
    """Ask for an event of an endpoint. A body that is bytes goes as it is."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return http.post(f"{API}/call/{name}", content=data, headers={"content-type": "application/json"})


def read(http: httpx.Client, name: str, event: str) -> tuple[str, Any]:
    """Return how an event ended, "complete" or "error", and with what."""
    kind = ""
    with http.stream("GET", f"{API}/call/{name}/{event}") as answer:
        for line in answer.iter_lines():
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: ") and kind in ("complete", "error"):
                return kind, json.loads(line.removeprefix("data: "))
    return "nothing", None


def call(http: httpx.Client, name: str, *arguments: Any) -> tuple[str, Any]:
    """Call an endpoint; return as `read`, or "refused" and the status where it does not even become an event."""
    answer = post(http, name, {"data": list(arguments)})
    if answer.status_code != 200:
        return "refused", answer.status_code
    return read(http, name, answer.json()["event_id"])


def upload(http: httpx.Client, data: bytes, name: str = "a.png") -> dict[str, Any]:
    """Upload a file; return it as an argument."""
    answer = http.post(f"{API}/upload", files={"files": (name, data)})
    answer.raise_for_status()
    return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}
