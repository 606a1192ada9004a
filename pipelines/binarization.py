"""Grey pictures as pictures of black and white pixels, the protocol of likelihoods on binarised data.

A grey value in [0, 1] is taken for the probability that the pixel is white (Salakhutdinov and Murray 2008 sec. 5). A test set is
binarised once and for all: picture i by its own generator, with seed s + i. Training draws the pixels anew in each step.
"""

from __future__ import annotations

import torch

from pipelines.family import Generators
from pipelines.random_rows import uniform_rows


def to_unit_range(x: torch.Tensor) -> torch.Tensor:
    """Return pictures [N, C, S, S] in [-1, 1] as rows of grey values, float32 [N, D] in [0, 1]."""
    return (x.float() / 2 + 0.5).clamp(0, 1).flatten(1)


def binarize(x: torch.Tensor, generator: Generators) -> torch.Tensor:
    """Draw each pixel black or white with its grey value as the probability of white.

    Args:
        x: [N, C, S, S] in [-1, 1].
        generator: None, one generator, or one for each picture.

    Returns:
        float32 [N, D] of 0 and 1, with D = C S S.
    """
    grey = to_unit_range(x)
    return (uniform_rows(len(x), generator, x.device)(grey.shape[1]) < grey).float()
