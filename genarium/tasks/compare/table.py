"""The rows of a comparison as an HTML table, while it is being computed and when it is done."""

from __future__ import annotations

import html
import math
import time
from collections.abc import Sequence
from typing import Any

import PIL.Image

from genarium.checkpoints import Checkpoint
from genarium.tasks.compare.agreement import consensus, most_disputed, rank_agreement
from genarium.tasks.compare.comparison import CLASS, MAX_COLUMNS, SEED, Comparison
from genarium.tasks.compare.running import Board, Compared, Row
from genarium.tasks.compare.sheet import figures_in_words
from genarium.ui.files import data_url
from genarium.ui.picker import title_html
from genarium.ui.runs import seconds
from genarium.ui.texts import TaskTexts, Texts, class_name

PAUSE = 0.25  # seconds at least between two tables of previews: each has all pictures in it


class Table:
    """The table of a comparison under way, as HTML. A finished row is drawn once: all pictures anew at each step take too long.

    Args:
        board: of the comparison.
        texts: of the task.
    """

    def __init__(self, board: Board, texts: TaskTexts):
        self.board, self.texts = board, texts
        self._done: list[str] = []
        self._seen: Any = None  # the preview that the browser has
        self._at = -math.inf  # when it got a table

    def news(self) -> str | None:
        """Return the table where it has a new row, or a new preview and the last table is not too fresh; None otherwise."""
        board, now = self.board, time.monotonic()
        new_row = len(board.rows) > len(self._done)
        if not new_row and (board.preview is self._seen or (self._seen and now - self._at < PAUSE)):
            return None
        return self.html()

    def html(self) -> str:
        """Return the table: finished rows, the row under way with its estimates, and empty places for the others."""
        board = self.board
        self._seen, self._at = board.preview, time.monotonic()
        checkpoints, columns = list(board.checkpoints.values()), min(MAX_COLUMNS, max(len(board.titles), 1))
        for row in board.rows[len(self._done) :]:
            self._done.append(self._finished(row, columns))
        head = "".join(f'<th scope="col">{_title(board.comparison, title)}</th>' for title in board.titles[:columns])
        body = list(self._done)
        for i in range(len(body), len(checkpoints)):
            shown = board.preview[:columns] if i == len(board.rows) else []
            cells = "".join(_cell(picture, "") for picture in shown) + "<td><i></i></td>" * (columns - len(shown))
            body.append(_row(checkpoints[i], "", cells, "waiting"))
        corner = html.escape(board.comparison.corner)
        return (
            f'<div class="compare"><table style="--columns:{columns}"><thead><tr><th>{corner}</th>{head}</tr></thead>'
            f"<tbody>{''.join(body)}</tbody></table></div>"
        )

    def _finished(self, row: Row, columns: int) -> str:
        board, name = self.board, row.checkpoint.name
        cells = "".join(
            _cell(cell.picture, f"{name}, {title}", figures_in_words(cell.figures))
            for cell, title in zip(row.cells[:columns], board.titles)
        )
        cells += "<td></td>" * (columns - len(row.cells))
        return _row(row.checkpoint, _facts(board.comparison, row, self.texts), cells, "done")


def _title(comparison: Comparison, title: str) -> str:
    """Return what stands above a column: a seed or a class in both languages, anything else as it is."""
    if comparison.columns == SEED and title.startswith("seed "):
        return Texts.both("made_seed", seed=title.removeprefix("seed "))
    return class_name(title) if comparison.columns == CLASS else html.escape(title)


def _row(checkpoint: Checkpoint, facts: str, cells: str, kind: str) -> str:
    name = "" if checkpoint.title["en"] == checkpoint.name else f"<code>{html.escape(checkpoint.stem)}</code>"
    return (
        f'<tr class="{kind}"><th scope="row"><b>{title_html(checkpoint)}</b>{name}<span>{facts}</span></th>{cells}</tr>'
    )


def _cell(picture: PIL.Image.Image, words: str, figure: str = "") -> str:
    note = f"<small>{html.escape(figure)}</small>" if figure else ""
    return f'<td><img src="{data_url(picture)}" alt="{html.escape(words)}">{note}</td>'


def _facts(comparison: Comparison, row: Row, texts: TaskTexts) -> str:
    """Return what a row cost, and where it could not do what was asked."""
    facts = [seconds(row.seconds)]
    if row.evaluations:
        facts.append(texts.both("evaluations_short", number=f"{row.evaluations:.4g}"))
    controls = row.checkpoint.controls(comparison.task)
    if comparison.columns not in (SEED, CLASS, *controls):
        facts.append(texts.both("has_no_setting", name=comparison.columns))
    asked_for_class = comparison.task == "generate" and (comparison.class_name or comparison.columns == CLASS)
    if asked_for_class and row.cells[0].request.class_labels is None:
        facts.append(texts.both("draws_any"))
    return "<br>".join(facts)


def notes_html(compared: Compared, texts: TaskTexts) -> str:
    """Return what the figures under the pictures are, and for anomaly scores what the models say together."""
    task = compared.comparison.task
    if task not in ("reconstruct", "anomaly"):
        return ""
    legend = f'<p class="note">{texts.both(f"legend_{task}")}</p>'
    return legend + (verdicts_html(compared.rows, texts) if task == "anomaly" else "")


def verdicts_html(rows: Sequence[Row], texts: TaskTexts) -> str:
    """Return what the models say together about each picture of an anomaly comparison, and how far they agree."""
    titles, lines = {row.checkpoint.name: row.checkpoint for row in rows}, []
    number = len(rows[0].cells)
    if number > MAX_COLUMNS:
        verdicts = [consensus(rows, i).verdict for i in range(number)]
        counts = {name: verdicts.count(name) for name in ("strange", "ordinary", "divided")}
        lines.append(texts.both("folder", number=number, shown=MAX_COLUMNS, **counts))
    for i in range(number) if number <= MAX_COLUMNS else [i for i, _ in most_disputed(rows)]:
        found = consensus(rows, i)
        strange, known = len(found.strange), len(found.strange) + len(found.ordinary)
        words = texts.both(f"consensus_{found.verdict}", picture=i + 1, strange=strange, known=known)
        if found.strange and found.ordinary:
            few = "strange" if strange <= len(found.ordinary) else "ordinary"
            names = ", ".join(title_html(titles[name]) for name in getattr(found, few))
            words += f" {texts.both(f'calls_{few}')} {names}."
        lines.append(words)
    if len(rows) > 1 and len(rows[0].cells) > 1:
        lines += _agreement(rows, texts)
    return f'<div class="verdicts">{"".join(f"<p>{line}</p>" for line in lines)}</div>'


def _agreement(rows: Sequence[Row], texts: TaskTexts) -> list[str]:
    ranks, names = rank_agreement(rows), [title_html(row.checkpoint) for row in rows]
    pairs = [
        (float(ranks[i, j]), f"{names[i]} / {names[j]}")
        for i in range(len(rows))
        for j in range(i)
        if not math.isnan(ranks[i, j])
    ]
    lines = []
    if pairs:
        (low, low_pair), (high, high_pair) = min(pairs), max(pairs)
        mean = sum(value for value, _ in pairs) / len(pairs)
        in_words = texts.both("ranks", mean=mean, low=low, low_pair="{low}", high=high, high_pair="{high}")
        lines.append(in_words.replace("{low}", low_pair).replace("{high}", high_pair))
    if disputed := most_disputed(rows):
        pictures = ", ".join(f"{i + 1} ({span:.0f})" for i, span in disputed)
        lines.append(texts.both("most_divided", pictures=pictures))
    return lines
