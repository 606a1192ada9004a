"""How the signature of a pipeline's method becomes controls: what the page shows, and what the command line takes."""

from __future__ import annotations

import difflib
import inspect
import math
import re
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from genarium.errors import InputError
from genarium.messages import quoted
from genarium.tasks.declaration import Task
from genarium.tasks.discovery import modality_of

KINDS: dict[Any, Literal["checkbox", "integer", "number", "text"]] = {
    bool: "checkbox",
    int: "integer",
    float: "number",
    str: "text",
}  # of controls, by annotation
ANY = "any"  # what a choice of a condition's values offers beside them: each sample draws its own
CLASSES = "classes"  # what a control needs that says how a class counts
MAX_TEXT = 1000  # characters of a parameter
MAX_WHOLE = 2**53  # of a parameter's value, where nothing else limits it: what a JSON number holds exactly
# What the host fills in by itself; everything else in a task's method is a control.
HOST_PARAMETERS = frozenset(
    {"self", "batch_size", "generator", "class_labels", "callback_on_step_end", "output_type", "return_dict"}
)


@dataclass(frozen=True)
class Control:
    """One keyword parameter of a method, as the tab shows it and the command line takes it.

    Args:
        name: of the parameter.
        kind: what it holds; a choice has `choices`, a number may have a range.
        default: of the parameter.
        help: its line in the docstring.
        choices_from: the condition whose values are the choices, after "any"; only a checkpoint knows them.
        used_with: parameter -> its values with which the task uses this one; with others the page does not show it. Parameters
            that the task lacks do not count.
        needs: the component without which there is no such control, or CLASSES; or, of a choice, by choice.
    """

    name: str
    kind: Literal["integer", "number", "checkbox", "choice", "text"]
    default: Any
    help: str = ""
    label: str = ""
    minimum: float | None = None
    maximum: float | None = None
    step: float | None = None
    choices: tuple[Any, ...] = ()
    hidden: bool = False
    choices_from: str = ""
    needs: str | Mapping[Any, str] = ""
    used_with: Mapping[str, Collection[Any]] = field(default_factory=dict)

    def is_used(self, values: Mapping[str, Any]) -> bool:
        """Return whether the task uses the parameter beside these values of others."""
        return all(values[name] in used for name, used in self.used_with.items() if name in values)

    def without(self, lacking: Collection[str]) -> Control | None:
        """Return the control as it is for a checkpoint that lacks some components; None if it has none then."""
        if isinstance(self.needs, str):
            return None if self.needs in lacking else self
        choices = tuple(choice for choice in self.choices if self.needs.get(choice) not in lacking)
        if choices == self.choices:
            return self
        default = self.default if self.default in choices else choices[0]
        return replace(self, choices=choices, default=default, hidden=self.hidden or len(choices) == 1)

    def check(self, value: Any) -> Any:
        """Return the value in the parameter's own type.

        Raises:
            InputError: of another type, or out of range.
        """
        if self.kind == "choice":
            if value not in self.choices:
                raise InputError(
                    f"{self.name}: choose one of {', '.join(map(str, self.choices))}, not {quoted(value)}."
                )
            return value
        if self.kind == "checkbox":
            if isinstance(value, str) and value.lower() in ("true", "false"):
                return value.lower() == "true"
            if not isinstance(value, bool):
                raise InputError(f"{self.name}: say true or false, not {quoted(value)}.")
            return value
        if self.kind == "text":
            if not isinstance(value, str) or len(value) > MAX_TEXT:
                raise InputError(f"{self.name}: takes a text of at most {MAX_TEXT} characters, not {quoted(value)}.")
            return value
        try:
            number = float(value)
        except (TypeError, ValueError, OverflowError):  # a whole number can be too large for a float
            number = math.nan
        whole = self.kind == "integer"
        if not math.isfinite(number) or (whole and not (number.is_integer() and abs(number) <= MAX_WHOLE)):
            raise InputError(f"{self.name}: takes {'a whole' if whole else 'a'} number, not {quoted(value)}.")
        if (self.minimum is not None and number < self.minimum) or (self.maximum is not None and number > self.maximum):
            raise InputError(f"{self.name}: must lie between {self.minimum} and {self.maximum}, not {number:g}.")
        return int(number) if whole else number


