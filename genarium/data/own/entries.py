"""Single files among what somebody brings, how much of them is taken, and which are not even read."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from genarium.media.decoding import PICTURES, UNREADABLE_PICTURES
from genarium.messages import printable, shortened

MIB = 2**20
# fmt: off
ARCHIVES = frozenset((
    ".zip", ".zipx", ".tar", ".gz", ".tgz", ".bz2", ".tbz", ".xz", ".txz", ".lzma", ".zst", ".br", ".7z", ".rar", ".jar",
    ".cbz", ".cbr", ".iso", ".cab", ".whl", ".deb", ".rpm",
))
# fmt: on
ARCHIVE_MARKS = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"(\xb5/\xfd")
OF_SYSTEM = frozenset(("__MACOSX", "Thumbs.db", "desktop.ini", ".DS_Store"))
TABLE = ".parquet"
FREE_BYTES = 16 * MIB  # of which any ratio is taken: a drawing of few colours is packed to nearly nothing


@dataclass(frozen=True)
class Limits:
    """How much somebody may bring.

    Args:
        pictures: in all.
        bytes: of all files, unpacked.
        file_bytes: of one file.
        megapixels: of all pictures together.
        entries: of an archive or a folder, whatever they are.
        ratio: of an archive's unpacked size to its own.
        classes: that folders may make.
    """

    pictures: int = 50_000
    bytes: int = 8192 * MIB
    file_bytes: int = 64 * MIB
    megapixels: int = 100_000
    entries: int = 100_000
    ratio: int = 120
    classes: int = 1000


class Unreadable(Exception):
    """A single file that cannot be had.

    Args:
        key: of `words.WORDS`, which says why.
        was_read: whether its bytes were read to find out.
    """

    def __init__(self, key: str, was_read: bool = False):
        super().__init__(key)
        self.key, self.was_read = key, was_read


@dataclass(frozen=True)
class Entry:
    """One file among what was brought.

    Args:
        name: its path inside, with slashes, fit to be shown.
        bytes_of: returns its bytes; raises Unreadable.
        left_out: the key of `words.WORDS` for which it is not even read, or "".
        number: how many files it stands for, if it is left out.
    """

    name: str
    bytes_of: Callable[[], bytes]
    left_out: str = ""
    number: int = 1

    def read(self) -> bytes:
        """Return the file's bytes.

        Raises:
            Unreadable: it is left out, damaged, too large, or an archive.
        """
        if self.left_out:
            raise Unreadable(self.left_out)
        return self.bytes_of()

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders above it, the outermost first."""
        return tuple(self.name.split("/")[:-1])


def shown(name: str) -> str:
    """Return a stranger's name of a file as it can be shown: without control characters, and of a bounded length."""
    return shortened(printable(re.sub(r"[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]", "?", name)), 200)


def checked(data: bytes, limits: Limits) -> bytes:
    """Return a file's bytes.

    Raises:
        Unreadable: there are too many, or they are an archive's.
    """
    if len(data) > limits.file_bytes:
        raise Unreadable("file_bytes", was_read=True)
    if data.startswith(ARCHIVE_MARKS):
        raise Unreadable("is_archive", was_read=True)
    return data


def reason_unread(name: str) -> str:
    """Return the key for which a file is not read, by its name alone; "" if it may be a picture."""
    parts = name.split("/")
    if parts[0] in OF_SYSTEM or any(part.startswith(".") or part in OF_SYSTEM for part in parts):
        return "of_system"
    return "" if ending(name) in {"", *PICTURES, *UNREADABLE_PICTURES} else "not_picture"


def ending(name: str) -> str:
    """Return what a file's name ends with, such as ".png", in small letters."""
    return Path(name).suffix.lower()
