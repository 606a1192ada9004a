"""What is compared: which checkpoints, which task, and what differs from column to column."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from genarium.checkpoints import Checkpoint
from genarium.errors import InputError
from genarium.messages import listed, quoted
from genarium.runtime.links import parts_of, values_of
from genarium.runtime.request import Request, parse_seed

COMPARED = ("generate", "reconstruct", "interpolate", "anomaly")  # tasks of pictures that have something in common
SEED, CLASS = "seed", "class"  # what columns can be, beside the values of a parameter
MAX_CHECKPOINTS = 24
MAX_COLUMNS = 16
MAX_JUDGED = 200  # pictures of a folder that is judged; a table shows the first MAX_COLUMNS
TEXTS = ("checkpoints", "task", "columns", "class_name", "invert")  # what is a text in a link


@dataclass(frozen=True)
class Comparison:
    """A question to several checkpoints. Rows are checkpoints.

    Args:
        checkpoints: their names, in the order of the rows.
        task: one of COMPARED.
        columns: "seed", "class", or a parameter of the task; with "seed", a task on pictures has a column for each of them.
        values: of the parameter, a column each.
        number: columns of seeds, or the frames of an interpolation.
        seed: column i is drawn with seed + i where the columns are seeds or classes, and with the seed where they are values.
        class_name: of all samples to be drawn; "" for any. A checkpoint without classes draws any.
        parameters: for every checkpoint that has them.
        invert: as in `Request`.
    """

    checkpoints: tuple[str, ...]
    task: str = "generate"
    columns: str = SEED
    values: tuple[str | int | float | bool, ...] = ()
    number: int = 8
    seed: int = 0
    class_name: str = ""
    parameters: Mapping[str, str | int | float | bool] = field(default_factory=dict)
    invert: str = "auto"

    __pydantic_config__ = ConfigDict(extra="forbid")

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison as plain values."""
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Comparison:
        """Return the comparison that `to_dict` wrote.

        Raises:
            InputError: keys or types of no comparison.
        """
        try:
            return _adapter().validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = listed(str(part) for part in first["loc"])
            raise InputError(f"This is no comparison: {where}: {first['msg']}.") from error

    def to_query(self) -> dict[str, str]:
        """Return the parts of a link to this comparison. What has its default is left out."""
        usual = {name: value for name, value in asdict(Comparison(())).items() if name != "checkpoints"}
        return parts_of({**self.to_dict(), "checkpoints": ",".join(self.checkpoints)}, usual)

    @staticmethod
    def from_query(parts: Mapping[str, str]) -> Comparison:
        """Return the comparison of a link.

        Raises:
            InputError: the link is too long, or its parts are those of no comparison.
        """
        values = values_of(parts, TEXTS)
        return Comparison.from_dict(
            {**values, "checkpoints": tuple(filter(None, values.get("checkpoints", "").split(",")))}
        )

    def checked(self, checkpoints: Mapping[str, Checkpoint]) -> Comparison:
        """Return the same comparison, checked against the checkpoints it names.

        Args:
            checkpoints: by name; all that the comparison names.

        Raises:
            InputError: too many or no checkpoints or columns, an unknown task, parameter or class, or a seed out of range.
            CheckpointError: a checkpoint cannot do the task.
        """
        if self.task not in COMPARED:
            raise InputError(f"Choose what to compare: {', '.join(COMPARED)}, not {quoted(self.task)}.")
        if not 1 <= len(self.checkpoints) <= MAX_CHECKPOINTS:
            raise InputError(f"Choose 1 to {MAX_CHECKPOINTS} checkpoints, not {len(self.checkpoints)}.")
        if len(set(self.checkpoints)) < len(self.checkpoints):
            raise InputError("Each checkpoint can be named once.")
        fewest = 2 if self.task == "interpolate" else 1
        if isinstance(self.number, bool) or not fewest <= self.number <= MAX_COLUMNS:
            raise InputError(
                f"The number of columns must lie between {fewest} and {MAX_COLUMNS}, not {quoted(self.number)}."
            )
        named = [checkpoints[name] for name in self.checkpoints]
        controls = [checkpoint.controls(self.task) for checkpoint in named]
        asked = {*self.parameters, *(() if self.columns in (SEED, CLASS) else (self.columns,))}
        if unknown := asked.difference(*controls):
            raise InputError(f"{listed(sorted(unknown))}: not a parameter of any of these checkpoints.")
        if self.columns in (SEED, CLASS) and self.values:
            raise InputError("values: belong to a parameter; name it as columns.")
        if self.columns not in (SEED, CLASS):
            if self.task == "interpolate":
                raise InputError("An interpolation has its frames as columns; choose no parameter for them.")
            if not 1 <= len(self.values) <= MAX_COLUMNS:
                raise InputError(f"Give 1 to {MAX_COLUMNS} values of {self.columns}, not {len(self.values)}.")
        if self.columns == CLASS and not (self.task == "generate" and self.classes(checkpoints)):
            raise InputError("Columns of classes are for generating, with checkpoints that know classes.")
        known = {name for checkpoint in named for name in checkpoint.class_names}
        if self.class_name and self.class_name not in known:
            raise InputError(
                f"There is no class {quoted(self.class_name)} here; there are: {', '.join(sorted(known)) or 'none'}."
            )
        return replace(self, seed=parse_seed(self.seed))

    def classes(self, checkpoints: Mapping[str, Checkpoint]) -> tuple[str, ...]:
        """Return the classes that are columns: those of the first checkpoint that is asked for classes, at most MAX_COLUMNS."""
        for name in self.checkpoints:
            if checkpoints[name].takes_classes(self.task):
                return checkpoints[name].class_names[:MAX_COLUMNS]
        return ()

    def titles(self, checkpoints: Mapping[str, Checkpoint], num_inputs: int) -> list[str]:
        """Return what stands above the columns.

        Args:
            num_inputs: pictures that were given.
        """
        if self.columns == CLASS:
            return list(self.classes(checkpoints))
        if self.columns != SEED:
            return [str(value) for value in self.values]
        if self.task == "generate":
            return [f"seed {self.seed + i}" for i in range(self.number)]
        if self.task == "interpolate":
            return [f"{i + 1}" for i in range(self.number)]
        return [f"{i + 1}" for i in range(num_inputs)]

    @property
    def corner(self) -> str:
        """What the titles of the columns are values of: the parameter; "" where they speak for themselves."""
        return "" if self.columns in (SEED, CLASS) else self.columns

    def requests(self, name: str, checkpoint: Checkpoint, classes: tuple[str, ...]) -> list[Request]:
        """Return what one checkpoint is asked: one request for the row, or one for each value of the parameter.

        A checkpoint without the parameter is asked once. Parameters that it does not have are left out.

        Args:
            name: by which the comparison names the checkpoint.
            checkpoint: of that name.
            classes: that are columns, if they are.

        Raises:
            InputError: a value that the checkpoint's parameter does not take.
        """
        controls = checkpoint.controls(self.task)
        own = {key: value for key, value in self.parameters.items() if key in controls}
        if self.task == "interpolate" and "num_frames" in controls:
            own["num_frames"] = self.number
        draws = self.task == "generate"
        by_value = self.columns not in (SEED, CLASS)
        number = (len(classes) if self.columns == CLASS else 1 if by_value else self.number) if draws else 1
        labels = self._labels(checkpoint, classes, number) if draws else None
        request = Request(name, self.task, self.seed, number, labels, own, self.invert)
        if not by_value or self.columns not in controls:
            return [request.checked(checkpoint)]
        values = ({**own, self.columns: value} for value in self.values)
        return [replace(request, parameters=parameters).checked(checkpoint) for parameters in values]

    def _labels(self, checkpoint: Checkpoint, classes: tuple[str, ...], number: int) -> tuple[int, ...] | None:
        names = list(checkpoint.class_names)
        if not checkpoint.takes_classes(self.task):
            return None
        if self.columns == CLASS:
            if all(name in names for name in classes):
                return tuple(names.index(name) for name in classes)
            return None
        return (names.index(self.class_name),) * number if self.class_name in names else None


def parse_values(text: Any) -> tuple[Any, ...]:
    """Return the values that a person wrote with commas between them: numbers, true and false as such, words as text."""
    values: list[Any] = []
    for part in filter(None, (part.strip() for part in str(text or "").split(","))):
        try:
            value = json.loads(part.lower() if part.lower() in ("true", "false") else part)
        except (ValueError, RecursionError):
            value = part
        values.append(value if isinstance(value, (bool, int, float, str)) else part)
    return tuple(values)


@cache
def _adapter() -> TypeAdapter[Comparison]:
    return TypeAdapter(Comparison)
