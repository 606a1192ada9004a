"""How an auto-encoder learns points: the pipeline with its fully connected networks."""

from __future__ import annotations

from typing import Annotated, Literal

import torch

from genarium.tasks.lab.networks import code_lines
from genarium.tasks.lab.plane import Plane
from pipelines.modeling_autoencoder import AutoencoderModel
from pipelines.pipeline_autoencoder import AutoencoderPipeline


class AutoencoderPlane(Plane):
    """An auto-encoder of points, plain or denoising."""

    steps = 1500

    @classmethod
    def build(
        cls,
        code_dim: Annotated[int, {"minimum": 1, "maximum": 4, "step": 1}] = 1,
        noise: Annotated[float, {"minimum": 0.0, "maximum": 1.0, "step": 0.05}] = 0.0,
        prior: Literal["mixture", "gaussian", "box", "chain"] = "mixture",
        hidden: Annotated[int, {"minimum": 16, "maximum": 256, "step": 16}] = 128,
    ) -> AutoencoderPlane:
        """Make a plane with fresh weights.

        Args:
            code_dim: Length of the code; with 1 it is a curve through the plane.
            noise: Deviation of the noise that is removed again in training, in units of the plane; 0: a plain auto-encoder.
            prior: Where the codes of samples come from: a mixture that follows the data's codes; one Gaussian, or a box, which have the holes between them; or a chain that adds noise and removes it.
            hidden: Width of the networks.
        """
        model = AutoencoderModel(
            sample_size=1,
            channels=2,
            code_dim=code_dim,
            network="fully_connected",
            hidden_sizes=(hidden, hidden),
            bounded=False,
            mixture_components=10 if prior == "mixture" else 0,
        )
        level = noise / 2 / cls.scale  # 1 is the range from black to white
        pipeline = AutoencoderPipeline(model, noise=["gaussian"] if noise else None, noise_levels=[level, level])
        plane = cls(pipeline)
        plane.drawing = {"prior": prior}
        if prior == "chain":
            plane.drawing["noise_level"] = max(level, 0.1)
        return plane

    @torch.no_grad()
    def refresh(self, points: torch.Tensor) -> None:
        """Measure the codes of the data, from whose distribution samples are drawn."""
        self.pipeline.fit([{"images": self.to_pictures(points), "class_labels": None}])

    @torch.no_grad()
    def restore(self, x: torch.Tensor) -> torch.Tensor:
        """Return the reconstruction of points [N, 2]."""
        model = self.pipeline.autoencoder
        return self.to_points(model.decode(model.encode(self.to_pictures(x))))

    @torch.no_grad()
    def lines(self) -> torch.Tensor:
        """Return what the decoder makes of lines through the box that holds the data's codes, [L, T, 2]."""
        model = self.pipeline.autoencoder
        return code_lines(lambda z: self.to_points(model.decode(z)), *model.code_range)
