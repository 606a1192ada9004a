"""From a checkpoint's folder to a repository on the Hub: export, prove, check, then one commit.

Nothing is sent before all that can be checked here is known to be right. Weights go up first, unseen; the commit that
names them makes everything visible at once. So a cut connection leaves nothing half-published, and the next try goes on.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, ModelCard
from safetensors import SafetensorError

from genarium.card.check import card_problems
from genarium.checkpoints import EVALUATION, MODEL_INDEX, Checkpoint, load_pipeline, open_checkpoint
from genarium.errors import CheckpointError, FileError, HubError, RecipeError
from genarium.families import Families
from genarium.files import is_empty, read_text, write_json
from genarium.hub.errors import check_repo_id, hub_errors
from genarium.hub.proof import prove
from genarium.recipe import load_recipe

# What goes up beside what save_pretrained writes.
COMPANIONS = ("README.md", EVALUATION, "LICENSE*", "*.png", "*.jpg", "*.webp", "*.gif", "samples/*.ogg", "explore.npz")
# What an earlier export may have left on the Hub, and is deleted there when it is gone here.
OURS = (".py", ".json", ".safetensors")
DTYPES = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32}


@dataclasses.dataclass(frozen=True)
class Export:
    """A folder that is ready to go up: `files` are its paths with sizes, `proved` the tasks that were compared."""

    repo_id: str
    folder: Path
    files: dict[str, int]
    proved: list[str]


def export(checkpoint: Checkpoint, folder: Path, families: Families, repo_id: str | None = None) -> Export:
    """Write what the Hub gets into an empty folder, prove that it loads anywhere, and check its card. No network.

    Weights keep their precision. Sources are those of the installed class. The card is the checkpoint's own, with the
    recipe's Hub id changed to `repo_id` where they differ.

    Raises:
        CheckpointError: it cannot be loaded, here or in a bare diffusers, or its card lacks something.
        FileError: the folder is not empty.
        HubError: no `repo_id`, neither given nor in a recipe, or none that is valid.
    """
    if not is_empty(folder):
        raise FileError(f"{folder} is not empty; export into a new folder.")
    known = checkpoint.recipe.repo_id if checkpoint.recipe else None
    wanted = repo_id or known
    if wanted is None:
        raise HubError(f"{checkpoint.name} has no recipe that names its Hub id: say --repo user/name.")
    repo_id = check_repo_id(wanted)
    if checkpoint.card is None and checkpoint.recipe is None:
        raise CheckpointError(
            f"{checkpoint.name} has no card, and no recipe in hub_configs/ from which one could be made. Write a recipe of this "
            f"name, or a README.md into {checkpoint.folder}."
        )
    if checkpoint.card is None:
        raise CheckpointError(
            f"{checkpoint.name} has no card. `python -m genarium evaluate {checkpoint.name}` writes README.md with its "
            f"figures; `python -m genarium card {checkpoint.name}` shows what it would say."
        )
    pipeline = load_pipeline(checkpoint, dtype=_stored_dtype(checkpoint))
    try:
        content = _write(checkpoint, pipeline, folder, known, repo_id)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{checkpoint.name} cannot be exported to {folder}: {error}. Is the disk full?"
        ) from error
    problems = card_problems(content, folder, repo_id)
    if problems:
        raise CheckpointError(
            f"{checkpoint.name}: the card is not fit to be published:\n"
            + "\n".join(f"  {problem}" for problem in problems)
            + f"\n`python -m genarium evaluate {checkpoint.name}` writes it anew, from the recipe's facts."
        )
    exported = open_checkpoint(folder, families, checkpoint.recipe, name=checkpoint.name)
    proved = prove(exported)
    files = {p.relative_to(folder).as_posix(): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}
    return Export(repo_id, folder, files, proved)


def _write(checkpoint: Checkpoint, pipeline, folder: Path, known: str | None, repo_id: str) -> str:
    """Write all files of the upload into a folder, and return the text of the card."""
    for component in pipeline.components.values():
        if isinstance(component, torch.nn.Module):  # also one that computes in float32, whatever is asked for
            cast(Any, component).to(_stored_dtype(checkpoint))
    pipeline.save_pretrained(folder)
    _keep_config(checkpoint.index, folder / MODEL_INDEX)
    for config in folder.glob("*/*.json"):
        _forget_path(config)
    for pattern in COMPANIONS:
        for path in checkpoint.folder.glob(pattern):
            place = folder / path.relative_to(checkpoint.folder)
            place.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, place)
    readme = folder / "README.md"
    content = read_text(readme)
    if known and known != repo_id:
        content = re.sub(rf"(?<![\w.-]){re.escape(known)}(?![\w-])", repo_id, content)
    readme.write_text(content, encoding="utf-8")
    return content


def upload(exported: Export, private: bool = False, token: str | None = None) -> str:
    """Create the repository if there is none, and bring it to the export's state in one commit.

    Args:
        private: for a repository that does not exist yet.
        token: of the account that writes; by default this machine's own.

    Returns:
        The commit, to pin as a revision; the present one where nothing has changed.

    Raises:
        HubError: not logged in, no right, no network, ...; with what to do. On the Hub all is as it was then, but for
            an empty repository.
    """
    repo_id, folder = exported.repo_id, exported.folder
    with hub_errors(repo_id, "write"):
        validate_card((folder / "README.md").read_text(encoding="utf-8"), repo_id)
        api = HfApi(token=token)
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        info = api.model_info(repo_id)
        there = {sibling.rfilename for sibling in info.siblings or ()}
        if MODEL_INDEX not in there and any(name.endswith(OURS) for name in there):
            raise HubError(
                f"{repo_id} holds something that is no diffusers pipeline. Choose another name with --repo, or empty it first."
            )
        tags = getattr(info.card_data, "tags", None) or ()
        if {MODEL_INDEX, "README.md"} <= there and "genarium" not in tags:
            raise HubError(
                f"{repo_id} holds a pipeline whose card is none of Genarium; its weights would be replaced. Choose another name with "
                "--repo, or empty it first."
            )
        gone = sorted(name for name in there - set(exported.files) if name.endswith(OURS))
        commit = api.create_commit(
            repo_id,
            [CommitOperationDelete(name, is_folder=False) for name in gone]
            + [CommitOperationAdd(name, folder / name) for name in exported.files],
            commit_message="Publish with Genarium",
            parent_commit=info.sha,  # refused if someone else has changed the repository in between
        )
    return commit.oid


def check_login(repo_id: str) -> None:
    """Ask the Hub whether it knows our token, before the work that an upload takes.

    Raises:
        HubError: it does not, or it cannot be reached.
    """
    with hub_errors(repo_id, "write"):
        HfApi().whoami()


def validate_card(content: str, repo_id: str) -> None:
    """Ask the Hub whether it takes this metadata.

    Raises:
        HubError: it does not, or it cannot be reached.
    """
    with hub_errors(repo_id, "write"):
        try:
            ModelCard(content).validate()
        except ValueError as error:
            raise HubError(f"{repo_id}: the Hub refuses the card's metadata: {error}") from error


def collect(title: str, repo_ids: Sequence[str], private: bool = False) -> str:
    """Put models into the collection of this title, made if there is none; what is in it already stays.

    Returns:
        The collection's address.

    Raises:
        HubError: as for `upload`.
    """
    namespace = repo_ids[0].split("/")[0]
    with hub_errors(f"the collection {title!r}", "write"):
        api = HfApi()
        slug = api.create_collection(title, namespace=namespace, private=private, exists_ok=True).slug
        for repo_id in repo_ids:
            collection = api.add_collection_item(slug, repo_id, "model", exists_ok=True)
    return collection.url


def pin(recipe_file: Path, repo_id: str, revision: str) -> None:
    """Write `revision:` into a recipe's YAML; every other byte of it, comments too, stays.

    Raises:
        RecipeError: the recipe names another repository, or has no line to put it; nothing is written then.
    """
    check_pin(recipe_file, repo_id)
    text = recipe_file.read_bytes().decode()
    changed, count = re.subn(r"(?m)^(revision:[ \t]*)[^\s#]*", rf"\g<1>{revision}", text, count=1)
    if not count:
        changed = re.sub(r"(?m)^(repo_id:.*)$", rf"\g<1>\nrevision: {revision}", text, count=1)
    expected = dataclasses.replace(load_recipe(recipe_file), revision=revision)
    temporary = recipe_file.with_name(f".part{os.getpid()}") / recipe_file.name  # a recipe must bear its file's name
    temporary.parent.mkdir()
    try:
        temporary.write_bytes(changed.encode())
        try:
            understood = load_recipe(temporary) == expected
        except RecipeError:
            understood = False
        if not understood:
            raise RecipeError(f"{recipe_file}: there is no line to write it into. Put `revision: {revision}` there.")
        os.replace(temporary, recipe_file)
    finally:
        shutil.rmtree(temporary.parent, ignore_errors=True)


def check_pin(recipe_file: Path, repo_id: str) -> None:
    """Check that a recipe names the repository whose revision it gets.

    Raises:
        RecipeError: the recipe names another repository.
    """
    named = load_recipe(recipe_file).repo_id
    if named != repo_id:
        raise RecipeError(
            f"{recipe_file} names {named}, so a revision of {repo_id} does not belong there. Change its repo_id first, or "
            "leave out --pin."
        )


def _stored_dtype(checkpoint: Checkpoint) -> torch.dtype:
    """Return the precision of the weights on disk, the highest where there are several."""
    found = set()
    for path in checkpoint.folder.rglob("*.safetensors"):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))  # the format's header: its length, then JSON
            header = json.loads(file.read(length))
        found |= {entry["dtype"] for name, entry in header.items() if name != "__metadata__"}
    return max((DTYPES[name] for name in found & set(DTYPES)), key=lambda d: d.itemsize, default=torch.float32)


def _forget_path(config: Path) -> None:
    """Delete the folder of this machine that diffusers notes in a component's config."""
    values = json.loads(config.read_text(encoding="utf-8"))
    if isinstance(values, dict) and values.pop("_name_or_path", None) is not None:
        write_json(config, values)


def _keep_config(before: Mapping[str, Any], exported: Path) -> None:
    """Keep entries of the original model_index.json that the class does not know, as of a later version."""
    after = json.loads(exported.read_text(encoding="utf-8"))
    lost = {key: value for key, value in before.items() if key not in after and not key.startswith("_")}
    if lost:
        write_json(exported, dict(sorted({**after, **lost}.items())))
