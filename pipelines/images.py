"""What the families of pictures share: conversion of pictures and labels, their outputs, and the contract of their tasks."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import PIL.Image
import torch
from diffusers.utils import BaseOutput

from pipelines.codes import CodeKind, Codes, to_codes
from pipelines.family import REQUIRED, Common, FamilyMixin, Generators, Labels, Report, complete, seeded, to_generators

Images = PIL.Image.Image | list[PIL.Image.Image] | np.ndarray | torch.Tensor
LikelihoodKind = Literal["exact", "bound", "estimate"]
LikelihoodOf = Literal["density", "mass", "binary"]


@dataclass
class ImagesOutput(BaseOutput):
    """Images: a list of N PIL images, a float array [N, H, W, C] in [0, 1], or a float tensor [N, C, H, W] in [0, 1]."""

    images: list[PIL.Image.Image] | np.ndarray | torch.Tensor


@dataclass
class AnomalyOutput(BaseOutput):
    """Scores, float tensor [N], higher is stranger; heat maps, float tensor [N, H, W] >= 0, or None; the scores' unit."""

    scores: torch.Tensor
    maps: torch.Tensor | None
    unit: str


def _opaque(image: PIL.Image.Image, name: str) -> PIL.Image.Image:
    """Return an image of 8 bits with what is transparent on white; `convert` alone would show what is hidden.

    Raises:
        ValueError: an image of 16 or 32 bits, which `convert` would clip to white.
    """
    if image.mode.startswith(("I", "F")):
        raise ValueError(
            f"{name}: an image of mode {image.mode} has 16 or 32 bits; scale it to 8 bits, mode L or RGB, first."
        )
    if not image.has_transparency_data:
        return image
    rgba = image.convert("RGBA")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", rgba.size, "white"), rgba)


class ImageFamilyMixin(FamilyMixin):
    """The part of a `DiffusionPipeline` of square pictures beside its model.

    A family with `encode` and `decode` overrides `code_kind`, and where it can, `code_shape` and `code_values`, by class
    attributes or properties. What is None is not checked. So does a family with `log_likelihood`: `likelihood_kind` and, where
    it is no density, `likelihood_of`.
    """

    _arguments = {  # noqa: RUF012  # never changed
        "sample_size": "S, side of the square images in pixels.",
        "channels": "C, 1 or 3.",
        "id2label": "names of the classes by number.",
    }

    @property
    def code_kind(self) -> CodeKind | None:
        """Kind of the codes that `encode` gives; see `pipelines.codes`."""
        return None

    @property
    def code_shape(self) -> tuple[int, ...] | None:
        """Shape of a single code, without N; of words (L,), at most so many."""
        return None

    @property
    def code_values(self) -> int | None:
        """Number of values that each entry of a discrete code can take."""
        return None

    @property
    def likelihood_kind(self) -> LikelihoodKind | None:
        """Whether `log_likelihood` is exact, a lower bound, or an estimate, which may err in either direction."""
        return None

    @property
    def likelihood_of(self) -> LikelihoodOf:
        """What `log_likelihood` is the logarithm of.

        "density": the density of images in [-1, 1]. "mass": the probability of the image's 8-bit levels. "binary": the
        probability of black and white pixels, drawn by the generator.
        """
        return "density"

    def _to_tensor(self, images: Any, name: str = "images") -> torch.Tensor:
        """Return images as float [N, C, H, W] in [-1, 1] on the device.

        Args:
            images: PIL image(s), uint8 [N, H, W, C], or float [N, C, H, W] in [-1, 1].
            name: of the argument, for messages.

        Raises:
            TypeError: something else.
            ValueError: another size, no image, or values out of range.
        """
        size, channels = self.config.sample_size, self.config.channels
        if isinstance(images, PIL.Image.Image):
            images = [images]
        if isinstance(images, (list, tuple)) and images and all(isinstance(i, PIL.Image.Image) for i in images):
            mode = {1: "L", 3: "RGB"}[channels]
            images = [_opaque(i, name).convert(mode).resize((size, size), PIL.Image.Resampling.LANCZOS) for i in images]
            images = np.stack([np.asarray(i).reshape(size, size, channels) for i in images])
        if isinstance(images, np.ndarray) and images.dtype == np.uint8 and images.ndim == 4:
            images = torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1.0
        if not isinstance(images, torch.Tensor) or not images.is_floating_point():
            raise TypeError(
                f"{name}: give PIL images, a uint8 array [N, H, W, C] or a float tensor [N, C, H, W] in [-1, 1]."
            )
        if images.ndim == 3:
            images = images[None]
        if images.shape[1:] != (channels, size, size) or len(images) == 0:
            raise ValueError(
                f"{name}: this model takes [N, {channels}, {size}, {size}] with N > 0, not {list(images.shape)}."
            )
        if not images.abs().amax() < 10:  # room for noise and for what a solver leaves, but not for bytes or NaN
            raise ValueError(f"{name}: a float tensor must lie in [-1, 1]; for bytes, give a uint8 array [N, H, W, C].")
        return images.to(self._execution_device, self.dtype)

    def _to_output(self, x: torch.Tensor, output_type: str) -> list[PIL.Image.Image] | np.ndarray | torch.Tensor:
        """Return float [N, C, H, W] in [-1, 1] as images of an output type.

        Raises:
            ValueError: an unknown output type.
        """
        x = (x.float() / 2 + 0.5).clamp(0, 1).cpu()
        if output_type == "pt":
            return x
        if output_type not in ("np", "pil"):
            raise ValueError(f"output_type: choose 'pil', 'np' or 'pt', not {output_type!r}.")
        images = x.permute(0, 2, 3, 1).numpy()
        return images if output_type == "np" else self.numpy_to_pil(images)

    def _images_output(self, x: torch.Tensor, output_type: str, return_dict: bool) -> ImagesOutput | tuple:
        """Return float [N, C, H, W] in [-1, 1] as `ImagesOutput`, or as a tuple of one."""
        output = ImagesOutput(images=self._to_output(x, output_type))
        return output if return_dict else output.to_tuple()

    def _to_labels(self, class_labels: Any, batch_size: int) -> torch.Tensor | None:
        """Return class labels as int64 [batch_size] on the device; None for None.

        Args:
            class_labels: None, an int, a list or a tensor of integers.

        Raises:
            TypeError: something else.
            ValueError: another number of labels, a class that the model does not have, or a model without classes.
        """
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
        return labels.to(self._execution_device)


