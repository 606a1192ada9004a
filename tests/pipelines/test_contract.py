"""The contract (docs/contract.md): every family, every task it claims, on tiny random networks.

`media.py` says how tasks are called and what results look like, for pictures and for voices. What only voices promise is
tested in test_voice.py.
"""

import ast
import inspect
import json

import pytest
import torch
from conftest import build_tiny, picture_families, pictures, run_bare, voice
from media import call_with_pictures, generators, medium_of, same

from genarium import paths
from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.families import discover
from genarium.runtime.steady import can_be_steady, steady
from genarium.tasks import HOST_PARAMETERS, controls_of, find_tasks, tasks_of

FAMILIES = {family.name: family for family in discover(installed=False)}
PICTURES = {family.name: family for family in picture_families(discover(installed=False))}
VOICES = [name for name in FAMILIES if name not in PICTURES]
CASES = [
    (name, task.name)
    for name, family in FAMILIES.items()
    for task in tasks_of(family.pipeline_class())
    if task.method  # pages that call several are tested by themselves
]
PICTURE_CASES = [case for case in CASES if case[0] in PICTURES]
GENERATING = [name for name, task in CASES if task == "generate"]
SOURCES = [
    *sorted((paths.ROOT / "pipelines").glob("*.py")),
    *(paths.ROOT / "docs/example-plugin").rglob("*_gaussian.py"),
]


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def tiny():
    return {name: medium_of(family.pipeline_class()).build(family) for name, family in FAMILIES.items()}


def test_there_are_families_to_test():
    assert {"vae", "ddpm"} <= set(FAMILIES)
    assert set(VOICES) == {"voice-vae", "voice-vqvae"}
    for name in VOICES:
        assert [task for family, task in CASES if family == name] == [
            "reconstruct",
            "interpolate",
            "swap_style",
            "anomaly",
        ]
    assert not discover(installed=False).broken


@pytest.mark.parametrize(("family", "task"), CASES)
def test_shapes_ranges_and_types(tiny, family, task):
    medium_of(tiny[family]).check_output(tiny[family], family, task)


@pytest.mark.parametrize(("family", "task"), PICTURE_CASES)
def test_the_same_seed_gives_the_same_and_another_does_not(tiny, family, task):
    first = call_with_pictures(tiny[family], task)
    assert same(first, call_with_pictures(tiny[family], task), rtol=0, atol=0)
    if task == "generate":
        other = call_with_pictures(tiny[family], task, seeds=(13, 15))  # of the same classes
        assert not same(first, other, atol=1e-3)


@pytest.mark.parametrize(("family", "task"), [c for c in PICTURE_CASES if c[1] != "interpolate"])
def test_a_sample_does_not_depend_on_its_batch(tiny, family, task):
    if task == "swap_style":
        pytest.skip("takes one pair at a time")
    together = call_with_pictures(tiny[family], task, seeds=(3, 5, 7))
    alone = call_with_pictures(tiny[family], task, seeds=(5,))
    for key, value in together.items():
        if value is not None:
            assert torch.allclose(value[1:2], alone[key], rtol=1e-4, atol=1e-4)


def joint_cases():
    """Yield each family that lets requests share a call, with its defaults and with each choice of each parameter."""
    for name in GENERATING:
        joins = FAMILIES[name].pipeline_class().joins
        if joins is not None:
            controls = controls_of(FAMILIES[name].pipeline_class(), find_tasks()["generate"])
            chosen = [(key, value) for key, one in controls.items() for value in one.choices or ()]
            settings = [{key: value} for key, value in chosen if value in joins.get(key, (value,))]
            yield from ((name, setting) for setting in settings or [{}])


@pytest.mark.parametrize(("family", "setting"), list(joint_cases()))
def test_a_picture_of_a_joint_call_is_that_of_a_call_alone(family, setting):
    """To the last bit of the numbers, and so of the 8-bit picture, in batches of any size."""
    if not can_be_steady(torch.device("cpu"), torch.float32):
        pytest.skip("this processor's kernels differ with the batch, so nothing is joined here")
    pipeline = medium_of(FAMILIES[family].pipeline_class()).build(FAMILIES[family])
    for component in pipeline.components.values():  # as a checkpoint is loaded
        if isinstance(component, torch.nn.Module):
            component.to(memory_format=torch.channels_last)
    steady(pipeline)
    for labels in ({}, {"class_labels": None}):  # the classes of the seeds, and any
        seeds = (3, 4, 5, 6, 7)
        together = call_with_pictures(pipeline, "generate", seeds, **setting, **labels)["images"]
        few = call_with_pictures(pipeline, "generate", seeds[:2], **setting, **labels)["images"]
        alone = [call_with_pictures(pipeline, "generate", (seed,), **setting, **labels)["images"] for seed in seeds]
        assert torch.equal(together, torch.cat(alone)) and torch.equal(together[:2], few)


