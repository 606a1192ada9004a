"""Score-based generative modelling by stochastic differential equations: one denoiser, every process and sampler.

    D(y; sigma) = c_skip y + c_out F(c_in y; c_noise)       Karras et al. 2022 eq. 7, F the network
    grad log p(y; sigma) = (D(y; sigma) - y) / sigma^2       Karras et al. 2022 eq. 3; the score
    y = x_0 + sigma eps, x = s y                             every process of scheduling_score_sde.py

This file holds the network and the tasks; the processes, samplers and the likelihood are in its scheduler,
scheduling_score_sde.py. With diffusers installed the two need nothing else.

Papers:
    Song et al.: Score-Based Generative Modeling through Stochastic Differential Equations, 2021,
        https://arxiv.org/abs/2011.13456
    Karras et al.: Elucidating the Design Space of Diffusion-Based Generative Models, 2022, https://arxiv.org/abs/2206.00364
    Song, Ermon: Generative Modeling by Estimating Gradients of the Data Distribution, 2019, https://arxiv.org/abs/1907.05600
    Ho, Salimans: Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598
    Meng et al.: SDEdit, 2021, https://arxiv.org/abs/2108.01073
    Mahmood et al.: Multiscale Score Matching for Out-of-Distribution Detection, 2021, https://arxiv.org/abs/2010.13132
    Nalisnick et al.: Do Deep Generative Models Know What They Don't Know?, 2018, https://arxiv.org/abs/1810.09136
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
from typing import Annotated, Literal

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, SchedulerMixin, ScoreSdeVeScheduler, UNet2DModel
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor

Sampler = Literal[
    "heun",
    "rk45",
    "predictor-corrector",
    "reverse diffusion",
    "euler-maruyama",
    "ancestral",
    "annealed langevin",
]
ProcessName = Literal["edm", "ve", "vp", "sub-vp"]
Keep = Literal[
    "everything", "left half", "right half", "top half", "bottom half", "border", "centre", "structure", "brightness"
]
Score = Literal["typicality", "score norms", "likelihood"]
Images = PIL.Image.Image | list[PIL.Image.Image] | np.ndarray | torch.Tensor
Labels = int | list[int] | torch.Tensor | None
Generators = torch.Generator | list[torch.Generator] | None

# The positional embedding of a timestep tells apart what differs by about one, c_noise = log(sigma) / 4 spans -1.6 ... 1.1.
TIMESTEPS_PER_C_NOISE = 100
# Where an image's score is measured: from fine texture to the outline. Beyond, all images look alike.
FEATURE_SIGMAS = (0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0)
# Where it is measured whether a class helps to denoise it: in less noise the image says all by itself, in more it is gone.
CLASS_SIGMAS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0)


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


@dataclass
class ScoreSdeOutput(ImagesOutput):
    """`num_function_evaluations`: of the denoiser for each image, list of N ints; one with guidance is two network passes."""

    num_function_evaluations: list[int] | None = None


class Denoiser:
    """D(y; sigma) of one call: the network with its labels, guidance and constraint, counting its evaluations.

    Args:
        pipeline: holds the network.
        labels: int64 [N] or None.
        guidance_scale: g of g D(y | label) - (g - 1) D(y) (Ho and Salimans 2022 eq. 6 with g = 1 + w).
        clip: keep x_0 in [-1, 1]. Good for samples; a likelihood or an encoding needs the unclipped field.
        known: float [N, C, S, S] or None, of which `projection` is known.
        projection: an orthogonal projection of [N, C, S, S].

    With a constraint P x_0 = P known, the score's known part is given and the rest is the network's:
    D' = D + P (known - D). In the known subspace the samplers then follow exactly the noised known image, and what is
    open is imputed (Song et al. 2021 app. I.2 for pixels, I.3 for other orthonormal coordinates).
    """

    def __init__(self, pipeline, labels=None, guidance_scale=1.0, clip=False, known=None, projection=None):
        self.pipeline, self.labels, self.guidance_scale, self.clip = pipeline, labels, guidance_scale, clip
        self.known, self.projection = known, projection
        self.num_evaluations: torch.Tensor | int = 0  # [N] once called

    def __call__(self, y: torch.Tensor, sigma: float | torch.Tensor, index: torch.Tensor | None = None):
        """y [n, C, S, S], sigma a number or [n], index [n] of these samples in the batch -> x_0 [n, C, S, S]."""
        chosen = slice(None) if index is None else index
        if isinstance(self.num_evaluations, int):
            self.num_evaluations = torch.zeros(len(y), dtype=torch.int64)
        self.num_evaluations[chosen if index is None else index.cpu()] += 1
        labels = None if self.labels is None else self.labels[chosen]
        sigma = torch.as_tensor(sigma, dtype=y.dtype, device=y.device).expand(len(y))
        if labels is None or self.guidance_scale == 1.0:
            x0 = self.pipeline.denoise(y, sigma, labels)
        else:
            none = torch.full_like(labels, self.pipeline.unet.config.num_class_embeds - 1)
            both = self.pipeline.denoise(torch.cat([y, y]), torch.cat([sigma, sigma]), torch.cat([labels, none]))
            conditional, unconditional = both.chunk(2)
            x0 = unconditional + self.guidance_scale * (conditional - unconditional)
        if self.clip:
            x0 = x0.clamp(-1, 1)
        return x0 if self.known is None else x0 + self.projection(self.known[chosen] - x0)


def _scheduling():
    """The scheduler's module, by name, beside this file: an import statement would make bare diffusers look on the Hub."""
    return importlib.import_module(__name__.replace("pipeline_score_sde", "scheduling_score_sde"))


