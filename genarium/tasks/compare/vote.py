"""The blind vote between two pictures of one class, from two checkpoints or one of them real, shown without names."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from genarium.checkpoints import Checkpoint
from genarium.errors import InputError
from genarium.runtime.request import MAX_SEED, Request

REAL = "real"  # the name of the source that is no checkpoint
CHOICES = ("a", "b", "neither")


@dataclass(frozen=True)
class Ballot:
    """One pair of pictures.

    Args:
        a, b: their sources: names of checkpoints, of which one may be REAL.
        class_name: of both pictures; "" where one of the sources draws any class.
        seed: of the drawn ones.
    """

    a: str
    b: str
    class_name: str
    seed: int

    def request(self, checkpoint: Checkpoint) -> Request:
        """Return what a checkpoint of the pair is asked."""
        names = list(checkpoint.class_names)
        known = self.class_name in names and checkpoint.takes_classes("generate")
        labels = (names.index(self.class_name),) if known else None
        return Request(checkpoint.name, "generate", self.seed, 1, labels)


@dataclass(frozen=True)
class Tally:
    """The answers of one visitor.

    Args:
        wins: how often each source was preferred; "neither" gives each half a win.
        shown: how often each source was in a pair.
    """

    wins: Mapping[str, float] = field(default_factory=dict)
    shown: Mapping[str, int] = field(default_factory=dict)

    def counted(self, ballot: Ballot, choice: str) -> Tally:
        """Return the tally with one more answer.

        Args:
            choice: one of CHOICES.

        Raises:
            InputError: another choice.
        """
        if choice not in CHOICES:
            raise InputError(f"Choose a, b or neither, not {choice!r}.")
        share = {"a": (1.0, 0.0), "b": (0.0, 1.0), "neither": (0.5, 0.5)}[choice]
        wins, shown = dict(self.wins), dict(self.shown)
        for source, won in zip((ballot.a, ballot.b), share, strict=True):
            wins[source] = wins.get(source, 0.0) + won
            shown[source] = shown.get(source, 0) + 1
        return Tally(wins, shown)

    def shares(self) -> dict[str, float]:
        """Return the share of its pairs that each source won, from 0 to 1, the highest first."""
        shares = {source: self.wins[source] / number for source, number in self.shown.items()}
        return dict(sorted(shares.items(), key=lambda pair: -pair[1]))


def draw_ballot(checkpoints: Sequence[Checkpoint], real_classes: Sequence[str], chance: random.Random) -> Ballot:
    """Choose a pair at random: two sources, a class that each knows, and a seed.

    Each checkpoint comes as often. One that can be asked for a class meets such a one, or a real picture of that class. One that
    draws any class meets another such, if there is one.

    Args:
        checkpoints: that take part, all able to generate.
        real_classes: classes of which there are real pictures; none leaves real pictures out.
        chance: draws.

    Raises:
        InputError: fewer than two sources.
    """
    asked = [one for one in checkpoints if one.takes_classes("generate")]
    others = [one.name for one in checkpoints if one not in asked]
    common = sorted(set.intersection(*(set(one.class_names) for one in asked))) if asked else []
    class_name = chance.choice(common) if common else ""
    known = [one.name for one in asked] + [REAL] * (class_name in real_classes and bool(asked))
    kinds = [kind for kind in (known, others) if len(kind) > 1]
    if not kinds and len(known) + len(others) < 2:
        raise InputError("A vote needs two checkpoints. Choose one more.")
    sources = chance.choices(kinds, [len(kind) for kind in kinds])[0] if kinds else [*known, *others]
    a, b = chance.sample(sources, 2)
    both = sources is known and class_name
    return Ballot(a, b, class_name if both else "", chance.randrange(min(MAX_SEED, 2**31)))
