"""A training on somebody's own pictures, from the recipe to the measured checkpoint with its card."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from genarium.catalogue import Catalogue
from genarium.checkpoints import open_checkpoint
from genarium.data.images import load_images
from genarium.evaluation.evaluate import evaluate
from genarium.evaluation.figure import measurable, parts_of
from genarium.families import Families
from genarium.files import write_text
from genarium.fitting.draft import DATA, timed, to_yaml
from genarium.fitting.speed import measure
from genarium.hardware import describe_hardware
from genarium.parallel import join
from genarium.recipe import DataSpec, Recipe, load_recipe
from genarium.runtime import Runtime
from genarium.training.loop import train
from genarium.training.run_folder import RunFolder
from genarium.training.watch import Clock, Watch

STEPS_SHARE = 0.75  # of the time is for steps; the rest for samples, saved states, and what follows the last step

Tell = Callable[[str, dict[str, Any]], None]


def fit(
    recipe: Recipe,
    families: Families,
    folder: Path,
    output: Path,
    minutes: float | None = None,
    watch: Watch | None = None,
    tell: Tell = lambda what, facts: None,
) -> Path | None:
    """Train a family on prepared pictures, measure it on those held out, and write its card; or go on where that stopped.

    Args:
        recipe: of the checkpoint. Once the training has begun, its own copy in `folder` holds.
        families: of this installation.
        folder: with the data, `data.npz`; gets the recipe and the run.
        output: folder of the finished checkpoint.
        minutes: of the training on this machine, by the measured speed; None: as many images as the recipe says. A family
            that is fitted only takes what it needs.
        watch: keeps samples and states by the clock unless given.
        tell: called with "measuring", "training" or "evaluating" when that begins, and with "step" after each step, and
            facts about it.

    Returns:
        The checkpoint's folder; None if the watch paused the training.

    Raises:
        RecipeError, DataError, FileError, GenariumError: as `train` and `evaluate`.
    """
    family = families[recipe.family]
    has_steps = hasattr(family.pipeline_class(), "loss")  # else it is fitted only
    path = folder / f"{recipe.name}.yaml"
    assert isinstance(recipe.data, DataSpec)
    data = load_images(recipe.data, recipe.data.train_split, folder / DATA)
    if path.exists():
        recipe = load_recipe(path)
    else:
        if minutes is not None and has_steps:
            tell("measuring", {})
            speeds = measure(recipe, family, data, folder)
            recipe = timed(recipe, speeds, STEPS_SHARE * 60 * minutes)
        write_text(path, to_yaml(recipe))
    spec = recipe.training
    sections = [spec.of_stage(stage) for stage in spec.stages] or [spec]
    steps = sum(-(-(one.images or 0) // one.batch_size) for one in sections) if has_steps else 0
    tell("training", {"steps": steps, "batch_size": spec.batch_size})
    target = train(
        recipe,
        family,
        data=data,
        run_folder=folder / "run",
        output=output,
        on_step=lambda step, loss: tell("step", {"step": step, "loss": loss}),
        watch=watch or Clock(),
    )
    if target != output:
        return None
    tell("evaluating", {})
    recipe = _with_facts(recipe, RunFolder(folder / "run").finished)
    evaluate_own(recipe, families, folder, output)
    write_text(output / path.name, to_yaml(recipe))
    return output


def _with_facts(recipe: Recipe, finished: Mapping[str, Any]) -> Recipe:
    """Return the recipe with what its card says of the training: the machine, and how long it took."""
    time = f"{finished.get('seconds', 0) / 60:.1f} minutes, {finished.get('images', 0)} images"
    hardware = describe_hardware(join().device, torch.float32)
    return dataclasses.replace(recipe, card=dataclasses.replace(recipe.card, hardware=hardware, time=time))


def begin_anew(folder: Path, name: str) -> None:
    """Delete what an earlier fit wrote into its folder, and nothing else."""
    for file in (folder / f"{name}.yaml", folder / DATA, folder / "fit.json"):
        file.unlink(missing_ok=True)
    run = RunFolder(folder / "run")
    run.check()
    run.clear()


def evaluate_own(recipe: Recipe, families: Families, folder: Path, output: Path) -> None:
    """Measure a checkpoint by the figures that a few held-out pictures allow, and write its card."""
    checkpoint = open_checkpoint(output, families, recipe)
    runtime = Runtime(Catalogue({recipe.name: checkpoint}, (), families))
    known = parts_of("image")
    parts = [name for name in measurable(checkpoint, recipe) if known[name].few]
    evaluate(recipe.name, runtime, recipe, folder / DATA, parts=parts)
