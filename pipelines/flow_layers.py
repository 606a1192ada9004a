"""Layers of normalizing flows: each maps x to z and says how it changes volumes, and can be run backwards exactly.

    z = f(x),   log p(x) = log N(f(x); 0, I) + log |det df/dx|        Dinh et al. 2017 eq. 2 and 3

Every layer has `forward(x) -> (z, map)` and `inverse(z) -> x`. A map has the shape of x. It says how much each entry contributes
to the log-determinant, which is its sum over an image. Flows compute in float32, whatever the dtype of their networks.

Papers:
    Dinh, Sohl-Dickstein, Bengio: Density Estimation Using Real NVP, 2017, https://arxiv.org/abs/1605.08803
    Kingma, Dhariwal: Glow: Generative Flow with Invertible 1x1 Convolutions, 2018, https://arxiv.org/abs/1807.03039
    Durkan et al.: Neural Spline Flows, 2019, https://arxiv.org/abs/1906.04032
    Zhai et al.: Normalizing Flows are Capable Generative Models, 2024, https://arxiv.org/abs/2412.06329 (guidance)
    Ho, Salimans: Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598
"""

from __future__ import annotations

import itertools
import math
import statistics

import torch
import torch.nn.functional as F
from torch import nn

LEVEL = 2 / 255  # width of an 8-bit level of pictures in [-1, 1]


def bounded(log_scale: torch.Tensor, bound: float) -> torch.Tensor:
    """Return log-scales within (-bound, bound), almost unchanged near 0, so that no inverse runs to infinity.

    Args:
        log_scale: as a network gives it, any shape.
        bound: in nats, above 0.
    """
    return bound * torch.tanh(log_scale / bound)


