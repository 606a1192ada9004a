"""Pictures that a visitor marked as ordinary on another page: they join the set that the checkpoint was trained on."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

from genarium.data.own.entries import shown
from genarium.files import write_text
from genarium.tasks.train.guests import guest_name
from genarium.tasks.train.lane import Lane, looking_kind
from genarium.tasks.train.shelf import Box, Shelf, check_space
from genarium.tasks.train.work import KEPT, ORDER

MARKED = "marked"  # the folder of such pictures in a set, and their entry in its order


def learn(shelf: Shelf, lane: Lane, visitor: str, checkpoint: str, name: str, picture: Path) -> bool:
    """Let a picture that was found ordinary join the set that a visitor's checkpoint was trained on.

    Args:
        shelf, lane: of all visitors.
        visitor: the browser's secret.
        checkpoint: its name as a guest.
        name: of the picture.
        picture: its file.

    Returns:
        Whether it joined: the checkpoint is this visitor's, and its pictures are still here. They are then looked at again.

    Raises:
        Refusal: there is no such visitor, or the disk is full.
    """
    runs = [run for run in shelf.boxes(visitor, "runs") if run.state and guest_name(run) == checkpoint]
    places = {run.read(ORDER).get("set") for run in runs}
    for box in shelf.boxes(visitor, "sets"):
        if str(box.path) not in places or box.state.get("state") != "found":
            continue
        check_space(shelf.root, picture.stat().st_size)
        order, folder = box.read(ORDER), box.path / MARKED
        folder.mkdir(exist_ok=True)
        marked = order.setdefault("marked", [])
        target = folder / f"{len(marked):06d}"
        shutil.copyfile(picture, target)
        marked.append([f"{_common_folder(box)}{shown(Path(name).stem)}{picture.suffix}", str(target)])
        write_text(box.path / ORDER, json.dumps(order))
        box.keep(files=int(box.state.get("files") or 0) + 1)
        lane.submit(looking_kind(box), box)
        return True
    return False


def _common_folder(box: Box) -> str:
    """Return the folder that all pictures of a set have in common, with its slash, so that another changes no class."""
    names = [str(name).split("/")[:-1] for name in box.read(KEPT).get("names", [])]
    if not names:
        return ""
    lowest, highest = min(names), max(names)
    common = list(itertools.takewhile(lambda pair: pair[0] == pair[1], zip(lowest, highest, strict=False)))
    return "".join(f"{one}/" for one, _ in common)
