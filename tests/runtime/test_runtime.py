"""The runtime: the same result for the same request, batches, previews, Stop, eviction, two visitors at once."""

import inspect
import json
import pickle
import shutil
import threading
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import PIL.Image
import pytest
import torch
from conftest import pictures

from genarium import checkpoints as checkpoints_module
from genarium.catalogue import find_checkpoints
from genarium.checkpoints import load_pipeline, loading
from genarium.errors import CheckpointError, HubError, InputError, Stopped
from genarium.recipe import find_recipe
from genarium.runtime import Outlook, Progress, Result, Runtime, Stop, pick_dtype
from genarium.runtime.program import to_python
from genarium.runtime.request import Request, choose_labels, parse_seed
from genarium.tasks.anomaly.quantiles import stored_quantiles
from genarium.ui.picker import facts_html

STEPS = {"num_inference_steps": 4}


@pytest.fixture(scope="module")
def catalogue(tiny_checkpoints, families):
    return find_checkpoints(families)


@pytest.fixture
def runtime(catalogue):
    return Runtime(catalogue, device="cpu", dtype=torch.float32)


def picture(seed=0):
    return PIL.Image.fromarray(((pictures(1, seed)[0, 0] + 1) * 127.5).to(torch.uint8).numpy())


def pixels(result: Result) -> np.ndarray:
    return np.stack([np.asarray(p) for p in result.pictures])


def generate(seed=0, number=4, **parameters):
    labels = tuple(i % 10 for i in range(number))
    return Request("tiny-ddpm", "generate", seed, number, labels, {**STEPS, **parameters})


def test_the_catalogue_reads_no_weights(catalogue, runtime):
    assert {"tiny-ddpm", "tiny-vae"} <= set(catalogue.offering("generate"))
    assert list(catalogue.offering("swap_style")) == ["tiny-style-ae"] and not catalogue.broken
    assert runtime.loaded() == []
    checkpoint = catalogue["tiny-ddpm"]
    assert checkpoint.class_names[3] == "class 3" and checkpoint.size > 10_000
    assert len(stored_quantiles(checkpoint, {})) == len(stored_quantiles(checkpoint, {}, class_given=True)) == 201
    assert stored_quantiles(checkpoint, {}) != stored_quantiles(checkpoint, {}, class_given=True)
    usual = checkpoint.controls("anomaly")["class_weight"].default
    assert stored_quantiles(checkpoint, {"class_weight": usual}, class_given=True)
    assert stored_quantiles(checkpoint, {"class_weight": usual + 1}, class_given=True) is None, "a scale of its own"
    assert stored_quantiles(checkpoint, {"class_weight": usual + 1})
    assert checkpoint.controls("generate")["sampler"].choices[0] == "unipc"


def test_a_request_gives_previews_progress_and_one_result(runtime):
    events = list(runtime.stream(generate()))
    assert isinstance(events[-1], Result) and all(isinstance(e, Progress) for e in events[:-1])
    steps = [e for e in events[:-1] if e.step]
    assert sorted({e.step for e in steps}) == [1, 2, 3, 4] and steps[0].total == 4
    assert len(steps[0].pictures) == 4 and steps[0].pictures[0].size == (28, 28)
    assert events[-1].seconds > 0 and events[-1].dtype == "float32"


def test_a_result_counts_network_evaluations(runtime):
    guided = runtime.run(generate(guidance_scale=1.5))
    assert guided.evaluations == 2 * runtime.run(generate(guidance_scale=1.0)).evaluations == 2 * 4
    adaptive = Request("tiny-score-sde", "generate", 0, 2, (0, 1), {"sampler": "rk45", "tolerance": 0.1})
    counts = runtime.pipeline("tiny-score-sde")(
        2, adaptive.generators(0, 2), [0, 1], sampler="rk45", tolerance=0.1
    ).num_function_evaluations
    assert runtime.run(adaptive).evaluations == sum(counts) / 2 > 10
    assert runtime.run(Request("tiny-vae", "generate", 0, 2, (0, 1))).evaluations == 0  # decoding is no forward pass