# ---- the contract: the methods that the tasks call, and what they have in common ----

IMAGES = "PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1]"
COMMON = {
    "batch_size": Common(int, 1, "number of images N."),
    "images": Common(Images, REQUIRED, f"{IMAGES}."),
    "codes": Common(Codes, REQUIRED, "N codes as `encode` gives them, or a single one."),
    "a": Common(Images, REQUIRED, "the first image."),
    "b": Common(Images, REQUIRED, "the last image."),
    "content": Common(Images, REQUIRED, f"what to draw: {IMAGES}."),
    "style": Common(Images | None, None, f"whose style to draw it in: {IMAGES}, one for all or one for each content."),
    "num_frames": Common(int, 8, "M, frames including both ends."),
    "generator": Common(
        Generators,
        None,
        "one `torch.Generator`, or a list with one for each image: image i depends on generator i only, never on its batch.",
    ),
    "class_labels": Common(Labels, None, "int, list or int64 tensor [N], the class of each image; None: any class."),
    "callback_on_step_end": Common(
        Callable | None,
        None,
        'called after each step as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).',
    ),
    "output_type": Common(str, "pil", '"pil", "np" ([N, H, W, C] in [0, 1]) or "pt" ([N, C, H, W] in [0, 1]).'),
    "return_dict": Common(bool, True, "if False, return a tuple."),
}
DRAWING = ("callback_on_step_end", "output_type", "return_dict")
METHODS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # common parameters before and after the family's own
    "__call__": (("batch_size", "generator", "class_labels"), DRAWING),
    "reconstruct": (("images", "generator", "class_labels"), DRAWING),
    "interpolate": (("a", "b", "num_frames", "generator"), DRAWING),
    "swap_style": (("content", "style", "generator"), DRAWING),
    "anomaly_score": (("images", "generator", "class_labels"), ("callback_on_step_end",)),
    "log_likelihood": (("images", "generator", "class_labels"), ("callback_on_step_end",)),
    "encode": (("images", "generator", "class_labels"), ("callback_on_step_end",)),
    "decode": (("codes", "class_labels"), DRAWING),
}
NEEDS = {"class_labels": "labels", "callback_on_step_end": "report"}  # taken where the family's method names this
ALWAYS = set(COMMON) - set(NEEDS)
CODING = ("encode", "decode")  # these take classes always, so that a caller need not know the family
RETURNS = {
    "anomaly_score": "`AnomalyOutput` with scores [N], maps [N, H, W] or None, and their unit.",
    "log_likelihood": "float32 [N] in nats.",
    "encode": "codes of the pipeline's `code_kind`, on the CPU: float32 or int64 [N, ...], or a list of N strings.",
}
RAISES = "TypeError, ValueError: images, labels, generators or options that do not fit; the message says what does."


