"""`new-family` on a full disk leaves no half family, which would break the app's start and the next try."""

import errno
from pathlib import Path

import pytest

from genarium.errors import FileError
from genarium.new_family import create


def test_what_was_written_is_taken_back(house, monkeypatch):
    before = sorted(path for path in house.rglob("*") if path.is_file())
    opened = Path.open

    def full(self, *arguments, **options):
        if self.name == "my_sketch-fashion-mnist.yaml" or self.name == "test_my_sketch.py":
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(FileError, match="the disk is full"):
        create("my_sketch", root=house)
    assert sorted(path for path in house.rglob("*") if path.is_file()) == before
