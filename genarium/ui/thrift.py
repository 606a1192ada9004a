"""What Gradio does at each event for components that the event has nothing to do with, left out.

A page has some hundred components, and a run of a visitor is many events: each step is one. On two cores the work for these
took as long as the computing.
"""

from __future__ import annotations

from copy import copy
from types import SimpleNamespace
from typing import Any

import gradio as gr
from gradio.blocks import Blocks, convert_component_dict_to_list
from gradio.state_holder import SessionState

UNCHANGED = {"__type__": "update"}  # what `gr.skip()` is


class _Spare:
    """Gradio's own method, kept when it is replaced, which happens once."""

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


def spare_outputs(app: gr.Blocks) -> None:
    """Let an event build only those of its outputs that it changes.

    Gradio builds each output anew at each event, also those of which the event says nothing: thirty for each step of a run.
    """
    usual: Any = app.postprocess_data

    async def postprocess_data(function: Any, given: Any, state: Any) -> list[Any]:
        outputs = list(function.outputs)
        values = given
        if isinstance(given, dict) and given:
            values = [given] * len(outputs) if given == UNCHANGED else convert_component_dict_to_list(outputs, given)
        special = function.batch or function.is_validator_function or len(outputs) < 2
        if special or not isinstance(values, (list, tuple)) or len(values) != len(outputs):
            return await usual(function, given, state)
        changed = [i for i, value in enumerate(values) if not _is_unchanged(value)]
        data: list[Any] = [None if output.stateful else dict(UNCHANGED) for output in outputs]
        if changed:
            # A single output would get the list of values as its value, so another one is built with it.
            built = changed if len(changed) > 1 else [*changed, 0 if changed[0] else 1]
            part = copy(function)
            part.outputs = [outputs[i] for i in built]
            for i, value in zip(changed, await usual(part, [values[i] for i in built], state), strict=False):
                data[i] = value
        return data

    app.postprocess_data = postprocess_data  # type: ignore[method-assign, assignment]


def _is_unchanged(value: Any) -> bool:
    return isinstance(value, dict) and value == UNCHANGED
