"""Recipes for somebody's own pictures: from what was found and the family's starter, in the form of hub_configs/."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from genarium.data.own.found import Found
from genarium.errors import InputError, RecipeError
from genarium.families import Families, Family, Material
from genarium.recipe import DataSpec, Recipe, read_recipe

NAME = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,46}[a-z0-9])?")
DATA = "data.npz"  # the prepared pictures, beside the recipe
OWNER = "local"  # stands for the owner of data and checkpoint until they are published
STEPS = 1000  # of a draft, until the speed is measured
STEPS_OF_AVERAGE = 10  # so many times the average's memory is the shortest training that it suits
MOST_IMAGES = 10_000_000  # nobody has the time for more


def offered(families: Families) -> list[Family]:
    """Return the families that can begin with somebody's own pictures."""
    return [f for f in families if f.starter is not None and f.outline.modality == "image"]


def check_name(name: str) -> str:
    """Return the name of a checkpoint.

    Raises:
        InputError: it cannot be the name of a folder and of a repository.
    """
    if not NAME.fullmatch(name) or ".." in name:
        raise InputError(
            f"{name[:60]!r}: a name has at most 48 small letters, digits, dots, hyphens and underscores, such as my-model."
        )
    return name


def material_of(found: Found, sample_size: int, channels: int) -> Material:
    """Return what a family's starter should know of the pictures."""
    counts = found.classes
    fewest = min(counts.values()) if counts else len(found)
    return Material(sample_size, channels, len(found), len(counts), fewest)


def draft(
    name: str,
    family: Family,
    found: Found,
    sample_size: int | None = None,
    channels: int | None = None,
    dark_background: bool | None = None,
) -> Recipe:
    """Return a recipe for the pictures that were found. Its number of images stands for the time, which is not measured yet.

    Args:
        name: of the checkpoint.
        family: which is trained.
        found: the pictures.
        sample_size, channels, dark_background: in place of what is proposed.

    Raises:
        InputError: the name cannot be used, or the family does not begin with somebody's own pictures.
        RecipeError: the family's starter is no part of a recipe.
    """
    if family.starter is None:
        raise InputError(f"The family {family.name} is not offered for pictures of one's own.")
    form = found.proposal
    size, depth = sample_size or form.sample_size, channels or form.channels
    sections = family.begin_with(material_of(found, size, depth))
    data: dict[str, Any] = {"name": f"{OWNER}/{check_name(name)}", "sample_size": size, "channels": depth}
    if not found.classes:
        data["label_column"] = None
    if form.dark_background if dark_background is None else dark_background:
        data["dark_background"] = True
    values = {
        "name": name,
        "family": family.name,
        "repo_id": f"{OWNER}/{name}",
        "data": data,
        "architecture": dict(sections["architecture"]),
        "training": _with_images(sections["training"]),
        "evaluation": {"num_samples": 100, "num_test_images": 100},
        "card": {
            "license": "other",
            "summary": f"Trained on {len(found)} pictures of "
            + (f"the data set {found.source} of the Hub." if found.source else "its owner's own."),
            "limitations": "It knows pictures like those it was trained on, and nothing else. Made for study and play, not for "
            "decisions.",
        },
    }
    return read_recipe(yaml.safe_dump(values, sort_keys=False), f"the starter of {family.name}")


