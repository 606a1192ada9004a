"""What the pipelines of all families share, whatever they generate: the contract of their methods, checks, and export.

A family writes the part of a method that is its own, from tensors to tensors. `complete` adds what every method of that
name has in common: the parameters of the contract, their checks, their documentation, and the conversion of inputs and
outputs. `pipelines.images` and `pipelines.voices` say what that is for pictures and for sound.
"""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import re
import typing
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
from diffusers.utils.torch_utils import randn_tensor

from pipelines.export import write_sources

Generators = torch.Generator | list[torch.Generator] | None
Labels = int | list[int] | torch.Tensor | None


class FamilyMixin:
    """The part of every family's `DiffusionPipeline` beside its model: generators, noise, conditions and export.

    A mixin and no pipeline of its own, so that a saved file holds one pipeline class only: diffusers'
    `custom_pipeline` refuses a file with two.
    """

    config: Any
    _execution_device: torch.device  # of the networks while they run; with offloading `device` is where they wait
    dtype: torch.dtype
    components: dict[str, Any]
    register_modules: Callable[..., None]
    register_to_config: Callable[..., None]
    numpy_to_pil: Callable[..., list]
    _get_signature_keys: Callable[..., tuple[set[str], set[str]]]

    # Which requests to generate may share a call with others that differ in seed, classes and number alone: the values of each
    # parameter with which they may; {} for all requests, None for none.
    joins: ClassVar[Mapping[str, tuple[Any, ...]] | None] = None

    # What the docstrings of families need not repeat; a mixin may have more of these.
    _arguments: ClassVar[Mapping[str, str]] = {
        "defaults": "{task: {parameter: value}} where this checkpoint's defaults differ from the signatures.",
        "anomaly_quantiles": '201 quantiles of the scores of ordinary test data for each `score`, or under "default"; with '
        '", class given" after it, of scores conditional on the class of each image.',
    }

    def __init_subclass__(cls, **options: Any) -> None:
        """Add the common arguments of `__init__` that a family's docstring leaves out."""
        super().__init_subclass__(**options)
        if "__init__" in vars(cls) and cls.__doc__:
            helps: dict[str, str] = {}
            for base in reversed(cls.__mro__):
                helps |= vars(base).get("_arguments", {})
            names = list(inspect.signature(vars(cls)["__init__"]).parameters)
            cls.__doc__ = add_arguments(inspect.cleandoc(cls.__doc__), names, helps)

    def _register(self, arguments: Mapping[str, Any], **changed: Any) -> None:
        """Register the arguments of `__init__`: components as modules, the others as configuration.

        Args:
            arguments: `locals()` of `__init__`.
            changed: what is registered in place of an argument.
        """
        values = {
            name: arguments[name] for name in inspect.signature(type(self).__init__).parameters if name in arguments
        }
        values = {name: value for name, value in {**values, **changed}.items() if name != "self"}
        components = self._get_signature_keys(self)[0]
        self.register_modules(**{name: value for name, value in values.items() if name in components})
        self.register_to_config(**{name: value for name, value in values.items() if name not in components})

    def _require(self, component: str, what: str) -> None:
        """Refuse what an auto-encoder alone cannot do.

        Args:
            component: an optional one, which `what` needs.
            what: was asked for, as the beginning of a sentence.

        Raises:
            ValueError: the pipeline does not have the component.
        """
        if getattr(self, component) is None:
            raise ValueError(f"{what} needs a {component}, and this checkpoint is an auto-encoder alone.")

    def _condition_names(self, condition: str) -> list[str]:
        """Return the names of a condition's values in the order of their numbers; none if the model has no such condition."""
        names = (self.config.get("conditions") or {}).get(condition) or {}
        return [names[key] for key in sorted(names, key=int)]

    def _to_condition(self, condition: str, value: str, batch_size: int, generator: Generators) -> torch.Tensor | None:
        """Return the number of a condition's value, int64 [batch_size] on the device; None for a model without it.

        "any" is drawn at random, row i by generator i.
        """
        names = self._condition_names(condition)
        if not names:
            return None
        if value != "any":
            return torch.full((batch_size,), names.index(value), device=self._execution_device)
        if isinstance(generator, list):
            drawn = [torch.randint(len(names), (1,), generator=g, device=g.device) for g in generator]
            return torch.cat(drawn).to(self._execution_device)
        device = self._execution_device if generator is None else generator.device
        return torch.randint(len(names), (batch_size,), generator=generator, device=device).to(self._execution_device)

    def _randn(self, shape: Iterable[int], generator: Generators) -> torch.Tensor:
        """Return standard normal noise of a shape, row i from generator i, drawn in float32 whatever the model's dtype."""
        return randn_tensor(tuple(shape), generator=generator, device=self._execution_device, dtype=torch.float32).to(
            self.dtype
        )

    def _rand(self, shape: Iterable[int], generator: Generators) -> torch.Tensor:
        """Return uniform numbers in (0, 1) of a shape, float64, row i from generator i.

        They are the normal distribution function of normal numbers, which diffusers draws row by row.
        """
        normal = randn_tensor(tuple(shape), generator=generator, device=self._execution_device, dtype=torch.float32)
        return torch.special.ndtr(normal.double()).clamp(1e-9, 1 - 1e-9)

    def save_config(self, save_directory, push_to_hub: bool = False, **kwargs) -> None:
        """Save model_index.json and the sources: the last step of `save_pretrained`, before anything is uploaded."""
        super().save_config(save_directory, **kwargs)  # type: ignore[misc]  # of DiffusionPipeline
        write_sources(self, save_directory)

    @classmethod
    def from_pipe(cls, pipeline, **kwargs):
        """Make a pipeline of this class that shares the components of another one.

        diffusers compares the types of components with the annotations, and a component from a saved folder has a class of
        its own there. So the components are passed by name. Their dtype is kept; diffusers' default would cast them.
        """
        expected = cls._get_signature_keys(cls)[0]
        shared = {name: pipeline.components[name] for name in expected if name in pipeline.components}
        return super().from_pipe(  # type: ignore[misc]  # of DiffusionPipeline
            pipeline, **{"dtype": pipeline.dtype, **shared, **kwargs}
        )


