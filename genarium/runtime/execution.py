"""One computation: its batches, its progress, its stop, and what comes of it. Pictures and sound each have a class."""

from __future__ import annotations

import inspect
import queue
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch

from genarium.checkpoints import Checkpoint
from genarium.errors import InputError, Stopped
from genarium.pictures import to_pictures
from genarium.runtime.pipelines import EVALUATIONS
from genarium.runtime.request import Request
from genarium.spectrogram import mel_picture

PREVIEW_SECONDS = 0.1  # at most ten previews a second: more would only keep the network busy
HEARD_SECONDS = 10  # of sound in a preview: the newest


@dataclass(frozen=True)
class Progress:
    """After a step: `step` of `total` are done in `seconds`; `pictures` is the current estimate, or None if unchanged.

    The estimate of a sound is its spectrogram. While a run waits for its turn, loads, or takes long over a step, the last
    progress comes again as a sign of life.
    """

    step: int
    total: int
    seconds: float
    pictures: list[PIL.Image.Image] | None


@dataclass(frozen=True)
class StyleMap:
    """Styles as points of a plane: those known from the training, by name, and then those of a run, by their part in it.

    `names`: of the known ones. `parts`: "content", "style" and "result", those that there are. `points`: float [N, 2], the
    known ones first.
    """

    names: tuple[str, ...]
    parts: tuple[str, ...]
    points: np.ndarray


@dataclass(frozen=True)
class Result:
    """What came of a request.

    `inputs`: the material as the model had it, pictures or float32 [T]. `seconds`: computing time, without waiting and
    loading. `evaluations`: passes through the network for each sample made or scored, on average; guidance counts twice.
    `scores` [N] and `unit`: of the anomaly task. `style_map`: of a style swap, where the pipeline draws one.

    Of pictures: `pictures`; `maps` [N, H, W] or None; `codes` int64 [N, h, w], of models that write images in codes.

    Of sound: `audios`, float32 [T] each, at `sampling_rate`; `maps`, float [frames] for each input, or None; `codes`, int64
    [frames] for each, at `frame_rate` a second.
    """

    request: Request
    inputs: list[Any]
    seconds: float
    pictures: list[PIL.Image.Image] | None = None
    audios: list[np.ndarray] | None = None
    sampling_rate: int = 0
    frame_rate: float = 0.0
    evaluations: float = 0.0
    scores: np.ndarray | None = None
    maps: np.ndarray | list[np.ndarray] | None = None
    unit: str = ""
    codes: np.ndarray | list[np.ndarray] | None = None
    style_map: StyleMap | None = None
    device: str = ""
    dtype: str = ""


class Run(ABC):
    """A request on its way through a pipeline.

    Args:
        material: the task's inputs by parameter, as the pipeline takes them; a list where the task takes many.
        max_batch: samples computed at once.
        events: where `Progress` goes.
        stop: set from outside; the run then ends at its next step.
    """

    def __init__(
        self,
        pipeline,
        checkpoint: Checkpoint,
        request: Request,
        material: Mapping[str, Any],
        max_batch: int,
        events: queue.SimpleQueue,
        stop: threading.Event,
    ):
        self.pipeline, self.checkpoint, self.request, self.material = pipeline, checkpoint, request, material
        self.max_batch, self.events, self.stop = max_batch, events, stop
        self.task = checkpoint.tasks[request.task]
        self.done: list[Any] = []
        self.scores: list[np.ndarray] = []
        self.unit = ""
        self.started = time.perf_counter()
        self.previewed = float("-inf")
        self.batch, self.num_batches = 0, 1

    # ---- what pictures and sound do differently ----

    @abstractmethod
    def preview(self, sample: torch.Tensor) -> list[PIL.Image.Image]:
        """The current estimate, as a pipeline reports it, to look at."""

    @abstractmethod
    def collect(self, output) -> None:
        """Keep what a batch made."""

    @abstractmethod
    def collect_maps(self, maps) -> None:
        """Keep where a batch's inputs are strange; None where the pipeline does not say."""

    @abstractmethod
    def findings(self) -> dict[str, Any]:
        """Fields of the `Result` that are of this kind alone."""

    def call(self, method, arguments: dict[str, Any]):
        return method(**arguments)

    # ---- what they share ----

    def result(self) -> Result:
        """Compute it all.

        Raises:
            Stopped, InputError
        """
        method = getattr(self.pipeline, self.task.method)
        number = self._number()
        if self.checkpoint.is_foreign and "batch_size" not in inspect.signature(method).parameters:
            self.max_batch = 1
        EVALUATIONS.samples = 0
        starts = range(0, number, self.max_batch)
        self.num_batches = len(starts)
        for self.batch, start in enumerate(starts):
            if self.stop.is_set():
                raise Stopped("Stopped.")
            arguments = self._arguments(start, min(start + self.max_batch, number))
            if self.checkpoint.is_foreign:
                arguments = _known_to(method, arguments)
            output = self.call(method, arguments)
            if self.request.task == "anomaly":
                self.scores.append(output.scores.float().cpu().numpy())
                self.collect_maps(output.maps)
                self.unit = output.unit
            else:
                self.collect(output)
        seconds, evaluations = time.perf_counter() - self.started, EVALUATIONS.samples
        inputs = [v for value in self.material.values() for v in (value if isinstance(value, list) else [value])]
        return Result(
            request=self.request,
            inputs=[value for value in inputs if value is not None],
            seconds=seconds,
            evaluations=evaluations / (len(self.done) or number),
            scores=np.concatenate(self.scores) if self.scores else None,
            unit=self.unit,
            style_map=self._style_map(),
            device=str(self.pipeline.device),
            dtype=str(self.pipeline.dtype).removeprefix("torch."),
            **self.findings(),
        )

    def _number(self) -> int:
        """Samples that can be split into batches; what cannot, such as an interpolation, counts as one."""
        if self.request.task == "generate":
            return self.request.batch_size
        return len(self.material[self.task.many]) if self.task.many else 1

    def _arguments(self, start: int, stop: int) -> dict[str, Any]:
        request = self.request
        arguments: dict[str, Any] = dict(request.parameters)
        arguments["callback_on_step_end"] = self.on_step
        generators = request.generators(start, stop)
        if request.task == "generate":
            arguments["batch_size"] = stop - start
            arguments["generator"] = generators
        elif self.task.many:
            arguments[self.task.many] = self.material[self.task.many][start:stop]
            arguments["generator"] = generators
        else:
            arguments |= self.material
            arguments["generator"] = generators[0]
        if request.class_labels is not None:
            arguments["class_labels"] = list(request.class_labels[start:stop])
        return arguments

    def _style_map(self) -> StyleMap | None:
        """Where content, style and result lie among the styles that the model knows."""
        if self.request.task != "swap_style" or not hasattr(self.pipeline, "style_map"):
            return None
        given = {**self.material, "result": self.done[0]}
        given = {part: value for part, value in given.items() if value is not None}
        try:
            output = self.pipeline.style_map(list(given.values()))
        except ValueError:  # a result that is nothing, such as silence, has no place; it is a result all the same
            return None
        points = torch.as_tensor(output.points).float().cpu().numpy()
        return StyleMap(tuple(output.names[: len(points) - len(given)]), tuple(given), points)

    def on_step(self, pipe, step: int, timestep, values: Mapping[str, Any]) -> None:
        """Called by the pipeline after each step; raising here is how a run stops."""
        if self.stop.is_set():
            raise Stopped("Stopped.")
        now = time.perf_counter()
        pictures = None
        if now - self.previewed >= PREVIEW_SECONDS:
            self.previewed = now
            pictures = self.preview(values["pred_original_sample"].detach().float().cpu())
        each = values["num_timesteps"]
        self.events.put(Progress(self.batch * each + step + 1, self.num_batches * each, now - self.started, pictures))


