"""A map of styles or voices: embeddings in the plane in which the known ones differ most."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers.utils import BaseOutput


@dataclass
class StyleMapOutput(BaseOutput):
    """A map: `names` of the known styles, then "" for each given one, and their `points`, float tensor [N, 2]."""

    names: list[str]
    points: torch.Tensor


def principal_axes(centred: torch.Tensor) -> torch.Tensor:
    """Return the first two principal components [2, D] of rows [N, D] whose mean is zero.

    The sign of a principal component is open. Its largest entry is taken positive, so that a map never flips.
    """
    axes = torch.linalg.svd(centred).Vh[:2]
    return axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()


def in_plane_of(base: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """Return the coordinates [N, 2] of vectors [N, D] on the first two principal components of others [M, D]."""
    centre = base.mean(0)
    return (vectors - centre) @ principal_axes(base - centre).T
