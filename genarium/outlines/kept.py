"""Outlines of an installation, kept in a file of the user's cache folder for as long as they are true."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import time
from pathlib import Path
from typing import Any

from genarium import paths
from genarium.errors import FileError
from genarium.files import read_json, write_text
from genarium.outlines.outline import Outline
from genarium.outlines.stamps import loaded_files, stamp_of_environment, stamps_of_files
from genarium.outlines.written import read_outline, write_outline

FORMAT = 1  # of the file; one of another format is not read
MANY = 1000  # outlines that are kept


class Kept:
    """Outlines by the reference of their class, "module:Class".

    Reading never fails: a file that is missing, damaged, of another version, or no longer true holds no outlines. Nor does
    writing: without a folder that can be written, each start imports what it needs.
    """

    def __init__(self, file: Path | None = None):
        """Read the file.

        Args:
            file: of this installation in the cache folder, unless given.
        """
        self.file = file or _file()
        self.began = time.time_ns()
        self._values: dict[str, Any] = {}  # reference -> {"file": of the module, "outline": as it is written}
        self._files: dict[str, list[int]] = {}
        self._environment = stamp_of_environment()
        try:
            kept = read_json(self.file)
            known, files = dict(kept["outlines"]), dict(kept["files"])
            if (
                kept["format"] == FORMAT
                and kept["environment"] == self._environment
                and files == stamps_of_files(files)
            ):
                self._values, self._files = known, files
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            pass  # it is written anew
        self._read = dict(self._values)

    def get(self, reference: Any) -> Outline | None:
        """Return the outline of a class by its reference, if the file that holds the class is still the same."""
        values = self._values.get(reference) if isinstance(reference, str) else None
        if values is None:
            return None
        try:
            if _place(reference) == values["file"]:
                return read_outline(values["outline"])
        except (ImportError, AttributeError, LookupError, TypeError, ValueError):
            pass  # no module, or a damaged entry
        del self._values[reference]
        return None

    def add(self, reference: Any, outline: Outline) -> None:
        """Keep an outline that was made from the class, if plain values say all of it."""
        values = write_outline(outline) if isinstance(reference, str) else None
        if values is not None:
            self._values[reference] = {"file": _place(reference), "outline": values}

    def save(self) -> None:
        """Write what was added; nothing if nothing was. A folder that cannot be written is left as it is."""
        if self._values == self._read or len(self._values) > MANY:
            return
        try:
            files = self._files | stamps_of_files(loaded_files())
            if any(changed >= self.began for changed, _ in files.values()):
                return  # somebody is writing: what was imported may be older than its file
            self.file.parent.mkdir(parents=True, exist_ok=True)
            values = {"format": FORMAT, "environment": self._environment, "files": files, "outlines": self._values}
            write_text(self.file, json.dumps(values))
        except (OSError, FileError):
            return
        self._read = dict(self._values)


def _place(reference: str) -> str | None:
    """Return the file of a reference's module. Only the packages around the module are imported."""
    spec = importlib.util.find_spec(reference.partition(":")[0])
    return None if spec is None else spec.origin


def _file() -> Path:
    """Return the file of this installation: several on one machine each have their own."""
    which = hashlib.sha256(str(paths.ROOT).encode()).hexdigest()[:16]
    return paths.cache() / f"outlines-{which}.json"
