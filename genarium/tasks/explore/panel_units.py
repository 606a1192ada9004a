"""Hidden units as switches on the Explore page: all of a binary code, each shown as the pattern that it looks for."""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr
import numpy as np
import torch

from genarium.errors import GenariumError
from genarium.tasks.explore import codes as coding
from genarium.tasks.explore.drawing import tight
from genarium.tasks.explore.explorer import Explorer, Held, held_by
from genarium.ui.answers import said
from genarium.ui.events import LATEST
from genarium.ui.files import data_url
from genarium.ui.texts import TaskTexts

COLUMNS = 25  # of the picture that holds all receptive fields


class UnitSwitches:
    """A switch for each unit, of families that have `receptive_fields`.

    Args:
        texts: of the task.
        explorer: knows the pipelines.
    """

    def __init__(self, texts: TaskTexts, explorer: Explorer):
        self.texts, self.explorer = texts, explorer
        self.html = gr.HTML(
            "", js_on_load=UNITS_JS, apply_default_css=False, padding=False, visible=False, elem_id="explore-units"
        )

    @staticmethod
    def suit(pipeline: Any) -> bool:
        """Return whether a pipeline's code is one of units that can be shown."""
        return pipeline.code_kind == "binary" and hasattr(pipeline, "receptive_fields")

    async def show(self, code: Any, pipeline: Any) -> Any:
        """Return an update that shows the units as they stand in a code [K], or hides them where none can be shown."""
        if not self.suit(pipeline):
            return gr.update(visible=False, value="")
        return gr.update(visible=True, value=await asyncio.to_thread(self._html, code, pipeline))

    def _html(self, code: torch.Tensor, pipeline: Any) -> str:
        fields, on = pipeline.receptive_fields().images, (np.asarray(code) > 0.5).tolist()
        rows = -(-len(fields) // COLUMNS)
        words = self.texts.plain("unit"), self.texts.plain("unit", "zh")
        switches = "".join(
            f'<button type="button" role="switch" aria-checked="{str(bit).lower()}" tabindex="{-1 if i else 0}" '
            f'aria-label="{i + 1}" title="{i + 1}" style="--x:{i % COLUMNS};--y:{i // COLUMNS}"></button>'
            for i, bit in enumerate(on)
        )
        # a rule, because a variable with the picture in it would be copied for each of the switches
        sheet = data_url(tight(fields, COLUMNS))
        count = f"<output>{sum(on)}</output> / {len(on)}"
        return (
            f"<style>.units button {{ background-image: url({sheet}); }}</style>"
            f'<figure class="units"><figcaption>{self.texts.both("units")} '
            f'<span class="count">{self.texts.both("units_on")} {count}</span></figcaption>'
            f'<div role="group" aria-label="{words[0]} · {words[1]}" style="--columns:{COLUMNS};--rows:{rows}">'
            f"{switches}</div></figure>"
        )

    def connect(self, code: gr.State, answer: Any, outputs: list[Any], name: Any) -> None:
        """Connect the switches.

        Args:
            code: state with the code, `Held`.
            answer: async (name, code) -> values for `outputs`, when the code has changed.
            outputs: components, the code first.
            name: component with the checkpoint.
        """

        async def turned(name: str, held: Held | None, event: gr.EventData) -> list[Any]:
            """Turn a unit on or off."""
            code = held_by(held, name)
            unit, on = (
                (event._data.get(key) for key in ("unit", "on")) if isinstance(event._data, dict) else (None, None)
            )
            is_row = isinstance(code, torch.Tensor) and code.ndim == 1
            if not is_row or not coding.is_place(unit, len(code)) or not isinstance(on, bool):
                return [gr.skip()] * len(outputs)
            try:
                return await answer(name, coding.turned(code, unit, on))
            except GenariumError as error:
                raise said(error) from error

        self.html.select(turned, [name, code], outputs, **{**LATEST, "trigger_mode": "multiple"})


# The page turns a switch itself and tells the server which. Arrow keys go from unit to unit, so that a keyboard need not
# stop at each of hundreds.
UNITS_JS = """
const all = () => [...element.querySelectorAll('button[role=switch]')];

function stopAt(button) {
  all().forEach(other => { other.tabIndex = other === button ? 0 : -1; });
}
element.addEventListener('click', event => {
  const button = event.target.closest('button[role=switch]');
  if (!button) return;
  const on = button.getAttribute('aria-checked') !== 'true';
  button.setAttribute('aria-checked', on);
  stopAt(button);
  element.querySelector('.count output').textContent = element.querySelectorAll('[aria-checked=true]').length;
  trigger('select', {unit: all().indexOf(button), on: on});
});
element.addEventListener('keydown', event => {
  const button = event.target.closest('button[role=switch]');
  if (!button) return;
  const buttons = all(), at = buttons.indexOf(button);
  const wide = buttons.filter(other => other.offsetTop === buttons[0].offsetTop).length;
  const to = {ArrowLeft: at - 1, ArrowRight: at + 1, ArrowUp: at - wide, ArrowDown: at + wide, Home: 0,
    End: buttons.length - 1}[event.key];
  if (to === undefined) return;
  event.preventDefault();
  if (buttons[to]) { stopAt(buttons[to]); buttons[to].focus(); }
});
"""
