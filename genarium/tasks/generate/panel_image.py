"""How generated pictures are shown: a gallery of exact PNGs, all of them on one sheet, and the film of a chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.media.pictures import enlarge, grid
from genarium.runtime import Pictures
from genarium.ui.files import columns, keep_picture, keep_results
from genarium.ui.film import build_film, film_html
from genarium.ui.panels import Panel as Base
from genarium.ui.panels import captioned, captions, filled, gallery
from genarium.ui.texts import TaskTexts


class Panel(Base[Pictures]):
    """A gallery, a button that downloads all pictures as one, and the film of models that draw by a Markov chain."""

    blanks = 16

    def __init__(self, texts: TaskTexts):
        with gr.Column(visible=False) as self.group:
            self.gallery = gallery(texts("results"))
            self.download = gr.DownloadButton(cast(str, texts("sheet")), size="sm")
            self.film = build_film(elem_id="generate-film")

    @property
    def outputs(self) -> list[Any]:
        return [self.group, self.gallery, self.download, self.film]

    @property
    def pictures(self) -> Any:
        return self.gallery

    def fill(self, result: Pictures, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        files = keep_results(result)
        wide = columns(len(files))
        sheet = grid([enlarge(p, 112) for p in result.pictures], wide, gap=8)
        name = f"{checkpoint.stem}-seed{result.request.seed}-sheet.png"
        return {
            self.gallery: filled(captioned(files, captions(result, checkpoint)), wide),
            self.download: gr.update(value=keep_picture(sheet, name, result.request)),
            self.film: film_html(result.frames, result.frame_steps),
        }
