"""Files and folders that are written whole or not at all, and never at the cost of what others put there.

    write_file(path, put)               a file is written beside its place, then renamed
    with new_folder(target) as folder:  a folder is filled beside its place, then exchanged; other people's files stay
    remove_files(folder, ours)          only what matches our own names is deleted

No function here follows a symbolic link: a link that stands in the way is replaced or left, never what it points to.
"""

from __future__ import annotations

import contextlib
import errno
import fnmatch
import io
import json
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

try:
    import fcntl
except ImportError:  # on Windows: what a killed process left beside a folder stays
    fcntl = None  # type: ignore[assignment]

from genarium.errors import FileError, GenariumError

if TYPE_CHECKING:
    import numpy as np

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
OLD = "old"  # name of the former version inside the working folder of an exchange


def write_file(path: str | Path, put: Callable[[Path], object]) -> Path:
    """Write a file beside its place, then rename it: a reader or a kill never meets half a file.

    Args:
        path: of the finished file.
        put: writes the content to the path that it is given.

    Raises:
        FileError: the disk is full or the folder cannot be written; the old file is whole and nothing else is left.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.part{os.getpid()}-{threading.get_ident()}")
    try:
        with file_errors(path):
            put(temporary)
            os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):  # where no folder is, nothing was left
            temporary.unlink()
    return path


def write_bytes(path: str | Path, data: bytes) -> Path:
    """Write a file as `write_file` does, from its bytes."""
    return write_file(path, lambda temporary: temporary.write_bytes(data))


def write_text(path: str | Path, text: str) -> Path:
    """Write a file as `write_file` does, from a text in UTF-8."""
    return write_bytes(path, text.encode())


def read_text(path: str | Path) -> str:
    """Read a text that somebody else may have written: in UTF-8, else in the Windows code page, so that it is shown at all."""
    data = Path(path).read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def read_json(path: str | Path) -> Any:
    """Read a JSON file that somebody else may have written.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON in UTF-8, or is nested so deeply that it cannot be read.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_yaml(text: str) -> Any:
    """Parse YAML by libyaml, where the installed PyYAML has it: about eight times as fast as by Python alone.

    Raises:
        yaml.YAMLError: the text is no YAML.
    """
    import yaml  # here, because --help reads no YAML

    return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def write_array(path: str | Path, array: np.ndarray) -> Path:
    """Write a .npy file as `write_file` does."""

    import numpy as np  # here, so that the commands that write no arrays start quickly

    content = io.BytesIO()  # NumPy's own way into files says nothing of a full disk
    np.save(content, array)
    return write_bytes(path, content.getvalue())


@contextlib.contextmanager
def file_errors(path: str | Path) -> Iterator[None]:
    """Turn an error of the operating system into one sentence about `path`.

    Raises:
        FileError: in place of any OSError inside, and of one that safetensors wraps.
    """
    try:
        yield
    except OSError as error:
        raise FileError(_sentence(path, error)) from error
    except SafetensorError as error:  # it hides the system's error in its words
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise FileError(_sentence(path, OSError(int(number[1]), os.strerror(int(number[1]))))) from error


def _sentence(path: str | Path, error: OSError) -> str:
    if error.errno in FULL:
        return f"{path}: the disk is full, or the file grew over a limit. Make room and run the same again."
    reason = error.strerror or str(error)
    return f"{path}: cannot be written: {reason}. Choose another place, or mend its permissions."


def check_writable(folder: str | Path) -> Path:
    """Make a folder and try to write in it, so that what cannot be written is known before the work is done.

    Raises:
        FileError: it cannot be made or written.
    """
    folder = Path(folder)
    with file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    return folder


def is_empty(folder: Path) -> bool:
    """Return whether there is nothing at this path, or an empty folder."""
    if not os.path.lexists(folder):
        return True
    return folder.is_dir() and not any(folder.iterdir())


