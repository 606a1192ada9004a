"""Typicality: whether an image is like the training images in several statistics at once, in either direction.

A model may find simple strangers more likely than its own data. So the score is the Mahalanobis distance d of a vector of
F statistics from those of training images. Where a class is given, it is

    sqrt(d^2 + F max(m, 0)^2),      m = (mismatch - its mean) / its standard deviation

The mismatch is the mean of log(error given the class / error without), of predictions from the same noisy images, as a
diffusion classifier compares them. Mean and deviation are those of training images and their own classes. A class that
helps the prediction one deviation less than usual adds F, which is the mean of d^2 over training images. No class makes an
image less strange.

Papers:
    Nalisnick et al.: Do Deep Generative Models Know What They Don't Know?, 2019, https://arxiv.org/abs/1810.09136
    Morningstar et al.: Density of States Estimation for Out-of-Distribution Detection, 2021,
        https://arxiv.org/abs/2006.09273
    Li et al.: Your Diffusion Model is Secretly a Zero-Shot Classifier, 2023, https://arxiv.org/abs/2303.16203 (sec. 3)
    Vitter: Random Sampling with a Reservoir, 1985
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

NUM_CALIBRATION_IMAGES = 512
CALIBRATION_BATCH_SIZE = 64


def floored_log(values: torch.Tensor) -> torch.Tensor:
    """Return the logarithm of values >= 0, those below 1e-8 as if they were that."""
    return values.clamp(min=1e-8).log()


def log_error_ratio(conditional: torch.Tensor, unconditional: torch.Tensor) -> torch.Tensor:
    """Return how badly classes fit: the mean over T times of log(error given the class / error without).

    Args:
        conditional, unconditional: errors, both [N, T].

    Returns:
        float64 [N] on the CPU, negative where the class helps.
    """
    return (floored_log(conditional) - floored_log(unconditional)).mean(1).cpu().double()


def typicality_score(
    features: torch.Tensor, known: Mapping[str, Any] | None, mismatch: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the score at the top of this file.

    Args:
        features: float64 [N, F] on the CPU.
        known: {"mean" [F], "precision" or "covariance" [F][F], "class_mismatch" {"mean", "std"}}, the last one where the
            training images have classes, else the mismatch counts in nats. None before calibration: the distance is the
            plain norm of the features.
        mismatch: float64 [N] on the CPU; None: no class is given.

    Returns:
        float32 [N].
    """
    known = known or {}
    if known:
        features = features - torch.tensor(known["mean"], dtype=torch.float64)
    if "precision" in known:
        weighted = features @ torch.tensor(known["precision"], dtype=torch.float64)
    elif "covariance" in known:
        weighted = torch.linalg.solve(torch.tensor(known["covariance"], dtype=torch.float64), features.T).T
    else:
        weighted = features
    squared = (weighted * features).sum(1).clamp(min=0)
    if mismatch is not None:
        usual = known.get("class_mismatch") or {"mean": 0.0, "std": 1.0}
        above = ((mismatch - usual["mean"]) / usual["std"]).clamp(min=0)
        squared = squared + features.shape[1] * above.square()
    return squared.sqrt().float()


# ---- calibration ----


def reservoir(batches: Iterable[dict], number: int, labelled: bool) -> list[tuple[torch.Tensor, torch.Tensor | None]]:
    """Choose images at random, all with one probability, in one pass (Vitter 1985), with seed 0.

    Args:
        batches: of `{"images" [B, ...], "class_labels" [B] or None}`.
        number: of images to choose; all if there are fewer.
        labelled: whether to take the labels.

    Returns:
        (image, label or None) of each.

    Raises:
        ValueError: fewer than two images.
    """
    random = np.random.default_rng(0)
    chosen: list[tuple[torch.Tensor, torch.Tensor | None]] = []
    seen = 0
    for batch in batches:
        labels = batch.get("class_labels") if labelled else None
        for i, image in enumerate(batch["images"]):
            seen += 1
            item = (image, None if labels is None else labels[i])
            if len(chosen) < number:
                chosen.append(item)
            elif (place := random.integers(seen)) < number:
                chosen[place] = item
    if len(chosen) < 2:
        raise ValueError("batches: calibration needs at least two images.")
    return chosen


def calibration_batches(
    batches: Iterable[dict], labelled: bool
) -> Iterator[tuple[torch.Tensor, torch.Tensor | None, list[torch.Generator]]]:
    """Iterate over NUM_CALIBRATION_IMAGES of the training images, as batches of what a measurement takes.

    Args:
        batches: of `{"images", "class_labels"}`, one pass over the training data.
        labelled: whether the model knows classes.

    Yields:
        (images [n, ...], labels [n] or None where one of them has none, a generator for each image).

    Raises:
        ValueError: fewer than two images.
    """
    chosen = reservoir(batches, NUM_CALIBRATION_IMAGES, labelled)
    for start in range(0, len(chosen), CALIBRATION_BATCH_SIZE):
        images, labels = zip(*chosen[start : start + CALIBRATION_BATCH_SIZE], strict=True)
        known = all(label is not None and label >= 0 for label in labels)
        generators = [torch.Generator().manual_seed(start + i) for i in range(len(images))]
        yield torch.stack(images), torch.stack(labels) if known else None, generators


def calibration(features: torch.Tensor) -> dict[str, list]:
    """Return mean and precision, the inverse of the covariance, of the features of training images.

    Neighbouring times say much the same. Shrinking the covariances keeps the score from resting on differences between
    them so fine that the rounding of half precision would decide it.

    Args:
        features: float64 [M, F].
    """
    centred = features - features.mean(0)
    covariance = centred.T @ centred / (len(features) - 1)
    variance = covariance.diagonal().clamp(min=1e-8)
    floor = 1e-8 * torch.eye(len(variance), dtype=torch.float32)
    precision = torch.linalg.inv(0.95 * covariance + 0.05 * torch.diag(variance) + floor)
    return {"mean": features.mean(0).tolist(), "precision": precision.tolist()}


def class_calibration(mismatches: list[torch.Tensor | None]) -> dict[str, dict[str, float]]:
    """Return {"class_mismatch": {"mean", "std"}} of training images; nothing if some of them have no class.

    Args:
        mismatches: float64 [n] of each batch with classes, None of one without.
    """
    known = [mismatch for mismatch in mismatches if mismatch is not None]
    if not known or len(known) < len(mismatches):
        return {}
    values = torch.cat(known)
    return {"class_mismatch": {"mean": values.mean().item(), "std": max(values.std().item(), 1e-8)}}


def calibrate(
    batches: Iterable[dict],
    labelled: bool,
    measure: Callable[[torch.Tensor, torch.Tensor | None, list[torch.Generator]], tuple],
) -> dict[str, Any]:
    """Return what `typicality_score` needs to know, from NUM_CALIBRATION_IMAGES of the training images.

    Args:
        batches: of `{"images", "class_labels"}`, one pass over the training data.
        labelled: whether the model knows classes.
        measure: called as (images, labels or None, generators) of some of the images; returns (features float64 [n, F],
            mismatch float64 [n] or None).

    Raises:
        ValueError: fewer than two images.
    """
    measured = [measure(*batch) for batch in calibration_batches(batches, labelled)]
    features, mismatches = zip(*measured, strict=True)
    return {**calibration(torch.cat(features)), **class_calibration(list(mismatches))}
