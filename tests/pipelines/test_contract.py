"""The contract (docs/contract.md): every family of pictures, every task it claims, on tiny random networks.

Those of sound are held to it in test_voice.py.
"""

import ast
import inspect
import json

import numpy as np
import pytest
import torch
from conftest import ID2LABEL, build_tiny, picture_families, pictures, run_bare

from genarium import paths
from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.families import discover
from genarium.tasks import HOST_PARAMETERS, controls_of, find_tasks, tasks_of

FAMILIES = {family.name: family for family in picture_families(discover(installed=False))}
CASES = [
    (name, task.name)
    for name, family in FAMILIES.items()
    for task in tasks_of(family.pipeline_class())
    if task.method  # pages that call several are tested by themselves
]
GENERATING = [name for name, task in CASES if task == "generate"]
SOURCES = [
    *sorted((paths.ROOT / "pipelines").glob("*.py")),
    *(paths.ROOT / "docs/example-plugin").rglob("*_gaussian.py"),
]
QUICK = {"num_inference_steps": 4, "num_refinements": 1, "num_frames": 3, "num_noise_levels": 2, "num_samples": 2}


class Stop(Exception):
    pass


@pytest.fixture(scope="module")
def tiny():
    return {name: build_tiny(family) for name, family in FAMILIES.items()}


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def call(pipeline, task, seeds=(3, 5), images=None, **options):
    """Run a task on two samples with few steps -> what the task computes, as tensors in a dict."""
    task = find_tasks()[task]
    method = getattr(pipeline, task.method)
    quick = {k: v for k, v in QUICK.items() if k in controls_of(type(pipeline), task)}
    if task.name == "generate":
        arguments = {"batch_size": len(seeds), "generator": generators(*seeds)}
        if "class_labels" not in options:
            arguments["class_labels"] = [seed % 10 for seed in seeds]
    elif task.inputs == ("images",):
        images = pictures(8)[list(seeds)] if images is None else images
        arguments = {"images": images, "generator": generators(*seeds)}
    else:
        a, b = pictures(2)
        arguments = {task.inputs[0]: a, task.inputs[1]: b, "generator": torch.Generator().manual_seed(seeds[0])}
    if task.name != "anomaly" and "output_type" not in options:
        arguments["output_type"] = "pt"
    output = method(**{**arguments, **quick, **options})
    if task.name == "anomaly":
        return {"scores": output.scores, "maps": output.maps}
    return {"images": output.images}


def same(a, b, **tolerance):
    return all(torch.allclose(a[k], b[k], **tolerance) for k in a if a[k] is not None)


def test_there_are_families_to_test():
    assert {"vae", "ddpm"} <= set(FAMILIES)
    assert not discover(installed=False).broken


@pytest.mark.parametrize(("family", "task"), CASES)
def test_shapes_ranges_and_types(tiny, family, task):
    output = call(tiny[family], task)
    if task == "anomaly":
        assert output["scores"].shape == (2,) and output["scores"].is_floating_point()
        assert torch.isfinite(output["scores"]).all()
        if output["maps"] is not None:
            assert output["maps"].shape == (2, 28, 28) and (output["maps"] >= 0).all()
        return
    images = output["images"]
    number = {"interpolate": 3, "swap_style": 1}.get(task, 2)
    assert images.shape == (number, 1, 28, 28) and images.dtype == torch.float32
    assert images.min() >= 0 and images.max() <= 1 and torch.isfinite(images).all()
    assert images.std() > 1e-3, "a constant picture tests nothing"
    as_np = call(tiny[family], task, output_type="np")["images"]
    assert isinstance(as_np, np.ndarray) and np.allclose(as_np, images.permute(0, 2, 3, 1).numpy(), atol=1e-5)
    as_pil = call(tiny[family], task, output_type="pil")["images"]
    assert as_pil[0].mode == "L" and as_pil[0].size == (28, 28)
    assert np.abs(np.asarray(as_pil[0]) / 255 - as_np[0, :, :, 0]).max() <= 0.51 / 255 + 1e-5


