"""A small convolutional auto-encoder with a Gaussian posterior, for diffusion in its latent space.

Rombach et al., High-Resolution Image Synthesis with Latent Diffusion Models, 2022 (https://arxiv.org/abs/2112.10752),
sec. 3.1, "KL-reg.", without the perceptual and adversarial parts.
"""

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn


class ResidualBlock(nn.Module):
    """Pre-activation residual block without normalisation; the last convolution starts at zero, so the block as identity.

    GroupNorm would take half of the training time on a CPU, and a network this shallow trains as well without.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv1(F.silu(x))  # [B, w, h, w]
        return x + self.conv2(F.silu(h))  # [B, w, h, w]


class KLAutoencoder(ModelMixin, ConfigMixin):
    r"""q(z | x) = N(m(x), diag s(x)^2) and its decoder; images [B, C, S, S] in [-1, 1], latents [B, c, S / f, S / f].

    Args:
        sample_size: S, height and width of the images; a multiple of f = 2 to the number of `block_out_channels`.
        channels: C, 1 or 3.
        latent_channels: c.
        block_out_channels: width of each level of the encoder, each at half the resolution of the one before; the
            decoder mirrors it. The first level already works at half resolution: that is where the time goes.
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
        if sample_size % 2 ** len(widths):
            raise ValueError(f"sample_size: {sample_size} is not a multiple of {2 ** len(widths)}; use fewer blocks.")

        layers, previous = [], channels
        for width in widths:
            layers += [nn.Conv2d(previous, width, 4, stride=2, padding=1)]
            layers += [ResidualBlock(width) for _ in range(layers_per_block)]
            previous = width
        layers += [nn.SiLU(), nn.Conv2d(widths[-1], 2 * latent_channels, 3, padding=1)]
        self.encoder = nn.Sequential(*layers)

        # The mirror image; sub-pixel convolutions (Shi et al. 2016) double the resolution at a quarter of the cost of
        # convolving after upsampling.
        layers = [nn.Conv2d(latent_channels, widths[-1], 3, padding=1)]
        for width, following in zip(widths[::-1], (*widths[-2::-1], channels), strict=True):
            layers += [ResidualBlock(width) for _ in range(layers_per_block)]
            layers += [nn.SiLU(), nn.Conv2d(width, 4 * following, 3, padding=1), nn.PixelShuffle(2)]
        self.decoder = nn.Sequential(*layers)

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(c, S / f, S / f)"""
        side = self.config.sample_size // 2 ** len(self.config.block_out_channels)
        return self.config.latent_channels, side, side

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and log-variance of q(z | x), two float32 tensors [B, c, S / f, S / f]."""
        mean, logvar = self.encoder(x).float().chunk(2, dim=1)
        return mean, logvar.clamp(-30.0, 20.0)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latents [B, c, S / f, S / f] -> images, float32 [B, C, S, S]; may overshoot [-1, 1] slightly."""
        return self.decoder(z.to(self.decoder[0].weight.dtype)).float()

    def forward(self, x: torch.Tensor, noise: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode, draw z = m + s noise, decode.

        Args:
            x: images [B, C, S, S] in [-1, 1].
            noise: standard normal [B, c, S / f, S / f].

        Returns:
            the reconstruction [B, C, S, S], mean and log-variance [B, c, S / f, S / f], float32.
        """
        mean, logvar = self.encode(x)
        return self.decode(mean + (0.5 * logvar).exp() * noise), mean, logvar
