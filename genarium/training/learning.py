"""The steps of a training, for every family: accelerate, AdamW, EMA.

Step s is a function of the recipe alone: its images come from the permutation of its epoch (`batches`), its noise from a
generator seeded with (seed, s, process). So a run that was killed and resumed sees what it would have seen.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device
from torch import nn

from genarium.data.audio import AudioData
from genarium.data.stream import ImageStream
from genarium.errors import GenariumError
from genarium.recipe import Recipe
from genarium.training.average import Average
from genarium.training.batches import Batches, Lessons
from genarium.training.objective import Objective
from genarium.training.progress import Progress
from genarium.training.run_folder import RunFolder
from genarium.training.samples import sample_grid, sample_sounds
from genarium.training.stages import Part
from genarium.training.state import load_position, load_state, save_state
from genarium.training.steps import learning_rate, step_seed
from genarium.training.watch import Watch, Wish


@dataclass
class Training:
    """A training in progress: what all its parts share."""

    accelerator: Accelerator
    recipe: Recipe
    pipeline: Any
    run: RunFolder
    average: Average
    progress: Progress
    watch: Watch = field(default_factory=Watch)
    finishes_early: bool = False  # at the watch's wish; the weights are those of the average then

    def train_parts(self, parts: list[Part], lessons: Lessons, state: Path | None, last_step: int) -> None:
        """Train the parts that are left until the last step.

        Args:
            parts: all but those that were done when the state was saved, which holds what came of them.
            lessons: what the steps see.
            state: folder of the saved state from which the first part goes on, or None.
            last_step: the step of the run at which to stop.
        """
        for part in parts:
            self.train_part(part, lessons, state, min(part.end, last_step), is_last=part is parts[-1])
            state = None
            if self.progress.step < part.end:
                break
        self.progress.close()

    def train_part(self, part: Part, lessons: Lessons, state: Path | None, last: int, is_last: bool = True) -> None:
        """Train a part with an optimizer of its own; leave the averaged weights if it came to its end.

        Args:
            lessons: what its steps see.
            state: folder of the saved state to go on from, or None at the part's beginning.
            last: the step of the run at which to stop.
            is_last: whether no part follows. Only then the watch can finish it early.
        """
        learner, position = Learner(self, part), None
        if state is not None:
            load_state(self.accelerator, state)
            position = load_position(self.accelerator, state) if isinstance(lessons, ImageStream) else None
            self.accelerator.print(f"{self.recipe.name}: resumed at step {self.progress.step} from {state}")
        lessons = learner.prepare(lessons)
        self._announce(part, learner, lessons)
        process = self.accelerator.process_index, self.accelerator.num_processes
        with contextlib.closing(Batches(lessons, part, self.progress.step, last, *process, position)) as batches:
            wish = self._train_steps(part, learner, lessons, batches, last)
        self.finishes_early = wish == "finish" and is_last and self.progress.step < part.end
        if self.progress.step == part.end or self.finishes_early:
            self.average.take()
        self.accelerator.free_memory()

    def _train_steps(self, part: Part, learner: Learner, lessons: Lessons, batches: Batches, last: int) -> Wish:
        """Do the steps until the last, or until the watch does not want any more; return its wish."""
        begun, begun_at = time.monotonic(), self.progress.step
        wish: Wish = "go"
        while self.progress.step < last and wish == "go":
            loss = learner.step(self.progress.step, next(batches))
            self.progress.step += 1
            if not math.isfinite(loss):
                raise GenariumError(
                    f"{self.recipe.name}: the loss is {loss} at step {self.progress.step}. Lower training.learning_rate; the "
                    f"state saved last, in {self.run.path}, is untouched."
                )
            speed = (self.progress.step - begun_at) * part.spec.batch_size / (time.monotonic() - begun)
            self._report(part, learner, loss, speed, last)
            wish = self.watch.wish(self.progress.step, part.end)
            is_end = self.progress.step == last or wish != "go"
            if is_end or self.watch.saves(self.progress.step, part.spec.save_every):
                with self.watch.saving():
                    step, seconds = self.progress.step, self.progress.seconds
                    save_state(self.accelerator, self.run, self.recipe, step, seconds, part.index, batches.position)
            if self.progress.step == part.end or self.watch.samples(self.progress.step, part.spec.sample_every):
                with self.watch.sampling():
                    self._sample(part, learner, lessons)
        return wish

    def _announce(self, part: Part, learner: Learner, lessons: Lessons) -> None:
        if not self.accelerator.is_main_process:
            return
        size = sum(p.numel() for p in learner.parameters) / 1e6
        title = self.recipe.name if part.name is None else f"{self.recipe.name}, {part.name}"
        kind = "clips" if isinstance(lessons, AudioData) else "images"
        seen = f"a stream of {kind}" if isinstance(lessons, ImageStream) else f"{len(lessons)} {kind}"
        steps = f"steps {self.progress.step} to {part.end}"
        print(f"{title}: {size:.2f} M parameters, {seen}, {steps}, {self.run.path}")

    def _report(self, part: Part, learner: Learner, loss: float, speed: float, last: int) -> None:
        if not self.accelerator.is_main_process:
            return
        self.progress.advance(loss, speed)
        if self.progress.step % 10 == 0 or self.progress.step == last:
            scalars = {"loss": loss, "lr": learner.rate, "grad_norm": learner.gradient_norm()}
            parts = {name: float(value) for name, value in learner.loss_parts.items()}
            self.progress.log(scalars | {"images_per_second": speed} | parts, part.name)

    def _sample(self, part: Part, learner: Learner, lessons: Any) -> None:
        """Keep what the averaged weights make at this step."""
        if not self.accelerator.is_main_process:
            return
        lessons = lessons.shown if isinstance(lessons, ImageStream) else lessons
        with self.average.in_place():
            learner.objective.eval()
            if hasattr(self.pipeline, "samples"):
                sample_sounds(self.accelerator, self.pipeline, self.run, self.progress.step, lessons, part.name)
            else:
                shown = None if part.stage is None else part.stage.samples
                sample_grid(self.accelerator, self.pipeline, self.run, self.progress.step, shown, lessons)
            learner.objective.train()


class Learner:
    """The weights of one part, their optimizer and their steps."""

    def __init__(self, training: Training, part: Part):
        self.accelerator, self.pipeline, self.part = training.accelerator, training.pipeline, part
        self.average = training.average
        spec = part.spec
        frozen = () if spec.components_from is None else spec.components_from.components
        objective = Objective(self.pipeline, part.name, frozen)
        objective = objective.to(self.accelerator.device)
        # torch takes the memory format as a keyword, which its type stubs lack
        self.objective = objective.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.groups = self.objective.groups()
        self.parameters = [p for group in self.groups for p in group]
        self.average.begin(self.parameters, spec.ema_decay)
        optimizer = torch.optim.AdamW(
            self.parameters, lr=spec.learning_rate, betas=spec.betas, weight_decay=spec.weight_decay
        )
        self.prepared, self.optimizer = self.accelerator.prepare(self.objective, optimizer)
        # of the last step; tensors stay on the device until they are logged
        self.rate = 0.0
        self.norms: list[torch.Tensor] = []
        self.loss_parts: Mapping[str, torch.Tensor] = {}

    def prepare(self, lessons: Lessons) -> Lessons:
        """Return the lessons with what the pipeline makes of each image before a stage; compile what is trained."""
        if self.part.stage is not None and hasattr(self.pipeline, "prepare"):
            self.objective.eval()
            with torch.no_grad(), self.accelerator.autocast():
                made = self.pipeline.prepare(self.part.name, lessons.batches(500))
                if not isinstance(lessons, ImageStream):  # whose pictures are made into it anew in each step
                    lessons = lessons.with_encoded(made)
            self.objective.train()
        if self.part.spec.compile:
            compile_all({name: self.objective.components[name] for name in self.objective.trained})
        return lessons

    def step(self, run_step: int, batch: Mapping[str, Any]) -> float:
        """Do one step of the optimizer and of the average; return the loss, over the batches of all processes.

        Args:
            run_step: number of the step in the whole run.
            batch: its images, the share of this process.
        """
        spec, step = self.part.spec, run_step - self.part.first
        batch = send_to_device(batch, self.accelerator.device)
        # of the noise, which is drawn on the device; another one mirrored the images where the data lie
        seed = step_seed(spec, run_step, self.accelerator.process_index)
        generator = torch.Generator(self.accelerator.device).manual_seed(seed)
        self.rate = learning_rate(spec, step, self.part.num_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        loss, self.loss_parts = self.prepared(batch, generator, step / self.part.num_steps)
        self.accelerator.backward(loss)
        self.accelerator.unscale_gradients()
        self.norms = [nn.utils.clip_grad_norm_(group, spec.grad_clip) for group in self.groups]
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.step()
        return self._mean_of_processes(loss)

    def _mean_of_processes(self, loss: torch.Tensor) -> float:
        """Return the mean loss, and keep the mean parts: each process has computed those of its share of the batch.

        All processes get the same number, so that all of them stop where it is not finite.
        """
        if self.accelerator.num_processes > 1:
            values = [loss, *map(torch.as_tensor, self.loss_parts.values())]
            values = [value.detach().float().to(loss.device) for value in values]
            loss, *parts = self.accelerator.reduce(torch.stack(values), "mean")
            self.loss_parts = dict(zip(self.loss_parts, parts, strict=True))
        return loss.item()

    def gradient_norm(self) -> float:
        """Return the norm of the last step's gradient, before it was clipped."""
        return math.hypot(*map(float, self.norms))


def compile_all(components: Mapping[str, Any]) -> None:
    """Compile the networks among these components in place."""
    for component in components.values():
        if isinstance(component, nn.Module):
            component.compile()