class Report:
    """The step report of one call. It is false without a callback, so that a costly preview need not be computed.

    Args:
        pipeline: the first argument of the callback.
        callback: `callback_on_step_end`, or None. An exception that it raises stops the computation.
        first: number of steps that came before.
        total: number of steps in all; None: as each step says.
    """

    def __init__(self, pipeline, callback: Callable | None, first: int = 0, total: int | None = None):
        self.pipeline, self.callback = pipeline, callback
        self.first, self.total = first, total

    def __bool__(self) -> bool:
        return self.callback is not None

    def __call__(
        self, step: int, timestep: Any, num_timesteps: int, pred_original_sample: torch.Tensor, **more: Any
    ) -> None:
        """Call back after a step with the current estimate of the clean sample."""
        if self.callback is not None:
            total = num_timesteps if self.total is None else self.total
            values = {"pred_original_sample": pred_original_sample, "num_timesteps": total, **more}
            self.callback(self.pipeline, self.first + step, timestep, values)

    def part(self, first: int, total: int) -> Report:
        """Return the report of a part of the computation: it counts its own steps, after `first` others of `total`."""
        return Report(self.pipeline, self.callback, self.first + first, total)


def seeded(number: int) -> list[torch.Generator]:
    """Return generators with seed 0, for a measurement: the same sample gets the same value, whatever its batch."""
    return [torch.Generator().manual_seed(0) for _ in range(number)]


