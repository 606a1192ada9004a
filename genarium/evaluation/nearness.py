"""How near samples are to the training images, against how near unseen test images are.

Papers:
    Meehan, Chaudhuri, Dasgupta: A Non-Parametric Test to Detect Data-Copying in Generative Models, 2020,
        https://arxiv.org/abs/2004.05675 (distances to the training set, of samples against those of a test set)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from genarium.data.mapped import Images
from genarium.errors import GenariumError

COPY_QUANTILE = 0.01  # of the distances of test images: below it a sample counts as a copy


@dataclass(frozen=True)
class Nearness:
    """Distances to the nearest training image, and which samples count as copies.

    `samples` and `test`: medians of the distances of samples and of test images. `threshold`: the quantile of the test
    images' distances below which a sample is a copy. `copies`: bool [N], one for each sample.
    """

    samples: float
    test: float
    threshold: float
    copies: torch.Tensor

    @property
    def share_of_copies(self) -> float:
        """Part of the samples that are copies, 0 ... 1."""
        return self.copies.double().mean().item()


def compare_distances(
    samples: torch.Tensor,
    test: torch.Tensor,
    test_weights: torch.Tensor | None = None,
    quantile: float = COPY_QUANTILE,
) -> Nearness:
    """Compare the distances of samples to their nearest training images with those of test images.

    A sample is a copy if it is nearer to a training image than the `quantile` of the test images are. A perfect model draws
    new images of the same distribution, so that this share of its samples lies below the threshold by chance. A model that
    has learnt its training images by heart exceeds the share by far.

    Args:
        samples, test: distances to the nearest training image, float [N] and [M]; see `nearest_distances`.
        test_weights: how much each test image counts, float [M], e.g. `class_weights`; None: all alike.
        quantile: of the test images' distances, 0 ... 1.

    Raises:
        GenariumError: no samples, or no test images.
    """
    if min(len(samples), len(test)) < 1:
        raise GenariumError("Nearness to the training images needs at least one sample and one test image.")
    threshold = weighted_quantile(test, quantile, test_weights)
    return Nearness(
        samples=weighted_quantile(samples, 0.5),
        test=weighted_quantile(test, 0.5, test_weights),
        threshold=threshold,
        copies=samples < threshold,
    )


def nearest_distances(points: torch.Tensor, support: Images, chunk: int = 1000) -> torch.Tensor:
    """Return each point's Euclidean distance to its nearest neighbour in the support.

    Args:
        points, support: [N, ...] and [M, ...] of one shape behind the first dimension, of any real type, e.g. features or
            8-bit images.
        chunk: how many of each are compared at once.

    Returns:
        float32 [N] on the CPU; exactly 0 for a point that is in the support.

    Raises:
        GenariumError: an empty support, or points of another shape.
    """
    if len(support) == 0 or points.shape[1:] != support.shape[1:]:
        raise GenariumError(
            f"A nearest neighbour needs points of one shape, not {list(points.shape)} and {list(support.shape)}."
        )
    found = []
    for some in points.split(chunk):
        some = some.flatten(1).float()
        least = torch.full((len(some),), torch.inf)
        nearest = torch.zeros(len(some), dtype=torch.int64)
        for start in range(0, len(support), chunk):
            # As a product of matrices the distance is fast, but inexact near 0: it only finds the neighbour.
            distances, index = torch.cdist(some, support[start : start + chunk].flatten(1).float()).min(dim=1)
            nearest = torch.where(distances < least, index + start, nearest)
            least = torch.minimum(distances, least)
        found.append((some - support[nearest].flatten(1).float()).norm(dim=1))
    return torch.cat(found) if found else torch.empty(0)


def class_weights(test_labels: torch.Tensor, sample_labels: torch.Tensor) -> torch.Tensor:
    """Return weights with which the classes of the test images count as often as those of the samples.

    Args:
        test_labels, sample_labels: classes, int64 [M] and [N].

    Returns:
        float64 [M]; 0 for images of a class without samples.
    """
    num_classes = int(max(test_labels.max(), sample_labels.max())) + 1
    wanted = torch.bincount(sample_labels, minlength=num_classes).double()
    there = torch.bincount(test_labels, minlength=num_classes).double()
    return (wanted / there.clamp(min=1))[test_labels]


def weighted_quantile(values: torch.Tensor, quantile: float, weights: torch.Tensor | None = None) -> float:
    """Return the least value at which the values up to it hold the given share of all weight.

    Args:
        values: float [N].
        quantile: the share, 0 ... 1.
        weights: float [N], at least 0 and not all 0; None: all alike.
    """
    weights = torch.ones(len(values)) if weights is None else weights
    order = values.argsort()
    share = weights[order].double().cumsum(0) / weights.double().sum()
    # rounding of the sum must not shift the quantile by one value
    index = torch.searchsorted(share, torch.tensor(quantile - 1e-9, dtype=torch.float64))
    return values[order[min(int(index), len(values) - 1)]].item()
