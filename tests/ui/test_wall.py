"""Stored samples: cut out of the sheets that the cards show, and shown before anybody presses Run; order and names."""

import itertools
import shutil

import numpy as np
import PIL.Image
import pytest
from furnishing import furnish
from stored import store_samples

from genarium.catalogue import find_checkpoints
from genarium.checkpoints import open_checkpoint
from genarium.errors import RecipeError
from genarium.families import discover
from genarium.media.pictures import cut, enlarge, grid
from genarium.recipe import find_recipe
from genarium.ui.wall import GAP, SHOWN, Thumbnails, stored_samples, strip


@pytest.fixture
def mine(tiny_checkpoints, tmp_path, families):
    shutil.copytree(tiny_checkpoints / "tiny-vae", tmp_path / "mine")
    return open_checkpoint(tmp_path / "mine", families)


def same(a: PIL.Image.Image, b: PIL.Image.Image) -> bool:
    return bool(np.array_equal(np.asarray(a), np.asarray(b)))


@pytest.mark.parametrize(("factor", "columns"), [(1, 3), (2, 3), (3, 1)])
def test_a_sheet_is_cut_into_the_pictures_that_it_was_made_of(factor, columns):
    rng = np.random.default_rng(1)
    pictures = [PIL.Image.fromarray(rng.integers(0, 256, (14, 14), np.uint8)) for _ in range(6)]
    sheet = grid(pictures, columns)
    rows = cut(enlarge(sheet, factor * max(sheet.size)), 14)
    assert [len(row) for row in rows] == [columns] * (6 // columns)
    assert all(same(a, b) for a, b in zip(itertools.chain(*rows), pictures, strict=True))
    assert cut(PIL.Image.new("L", (31, 30)), 14) == []


def test_stored_samples_are_of_unlike_classes(mine):
    assert stored_samples(mine) == []
    pictures = store_samples(mine.folder)
    samples = stored_samples(mine)
    assert len(samples) == 10 and same(samples[0], pictures[0]) and same(samples[1], pictures[11])
    line = strip(samples)
    assert line.size == (SHOWN * 28 + (SHOWN - 1) * GAP, 28)
    assert same(line.crop((0, 0, 28, 28)).convert("L"), pictures[0])
    (mine.folder / "samples.png").write_bytes(b"\x89PNG\r\n\x1a\nnot really")
    assert stored_samples(mine) == []


def test_the_wall_shows_those_that_have_samples(mine):
    assert not Thumbnails({"mine": mine}) and Thumbnails({"mine": mine}).wall(["mine"]) == ""
    store_samples(mine.folder)
    wall = Thumbnails({"mine": mine})
    assert 'data-checkpoint="mine"' in wall.wall(["mine"]) and wall.wall([]) == ""
    assert '[aria-label="mine"]' in wall.style()


def test_recipes_name_checkpoints_and_order_them(house, tiny_checkpoints):
    title = {"en": 'A "good" one', "zh": "好的"}
    furnish(house, tiny_checkpoints / "tiny-vae", "vae", title=title, order=10)
    furnish(house, tiny_checkpoints / "tiny-ddpm", "ddpm", order=20, architecture={})
    shutil.copytree(tiny_checkpoints / "tiny-gan", house / "checkpoints" / "a-gan")
    found = find_checkpoints(discover(installed=False)).checkpoints
    assert list(found) == ["tiny-vae", "tiny-ddpm", "a-gan"]
    assert found["tiny-vae"].title == title
    assert found["a-gan"].title == {"en": "a-gan", "zh": "a-gan"}
    path = house / "hub_configs/tiny-vae.yaml"
    path.write_text(path.read_text().replace("  en:", "  English:"))
    with pytest.raises(RecipeError, match="title"):
        find_recipe("tiny-vae")
