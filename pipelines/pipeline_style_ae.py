"""Style autoencoder: what is drawn and how it is drawn, apart; so one emoji can be drawn in another designer's manner.

    c = IN(E_c(x)),   s = E_s(y),   x_hat = D(c, s)
    L = |t - x_hat| + pyramid + style_weight CE(s) + ramp (lambda L_GAN + feature_weight L_FM) + judge_weight CE(J(x_hat))

x is a drawing, y another content by another designer, t the drawing of x's content by that designer: the partner. Since t is
given, nobody has to guess what content and style are: content is what two drawings of the same have in common, style what
two drawings by the same designer have. (EMD, Zhang et al. 2018, learns typefaces so.) Without pairs, y = t = x, and only
instance normalisation and the bottleneck keep the two apart, as in Chou et al. 2019.

A second stage, the refinement, adds the judge J: it learns to tell in whose style a picture is drawn, or that it is made up,
and what the decoder draws has to pass for a drawing in the style asked for.

A style is a vector. The mean of all that a designer drew stands for the designer; `fit` measures it.

It does not generate: a content nobody drew has no distribution here.

This file stands alone beside its component in autoencoder/: with diffusers installed it needs nothing else.

Papers:
    Huang, Belongie: Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization, 2017,
        https://arxiv.org/abs/1703.06868
    Zhang, Zhang, Cai: Separating Style and Content for Generalized Style Transfer (EMD), 2018,
        https://arxiv.org/abs/1711.06454
    Chou, Yeh, Lee: One-shot Voice Conversion by Separating Speaker and Content Representations with Instance Normalization,
        2019, https://arxiv.org/abs/1904.05742
    Liu et al.: Few-Shot Unsupervised Image-to-Image Translation (FUNIT), 2019, https://arxiv.org/abs/1905.01723
        (a discriminator with an answer for each style)
    Reed et al.: Generative Adversarial Text to Image Synthesis, 2016, https://arxiv.org/abs/1605.05396 (sec. 4.2: real images
        that do not match count as fake)
    Salimans et al.: Improved Techniques for Training GANs, 2016, https://arxiv.org/abs/1606.03498 (sec. 5: a classifier with a
        class for what is made up)
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
from typing import Annotated, Any, Literal

import numpy as np
import PIL.Image
import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import nn

Images = PIL.Image.Image | list[PIL.Image.Image] | np.ndarray | torch.Tensor
Labels = int | list[int] | torch.Tensor | None
Generators = torch.Generator | list[torch.Generator] | None

STAGES = ("autoencoder", "refinement")
CONDITION = "style"


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


@dataclass
class StyleMapOutput(BaseOutput):
    """`names`: of the known styles, then "" for each given picture. `points`: float32 tensor [len(names), 2]."""

    names: list[str]
    points: torch.Tensor


class StyleAutoencoderPipeline(FamilyPipeline):
    """Content of one picture, style of another.

    Args:
        autoencoder: `StyleAutoencoder`, both encoders and the decoder.
        sample_size: side of the square images in pixels.
        channels: 1 or 3.
        perceptual_weight: of the Laplacian pyramid's distance beside the plain one.
        style_weight: of the cross-entropy that tells whose style a vector is.
        adversarial_weight: of the adversarial loss, beside the adaptive lambda.
        feature_weight: of the distance of the discriminator's features.
        identity_share: part of the training rows that are to give back the picture itself, from its own content and style.
        mean_share: part of the training rows drawn in the mean of the batch's styles by that designer, since a designer's
            name later stands for a mean.
        discriminator_start: part of the training after which there is a discriminator.
        discriminator_ramp: part of it over which its say in the autoencoder's loss then rises from nothing.
        discriminator_widths: of the discriminator's layers, and of the judge's.
        judge_weight: of the cross-entropy of the judge's opinion, in the refinement.
        id2label: names of the classes; content is drawn as it is, so nothing depends on them.
        conditions: {"style": {number: name}}, the designers.
        defaults: {task: {parameter: value}}, what this checkpoint's controls stand at where that differs from the
            signatures.
        anomaly_quantiles: 201 quantiles of ordinary test images' scores.
    """

    def __init__(
        self,
        autoencoder: ModelMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        perceptual_weight: float = 1.0,
        style_weight: float = 0.05,
        adversarial_weight: float = 0.3,
        feature_weight: float = 0.3,
        identity_share: float = 0.1,
        mean_share: float = 0.25,
        discriminator_start: float = 0.3,
        discriminator_ramp: float = 0.2,
        discriminator_widths: tuple[int, ...] = (32, 64, 128),
        judge_weight: float = 0.1,
        id2label: dict[str, str] | None = None,
        conditions: dict[str, dict[str, str]] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        self.register_modules(autoencoder=autoencoder)
        self.register_to_config(
            sample_size=sample_size or autoencoder.config.sample_size,
            channels=channels or autoencoder.config.channels,
            perceptual_weight=perceptual_weight,
            style_weight=style_weight,
            adversarial_weight=adversarial_weight,
            feature_weight=feature_weight,
            identity_share=identity_share,
            mean_share=mean_share,
            discriminator_start=discriminator_start,
            discriminator_ramp=discriminator_ramp,
            discriminator_widths=tuple(discriminator_widths),
            judge_weight=judge_weight,
            id2label=id2label,
            conditions=conditions,
            defaults=defaults,
            anomaly_quantiles=anomaly_quantiles,
        )
        self._helpers: dict[str, nn.Module] = {}  # of the training; no components, so never saved

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        conditions: dict[str, dict[str, str]] | None = None,
        block_out_channels: tuple[int, ...] = (48, 96, 192),
        content_channels: tuple[int, ...] | None = None,
        encoder_layers: int = 1,
        decoder_layers: int = 2,
        style_dim: int = 64,
        **options,
    ) -> StyleAutoencoderPipeline:
        """Fresh weights.

        Args:
            block_out_channels, content_channels, encoder_layers, decoder_layers, style_dim: of `StyleAutoencoder`; unless
                told, content has 4 channels at the finest level and four times as many at each coarser one.
            options: the other arguments of the class.

        Raises:
            TypeError: an option that the class does not have.
            ValueError: sizes that do not divide, shares beyond 0 ... 1, or another condition than "style".
        """
        if set(conditions or ()) - {CONDITION}:
            raise ValueError(f"conditions: this family knows the condition {CONDITION!r}, not {', '.join(conditions)}.")
        for name in ("identity_share", "mean_share", "discriminator_start", "discriminator_ramp"):
            if not 0 <= options.get(name, 0) <= 1:
                raise ValueError(f"{name}: must lie in 0 ... 1, not {options[name]}.")
        autoencoder = _modeling("modeling_style_ae").StyleAutoencoder(
            sample_size,
            channels,
            tuple(block_out_channels),
            tuple(content_channels or (4 ** (i + 1) for i in range(len(block_out_channels)))),
            encoder_layers,
            decoder_layers,
            style_dim,
            num_styles=len((conditions or {}).get(CONDITION) or ()),
        )
        return cls(autoencoder, id2label=id2label, conditions=conditions, **options)

    # ---- training ----

    def trainable(self, stage: str) -> dict[str, nn.Module]:
        """The modules that a stage trains; helpers are made when first asked for, and those of the first help in the second.

        Raises:
            ValueError: an unknown stage.
        """
        self._check_stage(stage)
        config, number = self.autoencoder.config, len(self._condition_names(CONDITION))
        module, widths = inspect.getmodule(type(self.autoencoder)), self.config.discriminator_widths
        if not self._helpers:
            self._helpers = {"discriminator": module.StyleDiscriminator(config.channels, widths, max(number, 1))}
            if number:
                self._helpers["classifier"] = nn.Linear(config.style_dim, number)
        helpers = dict(self._helpers)
        if stage == "refinement":
            if "judge" not in self._helpers:
                self._helpers["judge"] = module.StyleJudge(config.channels, widths, max(number, 1))
            helpers["judge"] = self._helpers["judge"]
        else:
            helpers.pop("judge", None)
        return {"autoencoder": self.autoencoder, **helpers}

    @staticmethod
    def _check_stage(stage: str) -> None:
        if stage not in STAGES:
            raise ValueError(f"stage: choose {' or '.join(map(repr, STAGES))}, not {stage!r}.")

    def loss(
        self,
        batch: dict,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
        stage: Literal["autoencoder", "refinement"] = "autoencoder",
    ):
        """Distance to the partner, whose style a vector is, and, once there is a discriminator, its opinion and its own loss.

        Both sides are in one scalar: the discriminator's loss sees detached images, and its opinion of the images that carry
        gradients is asked with detached weights. It also sees the content's picture as it is, asked whether that is a
        drawing in the partner's style: so it cannot do without looking at the style.

        Args:
            batch: "images" [B, C, S, S] in [-1, 1]; from data with pairs, "partners" and "style_examples" of the same shape;
                "conditions" and "partner_conditions" {"style": int64 [B]} where the styles have names.
            generator: for all random numbers, on the images' device.
            progress: part of the training that is done, 0 ... 1.
            stage: which.

        Returns:
            (scalar, {name: scalar}).

        Raises:
            ValueError: an unknown stage.
        """
        helpers, config, module = self.trainable(stage), self.config, inspect.getmodule(type(self.autoencoder))
        images = batch["images"]
        own = torch.rand(len(images), generator=generator, device=images.device) < config.identity_share
        if "partners" not in batch:
            own[:] = True
        target = torch.where(own[:, None, None, None], images, batch.get("partners", images))
        examples = torch.where(own[:, None, None, None], images, batch.get("style_examples", images))
        styles = self._styles_of(batch, own)  # int64 [B]
        named = "classifier" in helpers

        mixing = torch.eye(len(images), device=images.device)
        if named:
            averaged = torch.rand(len(images), generator=generator, device=images.device) < config.mean_share
            alike = (styles[:, None] == styles).float()  # [B, B]
            mixing = torch.where((averaged & ~own)[:, None], alike / alike.sum(1, keepdim=True), mixing)
        x_hat, vectors = self.autoencoder(images, examples, mixing)

        pixels = (target - x_hat).abs().mean()
        perceptual = module.pyramid_distance(target, x_hat)
        reconstruction = pixels + config.perceptual_weight * perceptual
        loss, parts = reconstruction, {"pixels": pixels, "perceptual": perceptual}
        if named:
            logits = helpers["classifier"](vectors)
            cross_entropy = F.cross_entropy(logits.float(), styles)
            loss = loss + config.style_weight * cross_entropy
            parts |= {"style": cross_entropy, "style_accuracy": (logits.argmax(1) == styles).float().mean()}

        discriminator = helpers["discriminator"]
        refining = stage == "refinement"
        if progress < config.discriminator_start and not refining:
            # no part in the loss, but gradients, of nothing: several processes wait for those of every weight
            loss = loss + 0.0 * sum(p.sum() for p in discriminator.parameters())
        else:
            share = 1.0 if refining else module.ramp(progress, config.discriminator_start, config.discriminator_ramp)
            real, real_features = discriminator(target, styles)
            others = [discriminator(x_hat.detach(), styles)[0]]
            if not own.all():
                others.append(discriminator(images[~own], styles[~own])[0])
            critic = module.hinge_loss(real, *others)
            detached = {name: p.detach() for name, p in discriminator.named_parameters()}
            fake, fake_features = torch.func.functional_call(discriminator, detached, (x_hat, styles))
            adversarial = -fake.mean()
            weight = module.adaptive_weight(reconstruction, adversarial, x_hat)
            matching = module.feature_distance(real_features, fake_features)
            opinion = config.adversarial_weight * weight * adversarial + config.feature_weight * matching
            loss = loss + share * opinion + critic
            parts |= {"discriminator": critic, "adversarial": adversarial, "adversarial_weight": weight}
            parts |= {"features": matching}
        if refining:
            verdict, opinion = self._judgement(helpers["judge"], target, x_hat, styles, generator)
            loss = loss + verdict + config.judge_weight * opinion
            parts |= {"judge": verdict, "judge_opinion": opinion}
        return loss, {name: value.detach() for name, value in parts.items()}

    def _judgement(
        self,
        judge: nn.Module,
        real: torch.Tensor,
        drawn: torch.Tensor,
        styles: torch.Tensor,
        generator: torch.Generator | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The judge's own cross-entropy, of real pictures and of detached drawn ones; and how far the drawn ones, which carry
        gradients past detached weights, are from passing for real in their styles [B]: two scalars."""
        module = inspect.getmodule(type(self.autoencoder))

        def disturbed(x: torch.Tensor) -> torch.Tensor:
            return module.disturb(x, generator, shift=max(x.shape[-1] // 16, 1))

        made_up = torch.full_like(styles, max(len(self._condition_names(CONDITION)), 1))
        verdict = F.cross_entropy(judge(disturbed(real)), styles)
        verdict = (verdict + F.cross_entropy(judge(disturbed(drawn.detach())), made_up)) / 2
        detached = {name: p.detach() for name, p in judge.named_parameters()}
        return verdict, F.cross_entropy(torch.func.functional_call(judge, detached, (disturbed(drawn),)), styles)

    def _styles_of(self, batch: dict, own: torch.Tensor) -> torch.Tensor:
        """Numbers of the styles to draw in, int64 [B]: the image's own or its partner's; zeros where styles have no names."""
        if not self._condition_names(CONDITION):
            return torch.zeros(len(own), dtype=torch.int64, device=own.device)
        styles = batch["conditions"][CONDITION]
        return torch.where(own, styles, batch.get("partner_conditions", batch["conditions"])[CONDITION])

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Measure each designer's mean style over the training images, into the autoencoder's `style_means`.

        Args:
            batches: of `{"images", "conditions"}`, one pass over the training data.

        Raises:
            ValueError: a designer of whom there is no image.
        """
        names = self._condition_names(CONDITION)
        if not names:
            return
        sums = torch.zeros(len(names), self.autoencoder.config.style_dim, dtype=torch.float64)
        counts = torch.zeros(len(names), dtype=torch.float64)
        for batch in batches:
            styles = batch["conditions"][CONDITION].cpu()
            sums.index_add_(0, styles, self.autoencoder.encode_style(self._to_tensor(batch["images"])).double().cpu())
            counts += torch.bincount(styles, minlength=len(names))
        if not counts.all():
            missing = [name for name, count in zip(names, counts, strict=True) if not count]
            raise ValueError(f"batches: there is no image of {', '.join(missing)}.")
        means = self.autoencoder.style_means
        means.copy_((sums / counts[:, None]).to(means))

    # ---- styles ----

    def _given(self, name: str, images: Images) -> torch.Tensor:
        """`_to_tensor` for an argument of another name."""
        try:
            return self._to_tensor(images)
        except (TypeError, ValueError) as error:
            raise type(error)(str(error).replace("images:", f"{name}:", 1)) from None

    def _designers(self) -> torch.Tensor:
        """Mean styles of the known designers, float32 [K, style_dim]; K = 0 where none was measured."""
        means = self.autoencoder.style_means.float()
        return means if means.any() else means[:0]

    def _wanted(self, designer: str, style: Images | None, number: int) -> torch.Tensor:
        """The style to draw `number` contents in, float32 [number, style_dim]."""
        if designer != "any":
            means = self._designers()
            if not len(means):
                raise ValueError("designer: the designers' styles are not measured yet; `fit` does it after training.")
            return means[self._condition_names(CONDITION).index(designer)].expand(number, -1)
        if style is None:
            raise ValueError("style: give a picture in the style you want, or name a designer.")
        vectors = self.autoencoder.encode_style(self._given("style", style))
        if len(vectors) not in (1, number):
            raise ValueError(f"style: give one picture or {number}, one for each content, not {len(vectors)}.")
        return vectors.expand(number, -1)

    @torch.no_grad()
    def style_map(self, styles: Images) -> StyleMapOutput:
        """Where pictures lie among the known designers, in the plane in which those differ most.

        The plane is that of the first two principal components of the designers' mean styles; where fewer than three are
        known, of those and the given pictures' together.

        Args:
            styles: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].

        Returns:
            `StyleMapOutput`: the designers' names, then "" for each picture, and their points.

        Raises:
            TypeError, ValueError: images of another kind or size.
        """
        known = self._designers()
        vectors = torch.cat([known, self.autoencoder.encode_style(self._given("styles", styles))]).double().cpu()
        base = vectors[: len(known)] if len(known) >= 3 else vectors
        centre = base.mean(0)
        axes = torch.linalg.svd(base - centre, full_matrices=False).Vh[:2]  # [up to 2, style_dim]
        # an axis has no direction of its own: its largest part is to be positive, so that the map never flips
        axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
        points = (vectors - centre) @ axes.T
        points = F.pad(points, (0, 2 - points.shape[1])).float()
        names = self._condition_names(CONDITION)[: len(known)]
        return StyleMapOutput(names=names + [""] * (len(points) - len(known)), points=points)

    # ---- the tasks ----

    @checked
    @torch.no_grad()
    def swap_style(
        self,
        content: Images,
        style: Images | None = None,
        generator: Generators = None,
        designer: Annotated[str, {"choices_from": "style"}] = "any",
        strength: Annotated[float, {"minimum": 0.0, "maximum": 1.5, "step": 0.05}] = 1.0,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """Draw the content of one picture in the style of another.

        Args:
            content: what to draw: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            style: in whose manner: as many pictures, or one for all; None with a named designer.
            generator: not used: nothing here is left to chance.
            designer: In whose manner to draw; any: in that of the style picture.
            strength: How far to go from the content's own style, 0, to the other, 1; beyond 1 exaggerates it.
            callback_on_step_end: called once as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).
            output_type: "pil", "np" ([N, H, W, C] in [0, 1]) or "pt" ([N, C, H, W] in [0, 1]).
            return_dict: False: a tuple.

        Returns:
            `ImagesOutput`, one image for each content.

        Raises:
            TypeError, ValueError: images of another kind, size or number, or neither a style picture nor a designer.
        """
        x = self._given("content", content)
        wanted = self._wanted(designer, style, len(x))
        if strength != 1.0:
            wanted = torch.lerp(self.autoencoder.encode_style(x), wanted, strength)
        x_hat = self.autoencoder.decode(self.autoencoder.encode_content(x), wanted)
        self._report(callback_on_step_end, 0, 0, 1, x_hat)
        return self._to_output(x_hat, output_type, return_dict)

    def _restore(self, x: torch.Tensor) -> torch.Tensor:
        """Images drawn again from their own content and style, float32 [N, C, S, S]."""
        return self.autoencoder.decode(self.autoencoder.encode_content(x), self.autoencoder.encode_style(x))

    @checked
    @torch.no_grad()
    def reconstruct(
        self,
        images: Images,
        generator: Generators = None,
        class_labels: Labels = None,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """Draw images again from their own content and their own style.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: not used: nothing here is left to chance.
            class_labels: not used.
            callback_on_step_end: called once as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).
            output_type: "pil", "np" ([N, H, W, C] in [0, 1]) or "pt" ([N, C, H, W] in [0, 1]).
            return_dict: False: a tuple.

        Returns:
            `ImagesOutput`, one image for each input.

        Raises:
            TypeError, ValueError: images of another kind or size, or labels or generators that do not fit.
        """
        x = self._to_tensor(images)
        self._to_labels(class_labels, len(x))
        self._to_generators(generator, len(x))
        x_hat = self._restore(x)
        self._report(callback_on_step_end, 0, 0, 1, x_hat)
        return self._to_output(x_hat, output_type, return_dict)

    @checked
    @torch.no_grad()
    def interpolate(
        self,
        a: Images,
        b: Images,
        num_frames: int = 8,
        generator: Generators = None,
        what: Literal["both", "style", "content"] = "both",
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """From one picture to another along straight lines, of the content's maps, of the style's vector, or of both.

        Args:
            a: the first image.
            b: the last image.
            num_frames: M, frames including both ends.
            generator: not used: this path is deterministic.
            what: "both" goes from a to b; "style" keeps what a shows and changes the manner, "content" keeps a's manner and changes what it shows.
            callback_on_step_end: called once as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).
            output_type: "pil", "np" ([M, H, W, C] in [0, 1]) or "pt" ([M, C, H, W] in [0, 1]).
            return_dict: False: a tuple.

        Returns:
            `ImagesOutput` with M images.

        Raises:
            TypeError, ValueError: images of another kind or size, or fewer than 2 frames.
        """
        if num_frames < 2:
            raise ValueError("num_frames: needs at least 2, the two ends.")
        ends = torch.cat([self._given(name, image)[:1] for name, image in (("a", a), ("b", b))])  # [2, C, S, S]
        weights = torch.linspace(0, 1, num_frames, device=ends.device)

        def path(ends: torch.Tensor, moves: bool) -> torch.Tensor:
            """[2, ...] -> [M, ...] from the first to the second, or the first M times."""
            start, end = ends.float()
            share = (weights * moves).reshape(-1, *[1] * start.ndim)
            return torch.lerp(start.expand(num_frames, *start.shape), end.expand(num_frames, *end.shape), share).to(
                ends
            )

        content = [path(c, what != "style") for c in self.autoencoder.encode_content(ends)]
        style = path(self.autoencoder.encode_style(ends), what != "content")
        x_hat = self.autoencoder.decode(content, style)  # [M, C, S, S]
        self._report(callback_on_step_end, 0, 0, 1, x_hat)
        return self._to_output(x_hat, output_type, return_dict)

    @checked
    @torch.no_grad()
    def anomaly_score(
        self,
        images: Images,
        generator: Generators = None,
        callback_on_step_end: Callable | None = None,
    ) -> AnomalyOutput:
        """What content and style together could not say of an image: the mean squared error of drawing it again.

        The map is the squared error of each pixel.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: not used: nothing here is left to chance.
            callback_on_step_end: called once as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).

        Returns:
            `AnomalyOutput` with scores [N], maps [N, H, W] and the unit.

        Raises:
            TypeError, ValueError: images of another kind or size, or generators that do not fit.
        """
        x = self._to_tensor(images)
        self._to_generators(generator, len(x))
        x_hat = self._restore(x)
        self._report(callback_on_step_end, 0, 0, 1, x_hat)
        errors = (x.float() - x_hat).square().mean(1)  # [N, S, S]
        return AnomalyOutput(scores=errors.mean((1, 2)).cpu(), maps=errors.cpu(), unit="mean squared error")


def _modeling(stem: str):
    """The file of a component, by name, beside this file: an import statement would make bare diffusers look for it on the
    Hub."""
    return importlib.import_module(__name__.replace("pipeline_style_ae", stem))
