"""Both ends of a training: fresh weights from a recipe, and the finished checkpoint's folder."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from genarium.checkpoints.folder import TRAINING, new_checkpoint
from genarium.data.stream import ImageStream
from genarium.errors import GenariumError, RecipeError
from genarium.families import Family
from genarium.files import write_text
from genarium.recipe import AudioSpec, DataSpec, Recipe
from genarium.tasks import tasks_of
from genarium.training.batches import Lessons
from genarium.training.run_folder import RunFolder


def build_pipeline(
    recipe: Recipe,
    family: Family,
    id2label: dict[str, str] | None,
    conditions: Mapping[str, dict[str, str]] | None = None,
    texts: Sequence[str] | None = None,
):
    """Return a pipeline with fresh weights from the recipe's architecture.

    Args:
        id2label: names of the classes.
        conditions: {condition: {number: name}}, where the recipe has conditions beside the class.
        texts: each text of the training data once, where the recipe has texts.

    Raises:
        RecipeError: a key of `architecture` that the family's `build` does not take, sizes that do not fit, or
            conditions, pairs or texts for a family that has no use for them.
    """
    build = family.pipeline_class().build
    takes_sound = "sampling_rate" in inspect.signature(build).parameters
    if isinstance(recipe.data, AudioSpec) != takes_sound:
        kinds = ("pictures", "sound") if takes_sound else ("sound", "pictures")
        raise RecipeError(
            f"{recipe.name}: data: these are {kinds[0]}, and the family {family.name} works on {kinds[1]}."
        )
    data = recipe.data
    options: dict[str, Any]
    if isinstance(data, AudioSpec):
        options = {"sampling_rate": data.sampling_rate}
    else:
        options = {"sample_size": data.sample_size, "channels": data.channels, "id2label": id2label}
        if data.pairs and not _learns_from_pairs(family.pipeline_class()):
            raise RecipeError(f"{recipe.name}: data.pairs: the family {family.name} does not learn from pairs.")
    if conditions:
        if "conditions" not in inspect.signature(build).parameters:
            raise RecipeError(f"{recipe.name}: data.conditions: the family {family.name} knows the class only.")
        options["conditions"] = dict(conditions)
    if texts is not None:
        if "texts" not in inspect.signature(build).parameters:
            raise RecipeError(f"{recipe.name}: data.texts: the family {family.name} has no use for texts.")
        options["texts"] = list(texts)
    try:
        return build(**options, **recipe.architecture)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"{recipe.name}: architecture: {error}") from error


def _learns_from_pairs(pipeline_class: type) -> bool:
    """Return whether a pipeline has a use for pairs: for one of its tasks, or because its class says so."""
    said = getattr(pipeline_class, "learns_from_pairs", False)
    return said or any(task.learns_from_pairs for task in tasks_of(pipeline_class))


def check_streaming(recipe: Recipe, family: Family) -> None:
    """Refuse a recipe that streams what its family or its training must have as a whole.

    Raises:
        RecipeError: so it is.
    """
    if not isinstance(recipe.data, DataSpec) or not recipe.data.streaming:
        return
    pipeline_class = family.pipeline_class()
    if recipe.training.teacher is not None:
        raise RecipeError(f"{recipe.name}: data.streaming: a student learns from its teacher's images. Take it out.")
    for method, reason in (("fit", "is fitted to data"), ("prepare", "measures the data before a stage")):
        if hasattr(pipeline_class, method) and recipe.data.fit_images is None:
            raise RecipeError(
                f"{recipe.name}: data.streaming: the family {family.name} {reason}, and a stream has no end. Say how many "
                "pictures stand for all, such as data.fit_images: 20000."
            )


def _one_pass(pipeline, data: Lessons, recipe: Recipe) -> Iterator[dict[str, Any]]:
    """Yield what `fit` sees: all data, or for a family that is fitted only, `training.images` of them at random.

    Of a stream it sees `fit_images`.
    """
    number = recipe.training.images
    if isinstance(data, ImageStream):
        yield from data.batches(500)
        return
    if hasattr(pipeline, "loss") or number is None or number >= len(data):
        yield from data.batches(500)
        return
    rows = torch.randperm(len(data), generator=torch.Generator().manual_seed(recipe.training.seed))[:number]
    for part in rows.sort().values.split(500):
        yield data.batch(part)


def finish(pipeline, data: Lessons, recipe: Recipe, run: RunFolder, output: Path) -> None:
    """Do what follows the last step: fit what is fitted after training, then write the weights in half precision.

    Raises:
        GenariumError: the family cannot be fitted to these data, or a weight is too large for fp16.
        FileError: the folder cannot be written; what was there stays.
    """
    for component in pipeline.components.values():
        if isinstance(component, nn.Module):
            component.eval()
    if hasattr(pipeline, "fit"):
        # What was compiled for training steps must not be compiled anew for other shapes, and cannot do all that a
        # family may ask here, such as two gradients of one pass.
        try:
            with torch.compiler.set_stance("force_eager"):
                pipeline.fit(_one_pass(pipeline, data, recipe))
        except (ValueError, ImportError) as error:
            raise GenariumError(
                f"{recipe.name}: all steps are done and their state is kept in {run.path}, but the family cannot be fitted to "
                f"these data: {error} Mend that and run the same again: only the fit is repeated."
            ) from error
    for component in pipeline.components.values():
        if isinstance(component, nn.Module):
            component.half()  # three more bits of each weight than bf16 would keep, in the same two bytes
            if any(not torch.isfinite(p).all() for p in component.parameters()):
                raise GenariumError("A weight is too large for fp16; train with more weight_decay.")
    with new_checkpoint(output) as folder:
        pipeline.save_pretrained(folder)
        made_by = {"recipe": recipe.name, "data": data.fingerprint()}
        write_text(folder / TRAINING, json.dumps(made_by, indent=2, ensure_ascii=False) + "\n")
