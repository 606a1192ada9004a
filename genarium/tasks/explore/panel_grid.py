"""A code grid to paint on: its codes as colours, and a palette of codes as what each of them draws."""

from __future__ import annotations

from typing import Any

import gradio as gr
import numpy as np
import torch

from genarium.errors import GenariumError
from genarium.tasks.explore.explorer import Explorer, Held, held_by
from genarium.tasks.explore.panel_map import numbers
from genarium.tasks.explore.panel_plane import build_plane, code_grid_svg, picture_html
from genarium.ui.answers import said
from genarium.ui.events import LATEST
from genarium.ui.files import keep_shown
from genarium.ui.panels import large
from genarium.ui.texts import TaskTexts, markup

PALETTE = 40  # codes
SWATCH = 40  # pixels


class GridPainter:
    """The grid, the palette below it, and which code is on the brush.

    Args:
        texts: of the task.
        explorer: decodes.
    """

    def __init__(self, texts: TaskTexts, explorer: Explorer):
        self.texts, self.explorer = texts, explorer
        self.brush = gr.State(0)
        self.codes = gr.State([])  # of the palette
        with gr.Column(visible=False) as self.group:
            markup(f'<p class="plane-words">{texts.both("paint")}</p>')
            with gr.Row():
                with gr.Column(min_width=240):
                    self.grid = build_plane("", elem_id="explore-grid")
                with gr.Column(min_width=240):
                    self.palette = gr.Gallery(
                        show_label=False,
                        allow_preview=False,
                        columns=8,
                        height="auto",
                        interactive=False,
                        buttons=[],
                        elem_classes=["pixels", "explore-palette"],
                        elem_id="explore-palette",
                    )

    @property
    def shown(self) -> list[Any]:
        """What `show` updates."""
        return [self.group, self.grid, self.palette, self.codes, self.brush]

    async def show(self, name: str, code: Any, pipeline: Any) -> list[Any]:
        """Return updates for a code grid; for None, those that hide it."""
        if code is None:
            return [gr.update(visible=False), "", None, [], 0]
        palette = self._palette(code, int(pipeline.code_values or int(code.max()) + 1))
        height, width = code.shape
        full = torch.tensor(palette)[:, None, None].expand(-1, height, width)
        drawn = await self.explorer.decode(name, full)
        middle = [self._swatch(picture, width) for picture in drawn]
        own = int(np.bincount(np.asarray(code).ravel()).argmax())
        return [
            gr.update(visible=True),
            self._svg(code),
            middle,
            palette,
            palette[1] if palette[0] == own else palette[0],
        ]

    def _palette(self, code: Any, number: int) -> list[int]:
        """Return the codes of the picture, the most frequent first, and others spread over the codebook."""
        counts = np.bincount(np.asarray(code).ravel(), minlength=number)
        own = [int(i) for i in counts.argsort(kind="stable")[::-1] if counts[i]][: PALETTE // 2]
        others = [int(i) for i in np.linspace(0, number - 1, PALETTE) if int(i) not in own]
        return [*own, *dict.fromkeys(others)][:PALETTE]

    @staticmethod
    def _swatch(picture: Any, width: int) -> str:
        """Return the file of the middle of a picture that has one code everywhere."""
        patch = max(picture.width // width, 1)
        left = (picture.width - 2 * patch) // 2
        return keep_shown(picture.crop((left, left, left + 2 * patch, left + 2 * patch)).resize((SWATCH, SWATCH), 0))

    def _svg(self, code: Any) -> str:
        return code_grid_svg(np.asarray(code), self.texts.plain("paint_label"))

    def connect(self, name: Any, code: gr.State, live: Any) -> None:
        """Connect the events.

        Args:
            name: component with the checkpoint.
            code: state with the code, `Held`.
            live: where the picture is shown.
        """
        self.palette.select(self._take, self.codes, self.brush, **LATEST)
        self.grid.select(
            self._paint, [name, code, self.brush], [code, live, self.grid], **{**LATEST, "trigger_mode": "multiple"}
        )

    def _take(self, palette: list[int], event: gr.SelectData) -> Any:
        index = event.index
        return palette[index] if isinstance(index, int) and 0 <= index < len(palette) else gr.skip()

    async def _paint(self, name: str, held: Any, brush: int, event: gr.EventData) -> list[Any]:
        place, code = numbers(event, "place", 2), held_by(held, name)
        if place is None or not isinstance(code, torch.Tensor) or code.ndim != 2:
            return [gr.skip()] * 3
        height, width = code.shape
        row, column = min(int(place[1] * height), height - 1), min(int(place[0] * width), width - 1)
        code = code.clone()
        code[row, column] = brush
        try:
            drawn = (await self.explorer.decode(name, code[None]))[0]
        except GenariumError as error:
            raise said(error) from error
        html = f'<div class="picked">{picture_html(large(drawn), self.texts.both("live"))}</div>'
        return [Held(name, code), html, self._svg(code)]
