"""DiT: diffusion or flow matching in the latent space of a small auto-encoder, by a transformer.

Stage one, the auto-encoder (Rombach et al. 2022 sec. 3.1, "KL-reg."): q(z | x) = N(m(x), s(x)^2), trained by

    L = mean over scales of |x - x_hat|  +  |grad x - grad x_hat|  +  kl_weight KL(q(z | x) || N(0, I)) / dim z

Stage two, a `DiTModel` (Peebles and Xie 2023) on latents that are shifted and scaled to mean 0 and standard deviation 1 in
each channel, as measured on the training data between the stages (Rombach et al. 2022 app. G has one factor for all). With
noise e ~ N(0, I), one of

    flow_matching   x_t = (1 - t) z + t e,  v = e - z               Lipman et al. 2023 eq. 22 and 23, Liu et al. 2023 eq. 1
    ddpm            x_t = cos(pi t / 2) z + sin(pi t / 2) e          Ho et al. 2020 eq. 4 on a cosine schedule
                    epsilon: e                                       Ho et al. 2020 eq. 14, Rombach et al. 2022 eq. 2
                    v_prediction: cos(pi t / 2) e - sin(pi t / 2) z  Salimans and Ho 2022 app. D

Sampling is the same for all of these. Scaling and schedule choose how fast and in which units one walks along the same
curves (Karras et al. 2022 eq. 4), so the state is always kept as if the path were straight,

    u = (1 - r) z + r e,   du / dr = e_hat - z_hat,   r = noise / (signal + noise),   r = 0 data, r = 1 noise

and a network trained with another path is asked at u / sqrt((1 - r)^2 + r^2), where that path has the same ratio. Euler's
method there is DDIM (Song et al. 2020 eq. 12): both go straight on towards the predicted z.

diffusers' own parts will do too: an `AutoencoderKL`, and a `DiTTransformer2DModel` with the discrete schedule it was trained
with, which gives signal^2 = alpha_bar and a timestep in place of the cosine and t. An auto-encoder alone, without any
transformer, reconstructs, interpolates and measures errors.

There is no likelihood: an ODE in latent space gives the density of latents, and what the decoder makes of them fills no
volume among the images.

This file stands alone beside its components autoencoder/ and transformer/: with diffusers installed it needs nothing else.

Papers:
    Peebles, Xie: Scalable Diffusion Models with Transformers, 2023, https://arxiv.org/abs/2212.09748
    Rombach et al.: High-Resolution Image Synthesis with Latent Diffusion Models, 2022, https://arxiv.org/abs/2112.10752
    Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models, 2020, https://arxiv.org/abs/2006.11239
    Song, Meng, Ermon: Denoising Diffusion Implicit Models, 2020, https://arxiv.org/abs/2010.02502
    Salimans, Ho: Progressive Distillation for Fast Sampling of Diffusion Models, 2022, https://arxiv.org/abs/2202.00512
    Lipman et al.: Flow Matching for Generative Modeling, 2023, https://arxiv.org/abs/2210.02747
    Liu, Gong, Liu: Flow Straight and Fast (rectified flow), 2023, https://arxiv.org/abs/2209.03003
    Esser et al.: Scaling Rectified Flow Transformers, 2024, https://arxiv.org/abs/2403.03206 (logit-normal times)
    Karras et al.: Elucidating the Design Space of Diffusion-Based Generative Models, 2022, https://arxiv.org/abs/2206.00364
    Zhao et al.: UniPC, 2023, https://arxiv.org/abs/2302.04867
    Ho, Salimans: Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598
    Nalisnick et al.: Do Deep Generative Models Know What They Don't Know?, 2019, https://arxiv.org/abs/1810.09136
    Morningstar et al.: Density of States Estimation for Out-of-Distribution Detection, 2021,
        https://arxiv.org/abs/2006.09273
    Mahmood et al.: Multiscale Score Matching for Out-of-Distribution Detection, 2021, https://arxiv.org/abs/2010.13132
    Li et al.: Your Diffusion Model is Secretly a Zero-Shot Classifier, 2023, https://arxiv.org/abs/2303.16203
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import math
import numbers
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DiffusionPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    ModelMixin,
    SchedulerMixin,
    UniPCMultistepScheduler,
)
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import nn

Sampler = Literal["unipc", "euler", "heun"]
Images = PIL.Image.Image | list[PIL.Image.Image] | np.ndarray | torch.Tensor
Labels = int | list[int] | torch.Tensor | None
Generators = torch.Generator | list[torch.Generator] | None
Style = Annotated[str, {"choices_from": "style"}]
Steps = Annotated[int, {"minimum": 1, "maximum": 250, "step": 1}]
Guidance = Annotated[float, {"minimum": 0.0, "maximum": 8.0, "step": 0.1}]
# The same in tasks that an auto-encoder alone can do too, without them.
OwnStyle = Annotated[str, {"choices_from": "style", "needs": "transformer"}]
OwnSteps = Annotated[int, {"minimum": 1, "maximum": 250, "step": 1, "needs": "transformer"}]
OwnGuidance = Annotated[float, {"minimum": 0.0, "maximum": 8.0, "step": 0.1, "needs": "transformer"}]
OwnStrength = Annotated[float, {"minimum": 0.05, "maximum": 1.0, "step": 0.05, "needs": "transformer"}]

STAGES = ("autoencoder", "transformer")
TARGETS = ("flow_matching", "v_prediction", "epsilon")
SCALES = (1, 2, 4)  # of the auto-encoder's loss: pixels, and means over 2 x 2 and 4 x 4 of them
EPSILON_START = 0.99  # of r: at r = 1 a prediction of the noise says nothing of the image
ERROR_TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)  # where `anomaly_score` compares predicted with true velocities
SCORE_TIMES = (0.05, 0.2, 0.5)  # where it measures the noise that the network sees in the latent itself
FEATURES = (
    *("log auto-encoder error", "log auto-encoder edge error", "latent norm"),
    *(f"log error at {r}" for r in ERROR_TIMES),
    *(f"log noise seen at {r}" for r in SCORE_TIMES),
    *("noise norm", "noise row correlation", "noise column correlation"),
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


def edges(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Differences of neighbouring pixels, along rows and along columns."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def reconstruction_loss(restored: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Mean absolute error over SCALES, and of the edges: the coarse scales see a wrong tone, the edges see blur."""
    scales = [F.l1_loss(F.avg_pool2d(restored, s), F.avg_pool2d(images, s)) for s in SCALES]
    blur = [F.l1_loss(a, b) for a, b in zip(edges(restored), edges(images), strict=True)]
    return sum(scales) / len(scales) + sum(blur) / len(blur)


