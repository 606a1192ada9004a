"""A multi-scale flow of affine couplings, after RealNVP and Glow.

    x -> (squeeze, K steps of flow, half of the channels leave) for each scale -> z        Dinh et al. 2017 sec. 3.6
    step: actnorm, invertible 1x1 convolution, affine coupling                             Kingma and Dhariwal 2018 table 1
    coupling: z_a = x_a,  z_b = (x_b - b(x_a)) exp(-a(x_a))                                Dinh et al. 2017 eq. 7

Papers:
    Dinh, Sohl-Dickstein, Bengio: Density Estimation Using Real NVP, 2017, https://arxiv.org/abs/1605.08803
    Kingma, Dhariwal: Glow: Generative Flow with Invertible 1x1 Convolutions, 2018, https://arxiv.org/abs/1807.03039
    Ho, Salimans: Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598
"""

from __future__ import annotations

import functools
from typing import cast

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn

from pipelines.flow_layers import (
    ActNorm,
    EdgeSpline,
    Invertible1x1,
    bounded,
    guided_affine,
    squeeze,
    unsqueeze,
)
from pipelines.modeling_flow import AfterStep, PictureFlow


class AffineCoupling(nn.Module):
    """Shift and scale the second half of the channels by what the first half, and the class, say.

    The last layer starts at zero, so that the coupling starts as the identity (Kingma and Dhariwal 2018 sec. 3.3).

    Args:
        channels: C, of which C // 2 stay as they are.
        hidden: channels of the network.
        kernel_size: of its first and last convolution.
        log_scale_bound: no number is scaled by more than exp of this.
    """

    def __init__(self, channels: int, num_classes: int, hidden: int, kernel_size: int, log_scale_bound: float):
        super().__init__()
        self.kept, self.bound = channels // 2, log_scale_bound
        padding = kernel_size // 2
        self.first = nn.Conv2d(self.kept, hidden, kernel_size, padding=padding)
        self.classes = nn.Embedding(num_classes + 1, hidden) if num_classes else None
        self.second = nn.Conv2d(hidden, hidden, 1)
        self.last = nn.Conv2d(hidden, 2 * (channels - self.kept), kernel_size, padding=padding)
        self.activation = nn.ReLU()
        for weights in self.last.parameters():
            nn.init.zeros_(weights)

    def _affine(self, kept: torch.Tensor, labels: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return shift and log-scale of the other half, both float32, from the half that stays [N, C // 2, H, W]."""
        h = self.first(kept.to(self.first.weight.dtype))
        if self.classes is not None:
            h = h + self.classes(labels)[:, :, None, None]
        h = self.last(self.activation(self.second(self.activation(h))))
        shift, log_scale = h.float().chunk(2, 1)
        return shift, bounded(log_scale, self.bound)

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return z [N, C, H, W] and the map of the log-determinant."""
        kept, changed = x[:, : self.kept], x[:, self.kept :]
        shift, log_scale = self._affine(kept, labels)
        z = torch.cat([kept, (changed - shift) * (-log_scale).exp()], 1)
        return z, torch.cat([torch.zeros_like(kept), -log_scale], 1)

    def inverse(self, z: torch.Tensor, labels: torch.Tensor | None, guidance_scale: float) -> torch.Tensor:
        """Return x of z [N, C, H, W], see `guided_affine`."""
        kept, changed = z[:, : self.kept], z[:, self.kept :]
        shift, log_scale = self._affine(kept, labels)
        if guidance_scale != 1 and self.classes is not None and labels is not None:
            nothing = torch.full_like(labels, self.classes.num_embeddings - 1)
            shift, log_scale = guided_affine(
                (shift, log_scale), self._affine(kept, nothing), guidance_scale, self.bound
            )
        return torch.cat([kept, shift + log_scale.exp() * changed], 1)


class FlowStep(nn.Module):
    """Actnorm, an invertible 1x1 convolution and a coupling."""

    def __init__(self, channels: int, *network):
        super().__init__()
        self.norm = ActNorm(channels)
        self.mix = Invertible1x1(channels)
        self.coupling = AffineCoupling(channels, *network)

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        x, of_norm = self.norm(x)
        x, of_mix = self.mix(x)
        z, of_coupling = self.coupling(x, labels)
        return z, of_norm + of_mix + of_coupling

    def inverse(self, z: torch.Tensor, labels: torch.Tensor | None, guidance_scale: float) -> torch.Tensor:
        """Return x of z [N, C, H, W]."""
        return self.norm.inverse(self.mix.inverse(self.coupling.inverse(z, labels, guidance_scale)))


class CouplingFlowModel(PictureFlow):
    """A `FlowStep`s' stack at each scale, on pictures [N, C, S, S].

    The half of the channels that leaves at a scale is the one that the scale's last coupling has changed, given the half that stays. This
    is Glow's prior of the half that leaves. Pictures of one pixel are not squeezed, and all stays at one scale.

    Args:
        sample_size: S; with more than one pixel, a multiple of 2 to the number of scales.
        channels: C; 2 or more without squeezing.
        num_classes: 0: without classes. Otherwise label `num_classes` means "no class".
        steps: of the flow, for each scale.
        hidden, kernel_size: of the couplings' networks.
        log_scale_bound: no coupling scales a number by more than exp of this.
        edge_spline: begin with an `EdgeSpline`, for 8-bit pictures.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int,
        channels: int,
        num_classes: int = 0,
        steps: tuple[int, ...] = (12, 8),
        hidden: int = 64,
        kernel_size: int = 3,
        log_scale_bound: float = 2.0,
        edge_spline: bool = True,
    ):
        super().__init__()
        squeezes = sample_size > 1
        if squeezes and sample_size % 2 ** len(steps):
            raise ValueError(f"steps: {sample_size} pixels cannot be halved {len(steps)} times.")
        if not squeezes and (len(steps) > 1 or channels < 2):
            raise ValueError("steps: a picture of one pixel needs one scale, and two channels or more.")
        self.spline = EdgeSpline() if edge_spline else None
        scales = []
        for number in steps:
            channels *= 4 if squeezes else 1
            of_scale = (FlowStep(channels, num_classes, hidden, kernel_size, log_scale_bound) for _ in range(number))
            scales.append(nn.ModuleList(of_scale))
            channels //= 2
        self.scales = nn.ModuleList(scales)

    @property
    def _scales(self) -> list[list[FlowStep]]:
        """The steps of each scale."""
        return [[cast(FlowStep, step) for step in cast(nn.ModuleList, steps)] for steps in self.scales]

    def _down(self, x: torch.Tensor) -> torch.Tensor:
        return squeeze(x) if self.config.sample_size > 1 else x

    def _up(self, x: torch.Tensor) -> torch.Tensor:
        return unsqueeze(x) if self.config.sample_size > 1 else x

    def _forward(self, x: torch.Tensor, labels: torch.Tensor | None) -> tuple[torch.Tensor, list[torch.Tensor]]:
        of_scales: list[torch.Tensor] = []
        left: list[torch.Tensor] = []
        for index, steps in enumerate(self._scales):
            x = self._down(x)
            total = torch.zeros_like(x)
            for step in steps:
                x, of_step = step(x, labels)
                total = total + of_step
            of_scales.append(total)
            if index < len(self.scales) - 1:
                half = x.shape[1] // 2
                left.append(x[:, half:])
                x = x[:, :half]
        maps = [
            self._assembled(total, [torch.zeros_like(half) for half in left[:depth]])
            for depth, total in enumerate(of_scales)
        ]
        return self._assembled(x, left), maps

    def _assembled(self, x: torch.Tensor, left: list[torch.Tensor]) -> torch.Tensor:
        """Return what reached a scale, and what left at the scales before it, as a picture [N, C, S, S]."""
        x = self._up(x)
        for half in reversed(left):
            x = self._up(torch.cat([x, half], 1))
        return x

    @property
    def number_of_steps(self) -> int:
        """The steps of the flow."""
        return sum(len(steps) for steps in self._scales)

    def _inverse(
        self, z: torch.Tensor, labels: torch.Tensor | None, guidance_scale: float, after_step: AfterStep
    ) -> torch.Tensor:
        x, left = self._down(z), []
        for _ in self.scales[1:]:
            half = x.shape[1] // 2
            left.append(x[:, half:])
            x = self._down(x[:, :half])
        done = 0
        for index in reversed(range(len(self.scales))):
            for step in reversed(self._scales[index]):
                x = step.inverse(x, labels, guidance_scale)
                after_step(done, functools.partial(self._assembled, x, left[:index]))
                done += 1
            if index:
                x = torch.cat([self._up(x), left[index - 1]], 1)
        return self._up(x)
