"""A training from a recipe to the finished checkpoint: what is checked before the first step, and what follows the last."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import set_seed

from genarium import paths
from genarium.checkpoints.folder import MODEL_INDEX, check_output
from genarium.data.audio import load_audio
from genarium.data.images import ImageData, load_images
from genarium.data.stream import ImageStream, open_stream
from genarium.errors import InputError, RecipeError
from genarium.families import Family
from genarium.hardware import multiplies_bfloat16
from genarium.notices import note
from genarium.parallel import check_launch, join
from genarium.recipe import AudioSpec, Recipe
from genarium.training.average import Average
from genarium.training.batches import Lessons
from genarium.training.borrow import take_components
from genarium.training.facts import check_facts, continued, facts_of
from genarium.training.learning import Training, compile_all
from genarium.training.pipeline import build_pipeline, check_streaming, finish
from genarium.training.progress import Progress
from genarium.training.run_folder import RunFolder
from genarium.training.stages import Part, plan
from genarium.training.state import saved_state
from genarium.training.teacher import load_teacher, take_from_teacher, teacher_images
from genarium.training.watch import Watch


def train(
    recipe: Recipe,
    family: Family,
    data_override: str | Path | None = None,
    output: Path | None = None,
    run_folder: Path | None = None,
    fresh: bool = False,
    max_steps: int | None = None,
    data: Lessons | None = None,
    on_step: Callable[[int, float], None] | None = None,
    continue_to: int | None = None,
    watch: Watch | None = None,
) -> Path:
    """Train a checkpoint, or go on where a killed run stopped.

    Args:
        recipe: what to train.
        family: brings the pipeline class.
        data_override: local data in place of the recipe's Hub id.
        output: folder of the finished checkpoint. By default checkpoints/<name> if that is free, otherwise
            runs/<name>/checkpoint, so that good weights are never overwritten by a run that may be worse.
        run_folder: state, logs and sample grids; by default runs/<name>.
        fresh: begin anew though there is a saved state.
        max_steps: stop after this many steps with the state saved, as if killed.
        data: already loaded training images or clips, or an open stream.
        on_step: called with (step, loss) after each step, on the main process.
        continue_to: go on from an earlier run of fewer images until this many were seen in all.
        watch: says when the state and samples are kept, and whether the training pauses or is finished early; by default
            what the recipe says.

    Returns:
        The folder of the checkpoint, or the run's folder where `max_steps` or a pause came first.

    Raises:
        FileError: `output` or `run_folder` is not empty and not ours, or cannot be written. Nothing was changed then.
        InputError: accelerate was asked to divide the weights among processes.
        DataError, RecipeError: the data cannot be used, or are others than those the run was begun with; or the recipe is.
        GenariumError: the loss is not finite, or the saved state is damaged.
    """
    check_launch()
    recipe = continued(recipe, continue_to)
    check_streaming(recipe, family)
    run, target = _claim_folders(recipe, family, run_folder, output, fresh)
    accelerator = _make_accelerator(recipe, run)
    data = data or _load_data(recipe, data_override)
    texts = data.texts.names if isinstance(data, ImageData) and data.texts else None
    pipeline = build_pipeline(recipe, family, data.id2label, data.condition_names, texts)
    _print_remarks(accelerator, recipe, pipeline, data)
    parts = plan(recipe, pipeline, accelerator.num_processes)
    _begin_run(accelerator, run, recipe, data, fresh, continue_to)
    state, facts = saved_state(run, recipe, continue_to is not None)
    num_steps = parts[-1].end if parts else 0
    is_done = run.finished and _is_written(run, target) and (state is None or facts["step"] == num_steps)
    if is_done:
        accelerator.print(f"{recipe.name}: finished already, see {target}; --fresh trains it anew.")
    else:
        parts = _compilable(accelerator, recipe, parts)
        lessons = _lessons(accelerator, recipe, pipeline, data, run)
        training = _begin_training(accelerator, recipe, pipeline, run, facts, num_steps, on_step)
        training.watch = watch or training.watch
        last_step = num_steps if max_steps is None else min(num_steps, facts["step"] + max_steps)
        training.train_parts(parts[facts["stage"] :], lessons, state, last_step)
        is_done = training.progress.step == num_steps or training.finishes_early
        if is_done and accelerator.is_main_process:
            _finish(training, parts, data, target)
        accelerator.wait_for_everyone()
    accelerator.end_training()
    return target if is_done else run.path


def _claim_folders(
    recipe: Recipe, family: Family, run_folder: Path | None, output: Path | None, fresh: bool
) -> tuple[RunFolder, Path]:
    """Return the folders of the run and of the finished checkpoint.

    Raises:
        FileError: one of them is not ours, or cannot be written.
    """
    run = RunFolder(run_folder or paths.runs() / recipe.name)
    run.check()
    target = _choose_output(recipe, run, output, fresh)
    check_output(target, family.pipeline_class().__name__, recipe.name)
    run.make()
    return run, target


def _make_accelerator(recipe: Recipe, run: RunFolder) -> Accelerator:
    """Return accelerate's object in the recipe's precision, and seed all random numbers.

    A recipe asks for bf16 for speed. Hardware that only emulates it trains in fp32.
    """
    state, precision = join(), recipe.training.precision
    if precision == "bf16" and not multiplies_bfloat16(state.device):
        precision = "fp32"
        if state.is_main_process:
            note("This hardware does not multiply bfloat16 itself. The training runs in fp32, which is faster here.")
    curves = "tensorboard" if importlib.util.find_spec("tensorboard") else None  # no need of the app, which trains too
    AcceleratorState._reset_state()  # accelerate keeps the precision of the first training in a process, and refuses another
    accelerator = Accelerator(
        mixed_precision={"fp32": "no"}.get(precision, precision), log_with=curves, project_dir=str(run.path)
    )
    set_seed(recipe.training.seed)
    return accelerator


def _load_data(recipe: Recipe, override: str | Path | None) -> Lessons:
    """Load the training split, or open it as a stream."""
    spec = recipe.data
    if isinstance(spec, AudioSpec):
        return load_audio(spec, spec.train_split, override)
    if spec.streaming:
        return open_stream(spec, spec.train_split, override)
    return load_images(spec, spec.train_split, override)


def _begin_training(
    accelerator: Accelerator,
    recipe: Recipe,
    pipeline,
    run: RunFolder,
    facts: Mapping[str, Any],
    num_steps: int,
    on_step: Callable[[int, float], None] | None,
) -> Training:
    """Return a training at the step of the saved state, with its log and its average of the weights.

    Args:
        facts: of the saved state, as `saved_state` returns them.
        num_steps: of the whole run.
    """
    accelerator.init_trackers("logs")
    average = Average()
    accelerator.register_for_checkpointing(average)
    progress = Progress(recipe.name, accelerator, run, facts["step"], num_steps, facts["seconds"], on_step)
    return Training(accelerator, recipe, pipeline, run, average, progress)


def _finish(training: Training, parts: list[Part], data: Lessons, target: Path) -> None:
    """Write the finished checkpoint, and note in the run that it is finished."""
    finish(training.pipeline, data, training.recipe, training.run, target)
    seconds = training.progress.seconds
    images = sum(part.spec.images or 0 for part in parts)
    if not parts:  # of a family that is fitted only
        images = _fitted_images(training.recipe, data)
    if training.finishes_early:
        seen = training.progress.step - parts[-1].first
        images += seen * parts[-1].spec.batch_size - (parts[-1].spec.images or 0)
    training.run.keep_finished(seconds, images, target)
    print(f"{training.recipe.name}: done in {seconds / 60:.1f} minutes, weights in {target}")


def _fitted_images(recipe: Recipe, data: Lessons) -> int:
    """Return how many images a family that is fitted only has seen."""
    if isinstance(data, ImageStream):
        return data.spec.fit_images or 0
    return min(recipe.training.images or len(data), len(data))


def _print_remarks(accelerator: Accelerator, recipe: Recipe, pipeline, data: Lessons) -> None:
    """Print before the first step what a person should know of the data, and the family's remarks on them."""
    of_family = pipeline.remarks(data.class_counts()) if hasattr(pipeline, "remarks") else []
    for sentence in [*data.remarks(), *of_family]:
        accelerator.print(f"{recipe.name}: {sentence}")


