"""Files that a caller gives by an address, as MCP clients do: fetched from the public network only, and never without end.

Gradio would fetch them as well, but whatever their size, and into the memory.
"""

from __future__ import annotations

import asyncio
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urljoin

import httpx
import safehttpx

from genarium.errors import InputError
from genarium.messages import quoted
from genarium.ui.files import keep
from genarium.ui.storage import MIB

MAX_BYTES = 64 * MIB  # as of an upload
SECONDS = 30.0  # for one file
REDIRECTS = 3
AT_ONCE = 4  # files that are being fetched
_fetching = 0  # changed in the server's event loop only


async def fetch_addresses(values: Any) -> None:
    """Fetch each file among the arguments of an event that is given by an address, and put its path in the place.

    Raises:
        InputError: it cannot be had, lies on a private network, or is too large.
    """
    for file in files_by_address(values):
        file["path"] = await _fetch(file["path"])


def files_by_address(values: Any) -> list[dict[str, Any]]:
    """Return those mappings among arguments whose path is an address (http, https)."""
    found, todo = [], [values]
    while todo:  # a stack of our own: nesting may be deep
        value = todo.pop()
        if isinstance(value, dict):
            path = value.get("path")
            if isinstance(path, str) and path.strip().lower().startswith(("http:", "https:")):
                found.append(value)
            todo += value.values()
        elif isinstance(value, (list, tuple)):
            todo += value
    return found


async def _fetch(address: str) -> str:
    """Return the path of a file that was fetched into Gradio's cache, and counts to the files of who asked for it."""
    global _fetching
    if _fetching >= AT_ONCE:
        raise InputError("Too many files are being fetched from addresses. Try again in a minute, or upload the file.")
    _fetching += 1
    try:
        async with asyncio.timeout(SECONDS):
            data = await _read(address.strip())
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as error:  # a TimeoutError is an OSError
        raise InputError(
            f"The file at {quoted(address)} cannot be fetched. Only public addresses are, of files that everybody may read, "
            f"within {SECONDS:g} s. Download and upload it."
        ) from error
    finally:
        _fetching -= 1
    return await asyncio.to_thread(keep, data, PurePosixPath(httpx.URL(address.strip()).path).name or "file")


async def _read(address: str) -> bytes:
    """Read what is at an address, following a few redirects, each of which must lead to a public address again."""
    for _ in range(REDIRECTS + 1):
        transport = safehttpx.AsyncSecureTransport(await _public(httpx.URL(address).host))
        async with (
            httpx.AsyncClient(transport=transport, headers={"accept-encoding": "identity"}) as client,
            client.stream("GET", address) as answer,
        ):
            if answer.has_redirect_location:
                address = urljoin(str(answer.url), answer.headers["location"])
                continue
            answer.raise_for_status()
            data = bytearray()
            async for chunk in answer.aiter_bytes():
                data += chunk
                if len(data) > MAX_BYTES:
                    raise InputError(f"The file at {quoted(address)} has more than {MAX_BYTES / MIB:g} MiB.")
            return bytes(data)
    raise httpx.TooManyRedirects("too many redirects")


async def _public(host: str) -> str:
    """Return a public IP address of a host; the request then goes to this one, whatever the name means a moment later.

    Raises:
        OSError: the name is unknown.
        ValueError: it has none.
    """
    for *_, place in await asyncio.get_running_loop().getaddrinfo(host, None):
        if safehttpx.is_public_ip(str(place[0])):
            return str(place[0])
    raise ValueError(f"{host} is not public")
