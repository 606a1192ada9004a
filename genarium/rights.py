"""Who may train in the browser, and how much: by default a local user, and nobody where strangers come."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from genarium.data.own.entries import MIB, Limits
from genarium.errors import InputError

VARIABLE = "GENARIUM_ALLOW_TRAINING"
LOCAL = "local"  # its value where the app serves this machine only
LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")


@dataclass(frozen=True)
class Rights:
    """What a visitor may do.

    Args:
        allowed: whether anybody may train at all.
        local: whether visitors are the people of this machine, who may name its folders.
        minutes: of one training.
        pictures: of one set.
        megabytes: of one set.
        runs: trainings of one visitor that wait, run or are kept.
        hours: after which a visitor's pictures and trainings are deleted, since they were last used; 0: never.
        memory: gigabytes of one training.
    """

    allowed: bool = False
    local: bool = False
    minutes: float = 10
    pictures: int = 2000
    megabytes: int = 200
    runs: int = 3
    hours: float = 24
    memory: float = 4

    @property
    def limits(self) -> Limits:
        """How much may be brought at once."""
        if self.local:
            return Limits()
        most = self.megabytes * MIB
        return Limits(self.pictures, most, min(most, 32 * MIB), 4000, 4 * self.pictures, 60, 100)


OF_LOCAL = Rights(
    allowed=True, local=True, minutes=24 * 60, pictures=50_000, megabytes=8192, runs=50, hours=0, memory=16
)
QUOTAS = ("minutes", "pictures", "megabytes", "runs", "hours", "memory")


def rights() -> Rights:
    """Return what visitors of this app may do, as the environment says.

    Raises:
        InputError: the variable cannot be understood.
    """
    value = os.environ.get(VARIABLE, "").strip()
    if value in ("", "0", "no"):
        return Rights()
    return OF_LOCAL if value == LOCAL else parse(value)


def parse(text: str) -> Rights:
    """Return the rights of "--allow-training", such as "yes" or "minutes=5,runs=1".

    Raises:
        InputError: an unknown quota, or one that is no number above 0.
    """
    found = Rights(allowed=True)
    for part in () if text in ("1", "yes") else text.split(","):
        name, _, value = part.partition("=")
        try:
            number = float(value)
            if name.strip() not in QUOTAS or not 0 < number < 1e6:
                raise ValueError
        except ValueError as error:
            raise InputError(
                f"--allow-training {part!r}: give quotas as minutes=10,pictures=2000; they are {', '.join(QUOTAS)}."
            ) from error
        kind = type(getattr(found, name.strip()))
        found = replace(found, **{name.strip(): kind(number)})
    return found


def value_for(asked: str | None, host: str | None, share: bool) -> str | None:
    """Return the variable's value for how the app is started; None leaves it as it is.

    Args:
        asked: what --allow-training says, or None.
        host: to listen on, or None.
        share: whether there is a public address too.

    Raises:
        InputError: the quotas cannot be understood.
    """
    if asked is not None:
        parse(asked)
        return asked
    if VARIABLE in os.environ:
        rights()
        return None
    listens = host or os.environ.get("GRADIO_SERVER_NAME", "")
    public = (
        share
        or (listens and listens not in LOCAL_HOSTS)
        or os.environ.get("SPACE_ID")
        or os.environ.get("GRADIO_SHARE") == "True"
    )
    return "" if public else LOCAL


def is_near(headers: Mapping[str, str]) -> bool:
    """Return whether a page was asked for by a browser of this machine, and not through a proxy that listens for others.

    The name by which the browser called the app shows it: a proxy, and a hostile page whose name leads to this machine, call it
    by another name.
    """
    name = urlsplit(f"//{headers.get('host', '')}").hostname or ""
    passed_on = any(key.lower().startswith(("x-forwarded", "forwarded", "x-real-ip")) for key in headers)
    return name in LOCAL_HOSTS and not passed_on
