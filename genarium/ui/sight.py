"""An ASGI middleware that says when the first page has been sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class FirstSight:
    """Calls a function each time that the first page has been sent.

    Args:
        app: the ASGI app behind it.
        then: the function. It returns at once.
    """

    def __init__(self, app: Any, then: Callable[[], None]):
        self.app, self.then = app, then

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)
        if scope["type"] == "http" and scope["method"] == "GET" and scope["path"] == "/":
            self.then()
