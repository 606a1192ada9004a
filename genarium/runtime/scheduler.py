"""From a request to a result: bring the visitor's material into the model's form, run in turn, preview, stop.

One runtime serves all visitors. What a run changes lives in that run (execution.py); pipelines are shared (pipelines.py).
"""

from __future__ import annotations

import contextlib
import math
import queue
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from genarium.catalogue import Catalogue
from genarium.checkpoints import Checkpoint
from genarium.environment import max_run_seconds
from genarium.errors import GenariumError, InputError, Stopped
from genarium.imports import HEAVY
from genarium.runtime.batching import MOST_SAMPLES, JointRun, Part, kind_of
from genarium.runtime.costs import Costs, Job, too_long
from genarium.runtime.crews import Joinable, Turn
from genarium.runtime.execution import Progress, Run
from genarium.runtime.modalities import MEDIA
from genarium.runtime.pipelines import PipelineCache
from genarium.runtime.request import Request
from genarium.runtime.results import Result, Several
from genarium.runtime.turns import Turns
from genarium.runtime.visitors import VISITOR, Stop, Visitor

if TYPE_CHECKING:
    import torch

try:
    import spaces  # type: ignore[import-not-found]  # on ZeroGPU Spaces only, and before CUDA is first used
except ImportError:
    spaces = None

GUEST_MEMORY = 2**30  # bytes for the samples of a guest that are computed at once, by what its trial took for one
GUEST_PIXELS = 2**24  # of the pictures of a guest in one run: they are kept until the last is done, and shown
HEARTBEAT_SECONDS = 0.5  # a stream gives a sign this often while it waits, so that its reader can close it ...
CROWD = 5  # ... and where more runs than these take turns, less often: all signs together shall not keep the cores busy


def on_gpu(generator_function: Callable[..., Any]) -> Callable[..., Any]:
    """Borrow a GPU for as long as this generator function runs, in a ZeroGPU Space. Elsewhere return it as it is.

    There `spaces.GPU` calls it in a forked process that has the GPU, and passes on what it yields. So its arguments and
    what it yields are pickled. An exception would lose its text and is better yielded. A lock or an event of this process
    means nothing there. Closing the generator closes it there too.
    """
    return generator_function if spaces is None else spaces.GPU(generator_function)