def test_samples_depend_on_their_own_seed_only_however_they_are_batched(catalogue):
    whole = Runtime(catalogue, "cpu", torch.float32).run(generate(seed=10, number=6))
    small = Runtime(catalogue, "cpu", torch.float32, max_batch=4).run(generate(seed=10, number=6))
    assert np.abs(pixels(whole).astype(int) - pixels(small)).max() <= 1
    later = Runtime(catalogue, "cpu", torch.float32).run(
        Request("tiny-ddpm", "generate", 12, 2, (2, 3), STEPS)
    )  # seed + i
    assert np.abs(pixels(whole)[2:4].astype(int) - pixels(later)).max() <= 1


def test_closing_the_stream_stops_within_one_step(catalogue, monkeypatch):
    runtime = Runtime(catalogue, "cpu", torch.float32)
    pipeline = runtime.pipeline("tiny-ddpm")
    network, calls = pipeline._network, []

    def slow(*arguments):
        calls.append(time.perf_counter())
        time.sleep(0.05)
        return network(*arguments)

    monkeypatch.setattr(pipeline, "_network", slow)
    events = runtime.stream(generate(num_inference_steps=100, guidance_scale=1.0))
    while next(events).step < 1:
        pass
    events.close()
    seen = len(calls)
    time.sleep(0.6)
    assert len(calls) <= seen + 2, "the step in progress may end, no more"
    monkeypatch.undo()
    assert len(runtime.run(generate()).pictures) == 4, "the next visitor is served"


def test_a_waiting_run_can_be_stopped_before_its_turn(catalogue):
    runtime = Runtime(catalogue, "cpu", torch.float32)
    with runtime.turn(Stop()):  # another visitor computes
        events = runtime.stream(generate())
        waits = Outlook(before=1, others=1, seconds=0.0)
        assert next(events) == Progress(0, 1, 0.0, None, outlook=waits), "a sign of life while it waits"
        before = {t for t in threading.enumerate() if t.name == "generate tiny-ddpm"}
        events.close()
        for thread in before:
            thread.join(timeout=10)
        assert before and not any(t.is_alive() for t in before) and runtime.loaded() == []
    assert len(runtime.run(generate()).pictures) == 4


def test_a_zerogpu_space_lends_its_gpu_to_each_run(catalogue, monkeypatch):
    """A stand-in for the package `spaces`, which is there only: what goes in and comes out is pickled, as between processes."""
    plain = pixels(Runtime(catalogue, "cpu", torch.float32).run(generate()))
    lent = []

    def gpu(task):
        assert inspect.isgeneratorfunction(task)

        def borrow(*arguments):
            lent.append("taken")
            try:
                for value in task(*pickle.loads(pickle.dumps(arguments))):
                    yield pickle.loads(pickle.dumps(value))
            finally:
                lent.append("given back")

        return borrow

    monkeypatch.setattr("genarium.runtime.scheduler.spaces", SimpleNamespace(GPU=gpu))
    runtime = Runtime(catalogue, "cpu", torch.float32)
    assert lent == []
    assert np.array_equal(pixels(runtime.run(generate())), plain) and lent == ["taken", "given back"]
    assert runtime.run(Request("tiny-vae", "anomaly", 0), {"images": [picture()]}).scores.shape == (1,)
    stop = threading.Event()
    events = runtime.stream(generate(num_inference_steps=250), stop=stop)
    next(events)
    stop.set()
    with pytest.raises(Stopped):
        list(events)

    def broken(name):
        raise CheckpointError("the weights are gone")

    monkeypatch.setattr(runtime, "pipeline", broken)
    with pytest.raises(CheckpointError, match="the weights are gone"):
        runtime.run(generate())
    assert lent.count("taken") == lent.count("given back") == 4


