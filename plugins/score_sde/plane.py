"""How score-SDE learns points: denoising score matching with a perceptron in place of the U-Net."""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch

from genarium.tasks.lab.networks import PointNetwork, recorded
from genarium.tasks.lab.plane import Plane
from pipelines.pipeline_score_sde import ScoreSdePipeline
from pipelines.scheduling_score_sde import ScoreSdeScheduler


class ScoreSdePlane(Plane):
    """A noise-conditional score of points. Its noise levels are those of the Lab, in units of the plane."""

    @classmethod
    def build(
        cls,
        smallest_noise: Annotated[float, {"minimum": 0.02, "maximum": 2.0, "step": 0.01}] = 0.04,
        largest_noise: Annotated[float, {"minimum": 0.05, "maximum": 40.0, "step": 0.05}] = 20.0,
        sampler: Literal[
            "heun", "predictor-corrector", "reverse diffusion", "euler-maruyama", "ancestral", "annealed langevin"
        ] = "heun",
        num_inference_steps: Annotated[int, {"minimum": 2, "maximum": 200, "step": 1}] = 18,
        hidden: Annotated[int, {"minimum": 16, "maximum": 256, "step": 16}] = 128,
    ) -> ScoreSdePlane:
        """Make a plane with fresh weights.

        Args:
            smallest_noise: Deviation of the least noise that the network learns, in units of the plane.
            largest_noise: Deviation of the greatest noise, where sampling begins.
            sampler: How samples are drawn: Heun solves the ODE, the others the SDE.
            num_inference_steps: Noise levels of the sampler.
            hidden: Width of the network.

        Raises:
            ValueError: the greatest noise is not above the least.
        """
        if not smallest_noise < largest_noise:
            raise ValueError("largest_noise must be above smallest_noise.")
        low, high = smallest_noise / cls.scale, largest_noise / cls.scale
        # Two deviations to either side reach the ends, so that no level between them goes untrained.
        middle, spread = math.log(low * high) / 2, math.log(high / low) / 4
        scheduler = ScoreSdeScheduler(
            sigma_min=low, sigma_max=high, log_sigma_mean=middle - 0.5 * spread, log_sigma_std=max(spread, 0.05)
        )
        network = PointNetwork(hidden, period=100.0)
        plane = cls(ScoreSdePipeline(network, scheduler, sample_size=1, channels=2))
        plane.drawing = {"sampler": sampler, "num_inference_steps": num_inference_steps}
        return plane

    @torch.no_grad()
    def score(self, x: torch.Tensor, noise: float) -> torch.Tensor:
        """Return the score at points [N, 2] under noise, (D - x) / s^2 (Karras et al. 2022 eq. 3)."""
        scores = self.pipeline.predict(self.to_pictures(x), noise / self.scale)["score"]
        return self.to_points(scores) / self.scale**2

    @torch.no_grad()
    def paths(self, number: int, steps: int, seed: int, noisy: bool) -> torch.Tensor:
        """Return states on the way from noise to samples, [T, N, 2]: of the reverse SDE or, without noise, of the ODE.

        They are what the network sees, c_in y, in units of the data's deviation, so that all of the way fits the square.
        """
        pipeline, generator = self.pipeline, torch.Generator().manual_seed(seed)
        with recorded(pipeline.unet) as seen:
            sampler = "euler-maruyama" if noisy else "heun"
            options = {"sampler": sampler, "num_inference_steps": steps, "output_type": "pt"}
            last = pipeline(number, generator=generator, **options).images
        inputs = [x for x, _ in seen]
        states = inputs if noisy else inputs[::2]  # Heun's method evaluates the network twice a step
        unit = pipeline.scheduler.config.sigma_data
        return torch.stack([*(self.to_points(x) * unit for x in states), self.to_points(2 * last - 1)])

    @torch.no_grad()
    def log_density(self, x: torch.Tensor) -> torch.Tensor:
        """Return log p at points [N, 2] by the probability-flow ODE with the exact divergence (Song et al. 2021 eq. 39)."""
        options = {"num_inference_steps": 24, "num_probes": 0, "dequantize": False}
        return self.pipeline.log_likelihood(self.to_pictures(x), **options) - 2 * math.log(self.scale)
