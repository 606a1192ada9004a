"""The one training loop, for every family: accelerate, AdamW, EMA, and a state that survives a kill.

Step s is a function of the recipe alone: its images come from the permutation of its epoch, its noise from a
generator seeded with (seed, s, process). So a run that was killed and resumed sees what it would have seen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device, set_seed
from diffusers.training_utils import EMAModel
from torch import nn

from genarium import paths
from genarium.data.audio import AudioData, load_audio
from genarium.data.images import ImageData, load_images
from genarium.errors import GenariumError, RecipeError
from genarium.families import Family
from genarium.parallel import join
from genarium.recipe import AudioSpec, Recipe, StageSpec, TrainingSpec
from genarium.training.borrow import take_components
from genarium.training.objective import Objective
from genarium.training.pipeline import build_pipeline, finish
from genarium.training.progress import Progress, save_state, saved_state
from genarium.training.samples import sample_grid, sample_sounds
from genarium.training.teacher import load_teacher, take_from_teacher, teacher_images


class Average:
    """The moving average of the weights that are trained now. One for the whole run, since accelerate saves it."""

    def __init__(self):
        self.ema: EMAModel | None = None

    def state_dict(self) -> dict:
        return self.ema.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.ema.load_state_dict(state)


def learning_rate(spec: TrainingSpec, step: int, num_steps: int) -> float:
    """Linear warm-up, then constant, or a linear or cosine decay to zero at the last step."""
    warm = min(1.0, (step + 1) / max(spec.warmup_steps, 1))
    left = max(0.0, 1 - step / num_steps)
    decay = {"constant": 1.0, "linear": left, "cosine": 0.5 * (1 - math.cos(math.pi * left))}[spec.schedule]
    return spec.learning_rate * warm * decay


def batch_indices(seed: int, step: int, batch_size: int, size: int) -> torch.Tensor:
    """The images of a step, int64 [batch_size]: consecutive pieces of one permutation of the data after another."""
    start = step * batch_size
    parts = []
    while batch_size > 0:
        epoch, offset = divmod(start, size)
        order = torch.randperm(size, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))
        parts.append(order[offset : offset + batch_size])
        start, batch_size = start + len(parts[-1]), batch_size - len(parts[-1])
    return torch.cat(parts)


def train(
    recipe: Recipe,
    family: Family,
    data_override: str | Path | None = None,
    output: Path | None = None,
    run_folder: Path | None = None,
    fresh: bool = False,
    max_steps: int | None = None,
    data: ImageData | AudioData | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> Path:
    """Train a checkpoint, or go on where a killed run stopped.

    Args:
        recipe: what to train.
        family: brings the pipeline class.
        data_override: local data in place of the recipe's Hub id.
        output: folder of the finished checkpoint. Unless told: checkpoints/<name> if that is free, otherwise
            runs/<name>/checkpoint, so that good weights are never overwritten by a run that may be worse.
        run_folder: state, logs and sample grids; runs/<name> unless told.
        fresh: begin anew though there is a saved state.
        max_steps: stop after this many steps with the state saved, as if killed.
        data: already loaded training images or clips.
        on_step: called with (step, loss) after each step, on the main process.

    Returns:
        The folder of the checkpoint, or the run's folder where `max_steps` came first.

    Raises:
        GenariumError: the loss is not finite, or the saved state is of another recipe.
    """
    spec = recipe.training
    run = run_folder or paths.runs() / recipe.name
    if output is None:
        output = paths.checkpoints() / recipe.name
        output = run / "checkpoint" if output.exists() else output
    join()
    accelerator = Accelerator(
        mixed_precision={"fp32": "no"}.get(spec.precision, spec.precision), log_with="tensorboard", project_dir=str(run)
    )
    main = accelerator.is_main_process
    if main and fresh and run.exists():
        shutil.rmtree(run)
    accelerator.wait_for_everyone()
    run.mkdir(parents=True, exist_ok=True)

    set_seed(spec.seed)
    load = load_audio if isinstance(recipe.data, AudioSpec) else load_images
    data = data or load(recipe.data, recipe.data.train_split, data_override)
    pipeline = build_pipeline(recipe, family, data.id2label, data.condition_names)
    parts = _parts(recipe, pipeline)
    for _, part in parts:
        if part.batch_size % accelerator.num_processes:
            raise RecipeError(
                f"training.batch_size {part.batch_size} does not divide among {accelerator.num_processes} processes."
            )
    num_steps = sum(_num_steps(part) for _, part in parts)
    state, facts = saved_state(run, recipe)
    if facts["step"] == num_steps and (run / "time.json").exists():
        accelerator.print(f"{recipe.name}: finished already, see {run}; --fresh trains it anew.")
        accelerator.end_training()
        return Path(json.loads((run / "time.json").read_text())["output"])
    compiles = bool(shutil.which("g++") or shutil.which("clang++"))
    if any(part.compile for _, part in parts) and not compiles:
        accelerator.print(f"{recipe.name}: torch.compile needs a C++ compiler (g++); training goes on without, slower.")
        parts = [(stage, dataclasses.replace(part, compile=False)) for stage, part in parts]
    lessons = data  # what the steps see: the data, or what a teacher draws
    if spec.teacher is not None:
        teacher = load_teacher(spec.teacher, accelerator.device)
        take_from_teacher(recipe, pipeline, teacher.pipeline(spec.teacher.checkpoint))
        if spec.compile and compiles:
            _compile(teacher.pipeline(spec.teacher.checkpoint).components)
        with accelerator.autocast():
            lessons = teacher_images(spec.teacher, teacher, run / "teacher")
        del teacher
    if spec.components_from is not None:
        take_components(recipe, pipeline)
    accelerator.init_trackers("logs")
    average = Average()
    accelerator.register_for_checkpointing(average)
    last_step = num_steps if max_steps is None else min(num_steps, facts["step"] + max_steps)
    progress = Progress(recipe.name, accelerator, run, facts["step"], num_steps, facts["seconds"], on_step)

    first = 0  # step of the run with which the part begins
    for index, (stage, part) in enumerate(parts):
        end = first + _num_steps(part)
        if index < facts["stage"]:  # done before the state was saved, which holds what came of it
            first = end
            continue
        _train_part(
            accelerator, recipe, pipeline, lessons, average, progress, run, state if index == facts["stage"] else None,
            index, stage, part, first, min(end, last_step),
        )  # fmt: skip
        if progress.step < end:
            break
        first = end
    progress.close()

    if progress.step == num_steps and main:
        finish(pipeline, data, output)
        (run / "time.json").write_text(
            json.dumps(
                {"seconds": progress.seconds, "images": sum(part.images for _, part in parts), "output": str(output)}
            )
        )
        print(f"{recipe.name}: done in {progress.seconds / 60:.1f} minutes, weights in {output}")
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return output if progress.step == num_steps else run


def _parts(recipe: Recipe, pipeline) -> list[tuple[StageSpec | None, TrainingSpec]]:
    """The stages with a training section each; for a training in one piece, the one section.

    Raises:
        RecipeError: stages for a family that has none, an unknown one, or none for a family that needs them.
    """
    spec, staged = recipe.training, hasattr(pipeline, "trainable")
    if not spec.stages and not staged:
        return [(None, spec)]
    if not staged:
        raise RecipeError(f"{recipe.name}: training.stages: the family {recipe.family} is trained in one piece.")
    if not spec.stages:
        raise RecipeError(
            f"{recipe.name}: the family {recipe.family} is trained in stages; name them, training.stages."
        )
    for stage in spec.stages:
        try:
            pipeline.trainable(stage.name)
        except ValueError as error:
            raise RecipeError(f"{recipe.name}: training.stages: {error}") from error
    return [(stage, spec.of_stage(stage)) for stage in spec.stages]


def _num_steps(spec: TrainingSpec) -> int:
    return math.ceil(spec.images / spec.batch_size)


def _train_part(
    accelerator: Accelerator,
    recipe: Recipe,
    pipeline,
    lessons: ImageData | AudioData,
    average: Average,
    progress: Progress,
    run: Path,
    state: Path | None,
    index: int,
    stage: StageSpec | None,
    spec: TrainingSpec,
    first: int,
    last: int,
) -> None:
    """Train one stage, or all in one piece, with an optimizer of its own; leave the averaged weights if it came to its end.

    Args:
        state: the saved state to go on from, or None at the stage's beginning.
        index: of the stage.
        spec: the training section as it is for this stage.
        first, last: steps of the run at which it begins, and at which to stop.
    """
    main, name = accelerator.is_main_process, None if stage is None else stage.name
    frozen = () if spec.components_from is None else spec.components_from.components
    objective = Objective(pipeline, name, frozen).to(accelerator.device, memory_format=torch.channels_last).train()
    groups = objective.groups()
    parameters = [p for group in groups for p in group]
    average.ema = ema = EMAModel(parameters, decay=spec.ema_decay, use_ema_warmup=False)
    optimizer = torch.optim.AdamW(parameters, lr=spec.learning_rate, betas=spec.betas, weight_decay=spec.weight_decay)
    objective_prepared, optimizer = accelerator.prepare(objective, optimizer)
    if state is not None:
        accelerator.load_state(str(state))
        accelerator.print(f"{recipe.name}: resumed at step {progress.step} from {state}")
    num_steps = _num_steps(spec)
    if stage is not None and hasattr(pipeline, "prepare"):
        objective.eval()
        with torch.no_grad(), accelerator.autocast():
            lessons = lessons.with_encoded(pipeline.prepare(name, lessons.batches(500)))
        objective.train()
    if spec.compile:
        _compile({component: objective.components[component] for component in objective.trained})
    if main:
        size = sum(p.numel() for p in parameters) / 1e6
        title = recipe.name if name is None else f"{recipe.name}, {name}"
        end = first + num_steps
        kind = "clips" if isinstance(lessons, AudioData) else "images"
        print(f"{title}: {size:.2f} M parameters, {len(lessons)} {kind}, steps {progress.step} to {end}, {run}")
    share = spec.batch_size // accelerator.num_processes
    begun, begun_at = time.monotonic(), progress.step

    while progress.step < last:
        step, rank = progress.step - first, accelerator.process_index
        # two generators: the noise is drawn on the device, the augmentation on the CPU where the data lie
        seed = (spec.seed * 1_000_003 + progress.step) * 4096 + rank
        indices = batch_indices(spec.seed, step, spec.batch_size, len(lessons))[rank * share : (rank + 1) * share]
        batch = lessons.batch(indices, torch.Generator().manual_seed(seed))
        batch = send_to_device(batch, accelerator.device)
        generator = torch.Generator(accelerator.device).manual_seed(seed)
        rate = learning_rate(spec, step, num_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, parts = objective_prepared(batch, generator, step / num_steps)
        accelerator.backward(loss)
        accelerator.unscale_gradients()
        norms = [nn.utils.clip_grad_norm_(group, spec.grad_clip) for group in groups]
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        # EMAModel's own ramp, min(decay, (1 + t) / (10 + t)), keeps the first random weights out of the average
        ema.step(parameters)
        progress.step += 1

        value = loss.item()
        if not math.isfinite(value):
            raise GenariumError(
                f"{recipe.name}: the loss is {value} at step {progress.step}. Lower training.learning_rate; the state "
                f"saved last, in {run}, is untouched."
            )
        done = progress.step == first + num_steps
        if main:
            rate_seen = (progress.step - begun_at) * spec.batch_size / (time.monotonic() - begun)
            progress.advance(value, rate_seen)
            if progress.step % 10 == 0 or progress.step == last:
                norm = math.hypot(*map(float, norms))
                scalars = {"loss": value, "lr": rate, "grad_norm": norm, "images_per_second": rate_seen}
                progress.log(scalars | {k: float(v) for k, v in parts.items()}, name)
        if progress.step % spec.save_every == 0 or progress.step == last:
            save_state(accelerator, run, recipe, progress.step, progress.seconds, index)
        if main and (progress.step % spec.sample_every == 0 or done):
            with _averaged(ema, parameters):
                objective.eval()
                if hasattr(pipeline, "samples"):
                    sample_sounds(accelerator, pipeline, run, progress.step, lessons, name)
                else:
                    shown = "generate" if stage is None else stage.samples
                    sample_grid(accelerator, pipeline, run, progress.step, shown, lessons)
                objective.train()
    if progress.step == first + num_steps:
        ema.copy_to(parameters)
    accelerator.free_memory()


def _compile(components: Mapping[str, Any]) -> None:
    for component in components.values():
        if isinstance(component, nn.Module):
            component.compile()


@contextlib.contextmanager
def _averaged(ema: EMAModel, parameters) -> Iterator[None]:
    """The averaged weights in place of the trained ones, for a while."""
    ema.store(parameters)
    ema.copy_to(parameters)
    try:
        yield
    finally:
        ema.restore(parameters)
