"""One run: a request on its way through one pipeline, in batches, with progress and a way to stop it."""

from __future__ import annotations

import inspect
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import PIL.Image

from genarium.checkpoints import Checkpoint
from genarium.errors import InputError, Stopped
from genarium.runtime.crews import Turn
from genarium.runtime.modalities import MEDIA
from genarium.runtime.pipelines import EVALUATIONS
from genarium.runtime.request import Request
from genarium.runtime.results import Result, result_class
from genarium.runtime.turns import Outlook

if TYPE_CHECKING:
    import torch

NOTHING_KNOWN = Outlook()
SURE_SECONDS = 2.0  # of computing, after which its first steps say how long a run takes
PREVIEW_SECONDS = 0.1  # at most ten previews a second of computing: more would only keep the network busy


@dataclass(frozen=True)
class Progress:
    """A report after a step.

    While a run waits for its turn, loads, or takes long over a step, the last report comes again as a sign of life.

    Args:
        step: how many of `total` steps are done.
        total: steps of the run.
        seconds: of computing so far, without waiting.
        pictures: the current estimate; a sound is shown as its spectrogram. None if it has not changed.
        checkpoint: which is running, of a request that names several.
        outlook: how many others compute, and how long this will take.
    """

    step: int
    total: int
    seconds: float
    pictures: list[PIL.Image.Image] | None
    checkpoint: str = ""
    outlook: Outlook = NOTHING_KNOWN


class Run:
    """A request on its way through a pipeline.

    Args:
        pipeline: the loaded checkpoint.
        checkpoint: which `request` names, and no other.
        request: with every parameter filled in.
        material: the task's inputs by parameter, as the pipeline takes them; a list where the task takes many.
        max_batch: samples computed at once.
        events: where `Progress` goes.
        stop: set from outside; the run then ends at its next step.
        turn: which the run has, and offers to others after each step; None where no others are.
        check: called with the seconds that the run seems to take in all; it may raise.
    """

    def __init__(
        self,
        pipeline: Any,
        checkpoint: Checkpoint,
        request: Request,
        material: Mapping[str, Any],
        max_batch: int,
        events: queue.SimpleQueue[Any],
        stop: threading.Event,
        turn: Turn | None = None,
        check: Callable[[float], None] = lambda seconds: None,
    ):
        self.turn, self.check = turn, check
        self.pipeline, self.checkpoint, self.request, self.material = pipeline, checkpoint, request, material
        self.events, self.stop = events, stop
        self.task = checkpoint.tasks[request.task]
        self.medium = MEDIA[checkpoint.modality]
        self.max_batch = self.medium.max_batch or max_batch
        self.outputs: list[Any] = []  # of the batches that are done
        self.started = time.perf_counter()
        self.previewed = float("-inf")
        self.batch, self.num_batches = 0, 1

    def result(self) -> Result:
        """Compute all batches, and return what came of the request.

        Raises:
            Stopped: `stop` was set.
            InputError: the pipeline cannot take an input.
        """
        return self.result_of(self.request, self.outputs, *self.compute())

    def compute(self) -> tuple[float, int]:
        """Compute all batches; return the seconds that it took, and the samples that passed through networks. Raises as `result`."""
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
            self.outputs.append(self._call(method, arguments))
        return time.perf_counter() - self.started, EVALUATIONS.samples

    def result_of(self, request: Request, outputs: Sequence[Any], seconds: float, passes: float) -> Result:
        """Return the result of a request, from what the pipeline returned for its batches and from what `compute` did."""
        inputs = [v for value in self.material.values() for v in (value if isinstance(value, list) else [value])]
        kind = result_class(self.task, self.checkpoint.modality)
        result = kind(
            request=request,
            inputs=[value for value in inputs if value is not None],
            seconds=seconds,
            device=str(self.pipeline.device),
            dtype=str(self.pipeline.dtype).removeprefix("torch."),
            **kind.fields_from(outputs, self),
        )
        return replace(result, evaluations=passes / (result.num_samples or self._number()))

    def generators(self, start: int, stop: int) -> list[torch.Generator]:
        """Return one generator for each of the samples start ... stop - 1."""
        return self.request.generators(start, stop)

    def _call(self, method: Callable[..., Any], arguments: dict[str, Any]) -> Any:
        try:
            return method(**arguments)
        except self._rejects as error:
            raise InputError(str(error)) from error

    @property
    def _rejects(self) -> tuple[type[Exception], ...]:
        """What a pipeline raises of an input that it cannot take. Only the pipeline knows which texts it understands."""
        controls = self.checkpoint.controls(self.request.task)
        typed = any(controls[n].kind == "text" and v for n, v in self.request.parameters.items() if n in controls)
        return (*self.medium.rejects, ValueError) if typed else self.medium.rejects

    def _number(self) -> int:
        """Return how many samples can be split into batches. What cannot, such as an interpolation, counts as one."""
        if self.task.draws:
            return self.request.batch_size
        return len(self.material[self.task.many]) if self.task.many else 1

    def _arguments(self, start: int, stop: int) -> dict[str, Any]:
        request = self.request
        arguments: dict[str, Any] = dict(request.parameters)
        arguments["callback_on_step_end"] = self.on_step
        generators = self.generators(start, stop)
        if self.task.draws:
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

    def on_step(self, pipe: Any, step: int, timestep: Any, values: Mapping[str, Any]) -> None:
        """Report a step to `events`. The pipeline calls this after each step; raising here is how a run stops."""
        if self.stop.is_set():
            raise Stopped("Stopped.")
        now = time.perf_counter()
        pictures = None
        if now - self.previewed >= PREVIEW_SECONDS:
            self.previewed = now
            sample = values["pred_original_sample"].detach().float().cpu()
            pictures = self.medium.preview(self.checkpoint, self.outputs, sample)
        each = values["num_timesteps"]
        done, total = self.batch * each + step + 1, self.num_batches * each
        self.events.put(Progress(done, total, now - self.started, pictures, self.request.checkpoint))
        seconds = time.perf_counter() - self.started
        if seconds > SURE_SECONDS and done > 1:
            self.check(seconds * total / done)
        self.take_turns(done, total)

    def take_turns(self, done: int, total: int) -> None:
        """Let others go on where it is their turn. The time for which the run waits is not its own."""
        seconds = time.perf_counter() - self.started
        if self.turn is not None:
            waited = self.turn.pause(seconds * (total - done) / done)
            self.started, self.previewed = self.started + waited, self.previewed + waited


def _known_to(method: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that a method not made for this app takes, as diffusers' own mean them; so no callback."""
    known = inspect.signature(method).parameters
    arguments = {name: value for name, value in arguments.items() if name in known and name != "callback_on_step_end"}
    if "batch_size" not in known and "generator" in arguments:
        arguments["generator"] = arguments["generator"][0]
    return arguments
