"""What the machine brings, checked: settings from environment variables, and installed packages."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Mapping

from genarium import imports
from genarium.errors import InputError

MAX_RUN = "GENARIUM_MAX_RUN_SECONDS"  # set by the operator: how long a run of a visitor may compute
SPACE_RUN_SECONDS = 300.0
KEEPING = "GENARIUM_KEEP_THRESHOLDS"  # set by the operator: visitors may keep thresholds with the app's checkpoints


def prepare() -> None:
    """Set what torch and Gradio read once, when they are imported; `import genarium` does this first of all.

    Threads of torch that wait for work sleep instead of spinning. Two programs at once would otherwise keep the cores busy
    with waiting. A variable that is set already stays as it is. After torch has been imported, it is too late for it.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    # Gradio keeps the last 10,000 events and summarises them all at the end of each, in pandas, for a page that this app does
    # not have. So it keeps one, and would summarise after so many events.
    os.environ.setdefault("GRADIO_ANALYTICS_MAX_EVENTS", "1")
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000000")
    imports.mend()


def gigabytes(variable: str, value: str | float) -> float:
    """Return a positive number of gigabytes.

    Raises:
        InputError: it is none.
    """
    return _positive(variable, value, "gigabytes such as 2.5")


def max_run_seconds() -> float | None:
    """Return how many seconds a run of a visitor may compute, as the operator says; None: as many as it takes.

    On a Space, where strangers share a small machine, five minutes unless the operator says something else. "no" sets no
    bound there.

    Raises:
        InputError: the variable is no number above 0.
    """
    value = os.environ.get(MAX_RUN, "").strip()
    if not value:
        return SPACE_RUN_SECONDS if os.environ.get("SPACE_ID") else None
    return None if value.lower() == "no" else _positive(MAX_RUN, value, 'seconds such as 300, or "no"')


def _positive(variable: str, value: str | float, what: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not (math.isfinite(number) and number > 0):
        raise InputError(f"{variable}: takes a number of {what}, not {value!r}.")
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


def is_allowed(variable: str) -> bool:
    """Return whether the operator allows something by an environment variable.

    Raises:
        InputError: the variable has a value that says neither yes nor no.
    """
    value = os.environ.get(variable, "0").strip().lower()
    if value not in ("", "0", "1", "false", "true", "no", "yes"):
        raise InputError(f"{variable}: say 1 or 0, not {value!r}.")
    return value in ("1", "true", "yes")


def check_environment() -> None:
    """Check the variables that Gradio reads when it is imported, where a wrong one is a traceback.

    Raises:
        InputError: a port, or a number of ports, that is none.
    """
    check_port("GRADIO_SERVER_PORT", os.environ.get("GRADIO_SERVER_PORT"))
    ports = os.environ.get("GRADIO_NUM_PORTS", "100")
    if not ports.isdecimal() or int(ports) < 1:
        raise InputError(f"GRADIO_NUM_PORTS: takes a whole number such as 100, not {ports!r}.")


def check_installed(work: str, packages: Mapping[str, str]) -> None:
    """Check that the packages are installed that a work needs late, before it begins.

    Args:
        work: what needs them, for the message: "Training".
        packages: name of a module -> name of the package that brings it.

    Raises:
        InputError: some are missing.
    """
    missing = [package for module, package in packages.items() if not _is_installed(module)]
    if missing:
        raise InputError(f"{work} needs {', '.join(missing)}: pip install -r requirements-dev.txt")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # its import was blocked
        return False