def test_families_say_which_requests_may_share_a_call():
    joining = {name for name in GENERATING if FAMILIES[name].pipeline_class().joins is not None}
    assert {"ddpm", "dit", "flow-matching", "score-sde"} <= joining
    for name in ("flow-matching", "score-sde"):
        assert "rk45" not in FAMILIES[name].pipeline_class().joins["sampler"], "its steps depend on the others"


@pytest.mark.parametrize(("family", "task"), CASES)
def test_reports_each_step_and_stops_within_one(tiny, family, task):
    medium, seen = medium_of(tiny[family]), []

    def watch(pipe, step, timestep, values):
        medium.check_preview(values["pred_original_sample"])
        seen.append((step, values["num_timesteps"]))

    medium.call(tiny[family], task, callback_on_step_end=watch)
    assert seen and [step for step, _ in seen] == list(range(seen[0][1])), "steps count up to num_timesteps"

    def stop(pipe, step, timestep, values):
        calls.append(step)
        raise Stop

    calls = []
    with pytest.raises(Stop):
        medium.call(tiny[family], task, callback_on_step_end=stop)
    assert calls == [0]
    assert len(medium.call(tiny[family], task)) > 0, "usable after a stop"


def asks_for_classes(family, task):
    return (
        "class_labels"
        in inspect.signature(getattr(FAMILIES[family].pipeline_class(), find_tasks()[task].method)).parameters
    )


@pytest.mark.parametrize(("family", "task"), [c for c in PICTURE_CASES if c[1] != "generate" and asks_for_classes(*c)])
def test_inputs_may_have_their_classes_given(tiny, family, task):
    steps = []

    def watch(pipe, step, timestep, values):
        steps.append((step, values["num_timesteps"]))

    together = call_with_pictures(
        tiny[family], task, seeds=(3, 5, 7), class_labels=[3, 5, 7], callback_on_step_end=watch
    )
    assert steps and [step for step, _ in steps] == list(range(steps[0][1])), "steps count up to num_timesteps"
    alone = call_with_pictures(tiny[family], task, seeds=(5,), class_labels=5)
    for key, value in together.items():
        if value is not None:
            assert torch.isfinite(value).all() and torch.allclose(value[1:2], alone[key], rtol=1e-4, atol=1e-4)
    other = call_with_pictures(tiny[family], task, seeds=(5,), class_labels=4)
    assert task != "anomaly" or not same(other, alone, rtol=0, atol=0), "the score and its map are of that class"
    for wrong, error in (([1, 2, 3], ValueError), ([1, 10], ValueError), ("Bag", TypeError)):
        with pytest.raises(error, match="class_labels"):
            call_with_pictures(tiny[family], task, class_labels=wrong)


@pytest.mark.parametrize(("family", "task"), CASES)
def test_signature_makes_controls_with_help(family, task):
    pipeline_class = FAMILIES[family].pipeline_class()
    controls = controls_of(pipeline_class, find_tasks()[task], FAMILIES[family].controls)
    for control in controls.values():
        assert control.help, f"{control.name} has no line under Args:"
        assert control.check(control.default) == control.default
    inspect.signature(getattr(pipeline_class, find_tasks()[task].method)).bind(
        None, *[None] * len(find_tasks()[task].inputs), **{name: c.default for name, c in controls.items()}
    )
    assert "callback_on_step_end" in HOST_PARAMETERS


@pytest.mark.parametrize("family", PICTURES)
def test_what_is_no_picture_is_refused_with_words(tiny, family):
    pipeline = tiny[family]
    for name in ("reconstruct", "anomaly_score"):
        method = getattr(pipeline, name, None)
        if method is None:
            continue
        for wrong in (
            torch.zeros(1, 3, 28, 28),
            torch.full((1, 1, 28, 28), 200.0),
            torch.full((1, 1, 28, 28), torch.nan),
        ):
            with pytest.raises(ValueError, match="images"):
                method(wrong)
        with pytest.raises(TypeError, match="images"):
            method("picture.png")


