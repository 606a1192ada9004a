"""The Lab's page behind the browser: links, rooms and their bounds, lessons, texts in both languages."""

import asyncio
import json
import re
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace
from urllib.parse import parse_qsl

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genarium import paths
from genarium.errors import InputError
from genarium.tasks import find_tasks
from genarium.tasks.lab import rooms as rooms_module
from genarium.tasks.lab.experiment import MAX_POINTS, Experiment, pack_points, unpack_points
from genarium.tasks.lab.gradients import BATCHES, ESTIMATORS
from genarium.tasks.lab.panel_spec import lessons, spec_of
from genarium.tasks.lab.question import planes
from genarium.tasks.lab.rooms import Rooms

FOLDER = paths.ROOT / "genarium" / "tasks" / "lab"
SMALL = {"sides": [{"family": "autoencoder", "settings": {"hidden": 16}}], "speed": 5}


# ---- experiments ----


def test_a_link_says_all_that_is_set():
    query = 'data=rings&seed=7&speed=50&family=vae&settings={"beta":2}&view=code&family2=ddpm&view2=score&options2={"noise":1}'
    experiment = Experiment.of_query(dict(parse_qsl(query)))
    first, second = experiment.sides
    assert (first.data, first.seed, first.speed, first.family, first.view) == ("rings", 7, 50, "vae", "code")
    assert first.settings["beta"] == 2 and second.options["noise"] == 1 and second.data == "rings"
    assert Experiment.of(experiment.to_dict()) == experiment


def test_points_of_the_plane_pass_through_a_link():
    points = np.random.default_rng(0).uniform(-4, 3.99, (300, 2))
    assert np.abs(unpack_points(pack_points(points)) - points).max() <= 8 / 4096
    assert len(unpack_points(pack_points(np.zeros((5000, 2))))) == MAX_POINTS
    experiment = Experiment.of_query({"data": "drawn", "points": pack_points(points)})
    assert experiment.own_points().shape == (300, 2)


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ({"data": "nowhere"}, "nowhere"),
        ({"family": "magic"}, "magic"),
        ({"seed": "x"}, "seed"),
        ({"settings": "[1"}, "settings"),
        ({"settings": '{"magic": 1}'}, "magic"),
        ({"data": "drawn", "points": "!!"}, "points"),
        ({"data": "x" * 7000}, "longer"),
        ({"other": "1"}, "other"),
        ({"step": '"x"'}, "step"),
    ],
)
def test_a_link_that_cannot_be_read_is_refused_with_the_reason(query, word):
    with pytest.raises(InputError, match=word):
        Experiment.of_query(query)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
keys = st.sampled_from(
    ["data", "seed", "speed", "sides", "points", "lesson", "step", "what", "ticket", "after", "side"]
)


@settings(max_examples=60, deadline=None)
@given(anything | st.dictionaries(keys, anything, max_size=5))
def test_whatever_a_stranger_sends_is_answered(message):
    async def ask():
        return await Rooms(SimpleNamespace(turn=None)).talk(message, "stranger")

    answer = asyncio.run(ask())
    assert isinstance(answer, dict)
    json.dumps(answer)
    with pytest.raises(InputError):
        Experiment.of([message])


# ---- rooms ----


class OneTurn:
    """A runtime's turn, which says how many hold it."""

    def __init__(self):
        self._lock, self.held = threading.Lock(), 0

    @contextmanager
    def turn(self, stop, visitor):
        with self._lock:
            self.held += 1
            yield


@pytest.fixture
def rooms():
    made = Rooms(OneTurn())
    yield made
    for room in made._rooms.values():
        room.leave()


def talk(rooms, client="visitor", **message):
    return asyncio.run(rooms.talk(message, client))


def follow(rooms, ticket, until, after=0):
    """Ask for frames until the answer fulfils a condition -> all frames, and the last answer."""
    frames, state, deadline = [], "", time.monotonic() + 120
    while time.monotonic() < deadline:
        news = talk(rooms, what="frames", ticket=ticket, after=after, state=state)
        frames += news["frames"]
        after, state = max([after, *(f["number"] for f in news["frames"])]), news["state"]
        if until(news):
            return frames, news
    raise AssertionError(news["state"])


def test_a_training_runs_in_turns_pauses_steps_and_shows_views(rooms):
    start = talk(rooms, what="start", experiment=SMALL, held=True)
    ticket = start["ticket"]
    assert start["data"]["shape"] == [1000, 2]
    frames, _ = follow(rooms, ticket, lambda news: news["state"] == "held")
    assert frames == [] and rooms.runtime.held == 0, "nothing is computed before Start"
    talk(rooms, what="step", ticket=ticket)
    talk(rooms, what="step", ticket=ticket)
    frames, _ = follow(rooms, ticket, lambda news: any(f["step"] == 1 for f in news["frames"]))
    assert [f["step"] for f in frames] == [0, 1] and rooms.runtime.held == 2, "a turn for each frame"
    talk(rooms, what="look", ticket=ticket, side=0, view="code", options={}, number=4, show=True)
    shown, _ = follow(rooms, ticket, lambda news: any(f["moment"] == 1 for f in news["frames"]), frames[-1]["number"])
    assert {f["view"] for f in shown} == {"code"} and {f["look"] for f in shown} == {4}
    talk(rooms, what="go", ticket=ticket)
    more, _ = follow(rooms, ticket, lambda news: any(f["step"] > 10 for f in news["frames"]), shown[-1]["number"])
    assert any(layer["name"] == "code_curve" for layer in more[-1]["layers"])
    assert "view" in talk(rooms, what="look", ticket=ticket, side=0, view="critic", options={})["problem"]
    talk(rooms, what="leave", ticket=ticket)
    _, news = follow(rooms, ticket, lambda news: news["state"] == "ended")
    assert news["problem"] == ""


