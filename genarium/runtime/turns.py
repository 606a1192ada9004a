"""Turns: who computes next, where several runs want to and one can.

A run takes a turn, computes some steps, and lets another go first where that one is due (`Turn.pause`). The rule is
start-time fair queueing (Goyal, Vin and Cheng, SIGCOMM 1996). It needs no length of a quantum before the quantum is over,
so it also serves processors, one level below another (Goyal, Guo and Vin, OSDI 1996). Here the levels are the addresses of
visitors, and the pages of an address. On each level, in seconds of computing:

    S = max(v, F)    start tag of a flow that comes, or comes back; F is what its tag was when it left
    S <- S + l       after one of its runs has computed for l
    v                virtual time: the least tag of the flows that are here; it never goes back

The flow of the least S + min(r, GRAIN) is served, where r is what its run still needs, as far as known, and of equal ones
the one that has just come. GRAIN = 0 would be start-time fair queueing itself. So long runs take turns by their tags, and a
short run is not interrupted by them: it keeps its S + r until it has ended. Of the runs of one page the shortest goes first.

With Q for the longest time between two pauses and QUANTUM together, tags of two flows that are both here never differ by
more than GRAIN + Q, and by no more than Q where their runs are long. So no flow gets more than twice that beyond its share.

A run whose turn it is for the first time may take along others that wait to begin, have no more samples, and can be computed in
the same batch (batching.py). Together they are a crew. Each member pays for its part of the samples. The crew is served when
it is the turn of the member with the most samples, whose tag grows fastest. So those outside wait no longer for a crew than they
would for its members one after another.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

from genarium.errors import Stopped
from genarium.runtime.flows import Flow, holds, key_of, shortest

QUANTUM = 0.05  # seconds: a run computes at least so long before another goes on, because each switch empties caches


class Visitor(NamedTuple):
    """Whose a run is. Programs of this machine that use the runtime directly are one visitor.

    Args:
        address: of the client; addresses share the computing equally.
        page: of the client, as its pages share what is the address's.
    """

    address: str = ""
    page: str = ""


NOBODY = Visitor()
VISITOR: ContextVar[Visitor] = ContextVar("visitor", default=NOBODY)  # of the event that is being handled


class Stop(threading.Event):
    """An event that ends a run, and that also wakes it while it waits for its turn."""

    def __init__(self) -> None:
        super().__init__()
        self._wakes: set[Callable[[], None]] = set()

    def set(self) -> None:
        """Set the event, and wake whoever waits with it."""
        super().set()
        for wake in list(self._wakes):
            wake()

    @contextmanager
    def waking(self, wake: Callable[[], None]) -> Iterator[None]:
        """Let `set` call a function while the block runs. Set already, it calls nothing."""
        self._wakes.add(wake)
        try:
            yield
        finally:
            self._wakes.discard(wake)


@dataclass(frozen=True)
class Outlook:
    """What a run has before it.

    Args:
        before: runs that compute before it begins; 0 once it has begun.
        others: all other runs that compute or wait.
        seconds: until it begins, or once it has begun until it ends; None where a run's length is not known.
    """

    before: int = 0
    others: int = 0
    seconds: float | None = None


@dataclass(frozen=True)
class Joinable:
    """What a run must say to be computed together with others.

    Args:
        kind: runs of an equal kind can be computed together.
        samples: of the run.
        part: what whoever computes needs to know of the run.
    """

    kind: Hashable
    samples: int
    part: Any = None


class Crew:
    """Turns that compute together, in the thread of the one that took the others along. Most are of one turn.

    Args:
        first: in whose thread they compute, also after it has left.
    """

    def __init__(self, first: Turn):
        self.first, self.members = first, [first]
        self.holds = False
        self.since = self.quantum = 0.0  # when it was last counted, and when this quantum began

    @property
    def lead(self) -> Turn | None:
        """The member that stands for all when it is asked whose turn it is: the one with the most samples."""
        return max(self.members, key=lambda turn: (turn.samples, -turn.number), default=None)

    def share(self, turn: Turn) -> float:
        """Return which part of the computing a member pays."""
        return turn.samples / sum(other.samples for other in self.members)


class Turn:
    """One run's part in the `Turns`, a context manager: the block runs while it is its turn.

    Args:
        turns: which it takes part in.
        visitor: whose run it is.
        stop: ends the waiting.
        rest: seconds that the run will compute; None if that is not known.
        joinable: with which others it can be computed; None for no others.

    Raises:
        Stopped: at the beginning of the block, and from `pause`, if `stop` is set while it waits.
    """

    def __init__(
        self, turns: Turns, visitor: Visitor, stop: Stop, rest: float | None, joinable: Joinable | None = None
    ):
        self.turns, self.visitor, self.stop, self.joinable = turns, visitor, stop, joinable
        self.rest = math.inf if rest is None else rest
        self.later = 0.0  # seconds of computing after what `pause` is told of
        self.number = 0  # in the order of coming
        self.waits = self.begun = False
        self.rode = False  # whether another's thread computes, or computed, this run
        self.changed = threading.Condition(turns.lock)
        self.path: list[Flow] = []  # from the whole to the page, while it takes part
        self.crew = Crew(self)

    @property
    def samples(self) -> int:
        """How many samples it pays for, beside those of its crew."""
        return self.joinable.samples if self.joinable else 1

    @property
    def rank(self) -> tuple[float, int]:
        """Its place among the runs of its page."""
        return self.rest, self.number

    @property
    def here(self) -> bool:
        """Whether it takes part: it has come and not left."""
        return bool(self.path) and self in self.path[-1].turns

    @property
    def holds(self) -> bool:
        """Whether it computes now."""
        return self.crew.holds

    @property
    def leads(self) -> bool:
        """Whether its crew is served when it is its turn."""
        return self.crew.lead is self

    def __enter__(self) -> Turn:
        self.turns._join(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.turns._end(self)

    def take_along(self, most: int) -> list[Turn]:
        """Take along waiting runs of the same kind, and return them: from now on this thread computes for them too.

        Each ends its waiting with `rode` set when it is told to `leave`, or when it is stopped.

        Args:
            most: samples of all together.
        """
        return self.turns._take_along(self, most)

    def leave(self) -> None:
        """Leave, for a run that has ended, or was given up, while its crew goes on."""
        self.turns._leave(self)

    def pause(self, rest: float | None = None) -> float:
        """Let others compute first, if one of them is due; return the seconds that this run has waited.

        Args:
            rest: seconds that the run, with those that it took along, still needs, as far as known now.
        """
        crew = self.crew
        for turn in list(crew.members):
            turn.rest = math.inf if rest is None else rest * crew.share(turn) + turn.later
        if not self.turns.waiting or self.turns.clock() - crew.quantum < QUANTUM:
            return 0.0
        return self.turns._pause(crew)

    def skip(self) -> None:
        """Count nothing of what was done since the turn began: the weights that were loaded are there for everybody."""
        with self.turns.lock:
            self.crew.since = self.crew.quantum = self.turns.clock()

    def outlook(self) -> Outlook:
        """Return what the run has before it."""
        return self.turns._outlook(self)


class Turns:
    """The turns of all runs.

    Args:
        slots: how many compute at the same time.
        clock: seconds.
    """

    def __init__(self, slots: int = 1, clock: Callable[[], float] = time.monotonic):
        self.slots, self.clock = slots, clock
        self.lock = threading.RLock()
        self.waiting = 0
        self._all = Flow()
        self._holding: list[Crew] = []
        self._came = 0
        self._process = os.getpid()

    @property
    def ours(self) -> Turns:
        """These turns, or in a process that was forked from theirs new ones: locks and runs of the other mean nothing there."""
        return self if self._process == os.getpid() else Turns(self.slots, self.clock)

    def ask(
        self,
        stop: Stop,
        visitor: Visitor | None = None,
        rest: float | None = None,
        joinable: Joinable | None = None,
    ) -> Turn:
        """Return a turn to wait for.

        Args:
            stop: set it to end the waiting.
            visitor: whose run it is; the one whose event is being handled unless given.
            rest: seconds that the run will compute; None if that is not known.
            joinable: with which others it can be computed; None for no others.
        """
        return Turn(self, VISITOR.get() if visitor is None else visitor, stop, rest, joinable)

    # ---- what a turn does ----

    def _join(self, turn: Turn) -> None:
        with self.lock:
            self._count()
            self._came += 1
            turn.number, turn.path = self._came, [self._all]
            for name in turn.visitor:
                above = turn.path[-1]
                flow = above.flows.setdefault(name, Flow())
                if not flow.number:
                    flow.tag, flow.fresh = max(above.time, flow.tag), True
                turn.path.append(flow)
            turn.path[-1].turns.append(turn)
            self._queue(turn)
            try:
                with turn.stop.waking(partial(self._wake, turn)):
                    self._grant()
                    while not (turn.holds and not turn.rode) and turn.here and not turn.stop.is_set():
                        turn.changed.wait()
                if turn.stop.is_set():
                    raise Stopped("Stopped." if turn.begun else "Stopped before it began.")
            except BaseException:
                self._end(turn)
                raise
            turn.begun = True

    def _wake(self, turn: Turn) -> None:
        with self.lock:
            turn.changed.notify()

    def _queue(self, *turns: Turn) -> None:
        """Let turns wait."""
        for turn in turns:
            turn.waits = True
        self.waiting += len(turns)

    def _call(self, *turns: Turn) -> None:
        """Let turns that wait compute."""
        for turn in turns:
            self.waiting -= turn.waits
            turn.waits = False
            for flow in turn.path:
                flow.fresh = False

    def _grant(self) -> None:
        """Let those compute that are next, as many as can."""
        while len(self._holding) < self.slots and (turn := self._all.next()) is not None:
            crew = turn.crew
            self._holding.append(crew)
            self._call(*crew.members)
            crew.holds = True
            crew.since = crew.quantum = self.clock()
            crew.first.changed.notify()

    def _take_along(self, turn: Turn, most: int) -> list[Turn]:
        with self.lock:
            self._count()
            own, crew = turn.joinable, turn.crew
            if own is None or not turn.here:
                return []
            room = most - own.samples
            for other in sorted(self._all.everybody(), key=lambda one: one.number):
                wanted = other.joinable is not None and other.joinable.kind == own.kind
                if wanted and other.waits and not other.begun and other.samples <= min(room, own.samples):
                    room -= other.samples
                    other.begun = other.rode = True
                    other.crew = crew
                    crew.members.append(other)
                    self._call(other)
            return crew.members[1:]

    def _pause(self, crew: Crew) -> float:
        """Wait until it is a crew's turn again.

        Raises:
            Stopped: all its members were stopped meanwhile.
        """
        with self.lock:
            first, before = crew.first, self.clock()
            self._count()
            self._holding.remove(crew)
            crew.holds = False
            self._queue(*crew.members)
            with first.stop.waking(partial(self._wake, first)):
                self._grant()
                while not crew.holds and crew.members:
                    if first.here and first.stop.is_set():
                        self._leave(first)
                    else:
                        first.changed.wait()
            if not crew.holds:
                raise Stopped("Stopped.")
            return self.clock() - before

    def _leave(self, turn: Turn) -> None:
        """Let a run leave. What its crew computes goes on."""
        with self.lock:
            if not turn.here:
                return
            self._count()
            self._call(turn)
            turn.crew.members.remove(turn)
            turn.path[-1].turns.remove(turn)
            for flow in reversed(turn.path[:-1]):
                flow.advance()
            turn.changed.notify()
            turn.crew.first.changed.notify()  # its crew may have lost the last member
            self._grant()

    def _end(self, turn: Turn) -> None:
        """Let a run leave, and where its thread computes, end that."""
        with self.lock:
            self._leave(turn)
            if turn.crew.first is turn and turn.crew.holds:
                for other in list(turn.crew.members):
                    self._leave(other)
                self._holding.remove(turn.crew)
                turn.crew.holds = False
                self._grant()

    def _count(self) -> None:
        """Count what those who compute have computed by now."""
        now = self.clock()
        for crew in self._holding:
            for turn in crew.members:
                for flow in turn.path[1:]:
                    flow.tag += (now - crew.since) * crew.share(turn)
            crew.since = now
            for turn in crew.members:
                for flow in turn.path[:-1]:
                    flow.advance()

    def _outlook(self, turn: Turn) -> Outlook:
        """Return what a run has before it, if those who are here share equally from now on and nobody comes."""
        with self.lock:
            if not turn.here:
                return Outlook()
            self._count()
            siblings = [other for other in turn.path[-1].turns if other is not turn]
            ahead = [other for other in siblings if other.rank < turn.rank]
            before = sum(other.holds or other.rank < turn.rank for other in siblings)
            seconds = sum(other.rest for other in ahead) + (turn.rest if turn.begun else 0.0)
            rest = turn.rest
            for above, own in reversed(list(zip(turn.path, turn.path[1:]))):
                mine = key_of(own.tag, rest)
                others = [flow for flow in above.here if flow is not own]
                before += sum(holds(flow) or key_of(flow.tag, shortest(flow)) < mine for flow in others)
                # until own has had `seconds`, each other has had as many, less what it is ahead, or all that it needs
                seconds += sum(min(flow.total(), max(0.0, own.tag + seconds - flow.tag)) for flow in others)
                rest = min(rest, shortest(own))
            if turn.begun:  # those who are computed together end together
                seconds = max(seconds, sum(other.rest for other in turn.crew.members))
            known = seconds if math.isfinite(seconds) else None
            return Outlook(0 if turn.begun else before, self._all.number - 1, known)
