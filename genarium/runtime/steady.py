"""Layers whose numbers for a sample do not depend on how many others are computed with it, to the last bit.

Runs of several visitors are computed in one batch, and their pictures shall be what they were alone. In float32 on a CPU two
things stand against it, both measured. A product of few rows adds up in another order unless the rows are a multiple of four. And
torch convolves a single small image, and with one thread few images by 1 x 1, with kernels of its own in place of oneDNN's.

In bfloat16 and on a GPU no such rule is known, and other processors may have other kernels. So `can_be_steady` tries some layers.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

ROWS = 4  # products of a multiple of so many rows add up in one order ...
MANY = 64  # ... and so do those of more rows than this


class SteadyLinear(nn.Linear):
    """A linear layer that fills a few rows up to a multiple of four."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x A^T + b, [..., out_features], of [..., in_features]."""
        rows = x.shape[:-1].numel()
        if rows > MANY or rows % ROWS == 0:
            return super().forward(x)
        filled = F.pad(x.reshape(rows, x.shape[-1]), (0, 0, 0, -rows % ROWS))
        return super().forward(filled)[:rows].reshape(*x.shape[:-1], self.out_features)


class SteadyConv2d(nn.Conv2d):
    """A convolution by oneDNN, however small its input."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the convolution, [N, out_channels, H', W'], of [N, in_channels, H, W]."""
        if x.ndim != 4 or self.padding_mode != "zeros" or isinstance(self.padding, str):
            return super().forward(x)
        how = (self.padding, self.stride, self.dilation, self.groups)
        return torch.ops.aten.mkldnn_convolution(x, self.weight, self.bias, *how)


STEADY: dict[type[nn.Module], type[nn.Module]] = {nn.Linear: SteadyLinear, nn.Conv2d: SteadyConv2d}


def can_be_steady(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether layers can be made steady on a device, in a type. It is tried once, which takes some milliseconds."""
    if device.type != "cpu" or dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return False
    return _kernels_are_steady(torch.get_num_threads())


@cache
def _kernels_are_steady(threads: int) -> bool:
    """Try layers with few samples and with many; `threads` are those with which this process computes."""
    generator = torch.Generator().manual_seed(0)
    rows, maps = (torch.randn(16, 64, *size, generator=generator) for size in ((), (7, 7)))
    maps = maps.to(memory_format=torch.channels_last)
    convolutions = [SteadyConv2d(64, 64, 3, padding=1), SteadyConv2d(64, 64, 1)]
    tried: list[tuple[Any, torch.Tensor]] = [(SteadyLinear(64, 256), rows), *((one, maps) for one in convolutions)]
    for layer, x in tried:
        layer.requires_grad_(False).weight.normal_(generator=generator)
        layer.to(memory_format=torch.channels_last)
        many = layer(x)
        if not all(torch.equal(layer(x[:number]), many[:number]) for number in (1, 2, 3, 5, 6, 10)):
            return False
    return True


def steady(pipeline: Any) -> None:
    """Make the layers of a pipeline's networks steady where that can be. Their weights, names and files stay as they are."""
    for network in pipeline.components.values():
        if isinstance(network, nn.Module):
            for module in network.modules():
                made = STEADY.get(type(module))
                weight = getattr(module, "weight", None)
                if made is not None and weight is not None and can_be_steady(weight.device, weight.dtype):
                    module.__class__ = made