def to_generators(generator: Any, batch_size: int) -> Generators:
    """Return None, one generator or a list of them, checked.

    Raises:
        TypeError: something that is no generator.
        ValueError: a list without exactly one generator for each sample, or no sample.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size: needs at least 1, not {batch_size}.")
    given = generator if isinstance(generator, (list, tuple)) else [generator] * (generator is not None)
    if not all(isinstance(one, torch.Generator) for one in given):
        raise TypeError("generator: give a torch.Generator, or a list with one for each sample.")
    if isinstance(generator, (list, tuple)) and len(generator) != batch_size:
        raise ValueError(f"generator: give one generator or {batch_size}, one for each sample, not {len(generator)}.")
    return list(generator) if isinstance(generator, tuple) else generator


def check_stage(stage: str, stages: tuple[str, ...]) -> None:
    """Raise ValueError unless a family trains in a stage of this name."""
    if stage not in stages:
        raise ValueError(f"stage: choose {' or '.join(map(repr, stages))}, not {stage!r}.")


# ---- the contract of a method ----


@dataclass(frozen=True)
class Common:
    """A parameter that the methods of all families share.

    Args:
        annotation: its type.
        default: `REQUIRED` if it has none.
        help: its line in the documentation. A family's docstring may have a better one.
    """

    annotation: Any
    default: Any
    help: str


REQUIRED = inspect.Parameter.empty


def complete(
    method: Callable,
    before: Mapping[str, Common],
    after: Mapping[str, Common],
    returns: str,
    raises: str,
    run: Callable[[Any, Callable, dict[str, Any], dict[str, Any]], Any],
) -> Callable:
    """Complete a family's method with the parameters, checks and documentation that all families share.

    The family's own parameters are those with a default; their annotations and lines of documentation stay. Those without
    default are what `run` hands to it.

    Args:
        method: of the family.
        before, after: the common parameters before and after the family's own, in order.
        returns, raises: those sections of the documentation, where the method's docstring has none.
        run: called as (pipeline, method, common values, own values); returns the result.

    Returns:
        The public method. It computes without gradients.
    """
    hints = typing.get_type_hints(method, include_extras=True)
    own = {p.name: p for p in inspect.signature(method).parameters.values() if p.default is not REQUIRED}
    keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters = [inspect.Parameter("self", keyword)]
    for common in (before, None, after):
        if common is None:
            parameters += [p.replace(annotation=hints[p.name]) for p in own.values()]
        else:
            parameters += [
                inspect.Parameter(name, keyword, default=c.default, annotation=c.annotation)
                for name, c in common.items()
            ]
    signature = inspect.Signature(parameters)
    annotations = {p.name: p.annotation for p in parameters[1:]}

    @functools.wraps(method)
    def public(self, *args, **kwargs):
        bound = signature.bind(self, *args, **kwargs)
        for name, value in list(bound.arguments.items())[1:]:
            check(self, name, value, annotations[name])
        bound.apply_defaults()
        values = dict(list(bound.arguments.items())[1:])
        chosen = {name: values.pop(name) for name in own}
        with torch.no_grad():
            result = run(self, method, values, chosen)
        self.maybe_free_model_hooks()
        return result

    public.__signature__ = signature  # type: ignore[attr-defined]
    public.__annotations__ = annotations
    helps = {name: common.help for name, common in {**before, **after}.items()}
    public.__doc__ = document(method, [p.name for p in parameters[1:]], helps, returns, raises)
    return public


def check(pipeline, name: str, value: Any, hint: Any) -> None:
    """Refuse a value that its annotation does not allow.

    Raises:
        TypeError: something else where the annotation says int or float.
        ValueError: a choice that a `Literal` does not have, or that is neither "any" nor a name of the condition which an
            `Annotated` string names under "choices_from"; or a number below the minimum of an `Annotated` one. A program may
            go above its maximum, which is where the slider ends.
    """
    bounds: dict[str, Any] = {}
    if typing.get_origin(hint) is Annotated:
        hint, bounds = hint.__origin__, hint.__metadata__[0]
    choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
    if "choices_from" in bounds:
        choices = ("any", *pipeline._condition_names(bounds["choices_from"]))
    if choices and value not in choices:
        raise ValueError(f"{name}: choose {', '.join(map(repr, choices))}, not {value!r}.")
    if hint in (int, float):
        kind = numbers.Integral if hint is int else numbers.Real
        if isinstance(value, bool) or not isinstance(value, kind):
            raise TypeError(f"{name}: takes a{' whole' if hint is int else ''} number, not {value!r}.")
        if not value >= bounds.get("minimum", -math.inf):
            raise ValueError(f"{name}: must be at least {bounds.get('minimum')}, not {value}.")


def add_arguments(text: str, names: list[str], helps: Mapping[str, str]) -> str:
    """Return a docstring with lines for the arguments that its section "Args:" leaves out, in the order of `names`."""
    summary, heading, after = text.partition("\nArgs:\n")
    entries, gap, rest = after.partition("\n\n")
    documented = " ".join(re.findall(r"^    ([\w, ]+):", entries, flags=re.MULTILINE)).replace(",", "").split()
    lines = [f"    {name}: {helps[name]}" for name in names if name in helps and name not in documented]
    return "\n".join([*(part for part in (summary + heading.rstrip(), entries.rstrip()) if part), *lines]) + gap + rest


def document(method: Callable, names: list[str], helps: Mapping[str, str], returns: str, raises: str) -> str:
    """Return a method's docstring with the lines of the common parameters in it.

    Args:
        names: all parameters, in the order of the signature.
        helps: the lines of the common ones; a line of the method's own docstring comes first.
        returns, raises: those sections, where the method's docstring has none.
    """
    sections = re.split(r"^(Args|Returns|Raises):\n", inspect.getdoc(method) or "", flags=re.MULTILINE)
    parts = dict(zip(sections[1::2], sections[2::2]))
    entries = re.split(r"^    (\w+): ", parts.get("Args", ""), flags=re.MULTILINE)
    helps = {**helps, **{name: text.strip() for name, text in zip(entries[1::2], entries[2::2])}}
    lines = [f"    {name}: {helps[name]}" for name in names if name in helps]
    return "\n".join(
        [
            sections[0].rstrip(),
            "",
            "Args:",
            *lines,
            "",
            "Returns:",
            parts.get("Returns", f"    {returns}").rstrip(),
            "",
            "Raises:",
            parts.get("Raises", f"    {raises}").rstrip(),
        ]
    )
