"""A checkpoint from the Hub into checkpoints/, where the app finds it at its next start."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from genarium import paths, trust
from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.checkpoints.folder import check_replaceable, new_checkpoint
from genarium.errors import CheckpointError, InputError
from genarium.families import Families
from genarium.files import recover
from genarium.hub.errors import hub_errors
from genarium.hub.fetch import Report, fetch
from genarium.hub.offer import look, parse_address


def pull(
    address: str, families: Families, name: str | None = None, force: bool = False, report: Report | None = None
) -> Path:
    """Fetch a checkpoint, check that it loads, then put it in its place in one step.

    Args:
        address: "user/name" or "user/name@revision".
        name: of its folder; by default the repository's.
        force: replace a folder of this name.
        report: as for `fetch`.

    Returns:
        Its folder.

    Raises:
        InputError: no address, or a name that no folder can have.
        FileError: what stands under the name is no checkpoint, or the folder cannot be written.
        CheckpointError: the name is taken, or the checkpoint cannot be used or loaded; what was there stays.
        HubError: it cannot be had.
    """
    name = name or parse_address(address)[0].split("/")[1]
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise InputError(f"--name: {name!r} is no name for a folder; use letters, digits, - _ and .")
    target = paths.checkpoints() / name
    recover(target)
    if target.exists() and not force:
        raise CheckpointError(f"{target} is there already. Choose another --name, or replace it with --force.")
    check_replaceable(target)
    offer = look(address, families, trust_remote_code=trust.trusted())
    snapshot = fetch(offer, report)
    # new_folder fills a folder of a folder: a killed run leaves nothing beside the others that looks like a checkpoint
    with new_checkpoint(target) as folder:
        with hub_errors(offer.repo_id):  # a full disk, above all
            for file in offer.files:
                (folder / file.path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(snapshot / file.path, folder / file.path)
        load_pipeline(open_checkpoint(folder, families))
    return target
