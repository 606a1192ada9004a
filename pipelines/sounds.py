"""What the families of sound share: checks of clips, their outputs, and the contract of their tasks.

A clip is mono: float [T] in [-1, 1] at `config.sampling_rate`. A pipeline reads no files and does not resample.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from diffusers.utils import BaseOutput

from pipelines.family import REQUIRED, Common, FamilyMixin, Generators, Report, complete, seeded, to_generators
from pipelines.speech import active_level

Sound = np.ndarray | torch.Tensor
Sounds = Sound | list[Sound]
Share = Annotated[float, {"minimum": 0.0, "maximum": 1.0, "step": 0.05}]
Vocoder = Literal["neural", "griffin_lim"]
SHORTEST = 0.25  # seconds


@dataclass
class AudiosOutput(BaseOutput):
    """Sounds: `audios`, a list of float32 arrays or tensors [T] in [-1, 1], and their `sampling_rate` in Hz."""

    audios: list[np.ndarray] | list[torch.Tensor]
    sampling_rate: int


@dataclass
class AnomalyOutput(BaseOutput):
    """Scores, float tensor [N], higher is stranger; of each clip a curve, float tensor [frames] >= 0; the scores' unit."""

    scores: torch.Tensor
    maps: list[torch.Tensor]
    unit: str


class SoundFamilyMixin(FamilyMixin):
    """The part of a `DiffusionPipeline` of sound beside its model."""

    def _to_sounds(self, sounds: Any, name: str) -> list[torch.Tensor]:
        """Return a clip or a list of clips as a list of float32 [T] on the device.

        Args:
            name: of the argument, for messages.

        Raises:
            ValueError: no mono sound at the sampling rate; the message says how to make it one.
        """
        sounds = list(sounds) if isinstance(sounds, (list, tuple)) else [sounds]
        if not sounds:
            raise ValueError(f"{name}: give at least one clip.")
        return [self._to_sound(sound, name, self.config.sampling_rate) for sound in sounds]

    def _to_sound(self, sound: Any, name: str, rate: int) -> torch.Tensor:
        """Return one clip as float32 [T] on the device, checked as `_to_sounds` says."""
        if isinstance(sound, np.ndarray) and sound.dtype != object:
            sound = torch.from_numpy(np.ascontiguousarray(sound))
        if not isinstance(sound, torch.Tensor):
            raise ValueError(
                f"{name}: give a float array or tensor [T] in [-1, 1] at {rate} Hz, or a list of these, not "
                f"{type(sound).__name__}. A file: x, r = soundfile.read(path, dtype='float32'); another rate: "
                f"soxr.resample(x, r, {rate})."
            )
        if sound.ndim != 1:
            raise ValueError(
                f"{name}: takes mono sound [T], not {list(sound.shape)}; of two channels [T, 2], take x.mean(1)."
            )
        if not sound.is_floating_point():
            raise ValueError(f"{name}: takes floats in [-1, 1]; of 16-bit whole numbers, take x / 32768.")
        if len(sound) < SHORTEST * rate:
            raise ValueError(
                f"{name}: has {len(sound)} samples; give at least {SHORTEST} s, {round(SHORTEST * rate)} at {rate} Hz."
            )
        sound = sound.to(self._execution_device, torch.float32)
        if not torch.isfinite(sound).all():
            raise ValueError(f"{name}: holds values that are no numbers (NaN or infinite); repair or cut them out.")
        if sound.abs().amax() > 2:
            raise ValueError(f"{name}: must lie in [-1, 1]; of 16-bit samples, take x / 32768.")
        if active_level(sound) < 1e-4:
            raise ValueError(f"{name}: is silent; give a clip in which somebody speaks.")
        return sound


# ---- the contract: the methods that the tasks call, and what they have in common ----

