"""The news of the train page: the state of a visitor's sets and trainings, with sheets, curves of the loss and figures."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import PIL.Image

from genarium.evaluation.figure import figure_of
from genarium.files import read_json
from genarium.runtime import Runtime
from genarium.tasks.train.guests import guest_name
from genarium.tasks.train.lane import Lane
from genarium.tasks.train.shelf import Box, Shelf
from genarium.tasks.train.work import FOUND, MADE, PROGRESS, SHEET
from genarium.ui.answers import without_folders
from genarium.ui.files import data_url
from genarium.ui.problems import in_chinese

POINTS = 160  # of a curve of the loss
LINES = 200  # of a log that are shown
LOG = Path("run") / "log.jsonl"


class News:
    """Says how the things of a visitor stand.

    Args:
        runtime: knows the families.
        shelf: where visitors' things are kept.
        lane: knows who waits for whom.
    """

    def __init__(self, runtime: Runtime, shelf: Shelf, lane: Lane):
        self.runtime, self.shelf, self.lane = runtime, shelf, lane

    def of(self, visitor: str, seen: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the state of all that is the visitor's.

        Args:
            visitor: the browser's secret.
            seen: ticket -> name of the newest sheet that the page has, which is not sent again.

        Raises:
            Refusal: a browser sent something that is no secret of a visitor.
        """
        sets = [self._set_news(box, seen) for box in self.shelf.boxes(visitor, "sets")]
        return {"sets": sets, "runs": [self._run_news(box, seen) for box in self.shelf.boxes(visitor, "runs")]}

    def _tasks_of(self, family: str) -> list[str]:
        """Return the tabs on which checkpoints of a family are offered."""
        tasks = self.runtime.catalogue.families[family].outline.tasks
        return [task.name for task in tasks if not task.address]

    def _set_news(self, box: Box, seen: Mapping[Any, Any]) -> dict[str, Any]:
        state = box.state
        news = {
            "set": box.ticket,
            **_reason(state),
            **{key: state.get(key) for key in ("state", "files", "made", "hub", "license")},
        }
        if state.get("state") == "looking":
            news["progress"] = box.read(PROGRESS)
        if state.get("state") == "found" and seen.get(box.ticket) != SHEET:
            news |= {"found": box.read(FOUND), "sheet": _picture(box.path / SHEET), "sheet_name": SHEET}
        return news

    def _run_news(self, box: Box, seen: Mapping[Any, Any]) -> dict[str, Any]:
        state = box.state
        news = {"run": box.ticket, **_reason(state)}
        news |= {key: state.get(key) for key in ("state", "name", "family", "minutes", "made")}
        if state.get("state") == "waiting":
            news["place"] = self.lane.place(box)
        if state.get("state") in ("running", "paused", "done"):
            news |= {"progress": box.read(PROGRESS), "curve": _curve(box.path / LOG)}
        sheets = sorted((box.path / "run" / "samples").glob("*.png"))
        if sheets and seen.get(box.ticket) != sheets[-1].name:
            news |= {"sheet": _picture(sheets[-1]), "sheet_name": sheets[-1].name}
        if state.get("state") == "done":
            checkpoint = box.path / MADE / str(state["name"])
            news |= {"checkpoint": guest_name(box), "tasks": self._tasks_of(str(state["family"]))}
            with contextlib.suppress(OSError, ValueError, KeyError):
                metrics = read_json(checkpoint / "evaluation.json")["metrics"]
                news["figures"] = [_figure(metric) for metric in metrics]
        return news


def log_of(run: Box) -> str:
    """Return the last lines of a training's log: the entries of each row, the oldest first."""
    with contextlib.suppress(OSError):
        lines = (run.path / LOG).read_text(encoding="utf-8", errors="replace").splitlines()[-LINES:]
        rows = []
        for line in lines:
            with contextlib.suppress(ValueError, AttributeError):
                rows.append("  ".join(f"{key} {_short(value)}" for key, value in json.loads(line).items()))
        return "\n".join(rows)
    return ""


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)[:100]


def _reason(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return why something failed, in both languages where the interface has words for it."""
    found = {key: state[key] for key in ("reason", "key") if state.get(key)}
    if "reason" in found:
        english, chinese = (without_folders(text) for text in found["reason"])
        found["reason"] = [english, in_chinese(chinese)]
    return found


def _figure(metric: Mapping[str, Any]) -> list[Any]:
    """Return the name of a figure, its title with the score that it is of, its value, unit and number of images."""
    title = figure_of("image", metric).title_of(metric)
    return [metric["name"], title, metric["value"], metric.get("unit", ""), metric["n"]]


def _picture(path: Path) -> str:
    try:
        with PIL.Image.open(path) as sheet:
            return data_url(sheet)
    except OSError:
        return ""


def _curve(path: Path) -> list[list[float]]:
    """Return [step, loss] of the log, thinned to `POINTS` means of neighbours."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    rows = []
    for line in lines:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            row = json.loads(line)
            rows.append((row["step"], row["loss"]))
    size = -(-len(rows) // POINTS) if rows else 1
    parts = [rows[i : i + size] for i in range(0, len(rows), size)]
    return [[part[-1][0], round(sum(loss for _, loss in part) / len(part), 5)] for part in parts]