def test_two_visitors_at_once_get_what_they_would_get_alone(catalogue):
    alone = {seed: pixels(Runtime(catalogue, "cpu", torch.float32).run(generate(seed))) for seed in (1, 2, 3)}
    runtime = Runtime(catalogue, "cpu", torch.float32, concurrency=3)
    together = {}
    threads = [
        threading.Thread(target=lambda s=seed: together.__setitem__(s, pixels(runtime.run(generate(s)))))
        for seed in alone
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    for seed, expected in alone.items():
        assert np.abs(expected.astype(int) - together[seed]).max() <= 1


def test_a_pipeline_is_loaded_once_even_if_many_ask(catalogue, monkeypatch):
    loads = []
    monkeypatch.setattr(
        "genarium.runtime.pipelines.load_pipeline",
        lambda *a: loads.append(a[0].name) or time.sleep(0.1) or load_pipeline(*a),
    )
    runtime = Runtime(catalogue, "cpu", torch.float32)
    threads = [threading.Thread(target=runtime.pipeline, args=("tiny-vae",)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert loads == ["tiny-vae"]


def test_networks_are_built_one_at_a_time(catalogue, monkeypatch):
    building, most, load = [], [], loading._load_component

    def counted(*arguments):
        building.append(1)
        most.append(len(building))
        time.sleep(0.05)  # other threads would come in here
        try:
            return load(*arguments)
        finally:
            building.pop()

    monkeypatch.setattr(loading, "_load_component", counted)
    runtime = Runtime(catalogue, "cpu", torch.float32)
    names = ["tiny-vae", "tiny-ddpm", "tiny-style-ae"]
    threads = [threading.Thread(target=runtime.pipeline, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert sorted(runtime.loaded()) == sorted(names) and len(most) > len(names)
    assert max(most) == 1, "accelerate replaces how torch registers parameters, for all threads at once"


def test_the_least_recently_used_is_dropped_under_the_budget(catalogue):
    runtime = Runtime(catalogue, "cpu", torch.float32, memory_budget=1)
    runtime.pipeline("tiny-ddpm")
    runtime.pipeline("tiny-vae")
    assert runtime.loaded() == ["tiny-vae"]
    roomy = Runtime(catalogue, "cpu", torch.float32, memory_budget=10**9)
    roomy.pipeline("tiny-ddpm")
    roomy.pipeline("tiny-vae")
    roomy.pipeline("tiny-ddpm")
    assert roomy.loaded() == ["tiny-vae", "tiny-ddpm"]


def test_every_task_runs_from_pictures_of_any_size_and_mode(runtime):
    photo = PIL.Image.new("RGBA", (300, 200), (200, 30, 30, 120))
    tried = {
        "reconstruct": {"images": [photo, picture()]},
        "interpolate": {"a": photo, "b": picture()},
        "anomaly": {"images": [photo, picture(), picture(1)]},
    }
    ran = Counter(task for c in runtime.catalogue.checkpoints.values() for task in tried.keys() & c.tasks.keys())
    assert len(ran) == len(tried) and min(ran.values()) > 1
    for name, checkpoint in runtime.catalogue.checkpoints.items():
        for task, inputs in ((task, inputs) for task, inputs in tried.items() if task in checkpoint.tasks):
            quick = {k: v for k, v in {**STEPS, "num_frames": 3}.items() if k in checkpoint.controls(task)}
            result = runtime.run(Request(name, task, parameters=quick), inputs)
            assert all(p.size == (28, 28) and p.mode == "L" for p in result.inputs)
            if task != "anomaly":
                assert all(p.size == (28, 28) and p.mode == "L" for p in result.pictures)
            else:
                assert result.scores.shape == (3,) and result.maps.shape == (3, 28, 28) and result.unit


@pytest.mark.parametrize(
    ("request_", "inputs", "says"),
    [
        (Request("tiny-dpdm", "generate"), None, "tiny-ddpm"),
        (Request("tiny-ddpm", "swap_style"), None, "cannot swap_style"),
        (Request("tiny-ddpm", "generate", parameters={"steps": 3}), None, "not a parameter here"),
        (Request("tiny-ddpm", "generate", parameters={"num_inference_steps": 0}), None, "between 1 and"),
        (Request("tiny-ddpm", "generate", parameters={"num_inference_steps": 2.5}), None, "whole number"),
        (Request("tiny-ddpm", "generate", parameters={"sampler": "magic"}), None, "choose one of"),
        (Request("tiny-ddpm", "generate", parameters={"guidance_scale": "high"}), None, "takes a number"),
        (Request("tiny-ddpm", "generate", seed="lucky"), None, "whole number such as 42"),
        (Request("tiny-ddpm", "generate", seed=-1), None, "between 0"),
        (Request("tiny-ddpm", "generate", batch_size=0), None, "number of images"),
        (Request("tiny-ddpm", "generate", class_labels=(10,)), None, "classes 0 ... 9"),
        (Request("tiny-ddpm", "interpolate", class_labels=(1,)), None, "takes no classes"),
        (Request("tiny-ddpm", "reconstruct"), None, "no picture"),
        (Request("tiny-ddpm", "reconstruct"), {"images": []}, "no picture"),
        (Request("tiny-ddpm", "reconstruct", invert="perhaps"), {"images": [picture()]}, "invert"),
    ],
)
def test_bad_requests_are_refused_with_words_and_the_runtime_lives_on(runtime, request_, inputs, says):
    with pytest.raises((InputError, CheckpointError)) as error:
        runtime.run(request_, inputs)
    assert says in str(error.value)
    assert len(runtime.run(generate(number=1)).pictures) == 1


def test_the_python_snippet_makes_the_same_pixels(runtime, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for task, inputs in (("generate", {}), ("reconstruct", {"images": [picture()]}), ("interpolate", None)):
        if inputs is None:
            inputs = {"a": picture(), "b": picture(1)}
        for name, value in inputs.items():
            (value[0] if isinstance(value, list) else value).save(f"{name}.png")
        parameters = dict(STEPS) | ({"num_frames": 3} if task == "interpolate" else {})
        labels = (3, 4) if task == "generate" else None
        result = runtime.run(Request("tiny-ddpm", task, 7, 2, labels, parameters), inputs)
        scope = {}
        exec(to_python(result.request, runtime.catalogue["tiny-ddpm"]), scope)
        assert np.array_equal(pixels(result), np.stack([np.asarray(i) for i in scope["images"]])), task


def test_the_python_snippet_says_how_to_install_the_package(runtime, monkeypatch):
    checkpoint = runtime.catalogue["tiny-ddpm"]
    request = generate().checked(checkpoint)
    assert "pip install ." in to_python(request, checkpoint).splitlines()[0]
    monkeypatch.setenv("SPACE_ID", "someone/genarium")
    assert 'pip install "git+https://huggingface.co/spaces/someone/genarium"' in to_python(request, checkpoint)


def test_the_python_snippet_names_the_hub_only_once_the_checkpoint_is_there(runtime):
    checkpoint = runtime.catalogue["tiny-ddpm"]
    request = generate().checked(checkpoint)
    recipe = find_recipe("ddpm-fashion-mnist")
    for revision in (None, "0" * 40):
        recipe = replace(recipe, revision=revision)
        shown = to_python(request, replace(checkpoint, recipe=recipe))
        assert (recipe.repo_id in shown) is (revision is not None)
        assert (recipe.repo_id in facts_html(replace(checkpoint, recipe=recipe))) is (revision is not None)


def test_requests_survive_json():
    request = generate(seed=5)
    assert Request.from_dict(json.loads(json.dumps(request.to_dict()))) == request
    whole = request.to_dict()
    wrong = ({"batch_size": "many"}, {"class_labels": ["a"]}, {"checkpoint": []}, {"parameters": 3}, {"colour": 1})
    for bad in ({"colour": 1}, {"checkpoint": "a"}, None, 3, *({**whole, **change} for change in wrong)):
        with pytest.raises(InputError):
            Request.from_dict(bad)


@pytest.mark.parametrize("seed", ["42", 42, 42.0, " 42 "])
def test_seeds_of_many_kinds(seed):
    assert parse_seed(seed) == 42


@pytest.mark.parametrize("seed", ["", None, "4.2", 4.2, "１２a", True, 2**63, float("inf"), float("nan"), [1]])
def test_what_is_no_seed(seed):
    with pytest.raises(InputError, match="seed"):
        parse_seed(seed)


def test_labels_from_what_people_choose(catalogue):
    checkpoint = catalogue["tiny-ddpm"]
    assert choose_labels(checkpoint, "cycle", 12)[-3:] == (9, 0, 1)
    assert choose_labels(checkpoint, "any", 3) is None and choose_labels(checkpoint, [], 3) is None
    assert choose_labels(checkpoint, "Class 4", 2) == (4, 4) and choose_labels(checkpoint, ["1", 2], 3) == (1, 2, 1)
    for bad in ("Hat", "10", "-1", 11):
        with pytest.raises(InputError, match="No class"):
            choose_labels(checkpoint, bad, 1)


def test_no_code_from_a_folder_runs(tiny_checkpoints, families, tmp_path):
    folder = tmp_path / "evil"
    shutil.copytree(tiny_checkpoints / "tiny-vae", folder)
    for file in folder.rglob("*.py"):
        file.write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    pipeline = load_pipeline(checkpoints_module.open_checkpoint(folder, families))
    assert type(pipeline).__module__ == "pipelines.pipeline_vae" and not (tmp_path / "ran").exists()


def change_index(folder, **changes):
    path = folder / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "model_index.json").write_text("{"), "no readable model_index.json"),
        (lambda f: (f / "model_index.json").write_text('{"_class_name": "NobodysPipeline"}'), "no installed plugin"),
        (lambda f: change_index(f, _class_name=[]), "no readable model_index.json"),
        (lambda f: change_index(f, id2label=["Bag"]), "id2label"),
        (lambda f: change_index(f, id2label={"bag": "Bag"}), "id2label"),
        (lambda f: change_index(f, anomaly_quantiles={"default": "low"}), "anomaly_quantiles"),
        (lambda f: change_index(f, unet=["unet"]), "unet must name"),
        (lambda f: shutil.rmtree(f / "unet"), "cannot be loaded"),
        (lambda f: next(f.rglob("*.safetensors")).write_bytes(b"junk"), "cannot be loaded"),
    ],
)
def test_a_damaged_checkpoint_says_so(tiny_checkpoints, families, tmp_path, damage, says):
    folder = tmp_path / "damaged"
    shutil.copytree(tiny_checkpoints / "tiny-ddpm", folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=says):
        load_pipeline(checkpoints_module.open_checkpoint(folder, families))


def test_a_damaged_folder_among_good_ones_is_listed_as_broken(house, families, tiny_checkpoints):
    shutil.copytree(tiny_checkpoints / "tiny-ddpm", house / "checkpoints/good")
    (house / "checkpoints/bad").mkdir()
    (house / "checkpoints/bad/model_index.json").write_text("[]")
    (house / "checkpoints/good/evaluation.json").write_text("{")
    catalogue = find_checkpoints(families)
    assert list(catalogue.checkpoints) == ["good"] and "bad" in catalogue.broken[0].origin
    assert catalogue["good"].evaluation == {}
    with pytest.raises(CheckpointError, match="cannot be used"):
        catalogue["bad"]


def test_guests_come_and_the_least_recently_used_goes(catalogue, tiny_checkpoints, families, no_trial):
    runtime = Runtime(catalogue, device="cpu", dtype=torch.float32, max_guests=2)

    def guest(name):
        return checkpoints_module.open_checkpoint(tiny_checkpoints / "tiny-vae", families, name=name)

    for name in ("x/a@1", "x/b@1"):
        runtime.welcome(guest(name))
    assert len(runtime.run(Request("x/a@1", "generate", batch_size=2)).pictures) == 2
    runtime.welcome(guest("x/c@1"))
    assert [g.name for g in runtime.guests()] == ["x/a@1", "x/c@1"] and "x/b@1" not in runtime.loaded()
    with pytest.raises(HubError):  # gone: the name means the Hub again
        runtime.run(Request("x/b@1", "generate"))


def test_who_cannot_be_loaded_is_no_guest(catalogue, tiny_checkpoints, families, tmp_path, no_trial):
    shutil.copytree(tiny_checkpoints / "tiny-vae", tmp_path / "damaged")
    next((tmp_path / "damaged").rglob("*.safetensors")).write_bytes(b"junk")
    runtime = Runtime(catalogue, device="cpu", dtype=torch.float32)
    with pytest.raises(CheckpointError, match="cannot be loaded"):
        runtime.welcome(checkpoints_module.open_checkpoint(tmp_path / "damaged", families))
    assert not runtime.guests()


def test_a_hub_id_that_cannot_be_had_says_so(catalogue):
    with pytest.raises(HubError, match="Hub"):
        catalogue["nobody/nothing"]
    with pytest.raises(InputError, match="Hub"):
        catalogue["a b/c d"]


def test_bfloat16_only_where_it_gains(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
    assert pick_dtype(torch.device("cpu")) == torch.bfloat16
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert pick_dtype(torch.device("cpu")) == torch.float32