class Runtime(PipelineCache):
    """A scheduler of requests, which runs them with the pipelines of its cache.

    Args:
        max_batch: samples computed at once.
        concurrency: runs that compute at the same time; all others take turns with them, step by step.
        max_seconds: of computing that a run of a visitor may take; GENARIUM_MAX_RUN_SECONDS, or on a Space five minutes.
        joins: compute equal runs of several visitors in one batch, where their pictures are the same then.
        catalogue, device, dtype, memory_budget, max_guests: of the `PipelineCache`.
    """

    def __init__(
        self,
        catalogue: Catalogue | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        memory_budget: int | None = None,
        max_batch: int = 64,
        concurrency: int = 1,
        max_guests: int = 8,
        max_seconds: float | None = None,
        joins: bool = True,
    ):
        super().__init__(catalogue, device, dtype, memory_budget, max_guests)
        self.max_batch = max_batch
        self.max_seconds = max_seconds or max_run_seconds()
        self.costs = Costs()
        self._joins = joins
        self._steady: bool | None = None  # not tried yet
        self._turns = Turns(concurrency)
        self._compute = on_gpu(self._events)
        self._compute_once = on_gpu(self._once)

    @property
    def joins(self) -> bool:
        """Whether runs of several visitors are computed in one batch."""
        if self._steady is None:  # no `cached_property`, for the reason that pipelines.py gives
            device, dtype = self.device, self.dtype
            with HEAVY:
                from genarium.runtime.steady import can_be_steady
            self._steady = can_be_steady(device, dtype)
        return self._joins and self._steady

    @joins.setter
    def joins(self, value: bool) -> None:
        self._joins = self._steady = value

    def stream(
        self, request: Request, inputs: Mapping[str, Any] | None = None, stop: threading.Event | None = None
    ) -> Generator[Progress | Result, None, None]:
        """Run a request in a thread of its own; yield `Progress` after steps, then the `Result`.

        Closing the iterator stops the computation at its next step.

        Args:
            request: what to compute.
            inputs: the task's material by parameter: a picture or its path, of any size and mode, or the path of a sound
                file; or a list of these.
            stop: set it from anywhere to stop, also while the run waits for its turn, when the iterator cannot be closed.

        Raises:
            GenariumError: something in the request or in the inputs is wrong; the message says what to do.
        """
        jobs, visitor = self._jobs(request, inputs or {}), VISITOR.get()
        costs = [self.costs.seconds(job, self.batch_of(job[1].checkpoint)) for job in jobs]
        most = self.max_seconds if visitor.address else None
        if most is not None and (known := sum(cost or 0.0 for cost in costs)) > most:
            raise too_long(max(zip(costs, jobs), key=lambda one: one[0] or 0.0)[1], known, most)
        with contextlib.closing(self._compute(jobs, visitor, costs, most)) as events:
            for event in events:
                if isinstance(event, BaseException):
                    raise event
                if stop is not None and stop.is_set() and not isinstance(event, Result):
                    raise Stopped("Stopped.")
                if isinstance(event, Result):
                    self._learn(jobs, event)
                    if request.others:
                        event = replace(event, request=request)
                yield event

    def _learn(self, jobs: Sequence[Job], result: Result) -> None:
        """Remember what the run of each job took."""
        for job, one in zip(jobs, result.results if isinstance(result, Several) else (result,), strict=True):
            self.costs.learn(job, self.batch_of(job[1].checkpoint), one.seconds, one.company)

    def _jobs(self, request: Request, inputs: Mapping[str, Any]) -> list[Job]:
        """Return what each checkpoint of a request is asked, with the material in its form."""
        checkpoints = {name: self.checkpoint(name) for name in request.checkpoints}
        pairs = list(zip(checkpoints.values(), request.each(checkpoints), strict=True))
        for checkpoint, one in pairs:
            self._check_size(checkpoint, one)
        return [(checkpoint, one, self._material(checkpoint, one, inputs)) for checkpoint, one in pairs]

    def batch_of(self, name: str) -> int:
        """Return how many samples of a checkpoint are computed at once: of a guest, as many as its trial leaves room for."""
        with self._lock:
            needed = self._needs.get(name, 0)
        return max(1, min(self.max_batch, GUEST_MEMORY // (needed or 1)))

    def _check_size(self, checkpoint: Checkpoint, request: Request) -> None:
        """Refuse what would take more memory than a guest may have.

        Raises:
            InputError: so it is; the message says how many pictures are taken.
        """
        task = checkpoint.tasks[request.task]
        frames = request.parameters.get("num_frames", 1)  # of an interpolation, which are one batch
        if self.guest(checkpoint.name) is None or checkpoint.modality != "image" or checkpoint.is_foreign:
            return
        if (most := self.batch_of(checkpoint.name)) < frames:
            raise InputError(f"{checkpoint.name}: one frame takes so much memory that at most {most} are taken.")
        side = getattr(self.pipeline(checkpoint.name).config, "sample_size", 1)
        number = request.batch_size if task.draws else frames
        if number * side**2 > GUEST_PIXELS:
            raise InputError(
                f"At most {GUEST_PIXELS // side**2} pictures of {side} x {side} pixels are made in one run."
            )

    def _events(
        self, jobs: Sequence[Job], visitor: Visitor, costs: Sequence[float | None], most: float | None
    ) -> Iterator[Progress | Result | BaseException]:
        """Compute in a thread; yield `Progress`, also as a sign of life, and at last the `Result` or what went wrong.

        Args:
            visitor: whose run it is.
            costs: seconds that each job will take, as far as known.
            most: seconds that one may take; it ends soon after it is seen that it will take longer.
        """
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        stop = Stop()
        request = jobs[0][1]
        turn = self._turns.ours.ask(stop, visitor, _sum(costs), self._joinable(jobs, events, most))

        def work() -> None:
            try:
                with turn:
                    if turn.rode or self._run_together(jobs[0], turn):
                        return  # whoever computed it has put the outcome into the events
                    results = []
                    for i, job in enumerate(jobs):
                        turn.later = _sum(costs[i + 1 :])
                        results.append(self._run(job, turn, events, stop, most))
                    events.put(results[0] if len(results) == 1 else Several.of(request, results))
            except BaseException as error:  # handed to the caller's thread, whatever it is
                events.put(error)

        thread = threading.Thread(target=work, name=f"{request.task} {request.checkpoint}", daemon=True)
        thread.start()
        last = Progress(0, 1, 0.0, None)
        try:
            while True:
                try:
                    event = events.get(timeout=HEARTBEAT_SECONDS * max(1.0, last.outlook.others / CROWD))
                except queue.Empty:
                    last = replace(last, outlook=turn.outlook())
                    yield last
                    continue
                if isinstance(event, (Result, BaseException)):
                    yield event
                    return
                event = replace(event, outlook=turn.outlook() if event.pictures else last.outlook)
                yield event
                last = replace(event, pictures=None)
        finally:
            stop.set()

    def _run(self, job: Job, turn: Turn, events: Any, stop: Stop, most: float | None) -> Result:
        """Run a job whose turn it is."""
        checkpoint, asked, material = job
        pipeline, most_at_once = self._ready(asked.checkpoint, turn), self.batch_of(checkpoint.name)
        check = _limit(job, most)
        return Run(pipeline, checkpoint, asked, material, most_at_once, events, stop, turn, check).result()

    def _ready(self, name: str, turn: Turn) -> Any:
        """Return a pipeline; the time that its loading takes is nobody's."""
        if name not in self.loaded():
            self.pipeline(name)
            turn.skip()
        return self.pipeline(name)

    def _joinable(self, jobs: Sequence[Job], events: Any, most: float | None) -> Joinable | None:
        """Return what others must know of a run to be computed with it; None for one that must be alone."""
        checkpoint, request, _ = jobs[0]
        if len(jobs) > 1 or not self.joins or request.batch_size > self._most_together(checkpoint):
            return None
        kind = kind_of(jobs[0])
        part = Part(request, events, _limit(jobs[0], most))
        return None if kind is None else Joinable(kind, request.batch_size, part)

    def _most_together(self, checkpoint: Checkpoint) -> int:
        return min(MOST_SAMPLES, self.batch_of(checkpoint.name))

    def _run_together(self, job: Job, turn: Turn) -> bool:
        """Run a job whose turn it is with all that wait for the same; return False, having done nothing, if none do."""
        if turn.joinable is None:
            return False
        checkpoint = job[0]
        pipeline = self._ready(checkpoint.name, turn)
        others = turn.take_along(self._most_together(checkpoint))
        if not others:
            return False
        JointRun(pipeline, checkpoint, [turn, *others]).finish()
        return True

    def turn(self, stop: Stop, visitor: Visitor | None = None) -> Turn:
        """Return a turn to wait for, and to hold while the block runs, for pages that compute without a checkpoint.

        Who needs many turns leaves a moment between them, in which others can begin.

        Args:
            stop: set it to end the waiting.
            visitor: whose it is; the one whose event is being handled unless given.

        Raises:
            Stopped: at the beginning of the block, if `stop` was set before it was the caller's turn.
        """
        return self._turns.ours.ask(stop, visitor, rest=0.0)

    def call(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function with a checkpoint's pipeline when it is its turn, and return what it returns.

        For pages of their own, whose question is no request. It cannot be stopped, so it must be short.

        Args:
            name: of the checkpoint.
            function: of a module, called as function(pipeline, *arguments).

        Raises:
            GenariumError: the checkpoint cannot be loaded, or `function` raised it.
        """
        with contextlib.closing(self._compute_once(name, function, arguments, VISITOR.get())) as answers:
            answer, error = next(answers)
        if error is not None:
            raise error
        return answer

    def _once(
        self, name: str, function: Callable[..., Any], arguments: tuple, visitor: Visitor
    ) -> Iterator[tuple[Any, Exception | None]]:
        """Yield what the function returned and None, or None and what it raised."""
        with self.turn(Stop(), visitor):
            try:
                answer = function(self.pipeline(name), *arguments)
            except Exception as error:  # handed to the caller, whatever it is
                yield None, error
            else:
                yield answer, None

    def run(self, request: Request, inputs: Mapping[str, Any] | None = None) -> Any:
        """Run a request to its end, and return its `Result`: of the class that the task returns, such as `Pictures`.

        Raises:
            GenariumError: as `stream`.
        """
        with contextlib.closing(self.stream(request, inputs)) as events:
            for event in events:
                if isinstance(event, Result):
                    return event
        raise GenariumError("The computation ended without a result.")  # pragma: no cover

    def prepare(self, name: str, source: Any, invert: str = "auto") -> Any:
        """Bring a person's picture or recording into the form of a checkpoint's data.

        A picture gets its size, its mode, and bright on dark where the data are so. Sound gets its sampling rate, one channel
        and its level.

        Args:
            name: of the checkpoint.
            source: a picture or a path; for a checkpoint of sound, the path of a file.
            invert: for pictures: "auto", "yes" or "no".

        Returns:
            A picture, or float32 [T].

        Raises:
            InputError: it cannot be read, or is nothing that the checkpoint could work on.
        """
        checkpoint = self.checkpoint(name)
        return MEDIA[checkpoint.modality].prepare(checkpoint, source, invert, lambda: self.pipeline(name))

    def _material(self, checkpoint: Checkpoint, request: Request, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the task's inputs in the model's form, by parameter; None for one that the request does without."""
        task, needed = checkpoint.tasks[request.task], request.inputs(checkpoint)
        material: dict[str, Any] = dict.fromkeys(task.inputs)
        for name in needed:
            value = given.get(name)
            if value is None or (isinstance(value, (list, tuple, str)) and not value):
                noun = MEDIA[checkpoint.modality].noun
                raise InputError(f"There is no {noun} for {name!r}. Choose one, or take an example.")
            values = value if isinstance(value, (list, tuple)) else [value]
            fitted = [self.prepare(request.checkpoint, v, invert=request.invert) for v in values]
            material[name] = fitted if name == task.many else fitted[0]
        return material


def _limit(job: Job, most: float | None) -> Callable[[float], None]:
    """Return a check of the seconds that a job seems to take, which raises where a visitor's may not take so long."""

    def check(seconds: float) -> None:
        if most is not None and seconds > most:
            raise too_long(job, seconds, most)

    return check


def _sum(costs: Sequence[float | None]) -> float:
    """Return the sum; infinity if a summand is not known."""
    return sum(math.inf if cost is None else cost for cost in costs)
