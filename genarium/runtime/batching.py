"""Runs of several visitors in one batch: which may be joined, and the run of those that were.

A network takes much less time for a sample among many. So a run whose turn it is takes along those that wait for the same, where
"the same" leaves open the seed, the classes and the number of samples. Each sample has a generator of its own, so it does not
depend on its company: a family declares of which requests this holds (`joins`, docs/contract.md), and `steady` layers make it
hold to the last bit. Each visitor has their own previews, result and Stop, and pays for their own samples.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from genarium.checkpoints import Checkpoint
from genarium.errors import GenariumError, Stopped
from genarium.runtime.costs import Job
from genarium.runtime.crews import Turn
from genarium.runtime.execution import PREVIEW_SECONDS, SURE_SECONDS, Progress, Run
from genarium.runtime.request import Request
from genarium.runtime.results import Pictures, part_of, result_class

if TYPE_CHECKING:
    import torch

MOST_SAMPLES = 16  # in a joint batch: on two cores more gain little, and each step becomes longer


@dataclass(frozen=True)
class Part:
    """A visitor's part of a joint run.

    Args:
        request: with every parameter filled in.
        events: where its `Progress` goes, and at last its result or what went wrong.
        check: called with the seconds that the part seems to take in all; it may raise.
    """

    request: Request
    events: queue.SimpleQueue[Any]
    check: Callable[[float], None]


def kind_of(job: Job) -> Hashable | None:
    """Return a value that is equal for runs that can be computed together; None for a run that must be alone."""
    checkpoint, request, _ = job
    task = checkpoint.tasks[request.task]
    if not task.draws or checkpoint.is_foreign or result_class(task, checkpoint.modality) is not Pictures:
        return None
    joins: Mapping[str, Sequence[Any]] | None = getattr(checkpoint.family.pipeline_class(), "joins", None)
    if joins is None or any(request.parameters.get(name) not in values for name, values in joins.items()):
        return None
    settings = tuple(sorted((name, repr(value)) for name, value in request.parameters.items()))
    return id(checkpoint), request.task, settings, request.class_labels is None


class JointRun(Run):
    """Requests of one kind on their way through a pipeline, in one batch.

    Args:
        pipeline: the loaded checkpoint.
        checkpoint: which all requests name.
        turns: one for each request, with its `Part`; the first is in whose thread this is computed.
    """

    def __init__(self, pipeline: Any, checkpoint: Checkpoint, turns: Sequence[Turn]):
        self.turns = turns
        self.parts: list[Part] = [turn.joinable.part for turn in turns if turn.joinable]
        requests = [part.request for part in self.parts]
        ends = [sum(request.batch_size for request in requests[: i + 1]) for i in range(len(requests))]
        self.rows = [slice(end - request.batch_size, end) for request, end in zip(requests, ends, strict=True)]
        labels = tuple(label for request in requests for label in request.class_labels or ())
        joint = replace(requests[0], batch_size=ends[-1], class_labels=labels or None)
        super().__init__(
            pipeline,
            checkpoint,
            joint,
            {},
            ends[-1],
            self.parts[0].events,
            turns[0].stop,
            turns[0],
            self.parts[0].check,
        )

    def finish(self) -> None:
        """Compute all requests; give each visitor who is still here the result, or what went wrong, and let them leave."""
        try:
            seconds, evaluations = self.compute()
            [output] = self.outputs
            for i in self._here():
                share = self._share(i)
                outputs = [part_of(output, self.rows[i])]
                result = self.result_of(self.parts[i].request, outputs, seconds * share, evaluations * share)
                company = self.request.batch_size - result.request.batch_size
                self._end(i, replace(result, company=company))
        except BaseException as error:  # handed to the visitors' threads, whatever it is
            for i in self._here():
                self._end(i, error)

    def generators(self, start: int, stop: int) -> list[torch.Generator]:
        return [one for part in self.parts for one in part.request.generators(0, part.request.batch_size)][start:stop]

    def on_step(self, pipe: Any, step: int, timestep: Any, values: Mapping[str, Any]) -> None:
        """Report a step to those who are still here. It raises `Stopped` when nobody is."""
        if self.turns[0].here and self.stop.is_set():  # the others are awake for their own
            self._end(0, Stopped("Stopped."))
        here = self._here()
        if not here:
            raise Stopped("Stopped.")
        now, done, total = time.perf_counter(), step + 1, values["num_timesteps"]
        sample = None
        if now - self.previewed >= PREVIEW_SECONDS * len(here):
            self.previewed = now
            sample = values["pred_original_sample"].detach().float().cpu()
        for i in here:
            pictures = None if sample is None else self.medium.preview(self.checkpoint, (), sample[self.rows[i]])
            seconds = (now - self.started) * self._share(i)
            self.parts[i].events.put(Progress(done, total, seconds, pictures, self.request.checkpoint))
            if now - self.started > SURE_SECONDS and done > 1:
                try:
                    self.parts[i].check(seconds * total / done)
                except GenariumError as error:
                    self._end(i, error)
        self.take_turns(done, total)

    def _here(self) -> list[int]:
        return [i for i, turn in enumerate(self.turns) if turn.here]

    def _share(self, i: int) -> float:
        return self.parts[i].request.batch_size / self.request.batch_size

    def _end(self, i: int, outcome: Any) -> None:
        self.parts[i].events.put(outcome)
        self.turns[i].leave()
