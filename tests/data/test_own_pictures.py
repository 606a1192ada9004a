"""Pictures that people bring: what is found is said in full, and thirty hostile archives and files are refused in words."""

import io
import os
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from genarium.data.own.entries import FREE_BYTES, MIB, Limits
from genarium.data.own.found import look_through
from genarium.data.own.prepare import choose_held_out, prepare
from genarium.data.own.sources import label_folders
from genarium.data.own.words import WORDS, Refused, said

SMALL = Limits(pictures=50, bytes=40 * MIB, file_bytes=4 * MIB, megapixels=200, entries=400, ratio=60, classes=10)


def photo(seed, size=(40, 30), mode="RGB", kind="PNG"):
    """The bytes of a picture of noise on white, unlike any of another seed."""
    values = np.full((size[1], size[0], 3), 255, np.uint8)
    inside = values[4:-4, 4:-4]
    inside[:] = np.random.default_rng(seed).integers(0, 256, inside.shape)
    file = io.BytesIO()
    PIL.Image.fromarray(values).convert(mode).save(file, kind)
    return file.getvalue()


def zipped(path, entries, method=zipfile.ZIP_DEFLATED):
    """Write a .zip of (name or ZipInfo, bytes)."""
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def photos(number=6, folder=""):
    return [(f"{folder}{i}.png", photo(i)) for i in range(number)]


