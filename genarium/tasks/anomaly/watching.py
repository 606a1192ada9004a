"""A folder that is watched: each picture is handled once, as soon as it is written to its end."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from genarium.errors import InputError

INTERVAL = 1.0  # seconds between two looks


class Watched:
    """The pictures of a folder, each named once: when its size and time have not changed between two looks.

    Args:
        folder: to look into; not into folders in it.
        endings: of the files that are looked at, in small letters.

    Raises:
        InputError: there is no such folder.
    """

    def __init__(self, folder: Path, endings: frozenset[str]):
        if not folder.is_dir():
            raise InputError(f"--watch {folder}: there is no such folder.")
        self.folder, self.endings = folder, endings
        self._before: dict[Path, tuple[int, int]] = {}
        self._done: dict[Path, tuple[int, int]] = {}

    def look(self) -> list[Path]:
        """Return the files that are finished since the last look, by time. A file that is written anew is named again.

        Raises:
            InputError: the folder has gone.
        """
        try:
            files = [path for path in self.folder.iterdir() if not path.name.startswith(".")]
        except OSError as error:
            raise InputError(f"--watch {self.folder}: cannot be read any more: {error.strerror}.") from error
        now: dict[Path, tuple[int, int]] = {}
        for path in files:
            try:
                about = path.stat()
            except OSError:  # gone since
                continue
            if path.suffix.lower() in self.endings and path.is_file() and about.st_size:
                now[path] = (about.st_size, about.st_mtime_ns)
        finished = [path for path, about in now.items() if self._before.get(path) == about != self._done.get(path)]
        self._before = now
        self._done = {path: about for path, about in self._done.items() if path in now}  # a name may come back
        self._done |= {path: now[path] for path in finished}
        return sorted(finished, key=lambda path: (now[path][1], path.name))


def watch(
    watched: Watched, handle: Callable[[list[Path]], None], interval: float = INTERVAL, looks: int | None = None
) -> None:
    """Hand over files as they are finished, until the process is interrupted.

    Args:
        watched: the folder.
        handle: called with the files of one look.
        interval: seconds between two looks.
        looks: end after so many; None: never.
    """
    done = 0
    while looks is None or done < looks:
        files = watched.look()
        if files:
            handle(files)
        done += 1
        if looks is None or done < looks:
            time.sleep(interval)
