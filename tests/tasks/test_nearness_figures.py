"""Nearness to the training images as `evaluate` measures it, of samples that are known to be copies or to be new."""

import dataclasses
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from genarium.data.images import ImageData
from genarium.errors import NotMeasurableError
from genarium.evaluation.evaluate import evaluate
from genarium.evaluation.images import ImageEvaluation
from genarium.recipe import DataSpec, EvaluationSpec, Recipe, TrainingSpec
from genarium.runtime import Runtime
from genarium.tasks.generate.nearness import measure

NUM_CLASSES = 10  # of tiny-vae


class Columns(nn.Module):
    """A feature network without weights: the mean of each column, so that mirror images differ."""

    num_features = 28
    name = "columns"

    def forward(self, images):
        return images.float().mean((1, 2))


def noise(number, seed):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (number, 1, 28, 28), generator=generator, dtype=torch.uint8)


def recipe(**data):
    return Recipe(
        name="mine",
        family="vae",
        repo_id="someone/mine",
        data=DataSpec(name="someone/pictures", sample_size=28, channels=1, **data),
        architecture={},
        training=TrainingSpec(images=10),
        evaluation=EvaluationSpec(num_samples=200, seed=3),
    )


@pytest.fixture
def evaluation(tiny_checkpoints):
    """An evaluation of noise: every third of its 200 samples is a training image, the others are new."""
    runtime, folder = Runtime(), str(tiny_checkpoints / "tiny-vae")
    found = ImageEvaluation(folder, runtime.catalogue[folder], runtime, recipe(), 200, 200, network=Columns())
    train, samples = noise(300, 0), noise(200, 1)
    samples[::3] = train[:67]
    vars(found).update(
        train=ImageData(train, None, None),
        test=ImageData(noise(200, 2), torch.arange(200) % NUM_CLASSES, None),
        samples=samples,
    )
    return found


def by_name(metrics):
    return {(m["name"], m["features"]): m for m in metrics}


@pytest.mark.parametrize("space", ["columns", "pixels"])
def test_copies_among_new_samples_are_counted(evaluation, space):
    metrics = by_name(measure(evaluation))
    assert metrics["copies", space]["value"] == pytest.approx(67 / 200, abs=0.04)
    of_samples, of_test = metrics["nearest_distance", space], metrics["nearest_distance_of_test", space]
    assert 0.8 * of_test["value"] < of_samples["value"] < of_test["value"]
    assert "seed 3 + i" in of_samples["protocol"] and "300 images of someone/pictures train" in of_samples["protocol"]


def test_pixels_are_compared_by_their_root_mean_square(evaluation):
    vars(evaluation)["train"] = ImageData(torch.full((1, 1, 28, 28), 100, dtype=torch.uint8), None, None)
    vars(evaluation)["samples"] = torch.full((200, 1, 28, 28), 90, dtype=torch.uint8)
    assert by_name(measure(evaluation))["nearest_distance", "pixels"]["value"] == 10


@pytest.mark.parametrize(("mirrored", "copies"), [(False, 0.0), (True, 1.0)])
def test_mirror_images_are_copies_where_training_saw_them(evaluation, mirrored, copies):
    train = vars(evaluation)["train"].images
    vars(evaluation)["train"] = ImageData(train, None, None, horizontal_flip=mirrored)
    vars(evaluation)["samples"] = train[:200].flip(-1)
    metrics = by_name(measure(evaluation))
    for space in ("columns", "pixels"):
        assert metrics["copies", space]["value"] == pytest.approx(copies, abs=0.05)
    assert ("mirror images" in metrics["copies", "pixels"]["protocol"]) == mirrored


def test_without_training_images_the_part_is_skipped_and_says_why(evaluation, tmp_path, monkeypatch):
    monkeypatch.setenv("GENARIUM_DATA", str(tmp_path))
    del vars(evaluation)["train"]
    with pytest.raises(NotMeasurableError, match=r"someone/pictures"):
        measure(evaluation)


def test_evaluate_measures_it_from_data_to_card(tiny_checkpoints, tmp_path, monkeypatch):
    folder = tmp_path / "mine"
    shutil.copytree(tiny_checkpoints / "tiny-vae", folder)
    pixels = {f"{split}_images": noise(30, i).permute(0, 2, 3, 1).numpy() for i, split in enumerate(("train", "test"))}
    np.savez(tmp_path / "pictures.npz", **pixels)
    spec = dataclasses.replace(recipe(), evaluation=EvaluationSpec(num_samples=12, seed=3))
    result = evaluate(
        str(folder), Runtime(), spec, tmp_path / "pictures.npz", features=Columns(), parts=["distance", "nearness"]
    )
    assert {m["part"] for m in result["metrics"]} == {"distance", "nearness"}
    assert "Share of copies of training images (pixels)" in (folder / "README.md").read_text()
