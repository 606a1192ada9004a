"""Classes as people name them, by name or by number, into the labels of a checkpoint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from genarium.errors import InputError
from genarium.messages import quoted

MAX_CHOICES = 10_000
SAME: tuple[Callable[[str], str], ...] = (str, str.casefold)  # how names are compared, the strictest first
MAX_TEXT = 1_000_000  # characters of all choices together


def labels_of(choices: Iterable[Any], names: Sequence[str]) -> list[int]:
    """Return the labels of classes that a person or a program chose.

    Args:
        choices: whole numbers, which are labels; and strings: a name, several with commas between them, or a number where no
            class has such a name. A name may hold commas itself: the longest that fits is taken, also where somebody has cut
            the list at every comma.
        names: of the classes in the order of their labels. What is written exactly like a name means that one; otherwise
            upper and lower case are the same, unless several names differ by nothing else.

    Raises:
        InputError: no such class, several that differ in case alone, or more than `MAX_CHOICES`.
    """
    choices = list(choices)
    if len(choices) > MAX_CHOICES or sum(len(choice) for choice in choices if isinstance(choice, str)) > MAX_TEXT:
        raise InputError(f"There are too many classes; at most {MAX_CHOICES} are taken.")
    pieces: list[str | int] = []
    for choice in choices:
        if isinstance(choice, str):
            pieces += [piece for part in choice.split(",") if (piece := " ".join(part.split()))]
        elif _is_whole(choice):
            pieces.append(int(choice))
        else:
            raise InputError(f"No class {quoted(choice)}; {_known(names)}.")
    if len(pieces) > MAX_CHOICES:
        raise InputError(f"There are {len(pieces)} classes; at most {MAX_CHOICES} are taken.")
    labels, start = [], 0
    known = _Names(names)
    while start < len(pieces):
        label, start = _next_label(pieces, start, known)
        labels.append(label)
    return labels


def _is_whole(value: Any) -> bool:
    return not isinstance(value, bool) and (isinstance(value, int) or (isinstance(value, float) and value.is_integer()))


class _Names:
    """The names of classes, to look them up by: as they are written, and with upper and lower case alike."""

    def __init__(self, names: Sequence[str]):
        self.names = names
        normal = [_normal(name) for name in names]
        self.most = max((name.count(",") + 1 for name in normal), default=1)  # pieces of a name
        self.labels: list[dict[str, list[int]]] = []
        for same in SAME:
            found: dict[str, list[int]] = defaultdict(list)
            for label, name in enumerate(normal):
                found[same(name)].append(label)
            self.labels.append(found)


def _next_label(pieces: Sequence[str | int], start: int, known: _Names) -> tuple[int, int]:
    """Return the label of the class whose name begins at a piece, and where the next begins."""
    first, names = pieces[start], known.names
    if isinstance(first, int):
        return _numbered(first, names), start + 1
    last = min(start + known.most, len(pieces))
    stop = next((i for i in range(start, last) if isinstance(pieces[i], int)), last)
    ends = range(stop, start, -1)
    for same, by_name in zip(SAME, known.labels):
        for end in ends:
            text = ", ".join(pieces[start:end])  # type: ignore[arg-type]
            found = by_name.get(same(text), [])
            if len(found) > 1:
                alike = ", ".join(f"{label} {names[label]}" for label in found)
                raise InputError(
                    f"Several classes are called {quoted(text)}: {alike}. Write the name exactly, or its number."
                )
            if found:
                return found[0], end
    if first.isdecimal() and len(first) < 20:  # Python reads no number of thousands of digits
        return _numbered(int(first), names), start + 1
    raise InputError(f"No class {quoted(first)}; {_known(names)}.")


def _numbered(number: int, names: Sequence[str]) -> int:
    if not 0 <= number < len(names):
        raise InputError(f"No class {quoted(number)}; {_known(names)}.")
    return number


def _normal(name: str) -> str:
    return ", ".join(" ".join(part.split()) for part in name.split(","))


def _known(names: Sequence[str]) -> str:
    return "there are " + ", ".join(f"{label} {name}" for label, name in enumerate(names))


def shortest_cycle(labels: tuple[int, ...]) -> list[int]:
    """Return the shortest list whose repetition gives these labels.

    That is what stands before the longest border, found in linear time (Knuth, Morris & Pratt 1977, section 4).
    """
    borders = [0]  # of labels[: i + 1]: the length of its longest beginning that is also its end
    for label in labels[1:]:
        length = borders[-1]
        while length and label != labels[length]:
            length = borders[length - 1]
        borders.append(length + (label == labels[length]))
    return list(labels[: len(labels) - borders[-1]])
