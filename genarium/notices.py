"""What the user should know though the work goes on: notes, and files that could not be used.

Both go to the logger "genarium", which prints to the standard error. A command that has skipped a file ends with exit code 1.
"""

from __future__ import annotations

import logging

LOGGER = logging.getLogger("genarium")
_failures: list[str] = []


def note(text: str) -> None:
    """Report a sentence about how something was understood."""
    LOGGER.warning(text)


def fail(name: str, reason: str) -> None:
    """Report a file that is left out while the others are used."""
    _failures.append(name)
    LOGGER.warning("%s is left out: %s", name, reason)


def take_failures() -> list[str]:
    """Return the names of the files that were left out, and forget them."""
    names = list(_failures)
    _failures.clear()
    return names
