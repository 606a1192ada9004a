"""How the residual of a picture is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
import PIL.Image

from genarium.checkpoints import Checkpoint
from genarium.media.pictures import heat_map
from genarium.ui.panels import Panel as Base
from genarium.ui.panels import large, picture
from genarium.ui.texts import TaskTexts, markup
from genarium_residual.results import Residuals


class Panel(Base[Residuals]):
    """The input as the model saw it, the residual as a heat map, and its mean in words."""

    blanks = 2

    def __init__(self, texts: TaskTexts):
        self.texts = texts
        with gr.Column(visible=False) as self.group:
            with gr.Row(elem_classes="side-by-side"):
                self.seen = picture(texts("seen"))
                self.residual = picture(texts("residual"))
            self.note = markup("")

    @property
    def outputs(self) -> list[Any]:
        return [self.group, self.seen, self.residual, self.note]

    def fill(self, result: Residuals, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        residual = result.residuals[0].mean(axis=-1)  # [H, W]
        heat = heat_map(residual, PIL.Image.new("L", residual.shape[::-1]), high=0.5, alpha=1.0)
        words = self.texts.both("mean_residual", share=100 * residual.mean())
        return {
            self.seen: large(result.inputs[0]),
            self.residual: large(heat),
            self.note: f'<p class="note">{words}</p>',
        }
