"""Texts beside pictures: two piles, of which a share is paired."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch

from genarium.data.images import ImageData, load_images
from genarium.data.texts import Texts
from genarium.errors import DataError, RecipeError
from genarium.families import discover
from genarium.recipe import DataSpec, TextSpec, load_recipe
from genarium.training.pipeline import build_pipeline

ROWS = ["cat", "dog", "cat", "red apple", "dog", "cat", "fish", "cat"]
SPEC = DataSpec(name="a/b", sample_size=4, channels=1, label_column=None, texts=TextSpec("name", 0.25))


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def data(paired: float) -> ImageData:
    pixels = torch.arange(8, dtype=torch.uint8).reshape(8, 1, 1, 1).expand(8, 1, 4, 4).contiguous()
    return ImageData(pixels, None, None, conditions={"style": torch.arange(8)}, texts=Texts(ROWS, paired))


def row_of(image: torch.Tensor) -> int:
    return round(float((image.flatten()[0] + 1) * 127.5))


def test_texts_are_drawn_as_often_as_there_are_rows_of_them():
    texts = Texts(ROWS)
    assert texts.names == ["cat", "dog", "fish", "red apple"]
    counts = Counter(texts.draw(8000, generator(0)).tolist())
    for number, name in enumerate(texts.names):
        assert counts[number] / 8000 == pytest.approx(ROWS.count(name) / 8, abs=0.02)


def test_no_picture_comes_with_its_text_unless_it_is_paired():
    found = data(0.0)
    batch = found.batch(torch.arange(8), generator(1))
    assert "paired" not in batch and batch["texts"].shape == (8,)
    agreements = torch.stack(
        [found.batch(torch.arange(8), generator(s))["texts"] == found.texts.numbers for s in range(500)]
    )
    chance = sum((ROWS.count(name) / 8) ** 2 for name in found.texts.names)
    assert agreements.float().mean() == pytest.approx(chance, abs=0.02)  # as two independent draws agree


def test_the_paired_share_comes_with_its_own_texts_and_conditions():
    found = data(0.25)
    assert len(found.texts.paired) == 2
    assert found.texts.paired.tolist() == data(0.25).texts.paired.tolist()  # the same in every run
    seen = set()
    for seed in range(20):
        paired = found.batch(torch.arange(8), generator(seed))["paired"]
        assert len(paired["images"]) == 2
        for image, number, style in zip(paired["images"], paired["texts"], paired["conditions"]["style"], strict=True):
            row = row_of(image)
            assert found.texts.names[number] == ROWS[row] and style == row
            seen.add(row)
    assert seen == set(found.texts.paired.tolist())


def test_batches_for_measuring_hold_no_texts():
    assert all("texts" not in batch and "paired" not in batch for batch in data(0.25).batches(3))


def test_the_fingerprint_knows_texts_and_share():
    prints = {data(share).fingerprint()["sha256"] for share in (0.0, 0.25)}
    assert len(prints | {dataclasses.replace(data(0.0), texts=Texts(ROWS[::-1])).fingerprint()["sha256"]}) == 3


def test_texts_of_an_npz_file(tmp_path):
    images = np.zeros((8, 4, 4, 1), np.uint8)
    np.savez(tmp_path / "data.npz", train_images=images, train_name=np.array(ROWS))
    found = load_images(SPEC, "train", tmp_path / "data.npz")
    assert found.texts.rows == ROWS and len(found.texts.paired) == 2


@pytest.mark.parametrize("bad", ["", None])
def test_a_row_without_text_is_said(bad):
    with pytest.raises(DataError, match="row 1 holds"):
        Texts(["cat", bad])


def test_what_is_wrong_with_texts_in_a_recipe_is_said(tmp_path):
    text = (
        "name: a\nfamily: vae\nrepo_id: me/a\n"
        "data: {name: me/data, sample_size: 28, channels: 1, texts: {column: name, paired: 0.05}}\n"
        "architecture: {}\ntraining: {images: 10}\n"
    )
    path = tmp_path / "a.yaml"
    path.write_text(text)
    recipe = load_recipe(path)
    assert recipe.data.texts == TextSpec("name", 0.05)
    with pytest.raises(RecipeError, match="the family vae has no use for texts"):
        build_pipeline(recipe, discover(installed=False)["vae"], None, texts=["cat"])
    path.write_text(text.replace("paired", "pared"))
    with pytest.raises(RecipeError, match="did you mean `paired`"):
        load_recipe(path)
