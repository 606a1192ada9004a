"""How a result in sound is shown: what the panels of all tasks share. Players, and below each what its sound looks like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
import numpy as np
import PIL.Image

from genarium.checkpoints import Checkpoint
from genarium.media.pictures import code_map
from genarium.media.spectrogram import mel_picture
from genarium.runtime import Sounds
from genarium.ui.files import data_url, keep_results, keep_sound
from genarium.ui.panels import AnyResult, Panel
from genarium.ui.texts import TaskTexts, Texts, markup

CURVE_HEIGHT = 60


class Player:
    """A sound to hear and to take along, with its waveform; below it spectrogram, codes, and how strange it is when."""

    def __init__(self, label: Any, elem_id: str | None = None):
        with gr.Column(min_width=240, elem_classes="player") as self.group:
            # Not visible until it is filled: the browser loads players of sound and of video for it.
            self.sound = gr.Audio(
                label=label,
                interactive=False,
                buttons=["download"],
                elem_classes="sound",
                elem_id=elem_id,
                visible=False,
            )
            self.seen = markup("")

    @property
    def outputs(self) -> list[Any]:
        return [self.group, self.sound, self.seen]

    def fill(self, path: str, seen: str) -> dict[Any, Any]:
        """Return updates that show the file at `path`, and below it the HTML of `seen_html`."""
        return {self.group: gr.update(visible=True), self.sound: gr.update(value=path, visible=True), self.seen: seen}

    def show(self, samples: np.ndarray, rate: int, name: str) -> dict[Any, Any]:
        """Return updates that show a recording as the model heard it."""
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
    """Return what lies below a waveform, over the same time: mel spectrogram, codes as colours, a score as a curve."""
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
    """Draw a score over time; the highest value reaches the top."""
    heights = np.maximum(values, 0) / max(float(values.max()), 1e-12)
    points = " ".join(f"{i},{CURVE_HEIGHT * (1 - h):.1f}" for i, h in enumerate(heights))
    width = max(len(values) - 1, 1)
    return (
        f'<svg class="curve" viewBox="0 0 {width} {CURVE_HEIGHT}" preserveAspectRatio="none">'
        f'<polyline points="{points}"/></svg>'
    )


class SoundPanel(Panel[AnyResult]):
    """What the panels of sound share."""

    blanks, wide = 1, True

    def preview(self, pictures: Sequence[PIL.Image.Image]) -> str:
        figures = "".join(_picture(picture, "mel") for picture in pictures)
        return f'<figure class="seen">{figures}</figure>'


def made(result: Sounds) -> list[tuple[str, str]]:
    """Return each sound of a result: its file, and the HTML below its waveform."""
    files = keep_results(result)
    codes: Sequence[np.ndarray | None] = result.codes if result.codes else [None] * len(files)
    return [
        (path, seen_html(audio, result.sampling_rate, own, result.frame_rate))
        for path, audio, own in zip(files, result.audios, codes, strict=True)
    ]


class Takes(SoundPanel[Sounds]):
    """Several sounds, one at a time: a slider chooses which. Tasks without a panel of their own get this one."""

    def __init__(self, texts: TaskTexts):
        with gr.Column(visible=False) as self.group:
            self._build_takes(texts, "take")

    def _build_takes(self, texts: TaskTexts, key: str) -> None:
        self.takes = gr.State([])  # of this visitor: (file, HTML) of each sound
        self.which = gr.Slider(1, 2, 1, step=1, label=texts(key), buttons=[])
        self.made = Player(texts("result"))
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

    def fill(self, result: Sounds, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        takes = made(result)
        several = len(takes) > 1
        return {
            self.takes: takes,
            self.which: gr.update(maximum=max(len(takes), 2), value=1, visible=several),
            **self.made.fill(*takes[0]),
        }
