"""A map of styles or voices: embeddings in the plane in which the known ones differ most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.utils import BaseOutput


@dataclass
class StyleMapOutput(BaseOutput):
    """`names` of the known styles, then "" for each given one; `points`: float tensor [N, 2], one for each name."""

    names: list[str]
    points: torch.Tensor


def principal_axes(centred: torch.Tensor) -> torch.Tensor:
    """Return the first two principal components of rows whose mean is zero: [N, D] -> [2, D].

    The sign of a principal component is open. Its largest entry is taken positive, so that a map never flips.
    """
    axes = torch.linalg.svd(centred).Vh[:2]
    return axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
