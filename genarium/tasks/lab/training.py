"""The Lab's learner: a family's own pipeline, on points, in front of a visitor."""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from genarium.checkpoints.building import BUILDING
from genarium.errors import InputError
from genarium.families import Families
from genarium.tasks.lab.data import density_of
from genarium.tasks.lab.densities import Density
from genarium.tasks.lab.distance import POINTS, wasserstein1
from genarium.tasks.lab.frame import Frame
from genarium.tasks.lab.plane import Plane
from genarium.tasks.lab.question import PlaneInfo, Question, planes
from genarium.tasks.lab.views import Scene

TRAINING_POINTS = 20_000
MEASUREMENTS = 16  # of W1 in a training
WARM_UP = 50  # steps over which the learning rate rises
LONGEST = 60.0  # seconds of computing
PATIENCE = 240.0  # seconds on the clock, where a machine has much else to do
STEEPEST = 5.0  # norm of a module's gradient, where it is clipped
RUNNING = 0.9  # decay of the running means of the loss, for each step


@dataclass(frozen=True)
class Trained:
    """A model at some moment of its training, with the averaged weights.

    Args:
        question: that it answers.
        info: its family.
        scene: the model with its data.
        step, steps, seconds, loss, parts, w1: of the training, see `Frame`; W1 as it was measured last.
        finished: whether the training has come to its end.
    """

    question: Question
    info: PlaneInfo
    scene: Scene
    step: int
    steps: int
    seconds: float
    loss: float
    parts: Mapping[str, float]
    w1: float | None
    finished: bool


class Averages:
    """The moving average of the weights, and of the buffers that belong to them.

    The decay rises to its value as (1 + n) / (10 + n), so that early averages do not hold on to the fresh weights.

    Args:
        modules: whose floating-point state is averaged. A module without weights keeps its own state and is left out.
        decay: of one step.
    """

    def __init__(self, modules: Mapping[str, torch.nn.Module], decay: float):
        self.decay, self.count = decay, 0
        self.live: list[torch.Tensor] = []
        for module in modules.values():
            if any(True for _ in module.parameters()):
                self.live += [t.data for t in (*module.parameters(), *module.buffers()) if t.is_floating_point()]
        self.kept = [t.clone() for t in self.live]

    def update(self) -> None:
        """Take in the weights as they are now."""
        self.count += 1
        decay = min(self.decay, (1 + self.count) / (10 + self.count))
        torch._foreach_lerp_(self.kept, self.live, 1 - decay)

    def __enter__(self) -> None:
        """Put the averages in place of the weights."""
        self.saved = [t.clone() for t in self.live]
        torch._foreach_copy_(self.live, self.kept)

    def __exit__(self, *_: Any) -> None:
        """Put the weights back."""
        torch._foreach_copy_(self.live, self.saved)


