"""What visitors keep here: sets of pictures and trainings, each in a folder of its visitor's own.

A visitor is known by a secret in the browser. On the disk there is only its hash, as the name of a folder, so that nobody
who sees the folder learns the secret. Every question names the visitor, and only that visitor's folder is looked into.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genarium.errors import InputError
from genarium.files import check_writable, remove_tree, write_json

SECRET = re.compile(r"[A-Za-z0-9_-]{32,64}")
TICKET = re.compile(r"[0-9a-f]{16}")
STATE = "state.json"
WRITING = threading.Lock()  # of states: pages and the queue change different entries


class Refusal(InputError):
    """A refusal in the words of texts.yaml.

    Args:
        key: of the text.
        values: that it names.
    """

    def __init__(self, key: str, **values: Any):
        super().__init__(key)
        self.key, self.values = key, values


@dataclass(frozen=True)
class Box:
    """A set of pictures ("sets") or a training ("runs"): a folder with its state.

    Args:
        path: of the folder. Its name is the ticket.
    """

    path: Path

    @property
    def ticket(self) -> str:
        return self.path.name

    @property
    def state(self) -> dict[str, Any]:
        """What `keep` wrote; {} once the folder is gone."""
        return self.read(STATE)

    def keep(self, **changes: Any) -> dict[str, Any]:
        """Change entries of the state. Only the app's own process does so."""
        with WRITING:
            values = {**self.state, **changes}
            if self.path.is_dir():
                write_json(self.path / STATE, values)
        return values

    def read(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the folder; {} if there is none that is whole."""
        try:
            values = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}

    def delete(self) -> None:
        """Delete the folder with all in it."""
        remove_tree(self.path)

    @property
    def age(self) -> float:
        """Hours since its state was written."""
        try:
            return (time.time() - (self.path / STATE).stat().st_mtime) / 3600
        except OSError:
            return 0.0


class Shelf:
    """The folders of all visitors.

    Args:
        root: of them. Nothing else is to lie there.
    """

    def __init__(self, root: Path):
        self.root = root

    def boxes(self, visitor: str, kind: str) -> list[Box]:
        """Return a visitor's sets or runs, the oldest first."""
        folder = self._of(visitor) / kind
        found = [Box(path) for path in folder.iterdir() if TICKET.fullmatch(path.name)] if folder.is_dir() else []
        return sorted(found, key=lambda box: box.state.get("made", 0.0))

    def box(self, visitor: str, kind: str, ticket: Any) -> Box:
        """Return one of a visitor's sets or runs.

        Raises:
            Refusal: this visitor has none of this ticket.
        """
        if not isinstance(ticket, str) or not TICKET.fullmatch(ticket):
            raise Refusal("gone")
        box = Box(self._of(visitor) / kind / ticket)
        if not box.state:
            raise Refusal("gone")
        return box

    def make(self, visitor: str, kind: str, **state: Any) -> Box:
        """Make a new set or run.

        Raises:
            FileError: the disk does not take it.
        """
        box = Box(self._of(visitor) / kind / secrets.token_hex(8))
        check_writable(box.path)
        box.keep(made=time.time(), **state)
        return box

    def everybody(self, kind: str) -> Iterator[Box]:
        """Yield the sets or runs of all visitors, for the app itself."""
        for path in sorted(self.root.glob(f"*/{kind}/*")):
            if TICKET.fullmatch(path.name) and path.is_dir():
                yield Box(path)

    def sweep(self, hours: float) -> None:
        """Delete what was not used for so many hours, and is not under way."""
        for kind in ("sets", "runs"):
            for box in self.everybody(kind):
                if box.age > hours and box.state.get("state") not in ("waiting", "running", "looking"):
                    box.delete()

    def _of(self, visitor: str) -> Path:
        return self.root / visitor_folder(visitor)


def visitor_folder(visitor: Any) -> str:
    """Return the name of a visitor's folder.

    Raises:
        Refusal: a browser sent something that is no secret of a visitor.
    """
    if not isinstance(visitor, str) or not SECRET.fullmatch(visitor):
        raise Refusal("nobody")
    return hashlib.sha256(visitor.encode()).hexdigest()[:32]


def check_space(folder: Path, needed: int) -> None:
    """Refuse work for which the disk has no room.

    Raises:
        Refusal: fewer bytes are free than are needed, and a gigabyte.
    """
    if shutil.disk_usage(folder).free < needed + 2**30:
        raise Refusal("full")
