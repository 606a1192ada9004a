"""What a card says about the data, the training and the code, as the recipe and the checkpoint have it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

import yaml

from genarium import paths
from genarium.checkpoints import Checkpoint
from genarium.recipe import AudioSpec, DataSpec, Recipe
from genarium.tasks import Modality


def data_names(recipe: Recipe) -> tuple[str, ...]:
    """Return the Hub ids of the data sets."""
    return recipe.data.names if isinstance(recipe.data, AudioSpec) else (recipe.data.name,)


def data_in_words(modality: Modality, recipe: Recipe) -> str:
    """Return the data sets with links in Markdown, and the form of their samples."""
    links = ", ".join(f"[{name}](https://huggingface.co/datasets/{name})" for name in data_names(recipe))
    return links + FORMS[modality](recipe)


def _form_of_images(recipe: Recipe) -> str:
    assert isinstance(recipe.data, DataSpec)
    size, colours = recipe.data.sample_size, "grey" if recipe.data.channels == 1 else "RGB"
    return f", {size}x{size} pixels, {colours}"


def _form_of_sound(recipe: Recipe) -> str:
    assert isinstance(recipe.data, AudioSpec)
    return f", {recipe.data.sampling_rate} Hz"


FORMS: dict[Modality, Callable[[Recipe], str]] = {"image": _form_of_images, "audio": _form_of_sound}


def recipe_yaml(recipe: Recipe) -> str:
    """Return architecture and training as the recipe's file has them. What it leaves out stays out."""

    def given(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: given(v) for key, v in value.items() if v is not None}
        return [given(v) for v in value] if isinstance(value, (list, tuple)) else value

    values = dataclasses.asdict(recipe)
    return yaml.safe_dump({part: given(values[part]) for part in ("architecture", "training")}, sort_keys=False)


def training_time(recipe: Recipe) -> str:
    """Return how long the run in runs/ took, in words, or "" if there is none."""
    path = paths.runs() / recipe.name / "time.json"
    try:
        seconds = float(json.loads(path.read_text(encoding="utf-8"))["seconds"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or damaged
        return ""
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.1f} hours"


def needs_remote_code(checkpoint: Checkpoint) -> bool:
    """Return whether loading in a bare diffusers runs code from the folder. A stock pipeline, named alone, does not."""
    return isinstance(checkpoint.index.get("_class_name"), list)
