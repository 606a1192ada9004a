"""How far feature vectors lie from those of ordinary pictures: three ways, each of a paper.

    memory      the distance from the nearest vectors of a memory, a coreset of the ordinary ones
    gaussian    the Mahalanobis distance from a Gaussian, one for each place in the picture
    subspace    the distance from the subspace of the principal components

Papers:
    Roth et al.: Towards Total Recall in Industrial Anomaly Detection, 2022, https://arxiv.org/abs/2106.08265 (PatchCore)
    Defard et al.: PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and Localization, 2021,
        https://arxiv.org/abs/2011.08785
    Ahuja et al.: Probabilistic Modeling of Deep Features for Out-of-Distribution and Adversarial Detection, 2019,
        https://arxiv.org/abs/1909.11786 (DFM)
    Sener, Savarese: Active Learning for Convolutional Neural Networks: A Core-Set Approach, 2018,
        https://arxiv.org/abs/1708.00489
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import nn

MAX_CANDIDATES = 20_000  # vectors among which a coreset is chosen; each step of the choice looks at all of them
PROJECTED = 48  # dimensions of the random projection in which the choice measures distances
SHRINKAGE = 0.1  # weight of the diagonal in a covariance, so that a few pictures give one that can be inverted
MINIMUM_VARIANCE = 0.01  # added to the diagonal, in squared standard deviations (Defard et al. 2021 sec. III-B)


def coreset(vectors: torch.Tensor, size: int) -> torch.Tensor:
    """Choose vectors so that every other one is near one of them, greedily: the farthest one comes next.

    This is the k-centre algorithm of Sener and Savarese 2018 (alg. 1) on a random projection, as in Roth et al. 2022
    (alg. 1). It draws with seed 0.

    Args:
        vectors: float32 [n, d].
        size: how many to choose.

    Returns:
        float32 [min(n, size), d].
    """
    if len(vectors) <= size:
        return vectors
    generator = torch.Generator().manual_seed(0)
    candidates = vectors[
        torch.randperm(len(vectors), generator=generator)[: max(MAX_CANDIDATES, size)].to(vectors.device)
    ]
    points = candidates
    if points.shape[1] > PROJECTED:
        matrix = torch.randn(points.shape[1], PROJECTED, generator=generator).to(points)
        points = points @ matrix / PROJECTED**0.5
    chosen = [0]
    nearest = (points - points[0]).square().sum(1)
    for _ in range(size - 1):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, (points - points[chosen[-1]]).square().sum(1))
    return candidates[chosen]


class Density(nn.Module, ABC):
    """A description of ordinary vectors. The subclasses have its three kinds.

    Vectors are float32 [N, P, d]: P places in each of N pictures. Each of the d features is first brought to mean 0 and a
    variance of about 1 over the ordinary vectors: it is divided by the root of the mean of its own variance and that of all
    features, so that a feature that hardly varies does not rule.

    Args:
        dim: d.
        rows: vectors of the memory, or of the basis; 1 before `fit`.
        places: P.
    """

    centre: torch.Tensor
    scale: torch.Tensor

    def __init__(self, dim: int, rows: int, places: int):
        super().__init__()
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))

    def fit(self, vectors: torch.Tensor, most: int) -> None:
        """Describe ordinary vectors, at most by `most` rows."""
        flat = vectors.flatten(0, 1)
        self.centre = flat.mean(0)
        variance = flat.var(0, correction=0)
        self.scale = ((variance + variance.mean()) / 2).sqrt().clamp(min=1e-6)
        self._describe((vectors - self.centre) / self.scale, most)
        for name, values in self.named_buffers():  # a checkpoint holds them in half precision
            setattr(self, name, values.half().float())

    def distance(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return how far vectors [N, P, d] lie from the ordinary ones: float32 [N, P] >= 0."""
        return self._distance((vectors - self.centre.float()) / self.scale.float()) / vectors.shape[-1] ** 0.5

    @property
    def rows(self) -> int:
        """How many rows `fit` has kept."""
        return 1

    @abstractmethod
    def _describe(self, vectors: torch.Tensor, most: int) -> None:
        """Describe scaled vectors, at most by `most` rows."""

    @abstractmethod
    def _distance(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return how far scaled vectors lie from the described ones: float32 [N, P] >= 0."""


class MemoryDensity(Density):
    """A coreset of the ordinary vectors, and the distance to the nearest of them (Roth et al. 2022 eq. 6).

    The authors' code leaves out the weight of their eq. 7, and so does this.
    """

    vectors: torch.Tensor

    def __init__(self, dim: int, rows: int, places: int):
        super().__init__(dim, rows, places)
        self.register_buffer("vectors", torch.zeros(rows, dim))

    @property
    def rows(self) -> int:
        return len(self.vectors)

    def _describe(self, vectors: torch.Tensor, most: int) -> None:
        self.vectors = coreset(vectors.flatten(0, 1), most).contiguous()

    def _distance(self, vectors: torch.Tensor) -> torch.Tensor:
        return torch.cdist(vectors.flatten(0, 1), self.vectors.float()).amin(1).unflatten(0, vectors.shape[:2])


class GaussianDensity(Density):
    """A Gaussian for each place, and the Mahalanobis distance from it (Defard et al. 2021 eq. 1 and 2)."""

    means: torch.Tensor
    whitening: torch.Tensor

    def __init__(self, dim: int, rows: int, places: int):
        super().__init__(dim, rows, places)
        self.register_buffer("means", torch.zeros(places, dim))
        self.register_buffer("whitening", torch.eye(dim).repeat(places, 1, 1))  # W W^T is the inverse covariance

    def _describe(self, vectors: torch.Tensor, most: int) -> None:
        self.means = vectors.mean(0)
        centred = (vectors - self.means).transpose(0, 1)  # [P, N, d]
        covariance = centred.mT @ centred / max(len(vectors) - 1, 1)
        diagonal = torch.diag_embed(covariance.diagonal(dim1=1, dim2=2) + MINIMUM_VARIANCE)
        shrunk = (
            (1 - SHRINKAGE) * covariance
            + SHRINKAGE * diagonal
            + MINIMUM_VARIANCE * torch.eye(len(self.scale)).to(vectors)
        )
        self.whitening = torch.linalg.cholesky(torch.linalg.inv(shrunk)).contiguous()

    def _distance(self, vectors: torch.Tensor) -> torch.Tensor:
        centred = (vectors - self.means.float()).transpose(0, 1)  # [P, N, d]
        return (centred @ self.whitening.float()).norm(dim=2).T


class SubspaceDensity(Density):
    """The principal components, and what they cannot say of a vector (the feature reconstruction error of DFM)."""

    basis: torch.Tensor
    variance = 0.95  # share of the variance that the components explain

    def __init__(self, dim: int, rows: int, places: int):
        super().__init__(dim, rows, places)
        self.register_buffer("basis", torch.zeros(rows, dim))

    @property
    def rows(self) -> int:
        return len(self.basis)

    def _describe(self, vectors: torch.Tensor, most: int) -> None:
        flat = vectors.flatten(0, 1)
        values, axes = torch.linalg.eigh(flat.T @ flat / len(flat))
        shares = values.flip(0).clamp(min=0).cumsum(0) / values.clamp(min=0).sum().clamp(min=1e-12)
        number = int((shares < self.variance).sum()) + 1
        self.basis = axes.flip(1)[:, : max(1, min(number, most, flat.shape[1] - 1))].T.contiguous()

    def _distance(self, vectors: torch.Tensor) -> torch.Tensor:
        basis = self.basis.float()
        return (vectors - vectors @ basis.T @ basis).norm(dim=2)


DENSITIES: dict[str, type[Density]] = {
    "memory": MemoryDensity,
    "gaussian": GaussianDensity,
    "subspace": SubspaceDensity,
}
