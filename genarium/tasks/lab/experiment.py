"""All that a visitor has set on the Lab's page: the data, one or two families beside each other, and a lesson. And its link."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.errors import InputError
from genarium.messages import listed, quoted
from genarium.tasks.lab.data import DRAWN, parse_points
from genarium.tasks.lab.frame import SIDE
from genarium.tasks.lab.question import Question

MAX_POINTS = 800  # of a visitor's own data: as many as fit into a link
MAX_LINK = 6000  # characters
SHARED = ("data", "seed", "speed")  # by the sides
OWN = ("family", "settings", "view", "options")  # of a side
STEPS = 4096  # to which a coordinate of a packed point is rounded: 12 bits


@dataclass(frozen=True)
class Experiment:
    """What a visitor has set.

    Args:
        sides: one question, or two with the same data, seed and speed.
        points: of drawn data, as `pack_points` packs them; "" if the data are not drawn.
        lesson: name of the lesson that is open, or "".
        step: of the lesson, from 0.
    """

    sides: tuple[Question, ...]
    points: str = ""
    lesson: str = ""
    step: int = 0

    @staticmethod
    def of(given: Any) -> Experiment:
        """Return the experiment that a page sent.

        Args:
            given: {"data", "seed", "speed", "sides": [{"family", "settings", "view", "options"}, ...], "points", "lesson", "step"};
                what is missing has its default.

        Raises:
            InputError: something in it is of another kind, unknown, or out of range.
        """
        if not isinstance(given, Mapping):
            raise InputError(f"An experiment is an object, not {quoted(given)}.")
        known = {*SHARED, "sides", "points", "lesson", "step"}
        if unknown := [str(name) for name in given if name not in known]:
            raise InputError(f"An experiment has {', '.join(sorted(known))}; there is no {listed(unknown)}.")
        sides = given.get("sides", [{}])
        if not isinstance(sides, (list, tuple)) or not 1 <= len(sides) <= 2:
            raise InputError("An experiment has one side or two.")
        shared = {name: given[name] for name in SHARED if name in given}
        questions = []
        for side in sides:
            if not isinstance(side, Mapping) or not set(side) <= set(OWN):
                raise InputError(f"A side has {', '.join(OWN)}, not {quoted(side)}.")
            questions.append(Question.of({**shared, **side}))
        points, lesson, step = given.get("points", ""), given.get("lesson", ""), given.get("step", 0)
        if not isinstance(points, str) or not isinstance(lesson, str):
            raise InputError("points and lesson are texts.")
        if isinstance(step, bool) or not isinstance(step, int):
            raise InputError(f"step: takes a whole number, not {quoted(step)}.")
        if points:
            unpack_points(points)
        return Experiment(tuple(questions), points, lesson, step)

    @staticmethod
    def of_query(parts: Mapping[str, str]) -> Experiment:
        """Return the experiment of a link: the page's script writes the same names. Those of the second side end in "2".

        Raises:
            InputError: the link is too long, or its parts are those of no experiment.
        """
        if sum(map(len, parts.values())) > MAX_LINK:
            raise InputError(f"This link is longer than {MAX_LINK} characters; copy it again from the page.")
        given: dict[str, Any] = {}
        sides: list[dict[str, Any]] = [{}, {}]
        for name, text in parts.items():
            if name in ("seed", "speed", "step"):
                given[name] = _read(name, text)
            elif (own := name.removesuffix("2")) in OWN:
                sides[name != own][own] = text if own in ("family", "view") else _read(name, text)
            else:
                given[name] = text
        return Experiment.of({**given, "sides": sides if "family" in sides[1] else sides[:1]})

    def to_dict(self) -> dict[str, Any]:
        """Return the dictionary that `of` reads."""
        each = [question.to_json() for question in self.sides]
        return {
            **{name: each[0][name] for name in SHARED},
            "sides": [{name: one[name] for name in OWN} for one in each],
            "points": self.points,
            "lesson": self.lesson,
            "step": self.step,
        }

    def own_points(self) -> np.ndarray | None:
        """Return the visitor's own points, float32 [N, 2]; None if the data are none of theirs.

        Raises:
            InputError: they are too few.
        """
        if self.sides[0].data != DRAWN:
            return None
        return parse_points(unpack_points(self.points))


def _read(name: str, text: str) -> Any:
    """Return the value of a part of a link."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"The link says {name}={quoted(text)}, which cannot be read.") from None


def pack_points(points: np.ndarray) -> str:
    """Pack points for a link: 12 bits for x and 12 for y, which are four characters of base64 for URLs.

    Args:
        points: [N, 2] in the square; of more than MAX_POINTS an even choice is taken.
    """
    if len(points) > MAX_POINTS:
        points = points[np.linspace(0, len(points) - 1, MAX_POINTS).round().astype(int)]
    places = ((points + SIDE) / (2 * SIDE) * STEPS).round().clip(0, STEPS - 1).astype(int)
    whole = places[:, 0] * STEPS + places[:, 1]
    three = np.stack([whole >> 16, whole >> 8 & 255, whole & 255], 1).astype(np.uint8)
    return base64.urlsafe_b64encode(three.tobytes()).decode("ascii")


def unpack_points(text: str) -> np.ndarray:
    """Return the points that `pack_points` packed, float32 [N, 2].

    Raises:
        InputError: the text is none of its, or there are too many.
    """
    if len(text) > 4 * MAX_POINTS:
        raise InputError(f"At most {MAX_POINTS} points of your own are taken.")
    try:
        data = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        data = b"?"
    if len(data) % 3:
        raise InputError("The points cannot be read; draw them again.")
    three = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(int)
    whole = (three[:, 0] << 16) + (three[:, 1] << 8) + three[:, 2]
    return (np.stack([whole // STEPS, whole % STEPS], 1) / STEPS * 2 * SIDE - SIDE).astype(np.float32)
