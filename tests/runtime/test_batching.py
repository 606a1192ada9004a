"""Runs of several visitors in one batch: the pictures of each as if it were alone, and each visitor on their own."""

import copy
import queue
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_runtime import generate, pixels
from test_taking_turns import as_visitor, result_of, start, until, until_waiting

from genarium.catalogue import find_checkpoints
from genarium.errors import InputError, Stopped
from genarium.runtime import Progress, Request, Result, Runtime, Stop, batching
from genarium.runtime.batching import JointRun, Part, kind_of
from genarium.runtime.costs import Costs
from genarium.runtime.crews import Joinable
from genarium.runtime.results import Pictures, part_of
from genarium.runtime.steady import STEADY
from genarium.runtime.turns import Turns
from genarium.runtime.visitors import Visitor

FEW = {"num_inference_steps": 3}


@pytest.fixture(scope="module")
def catalogue(tiny_checkpoints, families):
    return find_checkpoints(families)


@pytest.fixture
def runtime(catalogue):
    made = Runtime(catalogue, device="cpu", dtype=torch.float32)
    made.joins = True  # on a processor whose kernels are not steady too: what is tested here is who gets what
    return made


def asked(seed, number=1, labels=None, name="tiny-ddpm", **parameters):
    return Request(name, "generate", seed, number, labels, {**FEW, **parameters})


def calls_of(runtime, monkeypatch, name="tiny-ddpm", meanwhile=lambda call, step: None):
    """Return a list that gets the number of samples of each call of a pipeline."""
    pipeline, calls = runtime.pipeline(name), []

    class Watched(type(pipeline)):
        def __call__(self, **arguments):
            calls.append(arguments["batch_size"])
            report = arguments["callback_on_step_end"]

            def step(pipe, number, *more):
                meanwhile(len(calls), number)
                report(pipe, number, *more)

            return super().__call__(**{**arguments, "callback_on_step_end": step})

    monkeypatch.setattr(pipeline, "__class__", Watched)
    return calls


def gather(runtime, requests, watch=None):
    """Let a visitor ask each request while somebody else computes; return their threads when that one is done."""
    watch = watch or {}
    with runtime.turn(Stop()):
        threads = []
        for i, request in enumerate(requests):
            threads.append(start(runtime, f"visitor {i}", request, watch=watch.get(i, lambda event: None)))
            until_waiting(runtime, i + 1)
    return threads


def test_each_gets_the_pictures_that_they_would_get_alone(catalogue, runtime, monkeypatch):
    requests = [asked(7, 3, (1, 2, 3)), asked(40, 2, (9, 9)), asked(7, 1, (1,)), asked(3, 3, (4, 5, 6))]
    alone = [Runtime(catalogue, "cpu", torch.float32).run(request) for request in requests]
    calls = calls_of(runtime, monkeypatch)
    found = [result_of(thread) for thread in gather(runtime, requests)]
    assert calls == [9], "one call for all"
    for expected, result in zip(alone, found, strict=True):
        assert np.array_equal(pixels(expected), pixels(result))
        assert result.request == expected.request and result.evaluations == expected.evaluations
        assert result.company == 9 - len(result.pictures)
    assert sum(result.seconds for result in found) < 9 * found[2].seconds * 1.01, "each pays for their own samples"
    until(lambda: not runtime._turns._all.flows)


@pytest.mark.parametrize(
    "name", ["tiny-flow-matching", "tiny-dit", "tiny-score-sde", "tiny-vqgan", "tiny-autoregressive"]
)
def test_other_families_too(catalogue, runtime, monkeypatch, name):
    steps = {} if name == "tiny-autoregressive" else FEW
    requests = [Request(name, "generate", seed, 1, None, steps) for seed in (3, 14, 15)]
    alone = [Runtime(catalogue, "cpu", torch.float32).run(request) for request in requests]
    calls = calls_of(runtime, monkeypatch, name)
    found = [result_of(thread) for thread in gather(runtime, requests)]
    assert calls == [3] and all(np.array_equal(pixels(a), pixels(b)) for a, b in zip(alone, found, strict=True))


def test_what_differs_in_more_than_seed_and_classes_is_computed_apart(runtime, monkeypatch):
    calls = calls_of(runtime, monkeypatch)
    requests = [asked(1), asked(2, guidance_scale=2.0), asked(3, labels=(3,)), asked(4, sampler="heun"), asked(5)]
    for thread in gather(runtime, requests):
        assert len(result_of(thread).pictures) == 1
    assert sorted(calls) == [1, 1, 1, 2]


