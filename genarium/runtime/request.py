"""A request: everything that decides a result. It is kept in the files of the result, and can be written as Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from genarium.checkpoints import Checkpoint
from genarium.errors import InputError
from genarium.messages import listed, quoted
from genarium.runtime.classes import labels_of
from genarium.tasks import ANY, find_tasks

if TYPE_CHECKING:
    import torch

MAX_SEED = 2**63 - 1
MAX_IMAGES = 10_000


@dataclass(frozen=True)
class Request:
    """A request: what is asked of which checkpoint.

    Args:
        checkpoint: its name.
        task: "generate", "reconstruct", ...
        seed: sample i is drawn with seed + i.
        batch_size: how many samples, of a task that draws.
        class_labels: one for each sample or input, or None for "any".
        parameters: keyword parameters of the task's method; what is left out keeps its default.
        invert: for pictures on the other kind of background than the model's data: "auto", "yes" or "no".
        others: further checkpoints that are asked the same, of a task that compares.
    """

    checkpoint: str
    task: str
    seed: int = 0
    batch_size: int = 1
    class_labels: tuple[int, ...] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    invert: str = "auto"
    others: tuple[str, ...] = ()

    __pydantic_config__ = ConfigDict(extra="forbid")

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """The names of all checkpoints that are asked."""
        return (self.checkpoint, *self.others)

    def to_dict(self) -> dict[str, Any]:
        """Return the request as plain values. `others` is left out where there are none."""
        values = asdict(self)
        if not self.others:
            del values["others"]
        return values

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Request:
        """Return the request that `to_dict` wrote.

        Raises:
            InputError: keys or types of no request, as from a file of another program.
        """
        try:
            return _adapter().validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = listed(str(part) for part in first["loc"])
            raise InputError(f"These are no parameters of a request: {where}: {first['msg']}.") from error

    def each(self, checkpoints: Mapping[str, Checkpoint]) -> list[Request]:
        """Return what each of the named checkpoints is asked, checked: a request that names this one alone.

        A checkpoint gets those parameters that it has, and the classes if it takes them.

        Args:
            checkpoints: all that the request names, by the names in it.

        Raises:
            InputError: as `checked`; several checkpoints for a task that takes one; or a parameter that none of them has.
            CheckpointError: a checkpoint cannot do this task.
        """
        if not self.others:
            return [self.checked(checkpoints[self.checkpoint])]
        controls = {name: checkpoint.controls(self.task) for name, checkpoint in checkpoints.items()}
        if not checkpoints[self.checkpoint].tasks[self.task].compares:
            raise InputError(f"{self.task}: takes one checkpoint, not {len(checkpoints)}.")
        unknown = set(self.parameters).difference(*controls.values())
        if unknown:
            raise InputError(f"{listed(sorted(unknown))}: not a parameter of any of these checkpoints.")
        asked = []
        for name, checkpoint in checkpoints.items():
            own = {key: value for key, value in self.parameters.items() if key in controls[name]}
            labels = self.class_labels if checkpoint.takes_classes(self.task) else None
            one = replace(self, checkpoint=name, others=(), parameters=own, class_labels=labels)
            asked.append(one.checked(checkpoint))
        return asked

    def checked(self, checkpoint: Checkpoint) -> Request:
        """Return the same request with every parameter present, in its type and in its range.

        Raises:
            InputError: an unknown parameter, a value out of range, a class that the checkpoint does not have.
            CheckpointError: the checkpoint cannot do this task.
        """
        controls = checkpoint.controls(self.task)
        task = checkpoint.tasks[self.task]
        if not task.method:
            raise InputError(f"{self.task}: is a page, which asks models by other tasks; name one of those.")
        unknown = set(self.parameters) - set(controls)
        if unknown:
            raise InputError(f"{listed(sorted(unknown))}: not a parameter here; there are {', '.join(controls)}.")
        values = {n: c.check(self.parameters[n]) if n in self.parameters else c.default for n, c in controls.items()}
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int):
            raise InputError(f"The number of images must be a whole number, not {quoted(self.batch_size)}.")
        if task.draws and not 1 <= self.batch_size <= MAX_IMAGES:
            raise InputError(
                f"The number of images must lie between 1 and {MAX_IMAGES}, not {quoted(self.batch_size)}."
            )
        if self.invert not in ("auto", "yes", "no"):
            raise InputError(f"invert: choose auto, yes or no, not {quoted(self.invert)}.")
        if self.class_labels is not None:
            if not checkpoint.takes_classes(self.task):
                raise InputError(f"{checkpoint.name}, {self.task}: takes no classes; leave them out.")
            if task.draws and len(self.class_labels) != self.batch_size:
                number = len(self.class_labels)
                raise InputError(f"There are {number} class labels for {self.batch_size} images; give each image one.")
            if len(self.class_labels) > MAX_IMAGES:
                raise InputError(f"There are {len(self.class_labels)} class labels; at most {MAX_IMAGES} are taken.")
            number = len(checkpoint.class_names)
            wrong = [label for label in self.class_labels if not 0 <= label < number]
            if wrong:
                raise InputError(f"{checkpoint.name} has the classes 0 ... {number - 1}, not {quoted(wrong[0])}.")
        return replace(self, seed=parse_seed(self.seed), parameters=values)

    def inputs(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        """Return the inputs that the task needs here: a style or voice chosen by name stands in for an example of it."""
        task, controls = checkpoint.tasks[self.task], checkpoint.controls(self.task)
        chosen = (name for name, value in self.parameters.items() if value != ANY and name in controls)
        if not any(controls[name].choices_from for name in chosen):
            return task.inputs
        optional = checkpoint.family.outline.calls[self.task].optional
        return tuple(name for name in task.inputs if name not in optional)

    def generators(self, start: int, stop: int) -> list[torch.Generator]:
        """Return one generator for each of the samples start ... stop - 1."""
        import torch  # here, because requests are checked and written without it

        return [torch.Generator().manual_seed((self.seed + i) % (MAX_SEED + 1)) for i in range(start, stop)]


@cache
def _adapter() -> TypeAdapter[Request]:
    return TypeAdapter(Request)


def parse_seed(value: Any) -> int:
    """Return a seed from what a person or a program gave.

    Raises:
        InputError: not a whole number from 0 to 2^63 - 1.
    """
    try:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError
        seed = int(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"The seed must be a whole number such as 42, not {quoted(value)}.") from None
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"The seed must lie between 0 and 2^63 - 1, not {quoted(seed)}.")
    return seed


def parse_number(value: Any) -> int:
    """Return a number of images from what a person or a program gave; JSON may say 2.0 for 2.

    Raises:
        InputError: it is missing, no number, or no whole one.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise InputError(f"num_images: takes a whole number, not {quoted(value)}.")
    return value


def choose_labels(checkpoint: Checkpoint, choice: Any, number: int) -> tuple[int, ...] | None:
    """Return the labels that a person chose.

    Args:
        checkpoint: whose classes are chosen.
        choice: "cycle" (each class in turn; no labels if no task that draws takes classes), "any" or None, a class's name
            or number, or a list of these as for `classes.labels_of`, which is repeated as needed.
        number: of labels.

    Raises:
        InputError: no such class.
    """
    names = checkpoint.class_names
    if choice is None or choice == "any" or (choice == "cycle" and not draws_classes(checkpoint)):
        return None
    if choice == "cycle":
        return tuple(i % len(names) for i in range(number))
    choices = choice if isinstance(choice, (list, tuple)) else [choice]
    if not choices:
        return None
    if not names:
        raise InputError(f"{checkpoint.name} was trained without classes; leave them out.")
    labels = labels_of(choices, names)
    if not labels:
        return None
    return tuple(labels[i % len(labels)] for i in range(number))


def draws_classes(checkpoint: Checkpoint) -> bool:
    """Return whether the checkpoint can draw samples of a given class."""
    return any(checkpoint.takes_classes(task.name) for task in find_tasks().values() if task.draws)
