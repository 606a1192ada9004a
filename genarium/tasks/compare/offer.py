"""What can be compared here: the checkpoints that the page offers for each task, with their data, settings and classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from genarium.catalogue import Catalogue
from genarium.checkpoints import Checkpoint
from genarium.errors import InputError
from genarium.messages import quoted
from genarium.tasks import Control
from genarium.tasks.compare.bundled import figures_of
from genarium.tasks.compare.comparison import COMPARED, MAX_CHECKPOINTS, Comparison

PICTURES = 96  # about so many has the table that a page begins with: a visitor shall not wait long for the first one
FEWEST, MOST = 4, 8  # of a row


class Offer:
    """The checkpoints of pictures that come with the app. Names of tasks and checkpoints come from a browser, so they are checked.

    `by_task` has all of them, by the task that they can do.

    Args:
        catalogue: of the app.
    """

    def __init__(self, catalogue: Catalogue):
        checkpoints = catalogue.checkpoints.values()
        self.by_task = {
            task: [c for c in checkpoints if task in c.tasks and c.modality == "image"] for task in COMPARED
        }

    def usual(self, checkpoint: str) -> Comparison:
        """Return the comparison that a page begins with: samples of all checkpoints that know the data of this one."""
        names = self.alike("generate", checkpoint, MAX_CHECKPOINTS)
        return Comparison(names, number=min(MOST, max(FEWEST, PICTURES // max(1, len(names)))))

    def able(self, task: Any) -> list[Checkpoint]:
        """Return the checkpoints that can do a task.

        Raises:
            InputError: it is none of the tasks that are compared.
        """
        if not isinstance(task, str) or task not in self.by_task:
            raise InputError(f"Choose what to compare: {', '.join(COMPARED)}, not {quoted(task)}.")
        return self.by_task[task]

    def alike(self, task: Any, name: str, most: int | None = None) -> tuple[str, ...]:
        """Return the names of the checkpoints that can do a task, of the data of one of them; of the commonest data otherwise.

        The fast ones come first, so that most rows are there soon.

        Args:
            task: of COMPARED.
            name: of that one, or of none.
            most: so many at most; None: all of them.
        """
        able = self.able(task)
        sets = [c.data for c in able]
        data = next((c.data for c in able if c.name == name), max(sets, key=sets.count) if sets else None)
        return self.of_data(task, data)[:most]

    def of_data(self, task: Any, data: str | None) -> tuple[str, ...]:
        """Return the names of the checkpoints of one data set that can do a task, the fast ones first."""
        return tuple(c.name for c in sorted((c for c in self.able(task) if c.data == data), key=_seconds))

    def common_data(self, task: Any, names: Sequence[str] | None) -> str | None:
        """Return the data set whose checkpoints for a task are exactly these; None if there is none."""
        chosen = set(names or ())
        return next((data for data in self.data_sets(task) if set(self.of_data(task, data)) == chosen), None)

    def data_sets(self, task: Any) -> list[str]:
        """Return the data of the checkpoints that can do a task."""
        return list(dict.fromkeys(c.data for c in self.able(task) if c.data))

    def controls(self, task: Any, names: Sequence[str] | None) -> dict[str, Control]:
        """Return the controls that any of the checkpoints has; of several of one name the first."""
        found: dict[str, Control] = {}
        for checkpoint in (c for c in self.able(task) if c.name in (names or ())):
            for name, control in checkpoint.controls(task).items():
                if not control.hidden:
                    found.setdefault(name, control)
        return found

    def classes(self, names: Sequence[str] | None) -> list[str]:
        """Return the classes that any of the checkpoints can be asked to draw."""
        chosen = (c for c in self.by_task["generate"] if c.name in (names or ()))
        return list(dict.fromkeys(name for c in chosen if c.takes_classes("generate") for name in c.class_names))

    def checkpoints(self, names: Any) -> dict[str, Checkpoint]:
        """Return checkpoints that this page offers, by the names that a browser sent, which may be anything.

        A name that is none of these is not looked for elsewhere: a stranger shall not make the app read folders or ask the
        Hub.

        Raises:
            InputError: no list of names, or a name that is not offered.
        """
        known = {checkpoint.name: checkpoint for able in self.by_task.values() for checkpoint in able}
        if not isinstance(names, (list, tuple)):
            raise InputError("checkpoints: give a list of names.")
        for name in names:
            if not isinstance(name, str) or name not in known:
                raise InputError(f"There is no checkpoint {quoted(name)} here that makes pictures.")
        return {name: known[name] for name in names}

    def checked(self, comparison: Comparison) -> Comparison:
        """Return a comparison that came from a browser, a link or a file, checked.

        Raises:
            GenariumError: it does not fit what the page offers.
        """
        return comparison.checked(self.checkpoints(comparison.checkpoints))


def _seconds(checkpoint: Checkpoint) -> float:
    """Return the measured seconds for a sample; infinity where they were not measured."""
    return figures_of(checkpoint).get("seconds_per_image", math.inf)


def suggested(control: Control) -> list[Any]:
    """Return values of a control to compare: its choices, or a quarter, half, once, twice and four times its default.

    Values are on the control's steps and in its range. A default of 0 gives three values from the least to the greatest.
    """
    if control.choices:
        return list(control.choices)
    if control.kind == "checkbox":
        return [False, True]
    if control.kind == "text" or control.minimum is None or control.maximum is None:
        return [control.default]
    low, high = control.minimum, control.maximum
    wanted = (
        [control.default * factor for factor in (0.25, 0.5, 1, 2, 4)]
        if control.default
        else [low, (low + high) / 2, high]
    )
    step = control.step or (1 if control.kind == "integer" else 0.01)
    rounded = [min(high, max(low, low + round((value - low) / step) * step)) for value in wanted]
    return list(dict.fromkeys(int(v) if control.kind == "integer" else round(v, 6) for v in rounded))
