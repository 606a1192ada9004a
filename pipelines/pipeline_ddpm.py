"""Denoising diffusion: DDPM, DDIM and their fast solvers on one network.

    q(x_t | x_0) = N(sqrt(a_t) x_0, (1 - a_t) I)            a_t: alpha-bar, Ho et al. 2020 eq. 4
    eps-prediction: the network gives eps                      Ho et al. 2020 eq. 14
    v-prediction:   the network gives sqrt(a) eps - sqrt(1 - a) x_0   Salimans and Ho 2022 app. D

This file stands alone: with diffusers installed it needs nothing else.

Papers:
    Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models, 2020, https://arxiv.org/abs/2006.11239
    Song, Meng, Ermon: Denoising Diffusion Implicit Models, 2020, https://arxiv.org/abs/2010.02502
    Nichol, Dhariwal: Improved Denoising Diffusion Probabilistic Models, 2021, https://arxiv.org/abs/2102.09672
    Ho, Salimans: Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598
    Salimans, Ho: Progressive Distillation for Fast Sampling, 2022, https://arxiv.org/abs/2202.00512
    Lu et al.: DPM-Solver++, 2022, https://arxiv.org/abs/2211.01095
    Zhao et al.: UniPC, 2023, https://arxiv.org/abs/2302.04867
    Karras et al.: Elucidating the Design Space of Diffusion-Based Generative Models, 2022 (Heun)
    Pan et al.: Effective Real Image Editing with Accelerated Iterative Diffusion Inversion, 2023
    Graham et al.: Denoising Diffusion Models for Out-of-Distribution Detection, 2023
    Li et al.: Your Diffusion Model is Secretly a Zero-Shot Classifier, 2023, https://arxiv.org/abs/2303.16203
"""

from __future__ import annotations

import functools
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
import torch.nn.functional as F
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    SchedulerMixin,
    UNet2DModel,
    UniPCMultistepScheduler,
)
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor

Sampler = Literal["unipc", "dpm-solver++", "heun", "ddim", "ddpm"]
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


