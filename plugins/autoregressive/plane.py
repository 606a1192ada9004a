"""How MADE learns points: one coordinate after the other, each a mixture of normal distributions given those before it."""

from __future__ import annotations

import math
from typing import Annotated

import torch

from genarium.tasks.lab.plane import Plane
from pipelines.pipeline_autoregressive import AutoregressivePipeline


class AutoregressivePlane(Plane):
    """A MADE of the two coordinates: p(x, y) = p(x) p(y | x), or the other way round."""

    steps = 2000

    @classmethod
    def build(
        cls,
        num_components: Annotated[int, {"minimum": 1, "maximum": 64, "step": 1}] = 12,
        hidden: Annotated[int, {"minimum": 16, "maximum": 256, "step": 16}] = 128,
        natural_share: Annotated[float, {"minimum": 0.0, "maximum": 1.0, "step": 0.1}] = 1.0,
    ) -> AutoregressivePlane:
        """Make a plane with fresh weights.

        Args:
            num_components: Normal distributions in the mixture of each coordinate.
            hidden: Width of the network.
            natural_share: Part of the training in which x comes before y; in the rest y may come first.
        """
        pipeline = AutoregressivePipeline.build(
            1, 2, levels=0, num_components=num_components, hidden_sizes=[hidden, hidden], natural_share=natural_share
        )
        return cls(pipeline)

    @torch.no_grad()
    def log_density(self, x: torch.Tensor) -> torch.Tensor:
        """Return log p of points [N, 2], exactly."""
        return self.pipeline.log_likelihood(self.to_pictures(x)) - 2 * math.log(self.scale)
