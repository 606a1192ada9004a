"""The first request finds torch imported and the first checkpoint loaded; nobody waits for that who does not need it."""

import asyncio
import sys
import threading
from types import SimpleNamespace

import pytest

from genarium.catalogue import find_checkpoints
from genarium.errors import CheckpointError
from genarium.families import Family
from genarium.imports import HEAVY
from genarium.runtime import Runtime, Warming
from genarium.ui.sight import FirstSight


@pytest.fixture
def runtime(tiny_checkpoints, families):
    return Runtime(find_checkpoints(families), device="cpu")


def test_first_checkpoint_is_loaded_once_however_often_the_page_is_seen(runtime, monkeypatch):
    asked = []
    usual = runtime.pipeline
    monkeypatch.setattr(runtime, "pipeline", lambda name: asked.append(name) or usual(name))
    interval = sys.getswitchinterval()
    warming = Warming(runtime)
    assert not asked  # nothing before it is wanted
    for _ in range(3):
        warming.seen()
    assert not asked  # Gradio waits only a moment for the app's own first answer
    warming.launched(0.0)
    warming.seen()
    warming.wait()
    assert asked == [next(iter(runtime.catalogue.checkpoints))] == runtime.loaded()
    assert sys.getswitchinterval() == interval


def test_it_begins_by_itself_where_nobody_looks_at_the_page(runtime):
    began = threading.Event()
    warming = Warming(runtime)
    warming.seen = began.set
    warming.launched(0.001)
    assert began.wait(10)


def test_checkpoint_that_cannot_be_loaded_is_left_to_who_asks_for_it(runtime, monkeypatch):
    def refuse(name):
        raise CheckpointError("damaged")

    monkeypatch.setattr(runtime, "pipeline", refuse)
    failed = []
    monkeypatch.setattr(threading, "excepthook", failed.append)
    warming = Warming(runtime)
    warming.launched(0)
    warming.seen()
    warming.wait()
    assert not failed


def test_app_without_checkpoints_warms_torch_alone():
    runtime = SimpleNamespace(device="cpu", catalogue=SimpleNamespace(checkpoints={}))
    warming = Warming(runtime)
    warming.launched(0)
    warming.seen()
    warming.wait()


def test_on_zerogpu_all_is_imported_before_the_first_fork(monkeypatch):
    monkeypatch.setattr("genarium.runtime.warming.spaces", object())
    asked = []

    class Hardware:
        catalogue = SimpleNamespace(checkpoints={"vae": None})

        @property
        def device(self):
            asked.append(threading.current_thread())

    warming = Warming(Hardware())
    warming.launched(0)
    warming.seen()
    assert asked == [threading.main_thread()]


def test_pipelines_are_imported_by_one_thread_at_a_time():
    family = Family("slow", "Slow", "collections:OrderedDict", {"en": "x"})
    found = threading.Event()
    thread = threading.Thread(target=lambda: family.pipeline_class() and found.set(), daemon=True)
    with HEAVY:
        thread.start()
        assert not found.wait(0.05)
    assert found.wait(10)


@pytest.mark.parametrize(
    ("kind", "method", "path", "expected"),
    [
        ("http", "GET", "/", 1),
        ("http", "HEAD", "/", 0),  # as Gradio asks itself
        ("http", "GET", "/config", 0),
        ("websocket", "", "/", 0),
        ("lifespan", "", "", 0),
    ],
)
def test_only_the_first_page_counts_as_seen(kind, method, path, expected):
    order = []

    async def app(scope, receive, send):
        order.append("sent")

    seen = FirstSight(app, lambda: order.append("seen"))
    scope = {key: value for key, value in (("type", kind), ("method", method), ("path", path)) if value}
    asyncio.run(seen(scope, None, None))
    assert order == ["sent", *["seen"] * expected]