class EdgeSpline(nn.Module):
    """A monotone function of each value alone, the same for all pixels: rational-quadratic pieces, linear beyond the ends.

    Most pixels of pictures on black lie in the darkest of the 256 levels. Uniform noise makes a small box of such an atom. Affine layers
    leave a box a box, which costs 0.18 nats against a Gaussian for each of these pixels. So there are many pieces within the darkest and the
    brightest level, and at the start they make about a Gaussian of each box. The heights and slopes of all pieces are learned
    (Durkan et al. 2019 eq. 4 to 8). The knots are fixed.

    Args:
        edge_pieces: in each of the two levels.
        middle_pieces: between them, all of one width.
        deviation: of the Gaussian that the start makes of a level at an edge.
    """

    def __init__(self, edge_pieces: int = 10, middle_pieces: int = 16, deviation: float = 0.1):
        super().__init__()
        self.edge_pieces, self.middle_pieces, self.deviation = edge_pieces, middle_pieces, deviation
        number = 2 * edge_pieces + middle_pieces
        self.log_heights = nn.Parameter(torch.zeros(number))  # relative to the start
        self.log_slopes = nn.Parameter(torch.zeros(number + 1))

    def _knots(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the places of the knots [K + 1], the values there [K + 1] and the slopes [K + 1], float32."""
        normal, n = statistics.NormalDist(), self.edge_pieces
        tail = normal.cdf(-2.5)
        quantiles = [normal.inv_cdf(tail + (1 - 2 * tail) * i / n) for i in range(n + 1)]
        edge = [self.deviation * (b - a) for a, b in itertools.pairwise(quantiles)]
        middle = 2 - LEVEL
        widths = [LEVEL / n] * n + [middle / self.middle_pieces] * self.middle_pieces + [LEVEL / n] * n
        device = self.log_heights.device
        width = torch.tensor(widths, device=device)
        first = torch.tensor([*edge, *widths[n:-n], *edge], device=device)
        height = first * self.log_heights.float().exp()
        rise = (first / width).log()
        inner = (rise[1:] + rise[:-1]) / 2
        slope = (torch.cat([rise[:1], inner, rise[-1:]]) + self.log_slopes.float()).exp()
        places = F.pad(width.cumsum(0), (1, 0)) - 1 - LEVEL / 2
        values = F.pad(height.cumsum(0), (1, 0)) - height.sum() / 2
        return places, values, slope

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the values of x, any shape, and the logarithms of the slopes there."""
        places, values, slopes = self._knots()
        x = x.float()
        k = torch.bucketize(x, places[1:-1])
        w, h = places[k + 1] - places[k], values[k + 1] - values[k]
        s, d0, d1 = h / w, slopes[k], slopes[k + 1]
        t = ((x - places[k]) / w).clamp(0, 1)
        u = t * (1 - t)
        denominator = s + (d0 + d1 - 2 * s) * u
        inside = values[k] + h * (s * t.square() + d0 * u) / denominator
        log_slope = 2 * s.log() + (d1 * t.square() + 2 * s * u + d0 * (1 - t).square()).log() - 2 * denominator.log()
        below, above = (x - places[0]).clamp(max=0), (x - places[-1]).clamp(min=0)
        return inside + below * slopes[0] + above * slopes[-1], log_slope

    def inverse(self, z: torch.Tensor) -> torch.Tensor:
        """Return the places at which the function has the values z, any shape."""
        places, values, slopes = self._knots()
        k = torch.bucketize(z, values[1:-1])
        w, h = places[k + 1] - places[k], values[k + 1] - values[k]
        s, d0, d1 = h / w, slopes[k], slopes[k + 1]
        rest = torch.minimum((z - values[k]).clamp(min=0), h)
        bend = d0 + d1 - 2 * s
        a, b, c = h * (s - d0) + rest * bend, h * d0 - rest * bend, -s * rest
        t = 2 * c / (-b - (b.square() - 4 * a * c).clamp(min=0).sqrt())
        below, above = (z - values[0]).clamp(max=0), (z - values[-1]).clamp(min=0)
        return places[k] + w * t + below / slopes[0] + above / slopes[-1]


class ActNorm(nn.Module):
    """Scale and shift each channel of [N, C, H, W] (Kingma and Dhariwal 2018 sec. 3.1).

    The first batch in training mode sets both, so that each channel then has mean 0 and variance 1.
    """

    is_set: torch.Tensor

    def __init__(self, channels: int):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.register_buffer("is_set", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (x + shift) exp(log_scale) and the map."""
        if self.training and not self.is_set.item():
            with torch.no_grad():
                self.shift.copy_(-x.mean((0, 2, 3)))
                self.log_scale.copy_(-x.std((0, 2, 3), correction=0).clamp(min=1e-3).log())
                self.is_set.fill_(1)
        scale = self.log_scale.float()[:, None, None]
        return (x + self.shift.float()[:, None, None]) * scale.exp(), scale.expand_as(x)

    def inverse(self, z: torch.Tensor) -> torch.Tensor:
        """Return x of z [N, C, H, W]."""
        return z * (-self.log_scale.float()[:, None, None]).exp() - self.shift.float()[:, None, None]


class Invertible1x1(nn.Module):
    """Multiply the channels of [N, C, H, W] by a matrix that is learned (Kingma and Dhariwal 2018 sec. 3.2).

    It starts as a random rotation. The log-determinant of the matrix is the same at every place.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels))
        nn.init.orthogonal_(self.weight)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return W x and the map, which is log |det W| / C everywhere (ibid. eq. 9)."""
        weight = self.weight.float()
        share = torch.linalg.slogdet(weight).logabsdet / len(weight)
        return F.conv2d(x, weight[:, :, None, None]), share.expand_as(x)

    def inverse(self, z: torch.Tensor) -> torch.Tensor:
        """Return x of z [N, C, H, W]."""
        return F.conv2d(z, torch.linalg.inv(self.weight.double()).float()[:, :, None, None])


def squeeze(x: torch.Tensor) -> torch.Tensor:
    """Return each 2 x 2 square of [N, C, H, W] as one place with four times the channels (Dinh et al. 2017 sec. 3.6)."""
    return F.pixel_unshuffle(x, 2)


def unsqueeze(x: torch.Tensor) -> torch.Tensor:
    """Return [N, 4 C, H, W] as [N, C, 2 H, 2 W]: the inverse of `squeeze`."""
    return F.pixel_shuffle(x, 2)


def log_normal_map(z: torch.Tensor) -> torch.Tensor:
    """Return log N(z; 0, 1) of each entry."""
    return -0.5 * (z.square() + math.log(2 * math.pi))


def known_labels(
    labels: torch.Tensor | None, number: int, num_classes: int, device: torch.device
) -> torch.Tensor | None:
    """Return labels int64 [number] in which "no class" is `num_classes`; None for a model without classes.

    Args:
        labels: int64 [number]; negative numbers, and None, mean "no class".
    """
    if not num_classes:
        return None
    if labels is None:
        return torch.full((number,), num_classes, device=device)
    return torch.where(labels < 0, num_classes, labels)


def guided_affine(
    given: tuple[torch.Tensor, torch.Tensor],
    without: tuple[torch.Tensor, torch.Tensor],
    guidance_scale: float,
    bound: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return shift and log-scale with guidance (Zhai et al. 2024 eq. 9, whose w is one less; Ho and Salimans 2022 eq. 6).

    Args:
        given, without: shift and log-scale given the class and without class.
        guidance_scale: w of without + w (given - without); 1 is `given`.
        bound: of the log-scale, which guidance does not leave.
    """
    shift, log_scale = (torch.lerp(u, c, guidance_scale) for u, c in zip(without, given, strict=True))
    return shift, log_scale.clamp(-bound, bound)
