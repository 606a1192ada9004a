"""Quotations of values that strangers sent, for messages: short, and of characters that can always be printed."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from typing import Any

MAX_QUOTED = 100  # characters of a value in a message
MAX_MESSAGE = 4000  # characters of a whole message


class _Short(reprlib.Repr):
    """The representation of a value, of which no more is read than is written."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = MAX_QUOTED - 10
        self.maxlevel = 3

    def repr_int(self, x: int, level: int) -> str:
        """Write a whole number, or how long it is. Python refuses to write more than 4,300 digits."""
        digits = int(x.bit_length() * 0.30103) + 1
        return repr(x) if digits <= 40 else f"a number of {digits} digits"


_SHORT = _Short()


def quoted(value: Any) -> str:
    """Return how a value is written in Python, cut after `MAX_QUOTED` characters."""
    return shortened(_SHORT.repr(value), MAX_QUOTED)


def listed(names: Iterable[str]) -> str:
    """Return names with commas between them, cut after `MAX_QUOTED` characters."""
    text, separator = "", ""
    for name in names:
        text += separator + name[: MAX_QUOTED + 1]
        separator = ", "
        if len(text) > MAX_QUOTED:
            break
    return printable(shortened(text, MAX_QUOTED))


def printable(text: str) -> str:
    """Return a text without halves of UTF-16 pairs, which can be neither printed nor sent, and of a bounded length."""
    return shortened(text, MAX_MESSAGE).encode("utf-8", "backslashreplace").decode()


def shortened(text: str, length: int) -> str:
    """Return a text of at most so many characters; dots stand for what is cut off."""
    return text if len(text) <= length else text[: length - 3] + "..."
