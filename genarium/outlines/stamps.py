"""Stamps of what outlines depend on: source files, installed packages, tasks. Equal stamps mean that nothing has changed."""

from __future__ import annotations

import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import genarium
from genarium.tasks import find_tasks

INSTALLED = (".dist-info", ".egg-info", ".egg-link", ".pth")  # what an installer writes or replaces


def stamp_of_environment() -> list[Any]:
    """Return what every outline depends on: the interpreter, the installed packages by name, version and time, the tasks."""
    tasks = [
        [task.name, task.method, list(task.inputs), task.package, getattr(task.fits, "__qualname__", None)]
        for task in find_tasks().values()
    ]
    return [sys.version, sys.prefix, genarium.__version__, _stamp_of_packages(), tasks]


def _stamp_of_packages() -> str:
    """Return a digest of the records of installed packages in all folders of `sys.path`."""
    digest = hashlib.sha256()
    for folder in sys.path:
        try:
            with os.scandir(folder or ".") as entries:
                found = sorted((e.name, e.stat().st_mtime_ns) for e in entries if e.name.endswith(INSTALLED))
        except OSError:  # not there, or a ZIP file
            continue
        digest.update(repr((folder, found)).encode() if found else b"")
    return digest.hexdigest()


def stamps_of_files(files: Iterable[str]) -> dict[str, list[int]]:
    """Return path -> time of the last change in nanoseconds, and size in bytes.

    Raises:
        OSError: a file is gone.
    """
    stamps = {}
    for file in files:
        status = os.stat(file)
        stamps[file] = [status.st_mtime_ns, status.st_size]
    return stamps


def loaded_files() -> list[str]:
    """Return the source files of all imported modules, except those that an installer put there."""
    installed = {os.path.join(path, "") for path in map(sysconfig.get_path, ("stdlib", "platstdlib", "purelib"))}
    files = set()
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if not isinstance(file, str) or file.startswith(tuple(installed)):
            continue
        if not {"site-packages", "dist-packages"}.intersection(Path(file).parts):
            files.add(os.path.abspath(file))
    return sorted(filter(os.path.isfile, files))  # torch has modules that name files which never were