class PictureRun(Run):
    """Pictures in, pictures out."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.maps: list[np.ndarray] = []
        self.codes: list[np.ndarray] = []

    def preview(self, sample: torch.Tensor) -> list[PIL.Image.Image]:
        pixels = ((sample / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)  # [N, C, H, W]
        return self.done + to_pictures(pixels.permute(0, 2, 3, 1).numpy())

    def collect(self, output) -> None:
        self.done += list(output.images)
        self.codes += [output.codes.numpy()] if hasattr(output, "codes") else []

    def collect_maps(self, maps) -> None:
        self.maps += [] if maps is None else [maps.float().numpy()]

    def findings(self) -> dict[str, Any]:
        return {
            "pictures": self.done,
            "maps": np.concatenate(self.maps) if self.maps else None,
            "codes": np.concatenate(self.codes) if self.codes else None,
        }


class SoundRun(Run):
    """Sound in, sound out; one clip at a time, since clips have any length."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.max_batch = 1
        self.rate = int(self.checkpoint.index["sampling_rate"])
        self.maps: list[np.ndarray] = []
        self.codes: list[np.ndarray] = []
        self.frame_rate = 0.0

    def call(self, method, arguments: dict[str, Any]):
        """What a model cannot take, such as a clip too short for it, only its pipeline knows, and says as ValueError."""
        try:
            return super().call(method, arguments)
        except ValueError as error:
            raise InputError(str(error)) from error

    def preview(self, sample: torch.Tensor) -> list[PIL.Image.Image]:
        return [mel_picture(sample[0, -HEARD_SECONDS * self.rate :].numpy(), self.rate)]

    def collect(self, output) -> None:
        self.done += [np.asarray(audio, np.float32) for audio in output.audios]
        if getattr(output, "codes", None) is not None:
            self.codes += [np.asarray(codes) for codes in output.codes]
            self.frame_rate = float(output.frame_rate)

    def collect_maps(self, maps) -> None:
        self.maps += [] if maps is None else [np.asarray(curve, np.float32) for curve in maps]

    def findings(self) -> dict[str, Any]:
        return {
            "audios": self.done,
            "sampling_rate": self.rate,
            "frame_rate": self.frame_rate,
            "maps": self.maps or None,
            "codes": self.codes or None,
        }


RUNS = {"image": PictureRun, "audio": SoundRun}  # by modality


def _known_to(method, arguments: dict[str, Any]) -> dict[str, Any]:
    """Those arguments that a method not made for this app takes, as diffusers' own mean them; so no callback."""
    known = inspect.signature(method).parameters
    arguments = {name: value for name, value in arguments.items() if name in known and name != "callback_on_step_end"}
    if "batch_size" not in known and "generator" in arguments:
        arguments["generator"] = arguments["generator"][0]
    return arguments
