"""The train page's server side: who may, what is whose, the queue, its bounds, and what a killed app leaves."""

import asyncio
import dataclasses
import io
import json
import secrets
import shutil
import signal
import time
import zipfile
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
from gradio.utils import get_upload_folder

from genarium.catalogue import Catalogue
from genarium.errors import InputError
from genarium.families import discover
from genarium.rights import OF_LOCAL, VARIABLE, Rights, is_near, parse, rights, value_for
from genarium.runtime import Runtime
from genarium.tasks import find_tasks
from genarium.tasks.train import guests
from genarium.tasks.train import lane as lanes
from genarium.tasks.train.desk import MAX_SETS, Desk
from genarium.tasks.train.lane import Lane
from genarium.tasks.train.marked import learn
from genarium.tasks.train.shelf import Shelf
from genarium.ui.storage import STORAGE

FAMILIES = discover(installed=False)
TEXTS = {key: [text["en"], text["zh"]] for key, text in find_tasks()["train"].texts().items()}
CLIENT = "192.0.2.7"
PATIENCE = 240  # seconds; the cores may be busy with other tests
QUOTAS = Rights(allowed=True, minutes=5, pictures=60, megabytes=20, runs=2, hours=24, memory=4)
A, B = secrets.token_urlsafe(32), secrets.token_urlsafe(32)


class House:
    """An app's trainings without its pages; a context manager in which its queue works."""

    def __init__(self, root, allowed=QUOTAS):
        self.shelf = Shelf(root)
        self.runtime = Runtime(Catalogue({}, (), FAMILIES), device="cpu")
        self.lane = Lane(self.shelf, lambda box: guests.arrive(self.runtime, box), allowed.hours)
        self.desk = Desk(self.runtime, self.shelf, self.lane, allowed, TEXTS)

    def __enter__(self):
        self.lane.begin()
        return self

    def __exit__(self, *_):
        self.lane.close()

    def ask(self, visitor, what, client=CLIENT, **facts):
        return asyncio.run(self.desk.talk({"what": what, "visitor": visitor, **facts}, client))

    def wait(self, visitor, kind, ticket, states):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            news = {one[kind]: one for one in self.ask(visitor, "news")[f"{kind}s"]}
            if news[ticket]["state"] in states:
                return news[ticket]
            time.sleep(0.2)
        raise AssertionError(f"{kind} is still {news[ticket]}")

    def bring(self, visitor, path, name="bars.zip"):
        answer = self.ask(visitor, "add", files=[[name, upload(path)]])
        assert "problem" not in answer, answer
        self.ask(visitor, "look", set=answer["set"])
        return answer["set"], self.wait(visitor, "set", answer["set"], ("found", "failed"))


def upload(path, client=CLIENT):
    """Put a file where Gradio puts uploads, as the gate notes it."""
    folder = Path(get_upload_folder()) / secrets.token_hex(8)
    folder.mkdir(parents=True)
    place = shutil.copy(path, folder)
    STORAGE.add(f"client {client}", place)
    return str(place)


@pytest.fixture(scope="module")
def bars(tmp_path_factory):
    """A .zip of 40 pictures in two folders, with one that is damaged."""
    path = tmp_path_factory.mktemp("bars") / "bars.zip"
    generator = np.random.default_rng(0)
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(40):
            values = generator.integers(0, 20, (28, 28)).astype(np.uint8)
            values[:, 3 + i % 20 : 8 + i % 20] = 200
            file = io.BytesIO()
            PIL.Image.fromarray(np.ascontiguousarray(values if i % 2 else values.T)).save(file, "PNG")
            archive.writestr(f"{'standing' if i % 2 else 'lying'}/{i}.png", file.getvalue())
        archive.writestr("lying/damaged.png", b"\x89PNG\r\n\x1a\n and no more")
    return path


@pytest.fixture
def house(tmp_path):
    with House(tmp_path / "visitors") as made:
        yield made


@pytest.fixture
def still(tmp_path):
    """A house whose queue does nothing."""
    return House(tmp_path / "visitors")


def wanted(**changes):
    return {
        "name": "bars",
        "family": "autoencoder",
        "size": 28,
        "channels": 1,
        "dark": True,
        "minutes": 0.05,
        **changes,
    }


# ---- who may ----


