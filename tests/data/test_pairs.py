"""Pairs in labelled data: the right rows, by a generator alone, and what a recipe may ask for."""

import dataclasses

import numpy as np
import PIL.Image
import pytest
import torch

from genarium.data.images import ImageData, load_images
from genarium.data.pairs import Others, Pairs
from genarium.errors import DataError, RecipeError
from genarium.families import discover
from genarium.recipe import DataSpec, PairSpec, find_recipe, load_recipe
from genarium.training.pipeline import build_pipeline

# rows of contents 0 ... 3 in styles 0 ... 2, unsorted; content 3 in one style only, (0, 1) drawn twice
CONTENTS = torch.tensor([2, 0, 1, 0, 3, 1, 2, 0, 2])
STYLES = torch.tensor([1, 1, 0, 0, 2, 2, 0, 1, 2])
SPEC = DataSpec(
    name="a/b", sample_size=4, channels=1, conditions={"style": "by"}, pairs=PairSpec(same="codepoint", differ="style")
)


def brute_force(row: int, same: torch.Tensor, differ: torch.Tensor) -> set[int]:
    return {i for i in range(len(same)) if same[i] == same[row] and differ[i] != differ[row]}


@pytest.mark.parametrize(("same", "differ"), [(CONTENTS, STYLES), (STYLES, CONTENTS)])
def test_draws_are_all_that_agree_in_one_and_differ_in_the_other(same, differ):
    others = Others(same, differ)
    rows = torch.arange(len(same)).repeat_interleave(400)
    drawn = others.draw(rows, torch.Generator().manual_seed(0)).reshape(len(same), 400)
    for row, seen in enumerate(drawn):
        expected = brute_force(row, same, differ) or {row}  # who has no other stands for itself
        values, counts = seen.unique(return_counts=True)
        assert set(values.tolist()) == expected
        # with equal chances: four deviations of a binomial count
        chance = 1 / len(expected)
        assert (counts - 400 * chance).abs().max() <= 4 * (400 * chance * (1 - chance)) ** 0.5
        assert others.count(torch.tensor([row])).item() == len(brute_force(row, same, differ))


def test_a_partner_is_the_same_content_and_an_example_the_same_style():
    pairs = Pairs(CONTENTS, STYLES)
    assert pairs.paired().tolist() == [True, True, True, True, False, True, True, True, True]
    rows = torch.arange(9).repeat(50)
    partners, examples = pairs.draw(rows, torch.Generator().manual_seed(1))
    paired = pairs.paired()[rows]
    assert torch.equal(CONTENTS[partners], CONTENTS[rows])
    assert (STYLES[partners] != STYLES[rows])[paired].all() and torch.equal(partners[~paired], rows[~paired])
    assert torch.equal(STYLES[examples], STYLES[partners]) and (CONTENTS[examples] != CONTENTS[rows]).all()
    again = pairs.draw(rows, torch.Generator().manual_seed(1))
    assert torch.equal(again[0], partners) and torch.equal(again[1], examples)
    other = pairs.draw(rows, torch.Generator().manual_seed(2))
    assert not torch.equal(other[0], partners) and not torch.equal(other[1], examples)


def test_data_without_any_pair_are_refused():
    with pytest.raises(DataError, match="no pair"):
        Pairs(torch.arange(4), torch.tensor([0, 1, 0, 1]))


def data(**options) -> ImageData:
    """Image i is i everywhere, but for a brighter right half."""
    images = torch.arange(9, dtype=torch.uint8).reshape(9, 1, 1, 1).repeat(1, 1, 4, 4)
    images[..., 2:] += 100
    conditions = {"style": STYLES}
    return ImageData(images, None, None, conditions=conditions, pairs=Pairs(CONTENTS, STYLES), **options)


def rows_of(images: torch.Tensor) -> torch.Tensor:
    """Images of a batch -> which rows they are; float [B, 1, 4, 4] -> int64 [B]."""
    return ((images.amin((1, 2, 3)) + 1) * 127.5).round().long()


