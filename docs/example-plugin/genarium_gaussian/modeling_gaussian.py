"""The model: a mean and a deviation for each pixel. On the Hub this file lies in the component's folder."""

import math

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn


class GaussianModel(ModelMixin, ConfigMixin):
    """x ~ N(mean, deviation^2), pixel by pixel. Computes in float32 whatever the dtype of the weights.

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
        """How many deviations each pixel is off its mean: [N, C, S, S] -> the same."""
        return (images.float() - self.mean.float()) / self.log_deviation.float().exp()

    def draw(self, noise: torch.Tensor) -> torch.Tensor:
        """Standard normal noise [N, C, S, S] -> images [N, C, S, S]."""
        return self.mean.float() + self.log_deviation.float().exp() * noise.float()

    def nats(self, images: torch.Tensor) -> torch.Tensor:
        """-log p(x) of each pixel: [N, C, S, S] -> the same."""
        return 0.5 * self(images).square() + self.log_deviation.float() + 0.5 * math.log(2 * math.pi)
