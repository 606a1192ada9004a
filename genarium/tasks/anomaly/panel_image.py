"""How the score of a picture is shown: the verdict, and where in the picture the model finds it strange."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr
import numpy as np
import PIL.Image

from genarium.checkpoints import Checkpoint
from genarium.media.pictures import heat_map
from genarium.tasks.anomaly.panel_verdict import Scored
from genarium.tasks.anomaly.results import PictureScores
from genarium.ui.files import keep_picture
from genarium.ui.panels import keep_large, large, picture
from genarium.ui.texts import TaskTexts, markup

SHADES = 9  # of the scale; the browser blends them


class Panel(Scored[PictureScores]):
    """The verdict, the picture as the model saw it, and a heat map over it."""

    blanks = 2

    def __init__(self, texts: TaskTexts):
        with gr.Column(visible=False) as self.group:
            self._build_verdict(texts)
            with gr.Row(elem_classes="side-by-side"):
                self.seen = picture(texts("seen"))
                self.map = picture(texts("heat_map"))
            self.scale = markup("")

    @property
    def outputs(self) -> list[Any]:
        return [*super().outputs, self.seen, self.map, self.scale]

    def fill(self, result: PictureScores, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        seen = result.inputs[0]
        shown, scale = gr.update(visible=False), ""
        if result.maps is not None:
            map_ = np.maximum(result.maps[0], 0)
            heated, scale = large(heat_map(map_, seen)), scale_html(float(map_.max()), self.texts)
            name = f"{checkpoint.stem}-heat-map.png"
            shown = gr.update(visible=True, value=keep_picture(heated, name, result.request))
        verdict = super().fill(result, checkpoint, data)
        return {**verdict, self.seen: keep_large(seen), self.map: shown, self.scale: scale}


def scale_html(high: float, texts: TaskTexts) -> str:
    """Return the colours of a heat map over a grey that is neither dark nor bright, with the values at their ends.

    Args:
        high: the value in full colour.
        texts: of the task.
    """
    colours = np.asarray(heat_map(np.linspace(0, 1, SHADES)[None], PIL.Image.new("L", (SHADES, 1), 128)))[0]
    shades = ", ".join(f"rgb({red} {green} {blue})" for red, green, blue in colours)
    ends = f"<span>{texts.both('heat_none')}</span><span>{texts.both('heat_most', high=f'{high:.3g}')}</span>"
    return f'<div class="heat-scale"><i style="background:linear-gradient(90deg, {shades})"></i><p>{ends}</p></div>'
