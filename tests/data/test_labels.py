"""A label number means what the checkpoint's names say, whatever split, file or order the labels come in."""

import io

import numpy as np
import PIL.Image
import pytest
import torch

from genarium.data.images import load_images
from genarium.data.labels import number_labels
from genarium.errors import DataError
from genarium.recipe import DataSpec

SPEC = DataSpec(name="me/little", sample_size=8, channels=1)


def png(value: int) -> dict:
    file = io.BytesIO()
    PIL.Image.new("L", (8, 8), value).save(file, "PNG")
    return {"bytes": file.getvalue(), "path": None}


def save(folder, labels, feature=None, split="train", **columns):
    """A data set in the Hub's layout whose pictures are as bright as their row's number."""
    import datasets

    (folder / "little/data").mkdir(parents=True, exist_ok=True)
    features = {"image": datasets.Image(decode=False), "label": feature or datasets.Value("string")}
    features |= {name: datasets.Value("string") for name in columns}
    rows = {"image": [png(i) for i in range(len(labels))], "label": labels, **columns}
    table = datasets.Dataset.from_dict(rows, features=datasets.Features(features))
    table.to_parquet(folder / f"little/data/{split}-00000-of-00001.parquet")
    return folder / "little"


@pytest.mark.parametrize(
    ("values", "class_names", "labels", "names"),
    [
        (["dog", "cat", "dog"], None, [1, 0, 1], ["cat", "dog"]),
        ([1, 3, 2, 10], None, [0, 2, 1, 3], ["1", "2", "3", "10"]),
        ([7, 100, 7], None, [0, 1, 0], ["7", "100"]),
        ([1.0, float("nan"), 2.0], None, [0, -1, 1], ["1", "2"]),
        ([0, -1, 2], ["x", "y", "z"], [0, -1, 2], ["x", "y", "z"]),
        ([1, None], ["x", "y"], [1, -1], ["x", "y"]),
        (["a", "A", None, ""], None, [1, 0, -1, -1], ["A", "a"]),
        ([True, False], None, [1, 0], ["False", "True"]),
    ],
)
def test_every_kind_of_label_is_numbered_from_zero(values, class_names, labels, names):
    found, meanings = number_labels(values, "data", class_names)
    assert found.tolist() == labels and found.dtype == torch.int64
    assert meanings == {str(i): name for i, name in enumerate(names)}


@pytest.mark.parametrize("class_names", [None, ["emu", "dog"]])
def test_another_split_is_numbered_by_the_names_of_the_checkpoint(class_names):
    known = {"0": "cat", "1": "dog", "2": "emu"}
    values = [0, 1] if class_names else ["emu", "dog"]
    labels, names = number_labels(values, "test", class_names, known)
    assert labels.tolist() == [2, 1] and names == known


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((["cat", "gnu"], "d", None, {"0": "cat"}), "'gnu' is not among the names that the checkpoint knows: 'cat'"),
        (([0, 5], "d", ["a", "b"]), "row 1 has the label 5, and there are names for 0 ... 1"),
        (([0, -2], "d", ["a", "b"]), "row 1 has the label -2"),
        (([0.5], "d"), "row 0 holds 0.5, which is no label"),
        (([float("inf")], "d"), "which is no label"),
        (([{"a": 1}], "d"), "which is no label"),
        (([-1, None], "d"), "no row has a label"),
        (([0, 1], "d", ["a", "a"]), "two classes are called 'a'"),
        ((["a", None], "d", None, None, True), "row 1 has no value"),
    ],
)
def test_what_is_no_label_is_said(arguments, says):
    with pytest.raises(DataError, match=says):
        number_labels(*arguments)


def test_a_test_split_that_lacks_a_class_keeps_the_numbers(tmp_path):
    folder = save(tmp_path, ["cat", "dog", "emu"])
    save(tmp_path, ["dog", "emu"], split="test")
    train = load_images(SPEC, "train", folder)
    test = load_images(SPEC, "test", folder, train.id2label)
    assert test.labels.tolist() == [1, 2] and test.id2label == train.id2label
    save(tmp_path, ["gnu"], split="test")
    with pytest.raises(DataError, match="gnu"):
        load_images(SPEC, "test", folder, train.id2label)


