"""Flow matching: a network learns the velocity of straight lines from data to noise; an ODE follows it back.

Convention of diffusers' FlowMatch schedulers, t = sigma in [0, 1], t = 0 data, t = 1 noise (the papers below run the
other way, so their t is 1 - t here and their velocity is -v):

    x_t = (1 - t) x_0 + t x_1,   x_1 ~ N(0, I)        Lipman et al. 2023 eq. 22 (sigma_min = 0), Liu et al. 2023 eq. 1
    v(x_t, t) ~ E[x_1 - x_0 | x_t]                    Lipman et al. 2023 eq. 23, Liu et al. 2023 eq. 1
    dx / dt = v(x, t)                                 from t = 1 to 0 it draws images, from 0 to 1 it encodes them
    x_0 = x - t v,  x_1 = x + (1 - t) v,  score = -x_1 / t          the other views of one velocity
    log p_0(x_0) = log N(x_1; 0, I) + int_0^1 div v(x_t, t) dt      Chen et al. 2018 eq. 8

A student (reflow) learns from pairs (x_1, x_0) that a teacher's ODE connects: its lines hardly cross, so that one or two
Euler steps follow them. The density of a likelihood is that of images in [-1, 1]; an 8-bit level is 2 / 255 wide.

This file stands alone: with diffusers (and scipy, for the optimal transport of training) it needs nothing else.

Papers:
    Lipman et al.: Flow Matching for Generative Modeling, 2023, https://arxiv.org/abs/2210.02747
    Liu, Gong, Liu: Flow Straight and Fast (rectified flow), 2023, https://arxiv.org/abs/2209.03003
    Tong et al.: Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport, 2024,
        https://arxiv.org/abs/2302.00482
    Cheng, Schwing: The Curse of Conditions, 2025, https://arxiv.org/abs/2503.10636 (transport within a class)
    Esser et al.: Scaling Rectified Flow Transformers, 2024, https://arxiv.org/abs/2403.03206 (logit-normal times)
    Karras et al.: Elucidating the Design Space of Diffusion-Based Generative Models, 2022, https://arxiv.org/abs/2206.00364
    Lee, Lin, Fanti: Improving the Training of Rectified Flows, 2024, https://arxiv.org/abs/2405.20320
    Ho, Salimans: Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598
    Chen et al.: Neural Ordinary Differential Equations, 2018, https://arxiv.org/abs/1806.07366
    Grathwohl et al.: FFJORD, 2019, https://arxiv.org/abs/1810.01367 (Hutchinson's estimate of the divergence)
    Dormand, Prince: A Family of Embedded Runge-Kutta Formulae, 1980
    Nalisnick et al.: Do Deep Generative Models Know What They Don't Know?, 2019, https://arxiv.org/abs/1810.09136
    Morningstar et al.: Density of States Estimation for Out-of-Distribution Detection, 2021,
        https://arxiv.org/abs/2006.09273
    Mahmood et al.: Multiscale Score Matching for Out-of-Distribution Detection, 2021, https://arxiv.org/abs/2010.13132
    Li et al.: Your Diffusion Model is Secretly a Zero-Shot Classifier, 2023, https://arxiv.org/abs/2303.16203
"""

from __future__ import annotations

import functools
import inspect
import itertools
import json
import math
import numbers
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from diffusers import (
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    SchedulerMixin,
    UNet2DModel,
)
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor

Sampler = Literal["heun", "euler", "midpoint", "rk45"]
Solver = Literal["midpoint", "rk45"]
Images = PIL.Image.Image | list[PIL.Image.Image] | np.ndarray | torch.Tensor
Labels = int | list[int] | torch.Tensor | None
Generators = torch.Generator | list[torch.Generator] | None
Steps = Annotated[int, {"minimum": 1, "maximum": 250, "step": 1}]
Tolerance = Annotated[float, {"minimum": 1e-5, "maximum": 0.1, "step": 1e-5}]

RK45_REPORTS = 20  # the adaptive solver cannot know its steps beforehand: it reports twentieths of the way
DISTILLED_SHARE = 0.75  # of a student's batch, late in training; the rest keeps the whole path usable for encoding
ERROR_TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)  # where `anomaly_score` compares predicted with true velocities
SCORE_TIMES = (0.05, 0.2, 0.5)  # where it measures the score of the image itself
FEATURES = (
    *(f"log error at {t}" for t in ERROR_TIMES),
    *(f"log score norm at {t}" for t in SCORE_TIMES),
    *("divergence", "latent norm", "latent row correlation", "latent column correlation"),
)
NUM_CALIBRATION_IMAGES = 512


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


