"""Relaxed draws of discrete codes: Gumbel-softmax and its binary form, which have gradients.

    y_k = softmax_k((l_k + g_k) / tau),   g_k = -log(-log u_k)          Jang et al. 2017 eq. 1, 2
    y   = sigmoid((l + log u - log(1 - u)) / tau)                       Maddison et al. 2017 eq. 16, app. B

The largest y_k, or y above one half, is an exact draw of the discrete code at every temperature tau. As tau falls, y itself
nears that draw, the gradient nears the exact one, and its variance grows. Straight-through takes the discrete draw forward
and the gradient of y backward (Jang et al. 2017 sec. 2.2; Bengio et al. 2013, https://arxiv.org/abs/1308.3432).

Papers:
    Jang, Gu, Poole: Categorical Reparameterization with Gumbel-Softmax, 2017, https://arxiv.org/abs/1611.01144
    Maddison, Mnih, Teh: The Concrete Distribution, 2017, https://arxiv.org/abs/1611.00712
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

TINY = 1e-7  # keeps uniform numbers in float32 off 0 and 1


def temperature_at(progress: float, start: float, end: float) -> float:
    """Return the temperature at a part of the training: it falls from `start` to `end` by a constant factor a step.

    Args:
        progress: part of the training that is done, 0 ... 1.
        start, end: above 0.
    """
    return start * (end / start) ** min(max(progress, 0.0), 1.0)


def gumbel_noise(uniform: torch.Tensor) -> torch.Tensor:
    """Return standard Gumbel noise -log(-log u) of uniform numbers in [0, 1], float32 of the same shape."""
    return -torch.log(-torch.log(uniform.float().clamp(TINY, 1 - TINY)))


def exact_forward(exact: torch.Tensor, relaxed: torch.Tensor) -> torch.Tensor:
    """Return the values of an exact draw with the gradient of the relaxed one (Jang et al. 2017 sec. 2.2)."""
    return exact + (relaxed - relaxed.detach())  # in this order the values are those of `exact` bit for bit


def relaxed_categorical(
    logits: torch.Tensor, temperature: float, uniform: torch.Tensor, straight_through: bool = False
) -> torch.Tensor:
    """Draw relaxed one-hot vectors (Jang et al. 2017 eq. 2).

    Args:
        logits: [..., K].
        temperature: tau > 0.
        uniform: numbers [..., K] in [0, 1].
        straight_through: return exact one-hot vectors, with the gradient of the relaxed ones.

    Returns:
        float32 [..., K], each row with sum 1.
    """
    relaxed = ((logits.float() + gumbel_noise(uniform)) / temperature).softmax(-1)
    if not straight_through:
        return relaxed
    hard = F.one_hot(relaxed.argmax(-1), logits.shape[-1]).to(relaxed.dtype)
    return exact_forward(hard, relaxed)


def relaxed_bernoulli(
    logits: torch.Tensor, temperature: float, uniform: torch.Tensor, straight_through: bool = False
) -> torch.Tensor:
    """Draw relaxed bits: the difference of two Gumbel variables is logistic (Maddison et al. 2017 app. B).

    Args:
        logits: [...], of the probability that a bit is 1.
        temperature: tau > 0.
        uniform: numbers [...] in [0, 1].
        straight_through: return exact bits, with the gradient of the relaxed ones.

    Returns:
        float32 [...] in [0, 1].
    """
    u = uniform.float().clamp(TINY, 1 - TINY)
    relaxed = ((logits.float() + u.log() - (-u).log1p()) / temperature).sigmoid()
    if not straight_through:
        return relaxed
    return exact_forward((relaxed > 0.5).to(relaxed.dtype), relaxed)


def categorical_kl_to_uniform(probabilities: torch.Tensor) -> torch.Tensor:
    """Return KL(p || uniform) = log K - H(p) in nats: [..., K] -> float32 [...]."""
    return math.log(probabilities.shape[-1]) - torch.special.entr(probabilities.float()).sum(-1)


def bernoulli_kl_to_uniform(logits: torch.Tensor) -> torch.Tensor:
    """Return KL(p || a fair coin) of each bit in nats: logits [...] -> float32 [...]."""
    logits = logits.float()
    p = logits.sigmoid()
    return math.log(2) + p * F.logsigmoid(logits) + (1 - p) * F.logsigmoid(-logits)