class DenoisingDiffusionPipeline(FamilyPipeline):
    """Pixel-space diffusion with a `UNet2DModel`, with or without classes.

    Args:
        unet: the network; takes [N, C * p * p, S / p, S / p], timesteps [N] and, where conditional, labels [N] of
            which the last one (`num_class_embeds - 1`) stands for "no class".
        scheduler: holds the noise schedule and the prediction type ("epsilon" or "v_prediction"). Each call makes its
            own sampler from this configuration.
        sample_size: S, side of the square images in pixels.
        channels: C, 1 or 3.
        patch_size: p, space-to-depth factor in front of the network: the same diffusion (a permutation of pixels),
            several times cheaper on a CPU.
        class_dropout: part of the training labels that is replaced by "no class", for classifier-free guidance.
        id2label: names of the classes.
        anomaly_quantiles: 201 quantiles of the scores of ordinary test images under "default", and under "default, class
            told" where each is told its own class.
    """

    def __init__(
        self,
        unet: UNet2DModel,
        scheduler: SchedulerMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        patch_size: int = 1,
        class_dropout: float = 0.1,
        id2label: dict[str, str] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        if not isinstance(sample_size or unet.config.sample_size, int):
            raise ValueError(f"unet: draws images of {unet.config.sample_size} pixels; this family knows squares only.")
        if unet.config.out_channels != unet.config.in_channels:
            raise ValueError("unet: gives variances beside the noise, which no sampler here takes.")
        # A stock diffusers checkpoint says nothing of its images: the network does.
        self.register_modules(unet=unet, scheduler=DDPMScheduler.from_config(scheduler.config))
        self.register_to_config(
            sample_size=sample_size or unet.config.sample_size * patch_size,
            channels=channels or unet.config.in_channels // patch_size**2,
            patch_size=patch_size,
            class_dropout=class_dropout,
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
        beta_schedule: Literal["linear", "squaredcos_cap_v2"] = "squaredcos_cap_v2",
        prediction_type: Literal["epsilon", "v_prediction"] = "v_prediction",
        num_train_timesteps: int = 1000,
        class_dropout: float = 0.1,
    ) -> DenoisingDiffusionPipeline:
        """Fresh weights. Attention stands at the lowest resolution only, where it is cheap.

        Args:
            beta_schedule: "linear" (Ho et al. 2020 sec. 4) or "squaredcos_cap_v2" (cosine, Nichol and Dhariwal eq. 17).

        Raises:
            ValueError: the sizes do not divide.
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
        scheduler = DDPMScheduler(
            num_train_timesteps=num_train_timesteps, beta_schedule=beta_schedule, prediction_type=prediction_type
        )
        return cls(
            unet,
            scheduler,
            sample_size=sample_size,
            channels=channels,
            patch_size=patch_size,
            class_dropout=class_dropout,
            id2label=id2label if conditional else None,
        )

    # ---- the network and its three views ----

    def _network(self, x: torch.Tensor, timestep, labels: torch.Tensor | None) -> torch.Tensor:
        """x_t [N, C, S, S], timestep scalar or [N], labels [N] or None -> eps or v, [N, C, S, S]."""
        p = self.config.patch_size
        conditional = self.unet.config.num_class_embeds is not None
        if conditional and labels is None:
            labels = torch.full((len(x),), self.unet.config.num_class_embeds - 1, device=x.device)
        h = F.pixel_unshuffle(x, p)  # [N, C p p, S/p, S/p]
        h = self.unet(h, timestep, class_labels=labels if conditional else None).sample
        return F.pixel_shuffle(h, p)  # [N, C, S, S]

    def _predict(self, x: torch.Tensor, timestep, labels: torch.Tensor | None, guidance_scale: float) -> torch.Tensor:
        """The network with classifier-free guidance, (1 - g) uncond + g cond (Ho and Salimans 2022 eq. 6 with g = 1 + w)."""
        if labels is None or guidance_scale == 1.0:
            return self._network(x, timestep, labels)
        none = torch.full_like(labels, self.unet.config.num_class_embeds - 1)
        output = self._network(torch.cat([x, x]), timestep, torch.cat([labels, none]))
        conditional, unconditional = output.chunk(2)
        return unconditional + guidance_scale * (conditional - unconditional)

    def _views(self, output: torch.Tensor, x: torch.Tensor, alpha_bar) -> tuple[torch.Tensor, torch.Tensor]:
        """Network output at x_t -> (x_0, eps)."""
        a, s = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
        if self.scheduler.config.prediction_type == "epsilon":
            return (x - s * output) / a, output  # Ho et al. 2020 eq. 15
        if self.scheduler.config.prediction_type == "v_prediction":
            return a * x - s * output, a * output + s * x  # Salimans and Ho 2022 app. D
        return output, (x - a * output) / s

    def _clip(self, output: torch.Tensor, x: torch.Tensor, alpha_bar) -> tuple[torch.Tensor, torch.Tensor]:
        """(network output as if x_0 had been clipped to [-1, 1], that x_0): keeps guided samples in range, any solver."""
        a, s = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
        x0 = self._views(output, x, alpha_bar)[0].clamp(-1, 1)
        eps = (x - a * x0) / s
        kind = self.scheduler.config.prediction_type
        return {"epsilon": eps, "v_prediction": a * eps - s * x0, "sample": x0}[kind], x0

    def _sampler(self, name: str, num_inference_steps: int) -> SchedulerMixin:
        """A fresh diffusers scheduler on this checkpoint's noise schedule; the step sizes are the solver's own."""
        make, options = {
            "ddpm": (DDPMScheduler, {"timestep_spacing": "trailing", "variance_type": "fixed_small"}),
            "ddim": (DDIMScheduler, {"timestep_spacing": "trailing", "set_alpha_to_one": True}),
            "dpm-solver++": (DPMSolverMultistepScheduler, {"timestep_spacing": "trailing", "solver_order": 2}),
            "unipc": (UniPCMultistepScheduler, {"timestep_spacing": "trailing", "solver_order": 2}),
            "heun": (HeunDiscreteScheduler, {"timestep_spacing": "trailing"}),
        }[name]
        if not 1 <= num_inference_steps <= self.scheduler.config.num_train_timesteps:
            raise ValueError(
                f"num_inference_steps: must lie in 1 ... {self.scheduler.config.num_train_timesteps}, "
                f"not {num_inference_steps}."
            )
        # Said in full: from_config puts the other class's own default in place of what here happens to be a default.
        schedule = (
            "num_train_timesteps",
            "beta_start",
            "beta_end",
            "beta_schedule",
            "trained_betas",
            "prediction_type",
        )
        schedule = {key: self.scheduler.config[key] for key in schedule}
        sampler = make.from_config(self.scheduler.config, clip_sample=False, **schedule, **options)
        if name == "heun":
            sampler.set_timesteps(timesteps=self._heun_timesteps(num_inference_steps), device=self.device)
        else:
            sampler.set_timesteps(num_inference_steps, device=self.device)
        return sampler

    def _heun_timesteps(self, num_inference_steps: int) -> list[float]:
        """Karras et al. 2022 eq. 5 with rho = 7, from sigma 80 down, as fractional timesteps.

        A cosine schedule ends at sigma = 2e4. There the average of the slopes at both ends of a step, which Heun's method
        takes in x / sqrt(alpha_bar), is off by the ratio of the sigmas; at 80 nothing is left of the image either.
        """
        levels = self.scheduler.alphas_cumprod.double()
        sigmas = ((1 - levels) / levels).sqrt().numpy()
        ramp = np.linspace(min(80.0, sigmas[-1]) ** (1 / 7), sigmas[0] ** (1 / 7), num_inference_steps)
        return np.interp(ramp**7, sigmas, np.arange(len(sigmas))).tolist()

    def _denoise(
        self, noise, labels, sampler_name, num_inference_steps, guidance_scale, eta, generator, callback
    ) -> torch.Tensor:
        """The sampling loop: from standard noise to x_0, both [N, C, S, S]."""
        sampler = self._sampler(sampler_name, num_inference_steps)
        timesteps = sampler.timesteps
        x = noise * sampler.init_noise_sigma
        sigmas = None if sampler_name in ("ddpm", "ddim") else sampler.sigmas
        options = {"generator": generator} if sampler_name in ("ddpm", "ddim") else {}
        if sampler_name == "ddim":
            options["eta"] = eta

        for i, t in enumerate(timesteps):
            # VP alpha-bar of this step; the sigma of k-diffusion's notation is sqrt((1 - a) / a), Karras et al. tab. 1
            alpha_bar = sampler.alphas_cumprod[int(t)] if sigmas is None else 1 / (1 + sigmas[i] ** 2)
            alpha_bar = alpha_bar.to(x.device, torch.float32)
            x_t = sampler.scale_model_input(x, t)
            output = self._predict(x_t.to(self.dtype), t, labels, guidance_scale).float()
            output, x0 = self._clip(output, x_t.float(), alpha_bar)
            x = sampler.step(output, t, x.float(), **options).prev_sample
            self._report(callback, i, t, len(timesteps), x0)
        return x

    # ---- the tasks ----

    @checked
    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        generator: Generators = None,
        class_labels: Labels = None,
        sampler: Sampler = "unipc",
        num_inference_steps: Annotated[int, {"minimum": 1, "maximum": 250, "step": 1}] = 12,
        guidance_scale: Annotated[float, {"minimum": 0.0, "maximum": 6.0, "step": 0.1}] = 1.5,
        eta: Annotated[float, {"minimum": 0.0, "maximum": 1.0, "step": 0.05}] = 0.0,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """Generate images from noise.

        Args:
            batch_size: N, how many.
            generator: one `torch.Generator`, or a list with one for each sample.
            class_labels: int, list or int64 tensor [N]; None: the unconditional model.
            sampler: DDPM ancestral (Ho et al. 2020 alg. 2), DDIM (Song et al. 2020 eq. 12), DPM-Solver++, UniPC or Heun.
            num_inference_steps: Steps of the sampler, fewer is faster; Heun evaluates the network twice a step.
            guidance_scale: Above 1 samples follow their class more closely and vary less; 0 ignores the class.
            eta: Noise added at each step, DDIM only: 0 is deterministic, 1 is as noisy as DDPM.
            callback_on_step_end: called as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).
            output_type: "pil", "np" ([N, H, W, C] in [0, 1]) or "pt" ([N, C, H, W] in [0, 1]).
            return_dict: False: a tuple.

        Returns:
            `ImagesOutput`.

        Raises:
            ValueError: a label, generator list or step count that does not fit.
        """
        generator = self._to_generators(generator, batch_size)
        labels = self._to_labels(class_labels, batch_size)
        size = self.config.sample_size
        x = self._randn((batch_size, self.config.channels, size, size), generator)
        x = self._denoise(x, labels, sampler, num_inference_steps, guidance_scale, eta, generator, callback_on_step_end)
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
        num_inference_steps: Annotated[int, {"minimum": 2, "maximum": 250, "step": 1}] = 20,
        num_refinements: Annotated[int, {"minimum": 0, "maximum": 5, "step": 1}] = 2,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """Take images into noise and back.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: one `torch.Generator`, or a list with one for each image ("noise" only).
            class_labels: of the images, if known.
            method: "inversion" runs the DDIM equation backwards to the noise that generates the image; "noise" adds random noise and denoises it, so that details are invented anew.
            strength: How far into the noise, 1 being all the way.
            num_inference_steps: Steps each way.
            num_refinements: Fixed-point iterations a step of the inversion; with more, the way back meets the image more exactly.

        Returns:
            `ImagesOutput`, one for each input.

        Raises:
            ValueError, TypeError: images of another kind or size, labels that do not fit, or an option out of range.
        """
        x = self._to_tensor(images)
        labels = self._to_labels(class_labels, len(x))
        generator = self._to_generators(generator, len(x))
        timesteps = self._inversion_timesteps(num_inference_steps, strength)
        if method == "noise":
            alpha_bar = self.scheduler.alphas_cumprod[timesteps[-1]].to(x.device)
            noise = self._randn(x.shape, generator).float()
            x = alpha_bar**0.5 * x.float() + (1 - alpha_bar) ** 0.5 * noise  # Ho et al. 2020 eq. 4
            x = self._revert(x, labels, timesteps, callback_on_step_end, 0, len(timesteps), clip=True)
        else:
            total = 2 * len(timesteps)
            x = self._invert(x, labels, timesteps, num_refinements, callback_on_step_end, total)
            x = self._revert(x, labels, timesteps, callback_on_step_end, len(timesteps), total)
        return self._to_output(x, output_type, return_dict)

    @checked
    @torch.no_grad()
    def interpolate(
        self,
        a: Images,
        b: Images,
        num_frames: int = 8,
        generator: Generators = None,
        num_inference_steps: Annotated[int, {"minimum": 2, "maximum": 250, "step": 1}] = 20,
        num_refinements: Annotated[int, {"minimum": 0, "maximum": 5, "step": 1}] = 1,
        strength: Annotated[float, {"minimum": 0.05, "maximum": 1.0, "step": 0.05}] = 1.0,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """From one image to another: invert both, walk the arc between their noises, denoise (Song et al. 2020 sec. 5.3).

        Args:
            a: the first image.
            b: the last image.
            num_frames: M, frames including both ends.
            generator: not used: this path is deterministic.
            num_inference_steps: Steps each way.
            num_refinements: Fixed-point iterations a step of the inversion.
            strength: How far into the noise the path is drawn; less keeps closer to a blend of the two images.

        Returns:
            `ImagesOutput` with M images.
        """
        if num_frames < 2:
            raise ValueError("num_frames: needs at least 2, the two ends.")
        pair = torch.cat([self._to_tensor(a)[:1], self._to_tensor(b)[:1]])
        timesteps = self._inversion_timesteps(num_inference_steps, strength)
        total = 2 * len(timesteps)
        noise = self._invert(pair, None, timesteps, num_refinements, callback_on_step_end, total)
        x = slerp(noise[:1], noise[1:], torch.linspace(0, 1, num_frames, device=noise.device))
        x = self._revert(x, None, timesteps, callback_on_step_end, len(timesteps), total)
        return self._to_output(x, output_type, return_dict)

    @checked
    @torch.no_grad()
    def anomaly_score(
        self,
        images: Images,
        generator: Generators = None,
        class_labels: Labels = None,
        num_noise_levels: Annotated[int, {"minimum": 1, "maximum": 20, "step": 1}] = 6,
        num_samples: Annotated[int, {"minimum": 1, "maximum": 8, "step": 1}] = 2,
        class_weight: Annotated[float, {"minimum": 0.0, "maximum": 100.0, "step": 0.5, "needs": "classes"}] = 8.0,
        callback_on_step_end: Callable | None = None,
    ) -> AnomalyOutput:
        """How badly the model denoises an image, over several noise levels (after Graham et al. 2023).

        score = mean over levels and pixels of (x_0 - x_0_hat(x_t))^2, images in [-1, 1]

        Told a class, it is e + w (e_y - e): e and e_y the errors of the network untold and told, in the same noise, and w
        the class's weight. e_y - e is what a diffusion classifier goes by (Li et al. 2023 sec. 3). With w = 1 the score is
        e_y, in which the class counts for little: how hard an image is to denoise has more to do with its patterns and folds.
        The default lets both weigh about the same on Fashion-MNIST. The map is cut off at 0.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: one `torch.Generator`, or a list with one for each image; None: seed 0 for each image.
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            num_noise_levels: Noise levels, evenly spread over the middle of the schedule.
            num_samples: Noise draws at each level; more is steadier.
            class_weight: How much the class counts where one is told; 0 ignores it, 1 is the plain error of the network that is told it.

        Returns:
            `AnomalyOutput` with scores [N], maps [N, H, W] and the unit.

        Raises:
            TypeError, ValueError: images of another kind or size, or labels or generators that do not fit.
        """
        x = self._to_tensor(images)
        labels = self._to_labels(class_labels, len(x))
        if generator is None:  # a score is a measurement: the same image gets the same score
            generator = [torch.Generator().manual_seed(0) for _ in range(len(x))]
        generator = self._to_generators(generator, len(x))
        last = self.scheduler.config.num_train_timesteps - 1
        # The ends say little: with hardly any noise everything is restored, with hardly any image nothing is.
        timesteps = torch.linspace(0.2, 0.8, num_noise_levels) * last
        error = torch.zeros(x.shape, device=x.device, dtype=torch.float32)
        for i, t in enumerate(timesteps.round().long()):
            alpha_bar = self.scheduler.alphas_cumprod[t].to(x.device)
            for _ in range(num_samples):
                x_t = alpha_bar**0.5 * x.float() + (1 - alpha_bar) ** 0.5 * self._randn(x.shape, generator).float()
                x0, squared = self._denoising_error(x, x_t, t, alpha_bar, None)
                if labels is not None:
                    x0, told = self._denoising_error(x, x_t, t, alpha_bar, labels)
                    squared = squared + class_weight * (told - squared)
                error += squared / (num_samples * num_noise_levels)
            self._report(callback_on_step_end, i, t, num_noise_levels, x0)
        maps = error.mean(dim=1).clamp(min=0)
        return AnomalyOutput(scores=error.mean(dim=(1, 2, 3)).cpu(), maps=maps.cpu(), unit="mean squared error")

    def _denoising_error(self, x, x_t, t, alpha_bar, labels) -> tuple[torch.Tensor, torch.Tensor]:
        """x_0_hat(x_t) and its squared error, both [N, C, S, S]."""
        output = self._network(x_t.to(self.dtype), t, labels).float()
        x0 = self._clip(output, x_t, alpha_bar)[1]
        return x0, (x0 - x.float()).square()

    # ---- DDIM backwards ----

    def _inversion_timesteps(self, num_inference_steps: int, strength: float) -> torch.Tensor:
        """Rising integer timesteps [n] from 0, where the image is all but clean, to `strength` of the schedule.

        Raises:
            ValueError: `strength` out of range.
        """
        if not 0 < strength <= 1:
            raise ValueError(f"strength: must lie above 0 and not above 1, not {strength}.")
        last = strength * (self.scheduler.config.num_train_timesteps - 1)
        return torch.linspace(0, last, max(num_inference_steps, 2)).round().long().unique()

    def _ddim(self, x, labels, t, alpha_bar, alpha_bar_to, at=None, clip=False) -> tuple[torch.Tensor, torch.Tensor]:
        """One deterministic DDIM move from noise level a to a' (Song et al. 2020 eq. 13), and x_0.

        `at`: where eps is evaluated, x itself unless told: the fixed point of an inversion asks at the arrival.
        `clip`: keep x_0 in [-1, 1]; not for the way back of an inversion, which must undo each step as it was.
        """
        if at is None:
            output = self._network(x.to(self.dtype), t, labels).float()
            if clip:
                output = self._clip(output, x, alpha_bar)[0]
            x0, eps = self._views(output, x, alpha_bar)
            return alpha_bar_to**0.5 * x0 + (1 - alpha_bar_to) ** 0.5 * eps, x0
        # Solve for the x' at level a' whose DDIM move to a is x: x0 = (x - sqrt(1-a) eps) / sqrt(a), eps = eps(x', t')
        eps = self._views(self._network(at.to(self.dtype), t, labels).float(), at, alpha_bar_to)[1]
        x0 = (x - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5
        return alpha_bar_to**0.5 * x0 + (1 - alpha_bar_to) ** 0.5 * eps, x0

    def _invert(self, x, labels, timesteps, num_refinements, callback, total) -> torch.Tensor:
        """Clean images [N, C, S, S] -> their noise at the last timestep; each step refined to its fixed point (Pan et al. 2023 eq. 7)."""
        x = x.float()
        alpha_bar = x.new_ones(())
        for i, t in enumerate(timesteps):
            alpha_bar_to = self.scheduler.alphas_cumprod[t].to(x.device)
            at = x  # first guess of the arrival: plain DDIM inversion asks for the noise where it stands
            for _ in range(1 + num_refinements):
                at, x0 = self._ddim(x, labels, t, alpha_bar, alpha_bar_to, at=at)
            x, alpha_bar = at, alpha_bar_to
            self._report(callback, i, t, total, x0)
        return x

    def _revert(self, x, labels, timesteps, callback, first_step, total, clip=False) -> torch.Tensor:
        """The way back by DDIM with eta 0: noise at the last timestep -> clean images."""
        levels = [self.scheduler.alphas_cumprod[t].to(x.device) for t in timesteps]
        for i in range(len(timesteps) - 1, -1, -1):
            to = levels[i - 1] if i else x.new_ones(())
            x, x0 = self._ddim(x, labels, timesteps[i], levels[i], to, clip=clip)
            self._report(callback, first_step + len(timesteps) - 1 - i, timesteps[i], total, x0)
        return x

    # ---- training ----

    def loss(self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0):
        """Mean squared error of the network's target at uniform timesteps (Ho et al. 2020 eq. 14; v: Salimans and Ho 2022).

        Args:
            batch: "images" [B, C, S, S] in [-1, 1] and "class_labels" int64 [B] or None.
            generator: for the timesteps, the noise and the dropped labels, on the images' device.
            progress: not used.

        Returns:
            (scalar, {"mse": scalar}).
        """
        x0 = batch["images"]
        num, device = len(x0), x0.device
        t = torch.randint(self.scheduler.config.num_train_timesteps, (num,), generator=generator, device=device)
        eps = torch.randn(x0.shape, generator=generator, device=device)
        labels = None
        if self.unet.config.num_class_embeds is not None and batch.get("class_labels") is not None:
            drop = torch.rand(num, generator=generator, device=device) < self.config.class_dropout
            labels = torch.where(drop, self.unet.config.num_class_embeds - 1, batch["class_labels"])
        x_t = self.scheduler.add_noise(x0, eps, t)  # Ho et al. 2020 eq. 4
        target = eps
        if self.scheduler.config.prediction_type == "v_prediction":
            target = self.scheduler.get_velocity(x0, eps, t)
        mse = F.mse_loss(self._network(x_t, t, labels).float(), target)
        return mse, {"mse": mse.detach()}

    def save_config(self, save_directory, push_to_hub: bool = False, **kwargs) -> None:
        """As for all families; where every part is stock, name diffusers' own DDPMPipeline, which needs no remote code.

        The full class stays one argument away: `DiffusionPipeline.from_pretrained(folder,
        custom_pipeline="pipeline_ddpm", trust_remote_code=True)`.
        """
        super().save_config(save_directory, push_to_hub, **kwargs)
        if self.unet.config.num_class_embeds is None and self.config.patch_size == 1:
            path = Path(save_directory) / self.config_name
            index = json.loads(path.read_text())
            index["_class_name"] = "DDPMPipeline"
            path.write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
