"""How many data sets of the Hub a stranger may ask for: each costs the app a download."""

from __future__ import annotations

import threading
import time
from collections import deque

from genarium.tasks.train.shelf import Box, Refusal

AT_ONCE = 2  # of a client, that are on their way
AN_HOUR = 12  # of a client
OF_ALL = 60  # in an hour, whoever asks
HOUR = 3600.0


class Wishes:
    """The data sets that were asked for in the last hour."""

    def __init__(self) -> None:
        self._asked: deque[tuple[float, str, Box]] = deque()
        self._lock = threading.Lock()

    def check(self, client: str) -> None:
        """Refuse another data set if this client has asked for too many.

        Raises:
            Refusal: it has, or all clients together have.
        """
        with self._lock:
            while self._asked and time.monotonic() - self._asked[0][0] > HOUR:
                self._asked.popleft()
            own = [box for _, who, box in self._asked if who == client]
            if sum(box.state.get("state") in ("receiving", "looking") for box in own) >= AT_ONCE:
                raise Refusal("hub_busy")
            if len(own) >= AN_HOUR or len(self._asked) >= OF_ALL:
                raise Refusal("hub_often")

    def note(self, client: str, box: Box) -> None:
        """Remember a data set that was asked for, and the set that it becomes."""
        with self._lock:
            self._asked.append((time.monotonic(), client, box))
