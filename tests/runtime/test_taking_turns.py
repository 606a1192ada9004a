"""Runs that take turns: each result as if it were alone, a short run beside long ones, and what a run will cost."""

import contextvars
import threading
import time
from functools import partial
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from test_runtime import generate, picture, pixels

from genarium import environment
from genarium.catalogue import find_checkpoints
from genarium.errors import InputError
from genarium.runtime import Outlook, Progress, Request, Result, Runtime, Stop, Visitor, flows, turns
from genarium.runtime.costs import MAX_KNOWN, Costs, units_of
from genarium.runtime.visitors import VISITOR
from genarium.ui.readers import visitor_of
from genarium.ui.runs import progress_html

QUICK = {"num_inference_steps": 3, "num_refinements": 1, "num_frames": 3, "num_noise_levels": 2, "num_samples": 2}


@pytest.fixture(scope="module")
def catalogue(tiny_checkpoints, families):
    return find_checkpoints(families)


@pytest.fixture
def runtime(catalogue):
    return Runtime(catalogue, device="cpu", dtype=torch.float32)


def as_visitor(address, function, *arguments):
    """Call a function in the place of somebody's event."""

    def call():
        VISITOR.set(Visitor(address, "page"))
        return function(*arguments)

    return contextvars.copy_context().run(call)


def start(runtime, address, request, inputs=None, watch=lambda event: None):
    """Start a run of a visitor -> its thread; what comes of it is appended to `made`."""
    made = []

    def work():
        try:
            for event in runtime.stream(request, inputs):
                watch(event)
                made.append(event)
        except BaseException as error:
            made.append(error)

    thread = threading.Thread(target=as_visitor, args=(address, work))
    thread.made = made
    thread.start()
    return thread


def result_of(thread):
    thread.join(60)
    assert isinstance(thread.made[-1], Result), thread.made[-1]
    return thread.made[-1]


def until(true):
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def until_waiting(runtime, number):
    until(lambda: runtime._turns.waiting >= number)


def jobs(catalogue):
    """Yield a request of each task of each checkpoint of pictures, twice with different seeds and material."""
    inputs = [
        {
            "images": [picture(i), picture(i + 2)],
            "a": picture(i),
            "b": picture(i + 1),
            "content": picture(i),
            "style": picture(i + 1),
        }
        for i in (0, 5)
    ]
    for name, checkpoint in catalogue.checkpoints.items():
        for task in ("generate", "reconstruct", "interpolate", "swap_style", "anomaly"):
            if checkpoint.modality == "image" and task in checkpoint.tasks:
                quick = {key: value for key, value in QUICK.items() if key in checkpoint.controls(task)}
                number = 2 if task == "generate" else 1
                pair = [Request(name, task, 7 + 10 * i, number, parameters=quick) for i in range(2)]
                yield pair, [{key: given[key] for key in checkpoint.tasks[task].inputs} for given in inputs]


def parts(result):
    """Return what was computed, as arrays."""
    if hasattr(result, "pictures"):
        return [pixels(result)]
    return [result.scores, *([] if result.maps is None else [result.maps])]


def note_step(order, who, event):
    if isinstance(event, Progress) and event.step:
        order.append(who)


def test_each_result_is_as_if_it_were_alone(catalogue, monkeypatch):
    """Two visitors use one pipeline, and each lets the other go on after every step."""
    monkeypatch.setattr(turns, "QUANTUM", 0.0)
    monkeypatch.setattr(flows, "GRAIN", 0.0)
    runtime, alone = (Runtime(catalogue, "cpu", torch.float32) for _ in range(2))
    orders = []
    for pair, inputs in jobs(catalogue):
        expected = [alone.run(request, given) for request, given in zip(pair, inputs)]
        order: list[int] = []
        orders.append(order)
        with runtime.turn(Stop()):
            threads = [
                start(runtime, str(i), request, given, partial(note_step, order, i))
                for i, (request, given) in enumerate(zip(pair, inputs))
            ]
            until_waiting(runtime, 2)
        for one, thread in zip(expected, threads):
            found = result_of(thread)
            assert all(map(np.array_equal, parts(one), parts(found))), one.request
            assert found.evaluations == one.evaluations, one.request
    mixed = [order for order in orders if sum(a != b for a, b in pairwise(order)) > 1]
    assert len(orders) > 40 and len(mixed) > 20, "they did take turns"


def slow(runtime, monkeypatch, name, seconds):
    """Let each call of a checkpoint's network take its time."""
    pipeline = runtime.pipeline(name)
    network = pipeline._network

    def call(*arguments):
        time.sleep(seconds)
        return network(*arguments)

    monkeypatch.setattr(pipeline, "_network", call)


