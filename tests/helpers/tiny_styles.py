"""Two tiny pipelines that swap styles, for tests of the host: of voices by plain signal processing, and of pictures.

Their one network is a layer that passes on what it is given. `plugins(folder)` writes the plugins that introduce them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import PIL.Image
import torch
from diffusers import ConfigMixin, DiffusionPipeline, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils import BaseOutput

SPEAKERS = {"0": "tiny/low", "1": "tiny/high"}
CHUNK = 16000  # samples after which a step is reported
SIZE, HOP = 512, 128


@dataclass
class Sounds(BaseOutput):
    audios: list
    sampling_rate: int
    codes: list | None = None
    frame_rate: float = 0.0


@dataclass
class Pictures(BaseOutput):
    images: list


@dataclass
class Scores(BaseOutput):
    scores: torch.Tensor
    maps: list | None
    unit: str


@dataclass
class Styles(BaseOutput):
    names: list
    points: torch.Tensor


class TinyGain(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, width: int = SIZE // 2 + 1):
        super().__init__()
        self.gain = torch.nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * self.gain.float()


class TinyVoicePipeline(DiffusionPipeline):
    """A voice is the mean spectrum of its sound; a swap divides by one and multiplies by another."""

    def __init__(
        self, gain: ModelMixin, sampling_rate: int = 16000, conditions: dict | None = None, anomaly_quantiles=None
    ):
        super().__init__()
        self.register_modules(gain=gain)
        self.register_to_config(sampling_rate=sampling_rate, conditions=conditions, anomaly_quantiles=anomaly_quantiles)

    def _check(self, audio) -> torch.Tensor:
        audio = torch.as_tensor(audio)
        if audio.ndim != 1 or not audio.is_floating_point() or not len(audio):
            raise ValueError("audio: give float [T], one channel; resample with soxr.resample(x, rate, 16000).")
        if len(audio) < 2 * SIZE:
            raise ValueError(f"audio: too short for this model; give at least {2 * SIZE} samples.")
        return audio.float()

    def _spectrum(self, audio) -> torch.Tensor:
        window = torch.hann_window(SIZE)
        return torch.stft(self._check(audio), SIZE, HOP, window=window, return_complex=True)

    def _voice(self, audio) -> torch.Tensor:
        return self._spectrum(audio).abs().mean(dim=1).clamp(min=1e-4)

    def _known(self, name: str) -> torch.Tensor:
        tilt = {"tiny/low": -0.02, "tiny/high": 0.0}[name]
        return torch.exp(tilt * torch.arange(SIZE // 2 + 1.0))

    def _turn(self, audio, ratio, callback, step=0, steps=None) -> torch.Tensor:
        audio = self._check(audio)
        steps, done = steps or math.ceil(len(audio) / CHUNK), []
        for start in range(0, len(audio), CHUNK):
            piece = torch.nn.functional.pad(audio[start : start + CHUNK], (0, 2 * SIZE))
            spectrum = self._spectrum(piece) * self.gain(ratio)[:, None]
            back = torch.istft(spectrum, SIZE, HOP, window=torch.hann_window(SIZE), length=len(piece))
            done.append(back[: len(audio[start : start + CHUNK])])
            if callback:
                values = {"pred_original_sample": torch.cat(done)[None], "num_timesteps": steps}
                callback(self, step + len(done) - 1, 0, values)
        out = torch.cat(done)
        return (out * (audio.std() / out.std().clamp(min=1e-6))).clamp(-1, 1)

    def _output(self, audios) -> Sounds:
        codes = [self._spectrum(audio).abs().argmax(dim=0) for audio in audios]
        rate = self.config.sampling_rate
        return Sounds([a.numpy() for a in audios], rate, codes, rate / HOP)

    @torch.no_grad()
    def swap_style(
        self,
        content,
        style=None,
        generator=None,
        speaker: Annotated[str, {"choices_from": "speaker"}] = "any",
        strength: Annotated[float, {"minimum": 0.0, "maximum": 1.0}] = 1.0,
        callback_on_step_end=None,
        output_type: str = "np",
        return_dict: bool = True,
    ) -> Sounds:
        """The content's words in the style's voice.

        Args:
            speaker: A trained voice, in place of the clip.
            strength: How much of the other voice.
        """
        if style is None and speaker == "any":
            raise ValueError("style: give a clip, or choose a speaker.")
        voice = self._voice(style) if speaker == "any" else self._known(speaker)
        ratio = (voice / self._voice(content)) ** strength
        return self._output([self._turn(content, ratio, callback_on_step_end)])

    @torch.no_grad()
    def reconstruct(self, audio, generator=None, callback_on_step_end=None, output_type: str = "np"):
        return self._output([self._turn(a, torch.ones(SIZE // 2 + 1), callback_on_step_end) for a in audio])

    @torch.no_grad()
    def interpolate(
        self,
        a,
        b,
        num_frames: Annotated[int, {"minimum": 2, "maximum": 9}] = 5,
        generator=None,
        callback_on_step_end=None,
        output_type: str = "np",
    ) -> Sounds:
        """a's words, in voices from a's to b's.

        Args:
            num_frames: Voices, with both ends.
        """
        ratio, each = self._voice(b) / self._voice(a), math.ceil(len(a) / CHUNK)
        weights = enumerate(np.linspace(0, 1, num_frames))
        steps = each * num_frames
        return self._output([self._turn(a, ratio**w, callback_on_step_end, i * each, steps) for i, w in weights])

    @torch.no_grad()
    def anomaly_score(self, audio, generator=None, callback_on_step_end=None) -> Scores:
        curves = [self.gain(self._spectrum(a).abs().mT).mean(dim=1) for a in audio]
        return Scores(torch.stack([curve.mean() for curve in curves]), curves, "mean magnitude")

    @torch.no_grad()
    def style_map(self, styles) -> Styles:
        names = list((self.config.conditions or {}).get("speaker", {}).values())
        voices = [self._known(name) for name in names] + [self._voice(style) for style in styles]
        points = torch.stack([torch.stack([v.log().mean(), (v[:40].mean() / v.mean()).log()]) for v in voices])
        return Styles(names + [""] * len(styles), points)


class TinyStylePipeline(DiffusionPipeline):
    """The style of a picture is its mean brightness."""

    def __init__(self, gain: ModelMixin, sample_size: int = 28, channels: int = 1):
        super().__init__()
        self.register_modules(gain=gain)
        self.register_to_config(sample_size=sample_size, channels=channels)

    @torch.no_grad()
    def swap_style(self, content, style, generator=None, callback_on_step_end=None, output_type: str = "pil"):
        grey, target = (np.asarray(picture, np.float32) for picture in (content, style))
        moved = self.gain(torch.from_numpy(np.clip(grey - grey.mean() + target.mean(), 0, 255)))
        if callback_on_step_end:
            callback_on_step_end(
                self, 0, 0, {"pred_original_sample": moved[None, None] / 127.5 - 1, "num_timesteps": 1}
            )
        return Pictures([PIL.Image.fromarray(moved.round().to(torch.uint8).numpy())])

    def style_map(self, styles) -> Styles:
        mean = [float(np.asarray(picture).mean()) for picture in styles]
        return Styles(["dark", *[""] * len(styles)], torch.tensor([[0.0, 0.0], *([m, 1.0] for m in mean)]))


PLUGIN = """
from genarium.families import Family, Paper

