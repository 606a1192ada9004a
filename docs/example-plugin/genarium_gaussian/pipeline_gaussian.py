"""Pixel Gaussian: the smallest generative model, as an example of a plugin package.

It stands alone beside its component model/modeling_gaussian.py: with diffusers installed it needs nothing else.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import math
import numbers
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import PIL.Image
import torch
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor

Images = PIL.Image.Image | list[PIL.Image.Image] | np.ndarray | torch.Tensor
Labels = int | list[int] | torch.Tensor | None
Generators = torch.Generator | list[torch.Generator] | None


# --- shared block: the same in every pipeline file (tests/test_contract.py), since each must stand alone on the Hub ---
@dataclass
class ImagesOutput(BaseOutput):
    """`images`: list of `num` PIL images, float array [N, H, W, C] in [0, 1], or float tensor [N, C, H, W] in [0, 1]."""

    images: list[PIL.Image.Image] | np.ndarray | torch.Tensor


@dataclass
class AnomalyOutput(BaseOutput):
    """`scores`: float tensor [N], higher = stranger. `maps`: float tensor [N, H, W] >= 0 or None. `unit`: of the scores."""

    scores: torch.Tensor
    maps: torch.Tensor | None
    unit: str


def checked(method):
    """A task's method that refuses what its annotations do not allow.

    Raises:
        TypeError: no number where one belongs.
        ValueError: another choice than a `Literal`'s, or than "any" and the names of the condition that an `Annotated`
            string names under "choices_from"; or a number below the minimum of an `Annotated` one. Above its maximum,
            where the slider ends, a program may go.
    """

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        hints = typing.get_type_hints(method, include_extras=True)
        for name, value in inspect.signature(method).bind(self, *args, **kwargs).arguments.items():
            hint, bounds = hints.get(name), {}
            if typing.get_origin(hint) is Annotated:
                hint, bounds = hint.__origin__, hint.__metadata__[0]
            if typing.get_origin(hint) is Literal and value not in typing.get_args(hint):
                raise ValueError(f"{name}: choose {', '.join(map(repr, typing.get_args(hint)))}, not {value!r}.")
            if "choices_from" in bounds:
                known = ("any", *self._condition_names(bounds["choices_from"]))
                if value not in known:
                    raise ValueError(f"{name}: choose {', '.join(map(repr, known))}, not {value!r}.")
            if hint in (int, float):
                kind = numbers.Integral if hint is int else numbers.Real
                if isinstance(value, bool) or not isinstance(value, kind):
                    raise TypeError(f"{name}: takes a{' whole' if hint is int else ''} number, not {value!r}.")
                if not value >= bounds.get("minimum", -math.inf):
                    raise ValueError(f"{name}: must be at least {bounds.get('minimum')}, not {value}.")
        return method(self, *args, **kwargs)

    return call


class FamilyPipeline(DiffusionPipeline):
    """What all families share: conversion of images, labels and generators, step reports, and export to the Hub."""

    def _to_tensor(self, images) -> torch.Tensor:
        """PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1] -> float [N, C, H, W] on the device."""
        size, channels = self.config.sample_size, self.config.channels
        if isinstance(images, PIL.Image.Image):
            images = [images]
        if isinstance(images, (list, tuple)) and images and all(isinstance(i, PIL.Image.Image) for i in images):
            mode = {1: "L", 3: "RGB"}[channels]
            images = [i.convert(mode).resize((size, size), PIL.Image.Resampling.LANCZOS) for i in images]
            images = np.stack([np.asarray(i).reshape(size, size, channels) for i in images])
        if isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim == 4:
            images = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0
        if not isinstance(images, torch.Tensor) or not images.is_floating_point():
            raise TypeError(
                "images: give PIL images, a uint8 array [N, H, W, C] or a float tensor [N, C, H, W] in [-1, 1]."
            )
        if images.ndim == 3:
            images = images[None]
        if images.shape[1:] != (channels, size, size) or len(images) == 0:
            raise ValueError(
                f"images: this model takes [N, {channels}, {size}, {size}] with N > 0, not {list(images.shape)}."
            )
        if not images.abs().amax() < 10:  # room for noise and for what a solver leaves, but not for bytes or NaN
            raise ValueError("images: a float tensor must lie in [-1, 1]; for bytes, give a uint8 array [N, H, W, C].")
        return images.to(self.device, self.dtype)

    def _to_output(self, x: torch.Tensor, output_type: str, return_dict: bool = True):
        """Float [N, C, H, W] in [-1, 1] -> `ImagesOutput` of the output type, or a tuple of one."""
        x = (x.float() / 2 + 0.5).clamp(0, 1).cpu()
        if output_type == "pt":
            images = x
        elif output_type in ("np", "pil"):
            images = x.permute(0, 2, 3, 1).numpy()
            images = images if output_type == "np" else self.numpy_to_pil(images)
        else:
            raise ValueError(f"output_type: choose 'pil', 'np' or 'pt', not {output_type!r}.")
        return ImagesOutput(images=images) if return_dict else (images,)

    def _to_labels(self, class_labels, batch_size: int) -> torch.Tensor | None:
        """None, an int, a list or a tensor -> int64 [batch_size] on the device, or None."""
        if class_labels is None:
            return None
        num_classes = len(self.config.id2label or ())
        if not num_classes:
            raise ValueError("class_labels: this checkpoint was trained without classes; leave them out.")
        try:
            labels = torch.as_tensor(class_labels).reshape(-1)
        except (TypeError, ValueError, RuntimeError):  # torch's for strings, for lists of them, for ragged lists
            labels = torch.empty(0)
        if labels.dtype not in (torch.int64, torch.int32, torch.uint8):
            raise TypeError(
                f"class_labels: give numbers from 0 to {num_classes - 1}, named in config.id2label, not {class_labels!r}."
            )
        labels = labels.to(torch.int64)
        labels = labels.expand(batch_size) if len(labels) == 1 else labels
        if len(labels) != batch_size:
            raise ValueError(f"class_labels: give one label or {batch_size}, not {len(labels)}.")
        if labels.min() < 0 or labels.max() >= num_classes:
            raise ValueError(f"class_labels: must lie in 0 ... {num_classes - 1}.")
        return labels.to(self.device)

    def _condition_names(self, condition: str) -> list[str]:
        """Names of a condition's values, in the order of their numbers; empty if the model was trained without it."""
        names = (self.config.get("conditions") or {}).get(condition) or {}
        return [names[key] for key in sorted(names, key=int)]

    def _to_condition(self, condition: str, value: str, batch_size: int, generator) -> torch.Tensor | None:
        """A value's name -> its number, int64 [batch_size] on the device; None if the model was trained without it.

        "any" is drawn, for row i by generator i.
        """
        names = self._condition_names(condition)
        if not names:
            return None
        if value != "any":
            return torch.full((batch_size,), names.index(value), device=self.device)
        if isinstance(generator, list):
            drawn = [torch.randint(len(names), (1,), generator=g, device=g.device) for g in generator]
            return torch.cat(drawn).to(self.device)
        device = self.device if generator is None else generator.device
        return torch.randint(len(names), (batch_size,), generator=generator, device=device).to(self.device)

    @staticmethod
    def _to_generators(generator, batch_size: int):
        """None, one generator or a list -> the same, checked; a list must have one generator for each sample."""
        if batch_size < 1:
            raise ValueError(f"batch_size: needs at least 1, not {batch_size}.")
        given = generator if isinstance(generator, (list, tuple)) else [generator] * (generator is not None)
        if not all(isinstance(one, torch.Generator) for one in given):
            raise TypeError("generator: give a torch.Generator, or a list with one for each sample.")
        if isinstance(generator, (list, tuple)) and len(generator) != batch_size:
            raise ValueError(
                f"generator: give one generator or {batch_size}, one for each sample, not {len(generator)}."
            )
        return list(generator) if isinstance(generator, tuple) else generator

    def _randn(self, shape, generator) -> torch.Tensor:
        """Standard normal noise of `shape`, row i from generator i; drawn in float32 whatever the model's dtype."""
        return randn_tensor(tuple(shape), generator=generator, device=self.device, dtype=torch.float32).to(self.dtype)

    def _report(self, callback, step: int, timestep, num_timesteps: int, pred_original_sample: torch.Tensor) -> None:
        """After each step: tell the caller where we are. An exception raised by the caller stops the computation."""
        if callback is not None:
            callback(
                self, step, timestep, {"pred_original_sample": pred_original_sample, "num_timesteps": num_timesteps}
            )

    def save_config(self, save_directory, push_to_hub: bool = False, **kwargs) -> None:
        """Last step of `save_pretrained`: add the sources, so that a bare diffusers loads the folder.

        The pipeline's file goes beside model_index.json and each custom component's file into its own subfolder; the
        JSON names them in the list form that `DiffusionPipeline.from_pretrained(..., trust_remote_code=True)` follows.
        """
        super().save_config(save_directory, **kwargs)
        folder = Path(save_directory)
        index = json.loads((folder / self.config_name).read_text())
        for name, component in self.components.items():
            module = type(component).__module__
            if component is None or module.split(".")[0] in ("diffusers", "transformers"):
                continue
            stem = module.split(".")[-1]
            (folder / name).mkdir(exist_ok=True)
            (folder / name / f"{stem}.py").write_text(inspect.getsource(inspect.getmodule(type(component))))
            index[name] = [stem, type(component).__name__]
        stem = type(self).__module__.split(".")[-1]
        (folder / f"{stem}.py").write_text(inspect.getsource(inspect.getmodule(type(self))))
        index["_class_name"] = [stem, type(self).__name__]
        index.pop("_name_or_path", None)
        (folder / self.config_name).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


