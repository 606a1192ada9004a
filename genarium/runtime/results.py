"""What comes of a request. A task returns `Pictures` or `Sounds`, or its own class, which its results.py names."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Protocol

import numpy as np
import PIL.Image

from genarium.checkpoints import Checkpoint
from genarium.media.pictures import save_picture
from genarium.media.sounds import save_sound
from genarium.runtime.request import Request
from genarium.tasks import Modality, Task


class RunContext(Protocol):
    """The part of a run that a result may read: the loaded pipeline, its checkpoint, and the inputs by parameter."""

    pipeline: Any
    checkpoint: Checkpoint
    material: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Result(ABC):
    """The common part of all results.

    Args:
        request: with every parameter filled in.
        inputs: the material as the model had it, pictures or float32 [T].
        seconds: computing time, without waiting and loading.
        evaluations: passes through the network for each sample made or scored, on average; guidance counts twice.
        device: on which it was computed, such as "cpu".
        dtype: of the computation, such as "bfloat16".
        company: samples of other visitors in the same batch; `seconds` is then this result's share of the batch's.
    """

    request: Request
    inputs: list[Any] = field(default_factory=list)
    seconds: float = 0.0
    evaluations: float = 0.0
    device: str = ""
    dtype: str = ""
    company: int = 0

    @property
    @abstractmethod
    def num_samples(self) -> int:
        """How many samples were made or scored."""

    @property
    def comparable(self) -> bool:
        """Whether `evaluations` can be compared with those of other results."""
        return True

    @abstractmethod
    def write(self, folder: Path) -> list[Path]:
        """Write the files that a program gets into a folder, each with the request in its metadata."""

    def report(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """Return what a program gets beside the files, as plain values."""
        return {
            "request": self.request.to_dict(),
            "seconds": self.seconds,
            "device": self.device,
            "network_evaluations": self.evaluations,  # for each sample
        }

    @property
    def stem(self) -> str:
        """The beginning of file names: checkpoint, task and seed."""
        return f"{Path(self.request.checkpoint).name}-{self.request.task}-seed{self.request.seed}"


@dataclass(frozen=True, kw_only=True)
class RunResult(Result):
    """The result of one run through one pipeline, which a task returns.

    `python_use` are the lines of a program that uses the pipeline's `output`, and `python_imports` those that import what
    they need.
    """

    python_use: ClassVar[tuple[str, ...]] = ()
    python_imports: ClassVar[tuple[str, ...]] = ()

    @classmethod
    @abstractmethod
    def fields_from(cls, outputs: Sequence[Any], run: RunContext) -> dict[str, Any]:
        """Return the fields of this class alone, from what the pipeline returned for each batch."""


def joined(outputs: Sequence[Any], name: str) -> np.ndarray | None:
    """Return a field of all batches' outputs, a tensor with N in front, as one array; None where they have none."""
    values = [value.numpy() for output in outputs if (value := getattr(output, name, None)) is not None]
    return np.concatenate(values) if values else None


def part_of(output: Any, rows: slice) -> SimpleNamespace:
    """Return some of the samples of an output of which `Pictures` are made."""
    each = ("images", "codes", "words", "frames")
    return SimpleNamespace(
        **{name: value[rows] if name in each and value is not None else value for name, value in output.items()}
    )


