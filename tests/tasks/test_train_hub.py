"""A data set of the Hub on the train page: fetched without a token in a process of its own, looked at, and bounded."""

import dataclasses
import json

import pytest
from tables import drawing, parquet
from test_train_page import QUOTAS, TEXTS, A, B, House, wanted

from genarium.rights import OF_LOCAL, Rights
from genarium.tasks.train import wishes

NAMES = ("lying", "standing")


@pytest.fixture
def bars(hub, tmp_path, monkeypatch):
    """someone/bars on a Hub that child processes find, on a machine that is logged in."""
    for name, value in hub.environment(tmp_path / "hf-home").items():
        monkeypatch.setenv(name, value)
    (tmp_path / "hf-home/token").write_text("hf_user")
    monkeypatch.setenv("GENARIUM_HUB_TOKEN", "hf_user")
    files = {"data/train-0.parquet": parquet([drawing(i) for i in range(40)], [0, 1] * 20, NAMES)}
    files |= {
        "data/test-0.parquet": parquet([drawing(90)]),
        "bars.py": b"raise SystemExit",
        "README.md": b"---\nlicense: mit\n---\n",
    }
    return hub.add_repo("someone/bars", files, type="dataset")


@pytest.fixture
def house(tmp_path):
    with House(tmp_path / "visitors") as made:
        yield made


@pytest.fixture
def still(tmp_path):
    return House(tmp_path / "visitors")


def bring(house, visitor, address):
    answer = house.ask(visitor, "hub", address=address)
    assert "problem" not in answer, answer
    assert "problem" not in house.ask(visitor, "look", set=answer["set"])
    return answer["set"], house.wait(visitor, "set", answer["set"], ("found", "failed"))


def test_a_data_set_is_looked_at_as_a_zip_is_and_gives_a_recipe(hub, bars, house):
    ticket, news = bring(house, A, "someone/bars")
    assert news["state"] == "found" and news["license"] == "mit" and news["hub"] == "someone/bars"
    found = news["found"]
    assert found["pictures"] == 40 and found["classes"] == {"lying": 20, "standing": 20}
    assert found["source"] == f"someone/bars@{bars.sha}" and news["sheet"].startswith("data:image/png")
    assert [one[:2] for one in found["left_out"]] == [["data/test-0.parquet", "other_part"]]
    assert found["left_out"][0][2] != found["left_out"][0][3]
    assert hub.shown == set(), "neither the operator's token nor the app's own was sent"
    assert not hub.asked("GET", r"resolve/.*\.py")
    recipe = house.ask(A, "recipe", set=ticket, **wanted())["recipe"]
    assert f"someone/bars@{bars.sha}" in recipe.replace("\n      ", " ") and "sample_size: 28" in recipe
    assert house.ask(B, "news") == {"sets": [], "runs": []}
    house.ask(A, "delete_set", set=ticket)
    assert not [path for path in house.shelf.root.rglob("*") if path.is_file() and path.name != ".lane"]


@pytest.mark.slow
def test_a_data_set_is_trained_on(bars, house):
    ticket, _ = bring(house, A, "someone/bars")
    recipe = house.ask(A, "recipe", set=ticket, **wanted())["recipe"].replace("- 48\n  - 96", "- 4\n  - 8")
    run = house.ask(A, "start", set=ticket, **wanted(recipe=recipe))["run"]
    done = house.wait(A, "run", run, ("done", "failed"))
    assert done["state"] == "done", done
    card = (house.shelf.box(A, "runs", run).path / "made/bars/README.md").read_text()
    assert "someone/bars@" in card


def test_only_as_many_pictures_as_a_stranger_may_bring_are_taken(bars, house):
    house.desk.rights = dataclasses.replace(QUOTAS, pictures=10)
    _, news = bring(house, A, "someone/bars")
    assert news["found"]["pictures"] == 10 and news["found"]["counts"]["beyond"][0] == 30


@pytest.mark.parametrize(
    ("change", "english", "chinese"),
    [
        ({"private": True}, "private or gated", "私有"),
        ({"commits": "none"}, "no pictures that can be read", "没有可读取的图片"),
    ],
)
def test_what_cannot_be_had_is_said_in_both_languages(bars, house, change, english, chinese):
    if "commits" in change:
        bars.commit({"README.md": b"# words", "load.py": b"raise SystemExit"}, "words")
    else:
        vars(bars).update(change)
    _, news = bring(house, A, "someone/bars")
    assert news["state"] == "failed" and english in news["reason"][0] and chinese in news["reason"][1]
    assert news["reason"][0] != news["reason"][1]


def test_a_data_set_of_someone_elses_machine_is_not_asked_for(hub, bars, still):
    for address in (
        "http://169.254.169.254/latest",
        "http://127.0.0.1:7860/a",
        "/etc/passwd",
        "bars",
        "",
        "a/b/c",
        "x" * 301,
        7,
    ):
        answer = still.ask(A, "hub", address=address)
        assert answer["key"] in ("no_id", "unknown"), address
        assert len(answer["problem"]) == 2 and answer["problem"][0] != answer["problem"][1]
    assert still.ask(A, "news")["sets"] == [] and not hub.requests


def test_strangers_ask_for_a_few_data_sets_only_and_for_none_where_training_is_off(bars, still, tmp_path, monkeypatch):
    closed = House(tmp_path / "closed", Rights())
    assert closed.ask(A, "hub", address="someone/bars")["key"] == "not_allowed"
    assert not (tmp_path / "closed").exists()
    for _ in range(wishes.AT_ONCE):
        assert "set" in still.ask(A, "hub", address="someone/bars")
    assert still.ask(B, "hub", address="someone/bars")["key"] == "hub_busy", "another secret is no other client"
    assert "set" in still.ask(B, "hub", client="192.0.2.99", address="someone/bars")
    for one in still.shelf.boxes(A, "sets"):
        one.keep(state="found")
    assert "set" in still.ask(A, "hub", address="someone/bars")
    monkeypatch.setattr(wishes, "AN_HOUR", 3)
    for one in still.shelf.boxes(A, "sets"):
        one.delete()
    assert still.ask(A, "hub", address="someone/bars")["key"] == "hub_often"
    assert all(TEXTS["hub_busy"]) and all(TEXTS["hub_often"])
    own = House(tmp_path / "own", OF_LOCAL)
    assert all("set" in own.ask(A, "hub", address="someone/bars") for _ in range(wishes.AT_ONCE + 1))


def test_a_killed_app_fetches_again_and_files_are_not_added_to_a_data_set(bars, still):
    ticket = still.ask(A, "hub", address="someone/bars")["set"]
    assert still.ask(A, "add", set=ticket, files=[])["key"] == "busy_set"
    box = still.shelf.box(A, "sets", ticket)
    box.keep(state="looking", queued=1.0)
    still.lane.begin()
    try:
        assert still.wait(A, "set", ticket, ("found", "failed"))["state"] == "found"
    finally:
        still.lane.close()
    assert json.loads((box.path / "order.json").read_text())["source"].startswith("someone/bars@")
