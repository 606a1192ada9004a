"""The one training loop, for every family: accelerate, AdamW, EMA, and a state that survives a kill.

Step s is a function of the recipe alone: its images come from the permutation of its epoch, its noise from a
generator seeded with (seed, s, process). So a run that was killed and resumed sees what it would have seen.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import json
import math
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device, set_seed
from diffusers.training_utils import EMAModel
from torch import nn
from tqdm.auto import tqdm

from genarium import paths
from genarium.audio_data import AudioData, load_audio
from genarium.borrow import take_components
from genarium.data import ImageData, load_images
from genarium.errors import GenariumError, RecipeError
from genarium.families import Family
from genarium.parallel import join
from genarium.pictures import grid, to_pictures, to_pixels
from genarium.recipe import AudioSpec, Recipe, StageSpec, TrainingSpec
from genarium.tasks import TASKS
from genarium.teacher import load_teacher, teacher_images


class Objective(nn.Module):
    """What is trained, as one module whose forward is the loss, which is what accelerate prepares.

    Without stages these are the components with weights to train. In a stage, all components belong to it, so that a saved
    state is whole, and the helpers that the pipeline brings for this stage; only what it names for the stage is trained,
    except what is `frozen`.
    """

    def __init__(self, pipeline, stage: str | None = None, frozen: Collection[str] = ()):
        super().__init__()
        self.pipeline = [pipeline]  # in a list: a pipeline is no module, and its modules are registered below
        modules = {k: m for k, m in pipeline.components.items() if isinstance(m, nn.Module)}
        if stage is None:
            self.options = {}
            trained = {k: m for k, m in modules.items() if any(p.requires_grad for p in m.parameters())}
            trained = {k: m for k, m in trained.items() if k not in frozen}
            self.components = nn.ModuleDict(trained)
        else:
            self.options = {"stage": stage}
            trained = {k: m for k, m in pipeline.trainable(stage).items() if k not in frozen}
            self.components = nn.ModuleDict(modules | trained).requires_grad_(False)
            for module in trained.values():
                module.requires_grad_(True)
        self.trained = list(trained)

    def forward(self, batch, generator, progress):
        return self.pipeline[0].loss(batch, generator=generator, progress=progress, **self.options)

    def train(self, mode: bool = True) -> Objective:
        """Training mode for what is trained; what only helps stays as it is in use."""
        super().train(mode)
        for name, module in self.components.items():
            module.train(mode and name in self.trained)
        return self

    def groups(self) -> list[list[nn.Parameter]]:
        """The parameters to train. Each group's gradient is clipped by itself, so that no adversary drowns the other's."""
        if not self.options:
            return [list(self.parameters())]
        return [group for name in self.trained if (group := list(self.components[name].parameters()))]


class Average:
    """The moving average of the weights that are trained now. One for the whole run, since accelerate saves it."""

    def __init__(self):
        self.ema: EMAModel | None = None

    def state_dict(self) -> dict:
        return self.ema.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.ema.load_state_dict(state)


def build_pipeline(
    recipe: Recipe,
    family: Family,
    id2label: dict[str, str] | None,
    conditions: Mapping[str, dict[str, str]] | None = None,
):
    """Fresh weights from the recipe's architecture.

    Args:
        id2label: names of the classes.
        conditions: {condition: {number: name}}, where the recipe has conditions beside the class.

    Raises:
        RecipeError: a key of `architecture` that the family's `build` does not take, sizes that do not fit, or conditions
            or pairs for a family that has no use for them.
    """
    build = family.pipeline_class().build
    takes_sound = "sampling_rate" in inspect.signature(build).parameters
    if isinstance(recipe.data, AudioSpec) != takes_sound:
        kinds = ("pictures", "sound") if takes_sound else ("sound", "pictures")
        raise RecipeError(
            f"{recipe.name}: data: these are {kinds[0]}, and the family {family.name} works on {kinds[1]}."
        )
    if takes_sound:
        options = {"sampling_rate": recipe.data.sampling_rate}
    else:
        options = {"sample_size": recipe.data.sample_size, "channels": recipe.data.channels, "id2label": id2label}
        if recipe.data.pairs and not hasattr(family.pipeline_class(), "swap_style"):
            raise RecipeError(f"{recipe.name}: data.pairs: the family {family.name} does not learn from pairs.")
    if conditions:
        if "conditions" not in inspect.signature(build).parameters:
            raise RecipeError(f"{recipe.name}: data.conditions: the family {family.name} knows the class only.")
        options["conditions"] = dict(conditions)
    try:
        return build(**options, **recipe.architecture)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{recipe.name}: architecture: {error}") from error


def take_from_teacher(recipe: Recipe, pipeline, teacher) -> None:
    """Let a student take what it begins with, such as weights, from its teacher.

    Raises:
        RecipeError: the family has no students, or the two do not fit.
    """
    if not hasattr(pipeline, "learn_from"):
        raise RecipeError(f"{recipe.name}: training.teacher: the family {recipe.family} has no method learn_from.")
    try:
        pipeline.learn_from(teacher)
    except ValueError as error:
        raise RecipeError(f"{recipe.name}: training.teacher: {error}") from error


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
    state, facts = _saved_state(run, recipe)
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
    progress = _Progress(recipe.name, accelerator, run, facts["step"], num_steps, facts["seconds"], on_step)

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


class _Progress:
    """How far a run has come: steps, time, the log, and what the terminal shows."""

    def __init__(self, name, accelerator: Accelerator, run: Path, step: int, num_steps: int, seconds: float, on_step):
        main = accelerator.is_main_process
        self.accelerator, self.on_step = accelerator, on_step
        self.step = step
        self._started = time.monotonic() - seconds
        self._bar = tqdm(initial=step, total=num_steps, desc=name, disable=not main, mininterval=1.0)
        self._log = _open_log(run / "log.jsonl", step) if main else None

    @property
    def seconds(self) -> float:
        """Spent on the run so far, with what came before it was resumed."""
        return time.monotonic() - self._started

    def advance(self, loss: float, images_per_second: float) -> None:
        """One step is done; main process only."""
        self._bar.update()
        self._bar.set_postfix(loss=f"{loss:.4f}", images_per_s=f"{images_per_second:.0f}")
        if self.on_step:
            self.on_step(self.step, loss)

    def log(self, scalars: dict[str, float], stage: str | None) -> None:
        self.accelerator.log(scalars, step=self.step)
        row = {"step": self.step} | ({} if stage is None else {"stage": stage})
        self._log.write(json.dumps(row | {k: round(v, 6) for k, v in scalars.items()}) + "\n")
        self._log.flush()

    def close(self) -> None:
        self._bar.close()
        if self._log:
            self._log.close()


def _train_part(
    accelerator: Accelerator,
    recipe: Recipe,
    pipeline,
    lessons: ImageData | AudioData,
    average: Average,
    progress: _Progress,
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
            _save_state(accelerator, run, recipe, progress.step, progress.seconds, index)
        if main and (progress.step % spec.sample_every == 0 or done):
            with _averaged(ema, parameters):
                objective.eval()
                if hasattr(pipeline, "samples"):
                    _sample_sounds(accelerator, pipeline, run, progress.step, lessons, name)
                else:
                    shown = "generate" if stage is None else stage.samples
                    _sample_grid(accelerator, pipeline, run, progress.step, shown, lessons)
                objective.train()
    if progress.step == first + num_steps:
        ema.copy_to(parameters)
    accelerator.free_memory()


def finish(pipeline, data: ImageData | AudioData, output: Path) -> None:
    """What follows the last step: fit what is fitted after training, then write the weights in half precision."""
    for component in pipeline.components.values():
        if isinstance(component, nn.Module):
            component.eval()
    if hasattr(pipeline, "fit"):
        # What was compiled for training steps must not be compiled anew for other shapes, and cannot do all that a
        # family may ask here, such as two gradients of one pass.
        with torch.compiler.set_stance("force_eager"):
            pipeline.fit(data.batches(500))
    for component in pipeline.components.values():
        if isinstance(component, nn.Module):
            component.half()  # three more bits of each weight than bf16 would keep, in the same two bytes
            if any(not torch.isfinite(p).all() for p in component.parameters()):
                raise GenariumError("A weight is too large for fp16; train with more weight_decay.")
    temporary = output.with_name(output.name + ".part")
    shutil.rmtree(temporary, ignore_errors=True)
    pipeline.save_pretrained(temporary)
    if output.exists():
        shutil.rmtree(output)
    temporary.rename(output)


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


@torch.no_grad()
def _sample_grid(accelerator: Accelerator, pipeline, run: Path, step: int, task: str, data: ImageData) -> None:
    """What the pipeline makes at this step, as a PNG and for TensorBoard.

    "generate": twenty samples, a class after another; "reconstruct": ten images of `data` and below them what comes back;
    "swap_style": ten contents, the styles asked for, the results, and the true drawings. Families without the task are left
    out.
    """
    if not callable(getattr(pipeline, TASKS[task].method, None)) or (task == "swap_style" and data.pairs is None):
        return
    defaults = (pipeline.config.get("defaults") or {}).get(task, {})
    generators = [torch.Generator().manual_seed(i) for i in range(20)]

    def pixels(rows: torch.Tensor) -> np.ndarray:
        return data.images[rows].permute(0, 2, 3, 1).numpy()  # uint8 [10, H, W, C]

    if task == "generate":
        num_classes = len(pipeline.config.id2label or ())
        labels = [i % num_classes for i in range(20)] if num_classes else None
        images = pipeline(20, generator=generators, class_labels=labels, **defaults).images
    elif task == "reconstruct":
        inputs = pixels(torch.arange(min(10, len(data))))
        restored = pipeline.reconstruct(inputs, generator=generators[: len(inputs)], **defaults).images
        images = to_pictures(inputs) + restored
    else:
        rows = torch.linspace(0, len(data) - 1, 10).long()
        partners, examples = data.pairs.draw(rows, torch.Generator().manual_seed(0))
        swapped = pipeline.swap_style(pixels(rows), pixels(examples), **defaults).images
        images = to_pictures(pixels(rows)) + to_pictures(pixels(examples)) + swapped + to_pictures(pixels(partners))
    sheet = grid(images, columns=10)
    (run / "samples").mkdir(exist_ok=True)
    sheet.save(run / "samples" / f"{step:07d}.png")
    for tracker in accelerator.trackers:
        if tracker.name == "tensorboard":
            tracker.writer.add_image("samples", to_pixels([sheet])[0], step, dataformats="HWC")


@torch.no_grad()
def _sample_sounds(
    accelerator: Accelerator, pipeline, run: Path, step: int, data: AudioData, stage: str | None
) -> None:
    """What the pipeline has to be heard at this stage, of the first clips of the data: WAV files, and for TensorBoard."""
    import soundfile

    batch = send_to_device(data.batch(torch.arange(min(4, len(data)))), accelerator.device)
    folder = run / "samples" / f"{step:07d}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, sound in pipeline.samples(batch, stage).items():
        sound = sound.float().cpu().numpy()
        soundfile.write(folder / f"{name}.wav", sound, data.sampling_rate, subtype="PCM_16")
        for tracker in accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.writer.add_audio(name, sound, step, sample_rate=data.sampling_rate)


def _open_log(path: Path, step: int):
    """The log to append to, without what a killed run wrote after the state it is resumed from."""
    rows = path.read_text().splitlines() if path.exists() else []
    kept = []
    for row in rows:
        with contextlib.suppress(ValueError):  # a kill can leave half a line
            kept += [f"{row}\n"] if json.loads(row)["step"] <= step else []
    path.write_text("".join(kept))
    return path.open("a")


def _save_state(accelerator: Accelerator, run: Path, recipe: Recipe, step: int, seconds: float, stage: int) -> None:
    """Write beside, then rename: a kill at any moment leaves one whole state."""
    temporary, state = run / "state.part", run / "state"
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    if accelerator.is_main_process:
        facts = {"step": step, "seconds": seconds, "stage": stage, **_identity(recipe)}
        (temporary / "state.json").write_text(json.dumps(facts))
        old = run / "state.old"
        shutil.rmtree(old, ignore_errors=True)
        if state.exists():
            state.rename(old)
        temporary.rename(state)
        shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()


def _identity(recipe: Recipe) -> dict[str, Any]:
    """What must not change between a saved state and the run that goes on from it."""
    spec = recipe.training
    facts = {"architecture": dict(recipe.architecture), "batch_size": spec.batch_size, "images": spec.images}
    if spec.stages:
        sections = [spec.of_stage(stage) for stage in spec.stages]
        facts["stages"] = [[a.name, b.images, b.batch_size] for a, b in zip(spec.stages, sections)]
    return json.loads(json.dumps(facts))


def _saved_state(run: Path, recipe: Recipe) -> tuple[Path | None, dict[str, Any]]:
    """The last whole state, if any -> (its folder, {"step": steps done, "seconds": spent, "stage": index of the stage}).

    Raises:
        GenariumError: it is of another recipe.
    """
    for folder in (run / "state", run / "state.old"):
        if not (folder / "state.json").exists():
            continue
        facts = json.loads((folder / "state.json").read_text())
        changed = [k for k, v in _identity(recipe).items() if facts.get(k) != v]
        if changed:
            raise GenariumError(
                f"{folder} was saved with another {' and '.join(changed)} than the recipe has now. "
                "Put the recipe back, or begin anew with --fresh."
            )
        return folder, {"stage": 0, **facts}
    return None, {"step": 0, "seconds": 0.0, "stage": 0}
