"""What made a result: a line above it with model, seed, settings and time; and the result grows dim when these are changed.

The browser compares by itself: it keeps what the page held when Run was pressed, and looks again at each change.
"""

from __future__ import annotations

import html
import json
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.runtime import Result
from genarium.ui.runs import seconds
from genarium.ui.texts import TaskTexts, Texts, in_both, in_both_of

CSS = """
.made { font-size: 14px; line-height: 1.5; padding: 0 2px; color: var(--body-text-color-subdued); overflow-wrap: anywhere; }
.made b { font-weight: 600; color: var(--body-text-color); }
.made .changed { display: none; margin-left: 8px; color: var(--body-text-color); }
.stale .made .changed { display: inline; }
.stale .outcome { opacity: .4; filter: grayscale(.7); }
"""
# What the page holds at the press of Run, by task. It belongs to the result that comes next, if one comes. Enter in the seed while
# a run is under way starts none.
KEEP_JS = """(...values) => {{
  if (!document.getElementById({task} + '-run')?.disabled) (window.genariumAsked ??= {{}})[{task}] = values;
  return values;
}}"""
COMPARE_JS = """(...values) => {{
  const answer = document.getElementById({task} + '-answer'), made = answer?.querySelector('.made');
  if (!answer) return;
  const held = (window.genariumMade ??= {{}});
  if (made && held[{task}]?.run !== made.dataset.run)
    held[{task}] = {{run: made.dataset.run, values: window.genariumAsked?.[{task}]}};
  const before = made && held[{task}].values, text = value => JSON.stringify(value?.path ?? value);
  answer.classList.toggle('stale', !!before && JSON.parse(made.dataset.counts).some(i => text(values[i]) !== text(before[i])));
}}"""


class Provenance:
    """The line above a task's result, and the events that tell whether it still holds.

    Args:
        texts: of the task.
        name: of the task.
    """

    def __init__(self, texts: TaskTexts, name: str):
        self.texts, self.name = texts, name
        self.line = gr.HTML("", apply_default_css=False, padding=False, elem_id=f"{name}-made")

    @property
    def keep(self) -> str:
        """JavaScript for the event that runs: remembers what the page holds."""
        return KEEP_JS.format(task=json.dumps(self.name))

    @property
    def compare(self) -> str:
        """JavaScript for the event after it."""
        return COMPARE_JS.format(task=json.dumps(self.name))

    def watch(self, places: Sequence[Any]) -> None:
        """Compare at each change.

        Args:
            places: the components that a run reads, in the order of their numbers.
        """
        events = [place.change for place in places if hasattr(place, "change")]
        gr.on(
            events,
            None,
            list(places),
            None,
            js=self.compare,
            trigger_mode="multiple",
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

    def of(self, result: Result, checkpoint: Checkpoint, counting: Sequence[int]) -> str:
        """Return the line for a result.

        Args:
            result: which is shown.
            checkpoint: which made it.
            counting: places of the components, among all that a run reads, upon which the result depends.
        """
        request = result.request
        facts = [f"<b>{in_both_of(checkpoint.title)}</b>", _seeds(result)]
        facts += settings_html(checkpoint, request.task, request.parameters)
        facts.append(seconds(result.seconds))
        counts, run = json.dumps(list(counting)), secrets.token_hex(4)
        return (
            f'<div class="made" data-run="{run}" data-counts="{counts}">{" · ".join(facts)}'
            f'<span class="changed">{Texts.both("changed")}</span></div>'
        )


def settings_html(checkpoint: Checkpoint, task: str, parameters: Mapping[str, Any]) -> list[str]:
    """Return the settings of a request as HTML, each with its label; those that nobody can set, or that the task does not use, are left out."""
    chinese = checkpoint.family.translations.get("zh", {})
    shown, controls = [], checkpoint.controls(task)
    values = {name: parameters.get(name, control.default) for name, control in controls.items()}
    for name, control in controls.items():
        value = values[name]
        if control.hidden or value == "" or value is None or not control.is_used(values):
            continue
        words = (
            "✓"
            if value is True
            else "–"
            if value is False
            else f"{value:g}"
            if isinstance(value, float)
            else str(value)
        )
        label, safe = control.label.lower(), html.escape(words)
        shown.append(
            in_both(f"{html.escape(label)} {safe}", f"{html.escape(chinese.get(control.label, label))} {safe}")
        )
    return shown


def _seeds(result: Result) -> str:
    """Return the seed in words; of several samples each has its own."""
    first, number = result.request.seed, result.request.batch_size
    return (
        Texts.both("made_seed", seed=first)
        if number < 2
        else Texts.both("made_seeds", first=first, last=first + number - 1)
    )
