"""Files that the app keeps for visitors: whole at every moment, and one for equal contents."""

import threading
from pathlib import Path

import pytest

from genarium.ui import files


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "get_upload_folder", lambda: str(tmp_path))
    return tmp_path


def test_name_is_kept_and_contents_have_folders_of_their_own(folder):
    first, second = (Path(files.keep(data, "a.png")) for data in (b"one", b"two"))
    assert first.name == second.name == "a.png" and first.parent != second.parent
    assert (first.read_bytes(), second.read_bytes()) == (b"one", b"two")
    assert folder.resolve() in first.parents and files.keep(b"one", "a.png") == str(first)


def test_a_name_leads_nowhere_else(folder):
    assert Path(files.keep(b"data", "../../a.png")).parent.parent == folder.resolve()


def test_a_download_meets_no_half_file():
    """Two visitors make the same picture: while one downloads it, the other's is written."""
    data = bytes(2**20)
    path = files.keep(data, "a.png")
    stop, lengths = threading.Event(), set()

    def download():
        while not stop.is_set():
            lengths.add(len(Path(path).read_bytes()))

    def write():
        for _ in range(100):
            files.keep(data, "a.png")

    reader = threading.Thread(target=download)
    writers = [threading.Thread(target=write) for _ in range(3)]
    for thread in (reader, *writers):
        thread.start()
    for thread in writers:
        thread.join()
    stop.set()
    reader.join()
    assert lengths == {len(data)}
    assert [entry.name for entry in Path(path).parent.iterdir()] == ["a.png"]