MISTAKES = [
    ({"batch_size": 0}, ValueError, "batch_size"),
    ({"batch_size": "3"}, TypeError, "batch_size"),
    ({"generator": 42}, TypeError, "generator"),
    ({"class_labels": "Bag"}, TypeError, "class_labels"),
    ({"class_labels": ["Bag", 1]}, TypeError, "class_labels"),
    ({"class_labels": 1.7}, TypeError, "class_labels"),
    ({"class_labels": True}, TypeError, "class_labels"),
    ({"class_labels": [1, 2, 3]}, ValueError, "class_labels"),
    ({"class_labels": [1, 10]}, ValueError, "class_labels"),
    ({"generator": generators(1, 2, 3)}, ValueError, "generator"),
    ({"output_type": "gif"}, ValueError, "output_type"),
]
MISTAKES_OF_VOICES = [
    ({"generator": 42}, TypeError, "generator"),
    ({"generator": generators(1)}, ValueError, "generator"),
    ({"output_type": "pil"}, ValueError, "output_type"),
    ({"style": [voice(0.5)] * 3}, ValueError, "style"),
    ({"vocoder": "tape"}, ValueError, "vocoder"),
    ({"strength": -0.1}, ValueError, "strength"),
    ({"strength": "all"}, TypeError, "strength"),
]


@pytest.mark.parametrize(
    ("family", "options", "error", "says"),
    [
        *((family, *mistake) for family in GENERATING for mistake in MISTAKES),
        *((family, *mistake) for family in VOICES for mistake in MISTAKES_OF_VOICES),
    ],
)
def test_what_a_notebook_may_get_wrong_is_refused_with_words(tiny, family, options, error, says):
    with pytest.raises(error, match=says):
        if family in GENERATING:
            tiny[family](**{"batch_size": 2, **options})
        else:
            tiny[family].swap_style(**{"content": [voice(0.5)] * 2, "style": voice(0.5), **options})


@pytest.mark.parametrize(("family", "task"), CASES)
def test_controls_hold_outside_the_app_too(tiny, family, task):
    """Another choice than those of a Literal, a number below the minimum, or no number: refused by the pipeline itself."""
    for control in controls_of(type(tiny[family]), find_tasks()[task]).values():
        wrong = {"choice": ["no such choice"], "integer": ["many", 1.5], "number": ["much", float("nan")]}
        for value in wrong.get(control.kind, []) + ([control.minimum - 1] if control.minimum is not None else []):
            with pytest.raises((ValueError, TypeError), match=control.name):
                medium_of(tiny[family]).call(tiny[family], task, **{control.name: value})


@pytest.mark.parametrize("family", FAMILIES)
def test_round_trip_with_the_installed_class(tiny, family, tmp_path, families):
    tiny[family].save_pretrained(tmp_path / "a")
    checkpoint = open_checkpoint(tmp_path / "a", families)
    loaded = load_pipeline(checkpoint)
    loaded.save_pretrained(tmp_path / "b")
    again = load_pipeline(open_checkpoint(tmp_path / "b", families))
    medium_of(loaded).check_checkpoint(checkpoint, loaded, tiny[family], again)
    assert (tmp_path / "a/model_index.json").read_text() == (tmp_path / "b/model_index.json").read_text()


def write_pictures(tiny, folder, families):
    """Save the pipelines and what they make of two pictures; return a program that compares a bare load with that."""
    given = pictures(2)
    torch.save(given, folder / "given.pt")
    for name, pipeline in tiny.items():
        pipeline.save_pretrained(folder / name)
        if name in GENERATING:
            images = pipeline(2, generators(3, 5), [3, 5], output_type="pt").images
        elif hasattr(pipeline, "reconstruct"):
            images = pipeline.reconstruct(given, output_type="pt").images
        else:
            images = pipeline.anomaly_score(given).maps
        torch.save(images, folder / f"{name}.pt")
    return f"""
import sys, torch
from pathlib import Path
from diffusers import DiffusionPipeline
torch.set_num_threads({torch.get_num_threads()})  # another number of threads sums in another order
for name in {list(tiny)!r}:
    pipe = DiffusionPipeline.from_pretrained(str(Path({str(folder)!r}) / name), trust_remote_code=True)
    for module in pipe.components.values():
        module.eval() if isinstance(module, torch.nn.Module) else None
    generator = [torch.Generator().manual_seed(s) for s in (3, 5)]
    if name in {GENERATING!r}:
        images = pipe(2, generator, [3, 5], output_type="pt").images
    elif hasattr(pipe, "reconstruct"):
        images = pipe.reconstruct(torch.load(Path({str(folder)!r}) / "given.pt"), output_type="pt").images
    else:
        images = pipe.anomaly_score(torch.load(Path({str(folder)!r}) / "given.pt")).maps
    assert torch.equal(images, torch.load(Path({str(folder)!r}) / (name + ".pt"))), name
    print(name, type(pipe).__module__)
assert not any(m.split(".")[0] in ("genarium", "pipelines", "plugins") for m in sys.modules)
"""