CLIP = "float [T] in [-1, 1] at `config.sampling_rate`"
CLIPS = f"{CLIP}, or a list of such of any lengths"
COMMON = {
    "audio": Common(Sounds, REQUIRED, f"{CLIPS}."),
    "a": Common(Sound, REQUIRED, f"the words and the first voice, {CLIP}."),
    "b": Common(Sound, REQUIRED, "the last voice."),
    "content": Common(Sounds, REQUIRED, f"the words: {CLIPS}."),
    "style": Common(
        Sounds | None,
        None,
        "the voice: one clip for all contents or one for each, best of 2 to 10 s; None with a named speaker.",
    ),
    "num_frames": Common(int, 5, "M, voices including both ends."),
    "generator": Common(
        Generators,
        None,
        "one `torch.Generator`, or a list with one for each clip: clip i depends on generator i only, never on its batch.",
    ),
    "speaker": Common(
        Annotated[str, {"choices_from": "speaker"}],
        "any",
        "A voice of the training data in place of the style clip; any: the style clip's.",
    ),
    "strength": Common(Share, 1.0, "Position between the content's own voice, 0, and the other voice, 1."),
    "vocoder": Common(
        Vocoder,
        "neural",
        '"neural" makes sound by a network; "griffin_lim" by an iteration without one, rougher.',
    ),
    "callback_on_step_end": Common(
        Callable | None,
        None,
        "called after each chunk of sound as (pipe, step, timestep, "
        '{"pred_original_sample": float [1, T so far], "num_timesteps"}).',
    ),
    "output_type": Common(str, "np", '"np" or "pt".'),
    "return_dict": Common(bool, True, "if False, return a tuple."),
}
SOUNDING = ("vocoder", "callback_on_step_end", "output_type", "return_dict")
METHODS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # common parameters before and after the family's own
    "reconstruct": (("audio", "generator"), SOUNDING),
    "interpolate": (("a", "b", "num_frames", "generator"), SOUNDING),
    "swap_style": (("content", "style", "generator", "speaker", "strength"), SOUNDING),
    "anomaly_score": (("audio", "generator"), ("callback_on_step_end",)),
}
OPTIONAL = {"speaker", "strength", "vocoder"}  # taken where the family's method names them
RETURNS = {
    "interpolate": "`AudiosOutput` with M sounds, each as long as `a`.",
    "anomaly_score": "`AnomalyOutput` with scores [N], their course over the frames of each clip, and the unit.",
}
RAISES = (
    "ValueError: no mono sound at the right rate, silence, or an option that does not fit; the message says what does.\n"
    "    TypeError: a generator or a number that is none."
)


def task(method: Callable | None = None, *, output: type[AudiosOutput] = AudiosOutput) -> Callable:
    """Complete a family's method for sound to the method that a task calls, by its name.

    The family's method takes, of what follows, what it names without default, and its own parameters with a default:

        x, content              list of N clips, each float32 [T]
        style                   list of clips; None where none is given or a speaker is named
        a, b                    the two ends, each float32 [T]
        num_frames              M >= 2
        generator               None, one generator, or a list of N; of `interpolate` None or one
        speaker, strength, vocoder      as in `COMMON`; a method that does not name one is not offered it
        report                  a `Report`: report(step, timestep, num_timesteps, waveform [1, T])

    It returns a list of waveforms [T], or that and a mapping of more fields of `output`. `anomaly_score` returns (curves,
    unit): of each clip a curve [frames], whose mean is the score.

    Args:
        output: class of the result, `AudiosOutput` or a subclass.
    """
    if method is None:
        return lambda method: task(method, output=output)
    name = method.__name__
    named = set(inspect.signature(method).parameters)
    before, after = ({key: COMMON[key] for key in part if key not in OPTIONAL - named} for part in METHODS[name])

    def run(self, method: Callable, common: dict[str, Any], own: dict[str, Any]) -> Any:
        output_type = common.get("output_type", "np")
        if output_type not in ("np", "pt"):  # before the work, not after it
            raise ValueError(f"output_type: choose 'np' or 'pt', not {output_type!r}.")
        given = _given(self, name, common)
        result = method(self, **{key: value for key, value in given.items() if key in named}, **own)
        if name == "anomaly_score":
            curves, unit = result
            return AnomalyOutput(scores=torch.stack([curve.mean() for curve in curves]), maps=curves, unit=unit)
        sounds, more = result if isinstance(result, tuple) else (result, {})
        sounds = [sound.clamp(-1, 1).float().cpu() for sound in sounds]
        audios = [sound.numpy() for sound in sounds] if output_type == "np" else sounds
        made = output(audios=audios, sampling_rate=self.config.sampling_rate, **more)
        return made if common["return_dict"] else made.to_tuple()

    words = "content" if name == "swap_style" else "clip"
    returns = RETURNS.get(name, f"`{output.__name__}` with N sounds, each as long as its {words}.")
    return complete(method, before, after, returns, RAISES, run)


def _given(pipeline, name: str, common: dict[str, Any]) -> dict[str, Any]:
    """Return what a family's method may name, from the common parameters of the public one."""
    given = {key: common[key] for key in OPTIONAL if key in common}
    given["report"] = Report(pipeline, common.get("callback_on_step_end"))
    if name == "interpolate":
        if common["num_frames"] < 2:
            raise ValueError("num_frames: needs at least 2, the two ends.")
        given |= {end: pipeline._to_sounds([common[end]], end)[0] for end in ("a", "b")}
        generator = to_generators(common["generator"], 1)
        one = generator[0] if isinstance(generator, list) else generator
        return given | {"num_frames": common["num_frames"], "generator": one}
    for public, private in (("audio", "x"), ("content", "content"), ("style", "style")):
        if public in common:
            unused = common[public] is None or (public == "style" and common.get("speaker", "any") != "any")
            given[private] = None if unused else pipeline._to_sounds(common[public], public)
    number = len(given["x" if "x" in given else "content"])
    generator = common["generator"]
    if name == "anomaly_score" and generator is None:
        generator = seeded(number)
    return given | {"generator": to_generators(generator, number)}