def test_a_vae_beside_ten_long_runs(runtime, monkeypatch):
    slow(runtime, monkeypatch, "tiny-ddpm", 0.02)
    runtime.pipeline("tiny-vae")
    long = generate(num_inference_steps=200, guidance_scale=1.0)
    threads, stop = [], threading.Event()

    def watch(event):
        if stop.is_set():
            raise RuntimeError("seen enough")

    for i in range(10):
        threads.append(start(runtime, f"visitor {i}", long, watch=watch))
    until_waiting(runtime, 9)
    began = time.monotonic()
    assert len(as_visitor("newcomer", runtime.run, Request("tiny-vae", "generate", 0, 2)).pictures) == 2
    took = time.monotonic() - began
    still = [thread.is_alive() for thread in threads]
    stop.set()
    for thread in threads:
        thread.join(60)
    assert all(still), "none of the ten has ended"
    assert took < 10, "the ten compute for 40 s"
    until(lambda: runtime._turns._all.number == 0)


def test_a_wait_does_not_count_as_computing(runtime, monkeypatch):
    slow(runtime, monkeypatch, "tiny-ddpm", 0.02)
    request = generate(num_inference_steps=20, guidance_scale=1.0)
    threads = [start(runtime, f"visitor {i}", request) for i in range(4)]
    began = time.perf_counter()
    results = [result_of(thread) for thread in threads]
    took = time.perf_counter() - began
    assert sum(result.seconds for result in results) <= 1.1 * took
    shared = [event for event in threads[0].made if isinstance(event, Progress) and event.outlook.others]
    assert shared and all(event.outlook.others <= 3 for event in shared)


# ---- who it is ----


def test_the_runs_of_an_event_are_its_client_s(served):
    seen, stream = [], served.runtime.stream

    def look(*arguments):
        seen.append(VISITOR.get())
        return stream(*arguments)

    served.runtime.stream = look
    try:
        answer = served.http.post("gradio_api/call/generate", json={"data": ["tiny-vae", 1, "any", 0, {}]})
        served.http.get(f"gradio_api/call/generate/{answer.json()['event_id']}")
    finally:
        del served.runtime.stream
    assert seen == [Visitor("127.0.0.1", "")]


def test_pages_are_told_apart_and_calls_without_a_session_are_not():
    client = SimpleNamespace(host="192.0.2.7")
    page = SimpleNamespace(client=client, session_hash="abc")
    assert visitor_of(page, "an event") == Visitor("192.0.2.7", "abc")
    call = SimpleNamespace(client=client, session_hash="an event")
    assert visitor_of(call, "an event") == Visitor("192.0.2.7", "")
    assert visitor_of(None) == Visitor("unknown", "")


# ---- what a run will cost ----


def job(catalogue, number=4, **parameters):
    checkpoint = catalogue["tiny-ddpm"]
    return checkpoint, generate(0, number, **parameters).checked(checkpoint), {}


def test_costs_are_in_proportion_to_steps_and_samples(catalogue):
    costs = Costs()
    assert costs.seconds(job(catalogue), 64) is None, "nothing is known, so nothing is said"
    costs.learn(job(catalogue, 4, num_inference_steps=10), 64, 2.0)
    assert units_of(job(catalogue, 4, num_inference_steps=10)) == (40, 4)
    assert costs.seconds(job(catalogue, 4, num_inference_steps=30), 64) == pytest.approx(6)
    assert costs.seconds(job(catalogue, 8, num_inference_steps=10), 64) == pytest.approx(4)
    costs.learn(job(catalogue, 1, num_inference_steps=10), 64, 1.0)
    assert costs.seconds(job(catalogue, 1, num_inference_steps=20), 64) == pytest.approx(2), "as of one sample"
    assert costs.seconds(job(catalogue, 4, num_inference_steps=10), 64) == pytest.approx(2), "as of four"
    assert costs.seconds(job(catalogue, 100, num_inference_steps=10), 1) == pytest.approx(100), "one at a time"


def test_costs_of_other_settings_are_apart(catalogue):
    costs = Costs()
    costs.learn(job(catalogue, guidance_scale=1.0), 64, 1.0)
    costs.learn(job(catalogue, guidance_scale=2.0), 64, 2.0)
    assert costs.seconds(job(catalogue, guidance_scale=1.0), 64) == pytest.approx(1)
    assert 1 < costs.seconds(job(catalogue, guidance_scale=3.0), 64) < 2, "between those known"
    for i in range(2 * MAX_KNOWN):
        costs.learn(job(catalogue, guidance_scale=1 + i / MAX_KNOWN), 64, 1.0)
    assert len(costs._means) <= MAX_KNOWN


