"""How a VAE learns points: fully connected encoder and decoder in place of convolutional ones."""

from __future__ import annotations

import math
from typing import Annotated

import torch

from genarium.tasks.lab.networks import code_lines
from genarium.tasks.lab.plane import Plane
from pipelines.modeling_vae import VAEModel
from pipelines.pipeline_vae import VAEPipeline

IMPORTANCE_SAMPLES = 64


class VAEPlane(Plane):
    """A VAE of points."""

    steps = 1500

    @classmethod
    def build(
        cls,
        latent_dim: Annotated[int, {"minimum": 1, "maximum": 8, "step": 1}] = 2,
        beta: Annotated[float, {"minimum": 0.0, "maximum": 8.0, "step": 0.1}] = 1.0,
        sigma: Annotated[float, {"minimum": 0.02, "maximum": 1.0, "step": 0.01}] = 0.2,
        learned_sigma: bool = True,
        kl_annealing: Annotated[float, {"minimum": 0.0, "maximum": 1.0, "step": 0.05}] = 0.3,
        hidden: Annotated[int, {"minimum": 16, "maximum": 256, "step": 16}] = 128,
    ) -> VAEPlane:
        """Make a plane with fresh weights.

        Args:
            latent_dim: Length of the code.
            beta: Weight of the KL: above 1 the codes fill their space more evenly, below 1 points are restored better.
            sigma: Deviation of the points about the decoder's mean, in units of the plane.
            learned_sigma: Whether that deviation is learnt, beginning with this value.
            kl_annealing: Part of the training over which the weight of the KL rises from 0.
            hidden: Width of the networks.
        """
        kind = "learned_gaussian" if learned_sigma else "gaussian"
        model = VAEModel(
            sample_size=1,
            channels=2,
            latent_dim=latent_dim,
            likelihood=kind,
            sigma=sigma / cls.scale,
            mixture_components=0,
            hidden_sizes=(hidden, hidden),
        )
        plane = cls(VAEPipeline(model, beta=beta, kl_annealing=kl_annealing))
        plane.drawing = {"prior": "standard"}
        return plane

    def sample(self, number: int, generator: torch.Generator, callback=None) -> torch.Tensor:
        """Draw samples, float32 [number, 2]: the decoder's means with the noise of p(x | z), without which x has no density."""
        means = super().sample(number, generator, callback)
        sigma = self.pipeline.vae.gaussian_log_sigma().detach().exp() * self.scale
        return means + sigma * torch.randn(means.shape, generator=generator)

    @torch.no_grad()
    def log_density(self, x: torch.Tensor) -> torch.Tensor:
        """Return a lower bound of log p at points [N, 2], by importance sampling (Burda et al. 2015 eq. 8)."""
        generator = torch.Generator().manual_seed(0)
        bound = self.pipeline.log_likelihood(self.to_pictures(x), generator, num_samples=IMPORTANCE_SAMPLES)
        return bound - 2 * math.log(self.scale)

    @torch.no_grad()
    def restore(self, x: torch.Tensor) -> torch.Tensor:
        """Return the reconstruction of points [N, 2] from the means of their codes."""
        vae = self.pipeline.vae
        return self.to_points(vae.decode(vae.encode(self.to_pictures(x))[0]))

    @torch.no_grad()
    def lines(self) -> torch.Tensor:
        """Return what the decoder makes of lines of codes within two and a half deviations of the prior, [L, T, 2]."""
        ends = torch.full((self.pipeline.vae.config.latent_dim,), 2.5)
        return code_lines(lambda z: self.to_points(self.pipeline.vae.decode(z)), -ends, ends)