def header(width, height):
    """A PNG whose header promises so many pixels, with hardly any data behind it."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")


def special(name, kind):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, kind << 16
    return info


def found(*brought, limits=SMALL):
    return look_through([(path.name, path) for path in map(Path, brought)], limits)


# ---- what is found ----


def test_every_file_is_used_or_left_out_for_a_reason(tmp_path):
    entries = [
        *((f"set/cats/{i}.png", photo(i)) for i in range(8)),
        *((f"set/dogs/{i}.jpg", photo(100 + i, (64, 64), kind="JPEG")) for i in range(8)),
        ("set/dogs/again.png", photo(3)),
        ("set/cats/again.png", photo(4)),
        ("set/cats/cut.png", photo(50)[:200]),
        ("set/cats/huge.png", header(10_000, 10_000)),
        ("set/cats/dot.png", photo(60, (3, 3))),
        ("set/notes.txt", b"notes"),
        ("__MACOSX/set/cats/._1.png", b"\0"),
        ("set/cats/disguised.png", b"PK\x03\x04" + bytes(40)),
    ]
    result = found(zipped(tmp_path / "set.zip", entries))
    assert len(result) == 16 and result.classes == {"cats": 8, "dogs": 8}
    assert len(result) + len(result.left_out) == len(entries)
    reasons = {one.name.removeprefix("set/"): (one.key, one.reason(), one.reason("zh")) for one in result.left_out}
    assert {name: key for name, (key, _, _) in reasons.items()} == {
        "dogs/again.png": "copy_elsewhere",
        "cats/again.png": "copy",
        "cats/cut.png": "unreadable",
        "cats/huge.png": "unreadable",
        "cats/dot.png": "tiny",
        "notes.txt": "not_picture",
        "__MACOSX/set/cats/._1.png": "of_system",
        "cats/disguised.png": "is_archive",
    }
    assert "100 megapixels" in reasons["cats/huge.png"][1] and "cut off" in reasons["cats/cut.png"][1]
    assert "set/cats/4.png" in reasons["cats/again.png"][2]
    facts = result.to_json()
    assert sum(number for number, _, _ in facts["counts"].values()) == 8
    assert not any("{" in text for _, *texts in facts["counts"].values() for text in texts)
    assert facts["sizes"] == [[40, 30, 8], [64, 64, 8]] and facts["modes"] == {"RGB": 16}


@pytest.mark.parametrize(
    ("draw", "size", "channels", "dark"),
    [
        (lambda i: photo(i, (28, 20), "L"), 28, 1, False),
        (lambda i: photo(i, (30, 30)), 32, 3, False),
        (lambda i: photo(i, (200, 200)), 64, 3, False),  # noise: every detail is fine
    ],
)
def test_the_form_is_proposed_by_what_the_pictures_show(tmp_path, draw, size, channels, dark):
    proposal = found(zipped(tmp_path / "a.zip", [(f"{i}.png", draw(i)) for i in range(6)])).proposal
    assert (proposal.sample_size, proposal.channels, proposal.dark_background) == (size, channels, dark)
    assert proposal.background == "#ffffff"


def test_large_pictures_without_fine_detail_need_32_pixels_only(tmp_path):
    for i in range(5):
        y, x = np.mgrid[:300, :300]
        disc = (np.hypot(x - 150, y - 120 - 6 * i) < 90) * 200
        PIL.Image.fromarray(disc.astype(np.uint8)).resize((100, 100)).resize((300, 300)).save(tmp_path / f"{i}.png")
    proposal = found(tmp_path).proposal
    assert (proposal.sample_size, proposal.channels, proposal.dark_background) == (32, 1, True)


def test_folders_tell_classes_only_where_they_can():
    assert label_folders(
        [("a", "train", "cat"), ("a", "train", "dog"), ("a", "test", "cat"), ("a", "test", "dog")]
    ) == [
        "cat",
        "dog",
        "cat",
        "dog",
    ]
    assert label_folders([("a", "b")] * 4) == [None] * 4
    assert label_folders([("1",), ("2",), ("3",), ("4",)]) == [None] * 4  # as many folders as pictures
    assert label_folders([("cat",), ("cat",), ("dog",), ("dog",), ()]) == ["cat", "cat", "dog", "dog", None]


def test_of_several_archives_each_is_a_class(tmp_path):
    archives = [
        zipped(tmp_path / f"{name}.zip", [(f"{i}.png", photo(i + 50 * len(name))) for i in range(4)])
        for name in ("cat", "horse")
    ]
    assert found(*archives).classes == {"cat": 4, "horse": 4}


def test_the_data_are_what_was_found_and_a_part_is_held_out(tmp_path):
    for name, first in (("cats", 0), ("dogs", 100)):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(20):
            (tmp_path / "set" / name / f"{i}.png").write_bytes(photo(first + i))
    brought = [("set", tmp_path / "set")]
    result = look_through(brought, SMALL)
    data = np.load(prepare(brought, result, 32, 3, tmp_path / "data.npz", SMALL))
    assert data["train_images"].shape == (36, 32, 32, 3) and data["test_images"].shape == (4, 32, 32, 3)
    assert np.bincount(data["test_labels"]).tolist() == [2, 2] and data["label_names"].tolist() == ["cats", "dogs"]
    assert len(np.unique(np.concatenate([data["train_images"], data["test_images"]]).reshape(40, -1), axis=0)) == 40


@pytest.mark.parametrize("sizes", [[4], [5, 5], [3, 100], [1, 1, 1, 40], [20_000]])
def test_what_is_held_out_leaves_something_of_each_class(sizes):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    chosen = choose_held_out(labels)
    assert 2 <= chosen.sum() <= 1000
    for label, size in enumerate(sizes):
        assert chosen[labels == label].sum() <= max(size / 2, 1 if size < 2 else 0)
    assert (chosen == choose_held_out(labels)).all()


# ---- thirty that are refused ----


def overlapping(path):
    """Two entries of the directory that share the bytes of one: how small archives unpack without end."""
    whole = zipped(path, [("0.png", photo(0))]).read_bytes()
    start = whole.index(b"PK\x01\x02")
    end = whole.index(b"PK\x05\x06")
    entry = whole[start:end]
    second = entry.replace(b"0.png", b"1.png")
    directory = entry + second
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(directory), start, 0)
    path.write_bytes(whole[:start] + directory + tail)


def encrypted(path):
    data = bytearray(zipped(path, photos()).read_bytes())
    place = -1
    while (place := data.find(b"PK\x01\x02", place + 1)) >= 0:
        data[place + 8] |= 1
    path.write_bytes(data)


def lying(path):
    """An entry that says that it is small, and unpacks to far more."""
    data = zipped(path, [("0.png", bytes(30 * MIB)), *photos(3, "a/")]).read_bytes()
    for mark, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = data.index(mark)
        data = data[: start + place] + struct.pack("<L", 1000) + data[start + place + 4 :]
    path.write_bytes(data)


def tar_named(path):
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("../../etc/passwd"))


def of_method(path):
    data = zipped(path, photos()).read_bytes()
    start = data.index(b"PK\x01\x02")
    path.write_bytes(data[: start + 10] + struct.pack("<H", 97) + data[start + 12 :])


def inner(kind):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.png", photo(1))
    return (f"inside.{kind}", file.getvalue())


HOSTILE = {  # what is made -> the key of the refusal
    "climbs": (lambda p: zipped(p, [*photos(), ("../../climbed.png", photo(9))]), "path"),
    "climbs in the middle": (lambda p: zipped(p, [*photos(), ("a/../../climbed.png", photo(9))]), "path"),
    "is absolute": (lambda p: zipped(p, [*photos(), ("/etc/climbed.png", photo(9))]), "path"),
    "climbs by backslashes": (lambda p: zipped(p, [*photos(), ("..\\..\\climbed.png", photo(9))]), "path"),
    "names a drive": (lambda p: zipped(p, [*photos(), ("C:/climbed.png", photo(9))]), "path"),
    "names a share": (lambda p: zipped(p, [*photos(), ("\\\\host\\share\\climbed.png", photo(9))]), "path"),
    "has control characters": (lambda p: zipped(p, [*photos(), ("a\x1b[31m.png", photo(9))]), "odd_name"),
    "has a long name": (lambda p: zipped(p, [*photos(), ("x" * 3000 + ".png", photo(9))]), "odd_name"),
    "is deep": (lambda p: zipped(p, [*photos(), ("d/" * 400 + "x.png", photo(9))]), "odd_name"),
    "has a link": (lambda p: zipped(p, [*photos(), (special("link.png", 0o120777), "/etc/passwd")]), "link"),
    "has a device": (lambda p: zipped(p, [*photos(), (special("device.png", 0o060666), b"")]), "link"),
    "has a pipe": (lambda p: zipped(p, [*photos(), (special("pipe.png", 0o010666), b"")]), "link"),
    "has a bomb": (lambda p: zipped(p, [*photos(), ("bomb.png", bytes(FREE_BYTES + 8 * MIB))]), "bomb"),
    "has many small bombs": (lambda p: zipped(p, [(f"{i}.bmp", bytes(MIB)) for i in range(30)]), "bomb"),
    "is too large": (lambda p: zipped(p, [(f"{i}.bmp", os.urandom(2 * MIB)) for i in range(21)]), "bytes"),
    "has too many entries": (lambda p: zipped(p, [(f"{i}.png", b"") for i in range(401)]), "entries"),
    "has a .zip": (lambda p: zipped(p, [*photos(), inner("zip")]), "nested"),
    "has a .tar.gz": (lambda p: zipped(p, [*photos(), inner("tar.gz")]), "nested"),
    "has a .7z": (lambda p: zipped(p, [*photos(), inner("7z")]), "nested"),
    "shares bytes": (overlapping, "overlap"),
    "is locked": (encrypted, "encrypted"),
    "lies about its size": (lying, "too_few"),
    "has an unknown method": (of_method, "method"),
    "is no archive": (lambda p: p.write_bytes(os.urandom(5000)), "no_zip"),
    "is empty": (lambda p: p.write_bytes(b""), "no_zip"),
    "is cut": (lambda p: p.write_bytes(zipped(p, photos()).read_bytes()[:900]), "no_zip"),
    "is a tar": (tar_named, "no_zip"),
    "has no entry": (lambda p: zipped(p, []), "nothing"),
    "has 100 megapixels only": (lambda p: zipped(p, [(f"{i}.png", header(10_000, 10_000)) for i in range(6)]), "too_few"),
    "has programs only": (lambda p: zipped(p, [(f"{i}.exe", b"MZ") for i in range(9)]), "too_few"),
    "has programs called pictures": (lambda p: zipped(p, [(f"{i}.png", b"MZ" + bytes(900)) for i in range(9)]), "too_few"),
    "has the same picture": (lambda p: zipped(p, [(f"{i}.png", photo(1)) for i in range(9)]), "too_few"),
    "has too many pictures": (lambda p: zipped(p, [(f"{i}.png", photo(i, (9, 9))) for i in range(51)]), "pictures"),
    "has too many classes": (lambda p: zipped(p, [(f"{i % 11}/{i}.png", photo(i, (9, 9))) for i in range(33)]), "classes"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(tmp_path, what, monkeypatch):
    make, key = HOSTILE[what]
    place = tmp_path / "brought"
    place.mkdir()
    make(place / "pictures.zip")
    monkeypatch.chdir(place)
    with pytest.raises(Refused) as caught:
        found(place / "pictures.zip")
    assert caught.value.key == key
    english, chinese = str(caught.value), said(key, "zh", **caught.value.values)
    assert english != chinese and "{" not in english + chinese and len(english) < 600
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "brought",
        "brought/pictures.zip",
    ]


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(tmp_path):
    with pytest.raises(Refused, match="one name"):
        found(zipped(tmp_path / "a.zip", [*photos(), ("0.png", photo(9))]))


def test_other_archives_and_what_is_not_there_are_refused(tmp_path):
    (tmp_path / "a.rar").write_bytes(b"Rar!")
    with pytest.raises(Refused, match="Pack the pictures as"):
        found(tmp_path / "a.rar")
    with pytest.raises(Refused, match="no file or folder"):
        found(tmp_path / "lacking.png")


def test_links_and_pipes_in_a_folder_are_left_out(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(photo(77))
    folder = tmp_path / "set"
    (folder / "in").mkdir(parents=True)
    for name, data in photos():
        (folder / "in" / name).write_bytes(data)
    (folder / "link.png").symlink_to(secret)
    (folder / "up").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe.png")
    result = found(folder)
    assert len(result) == 6 and {(one.name, one.key) for one in result.left_out} == {
        ("link.png", "is_link"),
        ("up", "is_link"),
        ("pipe.png", "is_link"),
    }


def test_all_that_is_said_is_said_in_both_languages():
    for key, (english, chinese) in WORDS.items():
        fields = [{part.split("}")[0] for part in text.split("{")[1:]} for text in (english, chinese)]
        assert fields[0] == fields[1], key
