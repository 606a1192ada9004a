"""What a task declares about its evaluation: figures, the parts that measure them, and their columns in the table.

A task's folder declares it in its part `figures`, a module with `PARTS`, a tuple of `Part`. The command, the card and the
table find the parts there, also those of tasks that come from other packages.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from genarium.checkpoints import Checkpoint
from genarium.errors import PluginError
from genarium.recipe import Recipe
from genarium.tasks import Modality, find_tasks, has_method

Metric = dict[str, Any]  # one figure as evaluation.json holds it: part, name, value, n, seed, protocol, ...
NOTHING = "–"  # what a table shows where nothing was measured


@dataclass(frozen=True)
class Figure:
    """A figure that `evaluate` can measure.

    Args:
        name: its key in evaluation.json.
        title: what people read in its place.
        protocol: how it is measured, as a format string. `Evaluation.metric` fills in {n}, {seed} and the facts that it is
            given; the documentation shows the names of these instead.
        unit: of the value; "" for a plain number.
        variant: what distinguishes two figures of this name, as a format string over the metric's keys: "{score}".
    """

    name: str
    title: str
    protocol: str
    unit: str = ""
    variant: str = ""

    def title_of(self, metric: Mapping[str, Any]) -> str:
        """Return the title with the metric's variant in brackets: "Precision (efficientnet-lite0)"."""
        words = self.variant.format_map(_Blank(metric)).split(", ") if self.variant else []
        known = ", ".join(word for word in words if word not in ("", "default"))
        return f"{self.title} ({known})" if known else self.title


class _Blank(dict):
    """A mapping whose missing keys are empty."""

    def __missing__(self, key: str) -> str:
        return ""


@dataclass(frozen=True)
class Measured:
    """The figures of one checkpoint, as a table shows them.

    Args:
        checkpoint: whose figures they are.
        metrics: what its evaluation.json holds.
        parameters: number of parameters of its networks.
        count: counts the network evaluations of one image, for evaluations that did not write them down.
    """

    checkpoint: Checkpoint
    metrics: Sequence[Mapping[str, Any]]
    parameters: int = 0
    count: Callable[[], float] = lambda: 0.0

    def find(self, name: str, **wanted: Any) -> Mapping[str, Any]:
        """Return the first metric of this name with these values, or an empty mapping."""
        found = (m for m in self.metrics if m["name"] == name and all(m.get(k) == v for k, v in wanted.items()))
        return next(found, {})

    def show(self, form: str, name: str, factor: float = 1.0, **wanted: Any) -> str:
        """Return a metric's value times `factor` in this format, or a dash where there is none."""
        metric = self.find(name, **wanted)
        return form.format(metric["value"] * factor) if metric else NOTHING


@dataclass(frozen=True)
class Column:
    """A column of the table of all checkpoints: its heading, its cells, and a sentence that explains it."""

    heading: str
    cell: Callable[[Measured], str]
    legend: str = ""


@dataclass(frozen=True)
class Table:
    """A table of a part's own, below those of all checkpoints.

    Args:
        title, about: stand above it.
        columns: after the checkpoint's name.
        rows: the figures of one checkpoint, split into those of each row.
        rank: the row with the lowest number comes first.
    """

    title: str
    about: str
    columns: tuple[Column, ...]
    rows: Callable[[Measured], Iterable[Measured]]
    rank: Callable[[Measured], float]


def _always(recipe: Recipe | None) -> bool:
    return True


@dataclass(frozen=True)
class Part:
    """One part of an evaluation: figures that are measured together.

    Args:
        name: on the command line and in evaluation.json.
        modality: of the checkpoints that it measures.
        method: which the pipeline must have.
        figures: that it can measure.
        measure: takes the `Evaluation` of the modality (`evaluation.images`, `evaluation.audio`); returns what
            `Evaluation.metric` made.
        applies: recipe, or None where there is none -> whether its data allow the part.
        few: whether a few dozen test images give figures that mean something, within seconds.
        columns: in the table of all checkpoints.
        rank: in that table, the checkpoint with the lowest number comes first.
        note: the metrics of all checkpoints of one data set -> a sentence above their table.
        table: of the part's own.
    """

    name: str
    modality: Modality
    method: str
    figures: tuple[Figure, ...]
    measure: Callable[[Any], list[Metric]]
    applies: Callable[[Recipe | None], bool] = _always
    few: bool = False
    columns: tuple[Column, ...] = ()
    rank: Callable[[Measured], float] | None = None
    note: Callable[[Sequence[Measured]], str] | None = None
    table: Table | None = None

    def figure(self, name: str) -> Figure | None:
        """Return the figure of this name, or None."""
        return next((figure for figure in self.figures if figure.name == name), None)


