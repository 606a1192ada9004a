"""Flows: whose runs want to compute, how much each has had, and who of them is next. The rule is described in turns.py."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genarium.runtime.crews import Turn

GRAIN = 1.0  # seconds: a run that needs less is short, and not interrupted by long ones


@dataclass(eq=False)
class Flow:
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
    flows: dict[str, Flow] = field(default_factory=dict)
    turns: list[Turn] = field(default_factory=list)
    fresh: bool = True

    @property
    def here(self) -> list[Flow]:
        """The flows of the next level with a run that computes or waits."""
        return [flow for flow in self.flows.values() if flow.number]

    @property
    def number(self) -> int:
        """How many runs compute or wait."""
        return len(self.turns) + sum(flow.number for flow in self.flows.values())

    def everybody(self) -> list[Turn]:
        """Return all turns that compute or wait."""
        return self.turns + [turn for flow in self.flows.values() for turn in flow.everybody()]

    def next(self) -> Turn | None:
        """Return whose turn it is of those that wait; None if nobody waits."""
        waiting = [turn for turn in self.turns if turn.waits and turn.leads]
        if waiting:
            return min(waiting, key=lambda turn: turn.rank)
        found = [(flow, turn) for flow in self.flows.values() if (turn := flow.next()) is not None]
        first = min(
            found, key=lambda one: (key_of(one[0].tag, one[1].crew.rest), not one[0].fresh, one[1].rank), default=None
        )
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


def key_of(tag: float, rest: float) -> float:
    return tag + min(rest, GRAIN)


def shortest(flow: Flow) -> float:
    return min([turn.crew.rest for turn in flow.turns] + [shortest(one) for one in flow.here], default=math.inf)


def holds(flow: Flow) -> bool:
    return any(turn.holds for turn in flow.turns) or any(holds(one) for one in flow.here)
