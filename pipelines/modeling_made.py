"""MADE and NADE: networks that give each pixel a probability, given the pixels that come before it in an order.

    p(x) = prod_d p(x_{o_d} | x_{o_1}, ..., x_{o_(d-1)})                     Germain et al. 2015 eq. 2

In MADE masks cut the connections of a perceptron. With the rank r_i of pixel i in the order, 1 ... D, and the degree m_k of hidden
unit k, 0 ... D - 1,

    unit k sees pixel i   if r_i <= m_k           unit k of the next layer sees unit j   if m_j <= m_k           (eq. 12, 13)
    output d sees unit k  if m_k < r_d                                                                         (eq. 14)

A change of the order changes the masks only, so that one network can learn several orders, and knows them apart by biases of their
own. Here they are the four scans of a picture, so that each half can be completed given the other one. NADE is the perceptron of one hidden layer
with H units of every degree, in which the units of each degree have the same weights (Uria et al. 2016 sec. 2).

Papers:
    Germain, Gregor, Murray, Larochelle: MADE: Masked Autoencoder for Distribution Estimation, 2015,
        https://arxiv.org/abs/1502.03509
    Uria, Côté, Gregor, Murray, Larochelle: Neural Autoregressive Distribution Estimation, 2016,
        https://arxiv.org/abs/1605.02226
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from pipelines.pixel_orders import SCANS, best_scan, ranks_of, scan


def start(layers: Iterable[nn.Linear], head: nn.Linear, shifts: nn.Embedding) -> None:
    """Give fresh weights to hidden layers, to the output (small) and to the shifts (0)."""
    for layer in layers:
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)
    nn.init.normal_(head.weight, std=0.01)
    nn.init.zeros_(head.bias)
    nn.init.zeros_(shifts.weight)


class MADEModel(ModelMixin, ConfigMixin):
    """A perceptron of D pixels, with masks for any order.

    Unit k of H in a hidden layer has the degree floor(k D / H) under every order. So it always sees the same number of pixels, and
    the order says which ones. A pixel that it does not see is 0 to it. A seen one of two levels is -1 or 1.

    Args:
        sample_size, channels: S and C, with D = C S S.
        num_params: P, numbers that describe the distribution of a pixel.
        hidden_sizes: units of each hidden layer.
        num_classes: K; 0: without classes. A class shifts the units of the first layer, and so does a scan.
        natural_share: part of the training's batches in the natural order; the others have the three other scans in equal parts.
    """

    layers: Any  # nn.ModuleList of nn.Linear

    @register_to_config
    def __init__(
        self,
        sample_size: int = 28,
        channels: int = 1,
        num_params: int = 1,
        hidden_sizes: Sequence[int] = (500,),
        num_classes: int = 0,
        natural_share: float = 0.5,
    ):
        super().__init__()
        self.num_pixels = channels * sample_size**2
        sizes = [self.num_pixels, *hidden_sizes]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.head = nn.Linear(sizes[-1], self.num_pixels * num_params)
        self.shifts = nn.Embedding(
            num_classes + 1 + len(SCANS), sizes[1]
        )  # of the classes, of no class, and of the scans
        start(self.layers, self.head, self.shifts)

    def degrees(self, layer: int) -> torch.Tensor:
        """Return the degrees of the units of a hidden layer in rising order, int64 [H] of 0 ... D - 1."""
        size = self.config.hidden_sizes[layer]
        return torch.arange(size, device=self.device) * self.num_pixels // size

    def masks(self, order: torch.Tensor) -> list[torch.Tensor]:
        """Return which weights each layer keeps under an order: bool, one for each layer and one for the output [D, H]."""
        ranks = ranks_of(order)
        seen, masks = ranks, []
        for i in range(len(self.layers)):
            degrees = self.degrees(i)
            masks.append(seen <= degrees[:, None])
            seen = degrees
        return [*masks, seen < ranks[:, None]]

    def shift(self, labels: torch.Tensor | None, order: torch.Tensor) -> torch.Tensor:
        """Return what classes, int64 [N] or None, and the order add to the first layer: [N, H] or [1, H]."""
        none = self.config.num_classes
        labels = torch.full((1,), none, device=order.device) if labels is None else labels
        shape = (self.config.sample_size, self.config.channels)
        own = [i for i, name in enumerate(SCANS) if torch.equal(order, scan(name, *shape, order.device))]
        return self.shifts(labels) + (self.shifts.weight[none + 1 + own[0]] if own else 0)

    def draw_order(self, uniform: torch.Tensor) -> torch.Tensor:
        """Return an order for a batch of the training, int64 [D].

        Args:
            uniform: a number in [0, 1), which decides.
        """
        share, number = self.config.natural_share, len(SCANS) - 1
        others = (uniform.item() - share) / max(1 - share, 1e-9) * number  # below 0: the natural order
        name = SCANS[0] if others < 0 else SCANS[1 + min(int(others), number - 1)]
        return scan(name, self.config.sample_size, self.config.channels, uniform.device)

    def order_for(self, known: torch.Tensor) -> torch.Tensor:
        """Return the scan that completes a picture best, int64 [D], with the fewest known pixels, bool [D], after missing ones."""
        return best_scan(known, self.config.sample_size, self.config.channels)

    def orders(self, number: int) -> list[torch.Tensor]:
        """Return the first of the orders that were learnt, at most `number` of them."""
        shape = (self.config.sample_size, self.config.channels)
        return [scan(name, *shape, self.device) for name in SCANS[:number]]

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None, order: torch.Tensor) -> torch.Tensor:
        """Return the parameters of each pixel's distribution, given the pixels before it.

        Args:
            x: [N, D] in [-1, 1].
            labels: int64 [N], K for no class; None: no class.
            order: int64 [D].

        Returns:
            [N, D, P].
        """
        *masks, last = self.masks(order)
        h = x
        for i, (layer, mask) in enumerate(zip(self.layers, masks, strict=True)):
            a = F.linear(h, layer.weight * mask, layer.bias)
            h = F.relu(a + self.shift(labels, order) if i == 0 else a)
        last = last.repeat_interleave(self.config.num_params, 0)
        return F.linear(h, self.head.weight * last, self.head.bias).unflatten(1, (self.num_pixels, -1))

    def conditionals(self, number: int, labels: torch.Tensor | None, order: torch.Tensor) -> MADEConditionals:
        """Return the distributions of the pixels one after the other, as pictures [N, D] become known.

        Args:
            number: N.
            labels, order: as in `forward`.
        """
        return MADEConditionals(self, number, labels, order)


class MADEConditionals:
    """The distribution of each pixel in turn, at the price of one pass through the network for all of them.

    What is not known yet is 0: pixels, and units whose degree is not reached. So what a mask would cut adds nothing, and each unit is
    computed once, when all that it sees is known.

    Args:
        network: `MADEModel`.
        number: N.
        labels, order: as in its `forward`.
    """

    def __init__(self, network: MADEModel, number: int, labels: torch.Tensor | None, order: torch.Tensor):
        self.network, self.order = network, order.tolist()
        self.shift = network.shift(labels, order)
        sizes = [network.num_pixels, *network.config.hidden_sizes]
        self.states = [self.shift.new_zeros(number, size) for size in sizes]  # pixels, units of each layer
        steps = torch.arange(network.num_pixels + 1, device=order.device)
        starts = [torch.searchsorted(network.degrees(i), steps) for i in range(len(network.layers))]
        self.starts = [first.tolist() for first in starts]  # of the units of each degree

    def params(self, step: int) -> torch.Tensor:
        """Return the parameters of the pixel of a step, given those that are known, [N, P]; to be called step by step."""
        for i, (layer, starts) in enumerate(zip(self.network.layers, self.starts, strict=True)):
            units = slice(starts[step], starts[step + 1])
            if units.start == units.stop:
                continue
            a = F.linear(self.states[i], layer.weight[units], layer.bias[units])
            self.states[i + 1][:, units] = F.relu(a + self.shift[:, units] if i == 0 else a)
        head, number = self.network.head, self.network.config.num_params
        rows = slice(self.order[step] * number, (self.order[step] + 1) * number)
        return F.linear(self.states[-1], head.weight[rows], head.bias[rows])

    def reveal(self, step: int, x: torch.Tensor) -> None:
        """Take the values of the pixel of a step, [N]."""
        self.states[0][:, self.order[step]] = x

    def select(self, rows: torch.Tensor) -> None:
        """Go on with these of the pictures, int64 [M]."""
        self.states = [state[rows] for state in self.states]
        self.shift = self.shift if len(self.shift) == 1 else self.shift[rows]


class NADEModel(ModelMixin, ConfigMixin):
    """NADE: the MADE with H units of each degree, all degrees with the same weights, and another output for each pixel.

        h_d = f(c + sum_(i before d) W_i x_i),     parameters of pixel d = b_d + V_d h_d      Uria et al. 2016 eq. 2, 3

    From one pixel to the next a single term is added to the sum.

    Args:
        sample_size, channels, num_params, num_classes, natural_share: as of `MADEModel`.
        hidden_size: H.
    """

    draw_order, order_for = MADEModel.draw_order, MADEModel.order_for
    orders, shift = MADEModel.orders, MADEModel.shift

    @register_to_config
    def __init__(
        self,
        sample_size: int = 28,
        channels: int = 1,
        num_params: int = 1,
        hidden_size: int = 500,
        num_classes: int = 0,
        natural_share: float = 0.5,
    ):
        super().__init__()
        self.num_pixels = channels * sample_size**2
        self.layer = nn.Linear(self.num_pixels, hidden_size)
        self.head = nn.Linear(hidden_size, self.num_pixels * num_params)
        self.shifts = nn.Embedding(num_classes + 1 + len(SCANS), hidden_size)  # as of `MADEModel`
        start([self.layer], self.head, self.shifts)

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None, order: torch.Tensor) -> torch.Tensor:
        """Return the parameters of each pixel's distribution, given the pixels before it: see `MADEModel.forward`."""
        terms = x[:, order, None] * self.layer.weight.T[order]  # [N, D, H]
        before = F.pad(terms.cumsum(1)[:, :-1], (0, 0, 1, 0))
        h = F.relu(before + (self.layer.bias + self.shift(labels, order))[:, None])[:, ranks_of(order) - 1]
        head = self.head.weight.unflatten(0, (self.num_pixels, -1))  # [D, P, H]
        return torch.einsum("ndh,dph->ndp", h, head) + self.head.bias.unflatten(0, (self.num_pixels, -1))

    def conditionals(self, number: int, labels: torch.Tensor | None, order: torch.Tensor) -> NADEConditionals:
        """Return the distributions of the pixels one after the other, as pictures [N, D] become known."""
        return NADEConditionals(self, number, labels, order)


class NADEConditionals:
    """The distribution of each pixel of a NADE in turn; see `MADEConditionals`."""

    def __init__(self, network: NADEModel, number: int, labels: torch.Tensor | None, order: torch.Tensor):
        self.network, self.order = network, order.tolist()
        self.sum = (network.layer.bias + network.shift(labels, order)).expand(number, -1)

    def params(self, step: int) -> torch.Tensor:
        """Return the parameters of the pixel of a step, given those that are known, [N, P]."""
        head, number = self.network.head, self.network.config.num_params
        rows = slice(self.order[step] * number, (self.order[step] + 1) * number)
        return F.linear(F.relu(self.sum), head.weight[rows], head.bias[rows])

    def reveal(self, step: int, x: torch.Tensor) -> None:
        """Take the values of the pixel of a step, [N]."""
        self.sum = self.sum + x[:, None] * self.network.layer.weight[:, self.order[step]]

    def select(self, rows: torch.Tensor) -> None:
        """Go on with these of the pictures, int64 [M]."""
        self.sum = self.sum[rows]
