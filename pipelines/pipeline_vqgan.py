"""VQGAN: images become maps of codes, and a transformer draws such maps, a dozen codes at a time or one after another.

    z_e = E(x),  k = argmin_j |z_e - e_j|^2,  x_hat = D(e_k)                van den Oord et al. 2017 eq. 1, 2
    L_1 = |x - x_hat| + pyramid + beta |z_e - sg(e_k)|^2 + lambda L_GAN     Esser et al. 2021 eq. 4, 7
    L_2 = -log p(k_i | k_1 ... k_(i-1), y)        for half of the rows      Esser et al. 2021 sec. 3.2
          -log p(k_i | unmasked codes, y)         for the others            Chang et al. 2022 eq. 1

Two stages of training, "autoencoder" (L_1) and "transformer" (L_2). The codebook follows the averages of the latents and
codes that nobody uses are restarted. One transformer learns to read codes in order and to fill gaps, so that the same
checkpoint decodes quickly (masked, MaskGIT) and exactly (autoregressive, which also gives the likelihood of a code map).

Without a transformer, as an adopted `VQModel` comes, the auto-encoder alone reconstructs, interpolates and measures errors.

There is no `log_likelihood`: the probability of a code map is none of pixels, since many maps may give nearly the same
picture, and most pictures are the decoder's answer to no map at all.

This file stands alone beside its components in vqgan/ and transformer/: with diffusers installed it needs nothing else.

Papers:
    van den Oord, Vinyals, Kavukcuoglu: Neural Discrete Representation Learning (VQ-VAE), 2017,
        https://arxiv.org/abs/1711.00937
    Esser, Rombach, Ommer: Taming Transformers for High-Resolution Image Synthesis (VQGAN), 2021,
        https://arxiv.org/abs/2012.09841
    Chang et al.: MaskGIT: Masked Generative Image Transformer, 2022, https://arxiv.org/abs/2202.04200
    Chang et al.: Muse: Text-To-Image Generation via Masked Generative Transformers, 2023,
        https://arxiv.org/abs/2301.00704 (guidance of masked decoding)
    Dhariwal et al.: Jukebox, 2020, https://arxiv.org/abs/2005.00341 (restarts of codes)
    Fan, Lewis, Dauphin: Hierarchical Neural Story Generation, 2018, https://arxiv.org/abs/1805.04833 (top-k)
    Holtzman et al.: The Curious Case of Neural Text Degeneration, 2020, https://arxiv.org/abs/1904.09751 (top-p)
    Ho, Salimans: Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598
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
from diffusers import DiffusionPipeline, ModelMixin, VQModel
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from torch import nn

Images = PIL.Image.Image | list[PIL.Image.Image] | np.ndarray | torch.Tensor
Labels = int | list[int] | torch.Tensor | None
Generators = torch.Generator | list[torch.Generator] | None
Steps = Annotated[int, {"minimum": 1, "maximum": 64, "step": 1}]

STAGES = ("autoencoder", "transformer")
RESTARTS_UNTIL = 0.8  # of the first stage; then the codebook settles
LABEL_SMOOTHING = 0.1  # of the masked rows, as MaskGIT; the causal ones are to give likelihoods
NUM_CALIBRATION_IMAGES = 1024


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
class CodesOutput(ImagesOutput):
    """`images` as in `ImagesOutput`, and `codes`: int64 [N, h, w], the map of codes of each."""

    codes: torch.Tensor


class StockCodec:
    """diffusers' `VQModel`, spoken to as `VQGANModel`.

    Raises:
        ValueError: it is no auto-encoder of square images.
    """

    def __init__(self, model: VQModel):
        config = model.config
        shrinking = 2 ** (len(config.block_out_channels) - 1)  # every level but the last halves the resolution
        if config.in_channels != config.out_channels or config.in_channels not in (1, 3):
            raise ValueError(
                f"vqgan: turns {config.in_channels} channels into {config.out_channels}; it must be 1 or 3."
            )
        if not isinstance(config.sample_size, int) or config.sample_size % shrinking:
            raise ValueError(f"vqgan: images of {config.sample_size} pixels do not divide into squares of {shrinking}.")
        self.model, self.channels, self.map_size = model, config.in_channels, config.sample_size // shrinking

    @property
    def codebook(self) -> torch.Tensor:
        return self.model.quantize.embedding.weight  # [K, D]

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return self.model.encode(x).latents.float()

    def nearest(self, z: torch.Tensor) -> torch.Tensor:
        distances = torch.cdist(z.movedim(1, -1).flatten(1, 2), self.codebook.float()[None])  # [B, h w, K]
        return distances.argmin(-1).unflatten(1, z.shape[2:])

    def embed(self, codes: torch.Tensor) -> torch.Tensor:
        return self.codebook.float()[codes].movedim(-1, 1)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        # Not `model.decode`: that takes z for codes if `lookup_from_codebook` is set, and may quantise it.
        z = z.to(self.model.dtype)
        spatial = z if self.model.config.norm_type == "spatial" else None
        return self.model.decoder(self.model.post_quant_conv(z), spatial).float()

    def decode_codes(self, codes: torch.Tensor) -> torch.Tensor:
        return self.decode(self.embed(codes))


# ---- choosing codes ----


def truncate(logits: torch.Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> torch.Tensor:
    """Log-probabilities [..., K] of softmax(logits / temperature) with the unlikely ones at -inf, not normalised again.

    Args:
        logits: [..., K].
        temperature: 0 leaves the most likely one only.
        top_k: keep that many of the likeliest (Fan et al. 2018); 0: all.
        top_p: keep the fewest of the likeliest that have this probability together (Holtzman et al. 2020 eq. 2, 3).
    """
    if temperature == 0:
        temperature, top_k = 1.0, 1
    log_p = (logits / temperature).log_softmax(-1)
    if not top_k and top_p >= 1:
        return log_p
    ordered, order = log_p.sort(dim=-1, descending=True)
    before = ordered.exp().cumsum(-1) - ordered.exp()  # probability of those that are likelier
    keep = (before < top_p) | (torch.arange(logits.shape[-1], device=logits.device) == 0)
    if top_k:
        keep &= torch.arange(logits.shape[-1], device=logits.device) < top_k
    keep = torch.zeros_like(keep).scatter(-1, order, keep)
    return log_p.masked_fill(~keep, -torch.inf)


def draw(log_p: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Codes drawn by the inverse of the distribution function: log-probabilities [..., K], normalised or not, and uniform
    numbers [...] in (0, 1) -> int64 [...]."""
    cumulative = log_p.double().exp().cumsum(-1)
    return (cumulative <= uniform.double()[..., None] * cumulative[..., -1:]).sum(-1).clamp(max=log_p.shape[-1] - 1)


