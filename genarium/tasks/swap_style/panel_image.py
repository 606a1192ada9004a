"""How a swap of style is shown: content and style as the model saw them, what came of the two, and the map of styles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.tasks.swap_style.panel_map import map_html
from genarium.tasks.swap_style.results import SwappedPictures
from genarium.ui.files import columns, keep_results
from genarium.ui.panels import Panel as Base
from genarium.ui.panels import filled, gallery, keep_large, picture
from genarium.ui.texts import TaskTexts, markup


class Panel(Base[SwappedPictures]):
    """Two pictures side by side, a gallery of the results, and the map."""

    blanks = 3

    def __init__(self, texts: TaskTexts):
        self.texts = texts
        with gr.Column(visible=False) as self.group:
            with gr.Row(elem_classes="side-by-side"):
                self.content = picture(texts("input_content"))
                self.style = picture(texts("input_style"))
            self.gallery = gallery(texts("results"))
            self.map = markup("")

    @property
    def outputs(self) -> list[Any]:
        return [self.group, self.content, self.style, self.gallery, self.map]

    @property
    def pictures(self) -> Any:
        return self.gallery

    def fill(self, result: SwappedPictures, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        files = keep_results(result)
        content, *style = result.inputs  # no style picture where it was chosen by its name
        return {
            self.content: keep_large(content),
            self.style: gr.update(visible=bool(style), value=keep_large(style[0]) if style else None),
            self.gallery: filled(files, columns(len(files))),
            self.map: map_html(result.style_map, self.texts),
        }