def to_yaml(recipe: Recipe) -> str:
    """Return the text of a recipe without what is left to the defaults."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value):
            fields = dataclasses.fields(value)
            given = {f.name: getattr(value, f.name) for f in fields if getattr(value, f.name) != _default(f)}
            return {key: plain(one) for key, one in given.items()}
        if isinstance(value, Mapping):
            return {key: plain(one) for key, one in value.items()}
        return [plain(one) for one in value] if isinstance(value, (list, tuple)) else value

    return yaml.safe_dump(plain(recipe), sort_keys=False, allow_unicode=True, width=100)


def check_own(recipe: Recipe, name: str, families: Families) -> Recipe:
    """Return a recipe that somebody edited, if it asks for nothing but their own pictures.

    Args:
        name: of the checkpoint, which the recipe must have.

    Raises:
        RecipeError: it names other data or checkpoints, another name, a family that is not offered, or absurd numbers.
    """
    spec, data = recipe.training, recipe.data
    if recipe.name != name:
        raise RecipeError(f"name: {recipe.name!r} must be {name!r}, as it was chosen.")
    if recipe.family not in {family.name for family in offered(families)}:
        known = ", ".join(family.name for family in offered(families))
        raise RecipeError(f"family: {recipe.family!r} is none of those offered here: {known}.")
    if not isinstance(data, DataSpec):
        raise RecipeError("data: pictures are learnt here, not sound.")
    others = {
        "data.config": data.config,
        "data.revision": data.revision,
        "data.conditions": data.conditions,
        "data.pairs": data.pairs,
        "data.texts": data.texts,
        "training.teacher": spec.teacher,
        "training.components_from": spec.components_from,
        "evaluation.anomaly_data": recipe.evaluation.anomaly_data,
    }
    if asked := [key for key, value in others.items() if value]:
        raise RecipeError(f"{asked[0]}: leave it out; a training on your own pictures uses nothing else.")
    if data.train_split != "train" or data.test_split != "test" or data.label_column not in ("label", None):
        raise RecipeError("data: leave the splits and the column of labels as they were proposed.")
    if not 8 <= data.sample_size <= 128:
        raise RecipeError(f"data.sample_size: {data.sample_size} must lie in 8 ... 128.")
    if max([spec.batch_size, *(stage.batch_size or 1 for stage in spec.stages)]) > 512:
        raise RecipeError("training.batch_size: at most 512.")
    return recipe


def timed(recipe: Recipe, speeds: Sequence[float], seconds: float) -> Recipe:
    """Return the recipe with as many images as fit into a time, and what depends on the number of steps.

    Each stage keeps its share of the recipe's images as a share of the time. A short training gets a shorter warm-up and a
    shorter memory of the average, so that nothing of the fresh weights is left in it.

    Args:
        speeds: images per second, of each stage or of the whole.
        seconds: for all steps together.
    """
    spec = recipe.training
    if not spec.stages:
        images = _whole_batches(speeds[0] * seconds, spec.batch_size)
        changed = _paced(spec, images // spec.batch_size)
        return dataclasses.replace(recipe, training=dataclasses.replace(spec, images=images, **changed))
    total, stages = sum(stage.images for stage in spec.stages), []
    for stage, speed in zip(spec.stages, speeds, strict=True):
        own = spec.of_stage(stage)
        images = _whole_batches(speed * seconds * stage.images / total, own.batch_size)
        stages.append(dataclasses.replace(stage, images=images, **_paced(own, images // own.batch_size)))
    return dataclasses.replace(recipe, training=dataclasses.replace(spec, stages=tuple(stages)))


def _paced(spec: Any, steps: int) -> dict[str, Any]:
    """Return what depends on the number of steps."""
    decay = min(spec.ema_decay, max(0.0, 1 - STEPS_OF_AVERAGE / max(steps, 1)))
    return {"warmup_steps": min(100, steps // 10), "ema_decay": round(decay, 4)}


def _whole_batches(images: float, batch_size: int) -> int:
    return min(max(2, math.floor(images / batch_size)) * batch_size, MOST_IMAGES)


def _with_images(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return a starter's training section with numbers of images: stages share them as they share the time."""
    batch = training.get("batch_size", 128)
    if "stages" not in training:
        return {"images": STEPS * batch, **training}
    stages = [
        {"name": one["name"], "images": round(STEPS * one["share"]) * batch}
        | {key: value for key, value in one.items() if key not in ("name", "share")}
        for one in training["stages"]
    ]
    return {"stages": stages} | {key: value for key, value in training.items() if key != "stages"}


def _default(field: dataclasses.Field) -> Any:
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