class Training(Iterator[Frame]):
    """One training, as an iterator of frames. Nothing is computed between two calls of `next`, so that is how to pause.

    The frames depend on the question alone, but for `seconds`: two runs on one machine give the same numbers.

    Args:
        question: what to learn.
        stop: set it to end the training; the step that is being computed is the last.
        data: points [N, 2], where the question's data are "drawn".
        families: where to look for the family; by default those of this installation.
        limit: seconds of computing after which the training ends, whatever is left.
        patience: the same for seconds on the clock, without the pauses.

    Raises:
        InputError: the question asks for something that the Lab does not have, or settings that do not fit.
    """

    def __init__(
        self,
        question: Question,
        stop: threading.Event | None = None,
        data: Any = None,
        families: Families | None = None,
        limit: float = LONGEST,
        patience: float = PATIENCE,
    ):
        self.question, self.families = question.checked(families), families
        self.info = planes(families)[self.question.family]
        self.stop, self.limit, self.patience = stop or threading.Event(), limit, patience
        self.density: Density = density_of(self.question.data, data)
        random = np.random.default_rng(self.question.seed)
        # float64 draws, then float32: the training data and the points of the measurement never meet
        self.points = torch.from_numpy(self.density.draw(TRAINING_POINTS, random).astype(np.float32))
        self.measured = self.density.draw(POINTS, random).astype(np.float32)
        self.generator = torch.Generator().manual_seed(self.question.seed)
        self.plane = self._built()
        self.steps, self.step, self.seconds, self._clock = self.plane.steps, 0, 0.0, 0.0
        self.loss, self.parts = math.nan, dict[str, float]()
        self.w1: float | None = None  # as it was measured last
        self.finished = False
        self._next_measurement = 0.0  # step
        self._frames = 0
        self._view = self.info.view(self.question.view)
        self._ends = np.cumsum([share for _, share in self.plane.stages]) * self.steps
        self._stage = -1

    def _built(self) -> Plane:
        try:
            with BUILDING, torch.random.fork_rng(devices=[]):
                torch.manual_seed(self.question.seed)
                return self.info.plane.build(**self.question.settings)
        except ValueError as error:
            raise InputError(f"settings: {error}") from error

    # ---- frames ----

    def __iter__(self) -> Training:
        return self

    def __next__(self) -> Frame:
        """Learn until the next frame, and return it.

        Raises:
            StopIteration: the training has come to its end, or was stopped.
            InputError: the loss is no number any more.
        """
        if self.finished or self.stop.is_set():
            raise StopIteration
        if self._frames:
            self._learn(self.question.speed)
            if self.stop.is_set():
                raise StopIteration
        elif self._stage < 0:
            self._begin_stage(0)
        self.finished = self.step >= self.steps or self._is_over()
        measure = self.finished or self.step >= self._next_measurement
        if measure:
            self._next_measurement = self.step + self.steps / MEASUREMENTS
        frame = self._frame(measure)
        self._frames += 1
        if self.finished:
            self._rest()
        return frame

    def look(self, view: str, options: Mapping[str, Any] | None = None) -> None:
        """Change what the frames show, from the next one on.

        Raises:
            InputError: the family has no such view, or the view no such option.
        """
        self.question = replace(self.question, view=view, options=options or {}).checked(self.families)
        self._view = self.info.view(view)

    @property
    def data(self) -> np.ndarray:
        """Some of the points that the model learns from, float32 [1000, 2]."""
        return self.points[:POINTS].numpy()

    @property
    def speed(self) -> int:
        """Optimizer steps between two frames. It may be set while the training runs."""
        return self.question.speed

    @speed.setter
    def speed(self, steps: int) -> None:
        self.question = replace(self.question, speed=steps).checked(self.families)

    @property
    def trained(self) -> Trained:
        """The model as it is now, of its own: the training may go on."""
        with self.averages:
            plane = copy.deepcopy(self.plane)
        for module in plane.pipeline.components.values():
            if isinstance(module, torch.nn.Module):
                module.eval().requires_grad_(False)
        plane.refresh(self.points[:2000])
        scene = replace(self._scene(), plane=plane)
        progress = (self.step, self.steps, self.seconds, self.loss, dict(self.parts), self.w1)
        return Trained(self.question, self.info, scene, *progress, self.finished)

    def _scene(self) -> Scene:
        return Scene(self.plane, self.density, self.measured, self.question.seed)

    def _frame(self, measure: bool) -> Frame:
        """Draw a frame with the averaged weights."""
        with self.averages:
            self._set_training(False)
            self.plane.refresh(self.points[:2000])
            random = torch.Generator().manual_seed(self.question.seed)  # the same noise in every frame
            samples = self.plane.sample(POINTS, random).detach().numpy()
            if not np.isfinite(samples).all():
                raise InputError("The training has diverged: samples are no numbers any more. Choose other settings.")
            drawing = self._view.drawn(self._scene(), samples, self.question.options)
            self._set_training(True)
        if measure:
            self.w1 = wasserstein1(samples, self.measured)
        return Frame(
            self.step,
            self.steps,
            self.seconds,
            self.loss,
            dict(self.parts),
            self.w1 if measure else None,
            samples,
            drawing.layers,
            self._view.name,
            side=drawing.side,
            figures=drawing.figures,
            finished=self.finished,
        )

    # ---- learning ----

    def _begin_stage(self, stage: int) -> None:
        """Put averaged weights in place of the trained ones, and begin a stage with an optimizer of its own."""
        if self._stage >= 0:
            self._rest()
        self._stage = stage
        name = self.plane.stages[stage][0]
        self.plane.prepare(name, self.points, self.generator)
        self.modules = self.plane.trainable(name)
        weights = [list(module.parameters()) for module in self.modules.values()]
        self.groups = [group for group in weights if group]
        self.optimizer = torch.optim.AdamW(
            [weight for group in self.groups for weight in group],
            lr=self.plane.learning_rate,
            betas=self.plane.betas,
            weight_decay=0.0,
            fused=True,
        )
        self.averages = Averages(self.modules, self.plane.averaging)

    def _learn(self, steps: int) -> None:
        """Make some steps, fewer where the training ends or is stopped."""
        clock, started, before = time.perf_counter(), time.thread_time(), self.seconds
        for _ in range(steps):
            if self.step >= self.steps or self.stop.is_set() or self._is_over():
                break
            if self.step >= self._ends[self._stage] and self._stage + 1 < len(self.plane.stages):
                self._begin_stage(self._stage + 1)
            self._make_step()
            self.step += 1
            self.seconds = before + time.thread_time() - started
        self._clock += time.perf_counter() - clock

    def _is_over(self) -> bool:
        """Return whether the time of the training is spent."""
        return self.seconds >= self.limit or self._clock >= self.patience

    def _make_step(self) -> None:
        first = float(self._ends[self._stage - 1]) if self._stage else 0.0
        done, length = self.step - first, float(self._ends[self._stage]) - first
        progress = done / length
        rate = self.plane.learning_rate * min(1.0, (done + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        rows = torch.randint(len(self.points), (self.plane.batch_size,), generator=self.generator)
        loss, parts = self.plane.loss(self.points[rows], self.generator, progress, self.plane.stages[self._stage][0])
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for weights in self.groups:
            torch.nn.utils.clip_grad_norm_(weights, STEEPEST, foreach=True)
        self.optimizer.step()
        self.averages.update()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise InputError("The training has diverged: its loss is no number any more. Choose other settings.")
        self.loss = value if math.isnan(self.loss) else RUNNING * self.loss + (1 - RUNNING) * value
        for name, part in parts.items():
            last = self.parts.get(name, float(part))
            self.parts[name] = RUNNING * last + (1 - RUNNING) * float(part)

    def _rest(self) -> None:
        """Put the averaged weights in place of the trained ones for good."""
        torch._foreach_copy_(self.averages.live, self.averages.kept)

    def _set_training(self, training: bool) -> None:
        for module in self.modules.values():
            module.train(training)


def run(
    question: Question,
    stop: threading.Event | None = None,
    data: Any = None,
    families: Families | None = None,
    limit: float = LONGEST,
) -> Training:
    """Begin a training, as an iterator of frames; see `Training`."""
    return Training(question, stop, data, families, limit)
