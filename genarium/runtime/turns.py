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
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import NamedTuple

from genarium.errors import Stopped

QUANTUM = 0.05  # seconds: a run computes at least so long before another goes on, because each switch empties caches
GRAIN = 1.0  # seconds: a run that needs less is short, and not interrupted by long ones


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


@dataclass(eq=False)
class _Flow:
    """An address, a page of it, or the whole: what has a tag, and shares with its siblings.

    Args:
        tag: seconds that its runs have computed, beside what it missed while it was away.
        time: the virtual time among its own flows.
        flows: of the next level, by name: those that are here, and those whose tag is still ahead of the time.
        turns: here, of the last level.
        fresh: whether none of them has computed since it came.
    """

    tag: float = 0.0
    time: float = 0.0
    flows: dict[str, _Flow] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    fresh: bool = True

    @property
    def here(self) -> list[_Flow]:
        """The flows of the next level with a run that computes or waits."""
        return [flow for flow in self.flows.values() if flow.number]

    @property
    def number(self) -> int:
        """How many runs compute or wait."""
        return len(self.turns) + sum(flow.number for flow in self.flows.values())

    def next(self) -> Turn | None:
        """Return whose turn it is of those that wait; None if nobody waits."""
        waiting = [turn for turn in self.turns if turn.waits]
        if waiting:
            return min(waiting, key=lambda turn: turn.rank)
        found = [(flow, turn) for flow in self.flows.values() if (turn := flow.next()) is not None]
        first = min(found, key=lambda one: (_key(one[0].tag, one[1].rest), not one[0].fresh, one[1].rank), default=None)
        return None if first is None else first[1]

    def total(self) -> float:
        """Return the seconds that all its runs still need; infinity where one is not known."""
        return sum(turn.rest for turn in self.turns) + sum(flow.total() for flow in self.flows.values())

    def advance(self) -> None:
        """Bring the virtual time up to the flows that are here, and forget those that are no longer ahead of it."""
        if here := self.here:
            self.time = max(self.time, min(flow.tag for flow in here))
        else:  # idle: nobody is owed anything
            self.time = max([self.time, *(flow.tag for flow in self.flows.values())])
        for name, flow in list(self.flows.items()):
            if not flow.number and flow.tag <= self.time:
                del self.flows[name]


def _key(tag: float, rest: float) -> float:
    return tag + min(rest, GRAIN)


