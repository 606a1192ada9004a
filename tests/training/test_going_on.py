"""A run remembers what it was begun with: what differs in a later call is said, and nothing asked for is ignored silently."""

import dataclasses
import errno
import json
import shutil

import pytest
import torch
from accelerate import Accelerator
from conftest import ID2LABEL, TINY, pictures

from genarium.data.images import ImageData
from genarium.errors import GenariumError, InputError, RecipeError
from genarium.families import discover
from genarium.recipe import StageSpec, find_recipe
from genarium.training.facts import continued, differences, facts_of
from genarium.training.loop import train

FAMILIES = discover(installed=False)


def recipe(**training):
    found = find_recipe("ddpm-fashion-mnist")
    settings = {"images": 64, "batch_size": 16, "warmup_steps": 1, "save_every": 1, "sample_every": 1000}
    settings |= {"compile": False, "precision": "fp32", **training}
    changed = dataclasses.replace(found.training, **settings)
    return dataclasses.replace(found, name="tiny-ddpm", architecture=TINY["ddpm"], training=changed)


def make_data(seed=0, names=ID2LABEL):
    images = ((pictures(32, seed) + 1) * 127.5).to(torch.uint8)
    return ImageData(images, torch.arange(32) % len(names), names)


DATA = make_data()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with a finished run of four steps, and its checkpoint."""
    folder = tmp_path_factory.mktemp("finished")
    go_on(folder)
    return folder


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of it, at another place."""
    shutil.copytree(finished, tmp_path / "copy")
    time = tmp_path / "copy/run/time.json"
    time.write_text(json.dumps(json.loads(time.read_text()) | {"output": str(tmp_path / "copy/out")}))
    return tmp_path / "copy"


def go_on(folder, what=None, data=DATA, output="out", **options):
    """Train in a folder -> the steps done."""
    steps = []
    train(
        what or recipe(),
        FAMILIES["ddpm"],
        data=data,
        run_folder=folder / "run",
        output=folder / output,
        on_step=lambda step, loss: steps.append(step),
        **options,
    )
    return steps


def weights(folder):
    return (folder / "unet/diffusion_pytorch_model.safetensors").read_bytes()


# ---- a finished run ----


def test_nothing_new_is_asked(copy, capsys):
    assert go_on(copy) == [] and "finished already" in capsys.readouterr().out


def test_another_output_gets_the_same_weights_without_a_step(copy):
    assert go_on(copy, output="elsewhere") == []
    assert weights(copy / "elsewhere") == weights(copy / "out")
    shutil.rmtree(copy / "out")
    assert go_on(copy) == [] and weights(copy / "out") == weights(copy / "elsewhere"), "what was deleted is made again"


def test_a_finished_run_whose_state_was_deleted_is_finished(copy):
    before = weights(copy / "out")
    shutil.rmtree(copy / "run/state")
    assert go_on(copy) == [] and weights(copy / "out") == before


@pytest.mark.parametrize("data", [make_data(seed=1), make_data(names={"0": "a", "1": "b"})], ids=["pixels", "classes"])
def test_other_data_are_said(copy, data):
    with pytest.raises(RecipeError, match=r"begun with other data.*32 rows.*--fresh"):
        go_on(copy, data=data)
    assert go_on(copy, data=data, fresh=True) == [1, 2, 3, 4]


def test_any_other_setting_is_said(copy):
    with pytest.raises(RecipeError, match=r"training.learning_rate was .* and is 0.5"):
        go_on(copy, recipe(learning_rate=0.5))
    with pytest.raises(RecipeError, match=r"training.seed was 0 and is 7"):
        go_on(copy, recipe(seed=7))


def test_more_images_are_trained_by_continue_alone(copy):
    with pytest.raises(RecipeError, match="--continue 96"):
        go_on(copy, recipe(images=96))
    before = weights(copy / "out")
    assert go_on(copy, recipe(images=96), continue_to=96, max_steps=1) == [5]
    assert go_on(copy, recipe(images=96), continue_to=96) == [6], "the same command goes on after a kill"
    assert weights(copy / "out") != before and json.loads((copy / "run/time.json").read_text())["images"] == 96
    assert go_on(copy, continue_to=128) == [7, 8], "a recipe need not be edited"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"continue_to": 32}, "has seen 64 images; give more"),
        ({"continue_to": 128, "fresh": True}, "give one of the two"),
    ],
)
def test_what_cannot_be_continued_is_said(copy, options, says):
    with pytest.raises(InputError, match=says):
        go_on(copy, **options)


