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
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from genarium.errors import Stopped
from genarium.runtime.crews import Crew, Joinable, Turn
from genarium.runtime.flows import Flow, holds, key_of, shortest
from genarium.runtime.visitors import VISITOR, Stop, Visitor

QUANTUM = 0.05  # seconds: a run computes at least so long before another goes on, because each switch empties caches


@dataclass(frozen=True)
class Outlook:
    """What a run has before it.

    Args:
        before: runs that compute before it begins; 0 once it has begun.
        others: all other runs that compute or wait, but for those that are computed with it.
        seconds: until it begins, or once it has begun until it ends; None where a run's length is not known.
        together: runs of others that are computed with it, in one batch.
    """

    before: int = 0
    others: int = 0
    seconds: float | None = None
    together: int = 0


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
        """Wait until it is a crew's turn again, if somebody else is due; return the seconds that it has waited.

        Raises:
            Stopped: all its members were stopped meanwhile.
        """
        if not self.waiting or self.clock() - crew.quantum < QUANTUM:
            return 0.0
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
            rest = turn.crew.rest
            for above, own in reversed(list(zip(turn.path, turn.path[1:]))):
                mine = key_of(own.tag, rest)
                others = [flow for flow in above.here if flow is not own]
                before += sum(holds(flow) or key_of(flow.tag, shortest(flow)) < mine for flow in others)
                # until own has had `seconds`, each other has had as many, less what it is ahead, or all that it needs
                seconds += sum(min(flow.total(), max(0.0, own.tag + seconds - flow.tag)) for flow in others)
                rest = min(rest, shortest(own))
            if turn.begun:  # those who are computed together end together
                seconds = max(seconds, turn.crew.rest)
            known = seconds if math.isfinite(seconds) else None
            together = len(turn.crew.members) - 1
            return Outlook(0 if turn.begun else before, self._all.number - 1 - together, known, together)
