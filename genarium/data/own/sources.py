"""The files among what somebody brings: a .zip, a folder, pictures, Parquet files, or several of these. Nothing is unpacked to the disk.

An entry of an archive is bytes and a name. The name is only ever shown, and tells the class; no path is made of it.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from genarium.data.own.archives import of_archive
from genarium.data.own.entries import (
    ARCHIVES,
    FREE_BYTES,
    TABLE,
    Entry,
    Limits,
    Unreadable,
    checked,
    ending,
    reason_unread,
    shown,
)
from genarium.data.own.tables import NoTable, Table, chosen_rows
from genarium.data.own.words import Refused

SPLITS = frozenset(("train", "training", "test", "testing", "val", "valid", "validation"))
OF_TRAINING = re.compile(r"(?:^|[/_. -])train(?:ing)?(?=$|[/_. 0-9-])", re.IGNORECASE)
OF_TEST = re.compile(
    r"(?:^|[/_. -])(?:test(?:ing)?|val(?:id(?:ation)?)?|dev|eval(?:uation)?)(?=$|[/_. 0-9-])", re.IGNORECASE
)


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
    archives = sum(ending(shown(name)) == ".zip" for name, _ in brought)
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
            elif ending(name) == ".zip":
                above = f"{shown(Path(name).stem)}/" if archives > 1 else ""  # of several archives each is a class
                entries += of_archive(opened, name, path, above, limits)
            elif ending(name) in ARCHIVES:
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
        return checked(data, limits)

    try:
        kind = path.lstat()
    except OSError:
        return Entry(name, read, "unreadable")
    if not stat.S_ISREG(kind.st_mode):
        return Entry(name, read, "is_link")
    return Entry(name, read, "file_bytes" if kind.st_size > limits.file_bytes else reason_unread(name))


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
        if ending(name) in ARCHIVES:
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
        return checked(data, limits)

    label = table.label(row)
    above = "" if label is None else f"{shown(label).replace('/', '-')}/"
    return Entry(f"{above}{name.rpartition('/')[2].removesuffix(TABLE)} {row}", read)