def test_training_is_on_for_this_machine_alone(monkeypatch):
    for name in (VARIABLE, "SPACE_ID", "GRADIO_SERVER_NAME", "GRADIO_SHARE"):
        monkeypatch.delenv(name, raising=False)
    assert value_for(None, None, False) == "local" and value_for(None, "127.0.0.1", False) == "local"
    assert value_for(None, "0.0.0.0", False) == "" and value_for(None, None, True) == ""
    monkeypatch.setenv("SPACE_ID", "someone/space")
    assert value_for(None, None, False) == "" and value_for("minutes=5", None, False) == "minutes=5"
    monkeypatch.delenv("SPACE_ID")
    monkeypatch.setenv("GRADIO_SERVER_NAME", "0.0.0.0")
    assert value_for(None, None, False) == ""
    assert not rights().allowed
    monkeypatch.setenv(VARIABLE, "minutes=5,runs=1")
    assert rights() == Rights(allowed=True, minutes=5, runs=1) and not rights().local
    monkeypatch.setenv(VARIABLE, "local")
    assert rights() == OF_LOCAL


@pytest.mark.parametrize(
    "text", ["minutes", "minutes=x", "minutes=0", "minutes=-1", "colour=3", "minutes=nan", "local=1"]
)
def test_quotas_that_cannot_be_understood_are_refused(text):
    with pytest.raises(InputError, match="--allow-training"):
        parse(text)


def test_strangers_may_nothing_where_it_is_off(tmp_path, bars):
    closed = House(tmp_path / "visitors", Rights())
    for what in closed.desk._answers:
        answer = closed.ask(A, what)
        assert answer["key"] == "not_allowed" and "--allow-training" in answer["problem"][1]
    assert not (tmp_path / "visitors").exists()


def test_the_owner_of_the_machine_is_not_who_comes_through_a_proxy(tmp_path):
    assert is_near({"host": "127.0.0.1:7860"}) and is_near({"host": "localhost"})
    assert is_near({"host": "[::1]:7860"})
    for headers in (
        {"host": "genarium.example"},
        {"host": "localhost", "x-forwarded-for": "192.0.2.1"},
        {},
        {"host": "@"},
    ):
        assert not is_near(headers), headers
    house = House(tmp_path / "visitors", OF_LOCAL)
    answer = asyncio.run(house.desk.talk({"what": "hello"}, CLIENT, is_near=False))
    assert answer["key"] == "not_allowed"


# ---- what is whose ----


def test_what_is_found_is_said_and_the_upload_is_gone(house, bars):
    place = upload(bars)
    answer = house.ask(A, "add", files=[["bars.zip", place]])
    assert not Path(place).exists()
    house.ask(A, "look", set=answer["set"])
    news = house.wait(A, "set", answer["set"], ("found", "failed"))
    assert news["found"]["pictures"] == 40 and news["found"]["classes"] == {"lying": 20, "standing": 20}
    assert news["found"]["left_out"][0][0] == "lying/damaged.png" and news["sheet"].startswith("data:image/png")
    assert news["found"]["left_out"][0][2] != news["found"]["left_out"][0][3], "in two languages"
    house.ask(A, "delete_set", set=answer["set"])
    assert not [path for path in house.shelf.root.rglob("*") if path.is_file() and path.name != ".lane"]


def test_two_visitors_never_meet(house, bars):
    ticket, _ = house.bring(A, bars)
    assert house.ask(B, "news") == {"sets": [], "runs": []}
    assert house.ask(B, "hello")["sets"] == []
    for what, facts in {
        "look": {"set": ticket},
        "add": {"set": ticket, "files": []},
        "recipe": {"set": ticket, **wanted()},
        "start": {"set": ticket, **wanted()},
        "delete_set": {"set": ticket},
    }.items():
        assert "problem" in house.ask(B, what, **facts), what
    run = house.ask(A, "start", set=ticket, **wanted(minutes=5))["run"]
    for what in ("pause", "finish", "resume", "delete", "download"):
        assert "problem" in house.ask(B, what, run=run), what
    assert house.ask(A, "news")["runs"][0]["run"] == run
    folders = {path.name for path in house.shelf.root.iterdir()}
    assert A not in str(folders) and len(folders - {".lane"}) == 1
    assert "problem" not in house.ask(A, "delete", run=run)
    assert house.ask(A, "news")["runs"] == []


def test_only_what_this_client_uploaded_is_taken(still, bars, tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"x")
    others = upload(bars, client="192.0.2.99")
    for path in (str(secret), "/etc/passwd", "../../etc/passwd", others, get_upload_folder(), ""):
        assert still.ask(A, "add", files=[["a.png", path]])["key"] == "upload_lost", path
    assert Path(others).exists() and secret.exists()
    assert still.ask(A, "path", path="/etc")["key"] == "no_paths", "strangers name no folders of this machine"


