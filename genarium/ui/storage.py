"""The files that visitors bring and get, and how much of them is kept: all lie in Gradio's folder of temporary files.

Whatever a visitor does, the disk stays usable: each client and each visit has a budget, and all together have one. The oldest
files go first.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Iterable
from pathlib import Path

from gradio.utils import get_upload_folder

from genarium.temporary import LOCK

MIB = 2**20
SWEEP_SECONDS = 10


class Storage:
    """A record of which visitor has which files, and how many bytes they take.

    Args:
        owner_bytes: that the files of one owner may take: of a client, or of a visit.
        all_bytes: that the whole folder may take, whoever wrote the files.
        owner_files, all_files: how many files it may be.
    """

    def __init__(
        self,
        owner_bytes: int = 256 * MIB,
        all_bytes: int = 2048 * MIB,
        owner_files: int = 2000,
        all_files: int = 20_000,
    ):
        self.owner_bytes, self.all_bytes = owner_bytes, all_bytes
        self.owner_files, self.all_files = owner_files, all_files
        self._kept: set[str] = set()  # paths
        self._of: defaultdict[str, OrderedDict[str, int]] = defaultdict(OrderedDict)  # owner -> path -> bytes
        self._lock = threading.Lock()
        self._swept = time.monotonic()

    def add(self, owner: str, path: str | Path) -> None:
        """Count a file to an owner's, as the newest, and delete the oldest ones of that owner beyond the budget."""
        try:
            size = os.path.getsize(path)
        except OSError:
            return
        with self._lock:
            files = self._of[owner]
            files[str(path)] = size
            files.move_to_end(str(path))
            total = sum(files.values())
            while len(files) > 1 and (total > self.owner_bytes or len(files) > self.owner_files):
                oldest, size = files.popitem(last=False)
                total -= size
                self._delete(oldest)
        if time.monotonic() - self._swept > SWEEP_SECONDS:
            self.sweep()

    def keep(self, paths: Iterable[str | Path]) -> None:
        """Never delete these files, such as the app's own examples: a visitor may upload the same content again."""
        with self._lock:
            self._kept.update(map(str, paths))

    def release(self, owner: str, path: str | Path) -> None:
        """Delete one file of an owner's, who has it elsewhere now. What others have as well stays."""
        with self._lock:
            files = self._of[owner]
            for known in [known for known in files if Path(known).resolve() == Path(path).resolve()]:
                del files[known]
                self._delete(known)

    def leave(self, owner: str) -> None:
        """Delete the files of an owner who has gone. What others have as well stays: equal contents are one file."""
        with self._lock:
            for path in self._of.pop(owner, ()):
                self._delete(path)

    def files(self, owner: str) -> list[str]:
        """Return the paths of an owner's files, oldest first."""
        with self._lock:
            return list(self._of.get(owner, ()))

    def sweep(self) -> None:
        """Delete the oldest files of the whole folder beyond the budget of all, and forget files that are gone.

        In a folder that is not the app's own nothing is deleted here: other files may lie in it.
        """
        self._swept = time.monotonic()
        found = []
        folder = Path(get_upload_folder())
        for root, _, names in os.walk(folder) if (folder / LOCK).is_file() else ():
            for name in names:
                path = os.path.join(root, name)
                if name == LOCK or path in self._kept:
                    continue
                with contextlib.suppress(OSError):
                    entry = os.lstat(path)
                    found.append((entry.st_mtime, entry.st_size, path))
        found.sort()
        total, number = sum(size for _, size, _ in found), len(found)
        for _, size, path in found:
            if total <= self.all_bytes and number <= self.all_files:
                break
            _unlink(path)
            total, number = total - size, number - 1
        with self._lock:
            for owner, files in list(self._of.items()):
                for path in [path for path in files if not os.path.exists(path)]:
                    del files[path]
                if not files:
                    del self._of[owner]

    def _delete(self, path: str) -> None:
        if path not in self._kept and not any(path in files for files in self._of.values()):
            _unlink(path)


def _unlink(path: str) -> None:
    """Delete a file, and its folder, which has a file's hash as its name, if it is empty then."""
    with contextlib.suppress(OSError):
        os.unlink(path)
        os.rmdir(os.path.dirname(path))


STORAGE = Storage()  # of this process, as Gradio's folder is
