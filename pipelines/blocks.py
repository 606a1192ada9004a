"""Building blocks that several networks share."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import nn


class ResidualBlock(nn.Module):
    """Pre-activation residual block without normalisation.

    The last convolution starts at zero, so that the block starts as the identity. GroupNorm would take half of the training
    time on a CPU, and networks as shallow as ours train as well without it.

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        self.activation = nn.SiLU()
        nn.init.zeros_(self.conv2.weight)
        nn.init.constant_(self.conv2.get_parameter("bias"), 0.0)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv1(self.activation(x))  # [B, C, H, W]
        return x + self.conv2(self.activation(h))  # [B, C, H, W]


def shrinking_layers(channels: int, widths: Sequence[int], num_blocks: int) -> list[nn.Module]:
    """Return the layers of an encoder: each level halves the resolution, then refines it by residual blocks.

    Args:
        channels: of the input.
        widths: channels of each level.
        num_blocks: residual blocks of each level.
    """
    layers: list[nn.Module] = []
    for previous, width in itertools.pairwise((channels, *widths)):
        layers.append(nn.Conv2d(previous, width, 4, stride=2, padding=1))
        layers += [ResidualBlock(width) for _ in range(num_blocks)]
    return layers


def growing_layers(widths: Sequence[int], channels: int, num_blocks: int) -> list[nn.Module]:
    """Return the layers of a decoder, the mirror image of `shrinking_layers`: from widths[-1] channels to `channels`.

    Sub-pixel convolutions (Shi et al. 2016, https://arxiv.org/abs/1609.05158) double the resolution at a quarter of the cost
    of a convolution after upsampling.
    """
    layers: list[nn.Module] = []
    for width, following in itertools.pairwise((*reversed(widths), channels)):
        layers += [ResidualBlock(width) for _ in range(num_blocks)]
        layers += [nn.SiLU(), nn.Conv2d(width, 4 * following, 3, padding=1), nn.PixelShuffle(2)]
    return layers


def convolutional_encoder(
    sample_size: int, channels: int, widths: tuple[int, ...], layers_per_block: int, outputs: int
) -> nn.Sequential:
    """Return a network from images [B, C, S, S] to vectors [B, outputs].

    Each level halves the resolution, then refines it. The first level already works at half resolution: that is where the
    time goes.

    Args:
        widths: channels of each level.
        layers_per_block: residual blocks of each level.

    Raises:
        ValueError: the image does not divide into that many levels.
    """
    size = smallest_side(sample_size, len(widths))
    layers = shrinking_layers(channels, widths, layers_per_block)
    return nn.Sequential(*layers, nn.SiLU(), nn.Flatten(), nn.Linear(widths[-1] * size**2, outputs))


def convolutional_decoder(
    sample_size: int, channels: int, widths: tuple[int, ...], layers_per_block: int, inputs: int
) -> nn.Sequential:
    """Return a network from vectors [B, inputs] to images [B, C, S, S], the mirror image of `convolutional_encoder`."""
    size = smallest_side(sample_size, len(widths))
    first = nn.Linear(inputs, widths[-1] * size**2)
    layers = growing_layers(widths, channels, layers_per_block)
    return nn.Sequential(first, nn.Unflatten(1, (widths[-1], size, size)), *layers)


def fully_connected(sizes: tuple[int, ...], activation: type[nn.Module]) -> list[nn.Module]:
    """Return linear layers with an activation between any two."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    return layers[:-1]


def smallest_side(sample_size: int, levels: int) -> int:
    """Return the side of the smallest feature map, 7 for 28 pixels and two levels.

    Raises:
        ValueError: the image does not divide into that many levels.
    """
    if sample_size % 2**levels:
        raise ValueError(f"sample_size: {sample_size} is not a multiple of {2**levels}; use fewer blocks.")
    return sample_size // 2**levels