def test_a_local_user_names_a_folder(tmp_path, bars):
    house = House(tmp_path / "visitors", OF_LOCAL)
    house.lane.begin()
    try:
        assert house.ask(A, "path", path="pictures")["key"] == "no_path"
        answer = house.ask(A, "path", path=str(bars))
        house.ask(A, "look", set=answer["set"])
        assert house.wait(A, "set", answer["set"], ("found",))["found"]["pictures"] == 40
        house.ask(A, "delete_set", set=answer["set"])
        assert bars.exists(), "what is not ours is not deleted"
    finally:
        house.lane.close()


@pytest.mark.parametrize(
    "message",
    [
        None,
        [],
        {"what": "close"},
        {"what": {}},
        {"what": "news", "visitor": "../../etc"},
        {"what": "news", "visitor": None},
        {"what": "look", "visitor": A, "set": "../" * 8},
        {"what": "add", "visitor": A, "files": "x"},
        {"what": "add", "visitor": A, "files": [[1, 2]]},
        {"what": "start", "visitor": A, "minutes": "long"},
        {"what": "start", "visitor": A, "minutes": True},
        {"what": "start", "visitor": A, "minutes": float("nan")},
        {"what": "start", "visitor": A, "minutes": 1e9},
        {"what": "pause", "visitor": A, "run": {}},
    ],
)
def test_whatever_a_page_sends_is_answered_in_words(still, message):
    answer = asyncio.run(still.desk.talk(message, CLIENT))
    assert len(answer["problem"]) == 2 and all(answer["problem"])


def test_quotas_hold(still, bars, tmp_path):
    big = tmp_path / "big.png"
    with big.open("wb") as file:
        file.truncate(21 * 2**20)
    assert still.ask(A, "add", files=[["big.png", upload(big)]])["key"] == "bytes"
    assert still.ask(A, "news")["sets"] == []
    for _ in range(MAX_SETS):
        still.ask(A, "add", files=[["bars.zip", upload(bars)]])
    assert still.ask(A, "add", files=[["bars.zip", upload(bars)]])["key"] == "many_sets"
    assert "problem" not in still.ask(B, "add", files=[["bars.zip", upload(bars)]])


def test_what_was_not_used_for_long_is_deleted(still, bars):
    kept = still.ask(A, "add", files=[["bars.zip", upload(bars)]])["set"]
    still.shelf.sweep(hours=1)
    assert still.ask(A, "news")["sets"][0]["set"] == kept
    still.shelf.sweep(hours=-1)
    assert still.ask(A, "news")["sets"] == []


# ---- trainings ----


def test_an_edited_recipe_is_checked_as_on_the_command_line(house, bars):
    ticket, _ = house.bring(A, bars)
    recipe = house.ask(A, "recipe", set=ticket, **wanted())["recipe"]
    for edited, said in (
        (recipe.replace("learning_rate", "learning_rat"), "did you mean `learning_rate`"),
        (recipe.replace("family: autoencoder", "family: voice-vae"), "none of those offered"),
        ("- a list", "a YAML mapping"),
        (recipe + "x: [", "cannot be read"),
    ):
        assert said in house.ask(A, "start", set=ticket, **wanted(recipe=edited))["problem"][0]
    assert house.ask(A, "news")["runs"] == []


@pytest.mark.slow
def test_a_training_from_pictures_to_a_checkpoint_of_this_visitor(house, bars):
    ticket, _ = house.bring(A, bars)
    recipe = house.ask(A, "recipe", set=ticket, **wanted())["recipe"].replace("- 48\n  - 96", "- 4\n  - 8")
    first = house.ask(A, "start", set=ticket, **wanted(recipe=recipe))["run"]
    second = house.ask(A, "start", set=ticket, **wanted(name="other", minutes=5))["run"]
    assert house.ask(A, "start", set=ticket, **wanted())["key"] == "many_runs"
    news = {run["run"]: run for run in house.ask(A, "news")["runs"]}
    assert news[second]["state"] == "waiting" and news[second]["place"] == 1
    house.ask(A, "pause", run=second)
    assert house.wait(A, "run", second, ("paused",))["name"] == "other"
    done = house.wait(A, "run", first, ("done", "failed"))
    assert done["state"] == "done", done
    assert done["progress"]["memory"] > 50, "megabytes"
    assert "loss" in house.ask(A, "log", run=first)["log"] and "problem" in house.ask(B, "log", run=first)
    assert done["sheet"].startswith("data:image/png") and any(name == "psnr" for name, *_ in done["figures"])
    assert {"generate", "anomaly"} <= set(done["tasks"])
    guest = house.runtime.guest(done["checkpoint"])
    assert guest.is_private and first in guest.name
    assert [one.name for one in guests.brought(house.runtime, house.shelf, A)] == [guest.name]
    assert guests.brought(house.runtime, house.shelf, B) == []
    house.runtime.dismiss(guest.name)
    assert [one.name for one in guests.brought(house.runtime, house.shelf, A)] == [guest.name], "after a restart, too"
    packed = zipfile.ZipFile(house.ask(A, "download", run=first)["file"])
    assert {"bars/model_index.json", "bars/bars.yaml", "bars/README.md"} <= set(packed.namelist())
    house.ask(A, "delete", run=first)
    assert house.runtime.guest(guest.name) is None and house.shelf.boxes(A, "runs")[0].ticket != first