def test_two_families_share_one_clock(rooms):
    sides = [{"family": "autoencoder", "settings": {"hidden": 16}}, {"family": "vae", "settings": {"hidden": 16}}]
    ticket = talk(rooms, what="start", experiment={"sides": sides, "speed": 1})["ticket"]
    frames, _ = follow(rooms, ticket, lambda news: any(f["step"] == 3 and f["which"] for f in news["frames"]))
    steps = [[f["step"] for f in frames if f["which"] == side] for side in (0, 1)]
    assert steps[0][:4] == steps[1][:4] == [0, 1, 2, 3]


def test_a_page_that_is_closed_ends_its_training(rooms, monkeypatch):
    monkeypatch.setattr(rooms_module, "LEFT_SECONDS", 0.3)
    ticket = talk(rooms, what="start", experiment=SMALL)["ticket"]
    room = rooms._rooms[ticket]
    deadline = time.monotonic() + 60
    while room.state != "ended" and time.monotonic() < deadline:
        time.sleep(0.05)
    assert room.state == "ended" and room.problem == ""


def test_rooms_have_bounds(rooms, monkeypatch):
    monkeypatch.setattr(rooms_module, "ROOMS_PER_CLIENT", 2)
    first, second = (talk(rooms, what="start", experiment=SMALL, held=True)["ticket"] for _ in range(2))
    assert "Too many" in talk(rooms, what="start", experiment=SMALL, held=True)["problem"]
    assert "ticket" in talk(rooms, "another", what="start", experiment=SMALL, held=True)
    assert "ticket" in talk(rooms, what="start", experiment=SMALL, held=True, ticket=second), (
        "it replaces the page's own"
    )
    assert talk(rooms, what="frames", ticket=second, after=0)["state"] in ("ended", "held")
    assert talk(rooms, what="frames", ticket="unknown", after=0)["problem"] == "gone"
    assert not rooms._rooms[first].is_over


def test_own_points_are_learnt_and_too_few_are_refused(rooms):
    drawn = {**SMALL, "data": "drawn"}
    assert "problem" in talk(rooms, what="start", experiment=drawn)
    points = talk(rooms, what="points", text="x,y\n" + "".join(f"{i / 10},{-i / 10}\n" for i in range(40)))["points"]
    start = talk(rooms, what="start", experiment={**drawn, "points": points}, held=True)
    assert start["data"]["shape"][1] == 2
    assert "20" in talk(rooms, what="points", text="1,2\n3,4")["problem"]
    assert "problem" in talk(rooms, what="points", text=None)


def test_the_estimators_of_a_gradient_come_in_turn(rooms):
    ticket = talk(rooms, what="start", experiment={}, exhibit="gradients")["ticket"]
    frames, _ = follow(rooms, ticket, lambda news: news["state"] == "done" and not news["frames"])
    assert [f["view"] for f in frames[::BATCHES]] == [e.name for e in ESTIMATORS]


# ---- what the page is given ----


@pytest.fixture(scope="module")
def spec():
    return spec_of(find_tasks()["lab"], Experiment.of({}), "")


def test_the_page_is_given_all_families_data_and_views(spec):
    assert set(spec["families"]) == set(planes()) and json.loads(json.dumps(spec)) == spec
    for family in spec["families"].values():
        assert len(family["controls"]) <= 6
        for view in family["views"]:
            english, chinese = view["look"]
            assert len(re.findall(r"[.!?](?= |$)", english)) == 2, f"two sentences on {view['name']}"
            assert len(re.findall("。", chinese)) >= 2


def test_every_text_that_the_scripts_name_is_there_in_both_languages(spec):
    scripts = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*.js"))
    named = set(re.findall(r"texts\.(\w+)", scripts)) | {f"data_{name}" for name in (*spec["data"], "drawn")}
    named |= {f"phase_{name}" for name in ("fresh", "waiting", "learning", "held", "showing", "done")}
    named |= {f"problem_{name}" for name in ("gone", "failed")} | {"time_follow", "time_view"}
    assert named - set(spec["texts"]) == set()
    assert all(english and chinese for english, chinese in spec["texts"].values())


def test_eight_lessons_have_five_steps_each_in_both_languages():
    assert len(lessons()) == 8
    for lesson in lessons().values():
        assert len(lesson["steps"]) == 5 and all(lesson["title"])
        for step in lesson["steps"]:
            assert all(step["do"]) and all(step["look"])
            assert Experiment.of(step["set"]), "a step sets what the Lab has"
            assert step["gradients"] is None or 0 <= step["gradients"][0] < step["gradients"][1] <= 1