def write_voices(tiny, folder, families):
    """Save the pipelines and what they make of two clips; return a program that compares a bare load with that.

    It has no reader of sound files and no resampler. Compared are pipelines that were both loaded from the folder: products
    with one row are rounded otherwise where weights lie elsewhere in memory.
    """
    a, b = voice(0.8), voice(1.1, 200, 1)
    for name, pipeline in tiny.items():
        pipeline.save_pretrained(folder / name)
        pipeline = load_pipeline(open_checkpoint(folder / name, families))
        swapped = pipeline.swap_style([a, b], [b, a], generators(3, 5), output_type="pt").audios
        found = [
            *swapped,
            *pipeline.interpolate(a, b, 3, output_type="pt").audios,
            pipeline.anomaly_score([a, b]).scores,
        ]
        torch.save([a, b, *found], folder / f"{name}.pt")
    return f"""
import sys
for name in ("soundfile", "soxr", "librosa", "scipy"):
    sys.modules[name] = None
import torch
from diffusers import DiffusionPipeline
torch.set_num_threads({torch.get_num_threads()})  # another number of threads sums in another order
for name in {list(tiny)!r}:
    pipe = DiffusionPipeline.from_pretrained(name, trust_remote_code=True)
    for module in pipe.components.values():
        module.to(memory_format=torch.channels_last).eval().requires_grad_(False)
    a, b, *expected = torch.load(name + ".pt")
    generator = [torch.Generator().manual_seed(s) for s in (3, 5)]
    found = list(pipe.swap_style([a, b], [b, a], generator, output_type="pt").audios)
    found += [*pipe.interpolate(a, b, 3, output_type="pt").audios, pipe.anomaly_score([a, b]).scores]
    assert len(found) == len(expected) == 6
    different = [i for i, pair in enumerate(zip(found, expected)) if not torch.equal(*pair)]
    assert not different, (name, different, [float((found[i] - expected[i]).abs().max()) for i in different])
    print(name, type(pipe).__module__, pipe.style_map(a).names[0])
assert not any(m.split(".")[0] in ("genarium", "pipelines", "plugins") for m in sys.modules)
"""


@pytest.mark.parametrize("write", [write_pictures, write_voices])
def test_round_trip_in_a_bare_diffusers(tiny, tmp_path, families, write):
    """Every family of a modality in one process that cannot import this repository, loaded from its folder alone."""
    chosen = {name: pipeline for name, pipeline in tiny.items() if (name in VOICES) == (write is write_voices)}
    output = run_bare(write(chosen, tmp_path, families), tmp_path)
    for name in chosen:
        assert f"{name} diffusers_modules" in output and (name not in VOICES or "set/ann" in output)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_call_leaves_the_pipeline_as_it_was(tiny, family):
    pipeline = tiny[family]
    before = json.dumps(dict(pipeline.config), default=str), dict(vars(pipeline))
    for name, task in CASES:
        if name == family:
            medium_of(pipeline).call(pipeline, task)
    after = json.dumps(dict(pipeline.config), default=str), dict(vars(pipeline))
    assert before[0] == after[0] and before[1].keys() == after[1].keys()
    assert all(before[1][k] is after[1][k] for k in before[1] if k != "_internal_dict")


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.stem)
def test_what_goes_to_the_hub_imports_nothing_of_the_host(path):
    imported = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "a relative import cannot be exported"
            imported.add(node.module.partition(".")[0])
    assert not imported & {"genarium", "plugins", "gradio", "docs", "tests"}


@pytest.mark.parametrize("family", [name for name, f in PICTURES.items() if hasattr(f.pipeline_class(), "loss")])
def test_training_loss_has_a_gradient_and_named_parts(family):
    pipeline = build_tiny(FAMILIES[family])
    modules = [c for c in pipeline.components.values() if isinstance(c, torch.nn.Module)]
    for module in modules:
        module.train().requires_grad_(True)
    batch = {"images": pictures(4), "class_labels": torch.arange(4)}
    loss, parts = pipeline.loss(batch, generator=torch.Generator().manual_seed(0), progress=0.5)
    assert (
        loss.ndim == 0 and torch.isfinite(loss) and parts and all(torch.as_tensor(v).ndim == 0 for v in parts.values())
    )
    again, _ = pipeline.loss(batch, generator=torch.Generator().manual_seed(0), progress=0.5)
    assert torch.equal(loss, again), "the loss depends on its generator only"
    loss.backward()
    gradients = [p.grad for m in modules for p in m.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(g).all() for g in gradients)
