"""The outline of a pipeline class: all that the pages and the commands ask of it before they load a checkpoint."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from genarium.tasks import Control, Modality, Task, controls_of, find_tasks, modality_of, optional_inputs, tasks_of
from genarium.tasks.controls import refine


@dataclass(frozen=True)
class Call:
    """What a task finds in the method that it calls.

    Args:
        controls: parameter -> its control, in the order of the signature, before a plugin refines it.
        optional: inputs of the task for which another parameter can stand in.
        takes_classes: whether the method takes `class_labels`.
    """

    controls: Mapping[str, Control] = field(default_factory=dict)
    optional: tuple[str, ...] = ()
    takes_classes: bool = False


@dataclass(frozen=True)
class Outline:
    """What a pipeline class declares.

    Args:
        class_name: of the class itself.
        modality: what it works on.
        components: that its constructor takes.
        optional_components: those of them that a checkpoint may lack.
        needs: method -> the optional component without which it does not work.
        calls: task that the class can do -> what the task finds in its method.
    """

    class_name: str
    modality: Modality
    components: tuple[str, ...]
    optional_components: tuple[str, ...]
    needs: Mapping[str, str]
    calls: Mapping[str, Call]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The tasks that the class can do, with the names of the inputs for its modality."""
        return tuple(task.on(self.modality) for name, task in find_tasks().items() if name in self.calls)

    def controls(self, task: str, refinements: Mapping[str, Mapping[str, Any]]) -> dict[str, Control]:
        """Return the controls of a task, by parameter name in the order of the signature.

        Args:
            task: one of `tasks`.
            refinements: parameter -> changed fields of its control, from the family's plugin.

        Raises:
            InputError: an unknown field of a control.
        """
        where = f"{self.class_name}.{find_tasks()[task].method}"
        return refine(self.calls[task].controls, refinements, where)


def outline_of(pipeline_class: type[Any]) -> Outline:
    """Return the outline of a class that was imported.

    Raises:
        InputError: a task's method has a parameter that no control fits.
    """
    return Outline(
        class_name=pipeline_class.__name__,
        modality=modality_of(pipeline_class),
        components=tuple(sorted(pipeline_class._get_signature_keys(pipeline_class)[0])),
        optional_components=tuple(pipeline_class._optional_components),
        needs=dict(getattr(pipeline_class, "needs", {})),
        calls={task.name: _call(pipeline_class, task) for task in tasks_of(pipeline_class)},
    )


def _call(pipeline_class: type[Any], task: Task) -> Call:
    if not task.method:
        return Call()
    parameters = inspect.signature(getattr(pipeline_class, task.method)).parameters
    return Call(
        controls=controls_of(pipeline_class, task),
        optional=tuple(sorted(optional_inputs(pipeline_class, task))),
        takes_classes="class_labels" in parameters,
    )
