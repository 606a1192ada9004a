"""What Gradio remembers of a session: only what is its own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from gradio.blocks import Blocks
from gradio.state_holder import SessionState


class _Spare:
    """A mark on the method that replaces Gradio's, so that it is replaced once."""

    usual: Any = None


def spare_sessions() -> None:
    """Let a new session begin without a description of every component.

    Gradio writes one of each component of all pages into each session, which took 60 ms of a core for each call of the web API, and
    reads them only for deep links, which the gate refuses. What an event changes is written down when it happens.
    """
    if _Spare.usual is not None:
        return
    usual = _Spare.usual = SessionState.__init__

    def begin(self: SessionState, blocks: Blocks) -> None:
        usual(self, SimpleNamespace(default_config=blocks.default_config, blocks=()))  # type: ignore[arg-type]

    SessionState.__init__ = begin  # type: ignore[method-assign]
