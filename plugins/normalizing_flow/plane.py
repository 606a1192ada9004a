"""How a normalizing flow learns points: the couplings' pipeline on pictures of one pixel, where its networks are perceptrons."""

from __future__ import annotations

import math
from typing import Annotated

import torch

from genarium.tasks.lab.plane import Plane
from pipelines.pipeline_normalizing_flow import NormalizingFlowPipeline


class NormalizingFlowPlane(Plane):
    """A flow of points by affine couplings."""

    steps = 1500

    @classmethod
    def build(
        cls,
        couplings: Annotated[int, {"minimum": 1, "maximum": 32, "step": 1}] = 12,
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
        architecture = {"steps": (couplings,), "hidden": hidden, "kernel_size": 1, "log_scale_bound": log_scale_bound}
        no_bytes = {"dequantize": False, "edge_spline": False}
        plane = cls(NormalizingFlowPipeline.build(1, 2, network="coupling", **no_bytes, **architecture))
        plane.drawing = {"temperature": temperature, "denoise": False}
        return plane

    @torch.no_grad()
    def log_density(self, x: torch.Tensor) -> torch.Tensor:
        """Return log p at points [N, 2], exactly (Dinh et al. 2017 eq. 2): float32 [N]."""
        pictures = self.to_pictures(x)
        return self.pipeline.log_likelihood(pictures, dequantize=False) - 2 * math.log(self.scale)
