"""What the Lab's script has to know at the beginning: families with their settings and views, data, texts, and lessons."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np

from genarium.files import parse_yaml
from genarium.tasks import Control, Task
from genarium.tasks.lab.data import SETS, known_density
from genarium.tasks.lab.experiment import Experiment
from genarium.tasks.lab.gradients import BATCHES, ESTIMATORS
from genarium.tasks.lab.question import PlaneInfo, planes

THUMBNAIL = 500  # points of a data set that stand for it
Pair = list[str]  # a text in English and in Chinese


def spec_of(task: Task, start: Experiment, problem: str) -> dict[str, Any]:
    """Return what the page's script is given, for JSON.

    Args:
        task: whose texts the page has.
        start: what the page begins with.
        problem: what is wrong with the link that opened it, or "".
    """
    pairs = texts_of(task)
    return {
        "families": {name: _family(info, pairs) for name, info in planes().items()},
        "data": {name: {"values": thumbnail(name)} for name in SETS},
        "texts": pairs,
        "lessons": lessons(),
        "start": start.to_dict(),
        "problem": problem,
    }


@functools.cache
def texts_of(task: Task) -> dict[str, Pair]:
    """Return all texts of a task."""
    return {key: _pair(text) for key, text in task.texts().items()}


@functools.cache
def thumbnail(name: str) -> list[float]:
    """Return some points of a data set in a row: x, y, x, y, ..."""
    points = known_density(name).draw(THUMBNAIL, np.random.default_rng(0))
    return [round(float(value), 2) for value in points.reshape(-1)]


@functools.cache
def lessons() -> dict[str, Any]:
    """Read lessons.yaml: a title and steps, of which each has what it sets, what the visitor does, and what to look for.

    Raises:
        InputError: a step sets something that the Lab does not have.
    """
    text = (files(__package__) / "lessons.yaml").read_text(encoding="utf-8")
    read = {}
    for name, lesson in parse_yaml(text).items():
        steps = []
        for step in lesson["steps"]:
            experiment = Experiment.of(step["set"]).to_dict()
            steps.append(
                {
                    "set": {key: experiment[key] for key in ("data", "seed", "speed", "sides")},
                    "do": _pair(step["do"]),
                    "look": _pair(step["look"]),
                    "gradients": _part(*step["gradients"]) if "gradients" in step else None,
                }
            )
        read[name] = {"title": _pair(lesson["title"]), "steps": steps}
    return read


def _part(first: str, last: str) -> list[float]:
    """Return the part of the gradients' clock that shows some estimators, from the first to the last of them."""
    names = [estimator.name for estimator in ESTIMATORS]
    most = len(names) * BATCHES - 1
    return [names.index(first) * BATCHES / most, ((names.index(last) + 1) * BATCHES - 1) / most]


def _pair(text: Mapping[str, str]) -> Pair:
    return [text["en"].strip(), text["zh"].strip()]


def _family(info: PlaneInfo, texts: Mapping[str, Pair]) -> dict[str, Any]:
    chinese = info.family.translations.get("zh", {})
    return {
        "name": info.family.name,
        "title": [info.title, chinese.get(info.title, info.title)],
        "controls": [_setting(control, chinese) for control in info.controls.values()],
        "views": [
            {
                "name": view.name,
                "title": texts.get(f"view_{view.name}", [view.name, view.name]),
                "look": texts.get(f"look_{view.name}", ["", ""]),
                "live": view.live,
                "controls": [_option(control, texts) for control in view.controls.values()],
            }
            for view in info.views
        ],
    }


def _setting(control: Control, chinese: Mapping[str, str]) -> dict[str, Any]:
    """Return a family's control for the script, in the family's words."""
    label, help_ = ([text, chinese.get(text, text)] for text in (control.label, control.help))
    return _control(control, label, help_, {})


def _option(control: Control, texts: Mapping[str, Pair]) -> dict[str, Any]:
    """Return a view's control for the script, in the task's words."""
    label = texts.get(f"control_{control.name}", [control.label] * 2)
    words = {str(choice): texts.get(f"choice_{choice}", [str(choice)] * 2) for choice in control.choices}
    return _control(control, label, texts.get(f"help_{control.name}", ["", ""]), words)


def _control(control: Control, label: Pair, help_: Pair, words: Mapping[str, Pair]) -> dict[str, Any]:
    return {
        "name": control.name,
        "kind": control.kind,
        "default": control.default,
        "minimum": control.minimum,
        "maximum": control.maximum,
        "step": control.step,
        "choices": list(control.choices),
        "words": dict(words),
        "label": label,
        "help": help_,
    }
