"""A training on a stream: it learns, and one that was stopped sees what it would have seen."""

import dataclasses
import json

import numpy as np
import pytest
from test_train import FAMILIES, tiny_recipe

from genarium.errors import GenariumError, RecipeError
from genarium.training.loop import train


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    import datasets
    from PIL import Image

    random = np.random.default_rng(0)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    place = tmp_path_factory.mktemp("sets") / "little"
    (place / "data").mkdir(parents=True)
    for file in range(3):
        rows = {
            "image": [Image.fromarray(random.integers(0, 256, (28, 28), np.uint8)) for _ in range(20)],
            "label": [i % 10 for i in range(20)],
        }
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(place / f"data/train-{file:05d}-of-00003.parquet")
    return place


def streaming(family, **options):
    recipe = tiny_recipe(family, images=160, **options)
    data = dataclasses.replace(recipe.data, streaming=True, shuffle_buffer=15, fit_images=30, horizontal_flip=True)
    return dataclasses.replace(recipe, data=data)


def run(recipe, place, folder, **options):
    losses = {}
    result = train(
        recipe,
        FAMILIES[recipe.family],
        data_override=folder,
        run_folder=place / "run",
        output=place / "checkpoint",
        on_step=lambda step, loss: losses.__setitem__(step, loss),
        **options,
    )
    return result, losses


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_stopped_run_sees_what_it_would_have_seen(folder, tmp_path, monkeypatch, workers):
    monkeypatch.setenv("GENARIUM_DATA_WORKERS", workers)
    recipe = streaming("ddpm")
    output, whole = run(recipe, tmp_path / "whole", folder)
    assert (output / "model_index.json").exists() and len(whole) == 10
    _, first = run(recipe, tmp_path / "parts", folder, max_steps=5)  # in the second epoch, within a buffer
    place = json.loads((tmp_path / "parts/run/state/position_0.json").read_text())
    assert place["epoch"] == 1 and place["processes"] == 1
    _, second = run(recipe, tmp_path / "parts", folder)
    assert sorted(second) == [6, 7, 8, 9, 10]
    assert first | second == pytest.approx(whole, rel=1e-6)


def test_a_family_is_fitted_to_a_part(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("GENARIUM_DATA_WORKERS", "1")
    output, losses = run(streaming("vae"), tmp_path, folder)
    assert len(losses) == 10 and (output / "model_index.json").exists()
    assert json.loads((output / "training.json").read_text())["data"]["rows"] is None
    with pytest.raises(RecipeError, match=r"such as data\.fit_images: 20000"):
        recipe = streaming("vae")
        run(dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, fit_images=None)), tmp_path, folder)


def test_other_positions_are_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("GENARIUM_DATA_WORKERS", "0")
    recipe = streaming("ddpm")
    run(recipe, tmp_path, folder, max_steps=2)
    place = tmp_path / "run/state/position_0.json"
    kept = json.loads(place.read_text())
    place.write_text(json.dumps({**kept, "processes": 2}))
    with pytest.raises(GenariumError, match="was saved by 2 processes"):
        run(recipe, tmp_path, folder)
    place.write_text("{")
    with pytest.raises(GenariumError, match="position in the stream is damaged"):
        run(recipe, tmp_path, folder)
    other = dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, shuffle_buffer=16))
    with pytest.raises(RecipeError, match="begun with other data"):
        run(other, tmp_path, folder)
