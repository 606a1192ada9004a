"""Variational autoencoder with a vector latent, a prior with one mean per class, and a mixture fitted after training.

    y ~ uniform,  z | y ~ N(mu_y, I),  x | z ~ p(x | z),  q(z | x) = N(m(x), diag s(x)^2)
    ELBO = E_q[log p(x | z)] - KL(q(z | x) || p(z | y))        Kingma and Welling eq. 3

This file stands alone beside its component vae/modeling_vae.py: with diffusers installed it needs nothing else.

Likelihoods are densities of images in [-1, 1]. For the probability of an image of 8-bit pixels, multiply the density
by the volume of its cell, 1 / 127.5 in each of the D dimensions (pixels times channels):

    log p(x8) ~ log p(x) - D log 127.5        bits/dim = (log 127.5 - log p(x) / D) / log 2

Papers:
    Kingma, Welling: Auto-Encoding Variational Bayes, 2013, https://arxiv.org/abs/1312.6114
    Burda, Grosse, Salakhutdinov: Importance Weighted Autoencoders, 2015, https://arxiv.org/abs/1509.00519
    Higgins et al.: beta-VAE, 2017, https://openreview.net/forum?id=Sy2fzU9gl
    Bowman et al.: Generating Sentences from a Continuous Space (KL annealing), 2015, https://arxiv.org/abs/1511.06349
    Rybkin, Daniilidis, Levine: Simple and Effective VAE Training with Calibrated Decoders (sigma-VAE), 2020,
        https://arxiv.org/abs/2006.13202
    Ghosh et al.: From Variational to Deterministic Autoencoders (ex-post density), 2019, https://arxiv.org/abs/1903.12436
    White: Sampling Generative Networks (slerp), 2016, https://arxiv.org/abs/1609.04468
    Ho, Salimans: Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598 (a class's weight)
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


def slerp(a: torch.Tensor, b: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Spherical interpolation (Shoemake 1985): [d], [d], [M] -> [M, d]. Between vectors of one norm, keeps that norm."""
    u, v, w = a.double(), b.double(), weights.double()[:, None]
    omega = torch.arccos((u @ v / (u.norm() * v.norm()).clamp(min=1e-12)).clamp(-1, 1))
    if omega.sin() < 1e-6:  # parallel: the arc is a line
        return torch.lerp(u, v, w).to(a.dtype)
    return ((torch.sin((1 - w) * omega) * u + torch.sin(w * omega) * v) / torch.sin(omega)).to(a.dtype)