def test_which_runs_are_of_a_kind(catalogue):
    def kind(request, name=None):
        checkpoint = catalogue[request.checkpoint]
        return kind_of((checkpoint, request.checked(checkpoint), {}))

    assert kind(asked(1)) == kind(asked(2, 5)) == kind(asked(1, num_inference_steps=3)) is not None
    assert kind(asked(1, labels=(1,))) == kind(asked(9, 2, (2, 3))) != kind(asked(1))
    assert kind(asked(1, eta=0.5)) != kind(asked(1)) != kind(asked(1, name="tiny-flow-matching"))
    assert kind(asked(1, name="tiny-flow-matching", sampler="rk45")) is None, "its steps depend on the others"
    assert kind(Request("tiny-vae", "generate", 1, 1)) is None, "its family does not say that it may"
    assert kind(replace(generate(), task="anomaly", parameters={})) is None, "is no drawing of samples"
    [one, other] = [find_checkpoints(catalogue.families)["tiny-ddpm"] for _ in range(2)]
    assert kind_of((one, asked(1).checked(one), {})) != kind_of((other, asked(1).checked(other), {})), (
        "may be other weights"
    )


def test_a_batch_has_an_end_and_nobody_waits_for_a_longer_run(runtime, monkeypatch):
    monkeypatch.setattr("genarium.runtime.scheduler.MOST_SAMPLES", 8)
    calls = calls_of(runtime, monkeypatch)
    for thread in gather(runtime, [asked(i, 3) for i in range(5)] + [asked(9, 9)]):
        result_of(thread)
    assert sorted(calls) == [3, 6, 6, 9]
    calls.clear()
    runtime.costs = Costs()  # what this machine took for other numbers of samples would count more
    runtime.costs.learn(
        (runtime.checkpoint("tiny-ddpm"), asked(0, 1).checked(runtime.checkpoint("tiny-ddpm")), {}), 64, 0.1
    )
    for thread in gather(runtime, [asked(1, 6), asked(2, 1)]):
        result_of(thread)
    assert calls == [1, 6], "the short one is first, and does not take the long one along"


def test_joining_can_be_left_out(catalogue, monkeypatch):
    runtime = Runtime(catalogue, "cpu", torch.float32, joins=False)
    calls = calls_of(runtime, monkeypatch)
    for thread in gather(runtime, [asked(i) for i in range(3)]):
        assert result_of(thread).company == 0
    assert calls == [1, 1, 1]
    assert not Runtime(catalogue, "cpu", torch.bfloat16).joins, "where kernels differ with the batch"


def test_each_sees_their_own_previews(runtime, monkeypatch):
    monkeypatch.setattr(batching, "PREVIEW_SECONDS", 0.0)
    requests = [asked(7, 2), asked(40, 1), asked(3, 2)]
    for request, thread in zip(requests, gather(runtime, requests), strict=True):
        result = result_of(thread)
        seen = [event.pictures for event in thread.made if isinstance(event, Progress) and event.pictures]
        assert seen and {len(shown) for shown in seen} == {request.batch_size}
        last = np.stack([np.asarray(picture, np.int16) for picture in seen[-1]])
        assert np.abs(last - pixels(result)).max() <= 1, "the last step's estimate is the result"


@pytest.mark.parametrize("who", [0, 1, 2])
def test_a_stop_is_one_visitor_s_own(catalogue, runtime, monkeypatch, who):
    """Also of the one in whose thread all are computed."""
    requests = [asked(i, 2) for i in range(3)]
    expected = [pixels(Runtime(catalogue, "cpu", torch.float32).run(request)) for request in requests]
    stopped, reached = threading.Event(), threading.Event()

    def wait(call, step):
        if step == 1:
            reached.set()
            until(lambda: not threads[who].is_alive())

    calls = calls_of(runtime, monkeypatch, meanwhile=wait)
    threads = []

    def leave(event):
        if reached.wait(0) and not stopped.is_set():
            stopped.set()
            raise RuntimeError("leaves")  # closes the iterator

    with runtime.turn(Stop()):
        for i, request in enumerate(requests):
            threads.append(start(runtime, f"visitor {i}", request, watch=leave if i == who else lambda event: None))
            until_waiting(runtime, i + 1)
    for i, thread in enumerate(threads):
        if i == who:
            thread.join(60)
            assert str(thread.made[-1]) == "leaves"
        else:
            assert np.array_equal(pixels(result_of(thread)), expected[i])
    assert calls == [6]
    until(lambda: runtime._turns._all.number == 0 and not runtime._turns._holding)


