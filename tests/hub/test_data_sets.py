"""Data sets of the Hub as somebody's own pictures: what is chosen, what is fetched, what is refused, and by whose right."""

import dataclasses

import pytest
from tables import drawing, parquet

from genarium.data.own.entries import MIB, Limits
from genarium.data.own.found import look_through
from genarium.data.own.words import Refused, said
from genarium.hub.data_sets import fetch, look, parse_id
from genarium.hub.download import RemoteFile

SMALL = Limits(pictures=50, bytes=4 * MIB, file_bytes=MIB, megapixels=200, entries=400, ratio=120, classes=10)
CARD = b"---\nlicense: cc0-1.0\n---\n# Bars\n"


@pytest.fixture
def bars(hub):
    """someone/bars: a training split of two tables, a test split, a program and a card."""
    pictures, names = [drawing(i) for i in range(30)], ("lying", "standing")
    files = {
        "README.md": CARD,
        "bars.py": b"raise SystemExit('a program of a data set was run')",
        "data/train-00000-of-00002.parquet": parquet(pictures[:12], [0, 1] * 6, names),
        "data/train-00001-of-00002.parquet": parquet(pictures[12:24], [0, 1] * 6, names),
        "data/test-00000-of-00001.parquet": parquet(pictures[24:], [0, 1] * 3, names),
    }
    return hub.add_repo("someone/bars", files, type="dataset")


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("someone/bars", ("someone/bars", None)),
        (" someone/bars@v1 ", ("someone/bars", "v1")),
        ("https://huggingface.co/datasets/someone/bars", ("someone/bars", None)),
        ("datasets/someone/bars", ("someone/bars", None)),
    ],
)
def test_ids(text, means):
    assert parse_id(text) == means


@pytest.mark.parametrize(
    "text",
    ["", "bars", "../../etc/passwd", "http://169.254.169.254/latest/meta-data", "http://localhost:7860/a/b", "a/b/c",
     "someone/bars@", "someone/ba rs", "file:///etc/passwd", "https://huggingface.co.evil.example/datasets/a/b", "\0/a"],
)  # fmt: skip
def test_what_is_no_id_is_refused_in_two_languages_and_nobody_is_asked(hub, text):
    with pytest.raises(Refused) as refusal:
        look(text, SMALL, token=False)
    assert refusal.value.key == "no_id" and not hub.requests


def test_a_look_downloads_nothing_and_a_fetch_takes_the_training_split_alone(hub, bars, tmp_path):
    offer = look("someone/bars", SMALL, token=False)
    assert offer.name == f"someone/bars@{bars.sha}" and offer.license == "cc0-1.0"
    assert not hub.asked("GET", "/resolve/")
    said = []
    brought = fetch(offer, tmp_path / "hub", lambda done, total: said.append((done, total)))
    assert [name for name, _ in brought] == [f"data/train-0000{i}-of-00002.parquet" for i in (0, 1)]
    assert said[-1] == (offer.size, offer.size)
    assert not hub.asked("GET", r"resolve/.*(\.py|README\.md|test-)"), "neither program nor card"
    assert sorted(path.suffix for path in (tmp_path / "hub").iterdir()) == [".parquet", ".parquet"]
    found = look_through(brought, SMALL, beside=offer.left_out, source=offer.name)
    assert len(found) == 24 and found.classes == {"lying": 12, "standing": 12}
    assert [(one.name, one.key) for one in found.left_out] == [("data/test-00000-of-00001.parquet", "other_part")]
    assert found.to_json()["source"] == offer.name
    assert hub.shown == set(), "no token was sent"


def test_what_is_here_is_not_fetched_again_and_a_new_commit_is(hub, bars, tmp_path):
    first = look("someone/bars", SMALL, token=False)
    fetch(first, tmp_path / "hub")
    asked = hub.asked("GET", "/resolve/")
    fetch(first, tmp_path / "hub")
    assert hub.asked("GET", "/resolve/") == asked
    bars.commit(
        {**bars.files, "data/train-00001-of-00002.parquet": parquet([drawing(i) for i in range(60, 66)])}, "new"
    )
    brought = fetch(look("someone/bars", SMALL, token=False), tmp_path / "hub")
    assert len(look_through(brought, SMALL)) == 18 and len(list((tmp_path / "hub").iterdir())) == 2
    assert look(f"someone/bars@{first.commit}", SMALL, token=False).commit == first.commit


