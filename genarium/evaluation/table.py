"""The table of all checkpoints: docs/families.md, written from what `evaluate` found. Nothing is measured here.

Pictures have a table for each data set, sound has one. Their columns, and further tables, stand in the folders of the tasks.
Then follow two tables for all of them: how each figure is measured, and with which settings each checkpoint was measured.
What evaluation.json does not hold is read off the checkpoint: the number of parameters, and for old evaluations the number
of network evaluations.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from torch import nn

from genarium.card.facts import training_time
from genarium.evaluation.document import Row, Section, protocols_table, render, settings_tables
from genarium.evaluation.figure import NOTHING, Column, Measured, Part, parts_of
from genarium.files import write_text
from genarium.recipe import Recipe
from genarium.runtime import Runtime
from genarium.runtime.request import Request, choose_labels
from genarium.tasks import Modality, drawing_task

# Modality -> the heading of a checkpoint's table. Checkpoints of one heading can be compared.
HEADINGS: dict[Modality, Callable[[Recipe], str]] = {
    "image": lambda recipe: recipe.data.name,
    "audio": lambda _: "Voices",
}
SEEN: dict[Modality, str] = {"image": "images seen", "audio": "clips seen"}


def images_seen(recipe: Recipe) -> int:
    """Return how many images or clips the training looked at over all stages, each as often as it was seen."""
    training = recipe.training
    return training.images or sum(stage.images for stage in training.stages)


def columns_of(modality: Modality) -> tuple[Column, ...]:
    """Return the columns of the table of all checkpoints, after the checkpoint's name."""

    def recipe(measured: Measured) -> Recipe:
        assert measured.checkpoint.recipe is not None
        return measured.checkpoint.recipe

    def time(measured: Measured) -> str:
        return (recipe(measured).card.time or training_time(recipe(measured))).split(",")[0] or NOTHING

    introduction = (
        Column("family", lambda measured: measured.checkpoint.family.title),
        Column("parameters", lambda measured: f"{measured.parameters / 1e6:.2f} M"),
        Column("training time", time),
        Column(SEEN[modality], lambda measured: f"{images_seen(recipe(measured)) / 1e3:.0f} k"),
    )
    return (*introduction, *(column for part in parts_of(modality).values() for column in part.columns))


def make_row(measured: Measured, columns: tuple[Column, ...], rank: Callable[[Measured], float] | None) -> Row:
    """Return a row: the checkpoint's name, then its cells."""
    cells = (f"`{measured.checkpoint.name}`", *(column.cell(measured) for column in columns))
    return Row(rank(measured) if rank else 0.0, cells)


def make_section(
    heading: str,
    about: str,
    columns: tuple[Column, ...],
    rows: list[Measured],
    rank: Callable[[Measured], float] | None,
) -> Section:
    """Return a section of the document: a sentence, and a table with the best row first."""
    made = sorted((make_row(row, columns, rank) for row in rows), key=lambda row: (row.rank, row.cells))
    return Section(heading, about, ("checkpoint", *(column.heading for column in columns)), [row.cells for row in made])


def sections_of(modality: Modality, checkpoints: list[Measured]) -> list[Section]:
    """Return the tables of all checkpoints of a modality, then those that parts of the evaluation have of their own."""
    parts = list(parts_of(modality).values())
    columns = columns_of(modality)
    rank = next((part.rank for part in parts if part.rank), None)
    by_heading: dict[str, list[Measured]] = {}
    for measured in checkpoints:
        assert measured.checkpoint.recipe is not None
        by_heading.setdefault(HEADINGS[modality](measured.checkpoint.recipe), []).append(measured)
    sections = []
    for heading, rows in sorted(by_heading.items(), key=lambda item: (-len(item[1]), item[0])):  # the largest first
        about = " ".join(note for part in parts if part.note and (note := part.note(rows)))
        sections.append(make_section(heading, about, columns, rows, rank))
    return sections + [_own_table(part, checkpoints) for part in parts if part.table]


def _own_table(part: Part, checkpoints: list[Measured]) -> Section:
    table = part.table
    assert table is not None
    rows = [row for measured in checkpoints for row in table.rows(measured)]
    return make_section(table.title, table.about, table.columns, rows, table.rank)


def measured_checkpoints(runtime: Runtime) -> dict[Modality, list[Measured]]:
    """Return the figures of all checkpoints that have some, and a recipe. Loads each to count its parameters.

    Raises:
        CheckpointError: one cannot be loaded.
    """
    found: dict[Modality, list[Measured]] = {"image": [], "audio": []}
    for name, checkpoint in runtime.catalogue.checkpoints.items():
        metrics = checkpoint.evaluation.get("metrics", [])
        if not metrics or checkpoint.recipe is None:
            continue
        modules = [m for m in runtime.pipeline(name).components.values() if isinstance(m, nn.Module)]
        parameters = sum(p.numel() for module in modules for p in module.parameters())
        measured = Measured(checkpoint, metrics, parameters, partial(count_evaluations, runtime, name))
        found[checkpoint.modality].append(measured)
    return found


def count_evaluations(runtime: Runtime, name: str) -> float:
    """Generate one image and return how often it went through the network. The number depends on the settings alone."""
    checkpoint = runtime.catalogue[name]
    task = drawing_task().name
    if task not in checkpoint.tasks:
        return 0.0
    return runtime.run(Request(name, task, class_labels=choose_labels(checkpoint, "cycle", 1))).evaluations


def write_table(runtime: Runtime, path: Path) -> int:
    """Write the document of all checkpoints that have figures and a recipe.

    Args:
        runtime: whose catalogue is shown.
        path: of the document.

    Returns:
        The number of checkpoints in it.

    Raises:
        GenariumError: a checkpoint cannot be loaded. Nothing is written then.
    """
    found = measured_checkpoints(runtime)
    sections = [section for modality, checkpoints in found.items() for section in sections_of(modality, checkpoints)]
    columns = {modality: columns_of(modality) for modality, checkpoints in found.items() if checkpoints}
    text = render(sections, columns, protocols_table(found), settings_tables(found))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)
    return sum(len(checkpoints) for checkpoints in found.values())