def register(add):
    add(Family(
        name="{name}", title="{title}", pipeline="tiny_styles:{pipeline}",
        description={{"en": "For tests.", "zh": "用于测试。"}}, papers=(Paper("Nobody, Nothing, 2026", "https://example.org"),),
    ))
"""


def plugins(folder: Path) -> None:
    """Write the two plugins' folders."""
    for name, title, pipeline in (
        ("tiny-voice", "Tiny voice", "TinyVoicePipeline"),
        ("tiny-style", "Tiny style", "TinyStylePipeline"),
    ):
        place = folder / name.replace("-", "_")
        place.mkdir()
        (place / "plugin.py").write_text(PLUGIN.format(name=name, title=title, pipeline=pipeline), encoding="utf-8")


def checkpoints(folder: Path) -> None:
    """Write one checkpoint of each: voices, and styles."""
    quantiles = {"default": np.linspace(0, 2, 201).tolist()}
    voice = TinyVoicePipeline(TinyGain(), 16000, {"speaker": SPEAKERS}, quantiles)
    voice.save_pretrained(folder / "voices")
    TinyStylePipeline(TinyGain(1), 28, 1).save_pretrained(folder / "styles")


def speech(seconds: float = 2.0, rate: int = 16000, pitch: float = 120.0, seed: int = 0) -> np.ndarray:
    """Something like a voice: harmonics of a pitch in syllables with pauses between, float32 [T]."""
    time = np.arange(round(seconds * rate)) / rate
    harmonics = sum(np.sin(2 * np.pi * pitch * k * time + k) / k for k in range(1, 12) if pitch * k < rate / 2)
    noise = np.random.default_rng(seed).normal(size=len(time))
    return (0.1 * (harmonics * np.clip(np.sin(2 * np.pi * 3 * time), 0, 1) + 0.01 * noise)).astype(np.float32)
