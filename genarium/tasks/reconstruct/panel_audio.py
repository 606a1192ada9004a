"""How the reconstruction of a recording is shown: what came back, and the input as the model heard it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.runtime import Sounds
from genarium.ui.players import Player, SoundPanel, made
from genarium.ui.texts import TaskTexts


class Panel(SoundPanel[Sounds]):
    """Two players, one below the other."""

    def __init__(self, texts: TaskTexts):
        with gr.Column(visible=False) as self.group:
            self.made = Player(texts("reconstruction"), "reconstruct-made")
            self.heard = Player(texts("heard"))

    @property
    def outputs(self) -> list[Any]:
        return [self.group, *self.made.outputs, *self.heard.outputs]

    def fill(self, result: Sounds, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        heard = self.heard.show(result.inputs[0], result.sampling_rate, "recording.wav")
        return {**self.made.fill(*made(result)[0]), **heard}
