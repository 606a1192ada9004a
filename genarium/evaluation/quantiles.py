"""Where a score stands among those of ordinary images. Pages ask this, so it needs no torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def percentile(score: float, quantiles: Sequence[float]) -> float:
    """Return the percentage of ordinary images that score lower.

    Args:
        score: of an image.
        quantiles: of ordinary images' scores, rising, at even levels 0 ... 1.
    """
    return float(np.interp(score, quantiles, np.linspace(0, 100, len(quantiles))))
