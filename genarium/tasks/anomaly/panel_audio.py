"""How the score of a recording is shown: the verdict, and when in the recording the model finds it strange."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.tasks.anomaly.panel_verdict import Scored
from genarium.tasks.anomaly.results import SoundScores
from genarium.ui.files import keep_sound
from genarium.ui.players import Player, SoundPanel, seen_html
from genarium.ui.texts import TaskTexts


class Panel(SoundPanel[SoundScores], Scored[SoundScores]):
    """The verdict, and the recording as the model heard it, with the score as a curve over its time."""

    def __init__(self, texts: TaskTexts):
        with gr.Column(visible=False) as self.group:
            self._build_verdict(texts)
            self.heard = Player(texts("heard"))

    @property
    def outputs(self) -> list[Any]:
        return [*super().outputs, *self.heard.outputs]

    def fill(self, result: SoundScores, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        heard, rate = result.inputs[0], result.sampling_rate
        seen = seen_html(heard, rate, curve=None if result.maps is None else result.maps[0])
        shown = self.heard.fill(keep_sound(heard, rate, "recording.wav"), seen)
        return {**super().fill(result, checkpoint, data), **shown}
