"""How each task's result is shown, if it is of sound: players, and below each what its sound looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
import numpy as np
import PIL.Image

from genarium.checkpoints import Checkpoint
from genarium.pictures import code_map
from genarium.runtime import Result
from genarium.spectrogram import mel_picture
from genarium.ui.files import data_url, keep_sound, keep_sounds
from genarium.ui.maps import map_html
from genarium.ui.results import Panel, Scored
from genarium.ui.texts import Texts, markup

CURVE_HEIGHT = 60


class Player:
    """A sound to hear and to take along, with its waveform; below it spectrogram, codes, and how strange it is when."""

    def __init__(self, texts: Texts, key: str, elem_id: str | None = None):
        with gr.Column(min_width=240, elem_classes="player") as self.group:
            self.sound = gr.Audio(
                label=texts(key), interactive=False, buttons=["download"], elem_classes="sound", elem_id=elem_id
            )
            self.seen = markup("")

    @property
    def outputs(self) -> list[Any]:
        return [self.group, self.sound, self.seen]

    def fill(self, path: str, seen: str) -> dict[Any, Any]:
        """Updates that show the file at `path`, and below it the HTML of `seen_html`."""
        return {self.group: gr.update(visible=True), self.sound: path, self.seen: seen}

    def show(self, samples: np.ndarray, rate: int, name: str) -> dict[Any, Any]:
        """Updates that show a recording as the model heard it."""
        return self.fill(keep_sound(samples, rate, name), seen_html(samples, rate))

    def hide(self) -> dict[Any, Any]:
        return {self.group: gr.update(visible=False)}


def seen_html(
    samples: np.ndarray,
    rate: int,
    codes: np.ndarray | None = None,
    frame_rate: float = 0.0,
    curve: np.ndarray | None = None,
) -> str:
    """What lies below a waveform, over the same time: mel spectrogram, codes as colours, a score as a curve."""
    rows = [_picture(mel_picture(samples, rate), "mel")]
    words = [Texts.both("spectrogram")]
    if codes is not None:
        rows.append(_picture(code_map(codes[None]), "codes"))
        words.append(Texts.both("code_strip", number=len(codes), rate=f"{frame_rate:.3g}"))
    if curve is not None:
        rows.append(_curve(curve))
        words.append(Texts.both("curve"))
    return f'<figure class="seen">{"".join(rows)}<figcaption class="note">{" · ".join(words)}</figcaption></figure>'


def _picture(picture: PIL.Image.Image, kind: str) -> str:
    return f'<img class="{kind}" src="{data_url(picture)}" alt="">'


def _curve(values: np.ndarray) -> str:
    """A score over time; the highest value reaches the top."""
    heights = np.maximum(values, 0) / max(float(values.max()), 1e-12)
    points = " ".join(f"{i},{CURVE_HEIGHT * (1 - h):.1f}" for i, h in enumerate(heights))
    width = max(len(values) - 1, 1)
    return (
        f'<svg class="curve" viewBox="0 0 {width} {CURVE_HEIGHT}" preserveAspectRatio="none">'
        f'<polyline points="{points}"/></svg>'
    )


class SoundPanel(Panel):
    """What the panels of sound share."""

    blanks, wide = 1, True

    def preview(self, pictures: Sequence[PIL.Image.Image]) -> str:
        figures = "".join(_picture(picture, "mel") for picture in pictures)
        return f'<figure class="seen">{figures}</figure>'


def _made(result: Result) -> list[tuple[str, str]]:
    """Each sound of a result: its file, and what lies below its waveform."""
    files = keep_sounds(result.audios, result.sampling_rate, result.request)
    codes = result.codes or [None] * len(files)
    return [
        (path, seen_html(audio, result.sampling_rate, own, result.frame_rate))
        for path, audio, own in zip(files, result.audios, codes, strict=True)
    ]


class SoundPair(SoundPanel):
    """A recording as the model heard it, and what became of it."""

    def __init__(self, texts: Texts):
        with gr.Column(visible=False) as self.group:
            self.made = Player(texts, "reconstruction", "reconstruct-made")
            self.heard = Player(texts, "heard")

    @property
    def outputs(self) -> list[Any]:
        return [self.group, *self.made.outputs, *self.heard.outputs]

    def fill(self, result: Result, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        heard = self.heard.show(result.inputs[0], result.sampling_rate, "recording.wav")
        return {**self.made.fill(*_made(result)[0]), **heard}


class SoundSwap(SoundPanel):
    """What came of source and target, then these two as the model heard them, and the voices on a map."""

    def __init__(self, texts: Texts):
        with gr.Column(visible=False) as self.group:
            self.made = Player(texts, "result", "swap_style-made")
            with gr.Row():
                self.source = Player(texts, "sound_content")
                self.target = Player(texts, "sound_style")
            self.map = markup("")

    @property
    def outputs(self) -> list[Any]:
        return [self.group, *self.made.outputs, *self.source.outputs, *self.target.outputs, self.map]

    def fill(self, result: Result, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        source, *target = result.inputs  # no target where the voice was chosen by its name
        rate = result.sampling_rate
        return {
            **self.made.fill(*_made(result)[0]),
            **self.source.show(source, rate, "source.wav"),
            **(self.target.show(target[0], rate, "target.wav") if target else self.target.hide()),
            self.map: map_html(result.style_map),
        }


class SoundSheet(SoundPanel):
    """Several sounds, one at a time: a slider chooses which."""

    def __init__(self, texts: Texts):
        with gr.Column(visible=False) as self.group:
            self._build_takes(texts, "take")

    def _build_takes(self, texts: Texts, key: str) -> None:
        self.takes = gr.State([])  # of this visitor: (file, HTML) of each sound
        self.which = gr.Slider(1, 2, 1, step=1, label=texts(key), buttons=[])
        self.made = Player(texts, "result")
        self.which.input(
            lambda takes, number: takes[int(number) - 1] if takes else (None, ""),
            [self.takes, self.which],
            [self.made.sound, self.made.seen],
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

    @property
    def outputs(self) -> list[Any]:
        return [self.group, self.takes, self.which, *self.made.outputs]

    def fill(self, result: Result, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        takes = _made(result)
        several = len(takes) > 1
        return {
            self.takes: takes,
            self.which: gr.update(maximum=max(len(takes), 2), value=1, visible=several),
            **self.made.fill(*takes[0]),
        }


class SoundWalk(SoundSheet):
    """One recording's words in voices from its own to another's, and the two as the model heard them."""

    def __init__(self, texts: Texts):
        with gr.Column(visible=False) as self.group:
            self._build_takes(texts, "walk_voice")
            with gr.Row():
                self.a = Player(texts, "sound_a")
                self.b = Player(texts, "sound_b")

    @property
    def outputs(self) -> list[Any]:
        return [*super().outputs, *self.a.outputs, *self.b.outputs]

    def fill(self, result: Result, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        a, b = result.inputs
        return {
            **super().fill(result, checkpoint, data),
            **self.a.show(a, result.sampling_rate, "from.wav"),
            **self.b.show(b, result.sampling_rate, "to.wav"),
        }


class SoundStrangeness(SoundPanel, Scored):
    """How strange a recording is, and when."""

    def __init__(self, texts: Texts):
        with gr.Column(visible=False) as self.group:
            self._build_verdict(texts)
            self.heard = Player(texts, "heard")

    @property
    def outputs(self) -> list[Any]:
        return [*super().outputs, *self.heard.outputs]

    def fill(self, result: Result, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        heard, rate = result.inputs[0], result.sampling_rate
        seen = seen_html(heard, rate, curve=None if result.maps is None else result.maps[0])
        shown = self.heard.fill(keep_sound(heard, rate, "recording.wav"), seen)
        return {**super().fill(result, checkpoint, data), **shown}


SOUND_PANELS = {
    "generate": SoundSheet,
    "reconstruct": SoundPair,
    "interpolate": SoundWalk,
    "swap_style": SoundSwap,
    "anomaly": SoundStrangeness,
}
