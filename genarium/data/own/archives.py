"""The files of a .zip, all of whose entries are checked before anything in it is read."""

from __future__ import annotations

import contextlib
import mmap
import re
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from genarium.data.own.entries import (
    ARCHIVES,
    FREE_BYTES,
    MIB,
    Entry,
    Limits,
    Unreadable,
    checked,
    ending,
    reason_unread,
    shown,
)
from genarium.data.own.words import Refused

ENTRY_MARK = b"PK\x01\x02"  # before each entry of an archive's directory
HEADER = 30  # bytes before an entry's name, at least
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
DEEPEST = 16  # folders within folders
LONGEST = 255  # bytes of a name


def of_archive(opened: contextlib.ExitStack, name: str, path: Path, above: str, limits: Limits) -> list[Entry]:
    """Return the files of a .zip, all of whose entries were checked.

    Raises:
        Refused: it is no .zip, or one entry shows it to be hostile.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            marks, place = 0, content.find(ENTRY_MARK)
            while place >= 0 and marks <= limits.entries:  # before Python makes an object of each entry
                marks, place = marks + 1, content.find(ENTRY_MARK, place + 4)
        if marks > limits.entries:
            raise Refused("entries", name=name, most=limits.entries)
        archive = opened.enter_context(zipfile.ZipFile(path))
        infos = archive.infolist()
    except (
        OSError,
        ValueError,
        zipfile.BadZipFile,
        RuntimeError,
    ) as error:  # the last for a version unknown to zipfile
        raise Refused("no_zip", name=name) from error
    _check(name, size, infos, limits)
    return [_of_info(archive, info, above, limits) for info in infos if not info.is_dir()]


def _check(name: str, size: int, infos: Sequence[zipfile.ZipInfo], limits: Limits) -> None:
    """Refuse an archive one of whose entries shows that it is hostile, or cannot be used."""
    seen: set[str] = set()
    for info in infos:
        entry = info.orig_filename.replace("\\", "/")
        parts, kind = entry.rstrip("/").split("/"), info.external_attr >> 16
        facts = {"name": name, "entry": shown(entry)}
        if entry.startswith("/") or ".." in parts or re.match(r"[A-Za-z]:", entry):
            raise Refused("path", **facts)
        if re.search(r"[\x00-\x1f\x7f]", entry) or len(parts) > DEEPEST or not all(map(_is_name, parts)):
            raise Refused("odd_name", **facts)
        if stat.S_IFMT(kind) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise Refused("link", **facts)
        if info.flag_bits & 0x1:
            raise Refused("encrypted", name=name)
        if entry in seen:
            raise Refused("twice", **facts)
        if info.compress_type not in METHODS:
            raise Refused("method", **facts)
        if ending(entry) in ARCHIVES:
            raise Refused("nested", **facts)
        seen.add(entry)
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise Refused("overlap", name=name)
        end = info.header_offset + HEADER + info.compress_size
    unpacked = sum(info.file_size for info in infos)
    if unpacked > FREE_BYTES and unpacked > limits.ratio * size:
        raise Refused("bomb", name=name, ratio=round(unpacked / max(size, 1)))
    if unpacked > limits.bytes:
        raise Refused("bytes", name=name, most=limits.bytes // MIB)


def _is_name(part: str) -> bool:
    """Return whether a part of a path is one that a file can have."""
    return part not in ("", ".") and len(part.encode(errors="replace")) <= LONGEST


def _of_info(archive: zipfile.ZipFile, info: zipfile.ZipInfo, above: str, limits: Limits) -> Entry:
    """Return a file of an archive. However much it unpacks to, no more than one byte beyond the limit is read."""

    def read() -> bytes:
        try:
            with archive.open(info) as file:
                data = file.read(limits.file_bytes + 1)
        except (OSError, EOFError, ValueError, RuntimeError, zlib.error, zipfile.BadZipFile) as error:
            raise Unreadable("of_archive") from error  # lzma's and bz2's own errors are of these kinds
        except Exception as error:
            if type(error).__module__ not in ("_lzma", "lzma", "_bz2"):
                raise
            raise Unreadable("of_archive") from error
        return checked(data, limits)

    name = shown(info.orig_filename.replace("\\", "/"))
    return Entry(above + name, read, "file_bytes" if info.file_size > limits.file_bytes else reason_unread(name))
