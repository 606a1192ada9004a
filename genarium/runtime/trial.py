"""A trial of a stranger's checkpoint: it is loaded and run once in a process of its own, which is killed at a limit.

    try_loading(checkpoint)    the app calls this before it loads a checkpoint that a visitor brings
    python -m genarium.runtime.trial FOLDER NAME BYTES    is that process; it prints one line of JSON

A hostile configuration can exhaust the memory or the time of that process only. What loads there within the limits loads
here too, because the files are the same. The process also computes one sample, and says how much memory that took: a few
weights can make activations of any size, and so many samples are computed at once as fit.
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
from typing import TYPE_CHECKING, Any, cast

import psutil

from genarium import paths, trust
from genarium.errors import CheckpointError, GenariumError, Stopped

if TYPE_CHECKING:
    from genarium.checkpoints import Checkpoint

PROGRAM = 2**30  # bytes of the program itself: Python, torch and diffusers have about half of it
ROOM = 2**30  # bytes for loading and for one sample, beside ...
COPIES = 4  # ... so many times the weights: as they are stored, in float32, and what loading moves about
SECONDS = 120.0
BEAT = 0.1  # seconds between two looks at the process


def try_loading(
    checkpoint: Checkpoint,
    stop: threading.Event | None = None,
    room: int = ROOM,
    seconds: float = SECONDS,
) -> int:
    """Load a checkpoint in a process of its own and compute one sample, within limits of memory and time.

    Args:
        checkpoint: of an installed family; no code of its folder is run.
        stop: set it to kill the process.
        room: bytes of memory beside the program's own and `COPIES` times the weights.
        seconds: for all, the start of the process included.

    Returns:
        The bytes of memory that one sample took, beside those of the loaded checkpoint.

    Raises:
        CheckpointError: it cannot be loaded or run, or not within the limits. The process has ended then.
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
    try:
        said = json.loads(answer)
        problem, needed = str(said["problem"]), int(said["bytes"])
    except (ValueError, KeyError, TypeError):  # killed by its own limit, or by the system
        raise CheckpointError(_too_much(checkpoint.name)) from None
    if problem:
        raise CheckpointError(problem)
    return needed


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


def _too_much(name: str) -> str:
    return (
        f"{name}: it took more memory than its weights explain, so it was ended and is not used here. Its "
        "configuration asks for a larger network than the weights fill, or is damaged."
    )


def main(folder: str, name: str, room: int) -> None:
    """Load a checkpoint and compute a sample within a limit of memory; print what went wrong and was needed, as JSON."""
    output, sys.stdout = sys.stdout, sys.stderr  # nothing that a library prints gets between
    from genarium.checkpoints import load_pipeline, open_checkpoint
    from genarium.families import discover

    problem, needed = "", 0
    try:
        checkpoint = open_checkpoint(Path(folder), discover(), name=name)
        _limit_memory(room)
        needed = _run_once(checkpoint, load_pipeline(checkpoint))
    except MemoryError:
        problem = _too_much(name)
    except GenariumError as error:
        cause = error.__cause__
        allocated = isinstance(cause, MemoryError) or "alloc" in str(cause)  # torch's own error is a RuntimeError
        problem = _too_much(name) if allocated else str(error)[:2000]
    except Exception as error:  # a network's own: parts that do not fit each other, or memory again
        allocated = "alloc" in str(error)
        problem = _too_much(name) if allocated else f"{name}: it loads, but computes nothing: {str(error)[:500]}"
    output.write(json.dumps({"problem": problem, "bytes": needed}))
    output.flush()
    os._exit(0)  # no time for taking down what was built


def _run_once(checkpoint: Checkpoint, pipeline: Any) -> int:
    """Compute one sample with the first task that needs no more than a blank picture -> bytes of memory that it took.

    Of several steps two are enough: each needs what the others need. Sound is computed in chunks of a fixed length.
    """
    import PIL.Image

    from genarium.runtime.execution import Run
    from genarium.runtime.request import Request

    task = next((task for task in checkpoint.tasks.values() if task.draws or task.many), None)
    if task is None or checkpoint.modality != "image":
        return 0
    size, channels = pipeline.config.sample_size, pipeline.config.channels
    blank = PIL.Image.new("L" if channels == 1 else "RGB", (size, size))
    material = dict.fromkeys(task.inputs, [blank] if task.many else blank)
    request = Request(checkpoint.name, task.name).checked(checkpoint)
    stop, before, most = threading.Event(), _memory(os.getpid()), 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.wait(0.002):
            most = max(most, _memory(os.getpid()))

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    with contextlib.suppress(Stopped):
        Run(pipeline, checkpoint, request, material, 1, cast(Any, _Once(stop)), stop).result()
    done.set()
    watcher.join()
    return max(0, most - before)


class _Once:
    """Takes the events of a run, and stops it after the first report of a step."""

    def __init__(self, stop: threading.Event):
        self.put = lambda event: stop.set()


def _limit_memory(room: int) -> None:
    """Limit this process to so many bytes more than now. On systems without such limits the parent watches its memory."""
    with contextlib.suppress(AttributeError, ImportError, OSError, ValueError):
        import resource  # not on Windows

        most = psutil.Process().memory_info().data + room
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))  # on Linux, all memory that is no mapped file


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
