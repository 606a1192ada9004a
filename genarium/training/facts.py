"""What a run was begun with, data and recipe, so that a later call does not go on with something else unnoticed."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from genarium.data.audio import AudioData
from genarium.data.images import ImageData
from genarium.data.stream import ImageStream
from genarium.errors import RecipeError
from genarium.recipe import Recipe
from genarium.training.run_folder import RunFolder

# Settings that change nothing of what is learnt, or are read anew at each step. All others are kept in the saved state.
FREE = {"save_every", "sample_every", "compile", "samples"}
READ_ANEW = {"learning_rate", "warmup_steps", "schedule", "grad_clip", "precision"}


def facts_of(recipe: Recipe, data: ImageData | AudioData | ImageStream) -> dict[str, Any]:
    """Return what decides a training: the recipe's architecture and training section, and the data's fingerprint."""
    spec = recipe.training
    training = {k: v for k, v in dataclasses.asdict(spec).items() if k != "stages"}
    if spec.stages:
        training["stages"] = {stage.name: dataclasses.asdict(spec.of_stage(stage)) for stage in spec.stages}
        for values in training["stages"].values():
            for key in ("stages", "teacher", "components_from", "seed"):
                del values[key]
    facts = {
        "recipe": recipe.name,
        "family": recipe.family,
        "architecture": dict(recipe.architecture),
        "training": training,
        "data": data.fingerprint(),
    }
    return json.loads(json.dumps(facts))


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, by dotted names: {"training.learning_rate": (0.001, 0.002)}."""
    found: dict[str, tuple[Any, Any]] = {}
    for key in before.keys() | now.keys():
        a, b, name = before.get(key), now.get(key), f"{prefix}{key}"
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            found |= differences(a, b, f"{name}.")
        elif a != b and key not in FREE:
            found[name] = (a, b)
    return dict(sorted(found.items()))


def check_facts(run: RunFolder, now: Mapping[str, Any], continues: bool) -> list[str]:
    """Compare a run with what is asked of it now.

    Args:
        now: `facts_of` the recipe and the data of this call.
        continues: more images than before were asked for by --continue.

    Returns:
        Sentences about settings that have changed, and with which the run goes on.

    Raises:
        RecipeError: something differs that a saved state cannot go on with; for a finished run, anything.
    """
    before = run.facts
    if not before:
        return []
    changed = differences(before, now)
    data = {name: pair for name, pair in changed.items() if name.startswith("data.")}
    if data:
        raise RecipeError(
            f"{run.path} was begun with other data ({_say_data(before['data'])}) than these ({_say_data(now['data'])}). "
            "Give the same --data, choose another --run-folder, or begin anew with --fresh."
        )
    more = {name: pair for name, pair in changed.items() if _asks_for_more(name, *pair)}
    if more and not continues:
        name, (seen, wanted) = next(iter(more.items()))
        raise RecipeError(
            f"{run.path} was begun with {name} {seen}, and the recipe asks for {wanted} now. Go on from it with "
            f"--continue {_total(now)}, or begin anew with --fresh."
        )
    rest = {name: pair for name, pair in changed.items() if name not in more and not _is_new_stage(name, *pair)}
    said = {name: f"{name} was {_short(a)} and is {_short(b)}" for name, (a, b) in rest.items()}
    fixed = [text for name, text in said.items() if name.split(".")[-1] not in READ_ANEW]
    if fixed or (said and run.finished and not continues and not more):
        raise RecipeError(
            f"{run.path} was begun with another recipe: {'; '.join(fixed or said.values())}. Put the recipe back, choose "
            "another --run-folder, or begin anew with --fresh."
        )
    return [f"{text}; the run goes on with the new value." for text in said.values()]


def continued(recipe: Recipe, images: int | None) -> Recipe:
    """Return the recipe of a run that goes on until it has seen `images` images in all; None leaves it as it is.

    The schedule of the learning rate is that of the longer training. In a training in stages the last stage gets longer.

    Raises:
        RecipeError: fewer images than the stages before the last have.
    """
    if images is None:
        return recipe
    spec = recipe.training
    if not spec.stages:
        return dataclasses.replace(recipe, training=dataclasses.replace(spec, images=images))
    *others, last = spec.stages
    left = images - sum(stage.images for stage in others)
    if left <= 0:
        raise RecipeError(f"--continue {images}: the stages before {last.name} see {images - left} images already.")
    stages = (*others, dataclasses.replace(last, images=left))
    return dataclasses.replace(recipe, training=dataclasses.replace(spec, stages=stages))


def _asks_for_more(name: str, before: Any, now: Any) -> bool:
    is_images = name.startswith("training.") and name.endswith(".images") and "teacher" not in name
    return is_images and isinstance(before, int) and isinstance(now, int) and now > before


def _is_new_stage(name: str, before: Any, now: Any) -> bool:
    """Return whether a setting is a stage that the recipe got since. A finished run goes on with it."""
    return name.startswith("training.stages.") and before is None and isinstance(now, Mapping)


def _total(facts: Mapping[str, Any]) -> int:
    stages = facts["training"].get("stages")
    return sum(stage["images"] for stage in stages.values()) if stages else facts["training"]["images"]


def _say_data(data: Mapping[str, Any]) -> str:
    classes = f", {len(data['id2label'])} classes" if data.get("id2label") else ""
    rows = "a stream" if data["rows"] is None else f"{data['rows']} rows"
    return f"{rows}{classes}, fingerprint {data['sha256'][:12]}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."
