"""The model: a mean and a deviation for each pixel. On the Hub this file lies in the component's folder."""

import math

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn


class GaussianModel(ModelMixin, ConfigMixin):
    """A Gaussian for each pixel, x ~ N(mean, deviation^2). It computes in float32 whatever the dtype of the weights.

    Args:
        sample_size: S, side of the square images.
        channels: C, 1 or 3.
    """

    @register_to_config
    def __init__(self, sample_size: int, channels: int = 1):
        super().__init__()
        self.mean = nn.Parameter(torch.zeros(channels, sample_size, sample_size))
        self.log_deviation = nn.Parameter(torch.zeros(channels, sample_size, sample_size))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return by how many deviations each pixel [N, C, S, S] differs from its mean."""
        return (images.float() - self.mean.float()) / self.log_deviation.float().exp()

    def draw(self, noise: torch.Tensor) -> torch.Tensor:
        """Turn standard normal noise [N, C, S, S] into images."""
        return self.mean.float() + self.log_deviation.float().exp() * noise.float()

    def nats(self, images: torch.Tensor) -> torch.Tensor:
        """Return -log p(x) of each pixel [N, C, S, S], in nats."""
        return 0.5 * self(images).square() + self.log_deviation.float() + 0.5 * math.log(2 * math.pi)
