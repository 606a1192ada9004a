"""How a walk from one voice to another is shown: the words of the first recording in voices between the two."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.runtime import Sounds
from genarium.ui.players import Player, Takes
from genarium.ui.texts import TaskTexts


class Panel(Takes):
    """One voice at a time, chosen by a slider, and the two recordings as the model heard them."""

    def __init__(self, texts: TaskTexts):
        with gr.Column(visible=False) as self.group:
            self._build_takes(texts, "walk_voice")
            with gr.Row():
                self.a = Player(texts("sound_a"))
                self.b = Player(texts("sound_b"))

    @property
    def outputs(self) -> list[Any]:
        return [*super().outputs, *self.a.outputs, *self.b.outputs]

    def fill(self, result: Sounds, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        a, b = result.inputs
        return {
            **super().fill(result, checkpoint, data),
            **self.a.show(a, result.sampling_rate, "from.wav"),
            **self.b.show(b, result.sampling_rate, "to.wav"),
        }