def test_class_labels_in_another_order_and_unused_ones(tmp_path):
    import datasets

    folder = save(tmp_path, [0, 1], datasets.ClassLabel(names=["cat", "dog", "never"]))
    other = save(tmp_path / "other", [0, 2], datasets.ClassLabel(names=["dog", "unused here", "cat"]), split="test")
    train = load_images(SPEC, "train", folder)
    assert list(train.id2label.values()) == ["cat", "dog", "never"]
    assert "no image of never" in " ".join(train.remarks())
    assert load_images(SPEC, "test", other, train.id2label).labels.tolist() == [1, 0]


def test_unlabelled_rows_have_no_class_and_that_is_said(tmp_path):
    import datasets

    data = load_images(SPEC, "train", save(tmp_path, [0, -1, 1, -1], datasets.ClassLabel(names=["a", "b"])))
    assert data.labels.tolist() == [0, -1, 1, -1]
    assert "2 of 4 images have no label" in " ".join(data.remarks())


def test_conditions_are_numbered_by_the_names_of_the_checkpoint(tmp_path):
    spec = DataSpec(name="me/little", sample_size=8, channels=1, conditions={"style": "style"})
    folder = save(tmp_path, ["a", "b"], style=["plain", "round"])
    save(tmp_path, ["a", "b"], split="test", style=["round", "round"])
    names = load_images(spec, "train", folder).condition_names
    test = load_images(spec, "test", folder, condition_names=names)
    assert test.conditions["style"].tolist() == [1, 1] and test.condition_names == names


# ---- .npz files ----

IMAGES = np.arange(4 * 64, dtype=np.uint8).reshape(4, 8, 8, 1)
GOOD = {"train_images": IMAGES, "train_labels": [0, 1, 0, 1], "label_names": ["a", "b"]}


def npz(folder, **changes):
    arrays = {name: value for name, value in (GOOD | changes).items() if value is not None}
    np.savez(folder / "data.npz", **arrays)
    return folder / "data.npz"


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"train_images": IMAGES / 255}, r"holds float64.*\(images \* 255\)"),
        ({"train_images": IMAGES > 9}, r"holds bool.*\* 255"),
        ({"train_images": IMAGES.astype(np.int64)}, "holds int64"),
        ({"train_images": IMAGES[..., 0]}, r"it must be \[N, H, W, C\]"),
        ({"train_images": IMAGES[:0]}, "at least one image"),
        ({"train_images": IMAGES[:, :4]}, "the recipe asks for"),
        ({"train_images": None}, "no array train_images"),
        ({"train_labels": [0, 1]}, r"there are 4 images, so it must be \[4\]"),
        ({"train_labels": [0.0, 1.0, 0.0, 1.0]}, "holds float64; labels are whole numbers"),
        ({"train_labels": [0, 1, 0, 2]}, "row 3 has the label 2"),
        ({"train_labels": np.array([None] * 4)}, "cannot be read"),
        ({"label_names": [["a", "b"]]}, "must be a list of names"),
    ],
)
def test_what_is_wrong_in_an_npz_is_said_on_loading(tmp_path, changes, says):
    with pytest.raises(DataError, match=says):
        load_images(SPEC, "train", npz(tmp_path, **changes))


def test_labels_of_an_npz_without_names_and_as_names(tmp_path, caplog):
    data = load_images(SPEC, "train", npz(tmp_path, label_names=None, train_labels=[5, 7, 5, 7]))
    assert data.labels.tolist() == [0, 1, 0, 1] and data.id2label == {"0": "5", "1": "7"}
    data = load_images(SPEC, "train", npz(tmp_path, label_names=None, train_labels=["x", "y", "x", "y"]))
    assert data.id2label == {"0": "x", "1": "y"}
    data = load_images(SPEC, "train", npz(tmp_path, label_names=["b", "a"]), {"0": "a", "1": "b"})
    assert data.labels.tolist() == [1, 0, 1, 0]
    assert load_images(SPEC, "train", npz(tmp_path, train_labels=None)).labels is None
    assert "used without classes" in caplog.text


def test_a_damaged_npz_is_called_damaged(tmp_path):
    whole = npz(tmp_path).read_bytes()
    for content in (b"", b"not a zip", whole[: len(whole) // 2]):
        (tmp_path / "data.npz").write_bytes(content)
        with pytest.raises(DataError, match=r"damaged|cannot be read"):
            load_images(SPEC, "train", tmp_path / "data.npz")
    flipped = bytearray(whole)
    flipped[200] ^= 0xFF  # inside the first array: its checksum fails
    (tmp_path / "data.npz").write_bytes(flipped)
    with pytest.raises(DataError, match="cannot be read"):
        load_images(SPEC, "train", tmp_path / "data.npz")
