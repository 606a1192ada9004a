"""A split that is read as a stream: every row once an epoch, in an order of the seed, from any place on."""

import dataclasses
import itertools
import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from genarium.data.images import load_images
from genarium.data.mapped import MappedImages
from genarium.data.stream import Position, open_stream, stream_of
from genarium.errors import DataError, RecipeError
from genarium.recipe import DataSpec, read_recipe

FILES, ROWS = 4, 13  # rows of a file
SPEC = DataSpec(
    name="me/little", sample_size=8, channels=1, streaming=True, shuffle_buffer=5, conditions={"kind": "kind"}
)
NAMES = ["a", "b", "c"]


def shade(number: int) -> Image.Image:
    return Image.fromarray(np.full((8, 8), number, np.uint8))


def write_set(folder, label=None, kind=None):
    """Write 4 files of 13 pictures; picture i is of shade i, so that one sees which it is."""
    import datasets

    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": label or datasets.ClassLabel(names=NAMES),
            "kind": kind or datasets.ClassLabel(names=["x", "y"]),
        }
    )
    (folder / "data").mkdir(parents=True)
    for split, first in (("train", 0), ("test", 100)):
        for file in range(FILES if split == "train" else 1):
            numbers = range(first + file * ROWS, first + (file + 1) * ROWS)
            rows = {
                "image": [shade(i) for i in numbers],
                "label": [i % 3 for i in numbers],
                "kind": [i % 2 for i in numbers],
            }
            if features["label"].dtype == "string":
                rows["label"] = [NAMES[i] for i in rows["label"]]
            table = datasets.Dataset.from_dict(rows, features=features)
            table.to_parquet(folder / f"data/{split}-{file:05d}-of-{FILES:05d}.parquet")
    return folder


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("sets") / "little")


def drawn(stream, steps, share=4, **options) -> list[list[int]]:
    """Return the numbers of the pictures of some steps."""
    found = itertools.islice(stream.draw(share, **{"seed": 0, **options}), steps)
    return [stream.decode(rows).images[:, 0, 0, 0].tolist() for rows, _ in found]


