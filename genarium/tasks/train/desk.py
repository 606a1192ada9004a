"""The questions of the train page and their answers, which are only ever about the visitor who asks."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gradio.utils import get_upload_folder

from genarium.data.own.entries import MIB, shown
from genarium.data.own.words import Refused
from genarium.errors import GenariumError
from genarium.files import write_text
from genarium.fitting.draft import DATA, check_name, check_own, draft, offered, to_yaml
from genarium.hub.data_sets import parse_id
from genarium.recipe import DataSpec, Recipe, read_recipe
from genarium.rights import Rights
from genarium.runtime import Runtime
from genarium.tasks.train.guests import guest_name
from genarium.tasks.train.lane import Lane, looking_kind
from genarium.tasks.train.news import News, log_of
from genarium.tasks.train.shelf import SECRET, Box, Refusal, Shelf, check_space
from genarium.tasks.train.wishes import Wishes
from genarium.tasks.train.work import FOUND, MADE, ORDER, found_of, reason_of
from genarium.ui.files import keep
from genarium.ui.storage import STORAGE

MAX_RECIPE = 20_000  # characters
MAX_SETS = 6  # of one visitor
MAX_FILE = 64 * MIB  # of an upload, as `ui.layout` has it for the whole app
FILES = "files"


class Desk:
    """Answers the pages of all visitors.

    Args:
        runtime: gets the finished checkpoints as guests.
        shelf: where visitors' things are kept.
        lane: does the work.
        rights: of every visitor.
        texts: key -> (English, Chinese), for refusals.
    """

    def __init__(self, runtime: Runtime, shelf: Shelf, lane: Lane, rights: Rights, texts: Mapping[str, list[str]]):
        self.runtime, self.shelf, self.lane, self.rights, self.texts = runtime, shelf, lane, rights, texts
        self.news, self.wishes = News(runtime, shelf, lane), Wishes()
        self._answers: dict[str, Callable[..., dict[str, Any]]] = {
            "hello": self._hello,
            "add": self._add,
            "path": self._path,
            "hub": self._hub,
            "look": self._look,
            "recipe": self._recipe,
            "start": self._start,
            "news": self._news,
            "pause": self._pause,
            "finish": self._finish,
            "resume": self._resume,
            "delete": self._delete,
            "delete_set": self._delete_set,
            "download": self._download,
            "log": self._log,
        }

    async def talk(self, message: Any, client: str, is_near: bool = True) -> dict[str, Any]:
        """Answer a page.

        Args:
            message: {"what": one of `_answers`, "visitor": the browser's secret, ...}.
            client: the address of who asks.
            is_near: whether the page was asked for at this machine, see `genarium.rights.is_near`.

        Returns:
            What was asked for, or {"problem": [English, Chinese]}.
        """
        try:
            what = message.get("what") if isinstance(message, Mapping) else None
            if not isinstance(what, str) or what not in self._answers:
                raise Refusal("unknown")
            if not self.rights.allowed or (self.rights.local and not is_near):
                raise Refusal("not_allowed")
            if self.lane.taken:
                raise Refusal("taken")
            facts = {key: value for key, value in message.items() if key != "what"}
            return await asyncio.to_thread(self._answers[what], facts, client)
        except Refusal as error:
            pair = [text.format(**error.values) for text in self.texts[error.key]]
            return {"problem": pair, "key": error.key}
        except GenariumError as error:
            return {"problem": reason_of(error), "key": getattr(error, "key", "")}

    # ---- who, and what there is ----

    def _hello(self, facts: dict[str, Any], client: str) -> dict[str, Any]:
        """Give a new visitor a secret, and list what is here of each visitor's and what is offered."""
        visitor = facts.get("visitor")
        if not isinstance(visitor, str) or not SECRET.fullmatch(visitor):
            visitor = secrets.token_urlsafe(32)
        families = offered(self.runtime.catalogue.families)
        return {
            "visitor": visitor,
            "families": [[f.name, f.title, dict(f.description)] for f in families],
            "local": self.rights.local,
            "quotas": {**asdict(self.rights), "file_megabytes": MAX_FILE // MIB},
            **self._news({"visitor": visitor}, client),
        }

    # ---- pictures ----

    def _add(self, facts: dict[str, Any], client: str) -> dict[str, Any]:
        """Take in files that were uploaded: they move from the folder of uploads into the visitor's set."""
        files = facts.get("files")
        if not isinstance(files, list) or len(files) > 200:
            raise Refusal("unknown")
        box = self._open_set(facts)
        try:
            return self._take_files(box, files, client)
        except GenariumError:
            if not facts.get("set"):
                box.delete()
            raise

    def _take_files(self, box: Box, files: list[Any], client: str) -> dict[str, Any]:
        folder = box.path / FILES
        folder.mkdir(exist_ok=True)
        order = box.read(ORDER) or {"brought": []}
        total = sum(path.stat().st_size for path in folder.iterdir())
        for name, path in (self._uploaded(one, client) for one in files):
            size = path.stat().st_size
            total += size
            if total > self.rights.limits.bytes:
                raise Refused("bytes", name=shown(name), most=self.rights.limits.bytes // MIB)
            if len(order["brought"]) >= self.rights.limits.entries:
                raise Refused("pictures", most=self.rights.limits.pictures)
            check_space(self.shelf.root, size)
            target = folder / f"{len(order['brought']):06d}"
            shutil.copyfile(path, target)
            STORAGE.release(f"client {client}", path)
            order["brought"].append([shown(name), str(target)])
        self._write_order(box, order)
        box.keep(state="receiving", files=len(order["brought"]))
        return {"set": box.ticket, "files": len(order["brought"])}

    def _path(self, facts: dict[str, Any], client: str) -> dict[str, Any]:
        """Take a folder or a .zip of this machine, where the visitor is its owner."""
        if not self.rights.local:
            raise Refusal("no_paths")
        text = facts.get("path")
        path = Path(text.strip()).expanduser() if isinstance(text, str) and text.strip() else None
        if path is None or not path.is_absolute() or not path.exists():
            raise Refusal("no_path", path=shown(str(text))[:100])
        box = self._open_set({**facts, "set": None})
        self._write_order(box, {"brought": [[path.name, str(path)]]})
        box.keep(state="receiving", files=1)
        return {"set": box.ticket, "files": 1}

    def _hub(self, facts: dict[str, Any], client: str) -> dict[str, Any]:
        """Take a data set of the Hub by its id. It is fetched when it is looked at."""
        address = facts.get("address")
        if not isinstance(address, str) or len(address) > 300:
            raise Refusal("unknown")
        parse_id(address)
        if not self.rights.local:
            self.wishes.check(client)
        self.shelf.root.mkdir(parents=True, exist_ok=True)
        check_space(self.shelf.root, self.rights.limits.bytes if not self.rights.local else 0)
        box = self._open_set({**facts, "set": None})
        self.wishes.note(client, box)
        self._write_order(box, {"brought": [], "hub": address.strip()})
        box.keep(state="receiving", files=0, hub=shown(address.strip()))
        return {"set": box.ticket, "files": 0}

    def _look(self, facts: dict[str, Any], client: str) -> dict[str, Any]:
        box = self.shelf.box(facts.get("visitor", ""), "sets", facts.get("set"))
        if box.state["state"] != "looking":
            self.lane.submit(looking_kind(box), box)
        return self._news(facts, client)

    def _open_set(self, facts: dict[str, Any]) -> Box:
        """Return the set that pictures are added to, or a new one."""
        visitor = facts.get("visitor", "")
        if facts.get("set"):
            box = self.shelf.box(visitor, "sets", facts["set"])
            if box.state["state"] == "looking" or box.state.get("hub"):
                raise Refusal("busy_set")
            return box
        if len(self.shelf.boxes(visitor, "sets")) >= MAX_SETS:
            raise Refusal("many_sets", most=MAX_SETS)
        return self.shelf.make(visitor, "sets", state="receiving", files=0)

    def _write_order(self, box: Box, order: dict[str, Any]) -> None:
        write_text(box.path / ORDER, json.dumps({**order, "limits": asdict(self.rights.limits)}))

    @staticmethod
    def _uploaded(one: Any, client: str) -> tuple[str, Path]:
        """Return the name and the path of a file that this client uploaded.

        Raises:
            Refusal: it did not. A path of another file of this machine is none that may be read.
        """
        if not isinstance(one, list) or len(one) != 2 or not all(isinstance(part, str) for part in one):
            raise Refusal("unknown")
        name, path = one[0], Path(one[1]).resolve()
        known = {Path(file).resolve() for file in STORAGE.files(f"client {client}")}
        if not path.is_relative_to(Path(get_upload_folder()).resolve()) or path not in known or not path.is_file():
            raise Refusal("upload_lost")
        return name, path

    # ---- trainings ----

    def _recipe(self, facts: dict[str, Any], client: str) -> dict[str, Any]:
        return {"recipe": to_yaml(self._asked(facts))}

    def _asked(self, facts: dict[str, Any]) -> Recipe:
        """Return the recipe that a page asks for: drafted by what was chosen there, or edited and checked."""
        box = self.shelf.box(facts.get("visitor", ""), "sets", facts.get("set"))
        if box.state["state"] != "found":
            raise Refusal("not_looked")
        families, name = self.runtime.catalogue.families, check_name(str(facts.get("name", "")))
        text = facts.get("recipe")
        if text:
            if not isinstance(text, str) or len(text) > MAX_RECIPE:
                raise Refusal("unknown")
            return check_own(read_recipe(text, "recipe"), name, families)
        size, channels, dark = facts.get("size"), facts.get("channels"), facts.get("dark")
        if size not in (None, 28, 32, 64) or channels not in (None, 1, 3) or dark not in (None, True, False):
            raise Refusal("unknown")
        family = str(facts.get("family"))
        known = {one.name: one for one in offered(families)}
        if family not in known:
            raise Refusal("unknown")
        return draft(name, known[family], found_of(box.path), size, channels, dark)

    def _start(self, facts: dict[str, Any], client: str) -> dict[str, Any]:
        """Begin a training: its recipe is checked, its folder made, and it waits for its turn."""
        visitor, minutes = facts.get("visitor", ""), facts.get("minutes")
        if minutes is not None and (
            isinstance(minutes, bool) or not isinstance(minutes, (int, float)) or not minutes > 0
        ):
            raise Refusal("unknown")
        if minutes is not None and minutes > self.rights.minutes:
            raise Refusal("too_long_wish", most=f"{self.rights.minutes:g}")
        if len(self.shelf.boxes(visitor, "runs")) >= self.rights.runs:
            raise Refusal("many_runs", most=self.rights.runs)
        recipe = self._asked(facts)
        pictures = self.shelf.box(visitor, "sets", facts.get("set"))
        assert isinstance(recipe.data, DataSpec)
        form, number = recipe.data, pictures.read(FOUND).get("pictures", 0)
        check_space(self.shelf.root, number * form.channels * form.sample_size**2 + 200 * MIB)
        run = self.shelf.make(visitor, "runs", state="new", name=recipe.name, family=recipe.family, minutes=minutes)
        (run.path / "asked").mkdir()
        write_text(run.path / "asked" / f"{recipe.name}.yaml", to_yaml(recipe))
        order = {
            "name": recipe.name,
            "minutes": minutes,
            "set": str(pictures.path),
            "limits": asdict(self.rights.limits),
        }
        order |= {"most_minutes": self.rights.minutes, "memory": self.rights.memory}
        write_text(run.path / ORDER, json.dumps(order))
        pictures.keep(used=run.ticket)
        self.lane.submit("fit", run)
        return {"run": run.ticket, **self._news(facts, client)}

    def _run(self, facts: dict[str, Any]) -> Box:
        return self.shelf.box(facts.get("visitor", ""), "runs", facts.get("run"))

    def _pause(self, facts: dict[str, Any], client: str) -> dict[str, Any]:
        self.lane.pause(self._run(facts))
        return self._news(facts, client)

    def _finish(self, facts: dict[str, Any], client: str) -> dict[str, Any]:
        self.lane.finish(self._run(facts))
        return self._news(facts, client)

    def _resume(self, facts: dict[str, Any], client: str) -> dict[str, Any]:
        run = self._run(facts)
        if run.state["state"] in ("paused", "failed"):
            self.lane.submit("fit", run)
        return self._news(facts, client)

    def _delete(self, facts: dict[str, Any], client: str) -> dict[str, Any]:
        run = self._run(facts)
        self.runtime.dismiss(guest_name(run))
        self.lane.discard(run)
        return self._news(facts, client)

    def _delete_set(self, facts: dict[str, Any], client: str) -> dict[str, Any]:
        """Delete a set. A training that has not prepared its data yet would lack the pictures, so it keeps them."""
        box = self.shelf.box(facts.get("visitor", ""), "sets", facts.get("set"))
        for run in self.shelf.boxes(facts.get("visitor", ""), "runs"):
            unprepared = run.read(ORDER).get("set") == str(box.path) and not (run.path / DATA).exists()
            if unprepared and run.state.get("state") in ("waiting", "running", "paused"):
                raise Refusal("set_needed", name=run.state.get("name", ""))
        self.lane.discard(box)
        return self._news(facts, client)

    def _download(self, facts: dict[str, Any], client: str) -> dict[str, Any]:
        """Return where the browser gets the checkpoint's folder as a .zip."""
        run = self._run(facts)
        name = run.state["name"]
        if run.state["state"] != "done":
            raise Refusal("not_done")
        packed = Path(shutil.make_archive(str(run.path / "packed"), "zip", run.path / MADE, name))
        try:
            place = keep(packed.read_bytes(), f"{name}.zip")
        finally:
            packed.unlink()
        return {"file": place, "name": f"{name}.zip"}

    def _log(self, facts: dict[str, Any], client: str) -> dict[str, Any]:
        """Return the last lines of a training's log."""
        return {"log": log_of(self._run(facts))}

    def _news(self, facts: dict[str, Any], client: str) -> dict[str, Any]:
        """Return the state of all that is the visitor's. What the page has already is not sent again.

        Args:
            facts: "visitor"; "seen": {ticket: name of the newest sheet that the page has}.
        """
        seen = facts.get("seen")
        return self.news.of(facts.get("visitor", ""), seen if isinstance(seen, Mapping) else {})