def parts_of(modality: Modality) -> dict[str, Part]:
    """Return the parts of an evaluation by name, in the order of the tasks.

    Raises:
        PluginError: two tasks declare a part of the same name.
    """
    parts: dict[str, Part] = {}
    for task in find_tasks().values():
        module = task.part("figures")
        for part in module.PARTS if module else ():
            if part.modality != modality:
                continue
            if part.name in parts:
                raise PluginError(f"task {task.name}: another task has a part {part.name!r} of evaluations; rename it.")
            parts[part.name] = part
    return parts


def measurable(checkpoint: Checkpoint, recipe: Recipe | None) -> list[str]:
    """Return the parts that this checkpoint can be measured by, with the data of this recipe."""
    pipeline_class = checkpoint.family.pipeline_class()
    needs = getattr(pipeline_class, "needs", {})  # method -> the optional component that it needs
    return [
        part.name
        for part in parts_of(checkpoint.modality).values()
        if has_method(pipeline_class, part.method)
        and needs.get(part.method) not in checkpoint.lacking
        and part.applies(recipe)
    ]


def lacking(checkpoint: Checkpoint) -> list[str]:
    """Return the parts that this checkpoint can be measured by and that its evaluation.json has no figure of."""
    measured = {metric["part"] for metric in checkpoint.evaluation.get("metrics", [])}
    return [part for part in measurable(checkpoint, checkpoint.recipe) if part not in measured]


def figure_of(modality: Modality, metric: Mapping[str, Any]) -> Figure:
    """Return the declaration of a metric. A figure that no installed task declares is called by its key."""
    parts = (part for part in parts_of(modality).values() if part.name == metric.get("part", part.name))
    found = next((figure for part in parts if (figure := part.figure(metric["name"]))), None)
    return found or Figure(metric["name"], metric["name"], metric.get("protocol", ""), metric.get("unit", ""))


# ---- words of protocols ----

# Phrases in the evaluation.json of earlier versions -> the same in the words of today. Those files stay as they are.
EARLIER_WORDS = (
    (
        "the model being told of each that it is of the class, image i",
        "with that class given to the model for each image, image i",
    ),
    (" whose style is told right by", "; classified by"),
    ("; told by a small", "; classified by a small"),
    ("network that learnt", "network trained on"),
    (
        "its example showing something else; drawn at random with seed",
        "its style example showing another content; chosen at random with seed",
    ),
    ("no content of them was trained on", "none of these contents was in the training data"),
    (
        "sentences found in conversions to those found in",
        "sentences recognised in conversions, divided by those recognised in",
    ),
    ("PocketSphinx finds the sentence", "PocketSphinx recognises the sentence"),
    ("the source as it is, against the target's own: what a conversion must beat", "the source unchanged"),
)


def protocol_in_words(protocol: str) -> str:
    """Return a protocol from evaluation.json in the words of today, whichever version wrote it."""
    for earlier, now in EARLIER_WORDS:
        protocol = protocol.replace(earlier, now)
    return protocol


def settings_in_words(parameters: Mapping[str, Any]) -> str:
    """Return parameters as a protocol names them: "sampler heun, num_inference_steps 8"."""
    return ", ".join(f"{name} {value}" for name, value in parameters.items()) or "no parameters"


def settings_of(protocol: str) -> dict[str, str]:
    """Return the parameters that `settings_in_words` wrote into a protocol: its clauses of a name and a value."""
    clauses = (re.fullmatch(r"(?!no )([a-z][a-z0-9_]*) (\S+)", clause) for clause in re.split(r"[,;] ", protocol))
    return {clause[1]: clause[2] for clause in clauses if clause}