def test_every_picture_is_seen_once_an_epoch_in_an_order_of_its_own(little):
    stream = open_stream(SPEC, "train", little)
    seen = list(itertools.chain(*drawn(stream, 2 * FILES * ROWS, share=2)))
    epochs = [seen[start : start + FILES * ROWS] for start in range(0, len(seen), FILES * ROWS)]
    first, second, *_ = epochs
    assert sorted(first) == sorted(second) == list(range(FILES * ROWS)) and first != second
    assert first != list(range(FILES * ROWS)) and drawn(stream, 3) == drawn(stream, 3) != drawn(stream, 3, seed=1)
    files = {tuple(dict.fromkeys(number // ROWS for number in epoch)) for epoch in epochs}
    assert len(files) > 1, "the shards are shuffled, and not their rows alone"


def test_a_batch_is_that_of_the_contract(little):
    stream = open_stream(dataclasses.replace(SPEC, horizontal_flip=True), "train", little)
    rows, _ = next(stream.draw(4, seed=0))
    batch = stream.batch(rows, torch.Generator().manual_seed(0))
    numbers = ((batch["images"][:, 0, 0, 0] + 1) * 127.5).round().long()
    assert batch["images"].shape == (4, 1, 8, 8)
    assert torch.equal(batch["class_labels"], numbers % 3) and torch.equal(batch["conditions"]["kind"], numbers % 2)
    assert stream.id2label == {"0": "a", "1": "b", "2": "c"} and stream.condition_names == {
        "kind": {"0": "x", "1": "y"}
    }


@pytest.mark.parametrize("world", [2, 3])  # three processes share four shards row by row
def test_processes_share_the_pictures(little, world):
    stream = open_stream(SPEC, "train", little)
    seen = []
    for rank in range(world):
        number = len(range(rank, FILES * ROWS, world))
        seen += itertools.chain(*drawn(stream, number, share=1, rank=rank, world=world))
    assert sorted(seen) == list(range(FILES * ROWS))


@pytest.mark.parametrize("done", [1, 2, 5, 12, 13, 14, 17])  # also at the ends of buffers and of epochs
def test_it_goes_on_from_any_place(little, done):
    whole = drawn(open_stream(SPEC, "train", little), 20)
    stream = open_stream(SPEC, "train", little)
    _, position = next(itertools.islice(stream.draw(4, seed=0), done - 1, None))
    kept = Position(**json.loads(json.dumps(dataclasses.asdict(position))))
    assert drawn(open_stream(SPEC, "train", little), 20 - done, position=kept) == whole[done:]


def test_a_part_stands_for_all_where_a_family_measures(little):
    stream = open_stream(dataclasses.replace(SPEC, fit_images=11), "train", little)
    sizes = [len(batch["images"]) for batch in stream.batches(4)]
    assert sum(sizes) == 11 and max(sizes) <= 4
    more = dataclasses.replace(SPEC, fit_images=10**6)
    assert sum(len(batch["images"]) for batch in open_stream(more, "train", little).batches(500)) == FILES * ROWS
    assert 1 <= len(stream.shown) <= 10


def test_names_come_from_the_data_or_the_recipe(tmp_path):
    import datasets

    numbers = write_set(tmp_path / "numbers", label=datasets.Value("int64"))
    named = dataclasses.replace(SPEC, class_names=("one", "two", "three"))
    assert open_stream(named, "train", numbers).id2label == {"0": "one", "1": "two", "2": "three"}
    with pytest.raises(DataError, match=r"Give data\.class_names"):
        open_stream(SPEC, "train", numbers)
    strings = write_set(tmp_path / "strings", label=datasets.Value("string"))
    stream = open_stream(dataclasses.replace(SPEC, class_names=("c", "b", "a")), "train", strings)
    rows, _ = next(stream.draw(6, seed=0))
    data = stream.decode(rows)
    assert (data.labels == 2 - data.images[:, 0, 0, 0].long() % 3).all()
    few = open_stream(dataclasses.replace(SPEC, class_names=("a", "b")), "train", strings)
    with pytest.raises(DataError, match="which is no label"):
        list(few.some(50, 50))
    kinds = write_set(tmp_path / "kinds", kind=datasets.Value("int64"))
    with pytest.raises(DataError, match="kind is streamed"):
        open_stream(SPEC, "train", kinds)
    assert open_stream(dataclasses.replace(SPEC, label_column=None), "train", numbers).id2label is None


def test_what_cannot_be_streamed_is_said(little, tmp_path):
    with pytest.raises(DataError, match="data call the classes a, b, c"):
        open_stream(dataclasses.replace(SPEC, class_names=("x", "y", "z")), "train", little)
    with pytest.raises(DataError, match="no column picture"):
        open_stream(dataclasses.replace(SPEC, image_column="picture"), "train", little)
    with pytest.raises(DataError, match="cannot be streamed"):
        open_stream(SPEC, "validation", little)
    np.savez(tmp_path / "d.npz", train_images=np.zeros((1, 8, 8, 1), np.uint8))
    with pytest.raises(DataError, match="is read whole"):
        open_stream(SPEC, "train", tmp_path / "d.npz")


def test_an_empty_stream_ends():
    import datasets

    features = datasets.Features({"image": datasets.Image()})
    rows = datasets.IterableDataset.from_generator(lambda: iter(()), features=features)
    stream = stream_of(rows, dataclasses.replace(SPEC, label_column=None, conditions={}), "train", ["nothing"])
    with pytest.raises(DataError, match="no row for process 1 of 1"):
        next(stream.draw(1, seed=0))


def test_pictures_that_are_files_elsewhere_are_fetched(tmp_path):
    import datasets

    shade(7).save(tmp_path / "seven.png")
    features = datasets.Features({"image": datasets.Image()})
    rows = [{"image": {"bytes": None, "path": f"file://{tmp_path}/seven.png"}}]
    spec = dataclasses.replace(SPEC, label_column=None, conditions={})
    found = datasets.IterableDataset.from_generator(lambda: iter(rows), features=features)
    assert drawn(stream_of(found, spec, "train", ["seven"]), 1, share=2) == [[7, 7]]
    (tmp_path / "seven.png").unlink()
    with pytest.raises(DataError, match="the stream cannot be read further"):
        drawn(stream_of(found, spec, "train", ["seven"]), 1)


def test_its_fingerprint_is_of_the_files(little, tmp_path):
    stream = open_stream(SPEC, "train", little)
    facts = stream.fingerprint()
    assert facts == json.loads(json.dumps(facts)) and facts["rows"] is None
    elsewhere = tmp_path / "moved"
    os.symlink(little, elsewhere)
    assert open_stream(SPEC, "train", elsewhere).fingerprint() == facts
    others = [
        open_stream(SPEC, "test", little),
        open_stream(dataclasses.replace(SPEC, shuffle_buffer=6), "train", little),
    ]
    assert all(other.fingerprint() != facts for other in others)


def test_a_test_split_is_read_as_far_as_the_memory_goes(little, monkeypatch, caplog):
    reversed_ = {"0": "c", "1": "b", "2": "a"}
    test = load_images(SPEC, "test", little, reversed_, {"kind": {"0": "y", "1": "x"}})
    shades = test.images[:, 0, 0, 0].long()
    assert sorted(shades.tolist()) == list(range(100, 100 + ROWS))
    assert torch.equal(test.labels, 2 - shades % 3) and torch.equal(test.conditions["kind"], 1 - shades % 2)
    monkeypatch.setenv("GENARIUM_DATA_MEMORY_GB", str(7 * 64 / 2**30))
    assert len(load_images(SPEC, "test", little)) == 7
    with pytest.raises(DataError, match="it is streamed, and larger than the memory"):
        load_images(SPEC, "train", little)
    assert isinstance(
        load_images(dataclasses.replace(SPEC, streaming=False, shuffle_buffer=1000), "train", little).images,
        MappedImages,
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("streaming: true\n  pairs: {same: a, differ: kind}\n  conditions: {kind: kind}", "none of pairs"),
        ("streaming: true\n  only: [a]", "none of pairs"),
        ("class_names: [a, b]", "for streaming: true alone"),
        ("fit_images: 20", "for streaming: true alone"),
        ("streaming: true\n  class_names: [a, a]", "a name of its own"),
        ("streaming: true\n  shuffle_bufer: 10", "did you mean `shuffle_buffer`"),
    ],
)
def test_a_recipe_that_cannot_stream_is_refused(options, says):
    text = (
        "name: x\nfamily: ddpm\nrepo_id: a/x\narchitecture: {}\ntraining: {images: 16}\n"
        f"data:\n  name: me/little\n  sample_size: 8\n  channels: 1\n  {options}\n"
    )
    with pytest.raises(RecipeError, match=says):
        read_recipe(text, "x.yaml")
