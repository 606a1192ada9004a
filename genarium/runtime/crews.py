"""A run's part in the turns, and crews: runs that compute together. The rules are described in turns.py."""

from __future__ import annotations

import math
import threading
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from genarium.runtime.flows import Flow
from genarium.runtime.visitors import Stop, Visitor

if TYPE_CHECKING:
    from genarium.runtime.turns import Outlook, Turns


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

    @property
    def rest(self) -> float:
        """The seconds that all members together still need."""
        return sum(turn.rest for turn in self.members)

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
        self.later = 0.0  # seconds of computing after what `pause` is given
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
        return self.crew.rest, self.number

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

        Each ends its waiting with `rode` set when its `leave` is called, or when it is stopped.

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
        return self.turns._pause(crew)

    def skip(self) -> None:
        """Count nothing of what was done since the turn began: the weights that were loaded are there for everybody."""
        with self.turns.lock:
            self.crew.since = self.crew.quantum = self.turns.clock()

    def outlook(self) -> Outlook:
        """Return what the run has before it."""
        return self.turns._outlook(self)
