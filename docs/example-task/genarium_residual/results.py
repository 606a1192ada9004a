"""What the task returns: the reconstructions, with their distance from the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.checkpoints import Checkpoint
from genarium.media.pictures import to_pixels
from genarium.runtime import Pictures


@dataclass(frozen=True, kw_only=True)
class Residuals(Pictures):
    """Reconstructions, and their differences from the inputs."""

    @property
    def residuals(self) -> np.ndarray:
        """Absolute differences of pixels: float [N, H, W, C] in [0, 1]."""
        return np.abs(to_pixels(self.inputs).astype(float) - to_pixels(self.pictures)) / 255

    def report(self, checkpoint: Checkpoint) -> dict[str, Any]:
        return {**super().report(checkpoint), "mean_residual": float(self.residuals.mean())}


RESULTS = {"image": Residuals}
