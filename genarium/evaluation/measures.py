"""The measures, as plain functions of features, images and scores."""

from __future__ import annotations

import math

import torch
from torch import nn

from genarium.errors import GenariumError


class _Given(nn.Module):
    """A feature network that returns its input: the features are there already."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features


def frechet_distance(real: torch.Tensor, fake: torch.Tensor) -> float:
    """Compute |m_1 - m_2|^2 + tr(C_1 + C_2 - 2 sqrt(C_1 C_2)) of two sets of features [N, D], [M, D], by torchmetrics.

    It is the FID (Heusel et al. 2017 eq. 6) only with the features of Inception-v3.

    Raises:
        GenariumError: fewer than two in a set, or features of different networks.
    """
    from torchmetrics.image.fid import FrechetInceptionDistance

    if min(len(real), len(fake)) < 2 or real.shape[1] != fake.shape[1]:
        raise GenariumError(
            f"The Fréchet distance needs two sets of at least 2, not {list(real.shape)} and {list(fake.shape)}."
        )
    # computed by one process for all: it must not wait for the others
    metric = FrechetInceptionDistance(feature=_Given(real.shape[1]), sync_on_compute=False)
    metric.update(real.double(), real=True)
    metric.update(fake.double(), real=False)
    return max(0.0, metric.compute().item())  # rounding of the matrix root may leave -1e-6


def precision_recall(real: torch.Tensor, fake: torch.Tensor, k: int = 3) -> tuple[float, float]:
    """Compute the share of samples that lie among the real images, and of real images that lie among the samples.

    "Among" a set is within the distance of any of its points to that point's k-th nearest neighbour (Kynkaanniemi et
    al. 2019 eq. 1 and 2).

    Args:
        real, fake: features, float [N, D] and [M, D].

    Returns:
        Precision and recall, 0 ... 1.

    Raises:
        GenariumError: k points or fewer in a set.
    """
    if min(len(real), len(fake)) <= k:
        raise GenariumError(f"Precision and recall need more than {k} images on each side.")
    return _share_among(fake, real, k), _share_among(real, fake, k)


def _share_among(points: torch.Tensor, support: torch.Tensor, k: int, chunk: int = 1000) -> float:
    # the nearest neighbour of a point in its own set is itself, hence k + 1
    radii = torch.cat([torch.cdist(s, support).topk(k + 1, largest=False).values[:, -1] for s in support.split(chunk)])
    inside = [(torch.cdist(p, support) <= radii).any(dim=1) for p in points.split(chunk)]
    return torch.cat(inside).double().mean().item()


def area_under_roc(normal: torch.Tensor, strange: torch.Tensor) -> float:
    """Return the probability that a strange image scores higher than an ordinary one. Ties count half.

    Args:
        normal, strange: scores of any range, [N] and [M].
    """
    from torchmetrics.functional.classification import binary_auroc

    scores = torch.cat([normal, strange]).double()
    # torchmetrics squashes what is outside [0, 1], which merges large scores: ranks keep the order and the ties
    ranks = scores.unique(return_inverse=True)[1].double() / len(scores)
    target = torch.cat([torch.zeros(len(normal)), torch.ones(len(strange))]).long()
    return binary_auroc(ranks, target).item()


def reconstruction_quality(restored: torch.Tensor, images: torch.Tensor) -> tuple[float, float]:
    """Compute mean PSNR in dB and mean SSIM (Wang et al. 2004) of pairs of images uint8 [N, C, H, W].

    An exact image counts as 100 dB.
    """
    from torchmetrics.functional.image import peak_signal_noise_ratio, structural_similarity_index_measure

    a, b = restored.double() / 255, images.double() / 255
    psnr = peak_signal_noise_ratio(a, b, data_range=1.0, dim=(1, 2, 3), reduction="none").clamp(max=100)
    ssim = [
        torch.as_tensor(structural_similarity_index_measure(x, y, data_range=1.0, reduction="none")).reshape(-1)
        for x, y in zip(a.split(100), b.split(100), strict=True)
    ]
    return psnr.mean().item(), torch.cat(ssim).mean().item()


def matched_accuracy(codes: torch.Tensor, labels: torch.Tensor) -> float:
    """Compute the accuracy of classes that have no names, after the best matching of classes and labels (Kuhn 1955).

    Each class is matched with one label at most, and each label with one class, so that most images agree.

    Args:
        codes, labels: int64 [N], from 0.
    """
    from scipy.optimize import linear_sum_assignment

    size = int(codes.max()) + 1, int(labels.max()) + 1
    table = torch.bincount(codes * size[1] + labels, minlength=size[0] * size[1]).reshape(size).numpy()
    rows, columns = linear_sum_assignment(table, maximize=True)
    return float(table[rows, columns].sum() / len(codes))


def normalised_information(codes: torch.Tensor, labels: torch.Tensor) -> float:
    """Compute I(code; label) / mean of H(code) and H(label), 0 ... 1 (Strehl and Ghosh 2002, with the arithmetic mean).

    Args:
        codes, labels: int64 [N].
    """
    from sklearn.metrics import normalized_mutual_info_score

    return float(normalized_mutual_info_score(labels.numpy(), codes.numpy()))


def bits_per_dim(nats: float, dimensions: int, of: str = "density") -> float:
    """Convert a log-likelihood to bits per dimension of 8-bit images.

    Of a "density" of images in [-1, 1], an 8-bit value is a cell of width 2 / 255, so P(x) ~ p(x) (2 / 255)^D and

        bits/dim = -log2 P(x) / D = (-log p(x) / D - log(2 / 255)) / log 2

    A "mass" is P(x) itself.

    Args:
        nats: log p(x) or log P(x) of one image, or the mean of many.
        dimensions: D, pixels times channels.
        of: "density" or "mass".

    Raises:
        ValueError: another kind, which has no bits per dimension of 8-bit images.
    """
    if of not in ("density", "mass"):
        raise ValueError(f"of: choose 'density' or 'mass', not {of!r}.")
    cell = math.log(2 / 255) if of == "density" else 0.0
    return (-nats / dimensions - cell) / math.log(2)