def _column(values: torch.Tensor) -> torch.Tensor:
    """[N] -> [N, 1, 1, 1]"""
    return values[:, None, None, None]


def _modeling(stem: str):
    """A module beside this file, by name: an import statement would make bare diffusers look for it on the Hub."""
    return importlib.import_module(__name__.replace("pipeline_dit", stem))


class StockAutoencoder:
    """diffusers' `AutoencoderKL` for images of S pixels, spoken to as `KLAutoencoder`.

    Raises:
        ValueError: it is no auto-encoder of such images.
    """

    def __init__(self, model: AutoencoderKL, sample_size: int):
        config = model.config
        shrinking = self.shrinking(model)
        if config.in_channels != config.out_channels or config.in_channels not in (1, 3):
            raise ValueError(
                f"autoencoder: turns {config.in_channels} channels into {config.out_channels}; it must be 1 or 3."
            )
        if not isinstance(sample_size, int) or sample_size % shrinking:
            raise ValueError(f"autoencoder: images of {sample_size} pixels do not divide into squares of {shrinking}.")
        self.model = model
        self.latent_shape = (config.latent_channels, sample_size // shrinking, sample_size // shrinking)

    @staticmethod
    def shrinking(model: AutoencoderKL) -> int:
        """f: every level but the last halves the resolution."""
        return 2 ** (len(model.config.block_out_channels) - 1)

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        posterior = self.model.encode(x).latent_dist
        return posterior.mean.float(), posterior.logvar.float()

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.model.decode(z.to(self.model.dtype)).sample.float()


class StockTransformer:
    """diffusers' `DiTTransformer2DModel`, spoken to as `DiTModel`: its one label is the class.

    Args:
        num_train_timesteps: t in [0, 1] is told as a timestep from 0 to this - 1.
    """

    def __init__(self, model: DiTTransformer2DModel, num_train_timesteps: int):
        self.model, self.last = model, num_train_timesteps - 1

    def no_labels(self, number: int) -> torch.Tensor:
        return torch.full((number, 1), self.model.config.num_embeds_ada_norm, device=self.model.device)

    def __call__(self, x: torch.Tensor, time: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        labels = self.no_labels(len(x)) if labels is None else labels
        output = self.model(x, timestep=time * self.last, class_labels=labels[:, 0]).sample
        return output[:, : x.shape[1]]  # what follows are learnt variances, for samplers that draw noise


class LatentTransformerPipeline(FamilyPipeline):
    """A diffusion transformer on the latents of a small auto-encoder, told a class and a style, or one of them, or none.

    Args:
        autoencoder: `KLAutoencoder`; or diffusers' `AutoencoderKL`, which is not trained here.
        transformer: `DiTModel`; its labels are the class and the style, as far as there are names for them. Or diffusers'
            `DiTTransformer2DModel`, which knows the class. None: nothing is generated, and only the auto-encoder's errors
            tell what is strange.
        scheduler: a `FlowMatchEulerDiscreteScheduler`, whose configuration the samplers are made from; for diffusers'
            transformer one of diffusers' own with its training's betas and prediction type, kept as a `DDPMScheduler`.
        sample_size: S, side of the square images in pixels.
        channels: C, 1 or 3.
        target: what the transformer predicts, and on which path: "flow_matching", "v_prediction" or "epsilon".
        label_dropout: part of the training in which class and style are not told, for classifier-free guidance; with
            two of them, in as large a part one of them alone is not.
        kl_weight: of the auto-encoder's loss; keeps the latents from growing and its decoder from being brittle.
        latents_mean, latents_std: of each latent channel, measured by `prepare`.
        id2label: names of the classes.
        conditions: {"style": {number: name}}, or None.
        defaults: {task: {parameter: value}}, what this checkpoint's controls stand at where that differs from the
            signatures.
        typicality: what `fit` found; see `anomaly_score`.
        anomaly_quantiles: 201 quantiles of the scores of ordinary test images for each `score`, and under "typicality, class
            told" and the like where each is told its own class.
    """

    _optional_components: ClassVar[list[str]] = ["transformer", "scheduler"]  # as diffusers has it
    needs: ClassVar[dict[str, str]] = {"__call__": "transformer"}

    def __init__(
        self,
        autoencoder: ModelMixin,
        transformer: ModelMixin | None = None,
        scheduler: SchedulerMixin | None = None,
        sample_size: int | None = None,
        channels: int | None = None,
        target: str = "flow_matching",
        label_dropout: float = 0.1,
        kl_weight: float = 0.005,
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
        id2label: dict[str, str] | None = None,
        conditions: dict[str, dict[str, str]] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        typicality: dict[str, Any] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        config = autoencoder.config
        if isinstance(transformer, DiTTransformer2DModel):
            scheduler, target = self._stock_schedule(transformer, autoencoder, scheduler, id2label)
        else:
            scheduler = FlowMatchEulerDiscreteScheduler.from_config(scheduler.config if scheduler else {})
        if isinstance(autoencoder, AutoencoderKL):
            if sample_size is None and transformer is not None:
                sample_size = transformer.config.sample_size * StockAutoencoder.shrinking(autoencoder)
            StockAutoencoder(autoencoder, sample_size or config.sample_size)  # refuses what does not fit
            if latents_mean is None:  # the scale alone, as in `DiTPipeline`, which takes no notice of a shift
                latents_mean, latents_std = ([v] * config.latent_channels for v in (0.0, 1 / config.scaling_factor))
        self.register_modules(autoencoder=autoencoder, transformer=transformer, scheduler=scheduler)
        self.register_to_config(
            sample_size=sample_size or config.sample_size,
            channels=channels or (config.in_channels if isinstance(autoencoder, AutoencoderKL) else config.channels),
            target=target,
            label_dropout=label_dropout,
            kl_weight=kl_weight,
            latents_mean=latents_mean,
            latents_std=latents_std,
            id2label=id2label,
            conditions=conditions,
            defaults=defaults,
            typicality=typicality,
            anomaly_quantiles=anomaly_quantiles,
        )

    @staticmethod
    def _stock_schedule(transformer, autoencoder, scheduler, id2label) -> tuple[DDPMScheduler, str]:
        """The schedule that diffusers' transformer was trained with, and what it predicts.

        Raises:
            ValueError: parts that do not fit each other or this family.
        """
        channels = transformer.config.in_channels
        if channels != autoencoder.config.latent_channels or transformer.out_channels not in (channels, 2 * channels):
            raise ValueError(
                f"transformer: turns {channels} channels into {transformer.out_channels}; the auto-encoder's latents have "
                f"{autoencoder.config.latent_channels}."
            )
        if len(id2label or ()) > transformer.config.num_embeds_ada_norm:
            raise ValueError(
                f"id2label: names {len(id2label)} classes, but the transformer knows {transformer.config.num_embeds_ada_norm}."
            )
        if scheduler is None or "beta_schedule" not in scheduler.config:
            raise ValueError("scheduler: it must say with which betas the transformer was trained.")
        scheduler = DDPMScheduler.from_config(scheduler.config)
        if scheduler.config.prediction_type not in TARGETS:
            raise ValueError(f"scheduler: the prediction type {scheduler.config.prediction_type!r} is not known here.")
        return scheduler, scheduler.config.prediction_type

    @property
    def coder(self) -> ModelMixin | StockAutoencoder:
        """The auto-encoder, of whatever make, with the methods of `KLAutoencoder`."""
        if isinstance(self.autoencoder, AutoencoderKL):
            return StockAutoencoder(self.autoencoder, self.config.sample_size)
        return self.autoencoder

    @property
    def network(self) -> ModelMixin | StockTransformer:
        """The transformer, of whatever make, with the methods of `DiTModel`.

        Raises:
            ValueError: there is none.
        """
        self._need_transformer("This")
        if isinstance(self.transformer, DiTTransformer2DModel):
            return StockTransformer(self.transformer, self.scheduler.config.num_train_timesteps)
        return self.transformer

    def _need_transformer(self, what: str) -> None:
        """
        Raises:
            ValueError: there is none.
        """
        if self.transformer is None:
            raise ValueError(f"{what} needs a transformer, and this checkpoint is an auto-encoder alone.")

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        conditions: dict[str, dict[str, str]] | None = None,
        class_conditional: bool = True,
        latent_channels: int = 4,
        block_out_channels: tuple[int, ...] = (48, 128),
        layers_per_block: int = 1,
        kl_weight: float = 0.005,
        patch_size: int = 1,
        width: int = 192,
        depth: int = 6,
        num_heads: int = 3,
        mlp_ratio: float = 4.0,
        conditioning: Literal["adaln_zero", "cross_attention", "in_context"] = "adaln_zero",
        objective: Literal["flow_matching", "ddpm"] = "flow_matching",
        prediction_type: Literal["v_prediction", "epsilon"] = "v_prediction",
        label_dropout: float = 0.1,
        defaults: dict[str, dict[str, Any]] | None = None,
    ) -> LatentTransformerPipeline:
        """Fresh weights.

        Args:
            class_conditional: tell the transformer the classes of `id2label`.
            latent_channels, block_out_channels, layers_per_block: of `KLAutoencoder`.
            patch_size, width, depth, num_heads, mlp_ratio, conditioning: of `DiTModel`.
            objective: flow matching, or the diffusion of DDPM on a cosine schedule.
            prediction_type: what is predicted under "ddpm".

        Raises:
            ValueError: sizes that do not divide, an unknown conditioning, objective or prediction, or other conditions
                than "style".
        """
        if set(conditions or ()) - {"style"}:
            raise ValueError(f"conditions: this family offers 'style' beside the class, not {', '.join(conditions)}.")
        if objective not in ("flow_matching", "ddpm") or prediction_type not in ("v_prediction", "epsilon"):
            raise ValueError(
                "objective: choose 'flow_matching', or 'ddpm' with prediction_type 'v_prediction' or 'epsilon', not "
                f"{objective!r} with {prediction_type!r}."
            )
        if not 0 <= label_dropout <= 1:
            raise ValueError(f"label_dropout: must lie in 0 ... 1, not {label_dropout}.")
        id2label = id2label if class_conditional else None
        named = (id2label, (conditions or {}).get("style"))
        autoencoder = _modeling("modeling_kl_autoencoder").KLAutoencoder(
            sample_size, channels, latent_channels, tuple(block_out_channels), layers_per_block
        )
        transformer = _modeling("modeling_dit").DiTModel(
            sample_size=autoencoder.latent_shape[-1],
            in_channels=latent_channels,
            patch_size=patch_size,
            width=width,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            conditioning=conditioning,
            num_labels=tuple(len(names) for names in named if names),
        )
        return cls(
            autoencoder,
            transformer,
            FlowMatchEulerDiscreteScheduler(),
            target="flow_matching" if objective == "flow_matching" else prediction_type,
            label_dropout=label_dropout,
            kl_weight=kl_weight,
            id2label=id2label,
            conditions=conditions or None,
            defaults=defaults,
        )

    # ---- training ----

    def trainable(self, stage: str) -> dict[str, nn.Module]:
        """The module that a stage trains.

        Raises:
            ValueError: an unknown stage, or one whose part is not there or is diffusers' own auto-encoder.
        """
        if stage not in STAGES:
            raise ValueError(f"stage: choose {' or '.join(map(repr, STAGES))}, not {stage!r}.")
        if stage == "transformer":
            self._need_transformer("stage: 'transformer'")
        elif isinstance(self.autoencoder, AutoencoderKL):
            raise ValueError("stage: diffusers' AutoencoderKL is not trained here.")
        return {stage: getattr(self, stage)}

    @torch.no_grad()
    def prepare(self, stage: str, batches: Iterable[dict]) -> dict[str, torch.Tensor] | None:
        """Before the second stage: encode the images, and measure their latents' mean and deviation in each channel.

        The measured z = m(x) + s(x) e has the mean of m and the variance of m plus the mean of s^2. Both go into the
        configuration as `latents_mean` and `latents_std`.

        Args:
            stage: which one begins.
            batches: of `{"images": ...}`, one pass over the training data.

        Returns:
            {"latent_mean", "latent_std"}: m and s as the encoder gives them, float32 [N, c, h, w]; None for the first stage.
        """
        if stage != "transformer":
            return None
        means, stds = [], []
        for batch in batches:
            mean, logvar = self.coder.encode(batch["images"].to(self.device, self.dtype))
            means.append(mean.cpu())
            stds.append((0.5 * logvar).exp().cpu())
        mean, std = torch.cat(means), torch.cat(stds)
        centre = mean.double().mean((0, 2, 3))
        variance = mean.double().var((0, 2, 3), correction=0) + std.double().square().mean((0, 2, 3))
        self.register_to_config(latents_mean=centre.tolist(), latents_std=variance.sqrt().clamp(min=1e-6).tolist())
        return {"latent_mean": mean, "latent_std": std}

    def loss(
        self,
        batch: dict,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
        stage: str = "transformer",
    ):
        """The loss of one stage; see the top of this file.

        Args:
            batch: "images" [B, C, S, S] in [-1, 1], or what `prepare` made of them; "class_labels" int64 [B] (-1: none) or
                None; and "conditions", {"style": int64 [B]}, if any.
            generator: for all random numbers, on the images' device.
            progress: part of the stage that is done; not used.
            stage: "autoencoder" or "transformer".

        Returns:
            (scalar, {"l1", "kl"}) or (scalar, {"mse"}).

        Raises:
            ValueError: as `trainable`.
        """
        self.trainable(stage)
        if stage == "autoencoder":
            images = batch["images"]
            shape = (len(images), *self.autoencoder.latent_shape)
            noise = torch.randn(shape, generator=generator, device=images.device)
            restored, mean, logvar = self.autoencoder(images, noise)
            kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()  # nats for each dimension of z
            loss = reconstruction_loss(restored, images) + self.config.kl_weight * kl
            return loss, {"l1": F.l1_loss(restored, images).detach(), "kl": kl.detach()}

        if "latent_mean" in batch:
            mean, std = batch["latent_mean"], batch["latent_std"]
        else:
            with torch.no_grad():
                mean, logvar = self.coder.encode(batch["images"])
                std = (0.5 * logvar).exp()

        def normal() -> torch.Tensor:
            return torch.randn(mean.shape, generator=generator, device=mean.device)

        z = self._normalised(mean + std * normal())  # [B, c, h, w]
        t = self._times(len(z), generator, z.device)
        labels = self._forget(self._told(batch), generator)
        x_t, wanted = self._noised(z, normal(), _column(t))
        mse = F.mse_loss(self.network(x_t, t, labels).float(), wanted)
        return mse, {"mse": mse.detach()}

    def _times(self, number: int, generator, device) -> torch.Tensor:
        """Logit-normal for straight paths (Esser et al. 2024 eq. 19), uniform for the cosine schedule, [number]."""
        if self.config.target == "flow_matching":
            return torch.sigmoid(torch.randn(number, generator=generator, device=device))
        return torch.rand(number, generator=generator, device=device)

    def _noised(self, z: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(x_t, what the transformer shall say of it) at the times of the training's own path; t broadcasts."""
        if self.config.target == "flow_matching":
            return (1 - t) * z + t * noise, noise - z
        if isinstance(self.scheduler, DDPMScheduler):
            levels = self._levels(t.device)
            place = t.double() * (len(levels) - 1)
            below = place.floor().long().clamp(max=len(levels) - 2)
            level = torch.lerp(levels[below], levels[below + 1], place - below)
            signal, scale = (torch.sigmoid(2 * sign * level).sqrt().float() for sign in (-1, 1))
        else:
            signal, scale = torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)
        wanted = noise if self.config.target == "epsilon" else signal * noise - scale * z
        return signal * z + scale * noise, wanted

    def _told(self, batch: dict) -> torch.Tensor | None:
        """A training batch's labels, int64 [B, K], as `_labels` has them."""
        style = (batch.get("conditions") or {}).get("style")
        number = len(batch["images"] if "images" in batch else batch["latent_mean"])
        return self._labels(number, batch.get("class_labels"), style)

    def _forget(self, labels: torch.Tensor | None, generator) -> torch.Tensor | None:
        """Replace labels by "none": all of a sample's, and where it has two, each by itself too."""
        if labels is None:
            return None
        none = self.network.no_labels(len(labels))

        def chosen(columns: int) -> torch.Tensor:
            draws = torch.rand(len(labels), columns, generator=generator, device=labels.device)
            return draws < self.config.label_dropout

        drop = chosen(1) | (chosen(labels.shape[1]) if labels.shape[1] > 1 else torch.zeros_like(labels, dtype=bool))
        return torch.where(drop, none, labels)

    # ---- latents ----

    def _normalised(self, z: torch.Tensor) -> torch.Tensor:
        """Latents as the auto-encoder has them -> mean 0, standard deviation 1 in each channel of the training data."""
        if self.config.latents_mean is None:
            return z
        return (z - self._channels(self.config.latents_mean, z)) / self._channels(self.config.latents_std, z)

    def _decoded(self, z: torch.Tensor) -> torch.Tensor:
        """Normalised latents -> images, float32 [N, C, S, S]."""
        if self.config.latents_mean is not None:
            z = z * self._channels(self.config.latents_std, z) + self._channels(self.config.latents_mean, z)
        return self.coder.decode(z)

    @staticmethod
    def _channels(values: list[float], like: torch.Tensor) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None, None]  # [c, 1, 1]

    @torch.no_grad()
    def encode(self, images: Images) -> torch.Tensor:
        """Images -> the means of their latents, normalised, float32 [N, c, h, w]. Raises as `reconstruct`."""
        return self._normalised(self.coder.encode(self._to_tensor(images))[0])

    @torch.no_grad()
    def decode(self, latents: torch.Tensor, output_type: str = "pil", return_dict: bool = True) -> ImagesOutput | tuple:
        """Normalised latents [N, c, h, w] -> `ImagesOutput`."""
        return self._to_output(self._decoded(latents.to(self.device)), output_type, return_dict)

    # ---- the network ----

    def _labels(
        self, number: int, class_labels: torch.Tensor | None, style: torch.Tensor | None
    ) -> torch.Tensor | None:
        """Class and style, int64 [N] or None each -> [N, K] for the transformer; None if nothing is told.

        What is None, or below 0, becomes "none".
        """
        given = [class_labels] if self.config.id2label else []
        given += [style] if self._condition_names("style") else []
        if all(values is None for values in given):
            return None
        none = self.network.no_labels(number)
        columns = [none[:, k] if values is None else values for k, values in enumerate(given)]
        labels = torch.stack(columns, dim=1)  # [N, K]
        return torch.where(labels < 0, none, labels)

    def _network(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """x_t [N, c, h, w] and t [N] of the training's own path, labels [N, K] or None -> its target, float32."""
        return self.network(x.to(self.dtype), t, labels).float()

    def _levels(self, device: torch.device) -> torch.Tensor:
        """log(noise / signal) at each timestep of a discrete schedule, rising, float64 [T]."""
        return -0.5 * torch.logit(self.scheduler.alphas_cumprod.to(device, torch.float64), eps=1e-12)

    def _time(self, r: torch.Tensor) -> torch.Tensor:
        """When the path of the training has this ratio of noise to signal, [N] in [0, 1]; between timesteps by straight
        lines, beyond the first and the last these."""
        if not isinstance(self.scheduler, DDPMScheduler):
            return torch.atan2(r, 1 - r) * 2 / math.pi
        levels, level = self._levels(r.device), torch.logit(r.double(), eps=1e-12)
        above = torch.searchsorted(levels, level).clamp(1, len(levels) - 1)
        low, high = levels[above - 1], levels[above]
        place = above - 1 + ((level - low) / (high - low)).clamp(0, 1)
        return (place / (len(levels) - 1)).float()

    def _velocity(self, u: torch.Tensor, r: torch.Tensor, labels: torch.Tensor | None, guidance_scale: float = 1.0):
        """e_hat - z_hat at u = (1 - r) z + r e, float32 [N, c, h, w].

        Guided: (1 - g) untold + g told (Ho and Salimans 2022 eq. 6 with g = 1 + w), class and style together. What the
        network predicts is affine in the score at fixed u and r, so the formula carries over.

        Args:
            u: [N, c, h, w].
            r: [N] in [0, 1]; below 1 for "epsilon".
            labels: [N, K] or None.
            guidance_scale: g.
        """
        target, x, t = self.config.target, u, r
        signal, scale = _column(1 - r), _column(r)
        if target != "flow_matching":
            norm = (signal.square() + scale.square()).sqrt()
            signal, scale, x = signal / norm, scale / norm, u / norm
            t = self._time(r)
        if labels is None or guidance_scale == 1.0:
            output = self._network(x, t, labels)
        else:
            pairs = torch.cat([labels, self.network.no_labels(len(labels))])
            told, untold = self._network(torch.cat([x, x]), torch.cat([t, t]), pairs).chunk(2)
            output = untold + guidance_scale * (told - untold)
        if target == "flow_matching":
            return output
        if target == "epsilon":
            return output - (x - scale * output) / signal
        return (scale * x + signal * output) - (signal * x - scale * output)

    @property
    def _start(self) -> float:
        """r at which sampling begins, and encoding ends."""
        last = self._levels("cpu")[-1].sigmoid().item() if isinstance(self.scheduler, DDPMScheduler) else 1.0
        return min(last, EPSILON_START) if self.config.target == "epsilon" else last

    # ---- along the curves ----

    def _tell(self, callback, step: int, r: float, num_timesteps: int, z: torch.Tensor) -> None:
        """Report a step with the predicted latent, decoded; nobody listening, nothing is decoded."""
        if callback is not None:
            self._report(callback, step, r * 1000, num_timesteps, self._decoded(z))

    def _sample(
        self, u: torch.Tensor, labels: torch.Tensor | None, sampler: str, num_inference_steps: int,
        guidance_scale: float, callback: Callable | None,
    ) -> torch.Tensor:  # fmt: skip
        """From noise to latents, both [N, c, h, w], by one of diffusers' samplers."""
        scheduler = self._scheduler(sampler, num_inference_steps)
        u = u.float()
        for i, timestep in enumerate(scheduler.timesteps):
            r = scheduler.sigmas[i].item()
            v = self._velocity(u, u.new_full((len(u),), r), labels, guidance_scale)
            self._tell(callback, i, r, len(scheduler.timesteps), u - r * v)
            u = scheduler.step(v, timestep, u).prev_sample
        return u

    def _scheduler(self, sampler: str, num_inference_steps: int) -> SchedulerMixin:
        """A fresh scheduler that goes from `_start` to 0 in equal steps of r."""
        sigmas = np.linspace(self._start, self._start / num_inference_steps, num_inference_steps)
        number = self.scheduler.config.num_train_timesteps
        stock = isinstance(self.scheduler, DDPMScheduler)
        config = {"num_train_timesteps": number} if stock else self.scheduler.config
        if sampler == "euler":
            scheduler = FlowMatchEulerDiscreteScheduler.from_config(config)
            scheduler.set_timesteps(sigmas=sigmas, device=self.device)
        elif sampler == "heun":
            scheduler = FlowMatchHeunDiscreteScheduler.from_config(config)
            # Equal steps, of which the last, to 0, is Euler's (as in Karras et al. 2022 alg. 1): diffusers would correct it
            # by the velocity at r = 0.001, where logit-normal times hardly ever train the network.
            scheduler.sigma_max, scheduler.sigma_min = self._start, self._start / num_inference_steps
            scheduler.set_timesteps(num_inference_steps, device=self.device)
        else:
            options = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "solver_order": 2}
            scheduler = UniPCMultistepScheduler(num_train_timesteps=number, **options)
            scheduler.set_timesteps(sigmas=sigmas, device=self.device)
        scheduler.set_begin_index(0)
        return scheduler

    def _follow(
        self, u: torch.Tensor, start: float, end: float, labels: torch.Tensor | None, num_steps: int,
        callback: Callable | None, legs: tuple[int, int] = (0, 1), guidance_scale: float = 1.0,
    ) -> torch.Tensor:  # fmt: skip
        """Carry u [N, c, h, w] from r = `start` to `end` by the midpoint rule, which goes both ways alike.

        `legs`: which leg of how many this is, for the reports.
        """
        u, step = u.float(), (end - start) / num_steps
        for i in range(num_steps):
            r = u.new_full((len(u),), start + i * step)
            slope = self._velocity(u, r, labels, guidance_scale)
            middle = self._velocity(u + step / 2 * slope, r + step / 2, labels, guidance_scale)
            place = start + i * step
            self._tell(callback, legs[0] * num_steps + i, place, legs[1] * num_steps, u - place * slope)
            u = u + step * middle
        return u

    # ---- the tasks ----

    @checked
    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        generator: Generators = None,
        class_labels: Labels = None,
        style: Style = "any",
        sampler: Sampler = "unipc",
        num_inference_steps: Steps = 16,
        guidance_scale: Guidance = 1.5,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """Generate images: from noise to a latent, and decode it.

        The noise is drawn first, then the style where any will do: one seed with several styles begins with one noise.

        Args:
            batch_size: N, how many.
            generator: one `torch.Generator`, or a list with one for each sample.
            class_labels: int, list or int64 tensor [N]; None: the class is left to the model.
            style: Whose drawing it is; any: each image draws its own.
            sampler: UniPC of order 2, Euler, which is DDIM here, or Heun.
            num_inference_steps: Steps of the sampler, fewer is faster; Heun evaluates the network twice a step.
            guidance_scale: Above 1 samples follow class and style more closely and vary less; 0 ignores both.
            callback_on_step_end: called as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).
            output_type: "pil", "np" ([N, H, W, C] in [0, 1]) or "pt" ([N, C, H, W] in [0, 1]).
            return_dict: False: a tuple.

        Returns:
            `ImagesOutput`.

        Raises:
            ValueError: a label, style, generator list, sampler or step count that does not fit, or no transformer.
        """
        self._need_transformer("Generating")
        generator = self._to_generators(generator, batch_size)
        classes = self._to_labels(class_labels, batch_size)
        noise = self._randn((batch_size, *self.coder.latent_shape), generator)
        labels = self._labels(batch_size, classes, self._to_condition("style", style, batch_size, generator))
        z = self._sample(noise, labels, sampler, num_inference_steps, guidance_scale, callback_on_step_end)
        return self._to_output(self._decoded(z), output_type, return_dict)

    @checked
    @torch.no_grad()
    def reconstruct(
        self,
        images: Images,
        generator: Generators = None,
        class_labels: Labels = None,
        method: Annotated[
            Literal["inversion", "noise", "autoencoder"],
            {"needs": {"inversion": "transformer", "noise": "transformer"}},
        ] = "inversion",
        style: OwnStyle = "any",
        strength: OwnStrength = 0.5,
        num_inference_steps: OwnSteps = 20,
        guidance_scale: OwnGuidance = 1.0,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """Take images into latents, on into noise, and back; with a style told on the way back, redrawn in it.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: one `torch.Generator`, or a list with one for each image ("noise" only).
            class_labels: of the images, if known.
            method: "inversion" follows the flow backwards to the noise that generates the latent; "noise" mixes in random noise and follows the flow from there, so that details are invented anew; "autoencoder" stops at the latent.
            style: In whose style to draw it on the way back; any: as it is.
            strength: How far into the noise, 1 being all the way.
            num_inference_steps: Steps each way; each evaluates the network twice.
            guidance_scale: Above 1 the way back follows the class and style that are told more closely.

        Returns:
            `ImagesOutput`, one for each input.

        Raises:
            ValueError, TypeError: images of another kind or size, an option that is none of those above, or another method
                than "autoencoder" without a transformer.
        """
        if method != "autoencoder":
            self._need_transformer(f"method: {method!r}")
        x = self._to_tensor(images)
        classes = self._to_labels(class_labels, len(x))
        generator = self._to_generators(generator, len(x))
        self._check_strength(strength)
        asked = None if style == "any" else self._to_condition("style", style, len(x), None)
        there, back = (self._labels(len(x), classes, told) for told in (None, asked))
        z = self._normalised(self.coder.encode(x)[0])
        turn, steps, callback = strength * self._start, num_inference_steps, callback_on_step_end
        if method == "autoencoder":
            self._tell(callback, 0, 0.0, 1, z)
        elif method == "noise":
            u = (1 - turn) * z + turn * self._randn(z.shape, generator).float()
            z = self._follow(u, turn, 0.0, back, steps, callback, guidance_scale=guidance_scale)
        else:
            u = self._follow(z, 0.0, turn, there, steps, callback, legs=(0, 2))
            z = self._follow(u, turn, 0.0, back, steps, callback, legs=(1, 2), guidance_scale=guidance_scale)
        return self._to_output(self._decoded(z), output_type, return_dict)

    @checked
    @torch.no_grad()
    def interpolate(
        self,
        a: Images,
        b: Images,
        num_frames: int = 8,
        generator: Generators = None,
        strength: OwnStrength = 1.0,
        num_inference_steps: OwnSteps = 20,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """From one image to another: both latents into noise, along the arc between the noises, and back.

        Without a transformer the latents are all there is, and the arc is drawn between these.

        Args:
            a: the first image.
            b: the last image.
            num_frames: M, frames including both ends.
            generator: not used: this path is deterministic.
            strength: How far into the noise the path is drawn; less keeps closer to a blend of the two latents.
            num_inference_steps: Steps each way; each evaluates the network twice.

        Returns:
            `ImagesOutput` with M images.

        Raises:
            ValueError, TypeError: images of another kind or size, fewer than 2 frames, or an option out of range.
        """
        if num_frames < 2:
            raise ValueError("num_frames: needs at least 2, the two ends.")
        self._check_strength(strength)
        pair = torch.cat([self._to_tensor(a)[:1], self._to_tensor(b)[:1]])
        z = self._normalised(self.coder.encode(pair)[0])
        weights = torch.linspace(0, 1, num_frames, device=z.device)
        if self.transformer is None:
            z = slerp(z[:1], z[1:], weights)
            self._tell(callback_on_step_end, 0, 0.0, 1, z)
            return self._to_output(self._decoded(z), output_type, return_dict)
        turn, how = strength * self._start, (None, num_inference_steps, callback_on_step_end)
        noise = self._follow(z, 0.0, turn, *how, legs=(0, 2))
        u = slerp(noise[:1], noise[1:], weights)
        z = self._follow(u, turn, 0.0, *how, legs=(1, 2))
        return self._to_output(self._decoded(z), output_type, return_dict)

    @staticmethod
    def _check_strength(strength: float) -> None:
        if not 0 < strength <= 1:
            raise ValueError(f"strength: must lie above 0 and not above 1, not {strength}.")

    # ---- how strange ----

    @checked
    @torch.no_grad()
    def anomaly_score(
        self,
        images: Images,
        generator: Generators = None,
        class_labels: Labels = None,
        score: Annotated[
            Literal["typicality", "denoising", "autoencoder"],
            {"needs": {"typicality": "transformer", "denoising": "transformer"}},
        ] = "typicality",
        num_inference_steps: OwnSteps = 8,
        callback_on_step_end: Callable | None = None,
    ) -> AnomalyOutput:
        """How strange an image is to the model.

        Each half is fooled in its way: an auto-encoder restores simple strangers well, and a diffusion model finds some of
        them more likely than its data (Nalisnick et al. 2019). The typicality score therefore asks whether an image is
        like the training images in several statistics at once (Morningstar et al. 2021), in either direction: errors of
        the auto-encoder and of the velocity, the noise that the network sees in the latent (the norm of the score, Mahmood
        et al. 2021), and norm and neighbours' correlation of the noise it is encoded to. It is their Mahalanobis distance
        d from the training images, by the mean and covariance that `fit` found; before `fit`, their plain norm.

        Told an image's class, "denoising" is the error of the transformer that is told it, and typicality
        sqrt(d^2 + F max(m, 0)^2): F is the number of statistics, and m how much less being told helps than it does training
        images of their own class, in standard deviations. Being told helps by the mean over several times of
        log(error untold / error told), the same noise added, which is what a diffusion classifier goes by (Li et al. 2023
        sec. 3). A class that helps one deviation less than usual so adds F, which is what d^2 is on average over training
        images, and no class makes an image less strange. Before `fit` has seen images with classes, m is in nats, as it is.
        The auto-encoder knows no classes.

        The maps show (x - x_hat)^2 of the auto-encoder, (z - z_hat)^2 of the transformer, told the class if one is, brought
        to the image's size, or for typicality the sum of both, each in units of its mean over the training images.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: one `torch.Generator`, or a list with one for each image; None: seed 0 for each image.
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "typicality" is high for images unlike the training images in any direction, also for all too simple ones; "denoising" is the mean error of the transformer's predictions; "autoencoder" is the error of the reconstruction.
            num_inference_steps: Steps on the way into noise (typicality only, which is calibrated for the default).

        Returns:
            `AnomalyOutput` with scores [N], maps [N, H, W], and the unit.

        Raises:
            ValueError, TypeError: images of another kind or size, labels that do not fit, an unknown score, or another than
                "autoencoder" without a transformer.
        """
        if score != "autoencoder":
            self._need_transformer(f"score: {score!r}")
        x = self._to_tensor(images)
        if generator is None:  # a score is a measurement: the same image gets the same score
            generator = [torch.Generator().manual_seed(0) for _ in range(len(x))]
        generator, callback = self._to_generators(generator, len(x)), callback_on_step_end
        classes = self._to_labels(class_labels, len(x))
        if score == "autoencoder":
            z, error, _ = self._restored(x)
            self._tell(callback, 0, 0.0, 1, z)
            return self._measured(error.mean((1, 2, 3)), error.mean(1))
        labels = self._labels(len(x), classes, None)
        if score == "denoising":
            z = self._normalised(self.coder.encode(x)[0])
            (errors,), (map_,) = self._denoising_errors(z, [labels], generator, callback, 0, len(ERROR_TIMES))
            return self._measured(errors.mean(1), self._enlarged(map_))
        features, mismatch, (pixel_map, *latent_maps) = self._features(
            x, labels, generator, num_inference_steps, callback
        )
        known, units = self.config.typicality, (1.0, 1.0)
        if known:
            mean = torch.tensor(known["mean"], dtype=torch.float64)
            precision = torch.tensor(known["precision"], dtype=torch.float64)
            features, units = features - mean, known["map_units"]
            squared = ((features @ precision) * features).sum(1)
        else:
            squared = features.square().sum(1)
        if mismatch is not None:
            usual = (known or {}).get("class_mismatch") or {"mean": 0.0, "std": 1.0}
            above = ((mismatch - usual["mean"]) / usual["std"]).clamp(min=0)
            squared = squared.clamp(min=0) + features.shape[1] * above.square()
        map_ = pixel_map / units[0] + self._enlarged(latent_maps[-1]) / units[1]
        return self._measured(squared.clamp(min=0).sqrt(), map_, "Mahalanobis distance")

    @staticmethod
    def _measured(scores: torch.Tensor, maps: torch.Tensor, unit: str = "mean squared error") -> AnomalyOutput:
        return AnomalyOutput(scores=scores.float().cpu(), maps=maps.float().cpu(), unit=unit)

    def _restored(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images [N, C, S, S] -> latents, squared error of the reconstruction [N, C, S, S], and of its edges [N]."""
        z = self._normalised(self.coder.encode(x)[0])
        restored = self._decoded(z)
        blur = [(a - b).square().mean((1, 2, 3)) for a, b in zip(edges(restored), edges(x.float()), strict=True)]
        return z, (restored - x.float()).square(), sum(blur) / len(blur)

    def _enlarged(self, map_: torch.Tensor) -> torch.Tensor:
        """A map of the latents [N, h, w] at the images' size [N, S, S]."""
        size = self.config.sample_size
        return F.interpolate(map_[:, None], size=(size, size), mode="bilinear")[:, 0]

    def _denoising_errors(
        self,
        z: torch.Tensor,
        told: list[torch.Tensor | None],
        generator,
        callback: Callable | None,
        first: int,
        total: int,
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """(v_hat - v)^2 at the ERROR_TIMES, of the network told each of `told`, labels [N, K] or None, about the same u.

        Returns:
            (means [N, T], maps [N, h, w] of (z_hat - z)^2 = r^2 (v_hat - v)^2), both for each of `told`.
        """
        errors, maps = [[] for _ in told], [0.0 for _ in told]
        for i, place in enumerate(ERROR_TIMES):
            noise = self._randn(z.shape, generator).float()
            u = (1 - place) * z + place * noise
            for k, labels in enumerate(told):
                v = self._velocity(u, u.new_full((len(u),), place), labels)
                squared = (v - (noise - z)).square()  # [N, c, h, w]
                errors[k].append(squared.mean((1, 2, 3)))
                maps[k] = maps[k] + place**2 * squared.mean(1) / len(ERROR_TIMES)
            self._tell(callback, first + i, place, total, u - place * v)
        return [torch.stack(means, dim=1) for means in errors], maps

    def _features(
        self, x: torch.Tensor, labels: torch.Tensor | None, generator, num_inference_steps: int, callback=None
    ) -> tuple[torch.Tensor, torch.Tensor | None, tuple[torch.Tensor, ...]]:
        """FEATURES of images, in which labels [N, K] play no part, and how badly these fit.

        Returns:
            (features, float64 [N, F] on the CPU; mean over the times of log(error told / error untold), float64 [N] on the
            CPU, None without labels; the maps, [N, S, S] of pixels, [N, h, w] of latents, and with labels one more of those,
            of the network that is told them).
        """
        z, error, blur = self._restored(x)
        total = num_inference_steps + len(ERROR_TIMES)
        # `_follow` counts its own steps; what comes after is added to the number that it tells
        steps = None
        if callback is not None:

            def steps(pipe, step, timestep, values):
                callback(pipe, step, timestep, {**values, "num_timesteps": total})

        noise = self._follow(z, 0.0, self._start, None, num_inference_steps, steps)
        told = [None] if labels is None else [None, labels]
        (untold_errors, *told_errors), latent_maps = self._denoising_errors(
            z, told, generator, callback, num_inference_steps, total
        )
        seen = []
        for place in SCORE_TIMES:
            u = (1 - place) * z
            v = self._velocity(u, u.new_full((len(u),), place), None)
            seen.append((u + (1 - place) * v).square().mean((1, 2, 3)))  # the noise that is not there
        features = [
            _log(error.mean((1, 2, 3))),
            _log(blur),
            z.square().mean((1, 2, 3)),
            *_log(untold_errors).unbind(1),
            *map(_log, seen),
            noise.square().mean((1, 2, 3)),
            (noise[..., 1:] * noise[..., :-1]).mean((1, 2, 3)),
            (noise[..., 1:, :] * noise[..., :-1, :]).mean((1, 2, 3)),
        ]
        mismatch = None
        if told_errors:
            mismatch = (_log(told_errors[0]) - _log(untold_errors)).mean(1).cpu().double()
        return torch.stack(features, dim=1).cpu().double(), mismatch, (error.mean(1), *latent_maps)

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Calibrate the typicality score: mean and precision of the FEATURES of training images, into the configuration.

        With labels, also mean and standard deviation of how badly their own class fits them.

        Takes NUM_CALIBRATION_IMAGES at random from one pass (reservoir sampling, Vitter 1985), or all if there are fewer.

        Args:
            batches: of `{"images", "class_labels"}`, the labels None or missing where there are none; one pass over the
                training data.

        Raises:
            ValueError: fewer than two images.
        """
        random = np.random.default_rng(0)
        chosen: list[tuple[torch.Tensor, torch.Tensor | None]] = []
        seen = 0
        for batch in batches:
            classes = batch.get("class_labels") if self.config.id2label else None
            for i, image in enumerate(batch["images"]):
                seen += 1
                item = (image, None if classes is None else classes[i])
                if len(chosen) < NUM_CALIBRATION_IMAGES:
                    chosen.append(item)
                elif (place := random.integers(seen)) < NUM_CALIBRATION_IMAGES:
                    chosen[place] = item
        if len(chosen) < 2:
            raise ValueError("batches: calibration needs at least two images.")
        rows, mismatches, units = [], [], []
        steps = inspect.signature(self.anomaly_score).parameters["num_inference_steps"].default
        for start in range(0, len(chosen), 64):
            images, classes = zip(*chosen[start : start + 64], strict=True)
            x = self._to_tensor(torch.stack(images))
            known = all(label is not None and label >= 0 for label in classes)
            given = torch.stack(classes).to(x.device) if known else None
            generators = [torch.Generator().manual_seed(start + i) for i in range(len(x))]
            features, mismatch, maps = self._features(x, self._labels(len(x), given, None), generators, steps)
            rows.append(features)
            mismatches.append(mismatch)
            units.append([map_.mean().item() * len(x) for map_ in maps[:2]])  # of the network that is told nothing
        features = torch.cat(rows)  # [M, F]
        centred = features - features.mean(0)
        covariance = centred.T @ centred / (len(features) - 1)
        # Neighbouring times say much the same. Shrinking the covariances keeps the score from resting on differences
        # between them so fine that the rounding of half precision would decide it.
        variance = covariance.diagonal().clamp(min=1e-8)
        precision = torch.linalg.inv(0.95 * covariance + 0.05 * torch.diag(variance) + 1e-8 * torch.eye(len(variance)))
        calibration = {
            "features": list(FEATURES),
            "mean": features.mean(0).tolist(),
            "precision": precision.tolist(),
            "map_units": [max(sum(unit) / len(chosen), 1e-8) for unit in zip(*units, strict=True)],
        }
        if all(mismatch is not None for mismatch in mismatches):
            calibration["class_mismatch"] = _mean_and_std(torch.cat(mismatches))
        self.register_to_config(typicality=calibration)


def _log(values: torch.Tensor) -> torch.Tensor:
    return values.clamp(min=1e-8).log()


def _mean_and_std(values: torch.Tensor) -> dict[str, float]:
    return {"mean": values.mean().item(), "std": max(values.std().item(), 1e-8)}