def task(method: Callable | None = None, *, output: type[ImagesOutput] = ImagesOutput) -> Callable:
    """Complete a family's method for pictures to the method that a task calls, by its name.

    The family's method takes, of what follows, what it names without default, and its own parameters with a default:

        batch_size              N
        x                       the images, float [N, C, H, W] in [-1, 1]
        a, b                    the two ends, each float [1, C, H, W]
        content, style          float [N, C, H, W]; the style may be None
        num_frames              M >= 2
        codes                   the codes on the device, checked: see `pipelines.codes`
        generator               None, one generator, or a list of N
        labels                  int64 [N] or None; a method that does not name it is not offered classes
        report                  a `Report`: report(step, timestep, num_timesteps, x_0)

    It returns float [N, C, H, W] in [-1, 1], or that and a mapping of more fields of `output`. `anomaly_score` returns
    (scores, maps, unit); `log_likelihood` returns nats [N]; `encode` returns codes. An `anomaly_score` without generator
    draws with seed 0 for each image: a score is a measurement, so the same image gets the same score.

    Args:
        output: class of the result, `ImagesOutput` or a subclass.
    """
    if method is None:
        return lambda method: task(method, output=output)
    name = method.__name__
    named = set(inspect.signature(method).parameters)
    offered = named | ALWAYS | ({"labels"} if name in CODING else set())
    before, after = (
        {parameter: COMMON[parameter] for parameter in part if NEEDS.get(parameter, parameter) in offered}
        for part in METHODS[name]
    )

    def run(self, method: Callable, common: dict[str, Any], own: dict[str, Any]) -> Any:
        if common.get("output_type", "pil") not in ("pil", "np", "pt"):  # before the work, not after it
            raise ValueError(f"output_type: choose 'pil', 'np' or 'pt', not {common['output_type']!r}.")
        given = _given(self, name, common)
        result = method(self, **{key: value for key, value in given.items() if key in named}, **own)
        if name == "log_likelihood":
            return result.cpu()
        if name == "encode":
            return to_codes(result, self.code_kind, self.code_shape, self.code_values)
        if name == "anomaly_score":
            scores, maps, unit = result
            return AnomalyOutput(scores=scores.cpu(), maps=None if maps is None else maps.cpu(), unit=unit)
        x, more = result if isinstance(result, tuple) else (result, {})
        made = output(images=self._to_output(x, common["output_type"]), **more)
        return made if common["return_dict"] else made.to_tuple()

    returns = RETURNS.get(name, f"`{output.__name__}` with {'M' if name == 'interpolate' else 'N'} images.")
    return complete(method, before, after, returns, RAISES, run)


def _given(pipeline, name: str, common: dict[str, Any]) -> dict[str, Any]:
    """Return what a family's method may name, from the common parameters of the public one."""
    given: dict[str, Any] = {"report": Report(pipeline, common.get("callback_on_step_end"))}
    if name == "interpolate":
        if common["num_frames"] < 2:
            raise ValueError("num_frames: needs at least 2, the two ends.")
        given |= {end: pipeline._to_tensor(common[end], end)[:1] for end in ("a", "b")}
        return given | {"num_frames": common["num_frames"], "generator": common["generator"]}
    for public, private in (("images", "x"), ("content", "content"), ("style", "style")):
        if public in common:
            given[private] = None if common[public] is None else pipeline._to_tensor(common[public], public)
    if "codes" in common:
        how = (pipeline.code_kind, pipeline.code_shape, pipeline.code_values, pipeline._execution_device)
        given["codes"] = to_codes(common["codes"], *how)
    first = next((key for key in ("x", "content", "codes") if key in given), None)
    number = common["batch_size"] if first is None else len(given[first])
    generator = common.get("generator")
    if name == "anomaly_score" and generator is None:
        generator = seeded(number)
    given |= {"batch_size": number, "generator": to_generators(generator, number)}
    if "class_labels" in common:
        given["labels"] = pipeline._to_labels(common["class_labels"], number)
    return given
