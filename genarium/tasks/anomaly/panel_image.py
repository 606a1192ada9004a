"""How the score of a picture is shown: the verdict, and where in the picture the model finds it strange."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
import numpy as np

from genarium.checkpoints import Checkpoint
from genarium.media.pictures import heat_map
from genarium.tasks.anomaly.panel_verdict import Scored
from genarium.tasks.anomaly.results import PictureScores
from genarium.ui.files import keep_picture
from genarium.ui.panels import keep_large, large, picture
from genarium.ui.texts import TaskTexts


class Panel(Scored[PictureScores]):
    """The verdict, the picture as the model saw it, and a heat map over it."""

    blanks = 2

    def __init__(self, texts: TaskTexts):
        with gr.Column(visible=False) as self.group:
            self._build_verdict(texts)
            with gr.Row(elem_classes="side-by-side"):
                self.seen = picture(texts("seen"))
                self.map = picture(texts("heat_map"))

    @property
    def outputs(self) -> list[Any]:
        return [*super().outputs, self.seen, self.map]

    def fill(self, result: PictureScores, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        seen = result.inputs[0]
        shown = gr.update(visible=False)
        if result.maps is not None:
            heated = large(heat_map(np.maximum(result.maps[0], 0), seen))
            name = f"{checkpoint.stem}-heat-map.png"
            shown = gr.update(visible=True, value=keep_picture(heated, name, result.request))
        return {**super().fill(result, checkpoint, data), self.seen: keep_large(seen), self.map: shown}
