"""The checkpoints that visitors trained, as guests of the runtime: their names, their arrival, and whose they are."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import Any

from genarium.checkpoints import open_checkpoint
from genarium.errors import GenariumError
from genarium.recipe import load_recipe
from genarium.runtime import Runtime
from genarium.tasks.train.shelf import Box, Shelf
from genarium.tasks.train.work import MADE

GUEST = "mine"  # stands before the names of checkpoints that visitors trained


def guest_name(box: Box) -> str:
    """Return the name under which a visitor's checkpoint is a guest. Nobody guesses its second part."""
    return f"{GUEST}/{box.state['name']}@{box.ticket}"


def arrive(runtime: Runtime, box: Box) -> None:
    """Make a finished training a guest, after a trial.

    Raises:
        CheckpointError: it cannot be loaded.
    """
    box.keep(needs=runtime.welcome(_checkpoint(runtime, box)))


def brought(runtime: Runtime, shelf: Shelf, visitor: str, most: int = 4) -> list[Any]:
    """Return the checkpoints that a visitor trained, the newest last, each as a guest of the runtime."""
    found = []
    for box in [box for box in shelf.boxes(visitor, "runs") if box.state.get("state") == "done"][-most:]:
        guest = runtime.guest(guest_name(box))
        if guest is None:
            with contextlib.suppress(GenariumError):  # its folder is damaged; the others are not
                guest = _checkpoint(runtime, box)
                runtime.admit(guest, int(box.state.get("needs", 0)))
        found += [guest] if guest is not None else []
    return found


def _checkpoint(runtime: Runtime, box: Box) -> Any:
    name = str(box.state["name"])
    folder = box.path / MADE / name
    recipe = load_recipe(folder / f"{name}.yaml")
    found = open_checkpoint(folder, runtime.catalogue.families, recipe, name=guest_name(box))
    return replace(found, is_private=True)