def test_pictures_in_folders_and_a_zip(hub, tmp_path):
    import io
    import zipfile

    files = {f"train/{'cat' if i % 2 else 'dog'}/{i}.png": drawing(i) for i in range(12)}
    hub.add_repo("someone/folders", {**files, "test/cat/90.png": drawing(90), "notes.csv": b"a,b"}, type="dataset")
    offer = look("someone/folders", SMALL, token=False)
    found = look_through(fetch(offer, tmp_path / "a"), SMALL, beside=offer.left_out)
    assert found.classes == {"cat": 6, "dog": 6} and found.counts == {"other_part": 1}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    hub.add_repo("someone/zip", {"pictures.zip": packed.getvalue()}, type="dataset")
    found = look_through(fetch(look("someone/zip", SMALL, token=False), tmp_path / "b"), SMALL)
    assert found.classes == {"cat": 6, "dog": 6}


def test_of_more_files_than_may_be_brought_some_are_fetched_and_the_others_named(hub, tmp_path):
    files = {f"{'cat' if i % 2 else 'dog'}/{i}.png": drawing(i) for i in range(20)}
    hub.add_repo("someone/many", files, type="dataset")
    offer = look("someone/many", dataclasses.replace(SMALL, pictures=8), token=False)
    assert (
        len(offer.files) == 8 and {one.key for one in offer.left_out} == {"not_fetched"} and len(offer.left_out) == 12
    )
    assert len({file.path.split("/")[0] for file in offer.files}) == 2, "both classes have a share"
    size = max(map(len, files.values()))
    offer = look("someone/many", dataclasses.replace(SMALL, bytes=5 * size), token=False)
    assert 5 <= len(offer.files) < 20 and offer.size <= 5 * size


@pytest.mark.parametrize(("files", "key"), [
    ({"words.csv": b"a", "load.py": b"import os"}, "hub_nothing"),
    ({}, "hub_nothing"),
    ({"train.parquet": bytes(5 * MIB)}, "hub_large"),
])  # fmt: skip
def test_what_cannot_be_used_is_refused(hub, files, key):
    hub.add_repo("someone/other", files, type="dataset")
    with pytest.raises(Refused) as refusal:
        look("someone/other", SMALL, token=False)
    assert refusal.value.key == key


def test_a_stranger_sees_public_data_sets_only_and_the_machines_owner_his_own(hub, bars):
    bars.private = True
    with pytest.raises(Refused, match="private or gated"):
        look("someone/bars", SMALL, token=False)
    bars.private, bars.gated = False, "manual"
    with pytest.raises(Refused, match="private or gated"):
        fetch_all(look("someone/bars", SMALL, token=False))
    assert hub.shown == set()
    hub.add_repo("user/own", {"a.parquet": parquet([drawing(i) for i in range(6)])}, type="dataset", private=True)
    assert look("user/own", SMALL).files


@pytest.mark.parametrize(
    ("fault", "key"),
    [
        ({"status": 429}, "hub_slow"),
        ({"status": 404, "code": "RevisionNotFound"}, "hub_revision"),
        ({"status": 418}, "hub_trouble"),
    ],
)
def test_what_the_hub_answers_is_said_in_both_languages(hub, bars, fault, key):
    hub.fail("GET", "/api/datasets", times=20, **fault)
    with pytest.raises(Refused) as refusal:
        look("someone/bars", SMALL, token=False)
    assert refusal.value.key == key
    assert said(key, "zh", **refusal.value.values) != said(key, **refusal.value.values)


def fetch_all(offer):
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        return fetch(offer, Path(folder) / "hub")


def test_a_file_that_is_longer_than_declared_or_damaged_is_thrown_away(hub, bars, tmp_path):
    offer = look("someone/bars", SMALL, token=False)
    hub.corrupt("/resolve/")
    with pytest.raises(Refused, match="arrived damaged"):
        fetch(offer, tmp_path / "hub")
    hub.heal()
    hub.swell("/resolve/", 50 * MIB)
    with pytest.raises(Refused, match="longer than"):
        fetch(offer, tmp_path / "hub")
    assert not [path for path in (tmp_path / "hub").iterdir() if path.is_file()]
    hub.heal()
    assert len(fetch(offer, tmp_path / "hub")) == 2


def test_a_disk_without_room_is_said_before_anything_is_fetched(hub, bars, tmp_path, monkeypatch):
    from collections import namedtuple

    offer = look("someone/bars", SMALL, token=False)
    monkeypatch.setattr("shutil.disk_usage", lambda path: namedtuple("Usage", "free")(2**20))
    with pytest.raises(Refused) as refusal:
        fetch(offer, tmp_path / "hub")
    assert refusal.value.key == "hub_disk" and not hub.asked("GET", "/resolve/")


@pytest.mark.parametrize("path", ["../../climbed.parquet", "/etc/cron.d/a.parquet", "a\\..\\b.parquet"])
def test_a_path_that_leads_out_is_no_answer_of_the_hub(hub, path):
    from types import SimpleNamespace

    from genarium.hub.offer import remote_file

    with pytest.raises(ValueError, match="path"):
        remote_file(SimpleNamespace(rfilename=path, size=1, lfs=None, blob_id="a" * 40))
    assert RemoteFile("a.parquet", 1, None, None)
