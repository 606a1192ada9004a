"""Families on pictures of one's own: recipes from what was found, the measured speed, a pause, and the command."""

import dataclasses
import json

import numpy as np
import PIL.Image
import pytest
import torch
from typer.testing import CliRunner

import genarium
from genarium.cli import app
from genarium.data.images import ImageData
from genarium.data.own.found import look_through
from genarium.errors import InputError, RecipeError
from genarium.families import Material, discover
from genarium.fitting.draft import check_name, check_own, draft, offered, timed, to_yaml
from genarium.fitting.speed import measure
from genarium.recipe import read_recipe
from genarium.training import watch as watches
from genarium.training.loop import train
from genarium.training.pipeline import build_pipeline
from genarium.training.watch import Clock

FAMILIES = discover(installed=False)
NAMES = [family.name for family in offered(FAMILIES)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder of 48 grey pictures in two classes: bars that stand, and bars that lie."""
    folder = tmp_path_factory.mktemp("bars")
    generator = np.random.default_rng(0)
    for name in ("standing", "lying"):
        (folder / name).mkdir()
        for i in range(24):
            values = generator.integers(0, 20, (28, 28)).astype(np.uint8)
            start = generator.integers(2, 20)
            values[:, start : start + 6] = generator.integers(150, 250)
            values = values if name == "standing" else values.T
            PIL.Image.fromarray(np.ascontiguousarray(values)).save(folder / name / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def found(pictures):
    return look_through([("bars", pictures)])


def tiny(recipe):
    """The recipe with a network that takes milliseconds a step."""
    small = {"code_dim": 4, "block_out_channels": [4, 8], "layers_per_block": 1, "mixture_components": 1}
    training = dataclasses.replace(recipe.training, precision="fp32")
    return dataclasses.replace(recipe, architecture=small, training=training)


def data_of(number=32):
    images = torch.randint(0, 256, (number, 1, 28, 28), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ImageData(images, torch.arange(number) % 2, {"0": "lying", "1": "standing"})


# ---- recipes ----


@pytest.mark.parametrize("name", NAMES)
def test_every_starter_is_a_recipe_that_builds(found, name):
    for size, channels in ((28, 1), (32, 3), (64, 3)):
        recipe = draft("my-model", FAMILIES[name], found, size, channels)
        again = read_recipe(to_yaml(recipe), "again")
        assert again == recipe and check_own(again, "my-model", FAMILIES) == recipe
        names = {"0": "lying", "1": "standing"}
        pipeline = build_pipeline(recipe, FAMILIES[name], names)
        assert pipeline.config.sample_size == size and pipeline.config.channels == channels
        weights = sum(
            p.numel() for c in pipeline.components.values() if hasattr(c, "parameters") for p in c.parameters()
        )
        assert weights < 6e6, "too many for a minute on two cores"


def test_a_recipe_says_what_was_found(found):
    recipe = draft("my-model", FAMILIES["vae"], found)
    assert recipe.data.sample_size == 28 and recipe.data.channels == 1 and recipe.data.label_column == "label"
    assert recipe.architecture["class_conditional"] is True
    unlabelled = dataclasses.replace(found, labels=(None,) * len(found))
    recipe = draft("my-model", FAMILIES["vae"], unlabelled)
    assert recipe.data.label_column is None and recipe.architecture["class_conditional"] is False


def test_few_pictures_of_a_class_get_few_components():
    starter = FAMILIES["autoencoder"].begin_with
    assert starter(Material(28, 1, 20, 2, 10))["architecture"]["mixture_components"] == 1
    assert starter(Material(28, 1, 4000, 2, 2000))["architecture"]["mixture_components"] == 10


def test_time_becomes_images_by_the_speed(found):
    recipe = timed(draft("a", FAMILIES["autoencoder"], found), [100.0], 60)
    assert recipe.training.images == 100 * 60 // 32 * 32
    assert recipe.training.warmup_steps == 18 and recipe.training.ema_decay == 0.9465
    staged = timed(draft("a", FAMILIES["gan"], found), [200.0, 50.0, 100.0], 100)
    assert [stage.images for stage in staged.training.stages] == [4992, 2720, 1984]
    assert [stage.warmup_steps for stage in staged.training.stages] == [15, 8, 6]
    assert timed(recipe, [0.001], 1).training.images == 64, "two steps at least"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "other"}, "as it was chosen"),
        ({"family": "voice-vae"}, "none of those offered"),
        ({"training": {"images": 64, "teacher": {"checkpoint": "/etc", "images": 4}}}, "training.teacher"),
        (
            {"training": {"images": 64, "components_from": {"checkpoint": "x", "components": ["vae"]}}},
            "components_from",
        ),
        ({"training": {"images": 64, "batch_size": 100_000}}, "at most 512"),
        ({"data": {"name": "a/b", "sample_size": 4096, "channels": 1}}, "8 ... 128"),
        ({"data": {"name": "a/b", "sample_size": 28, "channels": 1, "train_split": "x"}}, "leave the splits"),
        ({"evaluation": {"anomaly_data": {"name": "a/b", "sample_size": 28, "channels": 1}}}, "anomaly_data"),
    ],
)
def test_an_edited_recipe_uses_nothing_but_the_pictures(found, changes, said):
    import yaml

    values = {**yaml.safe_load(to_yaml(draft("my-model", FAMILIES["autoencoder"], found))), **changes}
    with pytest.raises(RecipeError, match=said):
        check_own(read_recipe(yaml.safe_dump(values), "edited"), "my-model", FAMILIES)


@pytest.mark.parametrize("name", ["", "a/b", "../a", "a..b", "-a", "A", "a" * 49, "a b", ".a"])
def test_names_that_no_folder_should_have_are_refused(name):
    with pytest.raises(InputError, match="a name has"):
        check_name(name)


# ---- the clock ----


def test_the_clock_gives_samples_and_states_a_share_of_the_time(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(watches.time, "monotonic", lambda: now[0])
    clock = Clock(sample_seconds=5, save_seconds=20, share=0.1)
    assert not clock.samples(1, 1)
    now[0] = 5.0
    assert clock.samples(2, 10**9) and not clock.saves(2, 1)
    with clock.sampling():
        now[0] += 3.0  # slow: the next one not before 30 seconds
    now[0] += 29.0
    assert not clock.samples(3, 1) and clock.saves(3, 10**9)
    now[0] += 1.0
    assert clock.samples(4, 1)


def test_a_paused_training_goes_on_as_if_nothing_had_happened(found, tmp_path):
    recipe = tiny(draft("a", FAMILIES["autoencoder"], found))
    recipe = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, images=320))
    losses: dict[str, dict[int, float]] = {"whole": {}, "paused": {}}

    def run(name, wishes):
        asked = iter(wishes)
        return train(
            recipe,
            FAMILIES["autoencoder"],
            data=data_of(),
            run_folder=tmp_path / name,
            output=tmp_path / f"{name}-checkpoint",
            on_step=lambda step, loss: losses[name].__setitem__(step, loss),
            watch=Clock(lambda: next(asked)),
        )

    assert run("whole", ["go"] * 10) == tmp_path / "whole-checkpoint"
    assert run("paused", ["go", "go", "pause"]) == tmp_path / "paused" and len(losses["paused"]) == 3
    assert run("paused", ["go"] * 7) == tmp_path / "paused-checkpoint"
    assert losses["paused"] == losses["whole"]
    weights = [
        (tmp_path / f"{name}-checkpoint/autoencoder/diffusion_pytorch_model.safetensors").read_bytes()
        for name in losses
    ]
    assert weights[0] == weights[1]


def test_a_training_that_is_finished_early_leaves_a_checkpoint(found, tmp_path):
    recipe = tiny(draft("a", FAMILIES["autoencoder"], found))
    asked = iter(["go", "go", "finish"])
    done = train(
        recipe,
        FAMILIES["autoencoder"],
        data=data_of(),
        run_folder=tmp_path / "run",
        output=tmp_path / "a",
        watch=Clock(lambda: next(asked)),
    )
    assert done == tmp_path / "a" and (done / "model_index.json").exists()
    assert json.loads((tmp_path / "run/time.json").read_text())["images"] == 3 * 32


# ---- speed, and all together ----


def test_the_speed_is_that_of_the_steps_and_leaves_nothing(found, tmp_path):
    recipe = tiny(draft("a", FAMILIES["autoencoder"], found))
    speeds = measure(recipe, FAMILIES["autoencoder"], data_of(), tmp_path, seconds=0.5)
    assert len(speeds) == 1 and 1 < speeds[0] < 1e6
    assert not list(tmp_path.iterdir())


def test_the_command_from_a_folder_to_a_measured_checkpoint(pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GENARIUM_RUNS", str(tmp_path / "runs"))
    (pictures / "lying/notes.txt").write_text("no picture")
    looked = CliRunner().invoke(app, ["fit", str(pictures), "--out", "bars", "--look"])
    assert looked.exit_code == 0, looked.output
    assert "classes: lying 24, standing 24" in looked.output and "lying/notes.txt: no picture" in looked.output
    recipe = looked.output[looked.output.index("name: bars") :].replace("- 48\n  - 96", "- 4\n  - 8")
    (tmp_path / "bars.yaml").write_text(recipe)
    command = ["fit", str(pictures), "--out", "bars", "--recipe", "bars.yaml", "--minutes", "0.05"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    metrics = json.loads((tmp_path / "bars/evaluation.json").read_text())["metrics"]
    assert {"psnr", "auroc_one_class"} <= {metric["name"] for metric in metrics} or len(metrics) > 1
    assert "psnr" in done.output and (tmp_path / "bars/README.md").read_text().startswith("---")
    assert len(genarium.load("bars")(batch_size=2).images) == 2
    assert read_recipe((tmp_path / "bars/bars.yaml").read_text(), "kept").training.images >= 64
    again = CliRunner().invoke(app, command)
    assert again.exit_code == 0 and "finished already" in again.output
    other = CliRunner().invoke(app, [*command[:-1], "1"])
    assert other.exit_code == 2 and "other options" in other.output