@pytest.mark.parametrize(("family", "task"), CASES)
def test_the_same_seed_gives_the_same_and_another_does_not(tiny, family, task):
    first = call(tiny[family], task)
    assert same(first, call(tiny[family], task), rtol=0, atol=0)
    if task == "generate":
        assert not same(first, call(tiny[family], task, seeds=(13, 15)), atol=1e-3)  # other seeds, same classes


@pytest.mark.parametrize(("family", "task"), [c for c in CASES if c[1] != "interpolate"])
def test_a_sample_does_not_depend_on_its_batch(tiny, family, task):
    if task == "swap_style":
        pytest.skip("takes one pair at a time")
    together = call(tiny[family], task, seeds=(3, 5, 7))
    alone = call(tiny[family], task, seeds=(5,))
    for key, value in together.items():
        if value is not None:
            assert torch.allclose(value[1:2], alone[key], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("family", "task"), CASES)
def test_reports_each_step_and_stops_within_one(tiny, family, task):
    seen = []

    def watch(pipe, step, timestep, values):
        x = values["pred_original_sample"]
        assert x.shape[1:] == (1, 28, 28) and torch.isfinite(x).all()
        seen.append((step, values["num_timesteps"]))

    call(tiny[family], task, callback_on_step_end=watch)
    assert seen and [step for step, _ in seen] == list(range(seen[0][1])), "steps count up to num_timesteps"

    def stop(pipe, step, timestep, values):
        calls.append(step)
        raise Stop

    calls = []
    with pytest.raises(Stop):
        call(tiny[family], task, callback_on_step_end=stop)
    assert calls == [0]
    assert len(call(tiny[family], task)) > 0, "usable after a stop"


def asks_for_classes(family, task):
    return (
        "class_labels"
        in inspect.signature(getattr(FAMILIES[family].pipeline_class(), find_tasks()[task].method)).parameters
    )


@pytest.mark.parametrize(("family", "task"), [c for c in CASES if c[1] != "generate" and asks_for_classes(*c)])
def test_inputs_may_have_their_classes_given(tiny, family, task):
    steps = []

    def watch(pipe, step, timestep, values):
        steps.append((step, values["num_timesteps"]))

    together = call(tiny[family], task, seeds=(3, 5, 7), class_labels=[3, 5, 7], callback_on_step_end=watch)
    assert steps and [step for step, _ in steps] == list(range(steps[0][1])), "steps count up to num_timesteps"
    alone = call(tiny[family], task, seeds=(5,), class_labels=5)
    for key, value in together.items():
        if value is not None:
            assert torch.isfinite(value).all() and torch.allclose(value[1:2], alone[key], rtol=1e-4, atol=1e-4)
    other = call(tiny[family], task, seeds=(5,), class_labels=4)
    assert task != "anomaly" or not same(other, alone, rtol=0, atol=0), "the score and its map are of that class"
    for wrong, error in (([1, 2, 3], ValueError), ([1, 10], ValueError), ("Bag", TypeError)):
        with pytest.raises(error, match="class_labels"):
            call(tiny[family], task, class_labels=wrong)


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


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_no_picture_is_refused_with_words(tiny, family):
    pipeline = tiny[family]
    if hasattr(pipeline, "reconstruct"):
        for wrong in (
            torch.zeros(1, 3, 28, 28),
            torch.full((1, 1, 28, 28), 200.0),
            torch.full((1, 1, 28, 28), torch.nan),
        ):
            with pytest.raises(ValueError, match="images"):
                pipeline.reconstruct(wrong)
        with pytest.raises(TypeError, match="images"):
            pipeline.reconstruct("picture.png")


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
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
    ],
)
@pytest.mark.parametrize("family", GENERATING)
def test_what_a_notebook_may_get_wrong_is_refused_with_words(tiny, family, options, error, says):
    with pytest.raises(error, match=says):
        tiny[family](**{"batch_size": 2, **options})


