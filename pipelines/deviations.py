"""Anomaly terms on one scale: each as deviation from the mean of training images, in their standard deviations.

    s = sum_i (t_i - m_i) / d_i

Terms of different units, such as a logarithm of an error and nats of a code, add up only so.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

MINIMUM = 1e-6  # of a standard deviation, so that a term that never varies divides by no zero


def measure_terms(terms: Mapping[str, torch.Tensor]) -> dict[str, list[float]]:
    """Return mean and standard deviation of each term over training images, as a `calibration` keeps them.

    Args:
        terms: name -> float [N].

    Raises:
        ValueError: fewer than two images.
    """
    if any(len(values) < 2 for values in terms.values()):
        raise ValueError("batches: calibration needs at least two images.")
    return {name: [v.mean().item(), v.std().clamp(min=MINIMUM).item()] for name, v in terms.items()}


def add_deviations(terms: Mapping[str, torch.Tensor], calibration: Mapping[str, list[float]] | None) -> torch.Tensor:
    """Return the sum of terms in standard deviations: float [N]. A term that was never measured counts as it is.

    Args:
        terms: name -> float [N].
        calibration: what `measure_terms` returned; None before `fit`.
    """
    total = torch.zeros(())
    for name, values in terms.items():
        mean, std = (calibration or {}).get(name, (0.0, 1.0))
        total = total.to(values.device) + (values - mean) / std
    return total
