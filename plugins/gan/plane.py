"""How a GAN learns points: perceptrons as generator and critic, under the pipeline's own objectives."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from genarium.tasks.lab.networks import Waves, perceptron
from genarium.tasks.lab.plane import Plane
from pipelines.modeling_gan import CriticModel
from pipelines.pipeline_gan import GANPipeline


class PointGenerator(ModelMixin, ConfigMixin):
    """A perceptron from noise to points, with the parts of `GeneratorModel` that training and drawing need."""

    style_means: torch.Tensor

    @register_to_config
    def __init__(self, latent_dim: int = 2, hidden: int = 96, sample_size: int = 1, channels: int = 2):
        super().__init__()
        self.synthesis = nn.Sequential(*perceptron(latent_dim, hidden, hidden, 2), nn.Unflatten(1, (2, 1, 1)))
        self.register_buffer("style_means", torch.zeros(2, latent_dim))

    def embed(self, labels: torch.Tensor | None, number: int) -> torch.Tensor:
        """Return zeros, [number, latent_dim]: there are no classes."""
        return self.style_means.new_zeros(number, self.config.latent_dim)

    def style(self, z: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Return z itself: there is no mapping."""
        return z

    def synthesize(self, w: torch.Tensor) -> torch.Tensor:
        """Return points of noise [B, latent_dim] as pictures, [B, 2, 1, 1]."""
        return self.synthesis(w).float()

    def forward(self, z: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Return points of noise [B, latent_dim] as pictures, [B, 2, 1, 1]."""
        return self.synthesize(z)


class PointCritic(ModelMixin, ConfigMixin):
    """A perceptron that scores points, with the parts of `CriticModel` that training needs."""

    running_scores: torch.Tensor
    score_gap = CriticModel.score_gap

    @register_to_config
    def __init__(self, latent_dim: int = 2, hidden: int = 96, waves: bool = True):
        super().__init__()
        self.features = Waves((1.0, 2.0) if waves else ())
        self.trunk = perceptron(self.features.width, hidden, hidden, 1)
        self.noise_head = nn.Sequential(nn.Flatten(), nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, latent_dim))
        self.register_buffer("running_scores", torch.zeros(2))

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Score points as pictures [B, 2, 1, 1], high for real ones: float32 [B]."""
        return self.trunk(self.features(x.flatten(1)))[:, 0].float()

    @staticmethod
    def coarse(x: torch.Tensor, disturbance: torch.Tensor) -> torch.Tensor:
        """Return the disturbed point that `noise_head` guesses the noise from."""
        return x + disturbance / 20


class NoEncoder(ModelMixin, ConfigMixin):
    """Nothing: the Lab has no use for the encoder that is trained after the adversaries."""

    @register_to_config
    def __init__(self):
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))  # diffusers asks every component for its device


class GANPlane(Plane):
    """A GAN of points."""

    steps = 1200
    batch_size = 128
    betas = (0.5, 0.99)
    learning_rate = 2e-3

    @classmethod
    def build(
        cls,
        objective: Literal["non_saturating", "wgan_clip", "wgan_gp", "relativistic"] = "relativistic",
        penalty: Annotated[float, {"minimum": 0.001, "maximum": 10.0, "step": 0.001}] = 0.05,
        critic_steps: Annotated[int, {"minimum": 1, "maximum": 10, "step": 1}] = 1,
        information: Annotated[float, {"minimum": 0.0, "maximum": 5.0, "step": 0.1}] = 0.0,
        latent_dim: Annotated[int, {"minimum": 1, "maximum": 16, "step": 1}] = 4,
        clip: Annotated[float, {"minimum": 0.01, "maximum": 1.0, "step": 0.01}] = 0.1,
    ) -> GANPlane:
        """Make a plane with fresh weights.

        Args:
            objective: What generator and critic minimise.
            penalty: Weight of the penalty on the critic's slope; "wgan_clip" has none.
            critic_steps: Steps of the critic for one of the generator, on average.
            information: Weight of the noise that the critic guesses from a point (InfoGAN), which holds samples apart.
            latent_dim: Length of the noise.
            clip: Limit of the critic's weights, "wgan_clip" only.
        """
        pipeline = GANPipeline(
            PointGenerator(latent_dim),
            PointCritic(latent_dim, waves=not objective.startswith("wgan")),
            NoEncoder(),
            sample_size=1,
            channels=2,
            objective=objective,
            penalty_weights=[penalty, penalty],
            penalty_every=4,
            penalty_share=0.5,
            critic_steps=critic_steps,
            information_weight=information,
            clip=clip,
        )
        plane = cls(pipeline)
        # The generator of a WGAN steps more seldom, and a critic of bounded slope stands larger steps.
        if objective == "wgan_gp":
            plane.learning_rate = 5e-3
        return plane

    def trainable(self, stage: str) -> dict[str, nn.Module]:
        """Return the two adversaries."""
        return self.pipeline.trainable("adversarial")

    @torch.no_grad()
    def height(self, x: torch.Tensor) -> torch.Tensor:
        """Return the critic's score of points [N, 2], in units of the plane where the penalty holds its slope at 1: [N]."""
        return self.pipeline.critic(self.to_pictures(x)) * self.scale
