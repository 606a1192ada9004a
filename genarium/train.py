"""The one training loop, for every family: accelerate, AdamW, EMA, and a state that survives a kill.

Step s is a function of the recipe alone: its images come from the permutation of its epoch, its noise from a
generator seeded with (seed, s, process). So a run that was killed and resumed sees what it would have seen.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device, set_seed
from diffusers.training_utils import EMAModel
from torch import nn
from tqdm.auto import tqdm

from genarium import paths
from genarium.data import ImageData, load_images
from genarium.errors import GenariumError, RecipeError
from genarium.families import Family
from genarium.parallel import join
from genarium.pictures import grid, to_pixels
from genarium.recipe import Recipe, TrainingSpec
from genarium.teacher import load_teacher, teacher_images


class Objective(nn.Module):
    """A pipeline's trainable components as one module whose forward is the loss, which is what accelerate prepares."""

    def __init__(self, pipeline):
        super().__init__()
        self.pipeline = [pipeline]  # in a list: a pipeline is no module, and its modules are registered below
        modules = {k: m for k, m in pipeline.components.items() if isinstance(m, nn.Module)}
        self.components = nn.ModuleDict(
            {k: m for k, m in modules.items() if any(p.requires_grad for p in m.parameters())}
        )

    def forward(self, batch, generator, progress):
        return self.pipeline[0].loss(batch, generator=generator, progress=progress)


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
            for a family that has none.
    """
    build = family.pipeline_class().build
    options = {"sample_size": recipe.data.sample_size, "channels": recipe.data.channels, "id2label": id2label}
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
    data: ImageData | None = None,
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
        data: already loaded training images.
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
    data = data or load_images(recipe.data, recipe.data.train_split, data_override)
    pipeline = build_pipeline(recipe, family, data.id2label, data.condition_names)
    if spec.batch_size % accelerator.num_processes:
        raise RecipeError(
            f"training.batch_size {spec.batch_size} does not divide among {accelerator.num_processes} processes."
        )
    compiles = spec.compile and bool(shutil.which("g++") or shutil.which("clang++"))
    if spec.compile and not compiles:
        accelerator.print(f"{recipe.name}: torch.compile needs a C++ compiler (g++); training goes on without, slower.")
    lessons = data  # what the steps see: the data, or what a teacher draws
    if spec.teacher is not None:
        teacher = load_teacher(spec.teacher, accelerator.device)
        take_from_teacher(recipe, pipeline, teacher.pipeline(spec.teacher.checkpoint))
        if compiles:
            _compile(teacher.pipeline(spec.teacher.checkpoint))
        with accelerator.autocast():
            lessons = teacher_images(spec.teacher, teacher, run / "teacher")
        del teacher
    objective = Objective(pipeline).to(accelerator.device, memory_format=torch.channels_last).train()
    parameters = list(objective.parameters())
    ema = EMAModel(parameters, decay=spec.ema_decay, use_ema_warmup=False)
    optimizer = torch.optim.AdamW(parameters, lr=spec.learning_rate, betas=spec.betas, weight_decay=spec.weight_decay)
    objective_prepared, optimizer = accelerator.prepare(objective, optimizer)
    accelerator.register_for_checkpointing(ema)
    accelerator.init_trackers("logs")

    num_steps = math.ceil(spec.images / spec.batch_size)
    step, seconds = _resume(accelerator, run, recipe)
    if step == num_steps and (run / "time.json").exists():
        accelerator.print(f"{recipe.name}: finished already, see {run}; --fresh trains it anew.")
        accelerator.end_training()
        return Path(json.loads((run / "time.json").read_text())["output"])
    if compiles:
        _compile(pipeline)
    if main:
        size = sum(p.numel() for p in parameters) / 1e6
        print(f"{recipe.name}: {size:.2f} M parameters, {len(lessons)} images, steps {step} to {num_steps}, {run}")
    bar = tqdm(initial=step, total=num_steps, desc=recipe.name, disable=not main, mininterval=1.0)
    last_step = num_steps if max_steps is None else min(num_steps, step + max_steps)
    started, first = time.monotonic() - seconds, step
    share = spec.batch_size // accelerator.num_processes
    log = _open_log(run / "log.jsonl", step) if main else None

    while step < last_step:
        rank = accelerator.process_index
        # two generators: the noise is drawn on the device, the augmentation on the CPU where the data lie
        seed = (spec.seed * 1_000_003 + step) * 4096 + rank
        indices = batch_indices(spec.seed, step, spec.batch_size, len(lessons))[rank * share : (rank + 1) * share]
        batch = lessons.batch(indices, torch.Generator().manual_seed(seed))
        batch = send_to_device(batch, accelerator.device)
        generator = torch.Generator(accelerator.device).manual_seed(seed)
        rate = learning_rate(spec, step, num_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, parts = objective_prepared(batch, generator, step / num_steps)
        accelerator.backward(loss)
        norm = accelerator.clip_grad_norm_(parameters, spec.grad_clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        # EMAModel's own ramp, min(decay, (1 + t) / (10 + t)), keeps the first random weights out of the average
        ema.step(parameters)
        step += 1

        value = loss.item()
        if not math.isfinite(value):
            raise GenariumError(
                f"{recipe.name}: the loss is {value} at step {step}. Lower training.learning_rate; the state saved "
                f"last, in {run}, is untouched."
            )
        if main:
            rate_seen = (step - first) * spec.batch_size / (time.monotonic() - started - seconds)
            bar.update()
            bar.set_postfix(loss=f"{value:.4f}", images_per_s=f"{rate_seen:.0f}")
            if on_step:
                on_step(step, value)
            if step % 10 == 0 or step == last_step:
                scalars = {"loss": value, "lr": rate, "grad_norm": float(norm), "images_per_second": rate_seen}
                scalars |= {k: float(v) for k, v in parts.items()}
                accelerator.log(scalars, step=step)
                log.write(json.dumps({"step": step, **{k: round(v, 6) for k, v in scalars.items()}}) + "\n")
                log.flush()
        if step % spec.save_every == 0 or step == last_step:
            _save_state(accelerator, run, recipe, step, time.monotonic() - started)
        if main and (step % spec.sample_every == 0 or step == num_steps):
            with _averaged(ema, parameters):
                _sample_grid(accelerator, pipeline, run, step)
    bar.close()
    if log:
        log.close()

    if step == num_steps and main:
        ema.copy_to(parameters)
        finish(pipeline, data, output)
        (run / "time.json").write_text(
            json.dumps({"seconds": time.monotonic() - started, "images": spec.images, "output": str(output)})
        )
        print(f"{recipe.name}: done in {(time.monotonic() - started) / 60:.1f} minutes, weights in {output}")
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return output if step == num_steps else run


def finish(pipeline, data: ImageData, output: Path) -> None:
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


def _compile(pipeline) -> None:
    for component in pipeline.components.values():
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
def _sample_grid(accelerator: Accelerator, pipeline, run: Path, step: int) -> None:
    """Twenty samples, a class after another, as a PNG and for TensorBoard. Families that do not generate are left out."""
    if not callable(pipeline):
        return
    modules = [m for m in pipeline.components.values() if isinstance(m, nn.Module)]
    for module in modules:
        module.eval()
    num_classes = len(pipeline.config.id2label or ())
    labels = [i % num_classes for i in range(20)] if num_classes else None
    generators = [torch.Generator().manual_seed(i) for i in range(20)]
    defaults = (pipeline.config.get("defaults") or {}).get("generate", {})
    images = pipeline(20, generator=generators, class_labels=labels, **defaults).images
    for module in modules:
        module.train()
    sheet = grid(images, columns=10)
    (run / "samples").mkdir(exist_ok=True)
    sheet.save(run / "samples" / f"{step:07d}.png")
    for tracker in accelerator.trackers:
        if tracker.name == "tensorboard":
            tracker.writer.add_image("samples", to_pixels([sheet])[0], step, dataformats="HWC")


def _open_log(path: Path, step: int):
    """The log to append to, without what a killed run wrote after the state it is resumed from."""
    rows = path.read_text().splitlines() if path.exists() else []
    kept = []
    for row in rows:
        with contextlib.suppress(ValueError):  # a kill can leave half a line
            kept += [f"{row}\n"] if json.loads(row)["step"] <= step else []
    path.write_text("".join(kept))
    return path.open("a")


def _save_state(accelerator: Accelerator, run: Path, recipe: Recipe, step: int, seconds: float) -> None:
    """Write beside, then rename: a kill at any moment leaves one whole state."""
    temporary, state = run / "state.part", run / "state"
    accelerator.wait_for_everyone()
    accelerator.save_state(str(temporary))
    if accelerator.is_main_process:
        facts = {"step": step, "seconds": seconds, "architecture": dict(recipe.architecture)}
        facts["batch_size"], facts["images"] = recipe.training.batch_size, recipe.training.images
        (temporary / "state.json").write_text(json.dumps(facts))
        old = run / "state.old"
        shutil.rmtree(old, ignore_errors=True)
        if state.exists():
            state.rename(old)
        temporary.rename(state)
        shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()


def _resume(accelerator: Accelerator, run: Path, recipe: Recipe) -> tuple[int, float]:
    """Load the last whole state, if any -> (steps done, seconds spent)."""
    for folder in (run / "state", run / "state.old"):
        if not (folder / "state.json").exists():
            continue
        facts = json.loads((folder / "state.json").read_text())
        same = {
            "architecture": json.loads(json.dumps(dict(recipe.architecture))),
            "batch_size": recipe.training.batch_size,
            "images": recipe.training.images,
        }
        changed = [k for k, v in same.items() if facts.get(k) != v]
        if changed:
            raise GenariumError(
                f"{folder} was saved with another {' and '.join(changed)} than the recipe has now. "
                "Put the recipe back, or begin anew with --fresh."
            )
        accelerator.load_state(str(folder))
        accelerator.print(f"{recipe.name}: resumed at step {facts['step']} from {folder}")
        return facts["step"], facts["seconds"]
    return 0, 0.0
