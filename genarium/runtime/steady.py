"""Layers whose numbers for a sample do not depend on how many others are computed with it, to the last bit.

Runs of several visitors are computed in one batch, and their pictures shall be what they were alone. In float32 on a CPU three
things stand against it, all measured. A product of few rows adds up in another order unless the rows are a multiple of four. Torch
convolves a single small image, and with one thread few images by 1 x 1, with kernels of its own in place of oneDNN's. And some
activations compute what fills no vector of the processor by another formula: numbers at the end, or where one thread's part ends.

In bfloat16 and on a GPU no such rule is known, and other processors may have other kernels. So `can_be_steady` tries some layers.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

ROWS = 4  # products of a multiple of so many rows add up in one order ...
MANY = 64  # ... and so do those of more rows than this
VECTOR = 32  # numbers that an activation takes at once, two vectors of 512 bits
GRAIN = 32768  # numbers from which on torch divides an activation among threads


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


def by_vectors(function: Callable[[torch.Tensor], torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Return a function of each number of a tensor, computed by vectors throughout: what fills none is filled up.

    The function always gets numbers one after another, since torch has other formulas for other layouts.
    """
    is_maps = x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    laid = x.permute(0, 2, 3, 1) if is_maps else x
    number = most = x.numel()
    while most % (step := VECTOR * _parts(most)):
        most += -most % step
    numbers = laid.reshape(-1)
    computed = function(numbers) if most == number else function(F.pad(numbers, (0, most - number)))[:number]
    computed = computed.view(laid.shape)
    return computed.permute(0, 3, 1, 2) if is_maps else computed


def _parts(number: int) -> int:
    """Return among how many threads torch divides so many numbers."""
    return max(1, min(torch.get_num_threads(), -(-number // GRAIN)))


class SteadySiLU(nn.SiLU):
    """The activation x sigmoid(x) of each number by vectors."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activation, in the shape of x."""
        return by_vectors(F.silu, x)


class SteadyGELU(nn.GELU):
    """The Gaussian error linear unit of each number by vectors."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activation, in the shape of x."""
        return by_vectors(super().forward, x)


class SteadySigmoid(nn.Sigmoid):
    """The logistic function of each number by vectors."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the activation, in the shape of x."""
        return by_vectors(torch.sigmoid, x)


STEADY: dict[type[nn.Module], type[nn.Module]] = {
    nn.Linear: SteadyLinear,
    nn.Conv2d: SteadyConv2d,
    nn.SiLU: SteadySiLU,
    nn.GELU: SteadyGELU,
    nn.Sigmoid: SteadySigmoid,
}


def can_be_steady(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether layers can be made steady on a device, in a type. It is tried once, which takes some milliseconds."""
    if device.type != "cpu" or dtype != torch.float32 or not torch.backends.mkldnn.is_available():
        return False
    return _kernels_are_steady(torch.get_num_threads())


@cache
def _kernels_are_steady(threads: int) -> bool:
    """Try layers with few samples and with many; `threads` are those with which this process computes."""
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randn(16, 3 * 997, generator=generator)  # no multiple of a vector
    for activation in (SteadySiLU(), SteadyGELU(), SteadyGELU("tanh"), SteadySigmoid()):
        if not all(torch.equal(activation(numbers[:number]), activation(numbers)[:number]) for number in (1, 3, 11)):
            return False
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
        weight = next(network.parameters(), None) if isinstance(network, nn.Module) else None
        if weight is not None and can_be_steady(weight.device, weight.dtype):
            for module in network.modules():
                if made := STEADY.get(type(module)):
                    module.__class__ = made
