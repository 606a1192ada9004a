"""How good a checkpoint is, in figures: written as measured, each with its n, seed and protocol.

The figures go to evaluation.json and to the card in the checkpoint's folder; the quantiles of ordinary images'
anomaly scores go to its model_index.json.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm.auto import tqdm

from genarium.checkpoints import MODEL_INDEX
from genarium.data.images import ImageData, load_images
from genarium.errors import CheckpointError, DataError, GenariumError, RecipeError
from genarium.evaluation.images import PARTS, ImageEvaluation
from genarium.evaluation.voices import evaluate_voices
from genarium.parallel import join
from genarium.recipe import Recipe
from genarium.records import EVALUATION, hardware, report, write_json
from genarium.runtime import Runtime
from genarium.tasks import has_method


def measurable(pipeline_class: type, recipe: Recipe | None) -> list[str]:
    """The parts that a family can do: swaps are measured where the recipe's data have pairs."""
    parts = [part for part, method in PARTS.items() if has_method(pipeline_class, method)]
    return [part for part in parts if part != "swap_style" or (recipe is not None and recipe.data.pairs)]


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
    cache: dict | None = None,
    card: bool = True,
) -> dict[str, Any]:
    """Measure a checkpoint and write the figures into its folder. Under torchrun all processes take part.

    A checkpoint of voices is measured by `voices.evaluate_voices`, which takes no features and no parameters.

    Args:
        checkpoint: its name, or its folder.
        runtime: loads it.
        recipe: the checkpoint's own unless told.
        data_override: local data in place of the recipe's Hub id.
        features: network of the Fréchet distance: a name of `features.NETWORKS`, or a module with `num_features`.
        num_samples, num_test_images: the recipe's unless told.
        parts: of `PARTS`, all that the family can do unless told; figures of other parts stay as they were.
        parameters: of `__call__`, in place of defaults; told in the protocol.
        batch_size: samples computed at once.
        test: already loaded test images.
        cache: keeps the features of the reference images between calls in one program.
        card: also write README.md and its pictures.

    Returns:
        What evaluation.json holds (complete on the main process): `metrics` is a list of {part, name, value, n, seed, protocol, ...}; `skipped` says
        what could not be measured, and why.

    Raises:
        CheckpointError, RecipeError, DataError, GenariumError: each says what is missing.
    """
    started = time.monotonic()
    found = runtime.catalogue[checkpoint]
    if found.modality == "audio":
        if parameters:
            raise GenariumError(f"{found.name}: voices are measured at their defaults; leave --set out.")
        return evaluate_voices(checkpoint, runtime, recipe, data_override, num_samples, num_test_images, parts, card)
    recipe = recipe or found.recipe
    if recipe is None:
        raise RecipeError(f"{found.name}: has no recipe in hub_configs/, which says on what data to measure it.")
    if (found.folder / MODEL_INDEX).is_symlink():
        raise CheckpointError(f"{found.name} lies in the Hub's cache; copy it to a folder of its own to evaluate it.")
    known = measurable(found.family.pipeline_class(), recipe)
    wanted = known if not parts else list(parts)
    for part in wanted:
        if part not in known:
            raise GenariumError(f"{found.name} has no part {part!r} to measure; choose of {', '.join(known)}.")

    before = found.evaluation
    skipped = before.get("skipped", {})
    # what a number means is the checkpoint's to say, for every split
    names = {"id2label": found.index.get("id2label"), "condition_names": found.index.get("conditions")}
    if test is None and wanted != ["speed"]:
        test = load_images(recipe.data, recipe.data.test_split, data_override, **names)
    other = None
    if "anomaly" in wanted:
        other, why = _other_data(recipe)
        skipped = {"auroc_other_data": why} if why else {}
    train = None
    if "swap_style" in wanted:
        train = load_images(recipe.data, recipe.data.train_split, data_override, **names)
    evaluation = ImageEvaluation(
        checkpoint,
        found,
        runtime,
        recipe,
        test or ImageData(torch.empty(0), None, None),
        other,
        features,
        num_samples or recipe.evaluation.num_samples,
        num_test_images or recipe.evaluation.num_test_images,
        parameters or {},
        batch_size,
        {} if cache is None else cache,
        train,
    )
    metrics = {part: [m for m in before.get("metrics", []) if m["part"] == part] for part in PARTS}
    main = join().is_main_process
    with tqdm(wanted, desc=f"evaluate {found.name}", disable=not main) as bar:
        for part in bar:
            bar.set_postfix_str(part)
            metrics[part] = getattr(evaluation, part)()
            result = report(found, recipe, metrics, skipped, hardware(runtime.device, runtime.dtype), started)
            if main:  # after each part: a kill loses the part in progress only
                write_json(found.folder / EVALUATION, result)
    if main and card:
        from genarium.card import write_card

        write_card(checkpoint, runtime, recipe, None if test is None else evaluation.test_images(64))
    join().wait_for_everyone()
    return result


def _other_data(recipe: Recipe) -> tuple[ImageData | None, str]:
    """The data set that should look strange, or why there is none."""
    spec = recipe.evaluation.anomaly_data
    if spec is None:
        return None, "the recipe names no evaluation.anomaly_data"
    if (spec.channels, spec.sample_size) != (recipe.data.channels, recipe.data.sample_size):
        raise RecipeError(f"{recipe.name}: evaluation.anomaly_data must have the channels and sample_size of data.")
    try:
        return load_images(spec, spec.test_split), ""
    except DataError as error:  # the other figures do not depend on it
        return None, str(error)
