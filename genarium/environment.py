"""Settings from environment variables, checked: what cannot be understood is said in a sentence, by the variable's name."""

from __future__ import annotations

import math
import os

from genarium.errors import InputError


def gigabytes(variable: str, value: str | float) -> float:
    """Return a positive number of gigabytes.

    Raises:
        InputError: it is none.
    """
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"{variable}: takes a number of gigabytes such as 2.5, not {value!r}.")
    return number


def check_port(name: str, value: str | int | None) -> int | None:
    """Return a port to listen on; None leaves the choice.

    Raises:
        InputError: no whole number from 0 to 65535.
    """
    if value is None or value == "":
        return None
    try:
        port = int(value)
    except ValueError:
        port = -1
    if not 0 <= port <= 65535:
        raise InputError(f"{name}: takes a port from 0 to 65535, such as 7860, not {value!r}.")
    return port


def check_environment() -> None:
    """Check the variables that Gradio reads when it is imported, where a wrong one is a traceback.

    Raises:
        InputError: a port, or a number of ports, that is none.
    """
    check_port("GRADIO_SERVER_PORT", os.environ.get("GRADIO_SERVER_PORT"))
    ports = os.environ.get("GRADIO_NUM_PORTS", "100")
    if not ports.isdecimal() or int(ports) < 1:
        raise InputError(f"GRADIO_NUM_PORTS: takes a whole number such as 100, not {ports!r}.")
