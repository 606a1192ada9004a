"""The lane: one training at a time, two looks at pictures and two data sets of the Hub, each in a process of its own with bounds.

The state of each stands on the disk, so that an app that is started again goes on where the last one was killed.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import psutil

from genarium import paths
from genarium.errors import GenariumError
from genarium.tasks.train.shelf import Box, Shelf
from genarium.tasks.train.work import RESULT, WISH, reason_of

try:
    import fcntl
except ImportError:  # on Windows two apps of one folder are not kept apart
    fcntl = None  # type: ignore[assignment]

BEAT = 0.25  # seconds
MOST = {"look": 2, "fetch": 2, "fit": 1}  # at the same time
LOOK_SECONDS = 600.0
LOOK_MEMORY = 2.0  # gigabytes
SLACK = 600.0  # seconds beside ...
PATIENCE = 4.0  # ... so many times the time of a training: measuring, evaluating, and a machine that has other work
SWEEP_SECONDS = 600.0
Kind = Literal["look", "fetch", "fit"]

log = logging.getLogger(__name__)


@dataclass
class Job:
    """A process at work.

    Args:
        box: whose work it is.
        kind: of the work.
        process: which does it.
        seconds: after which it is killed.
        memory: bytes beyond which it is killed.
        finish_after: seconds after which a training takes its weights as they are.
    """

    box: Box
    kind: Kind
    process: subprocess.Popen
    seconds: float
    memory: float
    finish_after: float = float("inf")
    began: float = field(default_factory=time.monotonic)
    killed: str = ""  # the key of the reason

    def watch(self) -> None:
        """Kill the process if it took too much."""
        spent = time.monotonic() - self.began
        if spent > self.seconds:
            self.kill("too_long")
        elif _memory(self.process.pid) > self.memory:
            self.kill("memory")
        elif spent > self.finish_after and not (self.box.path / WISH).exists():
            with contextlib.suppress(OSError):
                (self.box.path / WISH).write_text("finish")

    def kill(self, key: str) -> None:
        self.killed = key
        self.process.kill()


class Lane:
    """Looks and trainings of all visitors, in the order in which they were asked for.

    Args:
        shelf: where they are kept.
        arrive: makes a finished training usable; raises GenariumError if it cannot be used.
        hours: after which what is not used is deleted; 0: never.
    """

    def __init__(self, shelf: Shelf, arrive: Callable[[Box], None], hours: float = 0):
        self.shelf, self.arrive, self.hours = shelf, arrive, hours
        self.taken = False  # another app has the folder
        self._lock = threading.RLock()
        self._waiting: list[tuple[Kind, Box]] = []
        self._jobs: list[Job] = []
        self._closed = threading.Event()
        self._held: Any = None
        self._swept = 0.0

    def begin(self) -> None:
        """Take up what an earlier app left, and start the thread."""
        self.shelf.root.mkdir(parents=True, exist_ok=True)
        self._held = (self.shelf.root / ".lane").open("w")
        if fcntl is not None:
            try:
                fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                self.taken = True
                return
        left: list[tuple[float, Kind, Box]] = []
        kinds: tuple[tuple[str, Kind], ...] = (("sets", "look"), ("runs", "fit"))
        for folder, kind in kinds:
            for box in self.shelf.everybody(folder):
                state = box.state
                if state.get("state") in ("waiting", "running", "looking"):
                    box.keep(state="looking" if kind == "look" else "waiting")
                    left.append((state.get("queued", 0.0), looking_kind(box) if kind == "look" else kind, box))
        self._waiting = [(kind, box) for _, kind, box in sorted(left, key=lambda one: one[0])]
        threading.Thread(target=self._work, name="trainings", daemon=True).start()

    def close(self) -> None:
        """End the thread and the processes, whose trainings go on from their last state later."""
        self._closed.set()
        with self._lock:
            for job in self._jobs:
                job.process.kill()
                job.process.wait()
            self._jobs = []
        if self._held is not None:
            self._held.close()

    # ---- what visitors ask ----

    def submit(self, kind: Kind, box: Box) -> None:
        """Put work at the end of the queue."""
        (box.path / WISH).unlink(missing_ok=True)
        with self._lock:
            box.keep(state="waiting" if kind == "fit" else "looking", queued=time.time(), key="", reason=None)
            self._waiting.append((kind, box))

    def place(self, box: Box) -> int:
        """Return how many trainings come before one that waits."""
        with self._lock:
            fits = [one.path for kind, one in self._waiting if kind == "fit"]
            running = sum(job.kind == "fit" for job in self._jobs)
        return running + fits.index(box.path) if box.path in fits else 0

    def pause(self, box: Box) -> None:
        """Let a training save its state and end, or leave the queue."""
        self._wish(box, "pause")

    def finish(self, box: Box) -> None:
        """Let a training take its weights as they are."""
        self._wish(box, "finish")

    def discard(self, box: Box) -> None:
        """End the work of a folder, and delete the folder."""
        with self._lock:
            self._waiting = [(kind, one) for kind, one in self._waiting if one.path != box.path]
            for job in [job for job in self._jobs if job.box.path == box.path]:
                self._jobs.remove(job)
                job.process.kill()
                job.process.wait()
            box.delete()

    def _wish(self, box: Box, wish: str) -> None:
        with self._lock:
            before = len(self._waiting)
            self._waiting = [(kind, one) for kind, one in self._waiting if one.path != box.path]
            if len(self._waiting) < before:
                box.keep(state="paused")
            elif any(job.box.path == box.path for job in self._jobs):
                (box.path / WISH).write_text(wish)

    # ---- the thread ----

    def _work(self) -> None:
        while not self._closed.wait(BEAT):
            try:
                self._once()
            except Exception:  # the next visitor's training must not wait for this one's
                log.exception("The queue of trainings has failed")

    def _once(self) -> None:
        with self._lock:
            ended = [job for job in self._jobs if job.process.poll() is not None]
            self._jobs = [job for job in self._jobs if job not in ended]
            for job in self._jobs:
                job.watch()
            started: list[tuple[Kind, Box]] = []
            for kind, box in self._waiting:
                if sum(job.kind == kind for job in self._jobs) >= MOST[kind]:
                    continue
                started.append((kind, box))
                try:
                    self._jobs.append(self._start(kind, box))
                except (GenariumError, OSError):  # its folder is gone, or the system has no process left
                    log.exception("A training cannot be started")
                    box.keep(state="failed", key="crashed")
            self._waiting = [one for one in self._waiting if one not in started]
        for job in ended:
            self._settle(job)
        if self.hours and time.monotonic() - self._swept > SWEEP_SECONDS:
            self._swept = time.monotonic()
            self.shelf.sweep(self.hours)

    def _start(self, kind: Kind, box: Box) -> Job:
        order = box.read("order.json")
        (box.path / RESULT).unlink(missing_ok=True)
        if kind == "fit":
            box.keep(state="running")
        seconds, memory, finish = LOOK_SECONDS, LOOK_MEMORY, float("inf")
        if kind == "fit":
            finish = 60.0 * order.get("most_minutes", 60.0) if order.get("minutes") is None else float("inf")
            seconds = PATIENCE * 60 * (order.get("minutes") or order.get("most_minutes", 60.0)) + SLACK
            memory = float(order.get("memory", 4.0))
        kept = {name: value for name, value in os.environ.items() if "TOKEN" not in name}
        if kind != "fetch":
            kept["HF_HUB_OFFLINE"] = "1"
        with (box.path / "output.txt").open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "genarium.tasks.train.work", kind, str(box.path)],
                cwd=paths.ROOT,
                env={**kept, "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1", "TQDM_DISABLE": "1", "PYTHONUNBUFFERED": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        with contextlib.suppress(psutil.Error, OSError):  # visitors who look at results come first
            psutil.Process(process.pid).nice(5)
        return Job(box, kind, process, seconds, memory * 2**30, finish)

    def _settle(self, job: Job) -> None:
        """Note how a process ended, and make what it trained usable."""
        ended = job.box.read(RESULT)
        if job.killed:
            ended = {"state": "failed", "key": job.killed}
        elif not ended:
            log.warning("A training ended with code %s: see %s", job.process.returncode, job.box.path / "output.txt")
            ended = {"state": "failed", "key": "crashed"}
        if ended["state"] != "trained":
            job.box.keep(**ended)
            return
        threading.Thread(target=self._welcome, args=(job.box,), name="arrival", daemon=True).start()

    def _welcome(self, box: Box) -> None:
        try:
            self.arrive(box)
        except GenariumError as error:
            box.keep(state="failed", reason=reason_of(error))
        except Exception:
            log.exception("A trained checkpoint cannot be used")
            box.keep(state="failed", key="crashed")
        else:
            box.keep(state="done")


def looking_kind(box: Box) -> Kind:
    """Return how a set is looked at: a data set of the Hub is fetched for it."""
    return "fetch" if box.read("order.json").get("hub") else "look"


def _memory(pid: int) -> int:
    """Return the bytes of memory that a process has; 0 once it has ended."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0
