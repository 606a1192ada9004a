"""What the app asks of the trainings: to begin with it, and for the checkpoints of a visitor who opens the first page."""

from __future__ import annotations

import atexit
import contextlib
import functools
import os
from pathlib import Path
from typing import Any

from genarium import paths
from genarium.errors import InputError
from genarium.rights import rights
from genarium.runtime import Runtime
from genarium.tasks import find_tasks
from genarium.tasks.train import guests, marked
from genarium.tasks.train.desk import Desk
from genarium.tasks.train.lane import Lane
from genarium.tasks.train.shelf import Shelf

NAME = __name__.split(".")[-2]


def root() -> Path:
    """Return the folder of all visitors: GENARIUM_VISITORS, or one in runs/."""
    return Path(os.environ.get("GENARIUM_VISITORS") or paths.runs() / "visitors").resolve()


@functools.cache
def desk_of(runtime: Runtime) -> Desk:
    """Return the desk of an app. Where training is allowed, its queue begins with what an earlier app left."""
    allowed, shelf = rights(), Shelf(root())
    lane = Lane(shelf, lambda box: guests.arrive(runtime, box), allowed.hours)
    texts = {key: [text["en"], text["zh"]] for key, text in find_tasks()[NAME].texts().items()}
    if allowed.allowed:
        lane.begin()
        atexit.register(lane.close)
    return Desk(runtime, shelf, lane, allowed, texts)


def begin(runtime: Runtime) -> None:
    """Go on with the trainings that an earlier app left, where training is allowed."""
    if rights().allowed:
        desk_of(runtime)


def learn(runtime: Runtime, visitor: str, checkpoint: str, name: str, picture: Path) -> bool:
    """Let a picture join the set that a visitor's checkpoint was trained on; return whether it could."""
    if not rights().allowed:
        return False
    with contextlib.suppress(InputError, OSError):
        desk = desk_of(runtime)
        return marked.learn(desk.shelf, desk.lane, visitor, checkpoint, name, picture)
    return False


def brought(runtime: Runtime, visitor: str) -> list[Any]:
    """Return the checkpoints that a visitor trained here, as guests of the runtime."""
    if not rights().allowed:
        return []
    with contextlib.suppress(InputError):  # no visitor of ours
        return guests.brought(runtime, desk_of(runtime).shelf, visitor)
    return []