@pytest.mark.parametrize(("family", "task"), CASES)
def test_controls_hold_outside_the_app_too(tiny, family, task):
    """Another choice than those of a Literal, a number below the minimum, or no number: refused by the pipeline itself."""
    for control in controls_of(type(tiny[family]), find_tasks()[task]).values():
        wrong = {"choice": ["no such choice"], "integer": ["many", 1.5], "number": ["much", float("nan")]}
        for value in wrong.get(control.kind, []) + ([control.minimum - 1] if control.minimum is not None else []):
            with pytest.raises((ValueError, TypeError), match=control.name):
                call(tiny[family], task, **{control.name: value})


@pytest.mark.parametrize("family", FAMILIES)
def test_round_trip_with_the_installed_class(tiny, family, tmp_path, families):
    tiny[family].save_pretrained(tmp_path / "a")
    checkpoint = open_checkpoint(tmp_path / "a", families)
    loaded = load_pipeline(checkpoint)
    assert loaded.config.id2label == ID2LABEL
    task = "generate" if family in GENERATING else "reconstruct"
    # loaded networks are channels-last, which sums in another order; a solver of many steps adds up the rounding
    assert same(call(loaded, task), call(tiny[family], task), rtol=0, atol=1e-5)
    loaded.save_pretrained(tmp_path / "b")
    again = load_pipeline(open_checkpoint(tmp_path / "b", families))
    assert same(call(loaded, task), call(again, task), rtol=0, atol=0)
    assert (tmp_path / "a/model_index.json").read_text() == (tmp_path / "b/model_index.json").read_text()


def test_round_trip_in_a_bare_diffusers(tiny, tmp_path):
    """Every family in one process that cannot import this repository, loaded from its folder alone, bit for bit."""
    given = pictures(2)
    torch.save(given, tmp_path / "given.pt")
    for name, pipeline in tiny.items():
        pipeline.save_pretrained(tmp_path / name)
        if name in GENERATING:
            images = pipeline(2, generators(3, 5), [3, 5], output_type="pt").images
        else:
            images = pipeline.reconstruct(given, output_type="pt").images
        torch.save(images, tmp_path / f"{name}.pt")
    program = f"""
import sys, torch
from pathlib import Path
from diffusers import DiffusionPipeline
torch.set_num_threads({torch.get_num_threads()})  # another number of threads sums in another order
for name in {list(tiny)!r}:
    pipe = DiffusionPipeline.from_pretrained(str(Path({str(tmp_path)!r}) / name), trust_remote_code=True)
    for module in pipe.components.values():
        module.eval() if isinstance(module, torch.nn.Module) else None
    generator = [torch.Generator().manual_seed(s) for s in (3, 5)]
    if name in {GENERATING!r}:
        images = pipe(2, generator, [3, 5], output_type="pt").images
    else:
        images = pipe.reconstruct(torch.load(Path({str(tmp_path)!r}) / "given.pt"), output_type="pt").images
    assert torch.equal(images, torch.load(Path({str(tmp_path)!r}) / (name + ".pt"))), name
    print(name, type(pipe).__module__)
assert not any(m.split(".")[0] in ("genarium", "pipelines", "plugins") for m in sys.modules)
"""
    output = run_bare(program, tmp_path)
    for name in tiny:
        assert f"{name} diffusers_modules" in output


@pytest.mark.parametrize("family", FAMILIES)
def test_a_call_leaves_the_pipeline_as_it_was(tiny, family):
    pipeline = tiny[family]
    before = json.dumps(dict(pipeline.config), default=str), dict(vars(pipeline))
    for name, task in CASES:
        if name == family:
            call(pipeline, task)
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


@pytest.mark.parametrize("family", FAMILIES)
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
