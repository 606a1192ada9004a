"""A folder of this app's own for temporary files: uploads and results end with the process that they belong to.

Gradio's default folder is shared by all its apps on a machine, outlives them, and is served to whoever knows a path.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import tempfile
from pathlib import Path

from genarium.files import remove_tree

try:
    import fcntl
except ImportError:  # on Windows: what a killed app left there stays until somebody empties the folder
    fcntl = None  # type: ignore[assignment]

PREFIX = "genarium-files-"
LOCK = ".genarium"  # a file in the folder: who holds its lock is alive
VARIABLE = "GRADIO_TEMP_DIR"


def own_folder() -> Path | None:
    """Make the folder, let Gradio use it, and have it deleted when the process ends, also by SIGTERM.

    Folders of this kind whose process was killed are deleted first. To be called before Gradio is imported, in the main
    thread. A folder that GRADIO_TEMP_DIR names is used as it is, and nothing in it is deleted.

    Returns:
        The new folder; None if the variable names another.
    """
    if os.environ.get(VARIABLE):
        return None
    delete_left_over(Path(tempfile.gettempdir()))
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    _take(folder)
    os.environ[VARIABLE] = str(folder)
    atexit.register(remove_tree, folder)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # a plain exit runs what is registered; the signal would not
    return folder


def delete_left_over(place: Path) -> list[Path]:
    """Delete the folders of processes that are gone, and return them. Others' and living ones' are left alone."""
    deleted = []
    for folder in place.glob(f"{PREFIX}*"):
        lock = folder / LOCK
        if fcntl is None or folder.is_symlink() or not lock.is_file() or folder.stat().st_uid != os.getuid():
            continue
        with contextlib.suppress(OSError), open(lock) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # BlockingIOError where its process lives
            remove_tree(folder)
            deleted.append(folder)
    return deleted


def _take(folder: Path) -> None:
    """Hold the folder's lock until the process ends, however it ends."""
    file = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX)