def test_there_must_be_a_run_to_continue(tmp_path):
    with pytest.raises(InputError, match="no run"):
        go_on(tmp_path, continue_to=128)


# ---- half a run ----


def test_half_a_run_goes_on_with_its_own_data_only(tmp_path):
    assert go_on(tmp_path, max_steps=2) == [1, 2]
    with pytest.raises(RecipeError, match="other data"):
        go_on(tmp_path, data=make_data(seed=1))
    with pytest.raises(RecipeError, match=r"training.weight_decay"):  # the saved optimizer would keep the old one
        go_on(tmp_path, recipe(weight_decay=0.5))
    assert go_on(tmp_path) == [3, 4]


def test_a_lower_learning_rate_is_said_and_taken(tmp_path, capsys):
    go_on(tmp_path, recipe(learning_rate=1e-3, schedule="constant"), max_steps=2)
    assert go_on(tmp_path, recipe(learning_rate=1e-4, schedule="constant")) == [3, 4]
    assert "training.learning_rate was 0.001 and is 0.0001; the run goes on" in capsys.readouterr().out
    rows = [json.loads(row) for row in (tmp_path / "run/log.jsonl").read_text().splitlines()]
    assert rows[-1]["lr"] == pytest.approx(1e-4)


def test_how_often_it_saves_is_free(tmp_path, capsys):
    go_on(tmp_path, max_steps=2)
    assert go_on(tmp_path, recipe(save_every=3)) == [3, 4] and "save_every" not in capsys.readouterr().out


# ---- damage ----


def damage_optimizer(state):
    (state / "optimizer.bin").write_bytes((state / "optimizer.bin").read_bytes()[:200])


@pytest.mark.parametrize(
    "damage",
    [
        damage_optimizer,
        lambda state: (state / "optimizer.bin").unlink(),
        lambda state: (state / "model.safetensors").write_bytes(b"x"),
        lambda state: (state / "state.json").write_text(""),
        lambda state: (state / "state.json").write_text("[]"),
        lambda state: (state / "state.json").unlink(),
        lambda state: (state.parent / "run.json").write_text("{"),
    ],
)
def test_a_damaged_state_is_said_and_fresh_begins_anew(damage, tmp_path):
    go_on(tmp_path, max_steps=2)
    damage(tmp_path / "run/state")
    with pytest.raises(GenariumError, match=r"damaged[\s\S]*--fresh"):
        go_on(tmp_path)
    assert go_on(tmp_path, fresh=True, max_steps=1) == [1]


def test_a_full_disk_leaves_the_state_before_it(tmp_path, monkeypatch):
    go_on(tmp_path, max_steps=2)
    save = Accelerator.save_state

    def full(self, folder, *arguments, **options):
        save(self, folder, *arguments, **options)
        raise OSError(errno.ENOSPC, "No space left on device", str(folder))

    with monkeypatch.context() as patch, pytest.raises(GenariumError, match=r"No space left.*Make room"):
        patch.setattr(Accelerator, "save_state", full)
        go_on(tmp_path)
    assert sorted(p.name for p in (tmp_path / "run").glob("state*")) == ["state"]
    assert go_on(tmp_path) == [3, 4]


def test_a_fit_that_fails_keeps_the_steps_and_is_repeated(tmp_path, monkeypatch):
    kind = FAMILIES["ddpm"].pipeline_class()

    def fit(self, batches):
        raise ValueError("a class has no images.")

    with monkeypatch.context() as patch, pytest.raises(GenariumError, match=r"a class has no images.*only the fit"):
        patch.setattr(kind, "fit", fit, raising=False)
        go_on(tmp_path)
    assert go_on(tmp_path) == [] and (tmp_path / "out/model_index.json").exists()


# ---- the facts themselves ----


def test_differences_are_named_by_their_place():
    a, b = facts_of(recipe(), DATA), facts_of(recipe(learning_rate=3.0, save_every=7), DATA)
    assert differences(a, b) == {"training.learning_rate": (a["training"]["learning_rate"], 3.0)}
    assert facts_of(recipe(), make_data()) == a, "the same data, loaded again"


def test_the_last_stage_gets_longer():
    stages = (StageSpec("one", 100), StageSpec("two", 50))
    staged = recipe(images=None, stages=stages)
    assert [stage.images for stage in continued(staged, 400).training.stages] == [100, 300]
    with pytest.raises(RecipeError, match="see 100 images already"):
        continued(staged, 100)
