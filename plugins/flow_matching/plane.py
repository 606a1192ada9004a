"""How flow matching learns points: the flow's pipeline with a perceptron in place of the U-Net."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from genarium.tasks.lab.networks import PointNetwork
from genarium.tasks.lab.plane import Plane
from pipelines.pipeline_flow_matching import FlowMatchingPipeline, optimal_coupling
from pipelines.velocity import from_velocity

PAIRS = 8192  # of noise and points that a teacher's flow connects, for reflow


class FlowMatchingPlane(Plane):
    """A flow of points. With reflow, the second half of the training learns from pairs that the first half's flow connects."""

    seeds: torch.Tensor | None = None
    partners: torch.Tensor | None = None

    @classmethod
    def build(
        cls,
        coupling: Literal["independent", "optimal_transport", "reflow"] = "independent",
        time_sampling: Literal["logit_normal", "uniform", "u_shaped"] = "uniform",
        sampler: Literal["euler", "heun", "midpoint", "rk45"] = "heun",
        num_inference_steps: Annotated[int, {"minimum": 1, "maximum": 100, "step": 1}] = 12,
        hidden: Annotated[int, {"minimum": 16, "maximum": 256, "step": 16}] = 128,
    ) -> FlowMatchingPlane:
        """Make a plane with fresh weights.

        Args:
            coupling: Which noise is trained with which point: any with any, the nearest within each batch, or those that a first flow connects.
            time_sampling: Which times of the way are trained most.
            sampler: How the flow is followed.
            num_inference_steps: Steps of the sampler; with straight lines one is enough.
            hidden: Width of the network.
        """
        reflow = coupling == "reflow"
        pipeline = FlowMatchingPipeline(
            PointNetwork(hidden),
            FlowMatchEulerDiscreteScheduler(),
            sample_size=1,
            channels=2,
            time_sampling=time_sampling,
            coupling="independent" if reflow else coupling,
            dequantize=False,
        )
        plane = cls(pipeline)
        plane.drawing = {"sampler": sampler, "num_inference_steps": num_inference_steps}
        if reflow:
            plane.stages = (("flow", 0.5), ("reflow", 0.5))
        return plane

    # ---- training ----

    @torch.no_grad()
    def prepare(self, stage: str, points: torch.Tensor, generator: torch.Generator) -> None:
        """Draw the pairs of a reflow: noise by its seed, and where the flow leads from there (Liu et al. 2023 alg. 1)."""
        if stage != "reflow":
            return
        self.seeds = torch.arange(PAIRS)
        noise = torch.stack([self.pipeline.noise_of(int(seed)) for seed in self.seeds])
        options = {"sampler": "heun", "num_inference_steps": 20, "output_type": "pt"}
        self.partners = self.to_points(2 * self.pipeline.decode(noise, **options).images - 1)

    def loss(self, points: torch.Tensor, generator: torch.Generator, progress: float, stage: str):
        """Return the loss of flow matching; in a reflow, of pairs in place of the data."""
        if self.seeds is None or self.partners is None:
            return super().loss(points, generator, progress, stage)
        rows = torch.randint(len(self.seeds), (len(points),), generator=generator)
        batch = {"images": self.to_pictures(self.partners[rows]), "seeds": self.seeds[rows]}
        return self.pipeline.loss(batch, generator, progress)

    # ---- what can be seen ----

    @torch.no_grad()
    def velocity(self, x: torch.Tensor, t: float) -> torch.Tensor:
        """Return the velocity at points [N, 2] and time t: 0 is data, 1 is noise."""
        return self.to_points(self.pipeline._velocity(self.to_pictures(x), torch.full((len(x),), t), None))

    @torch.no_grad()
    def pairs(self, points: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Return noise and data that the training brings together in a batch of points [B, 2]: two [B, 2]."""
        if self.seeds is not None and self.partners is not None:
            rows = torch.randint(len(self.seeds), (len(points),), generator=generator)
            noise = torch.stack([self.pipeline.noise_of(int(seed)) for seed in self.seeds[rows]])
            return self.to_points(noise), self.partners[rows]
        x_0 = self.to_pictures(points)
        x_1 = torch.randn(x_0.shape, generator=generator)
        if self.pipeline.config.coupling == "optimal_transport":
            x_1 = x_1[optimal_coupling(x_0, x_1)]
        return self.to_points(x_1), points

    @torch.no_grad()
    def score(self, x: torch.Tensor, noise: float) -> torch.Tensor:
        """Return the score at points [N, 2] under noise s: x_1 is the noise at the time t = s / (1 + s), and -x_1 / s the score."""
        sigma = noise / self.scale
        t = sigma / (1 + sigma)
        x_t = (1 - t) * self.to_pictures(x)
        v = self.pipeline._velocity(x_t, torch.full((len(x),), t), None)
        return -self.to_points(from_velocity("noise", v, x_t, t)) / self.scale / noise

    @torch.no_grad()
    def log_density(self, x: torch.Tensor) -> torch.Tensor:
        """Return log p at points [N, 2] by the flow with the exact divergence (Chen et al. 2018 eq. 8)."""
        options = {"num_inference_steps": 16, "divergence": "exact", "dequantize": False}
        return self.pipeline.log_likelihood(self.to_pictures(x), **options) - 2 * math.log(self.scale)
