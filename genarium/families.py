"""Families and how they are found: folders in plugins/ and installed packages, both through `register(add)`."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from genarium import paths
from genarium.errors import Broken, PluginError
from genarium.files import parse_yaml
from genarium.imports import HEAVY
from genarium.interrupts import watch_interrupts
from genarium.outlines import Kept, Outline, outline_of

ENTRY_POINT_GROUP = "genarium.families"


@dataclass(frozen=True)
class Paper:
    """A paper to cite: authors, title and year in one line, and where to read it."""

    title: str
    url: str


@dataclass(frozen=True)
class Material:
    """The pictures of somebody's own that a family is to learn.

    Args:
        sample_size: pixels on a side.
        channels: 1, grey, or 3.
        pictures: that are learnt.
        classes: how many there are; 0 without.
        fewest: pictures of the smallest class; all, without classes.
    """

    sample_size: int
    channels: int
    pictures: int
    classes: int
    fewest: int

    @property
    def patch_size(self) -> int:
        """The side of the patches by which a network sees 14 or 16 places across, where two cores are fast."""
        return max(1, self.sample_size // 14)


@dataclass(frozen=True)
class Family:
    """How the app introduces a family of models. Everything else it learns from the pipeline class.

    Args:
        name: short, lower case, unique: "vae".
        title: as people write it: "VAE".
        pipeline: "module:Class" of the pipeline, imported when first needed, or the class itself.
        description: language -> what it is, in three sentences; "en" at least.
        papers: the first is the one that introduced it.
        controls: parameter -> changes to its control: minimum, maximum, step, default, choices, label, hidden.
        translations: language -> {English title, or label or help of a control: the same in that language}; see
            `read_translations`.
        words: language -> {word of the code: the same in that language}, of a family whose code is words.
        stock: names of diffusers pipelines whose checkpoints this family can take over.
        stock_components: name of a component in those -> its name in this family's pipeline, where they differ.
        stock_models: name of a diffusers model -> the component that it becomes, where a folder holds it and nothing else.
        starter: "module:function" of what the family begins with on somebody's own pictures, or
            `beside(__file__, "starter:starter")`. The function takes the material and returns the sections `architecture` and
            `training` of a recipe, without `images`; stages have a `share` of the time in its place. None: the family is not
            offered for them.
        plane: "module:Class" of how the family learns points of the plane, or `beside(__file__, "plane:Class")`; None: it does
            not. See docs/plugins.md.
        recipes: folder of more recipes, for packages.
        checkpoints: folder of more checkpoints, for packages.
    """

    name: str
    title: str
    pipeline: str | type[Any]
    description: Mapping[str, str]
    papers: tuple[Paper, ...] = ()
    controls: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    translations: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    stock: tuple[str, ...] = ()
    stock_components: Mapping[str, str] = field(default_factory=dict)
    stock_models: Mapping[str, str] = field(default_factory=dict)
    starter: str | Callable[[], Callable[[Material], Mapping[str, Any]]] | None = None
    plane: str | Callable[[], type[Any]] | None = None
    recipes: Path | None = None
    checkpoints: Path | None = None

    def pipeline_class(self) -> type[Any]:
        """Import and return the pipeline class.

        Raises:
            PluginError: it cannot be imported.
        """
        return self.pipeline if isinstance(self.pipeline, type) else self._imported(self.pipeline)

    @functools.cached_property
    def outline(self) -> Outline:
        """What the pipeline class declares. `discover` knows it from an earlier start, or else imports the class.

        Raises:
            PluginError: the class cannot be imported.
            InputError: a task's method has a parameter that no control fits.
        """
        return outline_of(self.pipeline_class())

    def plane_class(self) -> type[Any] | None:
        """Import and return the class by which the family learns points of the plane; None if it does not.

        Raises:
            PluginError: it cannot be imported.
        """
        return None if self.plane is None else self._imported(self.plane)

    def begin_with(self, material: Material) -> Mapping[str, Any]:
        """Return the sections of a recipe by which the family begins with somebody's own pictures.

        Raises:
            PluginError: the starter cannot be imported, or there is none.
        """
        if self.starter is None:
            raise PluginError(f"family {self.name} has no starter.")
        sections: Mapping[str, Any] = self._imported(self.starter)(material)
        return sections

    def _imported(self, what: str | Callable[[], Any]) -> Any:
        try:
            with HEAVY:
                if callable(what):
                    return what()
                module, _, name = what.partition(":")
                return getattr(importlib.import_module(module), name)
        except Exception as error:  # whatever a plugin's module does wrong must not stop the app
            raise PluginError(f"family {self.name}: {what} cannot be imported: {error!r}") from error

    def index_of_model(self, class_name: str) -> dict[str, Any]:
        """Return the index of a pipeline that has a single model of `stock_models` and no other component."""
        return {"_class_name": class_name, self.stock_models[class_name]: ["diffusers", class_name]}


def read_translations(plugin: str | Path) -> dict[str, dict[str, str]]:
    """Read the YAML files beside a plugin: zh.yaml maps the English title, and labels and helps of controls, to Chinese.

    Args:
        plugin: the plugin's `__file__`.
    """
    files = sorted(Path(plugin).parent.glob("*.yaml"))
    return {file.stem: parse_yaml(file.read_text(encoding="utf-8")) for file in files}


@dataclass(frozen=True)
class _Beside:
    """A function that imports what a file defines. A ZeroGPU Space pickles it with the checkpoint that it belongs to."""

    file: str
    name: str

    def __call__(self) -> Any:
        return getattr(_loaded(self.file), self.name)


@functools.cache
def _loaded(file: str) -> ModuleType:
    return _module_of_file(Path(file))


def beside(plugin: str | Path, reference: str) -> Callable[[], Any]:
    """Return a function that imports a class or a function of a file beside a plugin, when it is first needed.

    Args:
        plugin: the plugin's `__file__`.
        reference: "file:name", without .py.
    """
    file, _, name = reference.partition(":")
    return _Beside(str(Path(plugin).with_name(f"{file}.py")), name)


@dataclass(frozen=True)
class Families:
    """What `discover` found. `origins` says where each family came from."""

    found: Mapping[str, Family]
    origins: Mapping[str, str]
    broken: tuple[Broken, ...]

    def __iter__(self):
        return iter(self.found.values())

    def __getitem__(self, name: str) -> Family:
        if name not in self.found:
            broken = "".join(f" ({b.origin} is broken: {b.reason})" for b in self.broken if name in b.origin)
            raise PluginError(
                f"No plugin brings the family {name!r}; found: {', '.join(self.found) or 'none'}.{broken}"
            )
        return self.found[name]

    def taking(self, class_name: str) -> Family | None:
        """Return the family that can load checkpoints of a pipeline class: its own, or a stock one that it adopts."""
        for family in self:
            if class_name == family.outline.class_name or class_name in family.stock:
                return family
        return None

    def taking_model(self, class_name: str) -> Family | None:
        """Return the family that can load a single diffusers model of this class, with no pipeline around it."""
        return next((family for family in self if class_name in family.stock_models), None)

    def known_classes(self) -> str:
        """Return the classes that some family can load, pipelines and single models, for messages."""
        own = {family.outline.class_name for family in self}
        return ", ".join(sorted(own.union(*((*family.stock, *family.stock_models) for family in self))))

    def recipe_folders(self) -> tuple[Path, ...]:
        return tuple(f.recipes for f in self if f.recipes)

    def checkpoint_folders(self) -> tuple[Path, ...]:
        return tuple(f.checkpoints for f in self if f.checkpoints)


def class_of(index: Mapping[str, Any]) -> str:
    """Return the pipeline class that a model_index.json names, alone or as ["file", "Class"].

    Raises:
        KeyError, TypeError, IndexError: it names none.
    """
    name = index["_class_name"]
    return str(name[-1] if isinstance(name, list) else name)


def discover(folder: Path | None = None, installed: bool = True) -> Families:
    """Find all families. Nothing that a plugin does wrong gets out of here: it is listed under `broken`.

    Args:
        folder: of `<family>/plugin.py` folders, by default plugins/.
        installed: also ask installed packages (entry points "genarium.families").
    """
    doors: list[tuple[str, Callable[[], Callable[..., Any]]]] = []
    root = folder or paths.plugins()
    for path in sorted(root.glob("*/plugin.py")):
        doors.append((f"{root.name}/{path.parent.name}", functools.partial(_register_of_file, path)))
    if installed:
        for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda p: p.name):
            package = point.dist.name if point.dist else "?"
            doors.append((f"package {package} ({point.value})", point.load))

    kept = Kept()
    offered: list[tuple[str, list[Family]]] = []
    broken: list[Broken] = []
    with watch_interrupts() as pressed:
        for origin, load in doors:
            added: list[Family] = []
            try:
                load()(added.append)
                if not added:
                    raise PluginError("register(add) added no family")
                for family in added:
                    _check(family, kept)
            except BaseException as error:  # SystemExit and KeyboardInterrupt too, unless somebody pressed Ctrl-C
                if pressed.is_set():
                    raise
                broken.append(Broken.by(origin, error))
            else:
                offered.append((origin, added))
    kept.save()

    found: dict[str, Family] = {}
    origins: dict[str, str] = {}
    # A folder that bears its family's name comes first, so that no copy of it under another name takes its place.
    offered.sort(key=lambda offer: all(offer[0] != f"{root.name}/{f.name.replace('-', '_')}" for f in offer[1]))
    for origin, added in offered:
        taken = [f.name for f in added if f.name in found or sum(g.name == f.name for g in added) > 1]
        if taken:
            other = origins.get(taken[0], origin)
            broken.append(
                Broken(origin, f"the family name {taken[0]!r} is taken twice: by {other} and by {origin}; rename one")
            )
            continue
        for family in added:
            found[family.name], origins[family.name] = family, origin
    return Families(dict(sorted(found.items())), origins, tuple(broken))


def _register_of_file(path: Path) -> Callable[..., Any]:
    """Import plugins/<family>/plugin.py and return its `register`."""
    module = _module_of_file(path)
    if not callable(getattr(module, "register", None)):
        raise PluginError(f"{path.parent.name}/plugin.py has no function register(add)")
    return module.register


def _module_of_file(path: Path) -> ModuleType:
    """Import a file of a plugin's folder under a name of its own, so that a folder anywhere will do."""
    name = f"genarium_plugin_{path.parent.name}"
    spec = importlib.util.spec_from_file_location(name if path.stem == "plugin" else f"{name}_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise PluginError(f"{path} cannot be imported")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where annotations, diffusers and deepcopy look for a class's module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    return module


def _check(family: Any, kept: Kept) -> None:
    if not isinstance(family, Family):
        raise PluginError(f"add() takes a genarium.families.Family, not {type(family).__name__}")
    if not family.name or not family.name.replace("-", "_").isidentifier() or family.name != family.name.lower():
        raise PluginError(f"a family's name is lower-case letters, digits, - and _, not {family.name!r}")
    if "en" not in family.description:
        raise PluginError(f"family {family.name}: the description needs English text under 'en'")
    known = kept.get(family.pipeline)
    if known is not None:
        vars(family)["outline"] = known  # where `cached_property` looks first
    outline = family.outline
    for name in {*family.stock_components.values(), *family.stock_models.values()} - set(outline.components):
        raise PluginError(f"family {family.name}: {outline.class_name} has no component {name!r}")
    for task in outline.tasks:
        outline.controls(task.name, family.controls)  # a page that cannot be drawn is the plugin's fault
    if known is None:
        kept.add(family.pipeline, outline)
