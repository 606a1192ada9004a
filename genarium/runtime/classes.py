"""Classes as people name them, by name or by number, into the labels of a checkpoint."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from genarium.errors import InputError


def labels_of(choices: Iterable[Any], names: Sequence[str]) -> list[int]:
    """Return the labels of classes that a person or a program chose.

    Args:
        choices: whole numbers, which are labels; and strings: a name, several with commas between them, or a number where no
            class has such a name. A name may hold commas itself: the longest that fits is taken, also where somebody has cut
            the list at every comma.
        names: of the classes in the order of their labels. What is written exactly like a name means that one; otherwise
            upper and lower case are the same, unless several names differ by nothing else.

    Raises:
        InputError: no such class, or several that differ in case alone.
    """
    pieces: list[str | int] = []
    for choice in choices:
        if isinstance(choice, str):
            pieces += [piece for part in choice.split(",") if (piece := " ".join(part.split()))]
        elif isinstance(choice, (int, float)) and not isinstance(choice, bool) and float(choice).is_integer():
            pieces.append(int(choice))
        else:
            raise InputError(f"No class {choice!r}; {_known(names)}.")
    labels, start = [], 0
    while start < len(pieces):
        label, start = _next_label(pieces, start, names)
        labels.append(label)
    return labels


def _next_label(pieces: Sequence[str | int], start: int, names: Sequence[str]) -> tuple[int, int]:
    """Return the label of the class whose name begins at a piece, and where the next begins."""
    first = pieces[start]
    if isinstance(first, int):
        return _numbered(first, names), start + 1
    stop = next((i for i in range(start, len(pieces)) if isinstance(pieces[i], int)), len(pieces))
    most = max((_normal(name).count(",") + 1 for name in names), default=1)
    ends = range(min(stop, start + most), start, -1)
    for same in (str, str.casefold):
        for end in ends:
            text = ", ".join(pieces[start:end])  # type: ignore[arg-type]
            found = [label for label, name in enumerate(names) if same(_normal(name)) == same(text)]
            if len(found) > 1:
                alike = ", ".join(f"{label} {names[label]}" for label in found)
                raise InputError(
                    f"Several classes are called {text!r}: {alike}. Write the name exactly, or its number."
                )
            if found:
                return found[0], end
    if first.isdecimal():
        return _numbered(int(first), names), start + 1
    raise InputError(f"No class {first!r}; {_known(names)}.")


def _numbered(number: int, names: Sequence[str]) -> int:
    if not 0 <= number < len(names):
        raise InputError(f"No class {number}; {_known(names)}.")
    return number


def _normal(name: str) -> str:
    return ", ".join(" ".join(part.split()) for part in name.split(","))


def _known(names: Sequence[str]) -> str:
    return "there are " + ", ".join(f"{label} {name}" for label, name in enumerate(names))