def test_when_all_have_left_the_computing_ends(runtime, monkeypatch):
    steps = []
    calls_of(runtime, monkeypatch, meanwhile=lambda call, step: steps.append(step))
    stops = [threading.Event() for _ in range(2)]

    def run(i):
        def work():
            for event in runtime.stream(asked(i, num_inference_steps=200), stop=stops[i]):
                if isinstance(event, Progress) and event.step:
                    stops[i].set()

        with pytest.raises(Stopped):
            as_visitor(f"visitor {i}", work)

    with runtime.turn(Stop()):
        threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
        for i, thread in enumerate(threads):
            thread.start()
            until_waiting(runtime, i + 1)
    for thread in threads:
        thread.join(60)
    until(lambda: runtime._turns._all.number == 0)
    assert max(steps) < 199 and runtime.run(asked(1)).pictures, "the next is served"


def test_an_error_reaches_everybody(runtime, monkeypatch):
    def fail(call, step):
        raise ValueError("of the model")

    calls_of(runtime, monkeypatch, meanwhile=fail)
    for thread in gather(runtime, [asked(i) for i in range(3)]):
        thread.join(60)
        assert str(thread.made[-1]) == "of the model"
    until(lambda: runtime._turns._all.number == 0 and not runtime._turns._holding)


def test_a_part_that_takes_too_long_is_given_up_alone(runtime, monkeypatch):
    monkeypatch.setattr(batching, "SURE_SECONDS", 0.0)
    checkpoint = runtime.checkpoint("tiny-ddpm")
    turns, events = Turns(), [queue.SimpleQueue() for _ in range(2)]

    def check(i, seconds):
        if i:
            raise InputError("too long")

    made = [asked(i).checked(checkpoint) for i in range(2)]
    parts = [Part(made[i], events[i], lambda seconds, i=i: check(i, seconds)) for i in range(2)]
    first, second = (turns.ask(Stop(), Visitor(str(i)), 1.0, Joinable("kind", 1, parts[i])) for i in range(2))
    rode = []

    def ride():
        with second:
            rode.append(second.rode)

    with first:
        thread = threading.Thread(target=ride)
        thread.start()
        until(lambda: turns.waiting == 1)
        assert first.take_along(8) == [second]
        JointRun(runtime.pipeline("tiny-ddpm"), checkpoint, [first, second]).finish()
    thread.join(60)
    last = [[events[i].get() for _ in range(events[i].qsize())][-1] for i in range(2)]
    assert isinstance(last[0], Result) and str(last[1]) == "too long" and rode == [True]


def test_a_part_of_an_output_has_its_own_samples():
    frames = torch.zeros(2, 5, 1, 4, 4, dtype=torch.uint8)
    output = {"images": ["a", "b"], "codes": None, "frames": frames, "frame_steps": [1, 2]}  # as many steps as samples
    part = part_of(output, slice(1, 2))
    assert part.images == ["b"] and part.codes is None and part.frames.shape[0] == 1 and part.frame_steps == [1, 2]
    assert Pictures.fields_from([part], None)["frame_steps"] == [1, 2]


def test_costs_are_learnt_of_the_batch(catalogue, runtime):
    for thread in gather(runtime, [asked(i) for i in range(6)]):
        result_of(thread)
    checkpoint = catalogue["tiny-ddpm"]
    known = runtime.costs._means[("tiny-ddpm", "generate")]
    assert set(known) == {(6).bit_length()}, "as of six samples at once"
    assert runtime.costs.seconds((checkpoint, asked(0, 6).checked(checkpoint), {}), 64) > 0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("activation", [torch.nn.SiLU(), torch.nn.GELU(), torch.nn.GELU("tanh"), torch.nn.Sigmoid()])
def test_activations_of_a_sample_do_not_depend_on_the_others(activation, layout):
    """Also where the numbers fill no vectors, where threads share them, and where they do not lie one after another."""
    activation = copy.deepcopy(activation)
    plain = activation(torch.ones(1))
    activation.__class__ = STEADY[type(activation)]
    for size in ((5, 7, 7), (8, 3, 5), (33, 41, 29)):
        x = 3 * torch.randn(6, *size, generator=torch.Generator().manual_seed(0))
        x = x.to(memory_format=layout)
        every = activation(x)
        assert every.shape == x.shape and torch.allclose(
            every, type(activation).__mro__[1].forward(activation, x), atol=1e-4
        )
        for number in (1, 2, 5):
            assert torch.equal(activation(x[:number]), every[:number])
        assert torch.equal(activation(x[:, 1:3]), every[:, 1:3])
    assert torch.allclose(activation(torch.ones(1)), plain)
