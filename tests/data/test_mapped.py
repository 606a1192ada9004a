"""Pictures that stay on the disk: every batch, hash and distance is that of the same pictures in memory."""

import dataclasses
import io

import numpy as np
import pytest
import torch
from PIL import Image

from genarium.data.budget import MOST_WORKERS, memory_budget, num_workers
from genarium.data.feed import feed
from genarium.data.images import load_images
from genarium.data.mapped import MappedImages
from genarium.errors import DataError, InputError
from genarium.evaluation.nearness import nearest_distances
from genarium.recipe import DataSpec, PairSpec, TextSpec

ROWS = 37
SPEC = DataSpec(
    name="me/little",
    sample_size=12,
    channels=3,
    conditions={"style": "style"},
    pairs=PairSpec("thing", "style"),
    texts=TextSpec("words", 0.5),
    horizontal_flip=True,
)


def picture(i: int) -> bytes:
    """Pictures of several sizes, modes and formats: decoding has something to do."""
    random = np.random.default_rng(i)
    shape = (9 + i % 5, 14) if i % 3 == 0 else (9 + i % 5, 14, 3)
    buffer = io.BytesIO()
    Image.fromarray(random.integers(0, 256, shape, np.uint8)).save(buffer, "JPEG" if i % 2 else "PNG")
    return buffer.getvalue()


def write_set(folder, pictures):
    import datasets

    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=["a", "b", "c"]),
            "style": datasets.Value("string"),
            "thing": datasets.Value("int64"),
            "words": datasets.Value("string"),
        }
    )
    rows = [
        {
            "image": {"bytes": data, "path": None},
            "label": i % 3,
            "style": "xy"[i % 2],
            "thing": i // 2,
            "words": f"w {i}",
        }
        for i, data in enumerate(pictures)
    ]
    (folder / "data").mkdir(parents=True)
    table = datasets.Dataset.from_list(rows, features=features)
    table.to_parquet(folder / "data/train-00000-of-00001.parquet", batch_size=10)
    return folder


@pytest.fixture(scope="module")
def little(tmp_path_factory):
    return write_set(tmp_path_factory.mktemp("sets") / "little", [picture(i) for i in range(ROWS)])


@pytest.fixture
def small_budget(monkeypatch):
    monkeypatch.setenv("GENARIUM_DATA_MEMORY_GB", "1e-7")
    monkeypatch.setenv("GENARIUM_DATA_WORKERS", "2")


@pytest.fixture
def both(little, small_budget, monkeypatch):
    """The same set, mapped and in memory."""
    mapped = load_images(SPEC, "train", little)
    with monkeypatch.context() as patch:
        patch.setenv("GENARIUM_DATA_MEMORY_GB", "1")
        whole = load_images(SPEC, "train", little)
    assert isinstance(mapped.images, MappedImages) and isinstance(whole.images, torch.Tensor)
    return mapped, whole


def assert_same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        if isinstance(a[key], dict):
            assert_same(a[key], b[key])
        else:
            assert torch.equal(a[key], b[key]), key


def test_batches_are_those_of_memory_bit_for_bit(both):
    mapped, whole = both
    rows = torch.randperm(ROWS, generator=torch.Generator().manual_seed(1))[:20]
    assert_same(*(data.batch(rows, torch.Generator().manual_seed(2)) for data in both))
    assert_same(mapped.batch(rows), whole.batch(rows))
    assert np.array_equal(mapped.array(rows), whole.array(rows))
    for a, b in zip(mapped.batches(8), whole.batches(8), strict=True):
        assert_same(a, b)


def test_it_is_indexed_like_a_tensor(both):
    mapped, whole = (data.images for data in both)
    mask = torch.arange(ROWS) % 4 == 1
    for index in (
        3,
        -1,
        slice(2, 9),
        slice(30, 99),
        torch.tensor([5, 5, 0]),
        mask,
        torch.tensor([], dtype=torch.int64),
    ):
        assert torch.equal(mapped[index], whole[index])
    assert mapped.shape == whole.shape and len(mapped) == len(whole)
    assert torch.equal(torch.cat(list(mapped.split(10))), whole)


def test_its_fingerprint_is_that_of_memory(both, monkeypatch):
    from genarium.data import mapped as module

    monkeypatch.setattr(module, "PIECE", 10)
    assert both[0].fingerprint() == both[1].fingerprint()
    other = dataclasses.replace(both[0], images=both[0].images.select(torch.arange(ROWS).flip(0)))
    assert other.fingerprint()["sha256"] != both[1].fingerprint()["sha256"]


def test_one_class_stays_on_the_disk(little, small_budget, monkeypatch):
    spec = dataclasses.replace(SPEC, only=("c", "a"), pairs=None, texts=None)
    mapped = load_images(spec, "train", little)
    monkeypatch.setenv("GENARIUM_DATA_MEMORY_GB", "1")
    whole = load_images(spec, "train", little)
    assert isinstance(mapped.images, MappedImages) and mapped.id2label == {"0": "c", "1": "a"}
    assert_same(mapped.batch(torch.arange(len(whole))), whole.batch(torch.arange(len(whole))))


def test_distances_to_the_nearest(both):
    points = both[1].images[:5].flip(-1)
    assert torch.equal(*(nearest_distances(points, data.images, chunk=7) for data in both))


def test_a_damaged_picture_is_named_by_its_row(tmp_path, small_budget):
    folder = write_set(tmp_path / "broken", [picture(0), picture(1), b"no picture", picture(3)])
    data = load_images(dataclasses.replace(SPEC, only=("c", "b"), pairs=None, texts=None), "train", folder)
    with pytest.raises(DataError, match="me/little, train, row 2") as raised:
        data.fingerprint()
    assert "Traceback" not in str(raised.value)  # though a worker has found it


def test_a_set_that_fits_the_budget_is_in_memory(little, monkeypatch):
    size = ROWS * 12 * 12 * 3
    for budget, kind in ((size, torch.Tensor), (size - 1, MappedImages)):
        monkeypatch.setenv("GENARIUM_DATA_MEMORY_GB", str(budget / 2**30))
        assert isinstance(load_images(SPEC, "train", little).images, kind)
    monkeypatch.delenv("GENARIUM_DATA_MEMORY_GB")
    assert memory_budget() == 2 * 2**30
    monkeypatch.setenv("GENARIUM_DATA_MEMORY_GB", "much")
    with pytest.raises(InputError, match="GENARIUM_DATA_MEMORY_GB: takes a number of gigabytes"):
        memory_budget()


def test_the_processes_of_a_machine_share_its_cores(monkeypatch):
    monkeypatch.delenv("GENARIUM_DATA_WORKERS", raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    for processes, workers in ((None, MOST_WORKERS), ("2", 3), ("4", 1), ("8", 1)):
        if processes:
            monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
        assert num_workers() == workers
    monkeypatch.setenv("GENARIUM_DATA_WORKERS", "0")
    assert num_workers() == 0
    monkeypatch.setenv("GENARIUM_DATA_WORKERS", "-1")
    with pytest.raises(InputError, match="GENARIUM_DATA_WORKERS: takes a whole number"):
        num_workers()


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_feed_keeps_the_order_and_the_random_numbers_of_the_program(workers):
    state = torch.random.get_rng_state()
    assert list(feed(_square, iter(range(20)), workers)) == [n * n for n in range(20)]
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_feed_raises_what_a_worker_found():
    found = feed(_refuse_three, iter(range(9)), 2)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(DataError, match=r"^three$"):
        next(found)


def _square(n: int) -> int:
    return n * n


def _refuse_three(n: int) -> int:
    if n == 3:
        raise DataError("three")
    return n
