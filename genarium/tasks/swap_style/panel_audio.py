"""How a conversion of voice is shown: the result, source and target as the model heard them, and the map of voices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.tasks.swap_style.panel_map import map_html
from genarium.tasks.swap_style.results import SwappedSounds
from genarium.ui.players import Player, SoundPanel, made
from genarium.ui.texts import TaskTexts, markup


class Panel(SoundPanel[SwappedSounds]):
    """Three players and the map."""

    def __init__(self, texts: TaskTexts):
        self.texts = texts
        with gr.Column(visible=False) as self.group:
            self.made = Player(texts("result"), "swap_style-made")
            with gr.Row():
                self.source = Player(texts("sound_content"))
                self.target = Player(texts("sound_style"))
            self.map = markup("")

    @property
    def outputs(self) -> list[Any]:
        return [self.group, *self.made.outputs, *self.source.outputs, *self.target.outputs, self.map]

    def fill(self, result: SwappedSounds, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        source, *target = result.inputs  # no target where the voice was chosen by its name
        rate = result.sampling_rate
        return {
            **self.made.fill(*made(result)[0]),
            **self.source.show(source, rate, "source.wav"),
            **(self.target.show(target[0], rate, "target.wav") if target else self.target.hide()),
            self.map: map_html(result.style_map, self.texts),
        }
