"""Whether the app reaches itself, which Gradio asks at the end of a launch."""

from __future__ import annotations

import httpx
from gradio import networking

REACH_SECONDS = 60.0  # in which the app must answer itself


def be_patient() -> None:
    """Let Gradio wait longer for the app's own answer than its three seconds.

    A visitor who asks for a picture at once makes the app import torch just then, which on a busy machine takes longer.
    """
    networking.url_ok = answers


def answers(url: str) -> bool:
    """Return whether the app answers at its own address."""
    try:
        return httpx.head(url, timeout=REACH_SECONDS, verify=False).status_code < 400
    except (ConnectionError, httpx.TransportError):
        return False
