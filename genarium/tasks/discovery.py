"""How tasks are found: folders beside this file, and installed packages. And which of them a pipeline can do."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from genarium.errors import Broken, PluginError
from genarium.interrupts import watch_interrupts
from genarium.tasks.declaration import Modality, Task

ENTRY_POINT_GROUP = "genarium.tasks"


@dataclass(frozen=True)
class Tasks(Mapping[str, Task]):
    """The tasks that `discover` found, by name in the order of tabs and commands.

    Args:
        found: name -> task.
        origins: name -> where the task came from, in words.
        broken: folders and packages that could not be used.
    """

    found: Mapping[str, Task]
    origins: Mapping[str, str]
    broken: tuple[Broken, ...] = ()

    def __getitem__(self, name: str) -> Task:
        return self.found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.found)

    def __len__(self) -> int:
        return len(self.found)


@cache
def find_tasks() -> Tasks:
    """Return the tasks of this installation. They are looked for once."""
    return discover()


def discover() -> Tasks:
    """Find all tasks. A task that cannot be used is listed under `broken`, with the reason, and stops nothing else."""
    doors = [
        (f"tasks/{path.parent.name}", f"{__package__}.{path.parent.name}")
        for path in sorted(Path(__file__).parent.glob("*/task.py"))
    ]
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda p: p.name):
        package = point.dist.name if point.dist else "?"
        doors.append((f"package {package} ({point.value})", point.value))

    found: dict[str, Task] = {}
    origins: dict[str, str] = {}
    broken: list[Broken] = []
    with watch_interrupts() as pressed:
        for origin, package in doors:
            try:
                task = _checked(getattr(importlib.import_module(f"{package}.task"), "TASK", None), found, origins)
            except BaseException as error:  # SystemExit and KeyboardInterrupt too, unless somebody pressed Ctrl-C
                if pressed.is_set():
                    raise
                broken.append(Broken.by(origin, error))
            else:
                found[task.name], origins[task.name] = replace(task, package=package), origin
    ordered = sorted(found.values(), key=lambda task: (task.order, task.name))
    return Tasks({task.name: task for task in ordered}, origins, tuple(broken))


def _checked(task: Any, found: Mapping[str, Task], origins: Mapping[str, str]) -> Task:
    """Return the task of a task.py.

    Raises:
        PluginError: it is none, its fields contradict each other, or another task has its name, command or address.
    """
    if not isinstance(task, Task):
        raise PluginError("task.py must set TASK to a genarium.tasks.Task")
    if not task.name.isidentifier() or task.name != task.name.lower():
        raise PluginError(f"a task's name is lower-case letters, digits and _, not {task.name!r}")
    if task.inputs and not task.method:
        raise PluginError(f"task {task.name}: inputs are parameters of a method; name the method")
    for other in found.values():
        for what in ("name", "command", "endpoint", "address"):
            if getattr(task, what) and getattr(task, what) == getattr(other, what):
                raise PluginError(
                    f"the {what} {getattr(task, what)!r} is taken already, by {origins[other.name]}; choose another"
                )
    return task


def drawing_task() -> Task:
    """Return the first task that draws samples without material of a visitor's."""
    return next(task for task in find_tasks().values() if task.draws)


def has_method(pipeline_class: type, name: str) -> bool:
    """Return whether objects of the class have this method.

    `hasattr` would find the `__call__` of every class, which is its constructor.
    """
    return any(callable(vars(base).get(name)) for base in pipeline_class.__mro__)


def modality_of(pipeline_class: type[Any]) -> Modality:
    """Return what the pipeline works on: sound if it is made with a `sampling_rate`, images otherwise."""
    return "audio" if "sampling_rate" in inspect.signature(pipeline_class.__init__).parameters else "image"


def can_do(pipeline_class: type, task: Task) -> bool:
    """Return whether pipelines of this class can do a task: by its predicate, or else by its method."""
    if task.fits is not None:
        return bool(task.fits(pipeline_class))
    return bool(task.method) and has_method(pipeline_class, task.method)


def tasks_of(pipeline_class: type) -> tuple[Task, ...]:
    """Return the tasks that pipelines of this class can do, with the names of the inputs for their modality."""
    modality = modality_of(pipeline_class)
    return tuple(task.on(modality) for task in find_tasks().values() if can_do(pipeline_class, task))
