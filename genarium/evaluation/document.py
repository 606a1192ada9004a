"""docs/families.md as Markdown: sections with tables, and the tables of protocols and of settings."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from genarium.evaluation.figure import NOTHING, Column, Figure, Measured, parts_of, settings_of
from genarium.tasks import Modality

COMMAND = "python -m genarium evaluate --all --table"
KINDS: dict[Modality, str] = {"image": "pictures", "audio": "voices"}


@dataclass(frozen=True)
class Row:
    """A row of a table: the one with the lowest rank comes first."""

    rank: float
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """A heading, a sentence and a table."""

    heading: str
    about: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def lines(self) -> list[str]:
        """Return the section in Markdown, nothing if it has no rows."""
        if not self.rows:
            return []
        lines = ["", f"## {self.heading}", "", *([self.about, ""] if self.about else [])]
        lines += ["| " + " | ".join(self.columns) + " |", "|---" * len(self.columns) + "|"]
        return lines + ["| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in self.rows]


def render(
    sections: Iterable[Section],
    columns: Mapping[Modality, Iterable[Column]],
    protocols: Section,
    settings: Iterable[Section],
) -> str:
    """Return the document.

    Args:
        sections: with the figures.
        columns: of the tables of each modality, whose legends explain them.
        protocols: how each figure is measured.
        settings: with which each checkpoint was measured.
    """
    introduction = (
        f"`{COMMAND}` writes this page. Every figure is the one in the checkpoint's `evaluation.json`, which also holds its "
        "n, seed and protocol. The best checkpoint comes first. Figures that were measured with another n or on another "
        f"machine are not comparable to the last digit. {NOTHING} means: not defined for the family, or not measured."
    )
    lines = ["# All families side by side", "", _wrap(introduction)]
    for modality, known in columns.items():
        legends = [_wrap(f"- *{column.heading}*: {column.legend}", "  ") for column in known if column.legend]
        lines += ["", f"Columns of the tables of {KINDS[modality]}:", "", *legends]
    for section in (*sections, protocols, *settings):
        lines += section.lines()
    return "\n".join(lines) + "\n"


def _wrap(text: str, indent: str = "") -> str:
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def protocols_table(found: Mapping[Modality, Sequence[Measured]]) -> Section:
    """Return the table of protocols: each protocol once, with the figures that some checkpoint has of it."""
    rows = []
    for modality, checkpoints in found.items():
        measured = {(m["part"], m["name"]) for checkpoint in checkpoints for m in checkpoint.metrics}
        for part in parts_of(modality).values():
            titles: dict[str, list[str]] = {}
            for figure in part.figures:
                if (part.name, figure.name) in measured:
                    titles.setdefault(_general(figure), []).append(figure.title)
            rows += [(KINDS[modality], part.name, "; ".join(of), protocol) for protocol, of in titles.items()]
    about = (
        "Each figure is measured in the same way for all checkpoints. Words in italics stand for what differs between them: "
        "the tables below hold *n* and *settings*, each `evaluation.json` holds all of it."
    )
    return Section("How each figure is measured", _wrap(about), ("of", "part", "figures", "protocol"), rows)


def _general(figure: Figure) -> str:
    """Return a protocol with the names of its facts in italics."""
    return re.sub(r"\{(\w+)\}", r"*\1*", figure.protocol)


def settings_tables(found: Mapping[Modality, Sequence[Measured]]) -> list[Section]:
    """Return a table of settings for each modality: a row for each checkpoint, a column for each part."""
    sections = []
    for modality, checkpoints in found.items():
        measured = {m["part"] for checkpoint in checkpoints for m in checkpoint.metrics}
        parts = [name for name in parts_of(modality) if name in measured]
        rows = [
            (f"`{one.checkpoint.name}`", *(_settings(one, part) for part in parts))
            for one in sorted(checkpoints, key=lambda one: one.checkpoint.name)
        ]
        sections.append(Section(f"Settings, {KINDS[modality]}", "", ("checkpoint", *parts), rows))
    return sections


def _settings(measured: Measured, part: str) -> str:
    """Return every n and the settings of a part: "n = 500, sampler heun"."""
    metrics = [m for m in measured.metrics if m["part"] == part]
    if not metrics:
        return NOTHING
    settings: dict[str, list[str]] = {}
    for metric in metrics:
        for name, value in settings_of(metric["protocol"]).items():
            settings.setdefault(name, []).append(value)
    numbers = " / ".join(str(n) for n in dict.fromkeys(metric["n"] for metric in metrics))
    words = (f"{name} {' / '.join(dict.fromkeys(values))}" for name, values in settings.items())
    return ", ".join((f"n = {numbers}", *words))