def slerp(a: torch.Tensor, b: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Spherical interpolation (Shoemake 1985): [1, ...], [1, ...], [M] -> [M, ...]; keeps the norm of Gaussian noise."""
    u, v = a.flatten().double(), b.flatten().double()
    omega = torch.arccos(((u / u.norm()) @ (v / v.norm())).clamp(-1, 1))
    w = weights.double()[:, None]
    if omega.sin() < 1e-6:  # parallel: the arc is a line
        mixed = (1 - w) * u + w * v
    else:
        mixed = (torch.sin((1 - w) * omega) * u + torch.sin(w * omega) * v) / torch.sin(omega)
    return mixed.reshape(-1, *a.shape[1:]).to(a.dtype)


# ---- the views of one velocity ----


def from_velocity(kind: Literal["x0", "noise", "score"], v: torch.Tensor, x: torch.Tensor, t) -> torch.Tensor:
    """What the velocity v at (x, t) says of the image x_0, of the noise x_1, or of the score grad log p_t(x).

    x_t = (1 - t) x_0 + t x_1 and v = x_1 - x_0 solved for x_0 and x_1; score = -E[x_1 | x_t] / t, since x_t given x_0 is
    N((1 - t) x_0, t^2 I).

    Args:
        kind: which view.
        v, x: [N, ...].
        t: in [0, 1] ("score": not 0), broadcasts against x.

    Raises:
        ValueError: an unknown view.
    """
    if kind == "x0":
        return x - t * v
    if kind == "noise":
        return x + (1 - t) * v
    if kind == "score":
        return -(x + (1 - t) * v) / t
    raise ValueError(f"kind: choose 'x0', 'noise' or 'score', not {kind!r}.")


def to_velocity(kind: Literal["x0", "noise", "score"], value: torch.Tensor, x: torch.Tensor, t) -> torch.Tensor:
    """The inverse of `from_velocity`: "x0" needs t > 0, "noise" and "score" t < 1.

    Raises:
        ValueError: an unknown view.
    """
    if kind == "x0":
        return (x - value) / t
    if kind == "noise":
        return (value - x) / (1 - t)
    if kind == "score":
        return (-t * value - x) / (1 - t)
    raise ValueError(f"kind: choose 'x0', 'noise' or 'score', not {kind!r}.")


# ---- solvers of dy/dt = f(y, t, rows): y [N, ...], t [N], rows the indices [N] of these samples in the whole batch ----


def midpoint(f: Callable, y: torch.Tensor, times: list[float], report: Callable) -> torch.Tensor:
    """Runge's explicit midpoint rule from time to time; `report(step, t, y, dy/dt)` tells where each step began."""
    rows = torch.arange(len(y), device=y.device)
    for i, (start, end) in enumerate(itertools.pairwise(times)):
        t = y.new_full((len(y),), start)
        slope = f(y, t, rows)
        middle = f(y + (end - start) / 2 * slope, t + (end - start) / 2, rows)
        report(i, t, y, slope)
        y = y + (end - start) * middle
    return y


# Butcher's tableau of Dormand and Prince 1980 (table 2, RK5(4)7M): the last row is the fifth-order solution, which the
# next step begins with, and ERROR is its difference from the embedded fourth-order one.
DORMAND_PRINCE = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
NODES = (0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1)
ERROR = (71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def dormand_prince(
    f: Callable, y: torch.Tensor, start: float, end: float, tolerance: float, report: Callable
) -> tuple[torch.Tensor, torch.Tensor]:
    """Adaptive RK45 in which each sample has its own time, step and error: no sample depends on its batch.

    Step control as in Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, sec. II.4; a step below a
    thousandth of the way is taken whatever its error, so that the noise of half precision cannot hold the solver up.

    Args:
        f: the field.
        y: [N, ...] at `start`.
        tolerance: relative to the value and, below 1, absolute; of the root mean square of a sample's error.
        report: called as (step, t, y, dy/dt) whenever the slowest sample completes a twentieth of the way.

    Returns:
        y at `end`, and the evaluations of f that each sample needed, int64 [N].
    """
    y = y.clone()
    number, way = len(y), end - start
    times = torch.full((number,), start, dtype=torch.float64, device=y.device)
    steps = torch.full_like(times, 0.05 * way)
    evaluations = torch.ones(number, dtype=torch.int64, device=y.device)
    slopes = f(y, times.to(y.dtype), torch.arange(number, device=y.device))
    reported = 0

    def column(values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return values.to(like.dtype).reshape(-1, *([1] * (like.ndim - 1)))

    while True:
        rows = ((end - times) * math.copysign(1, way) > 1e-9 * abs(way)).nonzero()[:, 0]
        done = abs(way) if len(rows) == 0 else ((times - start).abs().min()).item()
        while reported < RK45_REPORTS and done >= (reported + 1) / RK45_REPORTS * abs(way) * (1 - 1e-9):
            report(reported, times.to(y.dtype), y, slopes)
            reported += 1
        if len(rows) == 0:
            return y, evaluations
        left = end - times[rows]
        h = torch.where(steps[rows].abs() < left.abs(), steps[rows], left)
        y0, k = y[rows], [slopes[rows]]
        for weights, node in zip(DORMAND_PRINCE[1:], NODES[1:], strict=True):
            y1 = y0 + column(h, y0) * sum(w * s for w, s in zip(weights, k, strict=True) if w)
            k.append(f(y1, (times[rows] + node * h).to(y.dtype), rows))
        evaluations[rows] += len(NODES) - 1
        error = column(h, y0) * sum(w * s for w, s in zip(ERROR, k, strict=True) if w)
        scale = tolerance * torch.maximum(y0.abs(), y1.abs()).clamp(min=1)
        norm = (error / scale).square().flatten(1).mean(1).sqrt().double()
        fine = (norm <= 1) | (h.abs() <= 1e-3 * abs(way))
        accepted = rows[fine]
        times[accepted] += h[fine]
        y[accepted], slopes[accepted] = y1[fine], k[-1][fine]
        steps[rows] = h * (0.9 * norm.clamp(min=1e-10) ** -0.2).clamp(0.2, 10)
        steps[rows] = torch.where(steps[rows].abs() < 1e-3 * abs(way), 1e-3 * way, steps[rows])


# ---- training: times and couplings ----


def sample_times(kind: str, number: int, generator: torch.Generator | None, device) -> torch.Tensor:
    """Times of a training batch, float32 [number] in (0, 1).

    "uniform" (Lipman et al. 2023), "logit_normal": sigmoid of N(0, 1) (Esser et al. 2024 eq. 19), or "u_shaped": density
    in proportion to e^(4 t) + e^(4 (1 - t)), for students (Lee et al. 2024).

    Raises:
        ValueError: an unknown kind.
    """
    if kind == "logit_normal":
        return torch.sigmoid(torch.randn(number, generator=generator, device=device))
    u = torch.rand(number, generator=generator, device=device)
    if kind == "uniform":
        return u
    if kind == "u_shaped":
        t = torch.log1p(u * (math.exp(4) - 1)) / 4  # inverse of the distribution function of e^(4 t)
        return torch.where(torch.rand(number, generator=generator, device=device) < 0.5, t, 1 - t)
    raise ValueError(f"time_sampling: choose 'logit_normal', 'uniform' or 'u_shaped', not {kind!r}.")


def optimal_coupling(x0: torch.Tensor, x1: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
    """The permutation, int64 [B], in which the noise x1 goes to the images x0 at the least total squared distance.

    Mini-batch optimal transport (Tong et al. 2024 alg. 3). Noise changes places only among samples of one label, "no
    class" being one: over the whole batch, noise would come to foretell the class, and the N(0, I) that sampling begins
    with would not be the one that the class was trained with (Cheng and Schwing 2025 sec. 4).

    Args:
        x0, x1: [B, ...].
        labels: int64 [B], as the network sees them, or None.

    Raises:
        ImportError: scipy is missing.
    """
    try:
        from scipy.optimize import linear_sum_assignment
    except ImportError as error:
        raise ImportError("Optimal transport coupling needs scipy: pip install scipy") from error
    order = torch.arange(len(x0), device=x0.device)
    groups = torch.zeros_like(order) if labels is None else labels
    for label in groups.unique():
        members = (groups == label).nonzero()[:, 0]
        cost = torch.cdist(x0[members].flatten(1), x1[members].flatten(1)).square()  # [M, M]
        order[members] = members[torch.from_numpy(linear_sum_assignment(cost.cpu().numpy())[1]).to(members.device)]
    return order


class FlowMatchingPipeline(FamilyPipeline):
    """A velocity field on pixels by a `UNet2DModel`, with or without classes.

    Args:
        unet: the network; takes [N, C * p * p, S / p, S / p], timesteps 1000 t [N] and, where conditional, labels [N] of
            which the last one (`num_class_embeds - 1`) stands for "no class". Gives the velocity, noise minus image.
        scheduler: a `FlowMatchEulerDiscreteScheduler`, whose configuration the Euler and Heun samplers are made from.
        sample_size: S, side of the square images in pixels.
        channels: C, 1 or 3.
        patch_size: p, space-to-depth factor in front of the network: the same flow (a permutation of pixels), several
            times cheaper on a CPU.
        class_dropout: part of the training labels that is replaced by "no class", for classifier-free guidance.
        time_sampling: times of the training, see `sample_times`.
        coupling: which noise is trained with which image: "independent", or "optimal_transport" within the batch.
        dequantize: train on images with uniform noise of one 8-bit level, as `log_likelihood` adds it.
        distilled_steps: K; a student's late training is on the K times at which K Euler steps ask. 0: no distillation.
        distill_from: part of the training, 0 ... 1, after which that begins.
        id2label: names of the classes.
        defaults: {task: {parameter: value}}, what this checkpoint's controls stand at where that differs from the
            signatures; e.g. a student's two steps.
        typicality: what `fit` found; see `anomaly_score`.
        anomaly_quantiles: 201 quantiles of the scores of ordinary test images for each `score`, and under "typicality, class
            told" and the like where each is told its own class.
    """

    def __init__(
        self,
        unet: UNet2DModel,
        scheduler: SchedulerMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        patch_size: int = 1,
        class_dropout: float = 0.1,
        time_sampling: str = "logit_normal",
        coupling: str = "independent",
        dequantize: bool = True,
        distilled_steps: int = 0,
        distill_from: float = 0.5,
        id2label: dict[str, str] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        typicality: dict[str, Any] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        self.register_modules(unet=unet, scheduler=FlowMatchEulerDiscreteScheduler.from_config(scheduler.config))
        self.register_to_config(
            sample_size=sample_size or unet.config.sample_size * patch_size,
            channels=channels or unet.config.in_channels // patch_size**2,
            patch_size=patch_size,
            class_dropout=class_dropout,
            time_sampling=time_sampling,
            coupling=coupling,
            dequantize=dequantize,
            distilled_steps=distilled_steps,
            distill_from=distill_from,
            id2label=id2label,
            defaults=defaults,
            typicality=typicality,
            anomaly_quantiles=anomaly_quantiles,
        )

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        class_conditional: bool = True,
        patch_size: int = 1,
        block_out_channels: tuple[int, ...] = (64, 128),
        layers_per_block: int = 2,
        attention_head_dim: int = 64,
        norm_num_groups: int = 32,
        class_dropout: float = 0.1,
        time_sampling: Literal["logit_normal", "uniform", "u_shaped"] = "logit_normal",
        coupling: Literal["independent", "optimal_transport"] = "independent",
        dequantize: bool = True,
        distilled_steps: int = 0,
        distill_from: float = 0.5,
        defaults: dict[str, dict[str, Any]] | None = None,
    ) -> FlowMatchingPipeline:
        """Fresh weights. Attention stands at the lowest resolution only, where it is cheap. Arguments as for the class.

        Raises:
            ValueError: the sizes do not divide, or an unknown way of sampling times or of coupling.
        """
        levels = len(block_out_channels)
        if sample_size % (patch_size * 2 ** (levels - 1)):
            raise ValueError(
                f"sample_size {sample_size} must be a multiple of patch_size {patch_size} x 2^{levels - 1} "
                f"for {levels} levels of block_out_channels."
            )
        sample_times(time_sampling, 1, torch.Generator(), "cpu")  # refuses an unknown kind before training begins
        if coupling not in ("independent", "optimal_transport"):
            raise ValueError(f"coupling: choose 'independent' or 'optimal_transport', not {coupling!r}.")
        if distilled_steps < 0 or not 0 <= distill_from <= 1:
            raise ValueError("distilled_steps must be 0 or more, and distill_from a part of the training, 0 ... 1.")
        conditional = class_conditional and id2label is not None
        unet = UNet2DModel(
            sample_size=sample_size // patch_size,
            in_channels=channels * patch_size**2,
            out_channels=channels * patch_size**2,
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            down_block_types=("DownBlock2D",) * (levels - 1) + ("AttnDownBlock2D",),
            up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
            attention_head_dim=attention_head_dim,
            norm_num_groups=norm_num_groups,
            num_class_embeds=len(id2label) + 1 if conditional else None,
        )
        return cls(
            unet,
            FlowMatchEulerDiscreteScheduler(),
            sample_size=sample_size,
            channels=channels,
            patch_size=patch_size,
            class_dropout=class_dropout,
            time_sampling=time_sampling,
            coupling=coupling,
            dequantize=dequantize,
            distilled_steps=distilled_steps,
            distill_from=distill_from,
            id2label=id2label if conditional else None,
            defaults=defaults,
        )

    # ---- the network ----

    def _network(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """x_t [N, C, S, S], t [N] in [0, 1], labels [N] or None -> velocity, [N, C, S, S]."""
        p = self.config.patch_size
        conditional = self.unet.config.num_class_embeds is not None
        if conditional and labels is None:
            labels = torch.full((len(x),), self.unet.config.num_class_embeds - 1, device=x.device)
        h = F.pixel_unshuffle(x, p)  # [N, C p p, S/p, S/p]
        timesteps = t * self.scheduler.config.num_train_timesteps
        h = self.unet(h, timesteps, class_labels=labels if conditional else None).sample
        return F.pixel_shuffle(h, p)  # [N, C, S, S]

    def _velocity(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor | None, guidance_scale: float = 1.0):
        """The velocity in float32, guided: (1 - g) uncond + g cond (Ho and Salimans 2022 eq. 6 with g = 1 + w; velocities
        are affine in the score at fixed x and t, so the formula carries over)."""
        x = x.to(self.dtype)
        if labels is None or guidance_scale == 1.0:
            return self._network(x, t, labels).float()
        none = torch.full_like(labels, self.unet.config.num_class_embeds - 1)
        output = self._network(torch.cat([x, x]), torch.cat([t, t]), torch.cat([labels, none])).float()
        conditional, unconditional = output.chunk(2)
        return unconditional + guidance_scale * (conditional - unconditional)

    # ---- along the ODE ----

    def _follow(
        self,
        x: torch.Tensor,
        start: float,
        end: float,
        labels: torch.Tensor | None,
        sampler: str,
        num_inference_steps: int,
        tolerance: float,
        callback: Callable | None,
        guidance_scale: float = 1.0,
        legs: tuple[int, int] = (0, 1),
    ) -> torch.Tensor:
        """Carry x [N, C, S, S] from time `start` to `end`. `legs`: which leg of how many this is, for the reports."""
        total = self._num_reports(sampler, num_inference_steps)
        evaluations = 0

        def field(x: torch.Tensor, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            nonlocal evaluations
            evaluations += 1
            return self._velocity(x, t, None if labels is None else labels[rows], guidance_scale)

        def report(step: int, t: torch.Tensor, x: torch.Tensor, v: torch.Tensor) -> None:
            if callback is not None:
                values = {"pred_original_sample": from_velocity("x0", v, x, t[:, None, None, None])}
                values |= {"num_timesteps": legs[1] * total, "num_function_evaluations": evaluations}
                timestep = t.mean().item() * self.scheduler.config.num_train_timesteps
                callback(self, legs[0] * total + step, timestep, values)

        x = x.float()
        if sampler == "midpoint":
            times = torch.linspace(start, end, num_inference_steps + 1, dtype=torch.float64)
            return midpoint(field, x, times.tolist(), report)
        if sampler == "rk45":
            return dormand_prince(field, x, start, end, tolerance, report)[0]
        scheduler = self._scheduler(sampler, num_inference_steps, start)
        rows = torch.arange(len(x), device=x.device)
        for i, timestep in enumerate(scheduler.timesteps):
            t = (timestep / self.scheduler.config.num_train_timesteps).float().expand(len(x))
            v = field(x, t, rows)
            report(i, t, x, v)
            x = scheduler.step(v, timestep, x).prev_sample
        return x

    @staticmethod
    def _num_reports(sampler: str, num_inference_steps: int) -> int:
        """
        Raises:
            ValueError: an unknown sampler, or fewer than one step.
        """
        if num_inference_steps < 1:
            raise ValueError(f"num_inference_steps: needs at least 1, not {num_inference_steps}.")
        numbers = {"euler": num_inference_steps, "midpoint": num_inference_steps, "rk45": RK45_REPORTS}
        numbers["heun"] = 2 * num_inference_steps - 1  # diffusers counts both evaluations of a step
        if sampler not in numbers:
            raise ValueError(f"sampler: choose {', '.join(numbers)}, not {sampler!r}.")
        return numbers[sampler]

    def _scheduler(self, sampler: str, num_inference_steps: int, start: float) -> SchedulerMixin:
        """A fresh diffusers scheduler that goes from time `start` to 0 in equal steps."""
        if sampler == "euler":
            scheduler = FlowMatchEulerDiscreteScheduler.from_config(self.scheduler.config)
            sigmas = np.linspace(start, start / num_inference_steps, num_inference_steps)
            scheduler.set_timesteps(sigmas=sigmas, device=self.device)
        else:
            scheduler = FlowMatchHeunDiscreteScheduler.from_config(self.scheduler.config)
            # Equal steps, of which the last, to 0, is Euler's (as in Karras et al. 2022 alg. 1). diffusers would correct it
            # by the velocity at t = 0.001, where logit-normal times hardly ever train the network: that adds noise.
            scheduler.sigma_max, scheduler.sigma_min = start, start / num_inference_steps
            scheduler.set_timesteps(num_inference_steps, device=self.device)
        scheduler.set_begin_index(0)
        return scheduler

    def _density_field(self, labels: torch.Tensor | None, probes: torch.Tensor | None) -> Callable:
        """The field of (x, integral of div v), packed as [N, D + 1].

        Args:
            labels: [N] or None.
            probes: random signs [K, N, C, S, S] for Hutchinson's estimate, mean of e^T (dv/dx) e (Grathwohl et al. 2019
                eq. 7); None: the exact trace, by D gradients.
        """
        shape = (self.config.channels, self.config.sample_size, self.config.sample_size)

        def field(state: torch.Tensor, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            with torch.enable_grad():
                x = state[:, :-1].reshape(-1, *shape).detach().requires_grad_()
                v = self._velocity(x, t, None if labels is None else labels[rows])
                if probes is None:
                    outputs = v.flatten(1)  # [N, D]; rows do not mix, so one gradient serves all samples
                    columns = [torch.autograd.grad(o.sum(), x, retain_graph=True)[0] for o in outputs.unbind(1)]
                    trace = sum(g.flatten(1)[:, i] for i, g in enumerate(columns))
                else:
                    products = []
                    for e in probes[:, rows]:
                        gradient = torch.autograd.grad(v, x, e, retain_graph=True)[0]
                        products.append((gradient * e).flatten(1).sum(1))
                    trace = torch.stack(products).mean(0)
            return torch.cat([v.detach().flatten(1), trace[:, None]], dim=1)

        return field

    def _encode_with_divergence(
        self, x, labels, probes, sampler, num_inference_steps, tolerance, callback, num_timesteps
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Images [N, C, S, S] -> (noise [N, C, S, S], integral of the divergence [N])."""

        def report(step: int, t: torch.Tensor, state: torch.Tensor, slope: torch.Tensor) -> None:
            x0 = from_velocity("x0", slope[:, :-1], state[:, :-1], t[:, None]).reshape(x.shape)
            self._report(callback, step, t.mean().item() * 1000, num_timesteps, x0)

        state = torch.cat([x.float().flatten(1), x.new_zeros((len(x), 1), dtype=torch.float32)], dim=1)  # [N, D + 1]
        field = self._density_field(labels, probes)
        if sampler == "midpoint":
            # The divergence grows like 1 / t towards the image, where smooth regions are known to within t.
            times = torch.linspace(0, 1, num_inference_steps + 1, dtype=torch.float64) ** 3
            state = midpoint(field, state, times.tolist(), report)
        else:
            state = dormand_prince(field, state, 0.0, 1.0, tolerance, report)[0]
        return state[:, :-1].reshape(x.shape), state[:, -1]

    def _signs(self, shape, generator) -> torch.Tensor:
        """Random signs, Rademacher's distribution: of all probes with unit covariance the estimate's variance is least."""
        return torch.where(self._randn(shape, generator).float() < 0, -1.0, 1.0)

    def _dequantized(self, x: torch.Tensor, generator) -> torch.Tensor:
        """Images with uniform noise of the width of one 8-bit level; its sample i from generator i."""
        normal = self._randn(x.shape, generator).float()
        return x.float() + (torch.special.ndtr(normal) - 0.5) * 2 / 255

    # ---- the tasks ----

    @checked
    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        generator: Generators = None,
        class_labels: Labels = None,
        sampler: Sampler = "heun",
        num_inference_steps: Steps = 8,
        guidance_scale: Annotated[float, {"minimum": 0.0, "maximum": 6.0, "step": 0.1}] = 1.5,
        tolerance: Tolerance = 1e-3,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """Generate images: draw noise and follow the flow from t = 1 to 0.

        Args:
            batch_size: N, how many.
            generator: one `torch.Generator`, or a list with one for each sample.
            class_labels: int, list or int64 tensor [N]; None: the unconditional model.
            sampler: Euler, Heun or the midpoint rule in equal steps, or RK45 (Dormand and Prince 1980), which chooses its own.
            num_inference_steps: Steps of the sampler, fewer is faster; Heun and midpoint evaluate the network twice a step.
            guidance_scale: Above 1 samples follow their class more closely and vary less; 0 ignores the class.
            tolerance: Error that RK45 allows itself in a step; the other samplers do not use it.
            callback_on_step_end: called as (pipe, step, timestep, {"pred_original_sample", "num_timesteps", "num_function_evaluations"}); RK45 reports each twentieth of the way.
            output_type: "pil", "np" ([N, H, W, C] in [0, 1]) or "pt" ([N, C, H, W] in [0, 1]).
            return_dict: False: a tuple.

        Returns:
            `ImagesOutput`.

        Raises:
            ValueError: a label, generator list, sampler or step count that does not fit.
        """
        generator = self._to_generators(generator, batch_size)
        labels = self._to_labels(class_labels, batch_size)
        size = self.config.sample_size
        x = self._randn((batch_size, self.config.channels, size, size), generator)
        x = self._follow(
            x, 1.0, 0.0, labels, sampler, num_inference_steps, tolerance, callback_on_step_end, guidance_scale
        )
        return self._to_output(x, output_type, return_dict)

    @torch.no_grad()
    def encode(
        self,
        images: Images,
        class_labels: Labels = None,
        sampler: Solver = "midpoint",
        num_inference_steps: int = 20,
        tolerance: float = 1e-3,
        callback_on_step_end: Callable | None = None,
    ) -> torch.Tensor:
        """Images -> their noise at t = 1, float32 [N, C, S, S]. Arguments and errors as for `reconstruct`."""
        x = self._to_tensor(images)
        labels = self._to_labels(class_labels, len(x))
        self._check_solver(sampler)
        return self._follow(x, 0.0, 1.0, labels, sampler, num_inference_steps, tolerance, callback_on_step_end)

    @torch.no_grad()
    def decode(
        self,
        noise: torch.Tensor,
        class_labels: Labels = None,
        sampler: Sampler = "midpoint",
        num_inference_steps: int = 20,
        tolerance: float = 1e-3,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """Noise at t = 1, float [N, C, S, S] -> `ImagesOutput`. Arguments and errors as for `__call__`."""
        noise = self._to_tensor(noise)
        labels = self._to_labels(class_labels, len(noise))
        x = self._follow(noise, 1.0, 0.0, labels, sampler, num_inference_steps, tolerance, callback_on_step_end)
        return self._to_output(x, output_type, return_dict)

    @checked
    @torch.no_grad()
    def reconstruct(
        self,
        images: Images,
        generator: Generators = None,
        class_labels: Labels = None,
        method: Literal["inversion", "noise"] = "inversion",
        strength: Annotated[float, {"minimum": 0.05, "maximum": 1.0, "step": 0.05}] = 0.5,
        sampler: Solver = "midpoint",
        num_inference_steps: Steps = 20,
        tolerance: Tolerance = 1e-3,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """Take images into noise and back.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: one `torch.Generator`, or a list with one for each image ("noise" only).
            class_labels: of the images, if known.
            method: "inversion" follows the flow backwards to the noise that generates the image; "noise" mixes in random noise and follows the flow from there, so that details are invented anew.
            strength: How far into the noise, 1 being all the way.
            sampler: The midpoint rule in equal steps, or RK45, which chooses its own.
            num_inference_steps: Steps each way; the midpoint rule evaluates the network twice a step.
            tolerance: Error that RK45 allows itself in a step; the midpoint rule does not use it.

        Returns:
            `ImagesOutput`, one for each input.

        Raises:
            ValueError, TypeError: images of another kind or size, or an option that is none of those above.
        """
        x = self._to_tensor(images)
        labels = self._to_labels(class_labels, len(x))
        generator = self._to_generators(generator, len(x))
        self._check_solver(sampler)
        if not 0 < strength <= 1:
            raise ValueError(f"strength: must lie above 0 and not above 1, not {strength}.")
        how = (labels, sampler, num_inference_steps, tolerance, callback_on_step_end)
        if method == "inversion":
            x = self._follow(x, 0.0, strength, *how, legs=(0, 2))
            x = self._follow(x, strength, 0.0, *how, legs=(1, 2))
        elif method == "noise":
            x = (1 - strength) * x.float() + strength * self._randn(x.shape, generator).float()
            x = self._follow(x, strength, 0.0, *how)
        else:
            raise ValueError(f"method: choose 'inversion' or 'noise', not {method!r}.")
        return self._to_output(x, output_type, return_dict)

    @checked
    @torch.no_grad()
    def interpolate(
        self,
        a: Images,
        b: Images,
        num_frames: int = 8,
        generator: Generators = None,
        strength: Annotated[float, {"minimum": 0.05, "maximum": 1.0, "step": 0.05}] = 1.0,
        sampler: Solver = "midpoint",
        num_inference_steps: Steps = 20,
        tolerance: Tolerance = 1e-3,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """From one image to another: follow both into noise, walk the arc between their noises, follow the flow back.

        Args:
            a: the first image.
            b: the last image.
            num_frames: M, frames including both ends.
            generator: not used: this path is deterministic.
            strength: How far into the noise the path is drawn; less keeps closer to a blend of the two images.
            sampler: The midpoint rule in equal steps, or RK45, which chooses its own.
            num_inference_steps: Steps each way; the midpoint rule evaluates the network twice a step.
            tolerance: Error that RK45 allows itself in a step; the midpoint rule does not use it.

        Returns:
            `ImagesOutput` with M images.

        Raises:
            ValueError, TypeError: images of another kind or size, fewer than 2 frames, or an option out of range.
        """
        if num_frames < 2:
            raise ValueError("num_frames: needs at least 2, the two ends.")
        if not 0 < strength <= 1:
            raise ValueError(f"strength: must lie above 0 and not above 1, not {strength}.")
        self._check_solver(sampler)
        pair = torch.cat([self._to_tensor(a)[:1], self._to_tensor(b)[:1]])
        how = (None, sampler, num_inference_steps, tolerance, callback_on_step_end)
        noise = self._follow(pair, 0.0, strength, *how, legs=(0, 2))
        x = slerp(noise[:1], noise[1:], torch.linspace(0, 1, num_frames, device=noise.device))
        x = self._follow(x, strength, 0.0, *how, legs=(1, 2))
        return self._to_output(x, output_type, return_dict)

    @staticmethod
    def _check_solver(sampler: str) -> None:
        if sampler not in ("midpoint", "rk45"):
            raise ValueError(f"sampler: choose 'midpoint' or 'rk45', which go both ways, not {sampler!r}.")

    # ---- likelihood and typicality ----

    @torch.no_grad()
    def log_likelihood(
        self,
        images: Images,
        generator: Generators = None,
        class_labels: Labels = None,
        sampler: Solver = "midpoint",
        num_inference_steps: int = 50,
        tolerance: float = 1e-3,
        divergence: Literal["hutchinson", "exact"] = "hutchinson",
        num_samples: int = 1,
        dequantize: bool = True,
        callback_on_step_end: Callable | None = None,
    ) -> torch.Tensor:
        """log p(x) by the instantaneous change of variables (Chen et al. 2018 eq. 8).

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: one `torch.Generator`, or a list with one for each image; None: seed 0 for each image.
            class_labels: for log p(x | y); None: log p(x) of the unconditional model.
            sampler: the midpoint rule, whose steps shorten towards the image, or RK45.
            num_inference_steps: steps of the midpoint rule.
            tolerance: of RK45.
            divergence: Hutchinson's unbiased estimate, or the exact trace by D gradients a step, for small images.
            num_samples: random directions of Hutchinson's estimate; each holds for the whole path.
            dequantize: add uniform noise of one 8-bit level's width, so that the mean over the noise is a lower bound of
                the log-probability of the 8-bit image (plus D log(2 / 255)); leave it out for data that are no bytes.
            callback_on_step_end: called as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).

        Returns:
            float32 [N] in nats: the log-density on the [-1, 1] scale.

        Raises:
            ValueError, TypeError: images of another kind or size, or an option that is none of those above.
        """
        x, labels, generator = self._measured(images, class_labels, generator)
        self._check_solver(sampler)
        if divergence not in ("hutchinson", "exact") or num_samples < 1:
            raise ValueError("divergence: choose 'hutchinson' or 'exact'; num_samples: at least 1.")
        x = self._dequantized(x, generator) if dequantize else x.float()
        probes = None
        if divergence == "hutchinson":
            probes = torch.stack([self._signs(x.shape, generator) for _ in range(num_samples)])
        total = self._num_reports(sampler, num_inference_steps)
        how = (sampler, num_inference_steps, tolerance, callback_on_step_end, total)
        noise, integral = self._encode_with_divergence(x, labels, probes, *how)
        return (_standard_normal(noise) + integral).cpu()

    @checked
    @torch.no_grad()
    def anomaly_score(
        self,
        images: Images,
        generator: Generators = None,
        class_labels: Labels = None,
        score: Literal["typicality", "likelihood", "velocity"] = "typicality",
        num_inference_steps: Steps = 8,
        callback_on_step_end: Callable | None = None,
    ) -> AnomalyOutput:
        """How strange an image is to the model.

        A model may find simple strangers *more* likely than its own data (Nalisnick et al. 2019). The typicality score
        therefore asks whether an image is like the training images in several statistics at once (Morningstar et al.
        2021), in either direction: errors of the velocity and norms of the score (Mahmood et al. 2021) at several times,
        and, from the way into noise, the divergence, the norm of the noise and the correlation of its neighbours. It is
        their Mahalanobis distance d from the training images, by the mean and covariance that `fit` found; before `fit`,
        their plain norm.

        Told an image's class, "likelihood" is -log p(x | y), "velocity" the error of the network that is told it, and
        typicality sqrt(d^2 + F max(m, 0)^2): F is the number of statistics, and m how much less being told helps than it
        does training images of their own class, in standard deviations. Being told helps by the mean over the times of
        log(error untold / error told), the same noise added, which is what a diffusion classifier goes by (Li et al. 2023
        sec. 3). A class that helps one deviation less than usual so adds F, which is what d^2 is on average over training
        images, and no class makes an image less strange. Before `fit` has seen images with classes, m is in nats, as it is.
        In "likelihood" the class is all but lost beside the rest.

        The maps show (x_0 - x_0_hat)^2, mean over the times, of the network told the class if one is; the likelihood has
        none.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: one `torch.Generator`, or a list with one for each image; None: seed 0 for each image.
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "typicality" is high for images unlike the training images in any direction, also for all too simple ones; "likelihood" is the negative log-likelihood; "velocity" is the mean error of the predicted velocities.
            num_inference_steps: Steps on the way into noise ("velocity" takes none); typicality is calibrated for the default.

        Returns:
            `AnomalyOutput` with scores [N], maps [N, H, W] or None, and the unit.

        Raises:
            ValueError, TypeError: images of another kind or size, labels that do not fit, or an unknown score.
        """
        x, labels, generator = self._measured(images, class_labels, generator)
        if score not in ("typicality", "likelihood", "velocity"):
            raise ValueError(f"score: choose 'typicality', 'likelihood' or 'velocity', not {score!r}.")
        if score == "likelihood":
            how = {"num_inference_steps": num_inference_steps, "callback_on_step_end": callback_on_step_end}
            nats = self.log_likelihood(x, generator, labels, **how)
            return AnomalyOutput(scores=-nats, maps=None, unit="nats")
        if score == "velocity":
            total = len(ERROR_TIMES)
            (errors,), maps = self._velocity_errors(x, [labels], generator, callback_on_step_end, 0, total)
            return AnomalyOutput(scores=errors.mean(1).cpu(), maps=maps.cpu(), unit="mean squared error")
        features, mismatch, maps = self._features(x, labels, generator, num_inference_steps, callback_on_step_end)
        known = self.config.typicality
        if known:
            mean = torch.tensor(known["mean"], dtype=torch.float64)
            precision = torch.tensor(known["precision"], dtype=torch.float64)
            features = features - mean
            squared = ((features @ precision) * features).sum(1)
        else:
            squared = features.square().sum(1)
        if mismatch is not None:
            usual = (known or {}).get("class_mismatch") or {"mean": 0.0, "std": 1.0}
            above = ((mismatch - usual["mean"]) / usual["std"]).clamp(min=0)
            squared = squared.clamp(min=0) + features.shape[1] * above.square()
        return AnomalyOutput(scores=squared.clamp(min=0).sqrt().float(), maps=maps.cpu(), unit="Mahalanobis distance")

    def _measured(self, images, class_labels, generator):
        """Images, labels and generators of a measurement: unless told otherwise, an image always gets the same noise."""
        x = self._to_tensor(images)
        if generator is None:
            generator = [torch.Generator().manual_seed(0) for _ in range(len(x))]
        return x, self._to_labels(class_labels, len(x)), self._to_generators(generator, len(x))

    def _velocity_errors(
        self,
        x: torch.Tensor,
        told: list[torch.Tensor | None],
        generator,
        callback: Callable | None,
        first: int,
        total: int,
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """(v_hat - v)^2 at the ERROR_TIMES, of the network told each of `told`, labels [N] or None, about the same x_t.

        Returns:
            (means [N, T] for each of `told`, maps [N, H, W] of (x_0_hat - x_0)^2 = t^2 (v_hat - v)^2 for the last of them).
        """
        errors, maps = [[] for _ in told], 0.0
        for i, time in enumerate(ERROR_TIMES):
            noise = self._randn(x.shape, generator).float()
            t = torch.full((len(x),), time, device=x.device)
            x_t = (1 - time) * x.float() + time * noise
            for labels, means in zip(told, errors, strict=True):
                v = self._velocity(x_t, t, labels)
                squared = (v - (noise - x.float())).square()  # [N, C, S, S]
                means.append(squared.mean((1, 2, 3)))
            maps = maps + time**2 * squared.mean(1) / len(ERROR_TIMES)
            self._report(callback, first + i, time * 1000, total, from_velocity("x0", v, x_t, time))
        return [torch.stack(means, dim=1) for means in errors], maps

    def _features(
        self, x: torch.Tensor, labels: torch.Tensor | None, generator, num_inference_steps: int, callback=None
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """FEATURES of images [N, C, S, S], in which labels play no part, and how badly these fit.

        Returns:
            (features, float64 [N, F] on the CPU; mean over the times of log(error told / error untold), float64 [N] on the
            CPU, None without labels; maps [N, H, W]).
        """
        encoding = self._num_reports("midpoint", num_inference_steps)
        total = encoding + len(ERROR_TIMES)
        dequantized = self._dequantized(x, generator)
        probes = self._signs(x.shape, generator)[None]
        how = ("midpoint", num_inference_steps, 0.0, callback, total)
        noise, integral = self._encode_with_divergence(dequantized, None, probes, *how)
        told = [None] if labels is None else [None, labels]
        (untold_errors, *told_errors), maps = self._velocity_errors(x, told, generator, callback, encoding, total)
        scores = []
        for time in SCORE_TIMES:
            t = torch.full((len(x),), time, device=x.device)
            x_t = (1 - time) * x.float()
            score = from_velocity("score", self._velocity(x_t, t, None), x_t, time)
            scores.append(_log(score.square().mean((1, 2, 3))) / 2)
        features = [
            *_log(untold_errors).unbind(1),
            *scores,
            integral / x[0].numel(),
            noise.square().mean((1, 2, 3)),
            (noise[..., 1:] * noise[..., :-1]).mean((1, 2, 3)),
            (noise[..., 1:, :] * noise[..., :-1, :]).mean((1, 2, 3)),
        ]
        mismatch = None
        if told_errors:
            mismatch = (_log(told_errors[0]) - _log(untold_errors)).mean(1).cpu().double()
        return torch.stack(features, dim=1).cpu().double(), mismatch, maps

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Calibrate the typicality score: mean and precision of the FEATURES of training images, into the configuration.

        With labels, also mean and standard deviation of how badly their own class fits them.

        Takes NUM_CALIBRATION_IMAGES at random from one pass (reservoir sampling, Vitter 1985), or all if there are fewer.

        Args:
            batches: of `{"images", "class_labels"}`, one pass over the training data.

        Raises:
            ValueError: fewer than two images.
        """
        random = np.random.default_rng(0)
        chosen: list[tuple[torch.Tensor, torch.Tensor | None]] = []
        seen = 0
        for batch in batches:
            labels = batch.get("class_labels") if self.config.id2label else None
            for i, image in enumerate(batch["images"]):
                seen += 1
                item = (image, None if labels is None else labels[i])
                if len(chosen) < NUM_CALIBRATION_IMAGES:
                    chosen.append(item)
                elif (place := random.integers(seen)) < NUM_CALIBRATION_IMAGES:
                    chosen[place] = item
        if len(chosen) < 2:
            raise ValueError("batches: calibration needs at least two images.")
        rows, mismatches = [], []
        steps = inspect.signature(self.anomaly_score).parameters["num_inference_steps"].default
        for start in range(0, len(chosen), 64):
            images, labels = zip(*chosen[start : start + 64], strict=True)
            x = self._to_tensor(torch.stack(images))
            known = all(label is not None and label >= 0 for label in labels)
            given = torch.stack(labels).to(x.device) if known else None
            generators = [torch.Generator().manual_seed(start + i) for i in range(len(x))]
            features, mismatch, _ = self._features(x, given, generators, steps)
            rows.append(features)
            mismatches.append(mismatch)
        features = torch.cat(rows)  # [M, F]
        centred = features - features.mean(0)
        covariance = centred.T @ centred / (len(features) - 1)
        # Neighbouring times say much the same. Shrinking the covariances keeps the score from resting on differences
        # between them so fine that the rounding of half precision would decide it.
        variance = covariance.diagonal().clamp(min=1e-8)
        precision = torch.linalg.inv(0.95 * covariance + 0.05 * torch.diag(variance) + 1e-8 * torch.eye(len(variance)))
        calibration = {"features": list(FEATURES), "mean": features.mean(0).tolist(), "precision": precision.tolist()}
        if all(mismatch is not None for mismatch in mismatches):
            calibration["class_mismatch"] = _mean_and_std(torch.cat(mismatches))
        self.register_to_config(typicality=calibration)

    # ---- training ----

    def learn_from(self, teacher: DiffusionPipeline) -> None:
        """Begin with the teacher's weights (Liu et al. 2023 sec. 2: the flow that reflow straightens).

        Raises:
            ValueError: another architecture.
        """
        state = teacher.unet.state_dict()
        shapes = {name: value.shape for name, value in self.unet.state_dict().items()}
        if {name: value.shape for name, value in state.items()} != shapes:
            raise ValueError("a student needs the teacher's architecture, and its number of classes.")
        self.unet.load_state_dict(state)

    def loss(self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0):
        """Conditional flow matching, E |v(x_t, t) - (x_1 - x_0)|^2 (Lipman et al. 2023 eq. 23, Liu et al. 2023 eq. 1).

        Images that a teacher drew come with their noise: `reflow` (Liu et al. 2023 alg. 1). With `distilled_steps` K,
        after the part `distill_from` of the training most times are k / K, where K Euler steps ask (distillation,
        Liu et al. 2023 sec. 2).

        Args:
            batch: "images" [B, C, S, S] in [-1, 1], "class_labels" int64 [B] (-1: none) or None, and, for pairs,
                "seeds" int64 [B]: image i was drawn by `__call__` with `torch.Generator().manual_seed(seeds[i])`.
            generator: for all random numbers but those of the pairs, on the images' device.
            progress: part of the training that is done, 0 ... 1.

        Returns:
            (scalar, {"mse": scalar}).

        Raises:
            ValueError: a student without pairs.
        """
        x0 = batch["images"]
        num, device = len(x0), x0.device
        seeds = batch.get("seeds")
        if self.config.distilled_steps and seeds is None:
            raise ValueError("distilled_steps: a student learns from a teacher's images; name one in training.teacher.")
        t = sample_times(self.config.time_sampling, num, generator, device)
        if self.config.distilled_steps and progress >= self.config.distill_from:
            steps = self.config.distilled_steps
            asked = (1 + torch.randint(steps, (num,), generator=generator, device=device)) / steps
            t = torch.where(torch.rand(num, generator=generator, device=device) < DISTILLED_SHARE, asked, t)
        labels = batch.get("class_labels")
        if self.unet.config.num_class_embeds is None:
            labels = None
        elif labels is not None:
            # Pairs keep their labels: noise leads to another image without the class than with it.
            dropout = self.config.class_dropout if seeds is None else 0.0
            drop = torch.rand(num, generator=generator, device=device) < dropout
            labels = torch.where(drop | (labels < 0), self.unet.config.num_class_embeds - 1, labels)
        if seeds is None:
            x1 = torch.randn(x0.shape, generator=generator, device=device)
            if self.config.coupling == "optimal_transport":
                x1 = x1[optimal_coupling(x0, x1, labels)]
        else:
            x1 = torch.stack([self.noise_of(seed) for seed in seeds.tolist()]).to(device)
        if self.config.dequantize:
            x0 = x0 + (torch.rand(x0.shape, generator=generator, device=device) - 0.5) * 2 / 255
        times = t[:, None, None, None]
        x_t = (1 - times) * x0 + times * x1
        mse = F.mse_loss(self._network(x_t, t, labels).float(), x1 - x0)
        return mse, {"mse": mse.detach()}

    def noise_of(self, seed: int) -> torch.Tensor:
        """The noise, float32 [C, S, S], that `__call__` begins with for the sample with this seed."""
        shape = (self.config.channels, self.config.sample_size, self.config.sample_size)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _log(values: torch.Tensor) -> torch.Tensor:
    return values.clamp(min=1e-8).log()


def _mean_and_std(values: torch.Tensor) -> dict[str, float]:
    return {"mean": values.mean().item(), "std": max(values.std().item(), 1e-8)}


def _standard_normal(x: torch.Tensor) -> torch.Tensor:
    """log N(x; 0, I), [N, ...] -> [N]."""
    return -0.5 * (x.square() + math.log(2 * math.pi)).flatten(1).sum(1)