@dataclass(frozen=True, kw_only=True)
class Pictures(RunResult):
    """Pictures that a model made.

    Args:
        pictures: L or RGB, at the model's own resolution.
        codes: int64 [N, h, w], of models that write images in codes.
        words: of each picture, of models whose code is words.
        frames: uint8 [N, F, C, H, W], states on the way to each picture, of models that draw by a Markov chain.
        frame_steps: F numbers of steps, from 1, after which the states were taken.
    """

    python_use = ("images = output.images",)

    pictures: list[PIL.Image.Image]
    codes: np.ndarray | None = None
    words: list[str] | None = None
    frames: np.ndarray | None = None
    frame_steps: list[int] | None = None

    @classmethod
    def fields_from(cls, outputs: Sequence[Any], run: RunContext) -> dict[str, Any]:
        return {
            "pictures": [picture for output in outputs for picture in output.images],
            "codes": joined(outputs, "codes"),
            "words": [text for output in outputs for text in getattr(output, "words", None) or ()] or None,
            "frames": joined(outputs, "frames"),
            "frame_steps": getattr(outputs[0], "frame_steps", None) if outputs else None,
        }

    @property
    def num_samples(self) -> int:
        return len(self.pictures)

    def report(self, checkpoint: Checkpoint) -> dict[str, Any]:
        return super().report(checkpoint) | ({"words": self.words} if self.words else {})

    def write(self, folder: Path) -> list[Path]:
        asked = self.request.to_dict()
        return [save_picture(p, folder / f"{self.stem}-{i:02d}.png", asked) for i, p in enumerate(self.pictures)]


@dataclass(frozen=True, kw_only=True)
class Sounds(RunResult):
    """Sounds that a model made.

    Args:
        audios: float32 [T] each, in [-1, 1].
        sampling_rate: of all of them, in Hz.
        codes: int64 [frames] for each sound, of models that write sound in codes.
        frame_rate: codes in a second.
    """

    python_use = (
        "for i, sound in enumerate(output.audios):",
        '    soundfile.write(f"result-{i:02d}.wav", sound, output.sampling_rate)',
    )
    python_imports = ("import soundfile",)

    audios: list[np.ndarray]
    sampling_rate: int
    codes: list[np.ndarray] | None = None
    frame_rate: float = 0.0

    @classmethod
    def fields_from(cls, outputs: Sequence[Any], run: RunContext) -> dict[str, Any]:
        coded = [output for output in outputs if getattr(output, "codes", None) is not None]
        return {
            "audios": [np.asarray(audio, np.float32) for output in outputs for audio in output.audios],
            "sampling_rate": int(run.checkpoint.index["sampling_rate"]),
            "codes": [np.asarray(codes) for output in coded for codes in output.codes] or None,
            "frame_rate": float(coded[-1].frame_rate) if coded else 0.0,
        }

    @property
    def num_samples(self) -> int:
        return len(self.audios)

    @property
    def comparable(self) -> bool:
        """Clips of different lengths need different numbers of passes."""
        return False

    def write(self, folder: Path) -> list[Path]:
        asked, rate = self.request.to_dict(), self.sampling_rate
        return [save_sound(a, rate, folder / f"{self.stem}-{i:02d}.wav", asked) for i, a in enumerate(self.audios)]

    def report(self, checkpoint: Checkpoint) -> dict[str, Any]:
        return {**super().report(checkpoint), "sampling_rate": self.sampling_rate}


@dataclass(frozen=True, kw_only=True)
class Several(Result):
    """The results of a request that names several checkpoints, in the order of the request.

    Args:
        results: of each checkpoint.
    """

    results: tuple[Result, ...]

    @classmethod
    def of(cls, request: Request, results: Sequence[Result]) -> Several:
        """Put the results of each checkpoint together."""
        samples = sum(result.num_samples for result in results)
        passes = sum(result.evaluations * result.num_samples for result in results)
        return cls(
            request=request,
            inputs=results[0].inputs,
            seconds=sum(result.seconds for result in results),
            evaluations=passes / max(samples, 1),
            device=results[0].device,
            dtype=results[0].dtype,
            results=tuple(results),
        )

    @property
    def num_samples(self) -> int:
        return sum(result.num_samples for result in self.results)

    def write(self, folder: Path) -> list[Path]:
        return [path for result in self.results for path in result.write(folder)]


RESULTS: Mapping[Modality, type[RunResult]] = {"image": Pictures, "audio": Sounds}  # where a task has no results.py


def result_class(task: Task, modality: Modality) -> type[RunResult]:
    """Return the class of what a task returns on a modality."""
    part = task.part("results")
    return {**RESULTS, **(part.RESULTS if part else {})}[modality]
