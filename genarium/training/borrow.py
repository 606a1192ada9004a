"""Components that a training takes, finished, from another checkpoint: `training.components_from` of a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from genarium import paths
from genarium.catalogue import find_checkpoints
from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.errors import RecipeError
from genarium.families import discover
from genarium.recipe import Recipe


def take_components(recipe: Recipe, pipeline) -> None:
    """Put the weights of another checkpoint's components into those of this pipeline.

    The checkpoint is one that the app knows; else the one that its own training has left in runs/.

    Args:
        recipe: its `training.components_from` says from which checkpoint, and what.
        pipeline: has components of these names and of the same architecture.

    Raises:
        CheckpointError: there is no such checkpoint, or it cannot be loaded.
        RecipeError: a component that one of the two does not have, or of another architecture.
    """
    wanted = recipe.training.components_from
    assert wanted is not None
    source = load_pipeline(_find(wanted.checkpoint))
    for name in wanted.components:
        where = f"{recipe.name}: training.components_from: {name}"
        ours, theirs = pipeline.components.get(name), source.components.get(name)
        if not isinstance(ours, torch.nn.Module) or not isinstance(theirs, torch.nn.Module):
            raise RecipeError(f"{where}: both checkpoints need a component of this name that has weights.")
        configs: list[Any] = [ours.config, theirs.config]
        a, b = ({k: v for k, v in config.items() if not k.startswith("_")} for config in configs)
        different = sorted(k for k in a.keys() | b.keys() if _plain(a.get(k)) != _plain(b.get(k)))
        if type(ours).__name__ != type(theirs).__name__ or different:
            raise RecipeError(
                f"{where}: it is another one in {wanted.checkpoint}"
                + (f", by its {', '.join(different)}" if different else "")
                + "; make architecture and data of the two recipes agree."
            )
        ours.load_state_dict(theirs.state_dict())


def _find(name: str):
    families = discover()
    trained: Path = paths.runs() / name / "checkpoint"
    catalogue = find_checkpoints(families)
    if name not in catalogue.checkpoints and (trained / "model_index.json").exists():
        return open_checkpoint(trained, families, name=name)
    return catalogue[name]


def _plain(value):
    """Return a tuple as a list, which is what JSON makes of it."""
    return list(value) if isinstance(value, tuple) else value
