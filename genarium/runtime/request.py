"""A request: everything that decides a result. It is kept in the pictures, and told as Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from typing import Any

import torch
from pydantic import ConfigDict, TypeAdapter, ValidationError

from genarium.checkpoints import Checkpoint
from genarium.errors import InputError
from genarium.tasks import ANY, optional_inputs

MAX_SEED = 2**63 - 1
MAX_IMAGES = 10_000


@dataclass(frozen=True)
class Request:
    """What was asked of which checkpoint.

    Args:
        checkpoint: its name.
        task: "generate", "reconstruct", ...
        seed: sample i is drawn with seed + i.
        batch_size: how many samples (generate only).
        class_labels: one for each sample or input, or None for "any".
        parameters: keyword parameters of the task's method; what is left out keeps its default.
        invert: for pictures on the other kind of background than the model's data: "auto", "yes" or "no".
    """

    checkpoint: str
    task: str
    seed: int = 0
    batch_size: int = 1
    class_labels: tuple[int, ...] | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    invert: str = "auto"

    __pydantic_config__ = ConfigDict(extra="forbid")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_dict(values: Mapping[str, Any]) -> Request:
        """
        Raises:
            InputError: keys or types of no request, as from a file of another program.
        """
        try:
            return _adapter().validate_python(values)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(f"These are no parameters of a request: {where}: {first['msg']}.") from error

    def checked(self, checkpoint: Checkpoint) -> Request:
        """The same request with every parameter present, in its type and in its range.

        Raises:
            InputError: an unknown parameter, a value out of range, a class that the checkpoint does not have.
            CheckpointError: the checkpoint cannot do this task.
        """
        controls = checkpoint.controls(self.task)
        unknown = set(self.parameters) - set(controls)
        if unknown:
            raise InputError(f"{', '.join(sorted(unknown))}: not a parameter here; there are {', '.join(controls)}.")
        values = {n: c.check(self.parameters[n]) if n in self.parameters else c.default for n, c in controls.items()}
        if self.task == "generate" and not 1 <= self.batch_size <= MAX_IMAGES:
            raise InputError(f"The number of images must lie between 1 and {MAX_IMAGES}, not {self.batch_size}.")
        if self.invert not in ("auto", "yes", "no"):
            raise InputError(f"invert: choose auto, yes or no, not {self.invert!r}.")
        if self.class_labels is not None:
            if not checkpoint.takes_classes(self.task):
                raise InputError(f"{checkpoint.name}, {self.task}: takes no classes; leave them out.")
            number = len(checkpoint.class_names)
            wrong = [label for label in self.class_labels if not 0 <= label < number]
            if wrong:
                raise InputError(f"{checkpoint.name} has the classes 0 ... {number - 1}, not {wrong[0]}.")
        return replace(self, seed=parse_seed(self.seed), parameters=values)

    def inputs(self, checkpoint: Checkpoint) -> tuple[str, ...]:
        """The inputs that the task needs here: a style or voice that is chosen by its name stands in for an example of it."""
        task, controls = checkpoint.tasks[self.task], checkpoint.controls(self.task)
        chosen = (name for name, value in self.parameters.items() if value != ANY and name in controls)
        if not any(controls[name].choices_from for name in chosen):
            return task.inputs
        optional = optional_inputs(checkpoint.family.pipeline_class(), task)
        return tuple(name for name in task.inputs if name not in optional)

    def generators(self, start: int, stop: int) -> list[torch.Generator]:
        """One generator for each of the samples start ... stop - 1."""
        return [torch.Generator().manual_seed((self.seed + i) % (MAX_SEED + 1)) for i in range(start, stop)]


@cache
def _adapter() -> TypeAdapter:
    return TypeAdapter(Request)


def parse_seed(value: Any) -> int:
    """
    Raises:
        InputError: not a whole number from 0 to 2^63 - 1.
    """
    try:
        if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
            raise ValueError
        seed = int(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"The seed must be a whole number such as 42, not {value!r}.") from None
    if not 0 <= seed <= MAX_SEED:
        raise InputError(f"The seed must lie between 0 and 2^63 - 1, not {seed}.")
    return seed


def choose_labels(checkpoint: Checkpoint, choice: Any, number: int) -> tuple[int, ...] | None:
    """Turn what a person chose into labels.

    Args:
        choice: "cycle" (each class in turn; no labels where none can be told), "any" or None, a class's name or
            number, or a list of these, which is repeated as needed.

    Raises:
        InputError: no such class.
    """
    names = checkpoint.class_names
    if choice is None or choice == "any" or (choice == "cycle" and not checkpoint.takes_classes("generate")):
        return None
    if choice == "cycle":
        return tuple(i % len(names) for i in range(number))
    choices = choice if isinstance(choice, (list, tuple)) else [choice]
    if not choices:
        return None
    if not names:
        raise InputError(f"{checkpoint.name} was trained without classes; leave them out.")
    labels = []
    for value in choices:
        lower = [name.lower() for name in names]
        if str(value).lower() in lower:
            labels.append(lower.index(str(value).lower()))
        elif str(value).isdecimal() and int(value) < len(names):
            labels.append(int(value))
        else:
            raise InputError(f"No class {value!r}; there are {', '.join(f'{i} {n}' for i, n in enumerate(names))}.")
    return tuple(labels[i % len(labels)] for i in range(number))


def to_python(request: Request, checkpoint: Checkpoint) -> str:
    """The program that makes the same result, run in a checkout of this repository."""
    task, sound = checkpoint.tasks[request.task], checkpoint.modality == "audio"
    seed = request.seed
    arguments = []
    if request.task == "generate":
        arguments.append(f"batch_size={request.batch_size}")
        number = str(request.batch_size)
    else:
        arguments += list(task.inputs)
        number = f"len({task.many})" if task.many else ""
    writes = sound and request.task != "anomaly"
    lines = [*(["import soundfile"] if writes else []), "import torch", "", "import genarium", ""]
    lines.append(f'pipe = genarium.load("{checkpoint.name}")')
    if checkpoint.recipe:
        lines += [
            "# once it is on the Hub, without this repository:",
            f'# pipe = DiffusionPipeline.from_pretrained("{checkpoint.recipe.repo_id}", trust_remote_code=True)',
        ]
    if task.inputs:
        what = "recordings" if sound else "pictures"
        lines.append(f"# your {what}, saved beside this program under these names")
    needed = request.inputs(checkpoint)
    for name in task.inputs:
        value = f'genarium.picture("{name}.png", "{checkpoint.name}", invert="{request.invert}")'
        if sound:
            value = f'genarium.audio("{name}.wav", "{checkpoint.name}")'
        if name not in needed:
            value = "None  # chosen by its name"
        lines.append(f"{name} = [{value}]" if name == task.many else f"{name} = {value}")
    if number:
        lines.append(f"generator = [torch.Generator().manual_seed({seed} + i) for i in range({number})]")
    else:
        lines.append(f"generator = torch.Generator().manual_seed({seed})")
    arguments.append("generator=generator")
    if request.class_labels is not None:
        arguments.append(f"class_labels={list(request.class_labels)}")
    arguments += [f"{name}={value!r}" for name, value in request.parameters.items()]
    call = "pipe" if task.method == "__call__" else f"pipe.{task.method}"
    lines.append(f"output = {call}(")
    lines += [f"    {argument}," for argument in arguments]
    lines.append(")")
    if request.task == "anomaly":
        lines.append("print(output.scores)")
    elif sound:
        lines.append("for i, sound in enumerate(output.audios):")
        lines.append('    soundfile.write(f"result-{i:02d}.wav", sound, output.sampling_rate)')
    else:
        lines.append("images = output.images")
    return "\n".join(lines) + "\n"
