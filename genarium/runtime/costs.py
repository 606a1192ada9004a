"""What a run will cost, before it starts: seconds of computing, from what runs of the same checkpoint took before."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

from genarium.checkpoints import Checkpoint
from genarium.errors import InputError
from genarium.runtime.request import Request

Job = tuple[Checkpoint, Request, Mapping[str, Any]]  # whom to ask, what, and the material in its form

STEPS, FRAMES = "num_inference_steps", "num_frames"  # parameters in proportion to which a run takes its time
NEWEST = 0.3  # at least so much of a running mean is the newest run: the machine may be busier than before
MAX_KNOWN = 1024  # settings of which the cost is remembered


class Costs:
    """Running means of the seconds for a step of a sample.

    They are kept apart by the samples that are computed at once, in powers of two: a network takes less time for a sample
    among many.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._means: OrderedDict[tuple, dict[int, tuple[float, int]]] = OrderedDict()

    def learn(self, job: Job, at_once: int, seconds: float, company: int = 0) -> None:
        """Take in what a run took.

        Args:
            at_once: how many samples are computed at once, at most.
            seconds: of computing.
            company: samples of others that were computed with it.
        """
        units, samples = units_of(job)
        size = min(samples + company, at_once).bit_length()
        with self._lock:
            for key in _keys(job):
                means = self._means.setdefault(key, {})
                mean, number = means.get(size, (0.0, 0))
                weight = max(1 / (number + 1), NEWEST)
                means[size] = (mean + weight * (seconds / units - mean), number + 1)
                self._means.move_to_end(key)
            while len(self._means) > MAX_KNOWN:
                self._means.popitem(last=False)

    def seconds(self, job: Job, at_once: int) -> float | None:
        """Return what a run will take; None if this checkpoint did nothing alike before.

        Without a run of the same settings, one of other settings is taken, and of another number of samples the nearest.
        """
        units, samples = units_of(job)
        size = min(samples, at_once).bit_length()
        with self._lock:
            for key in _keys(job):
                if means := self._means.get(key):
                    return units * means[min(means, key=lambda known: abs(known - size))][0]
        return None


def _keys(job: Job) -> tuple[tuple, tuple]:
    """Return a run's settings, and those that it has in common with all runs of the checkpoint and the task."""
    checkpoint, request, _ = job
    others = sorted((name, repr(value)) for name, value in request.parameters.items() if name not in (STEPS, FRAMES))
    general = (checkpoint.name, request.task)
    return (*general, tuple(others)), general


def units_of(job: Job) -> tuple[int, int]:
    """Return how many steps of one sample a run makes, and how many samples."""
    checkpoint, request, material = job
    task = checkpoint.tasks[request.task]
    samples = request.batch_size if task.draws else len(material[task.many]) if task.many else 1
    samples = max(1, samples * _number(request, FRAMES))
    return samples * max(1, _number(request, STEPS)), samples


def _number(request: Request, name: str) -> int:
    value = request.parameters.get(name, 1)
    return value if isinstance(value, int) else 1


def too_long(job: Job, seconds: float, most: float) -> InputError:
    """Return the refusal of a run that would take longer than a visitor's may."""
    checkpoint, request, _ = job
    fewer = ["images"] if checkpoint.tasks[request.task].draws and request.batch_size > 1 else []
    fewer += [noun for name, noun in ((STEPS, "steps"), (FRAMES, "frames")) if _number(request, name) > 1]
    advice = f"Ask for fewer {' or '.join(fewer)}" if fewer else "Choose a checkpoint that is faster"
    return InputError(
        f"This would compute for about {_time(seconds)}, and a visitor's run may take {_time(most)} here. {advice}, or run it on "
        "your own machine."
    )


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"
