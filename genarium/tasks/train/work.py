"""The process in which a visitor's pictures are looked at, and in which a training runs; the app kills it at a limit.

    python -m genarium.tasks.train.work look FOLDER     a set of pictures: order.json -> found.json, sheet.png, kept.json
    python -m genarium.tasks.train.work fetch FOLDER    the same of a data set of the Hub, which is fetched first
    python -m genarium.tasks.train.work fit FOLDER      a training: order.json -> the checkpoint

Each says how far they are in progress.json, and how they ended in result.json. What hostile pictures or a careless recipe can
exhaust is this process alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

ORDER, PROGRESS, RESULT, FOUND, KEPT, SHEET, WISH, MADE, FETCHED = (
    "order.json",
    "progress.json",
    "result.json",
    "found.json",
    "kept.json",
    "sheet.png",
    "wish",
    "made",  # the folder of the finished checkpoint's folder
    "hub",  # the folder of what was fetched
)
TELL_SECONDS = 0.5  # between two notes of the progress
SPEED_SECONDS = 8.0  # over which the speed is averaged


def main(what: str, folder: Path) -> None:
    """Do the work of a folder, and write how it ended."""
    from genarium.errors import GenariumError
    from genarium.files import write_json

    order = json.loads((folder / ORDER).read_text(encoding="utf-8"))
    try:
        ended = {"look": look, "fetch": fetch, "fit": fit}[what](folder, order)
    except MemoryError:
        ended = {"state": "failed", "key": "memory"}
    except GenariumError as error:
        ended = {"state": "failed", "reason": reason_of(error)}
    except RuntimeError as error:  # torch's own, for one over memory
        if "alloc" not in str(error):
            raise
        ended = {"state": "failed", "key": "memory"}
    write_json(folder / RESULT, ended)


def reason_of(error: Exception) -> list[str]:
    """Return the words of an error in English and Chinese."""
    from genarium.data.own.words import Refused, said

    english = str(error)
    return [english, said(error.key, "zh", **error.values) if isinstance(error, Refused) else english]


def fetch(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Fetch a data set of the Hub as everybody may have it, without a token, and look through its files."""
    from genarium.data.own.entries import Limits
    from genarium.files import write_json
    from genarium.hub import data_sets

    note = _Note(folder)
    note.now(what="fetching")
    offer = data_sets.look(order["hub"], Limits(**order["limits"]), token=False)
    brought = data_sets.fetch(
        offer, folder / FETCHED, lambda done, total: note(what="fetching", done=done, total=total)
    )
    order |= {"brought": [[name, str(path)] for name, path in brought], "source": offer.name}
    order["left_out"] = [[one.name, one.key, dict(one.values)] for one in offer.left_out]
    write_json(folder / ORDER, order)
    return {**look(folder, order), "license": offer.license}


