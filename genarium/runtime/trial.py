"""A trial of a stranger's checkpoint: it is loaded once in a process of its own, which is killed at a limit.

    try_loading(checkpoint)    the app calls this before it loads a checkpoint that a visitor brings
    python -m genarium.runtime.trial FOLDER NAME BYTES    is that process; it prints one line of JSON

A hostile configuration can exhaust the memory or the time of that process only. What loads there within the limits loads
here too, because the files are the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from genarium import paths, trust
from genarium.errors import CheckpointError, GenariumError, Stopped

if TYPE_CHECKING:
    from genarium.checkpoints import Checkpoint

PROGRAM = 2**30  # bytes of the program itself: Python, torch and diffusers have about half of it
ROOM = 2**30  # bytes for loading, beside ...
COPIES = 4  # ... so many times the weights: as they are stored, in float32, and what loading moves about
SECONDS = 120.0
BEAT = 0.1  # seconds between two looks at the process


def try_loading(
    checkpoint: Checkpoint,
    stop: threading.Event | None = None,
    room: int = ROOM,
    seconds: float = SECONDS,
) -> None:
    """Load a checkpoint in a process of its own, within limits of memory and time.

    Args:
        checkpoint: of an installed family; no code of its folder is run.
        stop: set it to kill the process.
        room: bytes of memory beside the program's own and `COPIES` times the weights.
        seconds: for all, the start of the process included.

    Raises:
        CheckpointError: it cannot be loaded, or not within the limits. The process has ended then.
        Stopped: `stop` was set.
    """
    room += COPIES * checkpoint.size
    command = [sys.executable, "-m", __name__, str(checkpoint.folder.resolve()), checkpoint.name, str(room)]
    began = time.monotonic()
    with subprocess.Popen(
        command,
        cwd=paths.ROOT,
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            while process.poll() is None:
                if stop is not None and stop.wait(BEAT):
                    raise Stopped("Stopped.")
                if stop is None:
                    time.sleep(BEAT)
                if _memory(process.pid) > PROGRAM + room:
                    raise CheckpointError(_too_much(checkpoint.name))
                if time.monotonic() - began > seconds:
                    raise CheckpointError(
                        f"{checkpoint.name}: loading took more than {seconds:g} s, so it was ended and is not used here."
                    )
        finally:
            process.kill()
        answer, _ = process.communicate()
    problem = _problem(answer)
    if problem is None:  # killed by its own limit, or by the system
        raise CheckpointError(_too_much(checkpoint.name))
    if problem:
        raise CheckpointError(problem)


def _environment() -> dict[str, str]:
    """Return the variables of the process: without tokens, the network, a GPU, or trust in remote code."""
    kept = {key: value for key, value in os.environ.items() if "TOKEN" not in key}
    return kept | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", trust.VARIABLE: "0"}


def _memory(pid: int) -> int:
    """Return the bytes of memory that a process has; 0 once it has ended."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0


def _problem(answer: str) -> str | None:
    """Return what the process said: a sentence, "" if all is well; None if it did not come to say anything."""
    try:
        return str(json.loads(answer)["problem"])
    except (ValueError, KeyError, TypeError):
        return None


def _too_much(name: str) -> str:
    return (
        f"{name}: loading it took more memory than its weights explain, so it was ended and is not used here. Its "
        "configuration asks for a larger network than the weights fill, or is damaged."
    )


def main(folder: str, name: str, room: int) -> None:
    """Load a checkpoint within a limit of memory, and print what went wrong, as JSON."""
    output, sys.stdout = sys.stdout, sys.stderr  # nothing that a library prints gets between
    from genarium.checkpoints import load_pipeline, open_checkpoint
    from genarium.families import discover

    problem = ""
    try:
        checkpoint = open_checkpoint(Path(folder), discover(), name=name)
        _limit_memory(room)
        load_pipeline(checkpoint)
    except MemoryError:
        problem = _too_much(name)
    except GenariumError as error:
        cause = error.__cause__
        allocated = isinstance(cause, MemoryError) or "alloc" in str(cause)  # torch's own error is a RuntimeError
        problem = _too_much(name) if allocated else str(error)[:2000]
    output.write(json.dumps({"problem": problem}))
    output.flush()
    os._exit(0)  # no time for taking down what was built


def _limit_memory(room: int) -> None:
    """Limit this process to so many bytes more than now. On systems without such limits the parent watches its memory."""
    with contextlib.suppress(AttributeError, ImportError, OSError, ValueError):
        import resource  # not on Windows

        most = psutil.Process().memory_info().data + room
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))  # on Linux, all memory that is no mapped file


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