class VAEPipeline(FamilyPipeline):
    """Variational autoencoder: one network pass makes an image, and each image has a place in a small latent space.

    Args:
        vae: `VAEModel`, encoder, decoder, class means and fitted mixture.
        sample_size: side of the square images in pixels.
        channels: 1 or 3.
        beta: weight of the KL in the training loss; below 1 sharper reconstructions, above 1 a smoother latent space.
        kl_annealing: fraction of the training over which that weight rises linearly from 0.
        id2label: names of the classes.
        anomaly_quantiles: 201 quantiles of the scores of ordinary test images for each `score`, and under "elbo, class told"
            and the like where each is told its own class.
    """

    def __init__(
        self,
        vae: ModelMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        beta: float = 1.0,
        kl_annealing: float = 0.0,
        id2label: dict[str, str] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        self.register_modules(vae=vae)
        self.register_to_config(
            sample_size=sample_size or vae.config.sample_size,
            channels=channels or vae.config.channels,
            beta=beta,
            kl_annealing=kl_annealing,
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
        beta: float = 1.0,
        kl_annealing: float = 0.0,
        **architecture,
    ) -> VAEPipeline:
        """Fresh weights.

        Args:
            class_conditional: learn a mean of the prior for each class of `id2label`; otherwise the prior is N(0, I).
            architecture: the other parameters of `VAEModel`.

        Raises:
            TypeError: a parameter that `VAEModel` does not have.
            ValueError: a likelihood it does not know, or sizes that do not divide.
        """
        id2label = id2label if class_conditional else None
        # By name, beside this file: an import statement would make bare diffusers look for it on the Hub.
        module = importlib.import_module(__name__.replace("pipeline_vae", "modeling_vae"))
        vae = module.VAEModel(sample_size, channels, num_classes=len(id2label or ()), **architecture)
        return cls(vae, beta=beta, kl_annealing=kl_annealing, id2label=id2label)

    # ---- training ----

    def loss(self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0):
        """Negative ELBO with the KL weighted by beta, per pixel and channel.

        loss = (E_q[-log p(x | z)] + beta min(1, progress / kl_annealing) KL) / D. Dividing by the number of dimensions
        changes no optimum; it keeps the size of the gradient, which training clips, independent of the image size.

        Args:
            batch: "images" [B, C, H, W] in [-1, 1] and "class_labels" int64 [B] or None.
            generator: of the latent noise, on the images' device.
            progress: part of the training that is done, in [0, 1].

        Returns:
            (scalar, {"reconstruction", "kl", "kl_weight"}), the first two in nats per image.
        """
        images = batch["images"]
        labels = batch.get("class_labels") if self.config.id2label else None
        reconstruction, kl = self.vae(images, labels, generator)  # [B], [B]
        warm = min(1.0, progress / self.config.kl_annealing) if self.config.kl_annealing > 0 else 1.0
        weight = self.config.beta * warm
        loss = (reconstruction + weight * kl).mean() / images[0].numel()
        parts = {"reconstruction": reconstruction.mean().detach(), "kl": kl.mean().detach()}
        return loss, {**parts, "kl_weight": torch.tensor(weight)}

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Fit a Gaussian mixture with full covariances to the latents, for each class its own (Ghosh et al. sec. 4).

        The aggregate of q(z | x) over the data is never quite N(mu_y, I); sampling from what it is closes the gap
        without touching the networks. One latent is drawn from q(z | x) for each image, with seed 0.

        Args:
            batches: of `{"images", "class_labels"}`, one pass over the training data.

        Raises:
            ImportError: scikit-learn is missing.
            ValueError: a class with fewer images than components.
        """
        if not self.vae.config.mixture_components:
            return
        try:
            from sklearn.mixture import GaussianMixture
        except ImportError as error:
            raise ImportError("Fitting the mixture prior needs scikit-learn: pip install scikit-learn") from error
        generator = torch.Generator().manual_seed(0)
        latents, labels = [], []
        for batch in batches:
            latents.append(self.encode(batch["images"], generator, sample=True).cpu())
            known = batch.get("class_labels") if self.config.id2label else None
            labels.append(torch.zeros(len(latents[-1]), dtype=torch.int64) if known is None else known.cpu())
        latents, labels = torch.cat(latents), torch.cat(labels)
        for y in range(len(self.vae.mixture_weights)):
            mixture = GaussianMixture(self.vae.config.mixture_components, reg_covar=1e-4, random_state=0)
            mixture.fit(latents[labels == y].double().numpy())
            self.vae.mixture_weights[y].copy_(torch.from_numpy(mixture.weights_))
            self.vae.mixture_means[y].copy_(torch.from_numpy(mixture.means_))
            self.vae.mixture_cholesky[y].copy_(torch.from_numpy(np.linalg.cholesky(mixture.covariances_)))

    # ---- the latent space ----

    @torch.no_grad()
    def encode(self, images: Images, generator: Generators = None, sample: bool = False) -> torch.Tensor:
        """Images -> latents.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: one `torch.Generator`, or a list with one for each image (with `sample`).
            sample: a draw from q(z | x) instead of its mean.

        Returns:
            float32 [N, latent_dim].
        """
        mean, logvar = self.vae.encode(self._to_tensor(images))
        if not sample:
            return mean
        noise = self._randn(mean.shape, self._to_generators(generator, len(mean))).float()
        return mean + (0.5 * logvar).exp() * noise

    @torch.no_grad()
    def decode(self, latents: torch.Tensor, output_type: str = "pil", return_dict: bool = True) -> ImagesOutput | tuple:
        """Latents -> the mean of p(x | z).

        Args:
            latents: float [N, latent_dim].
            output_type: "pil", "np" ([N, H, W, C] in [0, 1]) or "pt" ([N, C, H, W] in [0, 1]).
            return_dict: False: a tuple.

        Returns:
            `ImagesOutput`.
        """
        return self._to_output(self.vae.decode(latents.to(self.device)), output_type, return_dict)

    # ---- the tasks ----

    @checked
    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        generator: Generators = None,
        class_labels: Labels = None,
        prior: Literal["mixture", "standard"] = "mixture",
        temperature: Annotated[float, {"minimum": 0.0, "maximum": 1.5, "step": 0.05}] = 1.0,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """Generate images: draw a latent from the prior and decode it.

        Args:
            batch_size: N, how many.
            generator: one `torch.Generator`, or a list with one for each sample.
            class_labels: int, list or int64 tensor [N]; None: each sample's generator draws its class.
            prior: "mixture" follows the latents of the training images closely and looks best; "standard" is the prior of the training, a round Gaussian about the mean of the class.
            temperature: Spread of the latents around the means of the prior's Gaussians; 0 gives typical images only, 1 the prior itself.
            callback_on_step_end: called once as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).
            output_type: "pil", "np" ([N, H, W, C] in [0, 1]) or "pt" ([N, C, H, W] in [0, 1]).
            return_dict: False: a tuple.

        Returns:
            `ImagesOutput`.

        Raises:
            ValueError: a label, prior or generator list that does not fit.
        """
        if prior not in ("mixture", "standard"):
            raise ValueError(f"prior: choose 'mixture' or 'standard', not {prior!r}.")
        generator = self._to_generators(generator, batch_size)
        labels = self._to_labels(class_labels, batch_size)
        noise = self._randn((batch_size, self.vae.config.latent_dim + 2), generator)
        z = self.vae.sample_prior(noise, labels, prior == "mixture" and self.vae.is_fitted, temperature)
        x = self.vae.decode(z)
        self._report(callback_on_step_end, 0, 0, 1, x)
        return self._to_output(x, output_type, return_dict)

    @checked
    @torch.no_grad()
    def reconstruct(
        self,
        images: Images,
        generator: Generators = None,
        class_labels: Labels = None,
        sample: bool = False,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """Encode images and decode them again.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: one `torch.Generator`, or a list with one for each image (with `sample`).
            class_labels: checked and not used: encoder and decoder know no class, only the prior does.
            sample: Decode a draw from the posterior q(z | x) instead of its mean, to see what the latent leaves open.
            callback_on_step_end: called once as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).
            output_type: "pil", "np" ([N, H, W, C] in [0, 1]) or "pt" ([N, C, H, W] in [0, 1]).
            return_dict: False: a tuple.

        Returns:
            `ImagesOutput`, one for each input.

        Raises:
            TypeError, ValueError: images of another kind or size, or labels or generators that do not fit.
        """
        z = self.encode(images, generator, sample)
        self._to_labels(class_labels, len(z))
        x = self.vae.decode(z)
        self._report(callback_on_step_end, 0, 0, 1, x)
        return self._to_output(x, output_type, return_dict)

    @checked
    @torch.no_grad()
    def interpolate(
        self,
        a: Images,
        b: Images,
        num_frames: int = 8,
        generator: torch.Generator | None = None,
        mode: Literal["slerp", "lerp"] = "slerp",
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """From one image to another through the latent space; the ends are the two reconstructions.

        Args:
            a: the first image.
            b: the last image.
            num_frames: M, frames including both ends.
            generator: not used: the path between two posterior means is deterministic.
            mode: "slerp" walks an arc around the centre of the prior and keeps to its typical distance (White 2016 sec. 2.1); "lerp" walks the straight line, which passes nearer to the centre.
            callback_on_step_end: called once as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).
            output_type: "pil", "np" ([M, H, W, C] in [0, 1]) or "pt" ([M, C, H, W] in [0, 1]).
            return_dict: False: a tuple.

        Returns:
            `ImagesOutput` with M images.

        Raises:
            TypeError, ValueError: images of another kind or size, fewer than 2 frames, or an unknown mode.
        """
        if num_frames < 2:
            raise ValueError("num_frames: needs at least 2, the two ends.")
        if mode not in ("slerp", "lerp"):
            raise ValueError(f"mode: choose 'slerp' or 'lerp', not {mode!r}.")
        za, zb = self.encode(a)[0], self.encode(b)[0]  # 2 x [d]
        weights = torch.linspace(0, 1, num_frames, device=za.device)
        if mode == "slerp":
            centre = self.vae.class_means.float().mean(0)
            z = centre + slerp(za - centre, zb - centre, weights)  # [M, d]
        else:
            z = torch.lerp(za, zb, weights[:, None])
        x = self.vae.decode(z)
        self._report(callback_on_step_end, 0, 0, 1, x)
        return self._to_output(x, output_type, return_dict)

    @checked
    @torch.no_grad()
    def anomaly_score(
        self,
        images: Images,
        generator: Generators = None,
        class_labels: Labels = None,
        score: Literal["elbo", "reconstruction"] = "elbo",
        num_samples: Annotated[int, {"minimum": 1, "maximum": 64, "step": 1}] = 8,
        class_weight: Annotated[float, {"minimum": 0.0, "maximum": 300.0, "step": 1.0, "needs": "classes"}] = 100.0,
        callback_on_step_end: Callable | None = None,
    ) -> AnomalyOutput:
        """How strange an image is to the model, in nats.

        The map is the pixels' part: E_q[(x - decoder(z))^2 / (2 sigma^2)] for the Gaussians, E_q[cross-entropy] for
        Bernoulli, summed over channels. The "reconstruction" score is its sum. The "elbo" score is the negative ELBO:
        that sum, the Gaussian's constant D log(sigma sqrt(2 pi)), and the KL.

        Told a class, the KL becomes KL + w (KL_y - KL): KL_y is the one to the class's prior, and w the class's weight. With
        w = 1 that is the negative ELBO of p(x | y), in which the class is all but lost: a few nats of it stand beside
        hundreds of the pixels'. As with a guidance scale (Ho and Salimans 2022 eq. 6), a larger w counts p(y | x) that often;
        the default lets both weigh about the same on Fashion-MNIST. "reconstruction" knows no class.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: one `torch.Generator`, or a list with one for each image; None: seed 0 for each image.
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "elbo" is the negative evidence lower bound; "reconstruction" looks only at what the decoder could not restore.
            num_samples: Draws of the latent for each image; more is steadier.
            class_weight: How much the class counts where one is told; 0 ignores it, 1 is the plain likelihood of images of the class.
            callback_on_step_end: called after each draw as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).

        Returns:
            `AnomalyOutput` with scores [N], maps [N, H, W] and the unit.

        Raises:
            TypeError, ValueError: images of another kind or size, an unknown score, or labels or generators that do not fit.
        """
        if score not in ("elbo", "reconstruction"):
            raise ValueError(f"score: choose 'elbo' or 'reconstruction', not {score!r}.")
        x = self._to_tensor(images)
        labels = self._to_labels(class_labels, len(x))
        if generator is None:  # a score is a measurement: the same image gets the same score
            generator = [torch.Generator().manual_seed(0) for _ in range(len(x))]
        generator = self._to_generators(generator, len(x))
        mean, logvar = self.vae.encode(x)  # 2 x [N, d]
        constant = 0.0  # of -log p(x | z), per pixel and channel
        if self.vae.config.likelihood != "bernoulli":
            constant = float(self.vae.gaussian_log_sigma()) + 0.5 * math.log(2 * math.pi)
        maps = torch.zeros(len(x), *x.shape[2:], device=x.device)  # [N, H, W]
        for i in range(num_samples):
            z = mean + (0.5 * logvar).exp() * self._randn(mean.shape, generator).float()
            maps += (-self.vae.log_likelihood_map(x, z) - constant).sum(1).clamp(min=0) / num_samples
            if callback_on_step_end is not None:
                self._report(callback_on_step_end, i, i, num_samples, self.vae.decode(z))
        scores = maps.sum((1, 2))
        if score == "elbo":
            kl = self.vae.kl(mean, logvar)
            if labels is not None:
                kl = kl + class_weight * (self.vae.kl(mean, logvar, labels) - kl)
            scores = scores + constant * x[0].numel() + kl
        return AnomalyOutput(scores=scores.cpu(), maps=maps.cpu(), unit="nats")

    @torch.no_grad()
    def log_likelihood(
        self,
        images: Images,
        generator: Generators = None,
        class_labels: Labels = None,
        prior: Literal["standard", "mixture"] = "standard",
        num_samples: Annotated[int, {"minimum": 1, "maximum": 5000, "step": 1}] = 64,
    ) -> torch.Tensor:
        """Lower bound of log p(x) by importance sampling, the tighter the more samples (Burda et al. eq. 8).

        L_k = E[log 1/k sum_i p(x | z_i) p(z_i) / q(z_i | x)] with z_i from q(z | x); one sample gives the ELBO.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: one `torch.Generator`, or a list with one for each image.
            class_labels: for log p(x | y); None: log p(x), the classes being equally likely.
            prior: p(z) of the training, or the mixture fitted afterwards.
            num_samples: k, latents drawn for each image.

        Returns:
            float32 [N] in nats: a log-density on the [-1, 1] scale (see the top of this file for bits/dim); for the
            Bernoulli decoder a log-probability.

        Raises:
            TypeError, ValueError: images of another kind or size, labels or generators that do not fit, or a mixture that
                is not fitted.
        """
        if prior not in ("mixture", "standard") or (prior == "mixture" and not self.vae.is_fitted):
            raise ValueError(f"prior: choose 'standard' or, once fitted, 'mixture', not {prior!r}.")
        x = self._to_tensor(images)
        labels = self._to_labels(class_labels, len(x))
        generator = self._to_generators(generator, len(x))
        mean, logvar = self.vae.encode(x)  # 2 x [N, d]
        log_w = []
        for _ in range(num_samples):
            noise = self._randn(mean.shape, generator).float()
            z = mean + (0.5 * logvar).exp() * noise
            log_q = -0.5 * (noise.square() + logvar + math.log(2 * math.pi)).sum(1)
            log_p = self.vae.log_likelihood_map(x, z).sum((1, 2, 3)) + self.vae.log_prior(z, labels, prior == "mixture")
            log_w.append(log_p - log_q)  # [N]
        return (torch.logsumexp(torch.stack(log_w), dim=0) - math.log(num_samples)).cpu()