class ScoreSdePipeline(FamilyPipeline):
    """A noise-conditional `UNet2DModel` with EDM preconditioning, sampled under any process by any solver.

    Args:
        unet: F; takes [N, C * p * p, S / p, S / p], timesteps [N] and, where conditional, labels [N] of which the last
            one (`num_class_embeds - 1`) stands for "no class".
        scheduler: `ScoreSdeScheduler`; or diffusers' `ScoreSdeVeScheduler`, whose network gives the score of images in [0, 1].
        sample_size: S, side of the square images in pixels.
        channels: C, 1 or 3.
        patch_size: p, space-to-depth factor in front of the network. A permutation of pixels: white noise stays white
            noise and the diffusion is the same, several times cheaper on a CPU.
        class_dropout: part of the training labels that is replaced by "no class", for classifier-free guidance.
        calibration: {"mean": [K], "covariance": [K][K]} of the features of training images and, where they have classes,
            "class_mismatch": {"mean", "std"}; written by `fit`.
        id2label: names of the classes.
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
        calibration: dict[str, list] | None = None,
        id2label: dict[str, str] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        if isinstance(scheduler, ScoreSdeVeScheduler):  # of a stock ScoreSdeVePipeline
            scheduler = _scheduling().ScoreSdeScheduler.adopt(scheduler)
        if not isinstance(sample_size or unet.config.sample_size, int):
            raise ValueError(f"unet: draws images of {unet.config.sample_size} pixels; this family knows squares only.")
        self.register_modules(unet=unet, scheduler=scheduler)
        self.register_to_config(
            sample_size=sample_size or unet.config.sample_size * patch_size,
            channels=channels or unet.config.in_channels // patch_size**2,
            patch_size=patch_size,
            class_dropout=class_dropout,
            calibration=calibration,
            id2label=id2label,
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
        **noise_levels,
    ) -> ScoreSdePipeline:
        """Fresh weights. Attention stands at the lowest resolution only, where it is cheap.

        Args:
            noise_levels: the parameters of `ScoreSdeScheduler`: sigma_data, sigma_min, sigma_max and the others.

        Raises:
            TypeError: a parameter that the scheduler does not have.
            ValueError: the sizes do not divide, or noise levels out of order.
        """
        levels = len(block_out_channels)
        if sample_size % (patch_size * 2 ** (levels - 1)):
            raise ValueError(
                f"sample_size {sample_size} must be a multiple of patch_size {patch_size} x 2^{levels - 1} "
                f"for {levels} levels of block_out_channels."
            )
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
            _scheduling().ScoreSdeScheduler(**noise_levels),
            sample_size=sample_size,
            channels=channels,
            patch_size=patch_size,
            class_dropout=class_dropout,
            id2label=id2label if conditional else None,
        )

    # ---- the network ----

    def _network(self, x: torch.Tensor, timesteps: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """The UNet: x [N, C, S, S], timesteps [N], labels [N] or None -> float32 [N, C, S, S]."""
        p = self.config.patch_size
        conditional = self.unet.config.num_class_embeds is not None
        if conditional and labels is None:
            labels = torch.full((len(x),), self.unet.config.num_class_embeds - 1, device=x.device)
        h = F.pixel_unshuffle(x, p).to(self.dtype)  # [N, C p p, S/p, S/p]
        h = self.unet(h, timesteps.float(), class_labels=labels if conditional else None).sample
        return F.pixel_shuffle(h, p).float()  # [N, C, S, S]

    def denoise(self, y: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """D(y; sigma) = E[x_0 | x_0 + sigma eps = y] (Karras et al. 2022 eq. 7; eq. 3 for a network that gives the score).

        Args:
            y: float32 or float64 [N, C, S, S].
            sigma: [N] of the same type, > 0.
            labels: int64 [N]; None: the unconditional model.

        Returns:
            [N, C, S, S] of y's type.
        """
        if self.scheduler.config.network == "score":
            # In its images u = (y + 1) / 2 it knows E[u_0 | u] = u + (sigma/2)^2 score(u; sigma/2), Tweedie's formula.
            score = self._network((y + 1) / 2, sigma / 2, labels)
            return y + (sigma**2 / 2)[:, None, None, None] * score
        c_skip, c_out, c_in, c_noise = self.scheduler.preconditioning(sigma)
        output = self._network(c_in[:, None, None, None] * y, TIMESTEPS_PER_C_NOISE * c_noise.float(), labels)
        return c_skip[:, None, None, None] * y + c_out[:, None, None, None] * output

    @torch.no_grad()
    def predict(
        self, x: torch.Tensor, sigma: float, scale: float = 1.0, class_labels: Labels = None
    ) -> dict[str, torch.Tensor]:
        """The network's answer in all four views.

        Args:
            x: float32 [N, C, S, S], s (x_0 + sigma eps).
            sigma: noise level of x / s.
            scale: s; `scheduler.process(name)` tells both at a time t.
            class_labels: int, list or int64 tensor [N]; None: the unconditional model.

        Returns:
            {"x0", "epsilon", "score", "v"}, each [N, C, S, S].
        """
        x0 = Denoiser(self, self._to_labels(class_labels, len(x)))(x / scale, sigma)
        return self.scheduler.views(x, x0, scale, sigma)

    def _noise(self, shape, generator) -> torch.Tensor:
        """As `_randn`, but in float32 whatever the network's dtype."""
        return randn_tensor(tuple(shape), generator=generator, device=self.device, dtype=torch.float32)

    def _state(self, x: torch.Tensor) -> torch.Tensor:
        """What a solver carries along, in float64 as in Karras et al.'s code: at sigma 80 float32 rounds it by 1e-5."""
        return x.to(torch.float32 if x.device.type == "mps" else torch.float64)

    def _sample(self, denoise, y, sampler, process, times, generator, callback, **options) -> torch.Tensor:
        """Run a sampler from y = x / s at times[0] to x_0."""
        on_step = self._reporter(callback, 100 if sampler == "rk45" else len(times))
        x = process.scale(times[0]) * self._state(y)
        return self.scheduler.sample(
            sampler, denoise, x, process, times, lambda: self._noise(y.shape, generator), on_step, **options
        )

    # ---- the tasks ----

    @checked
    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        generator: Generators = None,
        class_labels: Labels = None,
        sampler: Sampler = "ancestral",
        process: ProcessName = "edm",
        num_inference_steps: Annotated[int, {"minimum": 2, "maximum": 500, "step": 1}] = 40,
        guidance_scale: Annotated[float, {"minimum": 0.0, "maximum": 6.0, "step": 0.1}] = 1.0,
        churn: Annotated[float, {"minimum": 0.0, "maximum": 100.0, "step": 1.0}] = 0.0,
        num_corrector_steps: Annotated[int, {"minimum": 1, "maximum": 20, "step": 1}] = 2,
        snr: Annotated[float, {"minimum": 0.01, "maximum": 0.5, "step": 0.01}] = 0.16,
        tolerance: Annotated[float, {"minimum": 0.00001, "maximum": 0.1, "step": 0.00001}] = 0.01,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ScoreSdeOutput | tuple:
        """Generate images from noise.

        Args:
            batch_size: N, how many.
            generator: one `torch.Generator`, or a list with one for each sample.
            class_labels: int, list or int64 tensor [N]; None: the unconditional model.
            sampler: Heun and adaptive RK45 solve the probability-flow ODE; predictor-corrector, reverse diffusion, Euler-Maruyama and ancestral the reverse SDE; annealed Langevin is NCSN's.
            process: How the noise levels and the scale run in time: EDM (Karras et al. 2022), or VE, VP and sub-VP (Song et al. 2021). The network is the same.
            num_inference_steps: Noise levels of the sampler, fewer is faster; the adaptive RK45 finds its own.
            guidance_scale: Above 1 samples follow their class more closely and vary less; 0 ignores the class. Any value but 1 takes twice the time.
            churn: Fresh noise along the path, Heun only: 0 is deterministic, more corrects errors (Karras et al. 2022 alg. 2) and needs more steps.
            num_corrector_steps: Langevin steps at each noise level, predictor-corrector and annealed Langevin only.
            snr: Size of the corrector's steps as a signal-to-noise ratio, predictor-corrector only.
            tolerance: Error allowed in each step of the adaptive RK45, where pixels span 2.
            callback_on_step_end: called as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}), the timestep
                being sigma; RK45 cannot know its steps beforehand and reports per cent.
            output_type: "pil", "np" ([N, H, W, C] in [0, 1]) or "pt" ([N, C, H, W] in [0, 1]).
            return_dict: False: a tuple of the images.

        Returns:
            `ScoreSdeOutput`, with the number of evaluations of the denoiser.

        Raises:
            ValueError: a label, generator list, step count, sampler or process that does not fit.
        """
        generator = self._to_generators(generator, batch_size)
        labels = self._to_labels(class_labels, batch_size)
        process, times = self._times(process, num_inference_steps)
        options = {
            "heun": {"churn": churn},
            "rk45": {"tolerance": tolerance},
            "predictor-corrector": {"num_corrector_steps": num_corrector_steps, "snr": snr},
            "annealed langevin": {"num_corrector_steps": num_corrector_steps},
        }.get(sampler, {})
        size = self.config.sample_size
        noise = self._noise((batch_size, self.config.channels, size, size), generator)
        denoise = Denoiser(self, labels, guidance_scale, clip=True)
        y = process.sigma(times[0]) * noise
        x = self._sample(denoise, y, sampler, process, times, generator, callback_on_step_end, **options)
        return self._to_counted(x, denoise, output_type, return_dict)

    @checked
    @torch.no_grad()
    def reconstruct(
        self,
        images: Images,
        generator: Generators = None,
        class_labels: Labels = None,
        keep: Keep = "everything",
        method: Literal["ode", "noise"] = "ode",
        strength: Annotated[float, {"minimum": 0.05, "maximum": 1.0, "step": 0.05}] = 1.0,
        num_inference_steps: Annotated[int, {"minimum": 2, "maximum": 500, "step": 1}] = 20,
        guidance_scale: Annotated[float, {"minimum": 0.0, "maximum": 6.0, "step": 0.1}] = 1.0,
        churn: Annotated[float, {"minimum": 0.0, "maximum": 100.0, "step": 1.0}] = 10.0,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ScoreSdeOutput | tuple:
        """Take images into noise and back; or keep a part of them and generate the rest.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: one `torch.Generator`, or a list with one for each image (not used by "ode").
            class_labels: of the images, or of what is to be made of them.
            keep: What of the image stays; all else is generated to fit. "structure" keeps the averages of small blocks, "brightness" the average of the colours, "everything" reconstructs.
            method: How "everything" is reconstructed: "ode" follows the probability-flow ODE to the noise that generates the image; "noise" adds random noise and denoises it (SDEdit), so that details are invented anew.
            strength: How far into the noise, 1 being all the way.
            num_inference_steps: Noise levels of Heun's method, each way.
            guidance_scale: Above 1 the generated parts follow the class more closely, if there is one; not used by "ode".
            churn: Fresh noise along the way, which fits the generated parts to the kept ones; not used by "ode".
            callback_on_step_end: called as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).
            output_type: "pil", "np" ([N, H, W, C] in [0, 1]) or "pt" ([N, C, H, W] in [0, 1]).
            return_dict: False: a tuple of the images.

        Returns:
            `ScoreSdeOutput`, one image for each input, with the number of evaluations of the denoiser.

        Raises:
            ValueError, TypeError: images of another kind or size, labels that do not fit, or an unknown choice.
        """
        if method not in ("ode", "noise"):
            raise ValueError(f"method: choose 'ode' or 'noise', not {method!r}.")
        x = self._to_tensor(images).float()
        labels = self._to_labels(class_labels, len(x))
        generator = self._to_generators(generator, len(x))
        sigmas = self._levels(num_inference_steps, strength)
        if keep == "everything" and method == "ode":
            denoise = Denoiser(self, labels)
            total = 2 * (len(sigmas) - 1)
            x = self._follow(denoise, x, sigmas[::-1], self._reporter(callback_on_step_end, total))
            x = self._follow(denoise, x, sigmas, self._reporter(callback_on_step_end, total, total // 2))
        else:
            denoise = Denoiser(self, labels, guidance_scale, clip=True)
            if keep != "everything":
                denoise.known, denoise.projection = x, self._projection(keep)
            y = x + sigmas[0] * self._noise(x.shape, generator)
            if keep != "everything" and strength == 1:  # nothing of the open part shines through
                y = y - x + denoise.projection(x)
            process = self.scheduler.process("edm")
            x = self._sample(denoise, y, "heun", process, sigmas, generator, callback_on_step_end, churn=churn)
        return self._to_counted(x, denoise, output_type, return_dict)

    @checked
    @torch.no_grad()
    def interpolate(
        self,
        a: Images,
        b: Images,
        num_frames: int = 8,
        generator: Generators = None,
        num_inference_steps: Annotated[int, {"minimum": 2, "maximum": 500, "step": 1}] = 20,
        strength: Annotated[float, {"minimum": 0.05, "maximum": 1.0, "step": 0.05}] = 1.0,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ScoreSdeOutput | tuple:
        """From one image to another: both to noise along the ODE, an arc between the noises, and back (Song et al. 2021 sec. 4.3).

        Args:
            a: the first image.
            b: the last image.
            num_frames: M, frames including both ends.
            generator: not used: this path is deterministic.
            num_inference_steps: Noise levels of Heun's method, each way.
            strength: How far into the noise the path is drawn; less keeps closer to a blend of the two images.
            callback_on_step_end: called as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).
            output_type: "pil", "np" ([M, H, W, C] in [0, 1]) or "pt" ([M, C, H, W] in [0, 1]).
            return_dict: False: a tuple of the images.

        Returns:
            `ScoreSdeOutput` with M images and the number of evaluations of the way back.

        Raises:
            ValueError, TypeError: images of another kind or size, or fewer than 2 frames.
        """
        if num_frames < 2:
            raise ValueError("num_frames: needs at least 2, the two ends.")
        pair = torch.cat([self._to_tensor(a)[:1], self._to_tensor(b)[:1]]).float()
        sigmas = self._levels(num_inference_steps, strength)
        total = 2 * (len(sigmas) - 1)
        y = self._follow(Denoiser(self), pair, sigmas[::-1], self._reporter(callback_on_step_end, total))
        y = slerp(y[:1], y[1:], torch.linspace(0, 1, num_frames, device=y.device))
        denoise = Denoiser(self)
        x = self._follow(denoise, y, sigmas, self._reporter(callback_on_step_end, total, total // 2))
        return self._to_counted(x, denoise, output_type, return_dict)

    @checked
    @torch.no_grad()
    def anomaly_score(
        self,
        images: Images,
        generator: Generators = None,
        class_labels: Labels = None,
        score: Score = "typicality",
        num_inference_steps: Annotated[int, {"minimum": 2, "maximum": 100, "step": 1}] = 10,
        callback_on_step_end: Callable | None = None,
    ) -> AnomalyOutput:
        """How strange an image is.

        Likelihood alone misleads: a model of clothes gives simple images of other things, digits for one, a *higher*
        density than clothes (Nalisnick et al. 2018). So the default asks not how dense the place is where the image lies,
        but whether the score field around it looks as around training images: at L noise levels the squared norms of
        the score (Mahmood et al. 2021 sec. 3), as logarithms, make a vector of features, and the score is its
        Mahalanobis distance d from the training images' (`fit`). Too simple and too complex are both far. The map is the
        mean of (sigma score)^2 over the levels: where the model would change the image.

        Told an image's class, "likelihood" is -log p(x | y), "score norms" are those of the network that is told it, and
        typicality is sqrt(d^2 + K max(m, 0)^2): K is the number of features, and m how much less being told helps than it
        does training images of their own class, in standard deviations (`class_mismatch`). A class that helps
        one deviation less than usual so adds K, which is what d^2 is on average over training images, and no class makes an
        image less strange. Before `fit` has seen images with classes, m is in nats, as it is. The map is then the error of
        denoising the image, told the class. In "likelihood" and "score norms" the class is all but lost beside the rest.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: one `torch.Generator`, or a list with one for each image, of the noise of "likelihood" and of what a
                class helps; None: seed 0 for each image.
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "typicality" is the distance from training images over many noise levels; "score norms" is the same measurement before calibration; "likelihood" is the negative log-likelihood, which takes digits for ordinary.
            num_inference_steps: Noise levels on the path of the likelihood; the others have their own.
            callback_on_step_end: called as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).

        Returns:
            `AnomalyOutput` with scores [N], maps [N, H, W] and the unit.

        Raises:
            TypeError, ValueError: images of another kind or size, labels or generators that do not fit, or an unknown score.
        """
        if score not in ("typicality", "score norms", "likelihood"):
            raise ValueError(f"score: choose 'typicality', 'score norms' or 'likelihood', not {score!r}.")
        x = self._to_tensor(images).float()
        generator = self._measuring(generator, len(x))
        labels = self._to_labels(class_labels, len(x))
        if score == "likelihood":
            nats = self.log_likelihood(
                x, generator, labels, num_inference_steps=num_inference_steps, callback_on_step_end=callback_on_step_end
            )
            return AnomalyOutput(scores=-nats, maps=None, unit="nats")
        if score == "score norms":
            features, maps = self.score_features(x, callback_on_step_end, labels)
            norms = features.exp().mean(dim=1)
            return AnomalyOutput(scores=norms.cpu(), maps=maps.cpu(), unit="squared norm per pixel")
        extra = 0 if labels is None else len(CLASS_SIGMAS)
        features, maps = self.score_features(x, callback_on_step_end, num_more_steps=extra)
        off, covariance = features.cpu().double(), torch.eye(features.shape[1], dtype=torch.float64)
        known = self.config.calibration or {}
        if known:  # an untrained model knows no typical image: distances from 0
            off = off - torch.tensor(known["mean"], dtype=torch.float64)
            covariance = torch.tensor(known["covariance"], dtype=torch.float64)
        squared = (off * torch.linalg.solve(covariance, off.T).T).sum(dim=1)
        if labels is not None:
            mismatch, maps = self.class_mismatch(x, labels, generator, callback_on_step_end, len(FEATURE_SIGMAS))
            usual = known.get("class_mismatch") or {"mean": 0.0, "std": 1.0}
            above = ((mismatch.cpu().double() - usual["mean"]) / usual["std"]).clamp(min=0)
            squared = squared + features.shape[1] * above.square()
        return AnomalyOutput(scores=squared.sqrt().float(), maps=maps.cpu(), unit="Mahalanobis distance")

    @torch.no_grad()
    def score_features(
        self,
        images: torch.Tensor,
        callback_on_step_end: Callable | None = None,
        class_labels: Labels = None,
        num_more_steps: int = 0,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Logarithms of the mean of (sigma score)^2 over the pixels, at each of `FEATURE_SIGMAS` (Mahmood et al. 2021 sec. 3).

        As there, the network sees the image itself at each noise level, no noise being added: nothing here is random.

        Args:
            images: float32 [N, C, S, S] in [-1, 1].
            callback_on_step_end: called after each level.
            class_labels: told to the network; None: the unconditional model.
            num_more_steps: of the caller, to come after these.

        Returns:
            (features [N, K], map [N, S, S]: the mean of (sigma score)^2 over levels and channels).
        """
        features, maps = [], torch.zeros(len(images), *images.shape[2:], device=images.device)
        labels, total = self._to_labels(class_labels, len(images)), len(FEATURE_SIGMAS) + num_more_steps
        for i, sigma in enumerate(FEATURE_SIGMAS):
            x0 = Denoiser(self, labels)(images, sigma)
            squared = ((x0 - images) / sigma).square()  # |sigma score|^2, pixel by pixel
            features.append(squared.mean(dim=(1, 2, 3)).clamp(min=1e-8).log())
            maps += squared.mean(dim=1) / len(FEATURE_SIGMAS)
            self._report(callback_on_step_end, i, sigma, total, x0)
        return torch.stack(features, dim=1), maps

    @torch.no_grad()
    def class_mismatch(
        self,
        images: torch.Tensor,
        class_labels: Labels,
        generator: Generators = None,
        callback_on_step_end: Callable | None = None,
        first_step: int = 0,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """How badly a class fits: the mean over `CLASS_SIGMAS` of log(error told / error untold) of denoising the image.

        Both errors are of the same noise, which is what a diffusion classifier goes by (Li et al. 2023 sec. 3).

        Args:
            images: float32 [N, C, S, S] in [-1, 1].
            class_labels: int, list or int64 tensor [N].
            generator: one `torch.Generator`, or a list with one for each image; None: seed 0 for each image.
            callback_on_step_end: called after each level.
            first_step: number of steps of the caller that came before.

        Returns:
            (float32 [N]: negative where the class helps; map [N, S, S]: the squared error of the network that is told the
            class, mean over levels and channels).

        Raises:
            TypeError, ValueError: labels or generators that do not fit.
        """
        generator, labels = self._measuring(generator, len(images)), self._to_labels(class_labels, len(images))
        ratios, maps = [], torch.zeros(len(images), *images.shape[2:], device=images.device)
        for i, sigma in enumerate(CLASS_SIGMAS):
            y = images + sigma * self._noise(images.shape, generator)
            x0 = Denoiser(self, labels)(y, sigma)
            told = (x0 - images).square()  # [N, C, S, S]
            untold = (Denoiser(self)(y, sigma) - images).square()
            errors = torch.stack([told.mean(dim=(1, 2, 3)), untold.mean(dim=(1, 2, 3))]).clamp(min=1e-8).log()
            ratios.append(errors[0] - errors[1])
            maps += told.mean(dim=1) / len(CLASS_SIGMAS)
            self._report(callback_on_step_end, first_step + i, sigma, first_step + len(CLASS_SIGMAS), x0)
        return torch.stack(ratios).mean(dim=0), maps

    @torch.no_grad()
    def fit(self, batches: Iterable[dict], num_images: int = 2000) -> None:
        """Measure the features of training images: their mean and covariance calibrate "typicality".

        With labels, also mean and standard deviation of how badly their own class fits them.

        Args:
            batches: of `{"images", "class_labels"}`, one pass over the training data.
            num_images: how many to measure, drawn evenly from all with seed 0.

        Raises:
            ValueError: fewer images than features.
        """
        generator = torch.Generator().manual_seed(0)
        sample, classes, keys = torch.empty(0), torch.empty(0, dtype=torch.int64), torch.empty(0)
        # each image gets a random key; those with the largest stay, wherever in the data they lie
        for batch in batches:
            images, labels = batch["images"].cpu(), batch.get("class_labels")
            labels = torch.full((len(images),), -1) if labels is None or not self.config.id2label else labels.cpu()
            sample = torch.cat([sample, images]) if len(sample) else images
            classes = torch.cat([classes, labels])
            keys = torch.cat([keys, torch.rand(len(images), generator=generator)])
            keys, order = keys.topk(min(num_images, len(keys)))
            sample, classes = sample[order], classes[order]
        features, mismatches = [], []
        for start in range(0, len(sample), 100):
            x = sample[start : start + 100].to(self.device, torch.float32)
            features.append(self.score_features(x)[0])
            if (classes >= 0).all():
                noise = [torch.Generator().manual_seed(start + i) for i in range(len(x))]
                mismatches.append(self.class_mismatch(x, classes[start : start + 100], noise)[0])
        features = torch.cat(features).cpu().double()  # [num_images, K]
        if len(features) <= features.shape[1]:
            raise ValueError(f"fit: needs more than {features.shape[1]} images, not {len(features)}.")
        covariance = torch.cov(features.T)
        # neighbouring levels say nearly the same: a little on the diagonal keeps the inverse from their rounding
        covariance += 1e-4 * covariance.diagonal().mean() * torch.eye(len(covariance))
        calibration = {"mean": features.mean(dim=0).tolist(), "covariance": covariance.tolist()}
        if mismatches:
            found = torch.cat(mismatches).cpu().double()
            calibration["class_mismatch"] = {"mean": found.mean().item(), "std": max(found.std().item(), 1e-8)}
        self.register_to_config(calibration=calibration)

    # ---- likelihood ----

    @torch.no_grad()
    def log_likelihood(
        self,
        images: Images,
        generator: Generators = None,
        class_labels: Labels = None,
        solver: Literal["heun", "rk45"] = "heun",
        num_inference_steps: Annotated[int, {"minimum": 2, "maximum": 500, "step": 1}] = 20,
        tolerance: Annotated[float, {"minimum": 0.00001, "maximum": 0.1, "step": 0.00001}] = 0.001,
        num_probes: Annotated[int, {"minimum": 0, "maximum": 16, "step": 1}] = 1,
        dequantize: bool = True,
        callback_on_step_end: Callable | None = None,
    ) -> torch.Tensor:
        """log p(x) by the instantaneous change of variables along the probability-flow ODE (Song et al. 2021 eq. 39).

        log p(x) = log N(y; 0, sigma_max^2 I) + int (d - tr dD/dy) d log sigma, over the path from x to y at sigma_max.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: one `torch.Generator`, or a list with one for each image; None: seed 0 for each image.
            class_labels: for log p(x | y); None: the unconditional model.
            solver: Heun at fixed noise levels, or the adaptive RK45.
            num_inference_steps: Noise levels of Heun's method.
            tolerance: Error allowed in each step of the RK45.
            num_probes: Random signs of the trace estimator (Song et al. 2021 eq. 40), unbiased with any number; 0: the exact trace, as slow as the image has dimensions.
            dequantize: Add uniform noise of one grey level of 256, so that the density bounds the probability of the 8-bit image.
            callback_on_step_end: called as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).

        Returns:
            float32 [N]: nats per image, of the density of images in [-1, 1].

        Raises:
            TypeError, ValueError: images of another kind or size, generators that do not fit, or an unknown solver.
        """
        if solver not in ("heun", "rk45"):
            raise ValueError(f"solver: choose 'heun' or 'rk45', not {solver!r}.")
        x = self._to_tensor(images).float()
        labels = self._to_labels(class_labels, len(x))
        generator = self._measuring(generator, len(x))
        if dequantize:
            uniform = torch.special.ndtr(self._noise(x.shape, generator))
            x = x + (uniform - 0.5) * 2 / 255
        x = self._state(x)
        probes = None
        if num_probes:
            # Rademacher, whose estimate varies least of all distributions (Hutchinson 1990)
            probes = torch.stack([self._noise(x.shape, generator).sign() for _ in range(num_probes)])
        evaluate = self.scheduler.with_divergence(Denoiser(self, labels), probes)
        process, _ = self._times("edm", num_inference_steps)
        if solver == "heun":
            sigmas = self.scheduler.levels(num_inference_steps)[::-1]
            report = self._reporter(callback_on_step_end, len(sigmas) - 1)
            y, change = self.scheduler.heun_path(evaluate, x, sigmas, report)
        else:
            report = self._reporter(callback_on_step_end, 100)
            y, change = self.scheduler.rk45_path(evaluate, x, process.stop, process.start, tolerance, report)
        prior = torch.distributions.Normal(0.0, process.start).log_prob(y.double()).sum(dim=(1, 2, 3))
        return (prior + change).float().cpu()

    # ---- shared by the tasks ----

    def _times(self, process: str, num_inference_steps: int):
        """(process, its falling times).

        Raises:
            ValueError: an unknown process, or fewer than 2 steps.
        """
        if num_inference_steps < 2:
            raise ValueError(f"num_inference_steps: needs at least 2, not {num_inference_steps}.")
        process = self.scheduler.process(process)
        return process, process.times(num_inference_steps)

    def _levels(self, num_inference_steps: int, strength: float) -> list[float]:
        """Falling noise levels from `strength` of EDM's schedule, where equal parts change an image about equally.

        Raises:
            ValueError: fewer than 2 steps, or a strength outside of (0, 1].
        """
        if not 0 < strength <= 1:
            raise ValueError(f"strength: must lie above 0 and up to 1, not {strength}.")
        process, _ = self._times("edm", num_inference_steps)
        return self.scheduler.levels(num_inference_steps, process.times(1001)[round(1000 * (1 - strength))])

    @staticmethod
    def _measuring(generator, batch_size: int):
        """Checked generators of a measurement: the same image gets the same value, so None is seed 0 for each image."""
        if generator is None:
            generator = [torch.Generator().manual_seed(0) for _ in range(batch_size)]
        return FamilyPipeline._to_generators(generator, batch_size)

    def _reporter(self, callback: Callable | None, total: int, first: int = 0) -> Callable:
        """The solvers' (step, sigma, x_0) as steps first ... of total of the contract's callback."""
        return lambda i, sigma, x0: self._report(callback, first + i, sigma, total, x0)

    def _follow(self, denoise, y, sigmas, on_step) -> torch.Tensor:
        """Along the probability-flow ODE from sigmas[0] to sigmas[-1], up or down, without likelihood."""

        def evaluate(y, sigma):
            return denoise(y, sigma), 0.0

        return self.scheduler.heun_path(evaluate, self._state(y), sigmas, on_step)[0]

    def _projection(self, keep: str) -> Callable:
        """The orthogonal projection of [N, C, S, S] on what is kept.

        Raises:
            ValueError: an unknown name.
        """
        size = self.config.sample_size
        half, quarter = size // 2, size // 4
        regions = {  # rows, columns
            "left half": (slice(None), slice(0, half)),
            "right half": (slice(None), slice(half, None)),
            "top half": (slice(0, half), slice(None)),
            "bottom half": (slice(half, None), slice(None)),
            "centre": (slice(quarter, size - quarter), slice(quarter, size - quarter)),
        }
        regions["border"] = regions["centre"]
        if keep in regions:
            mask = torch.zeros(size, size, device=self.device)
            mask[regions[keep]] = 1
            mask = 1 - mask if keep == "border" else mask
            return lambda x: mask * x
        if keep == "structure":  # an image of at most 8 x 8 blocks is known
            block = next(b for b in range(2, size + 1) if size % b == 0 and size // b <= 8)
            return lambda x: F.interpolate(F.avg_pool2d(x, block), scale_factor=block)
        if keep == "brightness":
            return lambda x: x.mean(dim=1, keepdim=True).expand_as(x)
        choices = ", ".join(("everything", *regions, "structure", "brightness"))
        raise ValueError(f"keep: choose of {choices}, not {keep!r}.")

    def _to_counted(self, x, denoise: Denoiser, output_type: str, return_dict: bool) -> ScoreSdeOutput | tuple:
        """`_to_output` with the number of evaluations."""
        images = self._to_output(x, output_type).images
        if not return_dict:
            return (images,)
        return ScoreSdeOutput(images=images, num_function_evaluations=denoise.num_evaluations.tolist())

    # ---- training ----

    def loss(self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0):
        """Weighted denoising score matching, lambda(sigma) |D(x_0 + sigma eps; sigma) - x_0|^2 (Karras et al. 2022 eq. 8).

        Args:
            batch: "images" [B, C, S, S] in [-1, 1] and "class_labels" int64 [B] or None.
            generator: for the noise levels, the noise and the dropped labels, on the images' device.
            progress: not used.

        Returns:
            (scalar, {"mse": scalar, unweighted}), both means over pixels; lambda makes the first about 1 for a network
            that gives 0.
        """
        x0 = batch["images"]
        num, device = len(x0), x0.device
        sigma = self.scheduler.training_sigmas(num, generator, device)
        eps = torch.randn(x0.shape, generator=generator, device=device)
        labels = None
        if self.unet.config.num_class_embeds is not None and batch.get("class_labels") is not None:
            drop = torch.rand(num, generator=generator, device=device) < self.config.class_dropout
            labels = torch.where(drop, self.unet.config.num_class_embeds - 1, batch["class_labels"])
        error = (self.denoise(x0 + sigma[:, None, None, None] * eps, sigma, labels) - x0).square().mean(dim=(1, 2, 3))
        return (self.scheduler.loss_weight(sigma) * error).mean(), {"mse": error.mean().detach()}