class Turn:
    """One run's part in the `Turns`, a context manager: the block runs while it is its turn.

    Args:
        turns: which it takes part in.
        visitor: whose run it is.
        stop: ends the waiting.
        rest: seconds that the run will compute; None if that is not known.

    Raises:
        Stopped: at the beginning of the block, and from `pause`, if `stop` is set while it waits.
    """

    def __init__(self, turns: Turns, visitor: Visitor, stop: Stop, rest: float | None):
        self.turns, self.visitor, self.stop = turns, visitor, stop
        self.rest = math.inf if rest is None else rest
        self.later = 0.0  # seconds of computing after what `pause` is told of
        self.number = 0  # in the order of coming
        self.waits = self.holds = self.begun = False
        self.since = self.quantum = 0.0  # when it was last counted, and when this quantum began
        self.changed = threading.Condition(turns.lock)
        self.path: list[_Flow] = []  # from the whole to the page, while it takes part

    @property
    def rank(self) -> tuple[float, int]:
        """Its place among the runs of its page."""
        return self.rest, self.number

    def __enter__(self) -> Turn:
        self.turns._join(self)
        return self

    def __exit__(self, *_: object) -> None:
        self.turns._leave(self)

    def pause(self, rest: float | None = None) -> float:
        """Let others compute first, if one of them is due; return the seconds that this run has waited.

        Args:
            rest: seconds that the run still needs, as far as known now.
        """
        self.rest = math.inf if rest is None else rest + self.later
        if not self.turns.waiting or self.turns.clock() - self.quantum < QUANTUM:
            return 0.0
        return self.turns._pause(self)

    def skip(self) -> None:
        """Count nothing of what was done since the turn began: the weights that were loaded are there for everybody."""
        with self.turns.lock:
            self.since = self.quantum = self.turns.clock()

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
        self._all = _Flow()
        self._holding: list[Turn] = []
        self._came = 0
        self._process = os.getpid()

    @property
    def ours(self) -> Turns:
        """These turns, or in a process that was forked from theirs new ones: locks and runs of the other mean nothing there."""
        return self if self._process == os.getpid() else Turns(self.slots, self.clock)

    def ask(self, stop: Stop, visitor: Visitor | None = None, rest: float | None = None) -> Turn:
        """Return a turn to wait for.

        Args:
            stop: set it to end the waiting.
            visitor: whose run it is; the one whose event is being handled unless given.
            rest: seconds that the run will compute; None if that is not known.
        """
        return Turn(self, VISITOR.get() if visitor is None else visitor, stop, rest)

    # ---- what a turn does ----

    def _join(self, turn: Turn) -> None:
        with self.lock:
            self._count()
            self._came += 1
            turn.number, turn.path = self._came, [self._all]
            for name in turn.visitor:
                above = turn.path[-1]
                flow = above.flows.setdefault(name, _Flow())
                if not flow.number:
                    flow.tag, flow.fresh = max(above.time, flow.tag), True
                turn.path.append(flow)
            turn.path[-1].turns.append(turn)
            try:
                self._wait(turn)
            except BaseException:
                self._leave(turn)
                raise
            turn.begun = True

    def _wait(self, turn: Turn) -> None:
        """Wait until it is this one's turn. The lock is held, and given back while waiting."""

        def wake() -> None:
            with self.lock:
                turn.changed.notify()

        turn.waits = True
        self.waiting += 1
        with turn.stop.waking(wake):
            self._grant()
            while turn.waits and not turn.stop.is_set():
                turn.changed.wait()
        if turn.stop.is_set():
            raise Stopped("Stopped." if turn.begun else "Stopped before it began.")

    def _grant(self) -> None:
        """Let those compute that are next, as many as can."""
        while len(self._holding) < self.slots and (turn := self._all.next()) is not None:
            self._holding.append(turn)
            self.waiting -= 1
            turn.waits, turn.holds = False, True
            turn.since = turn.quantum = self.clock()
            for flow in turn.path:
                flow.fresh = False
            turn.changed.notify()

    def _pause(self, turn: Turn) -> float:
        with self.lock:
            before = self.clock()
            self._count()
            self._holding.remove(turn)
            turn.holds = False
            self._wait(turn)
            return self.clock() - before

    def _leave(self, turn: Turn) -> None:
        with self.lock:
            self._count()
            if turn.holds:
                self._holding.remove(turn)
            self.waiting -= turn.waits
            turn.waits = turn.holds = False
            turn.path[-1].turns.remove(turn)
            for flow in reversed(turn.path[:-1]):
                flow.advance()
            self._grant()

    def _count(self) -> None:
        """Count what those who compute have computed by now."""
        now = self.clock()
        for turn in self._holding:
            for flow in turn.path[1:]:
                flow.tag += now - turn.since
            turn.since = now
            for flow in turn.path[:-1]:
                flow.advance()

    def _outlook(self, turn: Turn) -> Outlook:
        """Return what a run has before it, if those who are here share equally from now on and nobody comes."""
        with self.lock:
            if not turn.path or turn not in turn.path[-1].turns:
                return Outlook()
            self._count()
            siblings = [other for other in turn.path[-1].turns if other is not turn]
            ahead = [other for other in siblings if other.rank < turn.rank]
            before = sum(other.holds or other.rank < turn.rank for other in siblings)
            seconds = sum(other.rest for other in ahead) + (turn.rest if turn.begun else 0.0)
            rest = turn.rest
            for above, own in reversed(list(zip(turn.path, turn.path[1:]))):
                mine = _key(own.tag, rest)
                others = [flow for flow in above.here if flow is not own]
                before += sum(_holds(flow) or _key(flow.tag, _shortest(flow)) < mine for flow in others)
                # until own has had `seconds`, each other has had as many, less what it is ahead, or all that it needs
                seconds += sum(min(flow.total(), max(0.0, own.tag + seconds - flow.tag)) for flow in others)
                rest = min(rest, _shortest(own))
            known = seconds if math.isfinite(seconds) else None
            return Outlook(0 if turn.begun else before, self._all.number - 1, known)


def _shortest(flow: _Flow) -> float:
    return min([turn.rest for turn in flow.turns] + [_shortest(one) for one in flow.here], default=math.inf)


def _holds(flow: _Flow) -> bool:
    return any(turn.holds for turn in flow.turns) or any(_holds(one) for one in flow.here)