def optional_inputs(pipeline_class: type, task: Task) -> frozenset[str]:
    """Return the inputs of a task that have a default in its method. Another parameter can take their place."""
    parameters = inspect.signature(getattr(pipeline_class, task.method)).parameters
    return frozenset(name for name in task.inputs if parameters[name].default is None)


def controls_of(
    pipeline_class: type,
    task: Task,
    refinements: Mapping[str, Mapping[str, Any]] | None = None,
    skip_others: bool = False,
) -> dict[str, Control]:
    """Return the controls of a task, by parameter name in the order of the signature; none of a task without a method.

    Args:
        pipeline_class: has the task's method.
        task: which method.
        refinements: parameter -> changed fields of its control, from the family's plugin.
        skip_others: leave out parameters that no control fits, of a class that was not made for this app.

    Raises:
        InputError: a parameter without default or with an annotation that no control fits, or an unknown refinement.
    """
    if not task.method:
        return {}
    task = task.on(modality_of(pipeline_class))
    method = getattr(pipeline_class, task.method)
    where = f"{pipeline_class.__name__}.{task.method}"
    controls = function_controls(method, where, HOST_PARAMETERS.union(task.inputs), skip_others)
    return refine(controls, refinements or {}, where)


def refine(
    controls: Mapping[str, Control], refinements: Mapping[str, Mapping[str, Any]], where: str
) -> dict[str, Control]:
    """Return the controls with the changes that a plugin makes to them.

    Args:
        controls: by parameter.
        refinements: parameter -> changed fields of its control; of other parameters they do not count.
        where: the controls are found, for messages.

    Raises:
        InputError: an unknown field.
    """
    refined = dict(controls)
    for name, change in refinements.items():
        if name not in refined:
            continue
        unknown = set(change) - set(Control.__dataclass_fields__)
        if unknown:
            near = difflib.get_close_matches(unknown.pop(), Control.__dataclass_fields__, n=1)
            raise InputError(f"{where}: {name}: a control has no such field; did you mean {near}?")
        refined[name] = replace(refined[name], **change)
    return refined


def function_controls(
    function: Callable, where: str, leave_out: Collection[str] = (), skip_others: bool = False
) -> dict[str, Control]:
    """Return a control for each keyword parameter of a function, by name in the order of the signature.

    Args:
        function: annotated, and documented under `Args:`.
        where: the function is found, for messages.
        leave_out: parameters that are no controls.
        skip_others: leave out parameters that no control fits.

    Raises:
        InputError: a parameter without default or with an annotation that no control fits.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    helps = help_of(function)
    controls = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in leave_out or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if skip_others and (parameter.default is None or hints.get(parameter.name) not in KINDS):
            continue
        named = f"{where}: {parameter.name}"
        if parameter.default is parameter.empty:
            raise InputError(f"{named} needs a default, to be a control.")
        controls[parameter.name] = replace(
            _control(named, parameter.name, hints.get(parameter.name), parameter.default),
            help=helps.get(parameter.name, ""),
            label=parameter.name.removeprefix("num_").replace("_", " ").capitalize(),
        )
    return controls


def _control(where: str, name: str, hint: Any, default: Any) -> Control:
    bounds = {}
    if typing.get_origin(hint) is Annotated:
        hint, *extras = typing.get_args(hint)
        for extra in extras:
            bounds.update(extra if isinstance(extra, dict) else {})
    if typing.get_origin(hint) is Literal:
        return Control(name, "choice", default, choices=typing.get_args(hint), **bounds)
    if hint is str and "choices_from" in bounds:
        return Control(name, "choice", default, choices=(ANY,), **bounds)
    if hint not in KINDS:
        raise InputError(f"{where}: annotate it as int, float, bool, str, Literal or Annotated[..., dict] of these.")
    return Control(name, KINDS[hint], default, **bounds)


def help_of(method) -> dict[str, str]:
    """Return the text of each parameter in the `Args:` section of a Google-style docstring."""
    found = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)*)", inspect.getdoc(method) or "", re.MULTILINE)
    helps: dict[str, str] = {}
    name = None
    for line in found.group(1).splitlines() if found else ():
        entry = re.match(r" {4}(\w+)(?: \([^)]*\))?: (.*)", line)
        if entry:
            name = entry.group(1)
            helps[name] = entry.group(2).strip()
        elif name and line.strip():
            helps[name] += " " + line.strip()
    return helps