def test_a_batch_holds_partners_their_styles_and_examples():
    rows = torch.tensor([0, 1, 2, 5, 8])
    batch = data().batch(rows, torch.Generator().manual_seed(0))
    partners, examples = rows_of(batch["partners"]), rows_of(batch["style_examples"])
    assert torch.equal(CONTENTS[partners], CONTENTS[rows]) and (STYLES[partners] != STYLES[rows]).all()
    assert torch.equal(batch["partner_conditions"]["style"], STYLES[partners])
    assert torch.equal(batch["conditions"]["style"], STYLES[rows])
    assert torch.equal(STYLES[examples], STYLES[partners])
    assert "partners" not in data().batch(rows), "a pass in order, for `fit`, draws nothing"


def test_partners_are_mirrored_together_with_their_content():
    batch = data(horizontal_flip=True).batch(torch.arange(9), torch.Generator().manual_seed(0))
    mirrored = [(batch[key][:, 0, 0, 0] > batch[key][:, 0, 0, 3]) for key in ("images", "partners", "style_examples")]
    assert mirrored[0].any() and not mirrored[0].all()
    assert torch.equal(mirrored[0], mirrored[1]) and torch.equal(mirrored[0], mirrored[2])


def arrays(**changes):
    values = {
        "train_images": np.zeros((9, 4, 4, 1), np.uint8),
        "train_style": STYLES.numpy(),
        "style_names": np.array(["thin", "thick", "round"]),
        "train_codepoint": np.array(["2602", "1f600", "1f34e", "1f600", "2764", "1f34e", "2602", "1f600", "2602"]),
    }
    return {key: value for key, value in {**values, **changes}.items() if value is not None}


def test_contents_may_be_strings(tmp_path):
    np.savez(tmp_path / "data.npz", **arrays())
    pairs = load_images(SPEC, "train", tmp_path / "data.npz").pairs
    for row in range(9):
        same = pairs.contents == pairs.contents[row]
        assert torch.equal(same, CONTENTS[row] == CONTENTS)
    np.savez(tmp_path / "lacking.npz", **arrays(train_codepoint=None))
    with pytest.raises(DataError, match="train_codepoint"):
        load_images(SPEC, "train", tmp_path / "lacking.npz")


def test_pairs_of_a_folder_in_the_hubs_layout(tmp_path):
    import datasets

    folder = tmp_path / "data-set"
    columns = {
        "image": [PIL.Image.new("L", (4, 4))] * 9,
        "by": [["thin", "thick", "round"][i] for i in STYLES],
        "codepoint": [f"u{i}" for i in CONTENTS],
    }
    features = {"image": datasets.Image(), "by": datasets.Value("string"), "codepoint": datasets.Value("string")}
    table = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    table.to_parquet(folder / "train.parquet")
    spec = dataclasses.replace(SPEC, label_column=None)
    found = load_images(spec, "train", folder)
    assert torch.equal(found.pairs.contents, CONTENTS) and torch.equal(found.pairs.styles, found.conditions["style"])
    with pytest.raises(DataError, match="no column code"):
        load_images(dataclasses.replace(spec, pairs=PairSpec(same="code", differ="style")), "train", folder)


def test_what_is_wrong_with_pairs_in_a_recipe_is_said(tmp_path):
    good = (
        "name: a\nfamily: vae\nrepo_id: me/a\narchitecture: {}\ntraining: {images: 100}\n"
        "data: {name: me/data, sample_size: 28, channels: 1, conditions: {style: by}, pairs: {same: code, differ: style}}\n"
    )
    path = tmp_path / "a.yaml"
    path.write_text(good)
    assert load_recipe(path).data.pairs == PairSpec("code", "style")
    path.write_text(good.replace("differ: style", "differ: font"))
    with pytest.raises(RecipeError, match=r"pairs\.differ: name one of `conditions`, which lack 'font'"):
        load_recipe(path)
    path.write_text(good.replace("same:", "smae:"))
    with pytest.raises(RecipeError, match="did you mean `same`"):
        load_recipe(path)


def test_a_family_that_learns_from_no_pairs_is_refused_a_recipe_that_has_some():
    recipe = find_recipe("vae-fashion-mnist")
    paired = dataclasses.replace(
        recipe.data, conditions={"style": "by"}, pairs=PairSpec(same="codepoint", differ="style")
    )
    with pytest.raises(RecipeError, match="vae does not learn from pairs"):
        build_pipeline(dataclasses.replace(recipe, data=paired), discover(installed=False)["vae"], None)