def masked_share(r: torch.Tensor | float) -> Any:
    """Share of the codes that is masked at r in [0, 1], cos(pi r / 2) (MaskGIT, "Masking Design")."""
    return torch.cos(r * math.pi / 2) if isinstance(r, torch.Tensor) else math.cos(r * math.pi / 2)


def random_masks(number: torch.Tensor, size: int, generator: torch.Generator | None) -> torch.Tensor:
    """Masks, bool [N, size], of `number` int64 [N] places each, chosen at random."""
    order = torch.rand(len(number), size, generator=generator, device=number.device).argsort(1).argsort(1)
    return order < number[:, None]


class VQGANPipeline(FamilyPipeline):
    """An auto-encoder with a codebook, and a transformer over its code maps.

    Args:
        vqgan: `VQGANModel`, encoder, codebook, decoder; or diffusers' `VQModel`, which is not trained here.
        transformer: `CodeTransformer`; None: nothing can be generated, and only errors of reconstruction tell what is strange.
        sample_size: side of the square images in pixels.
        channels: 1 or 3.
        perceptual_weight: of the Laplacian pyramid's distance beside the plain one in the reconstruction loss.
        commitment_weight: beta of the commitment loss (VQ-VAE eq. 3).
        adversarial_weight: of the adversarial loss, beside the adaptive lambda.
        feature_weight: of the distance of the discriminator's features.
        discriminator_start: part of the first stage after which there is a discriminator.
        discriminator_ramp: part of it over which its say in the encoder's and decoder's loss then rises from nothing.
        discriminator_widths: of the discriminator's layers.
        class_dropout: part of the training rows that are told nothing, for classifier-free guidance; as large a part is not
            told the class, and as large a part not each of the conditions.
        causal_share: part of the training rows that are read in order.
        corruption: part of the codes that such a row reads wrong, so that it copes with mistakes of its own (VQGAN's code).
        id2label: names of the classes.
        conditions: {condition: {number: name}} beside the class.
        defaults: {task: {parameter: value}}, what this checkpoint's controls stand at where that differs from the
            signatures.
        calibration: what `fit` found; see `anomaly_score`.
        anomaly_quantiles: 201 quantiles of the scores of ordinary test images for each `score`, and under "both, class told"
            and the like where each is told its own class.
    """

    _optional_components: ClassVar[list[str]] = ["transformer"]  # as diffusers has it
    needs: ClassVar[dict[str, str]] = {"__call__": "transformer"}

    def __init__(
        self,
        vqgan: ModelMixin,
        transformer: ModelMixin | None = None,
        sample_size: int | None = None,
        channels: int | None = None,
        perceptual_weight: float = 1.0,
        commitment_weight: float = 0.25,
        adversarial_weight: float = 0.2,
        feature_weight: float = 0.2,
        discriminator_start: float = 0.3,
        discriminator_ramp: float = 0.2,
        discriminator_widths: tuple[int, ...] = (64, 128),
        class_dropout: float = 0.1,
        causal_share: float = 0.5,
        corruption: float = 0.1,
        id2label: dict[str, str] | None = None,
        conditions: dict[str, dict[str, str]] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        calibration: dict[str, list[float]] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        self.register_modules(vqgan=vqgan, transformer=transformer)
        stock = StockCodec(vqgan) if isinstance(vqgan, VQModel) else None
        self.register_to_config(
            sample_size=sample_size or vqgan.config.sample_size,
            channels=channels or (stock.channels if stock else vqgan.config.channels),
            perceptual_weight=perceptual_weight,
            commitment_weight=commitment_weight,
            adversarial_weight=adversarial_weight,
            feature_weight=feature_weight,
            discriminator_start=discriminator_start,
            discriminator_ramp=discriminator_ramp,
            discriminator_widths=tuple(discriminator_widths),
            class_dropout=class_dropout,
            causal_share=causal_share,
            corruption=corruption,
            id2label=id2label,
            conditions=conditions,
            defaults=defaults,
            calibration=calibration,
            anomaly_quantiles=anomaly_quantiles,
        )
        self._helpers: dict[str, nn.Module] = {}  # of the first stage; no components, so never saved

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        conditions: dict[str, dict[str, str]] | None = None,
        class_conditional: bool = True,
        block_out_channels: tuple[int, ...] = (64, 128),
        encoder_layers: int = 1,
        decoder_layers: int = 2,
        codebook_size: int = 512,
        code_dim: int = 16,
        width: int = 256,
        num_layers: int = 6,
        num_heads: int = 4,
        **options,
    ) -> VQGANPipeline:
        """Fresh weights.

        Args:
            block_out_channels, encoder_layers, decoder_layers, codebook_size, code_dim: of `VQGANModel`.
            width, num_layers, num_heads: of `CodeTransformer`.
            options: the other arguments of the class.

        Raises:
            TypeError: an option that the class does not have.
            ValueError: sizes that do not divide, shares beyond 0 ... 1, or another condition than "style".
        """
        id2label = id2label if class_conditional else None
        if set(conditions or ()) - {"style"}:
            raise ValueError(f"conditions: this family knows the condition 'style', not {', '.join(conditions)}.")
        for name in ("class_dropout", "causal_share", "corruption", "discriminator_start", "discriminator_ramp"):
            if not 0 <= options.get(name, 0) <= 1:
                raise ValueError(f"{name}: must lie in 0 ... 1, not {options[name]}.")
        vqgan = _modeling("modeling_vqgan").VQGANModel(
            sample_size, channels, tuple(block_out_channels), encoder_layers, decoder_layers, codebook_size, code_dim
        )
        transformer = _modeling("modeling_vqgan_transformer").CodeTransformer(
            codebook_size,
            vqgan.map_size**2,
            width,
            num_layers,
            num_heads,
            num_classes=len(id2label or ()),
            conditions={name: len(names) for name, names in (conditions or {}).items()},
        )
        return cls(vqgan, transformer, id2label=id2label, conditions=conditions, **options)

    # ---- training ----

    def trainable(self, stage: str) -> dict[str, nn.Module]:
        """The modules that a stage trains; helpers of the first stage are made when first asked for.

        Raises:
            ValueError: an unknown stage, or one whose part is not there or is diffusers' own.
        """
        if stage not in STAGES:
            raise ValueError(f"stage: choose {' or '.join(map(repr, STAGES))}, not {stage!r}.")
        if stage == "transformer":
            self._need_transformer("stage: 'transformer'")
            return {"transformer": self.transformer}
        if isinstance(self.vqgan, VQModel):
            raise ValueError(
                "stage: diffusers' VQModel is not trained here, since its codebook learns by gradients alone."
            )
        if not self._helpers:
            module, config = _modeling("modeling_vqgan"), self.vqgan.config
            self._helpers = {
                "discriminator": module.PatchDiscriminator(config.channels, tuple(self.config.discriminator_widths)),
                "codebook_average": module.CodebookAverage(config.codebook_size, config.code_dim),
            }
        return {"vqgan": self.vqgan, **self._helpers}

    def prepare(self, stage: str, batches: Iterable[dict]) -> dict[str, torch.Tensor] | None:
        """What the second stage needs of the images: their codes, int16 [N, h, w]. For the first stage: None."""
        if stage != "transformer":
            return None
        codes = [self._codes(batch["images"].to(self.device)).to(torch.int16).cpu() for batch in batches]
        return {"codes": torch.cat(codes)}

    def loss(
        self,
        batch: dict,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
        stage: Literal["autoencoder", "transformer"] = "transformer",
    ):
        """The loss of a stage.

        "autoencoder" (while the model is in training mode, each call also moves the codebook): reconstruction, commitment,
        and, once there is a discriminator, its opinion and its own loss. Both are in one scalar: the discriminator's loss
        sees detached images, and its opinion of the images that carry gradients is asked with detached weights.

        "transformer": cross-entropy of codes, read in order or, for the other rows, of those that are masked.

        Args:
            batch: "images" [B, C, S, S] in [-1, 1], or for the second stage "codes" [B, h, w]; "class_labels" int64 [B] (-1:
                none) or None; "conditions" {name: int64 [B]}.
            generator: for all random numbers, on the images' device.
            progress: part of the stage that is done, 0 ... 1.
            stage: which.

        Returns:
            (scalar, {name: scalar}).

        Raises:
            ValueError: as `trainable`.
        """
        self.trainable(stage)
        if stage == "autoencoder":
            return self._autoencoder_loss(batch["images"], generator, progress)
        return self._transformer_loss(batch, generator)

    def _autoencoder_loss(self, x: torch.Tensor, generator: torch.Generator | None, progress: float):
        helpers, config = self.trainable("autoencoder"), self.config
        module = inspect.getmodule(type(self.vqgan))
        x_hat, z, codes = self.vqgan(x)
        pixels = (x - x_hat).abs().mean()
        perceptual = module.pyramid_distance(x, x_hat)
        reconstruction = pixels + config.perceptual_weight * perceptual
        commitment = F.mse_loss(z, self.vqgan.embed(codes))  # the codebook is a buffer, so this is |z_e - sg(e)|^2
        loss = reconstruction + config.commitment_weight * commitment
        parts = {"pixels": pixels, "perceptual": perceptual, "commitment": commitment}

        discriminator = helpers["discriminator"]
        if progress < config.discriminator_start:
            # no part in the loss, but gradients, of nothing: several processes wait for those of every weight
            loss = loss + 0.0 * sum(p.sum() for p in discriminator.parameters())
        else:
            share = module.ramp(progress, config.discriminator_start, config.discriminator_ramp)
            real, real_features = discriminator(x)
            critic = module.hinge_loss(real, discriminator(x_hat.detach())[0])
            detached = {name: p.detach() for name, p in discriminator.named_parameters()}
            fake, fake_features = torch.func.functional_call(discriminator, detached, (x_hat,))
            adversarial = -fake.mean()
            weight = module.adaptive_weight(reconstruction, adversarial, self.vqgan.last_layer)
            matching = module.feature_distance(real_features, fake_features)
            opinion = config.adversarial_weight * weight * adversarial + config.feature_weight * matching
            loss = loss + share * opinion + critic
            parts |= {"discriminator": critic, "adversarial": adversarial, "adversarial_weight": weight}
            parts |= {"features": matching}
        if self.vqgan.training:
            restart = progress < RESTARTS_UNTIL
            average = helpers["codebook_average"]
            parts |= average.update(self.vqgan.codebook, z.detach(), codes, restart, generator)
        return loss, {name: value.detach() for name, value in parts.items()}

    def _transformer_loss(self, batch: dict, generator: torch.Generator | None):
        codes = batch["codes"].long() if "codes" in batch else self._codes(batch["images"])
        codes = codes.flatten(1)  # [B, T]
        (n, size), device = codes.shape, codes.device
        causal = torch.arange(n, device=device) < round(self.config.causal_share * n)
        wrong = torch.randint(self.vqgan.config.codebook_size, codes.shape, generator=generator, device=device)
        misread = torch.rand(codes.shape, generator=generator, device=device) < self.config.corruption
        number = (masked_share(torch.rand(n, generator=generator, device=device)) * size).ceil().long().clamp(min=1)
        masked = random_masks(number, size, generator)  # [B, T]
        shown = torch.where(masked, self.transformer.mask_code, codes)
        shown = torch.where(causal[:, None], torch.where(misread, wrong, codes), shown)
        log_p = self.transformer(shown, *self._forget(batch, n, generator), causal=causal).log_softmax(-1)  # [B, T, K]
        nll = -log_p.gather(-1, codes[..., None])[..., 0]  # [B, T]
        smooth = (1 - LABEL_SMOOTHING) * nll - LABEL_SMOOTHING * log_p.mean(-1)
        masked &= ~causal[:, None]
        filling = (smooth * masked).sum() / masked.sum().clamp(min=1)
        reading = (nll * causal[:, None]).sum() / (causal.sum() * size).clamp(min=1)
        loss = (1 - self.config.causal_share) * filling + self.config.causal_share * reading
        return loss, {
            "masked_nll": ((nll * masked).sum() / masked.sum().clamp(min=1)).detach(),
            "causal_nll": reading.detach(),
        }

    def _forget(self, batch: dict, n: int, generator: torch.Generator | None) -> tuple:
        """Class labels and conditions of a training batch, some of them withheld (-1)."""

        def dropped() -> torch.Tensor:
            return torch.rand(n, generator=generator, device=self.device) < self.config.class_dropout

        nothing = dropped()
        labels = batch.get("class_labels") if self.config.id2label else None
        labels = None if labels is None else torch.where(nothing | dropped(), -1, labels)
        known = batch.get("conditions") or {}
        conditions = {name: torch.where(nothing | dropped(), -1, known[name]) for name in self.config.conditions or ()}
        return labels, conditions

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Calibrate the anomaly scores: means and deviations of both kinds over training images, into the configuration.

        Takes NUM_CALIBRATION_IMAGES at random from one pass (reservoir sampling, Vitter 1985), or all if there are fewer.

        Args:
            batches: of `{"images", "class_labels"}`, one pass over the training data.

        Raises:
            ValueError: fewer than two images.
        """
        random = np.random.default_rng(0)
        chosen: list[torch.Tensor] = []
        seen = 0
        for batch in batches:
            for image in batch["images"]:
                seen += 1
                if len(chosen) < NUM_CALIBRATION_IMAGES:
                    chosen.append(image)
                elif (place := random.integers(seen)) < NUM_CALIBRATION_IMAGES:
                    chosen[place] = image
        if len(chosen) < 2:
            raise ValueError("batches: calibration needs at least two images.")
        errors, surprises = [], []
        for start in range(0, len(chosen), 64):
            codes, _, error = self._restored(self._to_tensor(torch.stack(chosen[start : start + 64])))
            errors.append(error.mean((1, 2)))
            surprises.append(self._nats(codes, None).sum((1, 2)))
        errors, surprises = torch.cat(errors), torch.cat(surprises)
        logs = errors.clamp(min=1e-8).log()
        self.register_to_config(
            calibration={
                "log_error": [logs.mean().item(), logs.std().clamp(min=1e-6).item()],
                "nats": [surprises.mean().item(), surprises.std().clamp(min=1e-6).item()],
                "maps": [errors.mean().clamp(min=1e-8).item(), surprises.mean().item() / self.vqgan.map_size**2],
            }
        )

    # ---- codes ----

    @property
    def codec(self) -> ModelMixin | StockCodec:
        """The auto-encoder, of whatever make, with the methods of `VQGANModel`."""
        return StockCodec(self.vqgan) if isinstance(self.vqgan, VQModel) else self.vqgan

    @torch.no_grad()
    def _codes(self, x: torch.Tensor) -> torch.Tensor:
        """Images [N, C, S, S] -> int64 [N, h, w]."""
        return self.codec.nearest(self.codec.encode(x))

    def encode(self, images: Images) -> torch.Tensor:
        """Images -> code maps.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].

        Returns:
            int64 [N, h, w].
        """
        return self._codes(self._to_tensor(images))

    @torch.no_grad()
    def decode(self, codes: torch.Tensor, output_type: str = "pil", return_dict: bool = True) -> ImagesOutput | tuple:
        """Code maps int64 [N, h, w] -> `ImagesOutput`; output types as in `__call__`."""
        return self._to_output(self.codec.decode_codes(codes.to(self.device)), output_type, return_dict)

    def _need_transformer(self, what: str) -> None:
        """
        Raises:
            ValueError: there is none.
        """
        if self.transformer is None:
            raise ValueError(f"{what} needs a transformer, and this checkpoint is an auto-encoder alone.")

    def _uniform(self, shape, generator) -> torch.Tensor:
        """Uniform numbers in (0, 1), float32, row i from generator i."""
        normal = randn_tensor(tuple(shape), generator=generator, device=self.device, dtype=torch.float32)
        return torch.special.ndtr(normal.double()).clamp(1e-9, 1 - 1e-9)

    def _partly(self, codes: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Code maps as far as they are known, [N, T] both -> images [N, C, S, S], grey where they are not."""
        h = self.codec.map_size
        known = known.reshape(-1, 1, h, h).float()
        z = self.codec.embed(codes.reshape(-1, h, h)) * known
        return self.codec.decode(z) * known.repeat_interleave(self.config.sample_size // h, 2).repeat_interleave(
            self.config.sample_size // h, 3
        )

    def _guided(self, call: Callable, codes: torch.Tensor, told: tuple, guidance_scale: float) -> torch.Tensor:
        """Logits u + g (c - u) (Ho and Salimans 2022 eq. 6 with g = 1 + w; for masked decoding Muse sec. 2.7).

        Args:
            call: (codes [M, ...], class_labels, conditions) -> logits [M, ...].
            told: class labels [N] or None, {condition: values [N]}.
        """
        labels, conditions = told
        if guidance_scale == 1.0 or (labels is None and not conditions):
            return call(codes, labels, conditions)
        doubled = [
            None if v is None else torch.cat([v, torch.full_like(v, -1)]) for v in (labels, *conditions.values())
        ]
        logits = call(torch.cat([codes, codes]), doubled[0], dict(zip(conditions, doubled[1:], strict=True)))
        conditional, unconditional = logits.chunk(2)
        return unconditional + guidance_scale * (conditional - unconditional)

    def _fill(
        self,
        codes: torch.Tensor,
        told: tuple,
        generator,
        num_inference_steps: int,
        guidance_scale: float,
        temperature: float,
        top_k: int,
        top_p: float,
        choice_temperature: float,
        callback: Callable | None,
    ) -> torch.Tensor:
        """Replace the masks in codes [N, T] (MaskGIT, "Iterative Decoding").

        Each step draws every masked code, keeps those that the network is surest of, and masks the others again:
        floor(cos(pi t / 2 T) n) of the n masks at first remain. Confidence is the log-probability of what was drawn, plus
        Gumbel noise that falls linearly to nothing (as in MaskGIT's code): without it, maps would fill with the most common
        code first.
        """
        unknown = codes == self.transformer.mask_code  # [N, T]
        number = unknown.sum(1)  # [N]
        steps = max(1, min(num_inference_steps, int(number.max())))
        for i in range(steps):
            logits = self._guided(self.transformer, codes, told, guidance_scale)  # [N, T, K]
            drawn = draw(truncate(logits, temperature, top_k, top_p), self._uniform(codes.shape, generator))
            drawn = torch.where(unknown, drawn, codes)
            left = 1 - (i + 1) / steps
            gumbel = -(-self._uniform(codes.shape, generator).log()).log()
            sure = logits.log_softmax(-1).gather(-1, drawn[..., None])[..., 0] + choice_temperature * left * gumbel
            rank = sure.masked_fill(~unknown, torch.inf).argsort(1).argsort(1)
            remaining = (number * masked_share((i + 1) / steps) + 1e-6).floor().long()
            remaining = torch.minimum(remaining, (unknown.sum(1) - 1).clamp(min=0))  # every step decides something
            unknown = rank < remaining[:, None]
            codes = torch.where(unknown, self.transformer.mask_code, drawn)
            if callback is not None:
                self._report(callback, i, i, steps, self._partly(drawn, ~unknown))
        return codes

    def _write(
        self,
        number: int,
        told: tuple,
        generator,
        guidance_scale: float,
        temperature: float,
        top_k: int,
        top_p: float,
        callback: Callable | None,
    ) -> torch.Tensor:
        """Codes [N, T], one after another, each drawn given those before (Esser et al. 2021 sec. 3.2)."""
        side = self.codec.map_size
        uniform = self._uniform((number, side**2), generator)
        codes = torch.zeros(number, 0, dtype=torch.int64, device=self.device)
        cache: list = []

        def call(new: torch.Tensor, labels, conditions) -> torch.Tensor:
            nonlocal cache
            logits, cache = self.transformer(new, labels, conditions, cache=cache)
            return logits

        for i in range(side**2):
            logits = self._guided(call, codes[:, -1:], told, guidance_scale)  # [N, K]
            drawn = draw(truncate(logits, temperature, top_k, top_p), uniform[:, i])
            codes = torch.cat([codes, drawn[:, None]], dim=1)
            if callback is not None and (i + 1) % side == 0:
                known = torch.arange(side**2, device=self.device) <= i
                filled = F.pad(codes, (0, side**2 - i - 1))
                self._report(callback, i // side, i, side, self._partly(filled, known.expand(number, -1)))
        return codes

    def _picture(self, codes: torch.Tensor, output_type: str, return_dict: bool) -> CodesOutput | tuple:
        """Codes [N, T] -> images and code maps."""
        codes = codes.reshape(-1, self.codec.map_size, self.codec.map_size)
        images = self._to_output(self.codec.decode_codes(codes), output_type).images
        return CodesOutput(images=images, codes=codes.cpu()) if return_dict else (images, codes.cpu())

    # ---- the tasks ----

    @checked
    @torch.no_grad()
    def __call__(
        self,
        batch_size: int = 1,
        generator: Generators = None,
        class_labels: Labels = None,
        style: Annotated[str, {"choices_from": "style"}] = "any",
        decoding: Literal["masked", "autoregressive"] = "masked",
        num_inference_steps: Steps = 10,
        guidance_scale: Annotated[float, {"minimum": 0.0, "maximum": 6.0, "step": 0.1}] = 1.5,
        temperature: Annotated[float, {"minimum": 0.0, "maximum": 2.0, "step": 0.05}] = 1.0,
        top_k: Annotated[int, {"minimum": 0, "maximum": 1024, "step": 1}] = 0,
        top_p: Annotated[float, {"minimum": 0.0, "maximum": 1.0, "step": 0.01}] = 1.0,
        choice_temperature: Annotated[float, {"minimum": 0.0, "maximum": 10.0, "step": 0.1}] = 4.5,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> CodesOutput | tuple:
        """Generate images: draw a map of codes and decode it.

        Args:
            batch_size: N, how many.
            generator: one `torch.Generator`, or a list with one for each sample.
            class_labels: int, list or int64 tensor [N]; None: the unconditional model.
            style: Whose drawing it is to look like; any: each image draws one by its seed.
            decoding: "masked" draws many codes at once, the surest first, in a few steps; "autoregressive" draws one after another, row by row.
            num_inference_steps: Steps of masked decoding; the other kind takes one for each code.
            guidance_scale: Above 1 samples follow their class more closely and vary less; 0 ignores the class.
            temperature: Below 1 codes are drawn from the likelier ones, 0 takes the likeliest only; above 1 more freely.
            top_k: Draw from this many of the likeliest codes only; 0 from all.
            top_p: Draw from the likeliest codes that have this probability together; 1 from all.
            choice_temperature: Chance in the order in which masked decoding settles codes; 0 always settles the surest first, which makes samples plain.
            callback_on_step_end: called as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}), after each step of masked decoding, or each row of codes.
            output_type: "pil", "np" ([N, H, W, C] in [0, 1]) or "pt" ([N, C, H, W] in [0, 1]).
            return_dict: False: a tuple.

        Returns:
            `CodesOutput`.

        Raises:
            ValueError: a label, generator list or option that does not fit, or no transformer.
        """
        self._need_transformer("Generating")
        generator = self._to_generators(generator, batch_size)
        labels, styles = (
            self._to_labels(class_labels, batch_size),
            self._to_condition("style", style, batch_size, generator),
        )
        told = (labels, {} if styles is None else {"style": styles})
        if output_type not in ("pil", "np", "pt"):  # said before the work, not after it
            raise ValueError(f"output_type: choose 'pil', 'np' or 'pt', not {output_type!r}.")
        how = (guidance_scale, temperature, top_k, top_p)
        if decoding == "autoregressive":
            codes = self._write(batch_size, told, generator, *how, callback_on_step_end)
        else:
            shape = (batch_size, self.codec.map_size**2)
            codes = torch.full(shape, self.transformer.mask_code, device=self.device)
            codes = self._fill(
                codes, told, generator, num_inference_steps, *how, choice_temperature, callback_on_step_end
            )
        return self._picture(codes, output_type, return_dict)

    @checked
    @torch.no_grad()
    def reconstruct(
        self,
        images: Images,
        generator: Generators = None,
        class_labels: Labels = None,
        redraw: Annotated[float, {"minimum": 0.0, "maximum": 1.0, "step": 0.05, "needs": "transformer"}] = 0.0,
        num_inference_steps: Annotated[int, {"minimum": 1, "maximum": 64, "step": 1, "needs": "transformer"}] = 10,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> CodesOutput | tuple:
        """Encode images as codes and decode them again; part of the codes can be forgotten and drawn anew.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: one `torch.Generator`, or a list with one for each image (with `redraw`).
            class_labels: of the images, if known (with `redraw`).
            redraw: Part of the codes, chosen at random, that is masked and drawn anew by the transformer; 0 keeps all.
            num_inference_steps: Steps in which those codes are drawn.
            callback_on_step_end: called as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}), at least once.
            output_type: "pil", "np" ([N, H, W, C] in [0, 1]) or "pt" ([N, C, H, W] in [0, 1]).
            return_dict: False: a tuple.

        Returns:
            `CodesOutput`, one image and one code map for each input.

        Raises:
            TypeError, ValueError: images of another kind or size, labels or generators that do not fit, or codes to draw
                anew without a transformer.
        """
        codes = self.encode(images).flatten(1)  # [N, T]
        labels = self._to_labels(class_labels, len(codes))
        generator = self._to_generators(generator, len(codes))
        number = round(redraw * codes.shape[1])
        if number:
            self._need_transformer("redraw")
            rank = self._uniform(codes.shape, generator).argsort(1).argsort(1)
            codes = torch.where(rank < number, self.transformer.mask_code, codes)
            how = (1.0, 1.0, 0, 1.0, 4.5)
            codes = self._fill(codes, (labels, {}), generator, num_inference_steps, *how, callback_on_step_end)
        elif callback_on_step_end is not None:
            self._report(callback_on_step_end, 0, 0, 1, self._partly(codes, torch.ones_like(codes)))
        return self._picture(codes, output_type, return_dict)

    @checked
    @torch.no_grad()
    def interpolate(
        self,
        a: Images,
        b: Images,
        num_frames: int = 8,
        generator: Generators = None,
        quantize: bool = True,
        callback_on_step_end: Callable | None = None,
        output_type: str = "pil",
        return_dict: bool = True,
    ) -> ImagesOutput | tuple:
        """From one image to another along the straight line between their latents before quantisation.

        Args:
            a: the first image.
            b: the last image.
            num_frames: M, frames including both ends.
            generator: not used: this path is deterministic.
            quantize: Snap each point of the path to the codes, which is what the decoder knows; without, the path is smoother and more of a blend.
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
        za, zb = (self.codec.encode(self._to_tensor(image)[:1]) for image in (a, b))  # 2 x [1, D, h, w]
        weights = torch.linspace(0, 1, num_frames, device=za.device)[:, None, None, None]
        z = torch.lerp(za, zb, weights)  # [M, D, h, w]
        x = self.codec.decode(self.codec.embed(self.codec.nearest(z)) if quantize else z)
        self._report(callback_on_step_end, 0, 0, 1, x)
        return self._to_output(x, output_type, return_dict)

    def _restored(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Images -> codes [N, h, w], reconstructions [N, C, S, S], and their squared errors [N, S, S]."""
        codes = self._codes(x)
        x_hat = self.codec.decode_codes(codes)
        return codes, x_hat, (x.float() - x_hat).square().mean(1)

    def _nats(self, codes: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """-log p of each code given those before, [N, h, w] as the codes."""
        logits = self.transformer(codes.flatten(1), labels, causal=True)  # [N, T, K]
        return F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").reshape(codes.shape)

    @checked
    @torch.no_grad()
    def anomaly_score(
        self,
        images: Images,
        generator: Generators = None,
        class_labels: Labels = None,
        score: Annotated[
            Literal["both", "reconstruction", "likelihood"],
            {"needs": {"both": "transformer", "likelihood": "transformer"}},
        ] = "both",
        class_weight: Annotated[float, {"minimum": 0.0, "maximum": 100.0, "step": 0.5, "needs": "classes"}] = 10.0,
        callback_on_step_end: Callable | None = None,
    ) -> AnomalyOutput:
        """How strange an image is to the model.

        "reconstruction" is the mean squared error of what comes back through the codes; its map, that of each pixel.
        "likelihood" is -log p of the code map, one code after another; its map, the nats of each code on its patch.
        "both" is the sum of the two, the error's logarithm and the nats each as deviations from the training images' mean
        in their standard deviations, which `fit` found (before `fit`: as they are); its map, the sum of both maps, each in
        multiples of the training images' mean.

        Told a class, the nats are n + w (n_y - n): n and n_y of the transformer untold and told, and w the class's weight.
        With w = 1 that is -log p of the codes given the class, in which the class counts for little among hundreds of nats. As
        with a guidance scale (Ho and Salimans 2022 eq. 6), a larger w counts p(y | codes) that often; the default lets both
        weigh about the same on Fashion-MNIST. The map is cut off at 0. "reconstruction" knows no class.

        Args:
            images: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].
            generator: not used: nothing here is left to chance.
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "reconstruction" is what the codes cannot say of the image, "likelihood" how unusual its codes are together, "both" the sum of the two in standard deviations.
            class_weight: How much the class counts where one is told; 0 ignores it, 1 is the plain likelihood of codes of the class.
            callback_on_step_end: called once as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).

        Returns:
            `AnomalyOutput` with scores [N], maps [N, H, W] and the unit.

        Raises:
            TypeError, ValueError: images of another kind or size, an unknown score, one that needs a transformer where there
                is none, or labels that do not fit.
        """
        if score != "reconstruction":
            self._need_transformer(f"score: {score!r}")
        x = self._to_tensor(images)
        self._to_generators(generator, len(x))
        labels = self._to_labels(class_labels, len(x))
        codes, x_hat, errors = self._restored(x)
        self._report(callback_on_step_end, 0, 0, 1, x_hat)
        error = errors.mean((1, 2))
        if score == "reconstruction":
            return AnomalyOutput(scores=error.cpu(), maps=errors.cpu(), unit="mean squared error")
        nats = self._nats(codes, None)
        if labels is not None:
            nats = nats + class_weight * (self._nats(codes, labels) - nats)
        patch = self.config.sample_size // self.codec.map_size
        wide = nats.clamp(min=0).repeat_interleave(patch, 1).repeat_interleave(patch, 2)  # [N, S, S]
        surprise = nats.sum((1, 2))
        if score == "likelihood":
            return AnomalyOutput(scores=surprise.cpu(), maps=wide.cpu(), unit="nats")
        known = self.config.calibration or {"log_error": [0.0, 1.0], "nats": [0.0, 1.0], "maps": [1.0, 1.0]}
        (mean_e, std_e), (mean_n, std_n), (usual_e, usual_n) = (known[key] for key in ("log_error", "nats", "maps"))
        scores = (error.clamp(min=1e-8).log() - mean_e) / std_e + (surprise - mean_n) / std_n
        maps = errors / usual_e + wide / usual_n
        return AnomalyOutput(scores=scores.cpu(), maps=maps.cpu(), unit="standard deviations")


def _modeling(stem: str):
    """The file of a component, by name, beside this file: an import statement would make bare diffusers look for it on the
    Hub."""
    return importlib.import_module(__name__.replace("pipeline_vqgan", stem))
