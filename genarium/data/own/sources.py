"""The files among what somebody brings: a .zip, a folder, pictures, Parquet files, or several of these. Nothing is unpacked to the disk.

An entry of an archive is bytes and a name. The name is only ever shown, and tells the class; no path is made of it.
"""

from __future__ import annotations

import contextlib
import itertools
import mmap
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from genarium.data.own.tables import NoTable, Table, chosen_rows
from genarium.data.own.words import Refused
from genarium.media.decoding import PICTURES, UNREADABLE_PICTURES
from genarium.messages import printable, shortened

MIB = 2**20
ENTRY_MARK = b"PK\x01\x02"  # before each entry of an archive's directory
HEADER = 30  # bytes before an entry's name, at least
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
ARCHIVES = frozenset(
    (
        ".zip",
        ".zipx",
        ".tar",
        ".gz",
        ".tgz",
        ".bz2",
        ".tbz",
        ".xz",
        ".txz",
        ".lzma",
        ".zst",
        ".br",
        ".7z",
        ".rar",
        ".jar",
        ".cbz",
    )
    + (".cbr", ".iso", ".cab", ".whl", ".deb", ".rpm")
)
ARCHIVE_MARKS = (b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf", b"Rar!", b"(\xb5/\xfd")
OF_SYSTEM = frozenset(("__MACOSX", "Thumbs.db", "desktop.ini", ".DS_Store"))
SPLITS = frozenset(("train", "training", "test", "testing", "val", "valid", "validation"))
TABLE = ".parquet"
OF_TRAINING = re.compile(r"(?:^|[/_. -])train(?:ing)?(?=$|[/_. 0-9-])", re.IGNORECASE)
OF_TEST = re.compile(
    r"(?:^|[/_. -])(?:test(?:ing)?|val(?:id(?:ation)?)?|dev|eval(?:uation)?)(?=$|[/_. 0-9-])", re.IGNORECASE
)
DEEPEST = 16  # folders within folders
LONGEST = 255  # bytes of a name
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


@contextlib.contextmanager
def open_entries(brought: Sequence[tuple[str, Path]], limits: Limits) -> Iterator[list[Entry]]:
    """Open what was brought and yield their entries in order. An archive is looked through before anything in it is read.

    Args:
        brought: the name and the path of each file or folder.

    Raises:
        Refused: it is too much, hostile, or holds nothing.
    """
    entries: list[Entry] = []
    tables = [(shown(name), path) for name, path in brought if path.suffix == TABLE and path.is_file()]
    archives = sum(_ending(shown(name)) == ".zip" for name, _ in brought)
    with contextlib.ExitStack() as opened:
        entries += _of_tables(tables, limits)
        for name, path in brought:
            name = shown(name)
            if (name, path) in tables:
                continue
            if path.is_dir():
                entries += _of_folder(path, limits)
            elif not path.exists():
                raise Refused("missing", name=name)
            elif _ending(name) == ".zip":
                above = f"{shown(Path(name).stem)}/" if archives > 1 else ""  # of several archives each is a class
                entries += _of_archive(opened, name, path, above, limits)
            elif _ending(name) in ARCHIVES:
                raise Refused("archive_kind", name=name)
            else:
                entries.append(_of_file(name, path, limits))
            if len(entries) > limits.entries:
                raise Refused("entries", name=name, most=limits.entries)
        if not entries:
            raise Refused("nothing")
        yield entries


def label_folders(names: Sequence[tuple[str, ...]]) -> list[str | None]:
    """Return the class of each picture by the folders above it; None for all where the folders tell none.

    Folders that all have in common are left aside, and so is a first folder that names a split, such as "train". Of what is
    left the outermost folder is the class. Folders tell classes if there are two at least, and more pictures than folders.
    """
    lowest, highest = min(names), max(names)  # what these two begin with, all begin with
    shared = (a == b for a, b in zip(lowest, highest, strict=False))
    common = len(list(itertools.takewhile(bool, shared)))
    found: list[str | None] = []
    for folders in names:
        rest = folders[common:]
        rest = rest[1:] if rest and rest[0].lower() in SPLITS else rest
        found.append(rest[0] if rest else None)
    classes = {label for label in found if label is not None}
    return found if 2 <= len(classes) < len(found) / 1.5 else [None] * len(found)


def shown(name: str) -> str:
    """Return a stranger's name of a file as it can be shown: without control characters, and of a bounded length."""
    return shortened(printable(re.sub(r"[\x00-\x1f\x7f\u202a-\u202e\u2066-\u2069]", "?", name)), 200)


# ---- single files and folders ----


def _of_file(name: str, path: Path, limits: Limits, left_out: str = "") -> Entry:
    """Return a file that was given by itself, or found in a folder."""
    if left_out:
        return Entry(name, lambda: b"", left_out)

    def read() -> bytes:
        try:
            with path.open("rb") as file:
                data = file.read(limits.file_bytes + 1)
        except OSError as error:
            raise Unreadable("unreadable") from error
        return _checked(data, limits)

    try:
        kind = path.lstat()
    except OSError:
        return Entry(name, read, "unreadable")
    if not stat.S_ISREG(kind.st_mode):
        return Entry(name, read, "is_link")
    return Entry(name, read, "file_bytes" if kind.st_size > limits.file_bytes else _left_out(name))


def _of_folder(folder: Path, limits: Limits) -> list[Entry]:
    """Return the files below a folder in order of their paths. Links are not followed."""
    found: list[Path] = []
    for root, folders, files in os.walk(folder, followlinks=False):
        folders.sort()
        found += [Path(root) / name for name in files]
        found += [Path(root) / name for name in folders if (Path(root) / name).is_symlink()]
        if len(found) > limits.entries:
            raise Refused("entries", name=shown(folder.name), most=limits.entries)
    names = {shown(path.relative_to(folder).as_posix()): path for path in sorted(found)}
    tables = [name for name, path in names.items() if path.suffix == TABLE and path.is_file() and not path.is_symlink()]
    used = training_part(tables, by_folder=True)
    entries = _of_tables([(name, names[name]) for name in used], limits)
    for name, path in names.items():
        if name in tables:
            entries += [] if name in used else [_of_file(name, path, limits, "other_part")]
            continue
        if _ending(name) in ARCHIVES:
            raise Refused("nested", name=shown(folder.name), entry=name)
        entries.append(_of_file(name, path, limits))
    return entries


# ---- tables ----


def training_part(names: Sequence[str], by_folder: bool = False) -> list[str]:
    """Return the files of a data set that are to be learnt: those of its training split, if their names tell it.

    Args:
        names: their paths.
        by_folder: each folder is a data set of its own, of which one is taken: "data", "default", or the first.
    """
    found = [name for name in names if OF_TRAINING.search(name)]
    found = found or [name for name in names if not OF_TEST.search(name)] or list(names)
    if by_folder and found:
        folders = sorted(
            {name.rpartition("/")[0] for name in found}, key=lambda one: (one not in ("data", "default"), one)
        )
        found = [name for name in found if name.rpartition("/")[0] == folders[0]]
    return found


def _of_tables(brought: Sequence[tuple[str, Path]], limits: Limits) -> list[Entry]:
    """Return the rows of Parquet files, which make one data set.

    Raises:
        Refused: one cannot be read, has no pictures, or says that it unpacks to far more than it is.
    """
    tables = []
    for name, path in brought:
        try:
            table = Table(path)
            unpacked, size = table.unpacked, path.stat().st_size
        except NoTable as error:
            raise Refused(error.key, name=name) from error
        except OSError as error:
            raise Refused("no_table", name=name) from error
        if unpacked > FREE_BYTES and unpacked > limits.ratio * size:
            raise Refused("bomb", name=name, ratio=round(unpacked / max(size, 1)))
        tables.append((name, table))
    counts = [table.rows for _, table in tables]
    rows = chosen_rows(counts, limits.pictures)
    entries = [_of_row(*tables[number], row, limits) for number, row in rows]
    if (more := sum(counts) - len(rows)) > 0:
        entries.append(Entry(tables[0][0], lambda: b"", "beyond", more))
    return entries


def _of_row(name: str, table: Table, row: int, limits: Limits) -> Entry:
    """Return a row of a table as a file, in a folder of its class."""

    def read() -> bytes:
        try:
            data = table.picture(row)
        except OSError as error:
            raise Unreadable("of_table") from error
        if data is None:
            raise Unreadable("row_empty")
        return _checked(data, limits)

    label = table.label(row)
    above = "" if label is None else f"{shown(label).replace('/', '-')}/"
    return Entry(f"{above}{name.rpartition('/')[2].removesuffix(TABLE)} {row}", read)


# ---- archives ----


def _of_archive(opened: contextlib.ExitStack, name: str, path: Path, above: str, limits: Limits) -> list[Entry]:
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
    _check_archive(name, size, infos, limits)
    return [_of_info(archive, info, above, limits) for info in infos if not info.is_dir()]


def _check_archive(name: str, size: int, infos: Sequence[zipfile.ZipInfo], limits: Limits) -> None:
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
        if _ending(entry) in ARCHIVES:
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
        return _checked(data, limits)

    name = shown(info.orig_filename.replace("\\", "/"))
    return Entry(above + name, read, "file_bytes" if info.file_size > limits.file_bytes else _left_out(name))


# ---- what they share ----


def _checked(data: bytes, limits: Limits) -> bytes:
    """Return a file's bytes.

    Raises:
        Unreadable: there are too many, or they are an archive's.
    """
    if len(data) > limits.file_bytes:
        raise Unreadable("file_bytes", was_read=True)
    if data.startswith(ARCHIVE_MARKS):
        raise Unreadable("is_archive", was_read=True)
    return data


def _left_out(name: str) -> str:
    """Return the key for which a file is not read, by its name alone; "" if it may be a picture."""
    parts = name.split("/")
    if parts[0] in OF_SYSTEM or any(part.startswith(".") or part in OF_SYSTEM for part in parts):
        return "of_system"
    return "" if _ending(name) in {"", *PICTURES, *UNREADABLE_PICTURES} else "not_picture"


def _ending(name: str) -> str:
    return Path(name).suffix.lower()
