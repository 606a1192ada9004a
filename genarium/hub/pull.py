"""A checkpoint from the Hub into checkpoints/, where the app finds it at its next start."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from genarium import paths, trust
from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.errors import CheckpointError, InputError
from genarium.families import Families
from genarium.hub.errors import hub_errors
from genarium.hub.fetch import Report, fetch
from genarium.hub.offer import look, parse_address


def pull(
    address: str, families: Families, name: str | None = None, force: bool = False, report: Report | None = None
) -> Path:
    """Fetch, prove that it opens and loads, then put it in place at once; a reader never meets half a checkpoint.

    Args:
        address: "user/name" or "user/name@revision".
        name: of its folder; the repository's unless told.
        force: replace a folder of this name.
        report: as for `fetch`.

    Returns:
        Its folder.

    Raises:
        InputError: no address, or a name that no folder can have.
        CheckpointError: the name is taken, or the checkpoint cannot be used or loaded; what was there stays.
        HubError: it cannot be had.
    """
    name = name or parse_address(address)[0].split("/")[1]
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise InputError(f"--name: {name!r} is no name for a folder; use letters, digits, - _ and .")
    target = paths.checkpoints() / name
    if target.exists() and not force:
        raise CheckpointError(f"{target} is there already. Choose another --name, or replace it with --force.")
    offer = look(address, families, trust_remote_code=trust.trusted())
    snapshot = fetch(offer, report)
    # Not beside the others, where a killed run would leave what looks like a checkpoint.
    desk = paths.checkpoints() / f".pull{os.getpid()}"
    try:
        with hub_errors(offer.repo_id):  # a full disk, above all
            for file in offer.files:
                (desk / name / file.path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(snapshot / file.path, desk / name / file.path)
        load_pipeline(open_checkpoint(desk / name, families))
        if target.exists():
            target.rename(desk / "old")
        (desk / name).rename(target)
    except BaseException:
        if (desk / "old").exists() and not target.exists():
            (desk / "old").rename(target)
        raise
    finally:
        shutil.rmtree(desk, ignore_errors=True)
    return target