def look(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Look through the files of a set."""
    from genarium.data.own.entries import Limits
    from genarium.data.own.found import LeftOut, look_through
    from genarium.files import write_json

    note = _Note(folder)
    brought = brought_of(order)
    beside = [LeftOut(*one) for one in order.get("left_out", ())]
    found = look_through(
        brought,
        Limits(**order["limits"]),
        lambda done, total: note(done=done, total=total),
        beside,
        order.get("source", ""),
    )
    found.sheet.save(folder / SHEET)
    write_json(folder / FOUND, found.to_json())
    kept = {"names": found.names, "places": found.places, "labels": found.labels, "proposal": vars(found.proposal)}
    kept["source"] = found.source
    write_json(folder / KEPT, kept)
    return {"state": "found"}


def fit(folder: Path, order: dict[str, Any]) -> dict[str, Any]:
    """Prepare the data of a training where there are none yet, and train."""
    from genarium.data.own.entries import Limits
    from genarium.data.own.prepare import prepare
    from genarium.families import discover
    from genarium.fitting.draft import DATA
    from genarium.fitting.fit import fit as fit_recipe
    from genarium.recipe import DataSpec, load_recipe
    from genarium.training.watch import Clock

    note = _Note(folder)
    recipe = load_recipe(folder / "asked" / f"{order['name']}.yaml")
    assert isinstance(recipe.data, DataSpec)
    if not (folder / DATA).exists():
        note(what="preparing")
        pictures = Path(order["set"])
        prepare(
            brought_of(json.loads((pictures / ORDER).read_text(encoding="utf-8"))),
            found_of(pictures),
            recipe.data.sample_size,
            recipe.data.channels,
            folder / DATA,
            Limits(**order["limits"]),
            advance=lambda done, total: note(what="preparing", done=done, total=total),
        )
    parent = os.getppid()

    def ask() -> Any:
        if os.getppid() != parent:  # the app is gone: its next start goes on from the state
            return "pause"
        with contextlib.suppress(OSError):
            return {"pause": "pause", "finish": "finish"}.get((folder / WISH).read_text(), "go")
        return "go"

    speed = _Speed()

    def tell(what: str, facts: dict[str, Any]) -> None:
        if what == "step":
            note(what="training", **speed.at(facts["step"]), loss=round(facts["loss"], 5))
        elif what == "training":
            speed.begin(facts["steps"], facts["batch_size"])
            note.now(what="training", steps=facts["steps"])
        else:
            note.now(what=what)

    output = folder / MADE / order["name"]
    done = fit_recipe(recipe, discover(), folder, output, order["minutes"], Clock(ask, 4.0, 15.0), tell)
    return {"state": "paused" if done is None else "trained"}


def brought_of(order: dict[str, Any]) -> list[tuple[str, Path]]:
    """Return the names and paths of what a visitor brought, and of what they marked as ordinary later."""
    return [(name, Path(path)) for name, path in [*order["brought"], *order.get("marked", ())]]


def found_of(folder: Path) -> Any:
    """Return what was found in a set, as far as a training needs it."""
    import PIL.Image

    from genarium.data.own.found import Found, Proposal

    kept = json.loads((folder / KEPT).read_text(encoding="utf-8"))
    names, places, labels = (tuple(kept[key]) for key in ("names", "places", "labels"))
    sheet, source = PIL.Image.new("L", (1, 1)), kept.get("source", "")
    return Found(names, places, labels, (), {}, {}, {}, Proposal(**kept["proposal"]), sheet, source)


def memory_here() -> int:
    """Return the megabytes of memory that this process has."""
    import psutil

    return round(psutil.Process().memory_info().rss / 2**20)


class _Note:
    """Writes the progress now and then."""

    def __init__(self, folder: Path):
        self.path, self._last = folder / PROGRESS, 0.0

    def __call__(self, **facts: Any) -> None:
        if time.monotonic() - self._last > TELL_SECONDS:
            self.now(**facts)

    def now(self, **facts: Any) -> None:
        from genarium.files import write_json

        self._last = time.monotonic()
        write_json(self.path, {**facts, "memory": memory_here()})


class _Speed:
    """How fast the steps go, and how long they will take."""

    def __init__(self) -> None:
        self.steps = self.batch_size = 0
        self._moments: list[tuple[float, int]] = []

    def begin(self, steps: int, batch_size: int) -> None:
        self.steps, self.batch_size = steps, batch_size

    def at(self, step: int) -> dict[str, Any]:
        now = time.monotonic()
        self._moments.append((now, step))
        while len(self._moments) > 2 and now - self._moments[0][0] > SPEED_SECONDS:
            self._moments.pop(0)
        (then, first), facts = self._moments[0], {"step": step, "steps": self.steps}
        if step == first or now <= then:
            return facts
        speed = (step - first) / (now - then)
        return {**facts, "speed": round(speed * self.batch_size, 1), "left": round((self.steps - step) / speed)}


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
