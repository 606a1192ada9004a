"""A small convolutional auto-encoder with a Gaussian posterior, for diffusion in its latent space.

Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022 (https://arxiv.org/abs/2112.10752),
sec. 3.1, "KL-reg.", without the perceptual and adversarial parts.
"""

from __future__ import annotations

import functools
import operator

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

from pipelines.blocks import growing_layers, shrinking_layers, smallest_side

SCALES = (1, 2, 4)  # of the loss: pixels, and means over 2 x 2 and 4 x 4 of them


def edges(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the differences of neighbouring pixels along rows and along columns, [..., H, W - 1] and [..., H - 1, W]."""
    return x[..., 1:] - x[..., :-1], x[..., 1:, :] - x[..., :-1, :]


def reconstruction_loss(restored: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute error over SCALES, plus that of the edges.

    The coarse scales see a wrong tone, the edges see blur.
    """
    scales = [F.l1_loss(F.avg_pool2d(restored, s), F.avg_pool2d(images, s)) for s in SCALES]
    blur = [F.l1_loss(a, b) for a, b in zip(edges(restored), edges(images), strict=True)]
    return functools.reduce(operator.add, scales) / len(scales) + functools.reduce(operator.add, blur) / len(blur)


class KLAutoencoder(ModelMixin, ConfigMixin):
    r"""An encoder q(z | x) = N(m(x), diag s(x)^2) and a decoder. Images are [B, C, S, S] in [-1, 1], latents are [B, c, S / f, S / f].

    Args:
        sample_size: S, height and width of the images; a multiple of f = 2 to the number of `block_out_channels`.
        channels: C, 1 or 3.
        latent_channels: c.
        block_out_channels: width of each level of the encoder, each at half the resolution of the one before; the
            decoder mirrors it. The first level already works at half resolution, since most of the time goes there.
        layers_per_block: residual blocks per level.

    Raises:
        ValueError: sizes that do not divide.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 28,
        channels: int = 1,
        latent_channels: int = 4,
        block_out_channels: tuple[int, ...] = (48, 128),
        layers_per_block: int = 1,
    ):
        super().__init__()
        widths = tuple(block_out_channels)
        smallest_side(sample_size, len(widths))  # refuses what does not divide

        self.encoder = nn.Sequential(
            *shrinking_layers(channels, widths, layers_per_block),
            nn.SiLU(),
            nn.Conv2d(widths[-1], 2 * latent_channels, 3, padding=1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(latent_channels, widths[-1], 3, padding=1),
            *growing_layers(widths, channels, layers_per_block),
        )

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """Shape of a latent, (c, S / f, S / f)."""
        side = smallest_side(self.config.sample_size, len(self.config.block_out_channels))
        return self.config.latent_channels, side, side

    @apply_forward_hook
    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and log-variance of q(z | x), two float32 tensors [B, c, S / f, S / f]."""
        mean, logvar = self.encoder(x).float().chunk(2, dim=1)
        return mean, logvar.clamp(-30.0, 20.0)

    @apply_forward_hook
    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Return the images of latents [B, c, S / f, S / f], float32 [B, C, S, S]. They may overshoot [-1, 1] slightly."""
        return self.decoder(z.to(self.decoder.get_parameter("0.weight").dtype)).float()

    def forward(self, x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode, draw z = m + s noise, decode.

        Args:
            x: images [B, C, S, S] in [-1, 1].
            noise: standard normal [B, c, S / f, S / f].

        Returns:
            The reconstruction [B, C, S, S], mean and log-variance [B, c, S / f, S / f], float32.
        """
        mean, logvar = self.encode(x)
        return self.decode(mean + (0.5 * logvar).exp() * noise), mean, logvar


def autoencoder_loss(
    autoencoder: KLAutoencoder, images: torch.Tensor, generator: torch.Generator | None, kl_weight: float
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the `reconstruction_loss` plus the weighted KL(q(z | x) || N(0, I)) for each dimension of z.

    Args:
        autoencoder: called as `KLAutoencoder.forward`.
        images: [B, C, S, S] in [-1, 1].
        generator: of the latent noise, on the images' device.
        kl_weight: of the KL.

    Returns:
        (scalar, {"l1", "kl"}), the latter in nats for each dimension.
    """
    shape = (len(images), *autoencoder.latent_shape)
    noise = torch.randn(shape, generator=generator, device=images.device, dtype=torch.float32)
    restored, mean, logvar = autoencoder(images, noise)
    kl = 0.5 * (mean.square() + logvar.exp() - 1 - logvar).mean()
    loss = reconstruction_loss(restored, images) + kl_weight * kl
    return loss, {"l1": F.l1_loss(restored, images).detach(), "kl": kl.detach()}
