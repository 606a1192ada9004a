"""What the Explore page asks of models: maps, sheets and codes, each computed once where that will do."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import PIL.Image

from genarium.checkpoints import Checkpoint
from genarium.errors import FileError
from genarium.runtime import Runtime
from genarium.tasks.explore import codes as coding
from genarium.tasks.explore.directions import Directions, directions_of
from genarium.tasks.explore.drawing import tight
from genarium.tasks.explore.mapping import FILE, CodeMap

KEPT = 64  # maps and sheets in memory
MANIFOLD = 16  # pictures on a side

EXPLORERS: weakref.WeakKeyDictionary[Runtime, Explorer] = weakref.WeakKeyDictionary()


class Explorer:
    """Asks the checkpoints of one runtime.

    Args:
        runtime: loads and runs them.
    """

    def __init__(self, runtime: Runtime):
        self._runtime = weakref.ref(runtime)
        self._kept: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    @classmethod
    def of(cls, runtime: Runtime) -> Explorer:
        """Return the explorer of a runtime, the same each time."""
        return EXPLORERS.setdefault(runtime, cls(runtime))

    @property
    def runtime(self) -> Runtime:
        runtime = self._runtime()
        assert runtime is not None
        return runtime

    def checkpoint(self, name: str) -> Checkpoint:
        return self.runtime.checkpoint(name)

    def map_of(self, name: str) -> CodeMap | None:
        """Return the stored map of a checkpoint; None if there is none that can be read."""
        path = self.checkpoint(name).folder / FILE
        if not path.is_file():
            return None
        try:
            return self._once(("map", str(path), path.stat().st_mtime_ns), lambda: CodeMap.load(path))
        except (FileError, OSError):
            return None

    def partner_of(self, name: str) -> str:
        """Return the checkpoint that is most worth seeing beside another; or "".

        It knows the same pictures, and its code is of the same kind, best of the same length and by another family.
        """
        own, own_map = self.checkpoint(name), self.map_of(name)
        best, most = "", 0
        for other in self.runtime.catalogue.offering("explore").values():
            other_map = self.map_of(other.name)
            if other.name == name or own_map is None or other_map is None or other_map.pictures != own_map.pictures:
                continue
            if other_map.kind != own_map.kind:  # a vector beside noise, say, shows less than it confuses
                continue
            rank = 1 + 2 * (other_map.shape == own_map.shape) + (other.family.name != own.family.name)
            best, most = (other.name, rank) if rank > most else (best, most)
        return best

    async def call(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function with a checkpoint's pipeline in turn, in a thread."""
        return await asyncio.to_thread(self.runtime.call, name, function, *arguments)

    async def directions_of(self, name: str) -> Directions | None:
        """Return the directions of a checkpoint's code, computed once; None without a map of a continuous code."""
        found = self.map_of(name)
        if found is None or not found.is_continuous:
            return None
        key = ("directions", name, id(found))
        with self._lock:
            known = self._kept.get(key)
        if known is None:
            known = await self.call(name, directions_of, found)
            self._once(key, lambda: known)
        return known

    async def decode(self, name: str, codes: Any) -> list[PIL.Image.Image]:
        """Return the pictures of codes.

        Raises:
            InputError: the codes are none of this checkpoint.
        """
        return await self.call(name, coding.decode, codes)

    async def encode(self, name: str, sources: Sequence[Any]) -> tuple[list[PIL.Image.Image], Any]:
        """Return pictures in the checkpoint's form, and their codes.

        Args:
            sources: pictures or paths of any size.
        """
        pictures = await asyncio.to_thread(lambda: [self.runtime.prepare(name, source) for source in sources])
        return pictures, await self.call(name, coding.encode, pictures)

    async def at(self, name: str, places: np.ndarray) -> list[PIL.Image.Image]:
        """Return what the decoder draws at places of the map; of a discrete code, at the test pictures nearest to them."""
        found = self.map_of(name)
        assert found is not None
        if found.is_continuous:
            return await self.decode(name, found.at(places))
        nearest = [found.nearest(place) for place in places]
        distinct = sorted(set(nearest))
        pictures = await self.decode(name, pick(found, distinct))
        drawn = dict(zip(distinct, pictures, strict=True))
        return [drawn[i] for i in nearest]

    async def manifold(self, name: str) -> PIL.Image.Image:
        """Return the sheet of what the decoder draws all over the map."""
        found = self.map_of(name)
        key = ("manifold", name, id(found))
        with self._lock:
            known = self._kept.get(key)
        if known is None:
            assert found is not None
            known = tight(await self.at(name, found.lattice(MANIFOLD)), MANIFOLD)
            self._once(key, lambda: known)
        return known

    def _once(self, key: Any, make: Callable[[], Any]) -> Any:
        with self._lock:
            if key not in self._kept:
                self._kept[key] = make()
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


class Held(NamedTuple):
    """The code of a single picture, without the axis N, and the checkpoint whose code it is; a code of words is a string."""

    name: str
    code: Any


def held_by(held: Held | None, name: Any) -> Any:
    """Return the code if it is this checkpoint's, else None: a page may ask before the other checkpoint has encoded."""
    return held.code if isinstance(held, Held) and held.name == name else None


def pick(code_map: CodeMap, rows: Sequence[int]) -> Any:
    """Return stored discrete codes of some pictures."""
    if isinstance(code_map.codes, list):
        return [code_map.codes[i] for i in rows]
    return code_map.codes[list(rows)]
