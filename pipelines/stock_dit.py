"""diffusers' own auto-encoder and diffusion transformer, with the methods of `KLAutoencoder` and `DiTModel`."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL, DDPMScheduler, DiTTransformer2DModel, SchedulerMixin

STOCK_TARGETS = ("v_prediction", "epsilon")


class StockAutoencoder:
    """An `AutoencoderKL` for images of S pixels, used as a `KLAutoencoder`.

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
        """Return f, the ratio of the sides of images and latents: every level but the last halves the resolution."""
        return 2 ** (len(model.config.block_out_channels) - 1)

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log-variance of q(z | x), two float32 tensors [B, c, S / f, S / f]."""
        posterior = self.model.encode(x).latent_dist
        return posterior.mean.float(), posterior.logvar.float()

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Return the images of latents [B, c, S / f, S / f], float32 [B, C, S, S]."""
        return self.model.decode(z.to(self.model.dtype)).sample.float()


class StockTransformer:
    """A `DiTTransformer2DModel`, used as a `DiTModel`. Its one label is the class.

    Args:
        num_train_timesteps: the network sees t in [0, 1] as a timestep from 0 to this - 1.
    """

    def __init__(self, model: DiTTransformer2DModel, num_train_timesteps: int):
        self.model, self.last = model, num_train_timesteps - 1

    def no_labels(self, number: int) -> torch.Tensor:
        """Return the label "none", int64 [number, 1]."""
        return torch.full((number, 1), self.model.config.num_embeds_ada_norm, device=self.model.device)

    def __call__(self, x: torch.Tensor, time: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Return the prediction [N, c, h, w] for x of that shape, time [N] in [0, 1], and labels int64 [N, 1] or None."""
        labels = self.no_labels(len(x)) if labels is None else labels
        output = self.model(x, timestep=time * self.last, class_labels=labels[:, 0]).sample
        return output[:, : x.shape[1]]  # what follows are learnt variances, for samplers that draw noise


def stock_schedule(
    transformer: DiTTransformer2DModel, latent_channels: int, scheduler: SchedulerMixin | None, num_classes: int
) -> DDPMScheduler:
    """Return the discrete schedule that diffusers' transformer was trained with; its configuration says what it predicts.

    Args:
        latent_channels: of the auto-encoder.
        scheduler: one of diffusers' own, with the training's betas and prediction type.
        num_classes: named classes.

    Raises:
        ValueError: parts that do not fit each other or this family.
    """
    channels = transformer.config.in_channels
    if channels != latent_channels or transformer.out_channels not in (channels, 2 * channels):
        raise ValueError(
            f"transformer: turns {channels} channels into {transformer.out_channels}; the auto-encoder's latents have "
            f"{latent_channels}."
        )
    if num_classes > transformer.config.num_embeds_ada_norm:
        raise ValueError(
            f"id2label: names {num_classes} classes, but the transformer knows {transformer.config.num_embeds_ada_norm}."
        )
    if scheduler is None or "beta_schedule" not in scheduler.config:
        raise ValueError("scheduler: it must say with which betas the transformer was trained.")
    scheduler = DDPMScheduler.from_config(scheduler.config)
    if scheduler.config.prediction_type not in STOCK_TARGETS:
        raise ValueError(f"scheduler: the prediction type {scheduler.config.prediction_type!r} is not known here.")
    return scheduler
