"""The left column of the page Check: which checkpoint looks at which pictures, and what errors would cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gradio as gr

from genarium.errors import InputError
from genarium.messages import quoted
from genarium.tasks.anomaly.decision import Costs
from genarium.tasks.check import camera
from genarium.ui.pages import Page
from genarium.ui.picker import choices_of


@dataclass(frozen=True)
class Stakes:
    """What a visitor says of the work that the threshold is for.

    Args:
        per_hour: pictures.
        costs: of errors.
    """

    per_hour: float
    costs: Costs


class Question:
    """The components in which a visitor asks for a check."""

    def __init__(self, page: Page):
        runtime, texts = page.runtime, page.texts
        names = list(runtime.catalogue.offering("check"))
        if page.checkpoint not in names:  # one that this visitor brought
            names.append(page.checkpoint)
        self.checkpoint = gr.Dropdown(
            choices_of(map(runtime.checkpoint, names), texts),
            value=page.checkpoint,
            label=texts("checkpoint"),
            filterable=False,
            interactive=True,
            elem_id="check-checkpoint",
        )
        self.files = gr.File(
            label=texts("files"), file_count="multiple", interactive=True, height=170, elem_id="check-files"
        )
        with gr.Row(elem_classes="run-row"):
            self.run = gr.Button(texts("run"), variant="primary", elem_id="check-run", scale=3)
            self.stop = gr.Button(texts("stop"), interactive=False, elem_id="check-stop", scale=1)
        self.per_hour = gr.Number(3600, label=texts("per_hour"), minimum=0, interactive=True, elem_id="check-per-hour")
        with gr.Accordion(texts("costs"), open=False, elem_classes="settings"):
            usual = Costs()
            self.alarm = gr.Number(usual.false_alarm, label=texts("cost_alarm"), interactive=True)
            self.miss = gr.Number(usual.miss, label=texts("cost_miss"), interactive=True, elem_id="check-miss")
            self.share = gr.Number(usual.share, label=texts("share"), interactive=True)
            self.take_best = gr.Button(texts("take_best"), size="sm", elem_id="check-best")
        with gr.Accordion(texts("camera"), open=False, elem_classes="settings", elem_id="check-camera-part"):
            self.camera = camera.build(page.task, runtime, page.checkpoint)

    @property
    def stakes(self) -> list[Any]:
        """The components that `stakes_of` reads."""
        return [self.per_hour, self.alarm, self.miss, self.share]

    def stakes_of(self, data: dict[Any, Any]) -> Stakes:
        """Return what a visitor says of the work, of the page's values by component.

        Raises:
            InputError: a number is missing or out of range.
        """
        numbers = [data[self.alarm], data[self.miss], data[self.share]]
        if any(number is None for number in numbers):
            raise InputError("Give the costs of a false alarm and of a miss, and the share of strange pictures.")
        return Stakes(number_of(data[self.per_hour] or 0), Costs(*map(number_of, numbers)))


def number_of(value: Any) -> float:
    """Return a number of the page, which a program may send as anything.

    Raises:
        InputError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e30:
        raise InputError(f"Give a number, not {quoted(value)}.")
    return float(value)
