"""Checkpoints: which there are, which family each belongs to, and loading one with the installed class.

No code from a checkpoint's folder runs here: classes come from installed plugins and from diffusers, weights from
safetensors. A Hub snapshot is fetched without its *.py files. Only an operator can wish otherwise (trust.py).
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import diffusers
import torch

from genarium import trust
from genarium.checkpoint_limits import check_limits
from genarium.errors import CheckpointError, InputError
from genarium.families import Families, Family, class_of
from genarium.files import read_json
from genarium.recipe import Recipe
from genarium.tasks import ANY, CLASSES, Control, Modality, Task, controls_of, find_tasks, needed_by, tasks_of

MODEL_INDEX = "model_index.json"
EVALUATION = "evaluation.json"  # the figures that `evaluate` measured
MODEL_CONFIG = "config.json"  # of a single model; beside a MODEL_INDEX, of a component that has no folder of its own


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
    is_foreign: bool = False  # no plugin's: it runs its own code, at the operator's wish
    places: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def lacking(self) -> frozenset[str]:
        """The optional components that are not there, such as the transformer of an auto-encoder that came alone."""
        if self.is_foreign:
            return frozenset()
        optional = self.family.pipeline_class()._optional_components
        return frozenset(name for name in optional if self.index.get(name) in (None, [None, None]))

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """What it can do: the tasks whose method its class has, and whose components are there."""
        if self.is_foreign:
            return {task.name: task for task in find_tasks().values() if task.draws}
        pipeline_class = self.family.pipeline_class()
        return {t.name: t for t in tasks_of(pipeline_class) if needed_by(pipeline_class, t) not in self.lacking}

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
        known = controls_of(
            self.family.pipeline_class(), self.tasks[task], self.family.controls, skip_others=self.is_foreign
        )
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
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, in the order of their labels; empty for an unconditional model."""
        id2label = self.index.get("id2label") or {}
        return tuple(id2label[key] for key in sorted(id2label, key=int))

    def takes_classes(self, task: str) -> bool:
        """Return whether a task accepts classes: the checkpoint names them and the task's method takes them."""
        if task not in self.tasks:
            return False
        method = getattr(self.family.pipeline_class(), self.tasks[task].method)
        return bool(self.class_names) and "class_labels" in inspect.signature(method).parameters

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


def open_checkpoint(
    folder: Path, families: Families, recipe: Recipe | None = None, name: str | None = None
) -> Checkpoint:
    """Read a folder's model_index.json, or of a single model its config.json, and find the family that can load it.

    Args:
        name: what to call it; the recipe's name or the folder's unless given.

    Raises:
        CheckpointError: no such file, not JSON, entries of the wrong kind, a class that no installed plugin knows (unless
            the operator trusts the code that comes with it), or defaults that its tasks do not take.
    """
    name = name or (recipe.name if recipe else folder.name)
    if not (folder / MODEL_INDEX).exists():
        return _open_model(folder, families, recipe, name)
    try:
        index = read_json(folder / MODEL_INDEX)
        class_name = class_of(index)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CheckpointError(f"{folder.name}: no readable {MODEL_INDEX}; this is no diffusers pipeline.") from error
    _check_index(folder.name, index)
    family = families.taking(class_name)
    if family is not None:
        names = family.stock_components if class_name in family.stock else {}
        index = {names.get(key, key): value for key, value in index.items()}
        places = {own: theirs for theirs, own in names.items()}
        checkpoint = Checkpoint(name, family, folder, index, recipe, places=places)
        for task in index.get("defaults") or {}:
            checkpoint.controls(task)  # refuses wrong defaults here, where one bad folder stops nobody
        return checkpoint
    if trust.trusted():
        return Checkpoint(name, trust.family_of(folder, index), folder, index, recipe, is_foreign=True)
    raise CheckpointError(
        f"{folder.name}: no installed plugin knows the pipeline class {class_name!r}. Known: {families.known_classes()}."
    )


def _open_model(folder: Path, families: Families, recipe: Recipe | None, name: str) -> Checkpoint:
    """Return a single model with no pipeline around it, as a checkpoint of the family that takes it alone.

    Raises:
        CheckpointError: there is none, or no family takes it.
    """
    try:
        class_name = class_of(read_json(folder / MODEL_CONFIG))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise CheckpointError(f"{folder.name}: no readable {MODEL_INDEX}; this is no diffusers pipeline.") from error
    family = families.taking_model(class_name)
    if family is None:
        raise CheckpointError(
            f"{folder.name}: this is a single model of the class {class_name!r}, not a whole pipeline, and no installed "
            f"plugin takes it alone. Known: {families.known_classes()}."
        )
    return Checkpoint(name, family, folder, family.index_of_model(class_name), recipe)


