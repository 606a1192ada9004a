"""What an autoregressive model says of one pixel: a distribution that is described by a few numbers.

    black or white    p(white) = sigmoid(a)
    L levels          p(k) = sum_i w_i [F((x_k + d - m_i) / s_i) - F((x_k - d - m_i) / s_i)],     F = sigmoid
    any number        p(x) = sum_i w_i N(x; m_i, s_i^2)

The levels x_k lie evenly on [-1, 1], d is half of their distance, and the lowest and the highest level also get what lies beyond
(Salimans et al. 2017 eq. 2). The first two are masses, which sum to 1 over the levels. The third is a density.

Papers:
    Salimans, Karpathy, Chen, Kingma: PixelCNN++, 2017, https://arxiv.org/abs/1701.05517 (logistic mixture)
    Uria, Murray, Larochelle: RNADE, 2013, https://arxiv.org/abs/1306.0186 (mixture of normal distributions)
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F

MIN_LOG_SCALE = -7.0  # of a component: a level of 256 is 2 / 255 wide, whose logarithm is -4.8


class Levels(ABC):
    """A pixel of one of L levels, evenly from -1 to 1.

    Args:
        levels: L.
        num_params: P, numbers that describe the distribution.
    """

    def __init__(self, levels: int, num_params: int):
        self.levels, self.num_params = levels, num_params

    def values(self, like: torch.Tensor) -> torch.Tensor:
        """Return the levels, float [L], with the device and dtype of a tensor."""
        return torch.linspace(-1, 1, self.levels, device=like.device, dtype=like.dtype)

    def log_probs(self, params: torch.Tensor) -> torch.Tensor:
        """Return log p of each level: [..., P] -> [..., L]."""
        return self.log_prob(params[..., None, :], self.values(params))

    @abstractmethod
    def log_prob(self, params: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return log p of pixels x [...] on the levels, given [..., P]: [...]."""

    def entropy(self, params: torch.Tensor) -> torch.Tensor:
        """Return the entropy of pixels in nats: [..., P] -> [...]."""
        log_p = self.log_probs(params)
        return -(log_p.exp() * log_p).sum(-1)

    def sample(self, params: torch.Tensor, uniform: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
        """Return pixels whose place in the distribution is a number in [0, 1), the inverse of the distribution function.

        Args:
            params: [N, P].
            uniform: [N].
            temperature: T > 0; p^(1 / T), normalised, is sampled.
        """
        p = (self.log_probs(params).double() / temperature).softmax(-1)
        below = (p.cumsum(-1) <= uniform[:, None]).sum(-1).clamp(max=self.levels - 1)
        return self.values(params)[below]


class BlackOrWhite(Levels):
    """A pixel of -1 or 1, described by the logit of 1."""

    def __init__(self):
        super().__init__(2, 1)

    def log_prob(self, params: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return log p of pixels x [...] of -1 or 1, given [..., 1]: [...]."""
        return F.logsigmoid(params[..., 0] * x)


class LogisticMixture(Levels):
    """A pixel of one of L levels, described by weights, means and scales of K logistic distributions.

    Parameters of 0 say: equal weights, means evenly from -1 to 1, and scales of e^-2.

    Args:
        num_components: K.
        levels: L.
    """

    def __init__(self, num_components: int, levels: int = 256):
        super().__init__(levels, 3 * num_components)

    def log_prob(self, params: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return log p of pixels x [...] on the levels, given [..., 3 K]: [...].

        The difference of two sigmoids is written as a product, F(a) - F(b) = F(a) F(-b) (1 - e^(b - a)), which keeps its digits
        where both are near 0 or near 1.
        """
        log_weights, means, log_scales = components(params)
        inverse = torch.exp(-log_scales)
        half = 1 / (self.levels - 1)
        x = x[..., None]
        lowest, highest = x < half - 1, x > 1 - half
        up_to = torch.where(highest, 0.0, F.logsigmoid((x - means + half) * inverse))
        beyond = torch.where(lowest, 0.0, F.logsigmoid((means - x + half) * inverse))
        width = torch.where(lowest | highest, 0.0, torch.log(-torch.expm1(-2 * half * inverse)))
        return torch.logsumexp(log_weights + up_to + beyond + width, -1)


class NormalMixture:
    """A pixel of any value, described by weights, means and scales of K normal distributions.

    Parameters of 0 say the same as those of a `LogisticMixture`.

    Args:
        num_components: K.
    """

    def __init__(self, num_components: int):
        self.num_params = 3 * num_components

    def log_prob(self, params: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Return the logarithm of the density of pixels x [...], given [..., 3 K]: [...]."""
        log_weights, means, log_scales = components(params)
        z = (x[..., None] - means) * torch.exp(-log_scales)
        return torch.logsumexp(log_weights - log_scales - 0.5 * z.square() - 0.5 * math.log(2 * math.pi), -1)

    def sample(self, params: torch.Tensor, uniform: torch.Tensor, temperature: float = 1.0) -> torch.Tensor:
        """Return pixels, each from one number in [0, 1): it chooses a component, and what is left of it the place in there.

        Args:
            params: [N, 3 K].
            uniform: [N].
            temperature: T > 0; weights to the power 1 / T and variances times T.
        """
        log_weights, means, log_scales = (part.double() for part in components(params))
        ends = (log_weights / temperature).softmax(-1).cumsum(-1)
        chosen = (ends <= uniform[:, None].double()).sum(-1, keepdim=True).clamp(max=ends.shape[-1] - 1)
        ends = F.pad(ends, (1, 0))
        first, last = ends.gather(1, chosen)[:, 0], ends.gather(1, chosen + 1)[:, 0]
        place = ((uniform - first) / (last - first).clamp(min=1e-12)).clamp(1e-6, 1 - 1e-6)
        scales = log_scales.gather(1, chosen)[:, 0].exp() * math.sqrt(temperature)
        return (means.gather(1, chosen)[:, 0] + scales * torch.special.ndtri(place)).to(params.dtype)


PixelDistribution = BlackOrWhite | LogisticMixture | NormalMixture


def components(params: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return logarithms of the weights, means and logarithms of the scales of a mixture: [..., 3 K] -> three times [..., K]."""
    weights, means, log_scales = params.chunk(3, -1)
    spread = torch.linspace(-1, 1, means.shape[-1], device=params.device, dtype=params.dtype)
    return weights.log_softmax(-1), means + spread, (log_scales - 2).clamp(min=MIN_LOG_SCALE)


def distribution_of(levels: int, num_components: int) -> PixelDistribution:
    """Return the distribution of a pixel.

    Args:
        levels: L; 2: black or white; 0: any number.
        num_components: K, of the mixtures.

    Raises:
        ValueError: one level, or a negative number.
    """
    if levels < 0 or levels == 1:
        raise ValueError(f"levels: give 0 for any number, 2 for black and white, or more, not {levels}.")
    if levels == 0:
        return NormalMixture(num_components)
    return BlackOrWhite() if levels == 2 else LogisticMixture(num_components, levels)
