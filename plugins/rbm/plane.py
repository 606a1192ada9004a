"""How an RBM learns points: each coordinate as a thermometer of black and white pixels."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import nn

from genarium.tasks.lab.frame import SIDE
from genarium.tasks.lab.plane import Plane
from pipelines.pipeline_rbm import RBMPipeline

PIXELS = 6  # side of the picture of a coordinate
LEVELS = PIXELS**2  # of the thermometer; a coordinate lies in one of LEVELS + 1 cells
CELL = 2 * SIDE / (LEVELS + 1)


class RBMPlane(Plane):
    """An RBM of points as pictures of 6 x 6 binary pixels with two channels, one for each coordinate.

    Pixel k of a channel is white if the coordinate lies above the k-th of 36 thresholds. So near points have like pictures,
    and a point is the number of its white pixels, with an even draw within its cell.
    """

    steps = 1500
    stages = (("rbm", 1.0),)
    learning_rate = 4e-3

    @classmethod
    def build(
        cls,
        num_hidden: Annotated[int, {"minimum": 8, "maximum": 512, "step": 8}] = 128,
        gibbs_steps: Annotated[int, {"minimum": 1, "maximum": 20, "step": 1}] = 3,
        chains: Annotated[int, {"minimum": 0, "maximum": 1024, "step": 64}] = 256,
        num_inference_steps: Annotated[int, {"minimum": 1, "maximum": 500, "step": 1}] = 100,
    ) -> RBMPlane:
        """Make a plane with fresh weights.

        Args:
            num_hidden: Hidden units.
            gibbs_steps: Gibbs steps of an update.
            chains: Persistent chains; 0: contrastive divergence, whose chains begin at the data.
            num_inference_steps: Gibbs steps of a sample.
        """
        pipeline = RBMPipeline.build(
            PIXELS, 2, num_hidden=num_hidden, chains=chains, gibbs_steps=[gibbs_steps, gibbs_steps]
        )
        plane = cls(pipeline)
        plane.drawing = {"num_inference_steps": num_inference_steps, "pixels": "binary"}
        return plane

    def to_pictures(self, points: torch.Tensor) -> torch.Tensor:
        """Return points [N, 2] as pictures of -1 and 1, float32 [N, 2, 6, 6]."""
        thresholds = torch.arange(1, LEVELS + 1) * CELL - SIDE
        bits = points[:, :, None] > thresholds  # [N, 2, LEVELS]
        return (2 * bits.float() - 1).reshape(-1, 2, PIXELS, PIXELS)

    def to_points(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return the middles of the cells of pictures [N, 2, 6, 6], float32 [N, 2]."""
        white = (pictures.float() / 2 + 0.5).flatten(2).sum(2)
        return (white + 0.5) * CELL - SIDE

    def trainable(self, stage: str) -> dict[str, nn.Module]:
        """Return the machine and its chains."""
        return self.pipeline.trainable("rbm")

    def prepare(self, stage: str, points: torch.Tensor, generator: torch.Generator) -> None:
        """Put the centre of the pixels at their means over the data."""
        self.pipeline.prepare("rbm", [{"images": self.to_pictures(points), "class_labels": None}])

    def sample(self, number: int, generator: torch.Generator, callback=None) -> torch.Tensor:
        """Draw samples, float32 [number, 2], each anywhere in its cell."""
        points = super().sample(number, generator, callback)
        return points + CELL * (torch.rand(points.shape, generator=generator) - 0.5)

    @torch.no_grad()
    def log_density(self, x: torch.Tensor) -> torch.Tensor:
        """Return log p of the cell of points [N, 2] over its area, exactly, given that the picture is one of a point."""
        middles = (torch.arange(LEVELS + 1) + 0.5) * CELL - SIDE
        grid = torch.cartesian_prod(middles, middles)
        log_z = torch.logsumexp(-self._free_energy(grid), 0) + 2 * torch.tensor(CELL).log()
        return -self._free_energy(x) - log_z

    def _free_energy(self, points: torch.Tensor) -> torch.Tensor:
        return self.pipeline.rbm.free_energy((self.to_pictures(points) / 2 + 0.5).flatten(1))
