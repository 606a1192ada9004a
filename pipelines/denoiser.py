"""The denoiser of one call of score-SDE: its network with labels, guidance and what is known of the image."""

from __future__ import annotations

import torch

from pipelines.probability_flow import ALL_ROWS


class Denoiser:
    """The denoiser D(y; sigma) of one call: the network with labels, guidance and constraint. It counts its evaluations.

    With a constraint P x_0 = P known, the score's known part is given and the rest is the network's:
    D' = D + P (known - D). In the known subspace the samplers then follow exactly the noised known image, and what is
    open is imputed (Song et al. 2021 app. I.2 for pixels, I.3 for other orthonormal coordinates).

    Args:
        pipeline: holds the network.
        labels: int64 [N] or None.
        guidance_scale: g of g D(y | label) - (g - 1) D(y) (Ho and Salimans 2022 eq. 6 with g = 1 + w).
        clip: keep x_0 in [-1, 1]. Good for samples; a likelihood or an encoding needs the unclipped field.
        known: float [N, C, S, S] or None, of which `projection` is known.
        projection: an orthogonal projection of [N, C, S, S].
    """

    def __init__(self, pipeline, labels=None, guidance_scale=1.0, clip=False, known=None, projection=None):
        self.pipeline, self.labels, self.guidance_scale, self.clip = pipeline, labels, guidance_scale, clip
        self.known, self.projection = known, projection
        self.num_evaluations: torch.Tensor | None = None  # int64 [N] once called

    def __call__(
        self, y: torch.Tensor, sigma: float | torch.Tensor, rows: torch.Tensor | slice = ALL_ROWS
    ) -> torch.Tensor:
        """Return x_0 of y, both [n, C, S, S].

        Args:
            sigma: a number or [n].
            rows: places of these samples in the batch.
        """
        if self.num_evaluations is None:
            self.num_evaluations = torch.zeros(len(y), dtype=torch.int64)
        self.num_evaluations[rows.cpu() if isinstance(rows, torch.Tensor) else rows] += 1
        labels = None if self.labels is None else self.labels[rows]
        sigma = torch.as_tensor(sigma, dtype=y.dtype, device=y.device).expand(len(y))
        x0 = self.pipeline._guided(y, sigma, labels, self.guidance_scale, self.pipeline.denoise)
        if self.clip:
            x0 = x0.clamp(-1, 1)
        return x0 if self.known is None else x0 + self.projection(self.known[rows] - x0)

    def evaluations(self) -> list[int]:
        """Return the number of evaluations of each image."""
        return [] if self.num_evaluations is None else self.num_evaluations.tolist()

    def without_divergence(self, y: torch.Tensor, sigma: float | torch.Tensor) -> tuple[torch.Tensor, float]:
        """Return x_0 and 0, for a path whose density nobody asks for."""
        return self(y, sigma), 0.0