def _choose_output(recipe: Recipe, run: RunFolder, output: Path | None, fresh: bool) -> Path:
    """Return where the finished weights go: as given, or where they went before, or a place that is free."""
    if output is not None:
        return output
    before = None if fresh else run.finished.get("output")
    if before and _is_written(run, Path(before)):
        return Path(before)
    free = paths.checkpoints() / recipe.name
    return run.checkpoint if free.exists() else free


def _is_written(run: RunFolder, target: Path) -> bool:
    """Return whether a finished run wrote this folder, and it is still there."""
    before = run.finished.get("output")
    return before is not None and Path(before).resolve() == target.resolve() and (target / MODEL_INDEX).exists()


def _begin_run(
    accelerator: Accelerator,
    run: RunFolder,
    recipe: Recipe,
    data: Lessons,
    fresh: bool,
    continue_to: int | None,
) -> None:
    """Compare the run with what was asked of it before; with `fresh`, delete what it wrote. Then keep the facts of this call.

    Raises:
        InputError: there is nothing to continue.
        RecipeError: as `check_facts`.
    """
    facts = facts_of(recipe, data)
    if continue_to is not None:
        if fresh:
            raise InputError("--continue goes on with a run and --fresh begins anew: give one of the two.")
        if not run.facts and not run.finished:
            raise InputError(f"--continue: there is no run in {run.path} to go on from.")
        seen = run.finished.get("images", 0)
        if continue_to < seen:
            raise InputError(f"--continue {continue_to}: the run in {run.path} has seen {seen} images; give more.")
    notes = [] if fresh else check_facts(run, facts, continue_to is not None)
    accelerator.wait_for_everyone()  # all have compared before the main process writes
    if accelerator.is_main_process:
        if fresh:
            run.clear()
        run.keep_facts(facts)
    for sentence in notes:
        accelerator.print(f"{recipe.name}: {sentence}")
    accelerator.wait_for_everyone()


