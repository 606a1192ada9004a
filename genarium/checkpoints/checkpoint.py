"""One checkpoint as its folder describes it: what it can do, its controls, its classes and figures."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from genarium.checkpoints.folder import EVALUATION, MODEL_INDEX
from genarium.errors import CheckpointError, InputError
from genarium.families import Family
from genarium.files import read_json
from genarium.recipe import Recipe
from genarium.tasks import ANY, CLASSES, Control, Modality, Task, controls_of, find_tasks


@dataclass(frozen=True)
class Checkpoint:
    """A folder in `save_pretrained` layout whose family is installed. Reading it touches no weights.

    `index` is what model_index.json says, with the family's names of the components; `places`, the names of their folders
    where these differ.
    """

    name: str
    family: Family
    folder: Path
    index: Mapping[str, Any]
    recipe: Recipe | None = None
    is_private: bool = False  # a visitor trained it on pictures of their own: it is on no Hub
    is_foreign: bool = False  # no plugin's: it runs its own code, at the operator's wish
    places: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def lacking(self) -> frozenset[str]:
        """The optional components that are not there, such as the transformer of an auto-encoder that came alone."""
        if self.is_foreign:
            return frozenset()
        optional = self.family.outline.optional_components
        return frozenset(name for name in optional if self.index.get(name) in (None, [None, None]))

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """What it can do: the tasks whose method its class has, and whose components are there."""
        if self.is_foreign:
            return {task.name: task for task in find_tasks().values() if task.draws}
        outline = self.family.outline
        return {t.name: t for t in outline.tasks if outline.needs.get(t.method) not in self.lacking}

    @property
    def modality(self) -> Modality:
        """What it works on: a `sampling_rate` in its config means sound. A foreign one is asked for images only."""
        return "audio" if self.index.get("sampling_rate") and not self.is_foreign else "image"

    def controls(self, task: str) -> dict[str, Control]:
        """Return the controls of one task, by parameter, as they are for this checkpoint.

        Its own defaults hold where its config has some, and the choices of a condition are the values it was trained with;
        the control of a condition that it was trained without is left out, and so is what needs a component it lacks, or
        classes where it has none.

        Raises:
            CheckpointError: this checkpoint cannot do the task, or its config has a default that the task does not take.
        """
        if task not in self.tasks:
            able = ", ".join(self.tasks) or "nothing"
            lacks = f" It has no {' and no '.join(sorted(self.lacking))}." if self.lacking else ""
            raise CheckpointError(f"{self.name} ({self.family.title}) cannot {task}; it can: {able}.{lacks}")
        if self.is_foreign:
            known = controls_of(self.family.pipeline_class(), self.tasks[task], skip_others=True)
        else:
            known = self.family.outline.controls(task, self.family.controls)
        controls, lacking = {}, self.lacking if self.class_names else self.lacking | {CLASSES}
        for name, every in known.items():
            control = every.without(lacking)
            if control is None:
                continue
            values = self.condition_names.get(control.choices_from, ())
            if values:
                controls[name] = replace(control, choices=(ANY, *values))
            elif not control.choices_from:
                controls[name] = control
        try:
            for name, value in self._defaults(task).items():
                controls[name] = replace(controls[name], default=controls[name].check(value))
        except (AttributeError, KeyError, InputError) as error:
            raise CheckpointError(f"{self.name}: {MODEL_INDEX}: defaults of {task}: {error}.") from error
        return controls

    def _defaults(self, task: str) -> Mapping[str, Any]:
        """Return the config's defaults of a task, or of another task that calls the same method."""
        defaults = self.index.get("defaults") or {}
        alike = [other.name for other in self.tasks.values() if other.method == self.tasks[task].method]
        return next((defaults[name] for name in (task, *alike) if defaults.get(name)), {})

    @property
    def stem(self) -> str:
        """The name as the beginning of file names: of a checkpoint from the Hub, without its owner."""
        return Path(self.name).name

    @property
    def title(self) -> dict[str, str]:
        """What people call it, by language: what its recipe says, or else its name."""
        title = self.recipe.title if self.recipe else None
        return {"en": title.en, "zh": title.zh or title.en} if title else {"en": self.name, "zh": self.name}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels; empty for an unconditional model."""
        id2label = self.index.get("id2label") or {}
        return tuple(id2label[key] for key in sorted(id2label, key=int))

    def takes_classes(self, task: str) -> bool:
        """Return whether a task accepts classes: the checkpoint names them and the task's method takes them."""
        if task not in self.tasks or not self.tasks[task].method:
            return False
        if self.is_foreign:
            method = getattr(self.family.pipeline_class(), self.tasks[task].method)
            return bool(self.class_names) and "class_labels" in inspect.signature(method).parameters
        return bool(self.class_names) and self.family.outline.calls[task].takes_classes

    @property
    def condition_names(self) -> dict[str, tuple[str, ...]]:
        """Condition -> names of its values, in the order of their numbers; empty where there is only the class."""
        conditions = self.index.get("conditions") or {}
        return {c: tuple(names[key] for key in sorted(names, key=int)) for c, names in conditions.items()}

    @property
    def data(self) -> str | None:
        """Hub id of the data it was trained on, where a recipe says so."""
        return self.recipe.data.name if self.recipe else None

    @cached_property
    def size(self) -> int:
        """Bytes of weights on disk."""
        return sum(path.stat().st_size for path in self.folder.rglob("*.safetensors"))

    @property
    def card(self) -> Path | None:
        path = self.folder / "README.md"
        return path if path.exists() else None

    @property
    def evaluation(self) -> dict[str, Any]:
        """The figures that `evaluate` wrote, or nothing."""
        try:
            return read_json(self.folder / EVALUATION)
        except (OSError, ValueError):  # none, or damaged: the weights are good without
            return {}
