"""A training on pictures that stay on the disk is that on the same pictures in memory, step by step."""

import dataclasses
import math

import numpy as np
import pytest
from test_train import run, tiny_recipe

from genarium.data.images import load_images
from genarium.data.mapped import MappedImages
from genarium.recipe import find_recipe


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import datasets
    from PIL import Image

    random = np.random.default_rng(0)
    rows = {
        "image": [Image.fromarray(random.integers(0, 256, (28, 28), np.uint8)) for _ in range(70)],
        "label": [i % 10 for i in range(70)],
    }
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    place = tmp_path_factory.mktemp("sets") / "little"
    (place / "data").mkdir(parents=True)
    datasets.Dataset.from_dict(rows, features=features).to_parquet(place / "data/train-00000-of-00001.parquet")
    return place


def loaded(folder, recipe, monkeypatch, mapped, workers=1):
    monkeypatch.setenv("GENARIUM_DATA_MEMORY_GB", "1e-6" if mapped else "1")
    monkeypatch.setenv("GENARIUM_DATA_WORKERS", str(workers))
    data = load_images(recipe.data, "train", folder)
    assert isinstance(data.images, MappedImages) == mapped
    return data


@pytest.mark.parametrize("family", ["ddpm", "vqgan"])  # in one piece, and in stages of which one is prepared for
def test_losses_are_the_same_bit_for_bit(family, folder, tmp_path, monkeypatch):
    stages = find_recipe(f"{family}-fashion-mnist").training.stages
    stages = tuple(dataclasses.replace(stage, images=80, batch_size=16) for stage in stages)
    recipe = tiny_recipe(family, images=None if stages else 160, stages=stages)
    recipe = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, horizontal_flip=family == "ddpm"))
    data = loaded(folder, recipe, monkeypatch, mapped=False)
    _, whole = run(recipe, tmp_path / "memory", data)
    for workers in (0, 2):
        data = loaded(folder, recipe, monkeypatch, mapped=True, workers=workers)
        _, found = run(recipe, tmp_path / f"mapped-{workers}", data)
        assert len(found) == len(whole) >= 10 and found == whole
    written = [(tmp_path / f"{name}/checkpoint/model_index.json").read_text() for name in ("memory", "mapped-2")]
    assert written[0] == written[1]  # the figures of what is fitted after training


def test_a_run_that_began_in_memory_goes_on_from_the_disk(folder, tmp_path, monkeypatch):
    recipe = tiny_recipe("ddpm", images=160)
    whole = loaded(folder, recipe, monkeypatch, mapped=False)
    _, losses = run(recipe, tmp_path / "whole", whole)
    _, first = run(recipe, tmp_path / "parts", whole, max_steps=4)
    _, second = run(recipe, tmp_path / "parts", loaded(folder, recipe, monkeypatch, mapped=True))
    assert sorted(first | second) == list(range(1, 11)) and not first.keys() & second.keys()
    assert all(math.isclose(loss, losses[step], rel_tol=1e-6) for step, loss in (first | second).items())
