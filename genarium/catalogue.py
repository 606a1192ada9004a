"""The catalogue of checkpoints: those in folders, and on demand those of the Hub. It loads no weights."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from genarium import paths
from genarium.checkpoints import MODEL_CONFIG, MODEL_INDEX, Checkpoint, open_checkpoint
from genarium.errors import Broken, CheckpointError, HubError
from genarium.families import Families
from genarium.hub.fetch import fetch_address
from genarium.recipe import Recipe, load_recipe, recipe_paths


@dataclass(frozen=True)
class Catalogue:
    """All usable checkpoints by name, and the broken ones with reasons."""

    checkpoints: Mapping[str, Checkpoint]
    broken: tuple[Broken, ...]
    families: Families
    # of the Hub: while this object lives, a name means the commit that it meant first
    _fetched: dict[str, Checkpoint] = field(default_factory=dict, repr=False, compare=False)

    def offering(self, task: str) -> dict[str, Checkpoint]:
        return {name: c for name, c in self.checkpoints.items() if task in c.tasks}

    def __getitem__(self, name: str) -> Checkpoint:
        """Return a checkpoint by its name, its folder, the name of a published recipe, or a Hub id ("user/name@revision").

        Raises:
            CheckpointError: there is no such checkpoint, or it cannot be used. The message names the nearest, or the reason.
            HubError: the Hub does not give it.
            InputError: the text is no Hub id.
        """
        if name in self.checkpoints:
            return self.checkpoints[name]
        for broken in self.broken:
            if Path(broken.origin).name == name:
                raise CheckpointError(f"{name} cannot be used: {broken.reason}")
        if name and any((Path(name).expanduser() / file).exists() for file in (MODEL_INDEX, MODEL_CONFIG)):
            return open_checkpoint(Path(name).expanduser(), self.families)
        known = recipe_paths(self.families.recipe_folders())
        if name in known:
            recipe = load_recipe(known[name])
            address = f"{recipe.repo_id}@{recipe.revision}" if recipe.revision else recipe.repo_id
            try:
                return self._from_hub(name, address, recipe)
            except HubError as error:
                raise HubError(
                    f"There is a recipe for {name}, but its weights are not here: no folder of checkpoints holds them, and the "
                    f"Hub does not give them. {error} Or train it with `python -m genarium train {name}`, or load a folder or "
                    "a Hub id by its own name."
                ) from error
        folder = Path(name).expanduser()
        if folder.is_dir():
            raise CheckpointError(
                f"The folder {name} holds no {MODEL_INDEX}, so it is no checkpoint. Give the folder that save_pretrained wrote."
            )
        if folder.is_absolute() or name.startswith((".", "~")):
            raise CheckpointError(f"There is no folder {name}.")
        if "/" in name:
            return self._from_hub(name, name, None)
        near = difflib.get_close_matches(name, self.checkpoints, n=3) or sorted(self.checkpoints)
        raise CheckpointError(f"There is no checkpoint {name!r}. Known: {', '.join(near) or 'none'}.")

    def _from_hub(self, name: str, address: str, recipe: Recipe | None) -> Checkpoint:
        if name not in self._fetched:
            folder = fetch_address(address, self.families)
            self._fetched[name] = open_checkpoint(folder, self.families, recipe, name=name)
        return self._fetched[name]


def find_checkpoints(families: Families) -> Catalogue:
    """Read every folder in checkpoints/, and in the folders that installed plugins bring. No weights are loaded.

    Their order is that of their recipes, then that in which they were found.
    """
    found: dict[str, Checkpoint] = {}
    broken: list[Broken] = []
    recipes = recipe_paths(families.recipe_folders())
    own, *brought = paths.all_checkpoints()
    for root in (own, *brought, *families.checkpoint_folders()):
        for folder in _folders(root, broken):
            name = folder.name
            if name in found and root in brought:  # trained anew: the newer one is meant
                continue
            if name in found:
                broken.append(Broken(f"{root.name}/{name}", "an earlier folder of checkpoints has this name already"))
                continue
            try:
                recipe = load_recipe(recipes[name]) if name in recipes else None
                found[name] = open_checkpoint(folder, families, recipe)
            except Exception as error:  # whatever a folder holds must not stop the app
                broken.append(Broken.by(f"{root.name}/{name}", error))
    ordered = dict(sorted(found.items(), key=lambda item: (item[1].recipe or Recipe).order))
    return Catalogue(ordered, tuple(broken), families)


def _folders(root: Path, broken: list[Broken]) -> list[Path]:
    """Return the folders below `root` that hold a checkpoint, in order of their names. What cannot be entered is broken."""
    found = []
    try:
        places = sorted(root.iterdir()) if root.is_dir() else []
    except OSError as error:
        broken.append(Broken(root.name, f"the folder cannot be read: {error.strerror}. Mend its permissions."))
        return []
    for place in places:
        for name in (MODEL_INDEX, MODEL_CONFIG):
            try:
                os.stat(place / name)  # pathlib's own tests take what cannot be entered for what is not there
            except PermissionError as error:
                origin = f"{root.name}/{place.name}"
                broken.append(Broken(origin, f"the folder cannot be entered: {error.strerror}. Mend its permissions."))
            except OSError:
                continue
            else:
                found.append(place)
            break
    return found
