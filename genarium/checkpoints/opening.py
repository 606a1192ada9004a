"""From a folder to a checkpoint: its index is read and checked, and its family found. No weights are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genarium import trust
from genarium.checkpoints.checkpoint import Checkpoint
from genarium.checkpoints.folder import MODEL_CONFIG, MODEL_INDEX
from genarium.errors import CheckpointError
from genarium.families import Families, class_of
from genarium.files import read_json
from genarium.recipe import Recipe


def open_checkpoint(
    folder: Path, families: Families, recipe: Recipe | None = None, name: str | None = None
) -> Checkpoint:
    """Read a folder's model_index.json, or of a single model its config.json, and find the family that can load it.

    Args:
        name: what to call it; the recipe's name or the folder's unless given.

    Raises:
        CheckpointError: no such file, not JSON, entries of the wrong kind, a class that no installed plugin knows (unless
            the operator trusts the code that comes with it), or defaults that its tasks do not take.
    """
    name = name or (recipe.name if recipe else folder.name)
    if not (folder / MODEL_INDEX).exists():
        return _open_model(folder, families, recipe, name)
    try:
        index = read_json(folder / MODEL_INDEX)
        class_name = class_of(index)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CheckpointError(f"{folder.name}: no readable {MODEL_INDEX}; this is no diffusers pipeline.") from error
    _check_index(folder.name, index)
    family = families.taking(class_name)
    if family is not None:
        names = family.stock_components if class_name in family.stock else {}
        index = {names.get(key, key): value for key, value in index.items()}
        places = {own: theirs for theirs, own in names.items()}
        checkpoint = Checkpoint(name, family, folder, index, recipe, places=places)
        for task in index.get("defaults") or {}:
            checkpoint.controls(task)  # refuses wrong defaults here, where one bad folder stops nobody
        return checkpoint
    if trust.trusted():
        return Checkpoint(name, trust.family_of(folder, index), folder, index, recipe, is_foreign=True)
    raise CheckpointError(
        f"{folder.name}: no installed plugin knows the pipeline class {class_name!r}. Known: {families.known_classes()}."
    )


def _open_model(folder: Path, families: Families, recipe: Recipe | None, name: str) -> Checkpoint:
    """Return a single model with no pipeline around it, as a checkpoint of the family that takes it alone.

    Raises:
        CheckpointError: there is none, or no family takes it.
    """
    try:
        class_name = class_of(read_json(folder / MODEL_CONFIG))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CheckpointError(f"{folder.name}: no readable {MODEL_INDEX}; this is no diffusers pipeline.") from error
    family = families.taking_model(class_name)
    if family is None:
        raise CheckpointError(
            f"{folder.name}: this is a single model of the class {class_name!r}, not a whole pipeline, and no installed "
            f"plugin takes it alone. Known: {families.known_classes()}."
        )
    return Checkpoint(name, family, folder, family.index_of_model(class_name), recipe)


def _check_index(name: str, index: Mapping[str, Any]) -> None:
    """Check the values of an index that later code reads.

    Raises:
        CheckpointError: class names, quantiles or a sampling rate of another form.
    """
    conditions, quantiles = index.get("conditions") or {}, index.get("anomaly_quantiles") or {}
    if not isinstance(conditions, dict):
        raise CheckpointError(f"{name}: {MODEL_INDEX}: conditions must map each condition to its names.")
    rate = index.get("sampling_rate")
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int) or rate < 1):
        raise CheckpointError(f"{name}: {MODEL_INDEX}: sampling_rate must be a whole number of Hz, not {rate!r}.")
    for key, names in (("id2label", index.get("id2label") or {}), *conditions.items()):
        if not isinstance(names, dict) or not all(k.isdecimal() and isinstance(v, str) for k, v in names.items()):
            raise CheckpointError(f'{name}: {MODEL_INDEX}: {key} must map numbers to names, as {{"0": "Trouser"}}.')
    if not isinstance(quantiles, dict) or not all(
        isinstance(row, list) and row and all(isinstance(q, (int, float)) for q in row) for row in quantiles.values()
    ):
        raise CheckpointError(f"{name}: {MODEL_INDEX}: anomaly_quantiles must map scores to lists of numbers.")
