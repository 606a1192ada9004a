"""How a walk from one picture to another is shown: the two as the model saw them, an animation, and the strip of frames."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.runtime import Pictures
from genarium.ui.files import keep_animation, keep_results
from genarium.ui.panels import Panel as Base
from genarium.ui.panels import captioned, filled, gallery, keep_large, picture
from genarium.ui.texts import TaskTexts


class Panel(Base[Pictures]):
    """The animation between its two ends, and a gallery of the frames."""

    blanks = 3

    def __init__(self, texts: TaskTexts):
        with gr.Column(visible=False) as self.group:
            with gr.Row(elem_classes="side-by-side"):
                self.a = picture(texts("input_a"))
                self.animation = picture(texts("animation"))
                self.b = picture(texts("input_b"))
            self.strip = gallery(texts("strip"))
            self.gif = gr.DownloadButton(cast(str, texts("gif")), size="sm", elem_id="interpolate-gif")

    @property
    def outputs(self) -> list[Any]:
        return [self.group, self.a, self.animation, self.b, self.strip, self.gif]

    @property
    def pictures(self) -> Any:
        return self.strip

    def fill(self, result: Pictures, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        files = keep_results(result)
        numbers = [f"{i} / {len(files)}" for i in range(1, len(files) + 1)]
        return {
            self.a: keep_large(result.inputs[0]),
            self.b: keep_large(result.inputs[1]),
            self.animation: keep_animation(result.pictures, f"{checkpoint.stem}-interpolation.webp"),
            self.gif: gr.update(value=keep_animation(result.pictures, f"{checkpoint.stem}-interpolation.gif")),
            self.strip: filled(captioned(files, result.words or numbers), min(8, len(files))),
        }