def test_a_killed_app_leaves_a_training_that_the_next_one_takes_up(house, bars, monkeypatch):
    ticket, _ = house.bring(A, bars)
    run = house.ask(A, "start", set=ticket, **wanted(minutes=5))["run"]
    house.wait(A, "run", run, ("running",))
    box = house.shelf.box(A, "runs", run)
    until = time.monotonic() + PATIENCE
    while box.read("progress.json").get("what") != "training" and time.monotonic() < until:
        time.sleep(0.2)
    house.lane.close()  # kills what runs, and notes nothing
    assert box.state["state"] == "running"
    again = House(house.shelf.root)
    again.lane.begin()
    try:
        assert again.wait(A, "run", run, ("running",))["name"] == "bars"
        kept = (box.path / "bars.yaml").read_text()
        again.ask(A, "pause", run=run)
        assert again.wait(A, "run", run, ("paused",))["state"] == "paused"
        assert json.loads((box.path / "run/state/state.json").read_text())["step"] >= 1
        assert (box.path / "bars.yaml").read_text() == kept, "the measured recipe holds"
    finally:
        again.lane.close()


def test_a_second_app_of_one_folder_stands_back(house):
    second = House(house.shelf.root)
    second.lane.begin()
    assert second.ask(A, "hello")["key"] == "taken"


@pytest.mark.parametrize(("bound", "key"), [("memory", "memory"), ("seconds", "too_long")])
def test_what_takes_too_much_is_killed(house, bars, monkeypatch, bound, key):
    ticket, _ = house.bring(A, bars)
    if bound == "seconds":
        monkeypatch.setattr(lanes, "PATIENCE", 0.0)
        monkeypatch.setattr(lanes, "SLACK", 1.0)
    else:
        house.desk.rights = dataclasses.replace(QUOTAS, memory=0.05)
    run = house.ask(A, "start", set=ticket, **wanted(minutes=5))["run"]
    news = house.wait(A, "run", run, ("failed",))
    assert news["key"] == key and all(TEXTS[key])
    assert not house.lane._jobs


def test_a_training_whose_process_dies_is_said_to_have_failed(house, bars):
    ticket, _ = house.bring(A, bars)
    run = house.ask(A, "start", set=ticket, **wanted(minutes=5))["run"]
    house.wait(A, "run", run, ("running",))
    house.lane._jobs[0].process.send_signal(signal.SIGKILL)
    assert house.wait(A, "run", run, ("failed",))["key"] == "crashed"
    assert house.ask(A, "resume", run=run)["runs"][0]["state"] in ("waiting", "running")


def test_a_false_alarm_joins_what_this_visitor_s_next_training_learns_and_nobody_else_s(house, bars, tmp_path):
    ticket, news = house.bring(A, bars)
    before = news["found"]["classes"]
    run = house.shelf.make(A, "runs", state="done", name="bars", family="autoencoder")
    (run.path / "order.json").write_text(json.dumps({"set": str(house.shelf.box(A, "sets", ticket).path)}))
    name, picture = guests.guest_name(run), tmp_path / "alarm.png"
    PIL.Image.fromarray(np.random.default_rng(5).integers(0, 255, (28, 28)).astype(np.uint8)).save(picture)
    assert not learn(house.shelf, house.lane, B, name, "alarm.png", picture), (
        "the name of a checkpoint gives no right to its pictures"
    )
    assert not learn(house.shelf, house.lane, A, "mine/other@0123456789abcdef", "alarm.png", picture)
    assert learn(house.shelf, house.lane, A, name, "alarm.png", picture)
    found = house.wait(A, "set", ticket, ("found", "failed"))["found"]
    assert found["pictures"] == 41 and found["classes"] == before and found["unlabelled"] == 1
    house.ask(A, "delete_set", set=ticket)
    assert not learn(house.shelf, house.lane, A, name, "alarm.png", picture)
