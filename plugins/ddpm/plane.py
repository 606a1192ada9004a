"""How DDPM learns points: the diffusion pipeline with a perceptron in place of its U-Net."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from diffusers import DDPMScheduler

from genarium.tasks.lab.networks import PointNetwork, recorded
from genarium.tasks.lab.plane import Plane
from pipelines.pipeline_ddpm import DenoisingDiffusionPipeline


class DDPMPlane(Plane):
    """A diffusion of points; noise of deviation s on clean points is the level alpha_bar = 1 / (1 + s^2), scaled down."""

    @classmethod
    def build(
        cls,
        prediction: Literal["epsilon", "v_prediction"] = "v_prediction",
        schedule: Literal["squaredcos_cap_v2", "linear"] = "squaredcos_cap_v2",
        sampler: Literal["unipc", "dpm-solver++", "heun", "ddim", "ddpm"] = "unipc",
        num_inference_steps: Annotated[int, {"minimum": 2, "maximum": 100, "step": 1}] = 20,
        hidden: Annotated[int, {"minimum": 16, "maximum": 256, "step": 16}] = 128,
    ) -> DDPMPlane:
        """Make a plane with fresh weights.

        Args:
            prediction: What the network predicts: the noise, or the velocity v.
            schedule: How the noise grows: as a squared cosine, or linearly.
            sampler: How samples are drawn.
            num_inference_steps: Steps of the sampler.
            hidden: Width of the network.
        """
        scheduler = DDPMScheduler(beta_schedule=schedule, prediction_type=prediction)
        plane = cls(DenoisingDiffusionPipeline(PointNetwork(hidden), scheduler, sample_size=1, channels=2))
        plane.drawing = {"sampler": sampler, "num_inference_steps": num_inference_steps}
        return plane

    @torch.no_grad()
    def score(self, x: torch.Tensor, noise: float) -> torch.Tensor:
        """Return the score at points [N, 2] under noise: -eps / s, eps being the predicted noise (Song et al. 2021 app. B)."""
        pipeline, sigma = self.pipeline, noise / self.scale
        levels = pipeline.scheduler.alphas_cumprod
        alpha_bar = min(max(1 / (1 + sigma**2), float(levels[-1])), float(levels[0]))
        # The level lies between two steps of the schedule; the network takes any time in between.
        above = int((levels > alpha_bar).sum().clamp(1, len(levels) - 1))
        high, low = float(levels[above - 1]), float(levels[above])
        timestep = torch.tensor(above - 1 + (high - alpha_bar) / (high - low))
        x_t = alpha_bar**0.5 * self.to_pictures(x)
        _, eps = pipeline._views(pipeline._network(x_t, timestep, None), x_t, torch.tensor(alpha_bar))
        return -self.to_points(eps) / self.scale / noise

    @torch.no_grad()
    def paths(self, number: int, steps: int, seed: int, noisy: bool) -> torch.Tensor:
        """Return x_t on the way from noise to samples, [T, N, 2]: by DDPM's steps or, without noise, by DDIM's.

        The points are scaled so that the noise at the beginning has the deviation of typical data.
        """
        pipeline, generator = self.pipeline, torch.Generator().manual_seed(seed)
        with recorded(pipeline.unet) as seen:
            sampler = "ddpm" if noisy else "ddim"
            options = {"sampler": sampler, "num_inference_steps": steps, "output_type": "pt"}
            last = pipeline(number, generator=generator, **options).images
        alpha_bar = [float(pipeline.scheduler.alphas_cumprod[int(t)]) for _, t in seen]
        states = [self.to_points(x) / (a + 4 * (1 - a)) ** 0.5 for (x, _), a in zip(seen, alpha_bar, strict=True)]
        return torch.stack([*states, self.to_points(2 * last - 1)])
