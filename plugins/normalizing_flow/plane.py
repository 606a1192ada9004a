"""How a normalizing flow learns points: the flow's pipeline with couplings whose networks are perceptrons."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from diffusers.configuration_utils import register_to_config
from torch import nn

from genarium.tasks.lab.networks import perceptron
from genarium.tasks.lab.plane import Plane
from pipelines.flow_layers import bounded
from pipelines.modeling_flow import AfterStep, PictureFlow
from pipelines.pipeline_normalizing_flow import NormalizingFlowPipeline


class PointFlow(PictureFlow):
    """Affine couplings that change the two coordinates in turn (Dinh et al. 2017 eq. 7)."""

    @register_to_config
    def __init__(
        self,
        couplings: int = 8,
        hidden: int = 64,
        log_scale_bound: float = 2.0,
        num_classes: int = 0,
        sample_size: int = 1,
        channels: int = 2,
    ):
        super().__init__()
        self.spline = None
        self.networks = nn.ModuleList(perceptron(1, hidden, hidden, 2) for _ in range(couplings))
        for network in self.networks:
            for weights in network[-1].parameters():
                nn.init.zeros_(weights)

    def _affine(self, network: nn.Module, kept: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return shift and log-scale of one coordinate [N, 1] from the other [N, 1]."""
        shift, log_scale = network(kept).chunk(2, 1)
        return shift, bounded(log_scale, self.config.log_scale_bound)

    def _forward(self, x: torch.Tensor, labels: torch.Tensor | None) -> tuple[torch.Tensor, list[torch.Tensor]]:
        kept, changed = x[:, :1, 0, 0], x[:, 1:, 0, 0]
        total = torch.zeros_like(x)
        for index, network in enumerate(self.networks):
            shift, log_scale = self._affine(network, kept)
            kept, changed = (changed - shift) * (-log_scale).exp(), kept  # what was changed is kept by the next one
            total[:, (index + 1) % 2, 0] -= log_scale
        return torch.cat([kept, changed], 1)[:, :, None, None], [total]

    @property
    def number_of_steps(self) -> int:
        """The couplings."""
        return len(self.networks)

    def _inverse(
        self, z: torch.Tensor, labels: torch.Tensor | None, guidance_scale: float, after_step: AfterStep
    ) -> torch.Tensor:
        kept, changed = z[:, :1, 0, 0], z[:, 1:, 0, 0]
        for index, network in enumerate(reversed(self.networks)):
            kept, changed = changed, kept
            shift, log_scale = self._affine(network, kept)
            changed = shift + log_scale.exp() * changed
            in_order = (kept, changed) if (len(self.networks) - index) % 2 else (changed, kept)
            points = torch.cat(in_order, 1)[:, :, None, None]
            after_step(index, lambda points=points: points)
        return points


class NormalizingFlowPlane(Plane):
    """A flow of points by affine couplings."""

    steps = 1000

    @classmethod
    def build(
        cls,
        couplings: Annotated[int, {"minimum": 1, "maximum": 32, "step": 1}] = 8,
        hidden: Annotated[int, {"minimum": 8, "maximum": 256, "step": 8}] = 64,
        log_scale_bound: Annotated[float, {"minimum": 0.1, "maximum": 4.0, "step": 0.1}] = 2.0,
        temperature: Annotated[float, {"minimum": 0.0, "maximum": 1.5, "step": 0.05}] = 1.0,
    ) -> NormalizingFlowPlane:
        """Make a plane with fresh weights.

        Args:
            couplings: Steps of the flow; each changes one coordinate by what the other says.
            hidden: Width of the couplings' networks.
            log_scale_bound: No coupling stretches by more than exp of this; with a small bound the flow cannot tear clusters apart.
            temperature: Standard deviation of the noise that samples are made of.
        """
        network = PointFlow(couplings, hidden, log_scale_bound)
        plane = cls(NormalizingFlowPipeline(network, sample_size=1, channels=2, dequantize=False))
        plane.drawing = {"temperature": temperature, "denoise": False}
        return plane

    @torch.no_grad()
    def log_density(self, x: torch.Tensor) -> torch.Tensor:
        """Return log p at points [N, 2], exactly (Dinh et al. 2017 eq. 2): float32 [N]."""
        pictures = self.to_pictures(x)
        return self.pipeline.log_likelihood(pictures, dequantize=False) - 2 * math.log(self.scale)
