"""Ways from one latent to another."""

from __future__ import annotations

import torch
import torch.nn.functional as F


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


def slerp_unit(a: torch.Tensor, b: torch.Tensor, weight: float) -> torch.Tensor:
    """Interpolate between two unit vectors on their sphere, in their own dtype (Shoemake 1985, sec. 3.3).

    Opposite vectors have no single arc: the path between them is the line, projected onto the sphere.

    Args:
        a, b: [1, d], of norm 1.
        weight: 0 at a and 1 at b.

    Returns:
        [1, d].
    """
    omega = torch.arccos((a * b).sum().clamp(-1, 1))
    if omega.sin() < 1e-4:
        return F.normalize(torch.lerp(a, b, weight), dim=1)
    return (torch.sin((1 - weight) * omega) * a + torch.sin(weight * omega) * b) / torch.sin(omega)
