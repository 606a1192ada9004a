"""Ways from one latent to another."""

from __future__ import annotations

import torch


def slerp(a: torch.Tensor, b: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Interpolate spherically between two tensors (Shoemake 1985, sec. 3.3; for latents White 2016, sec. 2.1).

    Between vectors of one norm every point of the path has that norm, as Gaussian noise of high dimension all but has.
    Parallel vectors have no arc: the path between them is the line.

    Args:
        a, b: one tensor each, [1, ...] or [d]. All entries of a tensor are one vector.
        weights: float [M], 0 at a and 1 at b.

    Returns:
        [M, ...] of a's type, computed in float64.
    """
    u, v, w = a.flatten().double(), b.flatten().double(), weights.double()[:, None]
    cosine = (u / u.norm().clamp(min=1e-12)) @ (v / v.norm().clamp(min=1e-12))
    omega = torch.arccos(cosine.clamp(-1, 1))
    if omega.sin() < 1e-6:
        mixed = (1 - w) * u + w * v
    else:
        mixed = (torch.sin((1 - w) * omega) * u + torch.sin(w * omega) * v) / torch.sin(omega)
    shape = a.shape[1:] if a.ndim > 1 else a.shape
    return mixed.reshape(-1, *shape).to(a.dtype)