def _check_index(name: str, index: Mapping[str, Any]) -> None:
    """
    Raises:
        CheckpointError: class names, quantiles or a sampling rate that later code could not read.
    """
    conditions, quantiles = index.get("conditions") or {}, index.get("anomaly_quantiles") or {}
    if not isinstance(conditions, dict):
        raise CheckpointError(f"{name}: {MODEL_INDEX}: conditions must map each condition to its names.")
    rate = index.get("sampling_rate")
    if rate is not None and (isinstance(rate, bool) or not isinstance(rate, int) or rate < 1):
        raise CheckpointError(f"{name}: {MODEL_INDEX}: sampling_rate must be a whole number of Hz, not {rate!r}.")
    for key, names in (("id2label", index.get("id2label") or {}), *conditions.items()):
        if not isinstance(names, dict) or not all(k.isdecimal() and isinstance(v, str) for k, v in names.items()):
            raise CheckpointError(f'{name}: {MODEL_INDEX}: {key} must map numbers to names, as {{"0": "Trouser"}}.')
    if not isinstance(quantiles, dict) or not all(
        isinstance(row, list) and row and all(isinstance(q, (int, float)) for q in row) for row in quantiles.values()
    ):
        raise CheckpointError(f"{name}: {MODEL_INDEX}: anomaly_quantiles must map scores to lists of numbers.")


def load_pipeline(checkpoint: Checkpoint, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32):
    """Load the weights with the installed class, each component placed by accelerate's device map.

    Raises:
        CheckpointError: a component of an unknown class, weights that are missing, damaged or not safetensors, or a
            configuration that asks for more than the weights can fill.
    """
    if checkpoint.is_foreign:
        return trust.load(checkpoint.name, checkpoint.folder, device, dtype)
    check_limits(checkpoint.name, checkpoint.folder)
    pipeline_class = checkpoint.family.pipeline_class()
    components: dict[str, Any] = {}
    options: dict[str, Any] = {}
    expected, optional = pipeline_class._get_signature_keys(pipeline_class)
    for name, value in checkpoint.index.items():
        if name in expected and (not isinstance(value, list) or len(value) != 2):
            raise CheckpointError(f"{checkpoint.name}: {MODEL_INDEX}: {name} must name a library and a class.")
        if name in expected:
            library, class_name = value
            components[name] = _load_component(checkpoint, pipeline_class, name, library, class_name, device, dtype)
        elif name in optional and not name.startswith("_"):
            options[name] = value
    missing = set(expected) - set(components) - set(pipeline_class._optional_components)
    if missing:
        raise CheckpointError(f"{checkpoint.name}: {MODEL_INDEX} names no {', '.join(sorted(missing))}.")
    try:
        pipeline = pipeline_class(**components, **options)
    except (AttributeError, TypeError, ValueError) as error:  # parts that do not fit each other, or the family
        raise CheckpointError(f"{checkpoint.name}: {checkpoint.family.title} cannot take it: {error}") from error
    pipeline.set_progress_bar_config(disable=True)
    pipeline.register_to_config(_name_or_path=str(checkpoint.folder))
    for component in components.values():
        if isinstance(component, torch.nn.Module):
            cast(Any, component).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return pipeline


def _only_variant(folder: Path) -> str | None:
    """Return "fp16" where a folder has its weights as that variant only, diffusion_pytorch_model.fp16.safetensors."""
    stems = [path.name.split(".")[1:-1] for path in folder.glob("*.safetensors")]
    variants = {stem[0].split("-")[0] for stem in stems if stem}
    return variants.pop() if len(variants) == 1 and all(stems) else None


def _load_component(checkpoint, pipeline_class, name, library, class_name, device, dtype):
    if library is None:
        return None
    source = diffusers
    if library != "diffusers":
        # a component of the family's own: the file of this name beside the installed pipeline
        package = pipeline_class.__module__.rpartition(".")[0]
        stem = library.split(".")[-1]
        try:
            source = sys.modules.get(pipeline_class.__module__)
            if not hasattr(source, class_name):
                source = importlib.import_module(f"{package}.{stem}" if package else stem)
        except ImportError as error:
            raise CheckpointError(
                f"{checkpoint.name}: the component {name} is a {library}.{class_name}, which no installed plugin brings."
            ) from error
    component_class = getattr(source, class_name, None)
    if component_class is None or not hasattr(component_class, "from_pretrained"):
        raise CheckpointError(f"{checkpoint.name}: {library} has no class {class_name} for the component {name}.")
    place = checkpoint.folder / checkpoint.places.get(name, name)
    folder = str(place if place.is_dir() else checkpoint.folder)  # diffusers' oldest checkpoints have all in one folder
    try:
        if issubclass(component_class, diffusers.ModelMixin):
            if component_class.load_config(folder, local_files_only=True).get("time_embedding_type") == "fourier":
                # Its random frequencies, rounded to bfloat16, are others; and a score's network must tell an image from
                # noise a thousand times as strong.
                dtype = torch.float32
            return component_class.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                device_map={"": str(device)},
                local_files_only=True,
                variant=_only_variant(Path(folder)),
            )
        return component_class.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # diffusers, accelerate and safetensors each raise their own
        raise CheckpointError(
            f"{checkpoint.name}: the component {name} cannot be loaded from safetensors in its folder: {error}"
        ) from error
