"""Small networks for points, in the form that the pipelines expect of networks for pictures of 1 x 1 pixel."""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn


def perceptron(*sizes: int, activation: type[nn.Module] = nn.SiLU) -> nn.Sequential:
    """Return linear layers with an activation between any two."""
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
    return nn.Sequential(*layers[:-1])


class Waves(nn.Module):
    """Add sines and cosines of the coordinates, so that a small network can follow fine shapes (Tancik et al. 2020, eq. 4).

    https://arxiv.org/abs/2006.10739. Of [N, 2] it makes [N, 2 + 4 K] for K frequencies.

    Args:
        frequencies: in half turns for each unit of the inputs.
    """

    turns: torch.Tensor

    def __init__(self, frequencies: tuple[float, ...]):
        super().__init__()
        self.register_buffer("turns", math.pi * torch.tensor(frequencies), persistent=False)
        self.width = 2 + 4 * len(frequencies)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return x [N, 2] with its waves, [N, 2 + 4 K]."""
        angles = (x[:, :, None] * self.turns).flatten(1)
        return torch.cat([x, angles.sin(), angles.cos()], 1)


class PointNetwork(ModelMixin, ConfigMixin):
    """A perceptron of a point and a time that has the call and the configuration of diffusers' `UNet2DModel`.

    Args:
        hidden: width.
        layers: hidden layers.
        frequencies: of `Waves`.
        times: sines and cosines of the time, whose periods run from `period` to 1,000 times as much, in geometric steps.
        period: the shortest.
    """

    turns: torch.Tensor

    @register_to_config
    def __init__(
        self,
        hidden: int = 128,
        layers: int = 3,
        frequencies: tuple[float, ...] = (1.0, 2.0, 4.0),
        times: int = 16,
        period: float = 20.0,
        sample_size: int = 1,
        in_channels: int = 2,
        out_channels: int = 2,
        num_class_embeds: int | None = None,
    ):
        super().__init__()
        self.waves = Waves(tuple(frequencies))
        self.register_buffer(
            "turns", 2 * math.pi / period * torch.logspace(0, -3, times, dtype=torch.float32), persistent=False
        )
        self.body = perceptron(self.waves.width + 2 * times, *[hidden] * layers, 2)
        for weights in self.body[-1].parameters():
            nn.init.zeros_(weights)

    def forward(self, sample: torch.Tensor, timestep: Any, class_labels: torch.Tensor | None = None) -> SimpleNamespace:
        """Return an output with `sample`, float32 [N, 2, 1, 1].

        Args:
            sample: [N, 2, 1, 1].
            timestep: a number or [N].
            class_labels: None.
        """
        x = sample.flatten(1)  # [N, 2]
        times = torch.as_tensor(timestep, dtype=x.dtype, device=x.device).reshape(-1, 1)
        angles = times * self.turns
        known = torch.cat([angles.sin(), angles.cos()], 1).expand(len(x), -1)
        return SimpleNamespace(sample=self.body(torch.cat([self.waves(x), known], 1))[:, :, None, None])


@contextlib.contextmanager
def recorded(network: nn.Module) -> Iterator[list[tuple[torch.Tensor, Any]]]:
    """Record what a network is called with: a list of (sample, timestep), one for each evaluation."""
    seen: list[tuple[torch.Tensor, Any]] = []
    handle = network.register_forward_pre_hook(lambda _, inputs: seen.append((inputs[0].detach().clone(), inputs[1])))
    try:
        yield seen
    finally:
        handle.remove()


def code_lines(
    decode: Callable[[torch.Tensor], torch.Tensor], low: torch.Tensor, high: torch.Tensor, lines: int = 9
) -> torch.Tensor:
    """Return what a decoder makes of straight lines of codes, [L, T, 2].

    Of a code of one number this is one curve. Of longer codes it is a grid over the first two numbers, `lines` each way, with
    the others in the middle of their range.

    Args:
        decode: [N, d] -> [N, 2].
        low, high: ends of the codes' range, [d].
    """
    along = torch.linspace(0, 1, 200 if len(low) == 1 else 60)
    if len(low) == 1:
        return decode(torch.lerp(low[None], high[None], along[:, None]))[None]
    across = torch.linspace(0, 1, lines)
    parts = torch.full((2, lines, len(along), len(low)), 0.5)
    for axis in range(2):
        parts[axis, :, :, axis] = along
        parts[axis, :, :, 1 - axis] = across[:, None]
    codes = torch.lerp(low, high, parts.reshape(-1, len(low)))
    return decode(codes).reshape(2 * lines, len(along), 2)
