"""`new-family` writes a family that works: it passes the contract, its own test, trains, and appears everywhere."""

import importlib
import json
import sys

import numpy as np
import pytest
import test_contract as contract
from conftest import build_tiny
from typer.testing import CliRunner

import pipelines
from genarium.cli import app
from genarium.errors import PluginError
from genarium.families import discover
from genarium.new_family import create


@pytest.fixture
def sketch(house, monkeypatch):
    """A house in which `new-family my-sketch` was run -> its root; its pipelines can be imported."""
    result = CliRunner().invoke(app, ["new-family", "my-sketch", "--title", "My sketch", "--root", str(house)])
    assert result.exit_code == 0, result.output
    assert result.output.count("wrote ") == 5 and "train my_sketch-fashion-mnist" in result.output
    monkeypatch.setattr(pipelines, "__path__", [*pipelines.__path__, str(house / "pipelines")])
    monkeypatch.syspath_prepend(str(house / "tests/pipelines"))
    yield house
    for module in [m for m in sys.modules if "my_sketch" in m]:
        del sys.modules[module]


@pytest.fixture
def family(sketch):
    families = discover(sketch / "plugins", installed=False)
    assert not families.broken
    return families["my_sketch"]


def test_it_keeps_the_contract(family, tmp_path, monkeypatch):
    monkeypatch.setattr(contract, "FAMILIES", {"my_sketch": family})
    families = discover(tmp_path / "plugins", installed=False)
    tiny = {"my_sketch": build_tiny(family)}
    tasks = [task.name for task in contract.tasks_of(family.pipeline_class())]
    assert tasks == ["generate", "reconstruct", "interpolate", "anomaly", "check", "compare"]
    tasks.remove("check")  # pages, which call the others
    tasks.remove("compare")
    monkeypatch.setattr(contract, "CASES", [("my_sketch", task) for task in tasks])
    for task in tasks:
        contract.test_shapes_ranges_and_types(tiny, "my_sketch", task)
        contract.test_the_same_seed_gives_the_same_and_another_does_not(tiny, "my_sketch", task)
        if task != "interpolate":
            contract.test_a_sample_does_not_depend_on_its_batch(tiny, "my_sketch", task)
        if task in ("reconstruct", "anomaly"):
            contract.test_inputs_may_have_their_classes_given(tiny, "my_sketch", task)
        contract.test_reports_each_step_and_stops_within_one(tiny, "my_sketch", task)
        contract.test_signature_makes_controls_with_help("my_sketch", task)
        contract.test_controls_hold_outside_the_app_too(tiny, "my_sketch", task)
    contract.test_what_is_no_picture_is_refused_with_words(tiny, "my_sketch")
    contract.test_round_trip_with_the_installed_class(tiny, "my_sketch", tmp_path, families)
    contract.test_a_call_leaves_the_pipeline_as_it_was(tiny, "my_sketch")
    contract.test_training_loss_has_a_gradient_and_named_parts("my_sketch")
    contract.test_what_goes_to_the_hub_imports_nothing_of_the_host(tmp_path / "pipelines/pipeline_my_sketch.py")


@pytest.mark.slow
def test_it_loads_in_a_bare_diffusers(family, tmp_path):
    pipelines = {"my_sketch": build_tiny(family)}
    contract.test_round_trip_in_a_bare_diffusers(pipelines, tmp_path, None, contract.write_pictures)


def test_its_own_test_passes(sketch):
    module = importlib.import_module("test_my_sketch")
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    assert len(tests) == 3
    for test in tests:
        test()


def test_it_trains_is_listed_and_generates(sketch, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (64, 28, 28, 1), np.uint8)
    names = np.array([f"kind {i}" for i in range(10)])
    np.savez(tmp_path / "d.npz", train_images=images, train_labels=np.arange(64) % 10, label_names=names)
    recipe = sketch / "hub_configs/my_sketch-fashion-mnist.yaml"
    recipe.write_text(recipe.read_text().replace("images: 256000", "images: 1280"))
    for arguments in (
        ["train", "my_sketch-fashion-mnist", "--data", tmp_path / "d.npz"],
        ["generate", "my_sketch-fashion-mnist", "--n", 10, "--out", tmp_path / "s.npy"],
    ):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == 0, (result.output, result.exception)
    assert np.load(tmp_path / "s.npy").shape == (10, 28, 28, 1)
    losses = [
        json.loads(line)["loss"]
        for line in (sketch / "runs/my_sketch-fashion-mnist/log.jsonl").read_text().splitlines()
    ]
    values = json.loads(CliRunner().invoke(app, ["list", "--json"]).output)
    assert values["broken"] == [] and np.isfinite(losses).all()
    (checkpoint,) = values["checkpoints"]
    assert checkpoint["family"] == "my_sketch" and checkpoint["classes"][3] == "kind 3"
    assert "my_sketch-fashion-mnist" in {recipe["name"] for recipe in values["recipes"]}


@pytest.mark.parametrize("name", ["class", "3d", "Grand", "my family", "", "über", "../x", "a.b"])
def test_names_that_no_module_can_have_are_refused(house, name):
    with pytest.raises(PluginError, match="cannot name a family"):
        create(name, root=house)


def test_taken_names_are_refused(house):
    with pytest.raises(PluginError, match="there already"):
        create("vae", root=house)
    with pytest.raises(PluginError, match="diffusers has"):
        create("utils", root=house)  # diffusers.pipelines.pipeline_utils
    (house / "tests/pipelines").mkdir(parents=True)
    (house / "tests/pipelines/test_mine.py").write_text("# precious")
    with pytest.raises(PluginError, match="test_mine"):
        create("mine", root=house)
    assert (house / "tests/pipelines/test_mine.py").read_text() == "# precious" and not (
        house / "plugins/mine"
    ).exists()
    result = CliRunner().invoke(app, ["new-family", "vae", "--root", str(house)])
    assert result.exit_code == 2 and "there already" in result.output