def _compilable(accelerator: Accelerator, recipe: Recipe, parts: list[Part]) -> list[Part]:
    """Return the parts without torch.compile where there is no compiler."""
    if not any(part.spec.compile for part in parts) or shutil.which("g++") or shutil.which("clang++"):
        return parts
    accelerator.print(f"{recipe.name}: torch.compile needs a C++ compiler (g++); training goes on without, slower.")
    return [part.without_compiling() for part in parts]


def _lessons(accelerator: Accelerator, recipe: Recipe, pipeline, data: Lessons, run: RunFolder) -> Lessons:
    """Return what the steps see, the data or what a teacher draws; take over what begins with another checkpoint's weights."""
    spec, lessons = recipe.training, data
    if spec.teacher is not None:
        teacher = load_teacher(spec.teacher, accelerator.device)
        taught, named = teacher.catalogue[spec.teacher.checkpoint].class_names, tuple((data.id2label or {}).values())
        if taught and named and taught != named:
            raise RecipeError(
                f"{recipe.name}: training.teacher: {spec.teacher.checkpoint} has the classes {', '.join(taught)}, and the data have "
                f"{', '.join(named)}. Use the data that the teacher learnt from."
            )
        take_from_teacher(recipe, pipeline, teacher.pipeline(spec.teacher.checkpoint))
        if spec.compile and (shutil.which("g++") or shutil.which("clang++")):
            compile_all(teacher.pipeline(spec.teacher.checkpoint).components)
        with accelerator.autocast():
            lessons = teacher_images(spec.teacher, teacher, run.teacher)
    if spec.components_from is not None:
        take_components(recipe, pipeline)
    return lessons
