"""Measure a checkpoint: its figures go to evaluation.json, each with its n, seed and protocol, and then to its card.

What is measured stands in the folders of the tasks (`figure.parts_of`). This module runs those parts and writes down what
they found.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from torch import nn
from tqdm.auto import tqdm

from genarium.checkpoints import EVALUATION, MODEL_INDEX, Checkpoint
from genarium.checkpoints.folder import check_card
from genarium.data.images import ImageData
from genarium.errors import CheckpointError, GenariumError, NotMeasurableError, RecipeError
from genarium.evaluation.audio import AudioEvaluation
from genarium.evaluation.evaluation import Evaluation
from genarium.evaluation.figure import Metric, measurable, parts_of
from genarium.evaluation.images import ImageEvaluation
from genarium.files import check_writable, write_json
from genarium.hardware import describe_hardware
from genarium.parallel import join
from genarium.recipe import Recipe
from genarium.runtime import Runtime
from genarium.tasks import Modality

BY_MODALITY: dict[Modality, type[Evaluation]] = {"image": ImageEvaluation, "audio": AudioEvaluation}


def evaluate(
    checkpoint: str,
    runtime: Runtime,
    recipe: Recipe | None = None,
    data_override: str | Path | None = None,
    features: str | nn.Module = "efficientnet-lite0",
    num_samples: int | None = None,
    num_test_images: int | None = None,
    parts: Iterable[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    batch_size: int = 64,
    test: ImageData | None = None,
    cache: dict[Any, Any] | None = None,
    card: bool = True,
) -> dict[str, Any]:
    """Measure a checkpoint and write the figures into its folder. Under torchrun all processes take part.

    Args:
        checkpoint: its name, or its folder.
        runtime: loads it.
        recipe: says on what data; the checkpoint's own by default.
        data_override: local data in place of the recipe's Hub ids.
        features: network of the Fréchet distance: a name of `features.NETWORKS`, or a module with `num_features`.
        num_samples: to generate; of sound, pairs of clips to convert. The recipe's number by default.
        num_test_images: images or clips of the test split, at most. The recipe's number by default.
        parts: names of parts to measure, all that the checkpoint allows by default. Figures of other parts stay.
        parameters: of `__call__`, in place of defaults. The protocol names them.
        batch_size: samples computed at once.
        test: test images that are already loaded.
        cache: keeps the features of the reference images between calls in one program.
        card: also write README.md and its pictures.

    Returns:
        What evaluation.json holds, complete on the main process. `metrics` is a list of {part, name, value, n, seed,
        protocol, ...}; `skipped` maps what could not be measured to the reason.

    Raises:
        CheckpointError: there is no such checkpoint, or its folder must not be written to.
        RecipeError: there is no recipe, or its data are of another kind.
        DataError: the data cannot be had.
        FileError: the folder cannot be written, or its README.md is not a card of ours.
        GenariumError: a part or a parameter that this checkpoint does not allow.
    """
    started = time.monotonic()
    found = runtime.catalogue[checkpoint]
    recipe = recipe or found.recipe
    kind = BY_MODALITY[found.modality]
    _check(found, recipe, kind, parameters, card)
    assert recipe is not None
    wanted = _choose(found, recipe, parts)
    evaluation = kind(
        checkpoint,
        found,
        runtime,
        recipe,
        num_samples or recipe.evaluation.num_samples,
        num_test_images or recipe.evaluation.num_test_images,
        data_override,
        features,
        parameters or {},
        batch_size,
        {} if cache is None else cache,
        _still_skipped(found, wanted),
    )
    if test is not None:
        vars(evaluation)["test"] = test  # in place of loading the split

    metrics: dict[str, list[Metric]] = {}  # by part, in the order of the file
    for metric in found.evaluation.get("metrics", []):
        metrics.setdefault(metric["part"], []).append(metric)
    main = join().is_main_process
    result: dict[str, Any] = {}
    with tqdm(wanted, desc=f"evaluate {found.name}", disable=not main) as bar:
        for name in bar:
            bar.set_postfix_str(name)
            try:
                measured = parts_of(found.modality)[name].measure(evaluation)
                metrics[name] = [{"part": name, **metric} for metric in measured]
            except NotMeasurableError as error:  # the other figures do not depend on it
                evaluation.skipped[name] = str(error)
            result = _report(evaluation, metrics, started)
            if main:  # after each part: a kill loses the part in progress only
                write_json(found.folder / EVALUATION, result)
    if main and card:
        from genarium.card.write import write_card

        write_card(evaluation)
    join().wait_for_everyone()
    return result


def _check(
    found: Checkpoint, recipe: Recipe | None, kind: type[Evaluation], parameters: Mapping[str, Any] | None, card: bool
) -> None:
    """Refuse what cannot be measured or written, before any work is done."""
    if recipe is None:
        raise RecipeError(f"{found.name}: has no recipe in hub_configs/, which says on what data to measure it.")
    if not kind.measures(recipe):
        raise RecipeError(f"{found.name}: the data of the recipe {recipe.name} are of another kind than it works on.")
    if (found.folder / MODEL_INDEX).is_symlink():
        raise CheckpointError(f"{found.name} lies in the Hub's cache; copy it to a folder of its own to evaluate it.")
    if parameters and not kind.takes_parameters:
        raise GenariumError(f"{found.name}: checkpoints of sound are measured at their defaults; leave --set out.")
    check_writable(found.folder)
    if card:
        check_card(found.folder)


def _choose(found: Checkpoint, recipe: Recipe, parts: Iterable[str] | None) -> list[str]:
    """Return the parts to measure: those asked for, or all that the checkpoint allows."""
    known = measurable(found, recipe)
    wanted = list(parts or known)
    for part in wanted:
        if part not in known:
            raise GenariumError(f"{found.name} has no part {part!r} to measure; choose of {', '.join(known)}.")
    return wanted


def _still_skipped(found: Checkpoint, wanted: Iterable[str]) -> dict[str, str]:
    """Return what an earlier evaluation skipped, but for the parts that are measured now."""
    parts = [parts_of(found.modality)[name] for name in wanted]
    measured_now = {name for part in parts for name in (part.name, *(figure.name for figure in part.figures))}
    return {what: why for what, why in found.evaluation.get("skipped", {}).items() if what not in measured_now}


def _report(evaluation: Evaluation, metrics: Mapping[str, list[Metric]], started: float) -> dict[str, Any]:
    """Return what evaluation.json holds.

    Args:
        evaluation: in progress.
        metrics: of each part so far.
        started: `time.monotonic()` at the beginning.
    """
    return {
        "checkpoint": evaluation.checkpoint.name,
        "family": evaluation.checkpoint.family.name,
        "data": evaluation.recipe.data.name,
        "metrics": [metric for found in metrics.values() for metric in found],
        "skipped": evaluation.skipped,
        "hardware": describe_hardware(evaluation.runtime.device, evaluation.runtime.dtype),
        "seconds": round(time.monotonic() - started, 1),
        "date": datetime.now(UTC).date().isoformat(),
    }
