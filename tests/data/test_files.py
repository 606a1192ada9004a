"""Files are written whole or not at all: a full disk or a folder that cannot be written is one sentence and no damage."""

import resource
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest

from genarium import paths
from genarium.errors import FileError
from genarium.files import (
    check_writable,
    file_errors,
    matcher,
    new_folder,
    read_text,
    remove_files,
    write_array,
    write_json,
    write_text,
)
from genarium.media.pictures import save_picture
from genarium.media.sounds import save_sound

NOISE = np.random.default_rng(0).integers(0, 256, (200, 200), np.uint8)
WRITERS = {
    "a.npy": lambda path: write_array(path, NOISE),
    "a.png": lambda path: save_picture(PIL.Image.fromarray(NOISE), path, {}),
    "a.wav": lambda path: save_sound(NOISE.ravel() / 256, 16000, path),
    "a.flac": lambda path: save_sound(NOISE.ravel() / 256, 16000, path),
    "a.json": lambda path: write_json(path, {"scores": NOISE.ravel().tolist()}),
}


@pytest.fixture
def full_disk():
    """Let no file of this process grow over 4 kB, which is what a full disk does to a program."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(name, tmp_path, full_disk):
    (tmp_path / name).write_text("the old one")
    with pytest.raises(FileError, match="the disk is full"):
        WRITERS[name](tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name] and (tmp_path / name).read_text() == "the old one"


@pytest.mark.parametrize("name", WRITERS)
def test_a_place_that_cannot_be_written_is_one_sentence(name, tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match="cannot be written"):
        WRITERS[name](tmp_path / "file" / name)
    WRITERS[name](tmp_path / name)
    assert (tmp_path / name).stat().st_size > 4096


def test_the_command_says_so_with_code_2_and_leaves_the_old_file(tiny_checkpoints, tmp_path):
    (tmp_path / "samples.npy").write_text("the old one")
    program = (
        "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.getrlimit(resource.RLIMIT_FSIZE)[1]));"
        f"import sys; sys.path.insert(0, {str(paths.ROOT)!r}); from genarium.cli import app; app()"
    )
    arguments = ["generate", str(tiny_checkpoints / "tiny-vae"), "--n", "8"]
    run = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 2 and "the disk is full" in run.stderr and "Traceback" not in run.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["samples.npy"]
    assert (tmp_path / "samples.npy").read_text() == "the old one"


def test_what_cannot_be_written_is_known_before_the_work(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(FileError, match="cannot be written"):
        check_writable(tmp_path / "file/folder")
    assert check_writable(tmp_path / "new/folder").is_dir() and not any((tmp_path / "new/folder").iterdir())


def test_a_link_is_replaced_and_what_it_points_to_stays(tmp_path):
    (tmp_path / "thesis").write_text("mine")
    (tmp_path / "out.txt").symlink_to(tmp_path / "thesis")
    write_text(tmp_path / "out.txt", "new")
    assert (tmp_path / "thesis").read_text() == "mine" and (tmp_path / "out.txt").read_text() == "new"


def test_a_linked_folder_is_replaced_and_what_it_points_to_stays(tmp_path):
    (tmp_path / "album").mkdir()
    (tmp_path / "album/photo").write_text("mine")
    (tmp_path / "out").symlink_to(tmp_path / "album", target_is_directory=True)
    with new_folder(tmp_path / "out") as folder:
        (folder / "new").write_text("new")
    assert (tmp_path / "album/photo").read_text() == "mine" and (tmp_path / "out/new").read_text() == "new"


def test_a_folder_that_fails_to_be_filled_changes_nothing(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/old").write_text("old")
    with pytest.raises(RuntimeError), new_folder(tmp_path / "out") as folder:
        (folder / "half").write_text("half")
        raise RuntimeError
    assert [p.name for p in tmp_path.rglob("*")] == ["out", "old"]


def test_patterns_span_no_folder(tmp_path):
    ours = matcher(["samples/[0-9]*.png"])
    assert ours("samples/001.png") and not ours("samples/a.png") and not ours("samples/1/2.png")
    for name in ("samples/1.png", "samples/mine.png", "2.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    remove_files(tmp_path, ours)
    assert sorted(p.name for p in tmp_path.rglob("*.png")) == ["2.png", "mine.png"]


def test_a_text_in_another_encoding_is_shown(tmp_path):
    (tmp_path / "a").write_bytes("Müller".encode("latin-1"))
    (tmp_path / "b").write_bytes("Müller 中".encode())
    assert read_text(tmp_path / "a") == "Müller" and read_text(tmp_path / "b") == "Müller 中"


def test_a_full_disk_under_safetensors_is_one_sentence_and_the_old_folder_is_whole(tmp_path):
    from safetensors import SafetensorError

    (tmp_path / "model").mkdir()
    (tmp_path / "model/model_index.json").write_text("{}")
    with pytest.raises(FileError, match="the disk is full"), new_folder(tmp_path / "model"):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")
    assert [p.name for p in tmp_path.rglob("*")] == ["model", "model_index.json"]
    with pytest.raises(SafetensorError), file_errors("x"):
        raise SafetensorError("Error while deserializing header: invalid")