@contextlib.contextmanager
def new_folder(target: Path, ours: Callable[[str], bool] = lambda name: True) -> Iterator[Path]:
    """Yield an empty folder to fill. It takes the place of `target` when the block ends without an error.

    Whatever interrupts the exchange, the old version or the new one is there: an exception puts the old one back, and the
    next exchange puts back what a killed process left in its working folder, and deletes the rest of that.

    Args:
        target: of the finished folder; an older version may stand there.
        ours: says of a path inside the older version, "samples/1.png", whether it goes with that version. Every other file
            is carried over, unless the new version has one of this name.

    Raises:
        FileError: the disk is full or the folder cannot be written; the old version is whole.
    """
    target = Path(target)
    recover(target)
    check_writable(target.parent)
    _delete_left_over(target)
    desk = Path(tempfile.mkdtemp(prefix=f".{target.name}.part-", dir=target.parent))
    made = desk / target.name
    lock = _lock(desk)
    try:
        with file_errors(target):
            made.mkdir()
            yield made
            exchange(made, target, desk / OLD, ours)
    finally:
        if not os.path.lexists(desk / OLD):
            remove_tree(desk)
        if lock is not None:
            os.close(lock)


def exchange(made: Path, target: Path, old: Path, ours: Callable[[str], bool] = lambda name: True) -> None:
    """Put the folder `made` in the place of `target`, whose old version is deleted last.

    Args:
        made: the new version, on the same disk.
        target: of the new version; an older one may stand there.
        old: where the old version stands meanwhile; an exception puts it back.
        ours: as for `new_folder`.
    """
    try:
        if os.path.lexists(target):
            _carry_over(target, made, ours)
            target.rename(old)
        made.rename(target)
    except BaseException:
        if os.path.lexists(old) and not os.path.lexists(target):
            old.rename(target)
        raise
    remove_tree(old)


def recover(target: Path) -> None:
    """Put back the old version of a folder that a killed process had just moved away to exchange it."""
    if os.path.lexists(target) or not target.parent.is_dir():
        return
    for desk in sorted(target.parent.glob(f".{_escaped(target.name)}.part-*")):
        if os.path.lexists(desk / OLD):
            (desk / OLD).rename(target)
            remove_tree(desk)
            return


def _delete_left_over(target: Path) -> None:
    """Delete working folders of processes that were killed; not one with the only version that there is."""
    for desk in target.parent.glob(f".{_escaped(target.name)}.part-*"):
        if desk.is_symlink() or (os.path.lexists(desk / OLD) and not os.path.lexists(target)):
            continue
        lock = _lock(desk)
        if lock is not None:
            remove_tree(desk)
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Hold the lock of a folder for as long as this process keeps what is returned open; None if another holds it."""
    if fcntl is None:
        return None
    place = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(place)
        return None
    return place


def remove_tree(folder: Path) -> None:
    """Delete a folder that we made, with all in it. Of a symbolic link only the link is deleted."""
    if folder.is_symlink():
        folder.unlink()
    else:
        shutil.rmtree(folder, ignore_errors=True)


def remove_files(folder: Path, ours: Callable[[str], bool]) -> None:
    """Delete those files below a folder that are ours, then the folders that became empty by it.

    Args:
        ours: as for `new_folder`.
    """
    emptied: set[Path] = set()  # folders from which something was deleted
    for root, folders, files in os.walk(folder, topdown=False, followlinks=False):
        place = Path(root)
        for name in [*files, *(name for name in folders if (place / name).is_symlink())]:
            if ours((place / name).relative_to(folder).as_posix()):
                (place / name).unlink()
                emptied.add(place)
        if place in emptied and place != folder:
            with contextlib.suppress(OSError):  # somebody else's file is left in it
                place.rmdir()
                emptied.add(place.parent)


def matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return a test of paths inside a folder by shell patterns, in which `*` never spans a "/"."""
    known = [pattern.split("/") for pattern in patterns]

    def matches(name: str) -> bool:
        parts = name.split("/")
        return any(len(parts) == len(p) and all(map(fnmatch.fnmatchcase, parts, p)) for p in known)

    return matches


def _carry_over(old: Path, new: Path, ours: Callable[[str], bool]) -> None:
    """Put what is not ours in the old folder into the new one as well, so that nothing is lost when the old one goes."""
    for root, folders, files in os.walk(old, followlinks=False):
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        for name in [*files, *links]:
            source = Path(root) / name
            place = new / source.relative_to(old)
            if ours(source.relative_to(old).as_posix()) or os.path.lexists(place):
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(source, place, follow_symlinks=False)  # the same file under a second name: no copy of gigabytes
            except OSError:
                shutil.copy2(source, place, follow_symlinks=False)


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file as `write_file` does.

    Raises:
        GenariumError: a number is not finite.
        FileError: it cannot be written; the old file is whole.
    """
    try:
        text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise GenariumError(f"{path.name}: a figure is not a finite number; nothing was written.") from error
    write_text(path, text + "\n")