# --- end of the shared block ---


class GaussianPipeline(FamilyPipeline):
    """Images whose pixels are independent Gaussians.

    Args:
        model: `GaussianModel`.
        sample_size: S, side of the square images in pixels.
        channels: C, 1 or 3.
        id2label: names of the classes; None here, since this model knows none.
        anomaly_quantiles: {"default": 201 quantiles of ordinary test images' scores}, written by `evaluate`.
    """

    def __init__(
        self,
        model: ModelMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        id2label: dict[str, str] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        self.register_modules(model=model)
        self.register_to_config(
            sample_size=sample_size or model.config.sample_size,
            channels=channels or model.config.channels,
            id2label=id2label,
            anomaly_quantiles=anomaly_quantiles,
        )

    @classmethod
    def build(cls, sample_size: int, channels: int, id2label: dict[str, str] | None = None) -> GaussianPipeline:
        """Fresh weights. `id2label` names the classes of the data, of which this model makes no use."""
        # By name, beside this file: an import statement would make bare diffusers look for it on the Hub.
        module = importlib.import_module(__name__.replace("pipeline_gaussian", "modeling_gaussian"))
        return cls(module.GaussianModel(sample_size, channels))

    def loss(self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0):
        """Negative log-likelihood per pixel and channel -> (scalar, {"nats": scalar, per image})."""
        nats = self.model.nats(batch["images"])
        return nats.mean(), {"nats": nats.detach().sum() / len(nats)}

    @checked
    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        generator: Generators = None,
        class_labels: Labels = None,
        temperature: Annotated[float, {"minimum": 0.0, "maximum": 2.0, "step": 0.05}] = 1.0,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """Generate images.

        Args:
            batch_size: N, how many.
            generator: one `torch.Generator`, or a list with one for each sample.
            class_labels: None; there are no classes.
            temperature: Spread around the mean picture; 0 gives the mean itself.

        Returns:
            `ImagesOutput`.
        """
        generator = self._to_generators(generator, batch_size)
        self._to_labels(class_labels, batch_size)  # refuses any
        shape = (batch_size, self.config.channels, self.config.sample_size, self.config.sample_size)
        x = self.model.draw(temperature * self._randn(shape, generator))
        self._report(callback_on_step_end, 0, 0, 1, x)
        return self._to_output(x, output_type, return_dict)

    @checked
    @torch.no_grad()
    def anomaly_score(
        self, images: Images, generator: Generators = None, callback_on_step_end: Callable | None = None
    ) -> AnomalyOutput:
        """How many deviations an image is off the mean; the map shows where.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: not used: nothing here is random.

        Returns:
            `AnomalyOutput` with scores [N], maps [N, H, W] and the unit.
        """
        x = self._to_tensor(images)
        squares = self.model(x).square()
        self._report(callback_on_step_end, 0, 0, 1, x)
        return AnomalyOutput(
            scores=squares.mean((1, 2, 3)).cpu(), maps=squares.mean(1).cpu(), unit="squared deviations"
        )
