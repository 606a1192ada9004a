"""Pixel Gaussian: the smallest generative model, as an example of a plugin package.

What this file imports from `pipelines` and from its own package is written into the file that `save_pretrained` makes.
"""

from __future__ import annotations

from typing import Annotated

import torch
from diffusers import DiffusionPipeline, ModelMixin

from genarium_gaussian.modeling_gaussian import GaussianModel
from pipelines.images import ImageFamilyMixin, task


class GaussianPipeline(ImageFamilyMixin, DiffusionPipeline):
    """Images whose pixels are independent Gaussians.

    Args:
        model: `GaussianModel`.
        sample_size: S, side of the square images in pixels.
        channels: C, 1 or 3.
        id2label: names of the classes; None here, since this model knows none.
        anomaly_quantiles: {"default": 201 quantiles of ordinary test images' scores}, written by `evaluate`.
    """

    model: GaussianModel
    model_cpu_offload_seq = "model"

    def __init__(
        self,
        model: ModelMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        id2label: dict[str, str] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        self._register(
            locals(),
            sample_size=sample_size or model.config.sample_size,
            channels=channels or model.config.channels,
        )

    @classmethod
    def build(cls, sample_size: int, channels: int, id2label: dict[str, str] | None = None) -> GaussianPipeline:
        """Make a pipeline with fresh weights. `id2label` names the classes of the data, of which this model makes no use."""
        return cls(GaussianModel(sample_size, channels))

    def loss(self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0):
        """Return the negative log-likelihood per pixel and channel, and {"nats"}: per image."""
        nats = self.model.nats(batch["images"])
        return nats.mean(), {"nats": nats.detach().sum() / len(nats)}

    @task
    def __call__(
        self,
        batch_size,
        generator,
        labels,
        report,
        temperature: Annotated[float, {"minimum": 0.0, "maximum": 2.0, "step": 0.05}] = 1.0,
    ):
        """Generate images.

        Args:
            class_labels: None; there are no classes.
            temperature: Spread around the mean picture; 0 gives the mean itself.
        """
        shape = (batch_size, self.config.channels, self.config.sample_size, self.config.sample_size)
        x = self.model.draw(temperature * self._randn(shape, generator))
        report(0, 0, 1, x)
        return x

    @task
    def anomaly_score(self, x, report):
        """Measure how many deviations an image is off the mean; the map shows where.

        Args:
            generator: not used: nothing here is random.
        """
        squares = self.model(x).square()
        report(0, 0, 1, x)
        return squares.mean((1, 2, 3)), squares.mean(1), "squared deviations"
