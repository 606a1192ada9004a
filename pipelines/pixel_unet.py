"""A `UNet2DModel` on pixels, conditional on classes or not: what DDPM, score-SDE and flow matching share.

The network may work on blocks of pixels (`patch_size`, space-to-depth): [N, C, S, S] becomes [N, C p p, S/p, S/p]. That is
a permutation of values. White noise stays white noise, so the diffusion or flow is the same, several times cheaper on a
CPU. The last label (`num_class_embeds - 1`) stands for "no class", for classifier-free guidance (Ho and Salimans 2022).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from diffusers import UNet2DModel

from pipelines.guidance import guided
from pipelines.images import ImageFamilyMixin


class PixelUNetMixin(ImageFamilyMixin):
    """The part of a `DiffusionPipeline` with a `UNet2DModel` on pixels that does not depend on its equations.

    It reads `sample_size`, `channels`, `patch_size` and `class_dropout` of the pipeline's configuration.
    """

    unet: UNet2DModel
    code_kind = "noise"
    _arguments = {  # noqa: RUF012  # never changed
        "patch_size": "p, space-to-depth factor in front of the network.",
        "class_dropout": 'part of the training labels that is replaced by "no class", for classifier-free guidance.',
    }

    @property
    def code_shape(self) -> tuple[int, ...]:
        """(C, S, S): the noise that generates an image."""
        return (self.config.channels, self.config.sample_size, self.config.sample_size)

    def _network(self, x: torch.Tensor, timesteps: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Return the output of the network.

        Args:
            x: float [N, C, S, S].
            timesteps: a scalar or [N], as the network's positional embedding takes them.
            labels: int64 [N]; None: "no class" for a network with classes.

        Returns:
            float32 [N, C, S, S].
        """
        p = self.config.patch_size
        labels = self._no_class(len(x), x.device) if labels is None else labels
        h = F.pixel_unshuffle(x, p).to(self.dtype)  # [N, C p p, S/p, S/p]
        h = self.unet(h, timesteps, class_labels=labels).sample
        return F.pixel_shuffle(h, p).float()  # [N, C, S, S]

    def _no_class(self, number: int, device: torch.device) -> torch.Tensor | None:
        """Return the label that stands for "no class", int64 [N]; None for a network without classes."""
        num_class_embeds = self.unet.config.num_class_embeds
        return None if num_class_embeds is None else torch.full((number,), num_class_embeds - 1, device=device)

    def _guided(
        self,
        x: torch.Tensor,
        timesteps: torch.Tensor,
        labels: torch.Tensor | None,
        guidance_scale: float,
        network: Callable | None = None,
    ) -> torch.Tensor:
        """Return the output of a network with classifier-free guidance, [N, C, S, S].

        Args:
            x, timesteps, labels: as for `_network`.
            guidance_scale: see `guided`.
            network: what to guide, called as (x, timesteps, labels); None: `_network`.
        """
        none = self._no_class(len(x), x.device)
        return guided(network or self._network, x, timesteps, labels, none, guidance_scale)

    def _training_labels(
        self, batch: dict, generator: torch.Generator | None, dropout: float | None = None
    ) -> torch.Tensor | None:
        """Return the labels that the network gets for a training batch, int64 [B]; None without classes.

        A random part of them becomes "no class", and so does a label below 0. One number is drawn for each label.

        Args:
            batch: "images" [B, C, S, S] and "class_labels" int64 [B] or None.
            generator: on the images' device.
            dropout: that part, in [0, 1]; None: `class_dropout` of the configuration.
        """
        labels, device = batch.get("class_labels"), batch["images"].device
        if self.unet.config.num_class_embeds is None or labels is None:
            return None
        dropout = self.config.class_dropout if dropout is None else dropout
        drop = torch.rand(len(labels), generator=generator, device=device, dtype=torch.float32) < dropout
        return torch.where(drop | (labels < 0), self.unet.config.num_class_embeds - 1, labels)


def image_shape(unet: UNet2DModel, sample_size: int | None, channels: int | None, patch_size: int) -> dict[str, int]:
    """Return sample_size, channels and patch_size of a network's images, as configuration.

    A stock diffusers checkpoint names neither size nor channels of its images. They follow from the network.

    Args:
        sample_size: side of the images in pixels, or None.
        channels: of the images, or None.

    Raises:
        ValueError: a network of images that are not square, or with other outputs than inputs.
    """
    if not isinstance(sample_size or unet.config.sample_size, int):
        raise ValueError(f"unet: draws images of {unet.config.sample_size} pixels; this family knows squares only.")
    if unet.config.out_channels != unet.config.in_channels:
        raise ValueError("unet: gives variances beside its prediction, which no sampler here takes.")
    return {
        "sample_size": sample_size or unet.config.sample_size * patch_size,
        "channels": channels or unet.config.in_channels // patch_size**2,
        "patch_size": patch_size,
    }


def build_unet(
    sample_size: int,
    channels: int,
    id2label: dict[str, str] | None,
    patch_size: int,
    block_out_channels: Sequence[int],
    layers_per_block: int,
    attention_head_dim: int,
    norm_num_groups: int,
) -> UNet2DModel:
    """Return a network with fresh weights. Attention stands at the lowest resolution only, where it is cheap.

    Args:
        sample_size: S, side of the images in pixels.
        channels: C of the images.
        id2label: names of the classes; None: an unconditional network.
        patch_size: p of the space-to-depth in front of the network.
        block_out_channels: width of each level, from the highest resolution to the lowest.
        layers_per_block: residual blocks at each level.
        attention_head_dim: width of a head.
        norm_num_groups: of the group normalisations.

    Raises:
        ValueError: the sizes do not divide.
    """
    levels = len(block_out_channels)
    if sample_size % (patch_size * 2 ** (levels - 1)):
        raise ValueError(
            f"sample_size {sample_size} must be a multiple of patch_size {patch_size} x 2^{levels - 1} "
            f"for {levels} levels of block_out_channels."
        )
    return UNet2DModel(
        sample_size=sample_size // patch_size,
        in_channels=channels * patch_size**2,
        out_channels=channels * patch_size**2,
        block_out_channels=tuple(block_out_channels),
        layers_per_block=layers_per_block,
        down_block_types=("DownBlock2D",) * (levels - 1) + ("AttnDownBlock2D",),
        up_block_types=("AttnUpBlock2D",) + ("UpBlock2D",) * (levels - 1),
        attention_head_dim=attention_head_dim,
        norm_num_groups=norm_num_groups,
        num_class_embeds=None if id2label is None else len(id2label) + 1,
    )
