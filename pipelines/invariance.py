"""Classes without labels: the information between pictures and classes that random changes of the picture leave as they are.

    I(x; c) = H(mean_x p(c | x)) - mean_x H(p(c | x))                    Krause et al. 2010 eq. 3, "RIM"
    L = mean_x KL(p(c | x) || p(c | t(x))) - lambda I(x; c)              Hu et al. 2017 eq. 2, 5, 6, "IMSAT"

The first term of the information keeps all classes in use, the second makes each picture's class certain. t is a small
random shift, turn, shear and change of size, and for clothes a mirror image: what does not change what a picture shows.

Papers:
    Krause, Perona, Gomes: Discriminative Clustering by Regularized Information Maximization, 2010
    Hu et al.: Learning Discrete Representations via Information Maximizing Self-Augmented Training, 2017,
        https://arxiv.org/abs/1702.08720
    Ji, Henriques, Vedaldi: Invariant Information Clustering for Unsupervised Image Classification and Segmentation, 2019,
        https://arxiv.org/abs/1807.06653 (affine changes, several heads, the over-clustering head)
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F


def mutual_information(probabilities: torch.Tensor) -> torch.Tensor:
    """Return I(x; c) = H(mean_x p(c | x)) - mean_x H(p(c | x)) in nats, of probabilities [B, ..., K] -> float32 [...]."""
    p = probabilities.float()
    return torch.special.entr(p.mean(0)).sum(-1) - torch.special.entr(p).sum(-1).mean(0)


def invariance_loss(logits: torch.Tensor, changed: torch.Tensor, information_weight: float = 1.0) -> torch.Tensor:
    """Return the IMSAT loss of pictures and their changed versions (Hu et al. 2017 eq. 2).

    The information is that of both together. Each of the two is also held to the other, whose gradient is stopped.

    Args:
        logits, changed: [B, ..., K], of the pictures and of t(x).
        information_weight: lambda.

    Returns:
        float32 [...]: one for each head, in nats.
    """
    log_p, log_q = logits.float().log_softmax(-1), changed.float().log_softmax(-1)
    p, q = log_p.exp(), log_q.exp()
    forward = (p.detach() * (log_p.detach() - log_q)).sum(-1).mean(0)
    backward = (q.detach() * (log_q.detach() - log_p)).sum(-1).mean(0)
    return (forward + backward) / 2 - information_weight * mutual_information(torch.cat([p, q]))


def random_affine(
    x: torch.Tensor,
    generator: torch.Generator | None = None,
    degrees: float = 15.0,
    shift: float = 0.1,
    scale: float = 0.15,
    shear: float = 0.2,
    mirror: bool = False,
    contrast: float = 0.0,
) -> torch.Tensor:
    """Change each image by an affine map of its own, drawn at random.

    Args:
        x: float [N, C, S, S] in [-1, 1]. What comes in from outside is black, -1.
        generator: of the maps, on the images' device.
        degrees: greatest turn either way.
        shift: greatest shift either way, as a part of the side.
        scale: greatest change of width and of height, each by itself.
        shear: greatest shear.
        mirror: mirror one image in two.
        contrast: greatest logarithm of the power that grey values in [0, 1] are raised to.

    Returns:
        float [N, C, S, S] in [-1, 1].
    """
    u = torch.rand(len(x), 8, generator=generator, device=x.device, dtype=torch.float32) * 2 - 1
    angle, wide, high = u[:, 0] * degrees * math.pi / 180, 1 + u[:, 1] * scale, 1 + u[:, 2] * scale
    side = torch.where(u[:, 7] < 0, -1.0, 1.0) if mirror else torch.ones_like(angle)
    first = torch.stack([angle.cos() * wide * side, -angle.sin() * high + u[:, 3] * shear, 2 * shift * u[:, 4]], dim=1)
    second = torch.stack([angle.sin() * wide * side, angle.cos() * high, 2 * shift * u[:, 5]], dim=1)
    maps = torch.stack([first, second], dim=1)  # [N, 2, 3], from places in the result to places in x
    grid = F.affine_grid(maps, list(x.shape), align_corners=False)
    moved = F.grid_sample((x.float() + 1) / 2, grid, align_corners=False)  # in [0, 1]
    if contrast:
        moved = moved.clamp(0, 1) ** (u[:, 6] * contrast).exp()[:, None, None, None]
    return (moved * 2 - 1).to(x.dtype)