def test_a_machine_that_became_slower_is_noticed(catalogue):
    costs = Costs()
    for seconds in [1.0] * 20 + [4.0] * 6:
        costs.learn(job(catalogue), 64, seconds)
    assert costs.seconds(job(catalogue), 64) == pytest.approx(4, rel=0.15)


def test_a_run_that_would_take_too_long_is_refused_before_it_starts(catalogue):
    runtime = Runtime(catalogue, "cpu", torch.float32, max_seconds=60)
    runtime.costs.learn(job(catalogue, 4, num_inference_steps=1), 64, 1.0)
    with pytest.raises(InputError) as refused:
        as_visitor("stranger", runtime.run, generate(num_inference_steps=200))
    assert str(refused.value).startswith(
        "This would compute for about 3 minutes, and a visitor's run may take 60 s here."
    )
    assert "fewer images or steps" in str(refused.value) and runtime.loaded() == []
    assert as_visitor("stranger", runtime.run, generate(num_inference_steps=3)).pictures
    assert runtime.costs.seconds(job(catalogue, num_inference_steps=3), 64) < 3, "and learnt from"
    runtime.costs = Costs()
    runtime.costs.learn(job(catalogue, 4, num_inference_steps=1), 64, 1.0)
    assert runtime.run(generate(num_inference_steps=100)).pictures, "programs of this machine are no strangers"


def test_a_run_of_which_nothing_is_known_ends_when_its_first_steps_say_too_much(catalogue, monkeypatch):
    runtime = Runtime(catalogue, "cpu", torch.float32, max_seconds=20)
    slow(runtime, monkeypatch, "tiny-ddpm", 0.5)
    began = time.monotonic()
    with pytest.raises(InputError, match=r"fewer images or steps"):
        as_visitor("stranger", runtime.run, generate(num_inference_steps=200, guidance_scale=1.0))
    assert time.monotonic() - began < 20
    assert runtime.run(generate(num_inference_steps=3)).pictures, "the next is served"


def test_who_may_compute_how_long(catalogue, monkeypatch):
    monkeypatch.delenv("SPACE_ID", raising=False)
    assert Runtime(catalogue, "cpu").max_seconds is None
    monkeypatch.setenv("SPACE_ID", "someone/genarium")
    assert Runtime(catalogue, "cpu").max_seconds == environment.SPACE_RUN_SECONDS
    for value, seconds in (("45", 45.0), ("no", None), (" ", environment.SPACE_RUN_SECONDS)):
        monkeypatch.setenv(environment.MAX_RUN, value)
        assert Runtime(catalogue, "cpu").max_seconds == seconds
    for value in ("0", "-3", "nan", "long"):
        monkeypatch.setenv(environment.MAX_RUN, value)
        with pytest.raises(InputError, match=f"{environment.MAX_RUN}: takes a number of seconds"):
            Runtime(catalogue, "cpu")


# ---- what the page says ----


def progress(step, **outlook):
    return progress_html(Progress(step, 12, 1.0, None, outlook=Outlook(**outlook)))


def test_the_page_says_place_and_wait_in_both_languages():
    shown = progress(0, before=3, others=4, seconds=12.3)
    assert (
        "3 runs before yours" in shown and "about 12 s" in shown and "前面还有 3 个任务" in shown and "约 12 s" in shown
    )
    one = progress(0, before=1, others=1, seconds=None)
    assert "1 run before yours" in one and "about" not in one
    assert "about" not in progress(0, before=1, others=1, seconds=0.2), "less than a second is no wait"
    assert "Getting ready" in progress(0)


def test_the_page_says_with_whom_a_run_shares():
    shown = progress(3, others=9, seconds=400.0)
    assert "Step 3 of 12" in shown and "in turn with 9 other runs" in shown and "about 7 min left" in shown
    assert "轮流" in shown and "in turn with 1 other run<" in progress(3, others=1)
    shown = progress(3, others=1, together=4, seconds=20.0)
    assert (
        "in one batch with 4 other runs" in shown
        and "in turn with 1 other run<" in shown
        and "about 20 s left" in shown
    )
    alone = progress(3, together=1, seconds=20.0)
    assert "in one batch with 1 other run<" in alone and "同批" in alone and "turn" not in alone and "left" in alone
    assert "turn" not in progress(3) and "left" not in progress(3, seconds=5.0), "alone, the bar says it"
