"""A gated PixelCNN: convolutions that see the pixels above and to the left, and none that come later.

The picture is cut into patches of p x p pixels, which come row by row. At row r and column c of the patches two stacks of features
are

    v(r, c)    vertical:   of the rows above r, in a triangle that grows with the layers
    h(r, c)    horizontal: of the patches to the left in row r, and of v(r, c)

so that together they see all earlier patches within reach, with no blind spot (van den Oord et al. 2016b sec. 2.2). A layer is

    a = W_v * v + u_v(y)                   kernel 2 x 3: rows r - d and r, columns c - d, c and c + d, with the dilation d
    b = W_h * h + W_vh gate(a) + u_h(y)    kernel 1 x 2: columns c - d and c
    v <- v + gate(a),   h <- h + W_o gate(b),     gate(a_1, a_2) = tanh(a_1) sigmoid(a_2)      (eq. 4, with the class y)

The pixels of a patch come row by row too, each given h(r, c) and those before it. With p = 1 this is the network of the paper; with
p = 2 the convolutions run on a quarter of the places.

Papers:
    van den Oord et al.: Conditional Image Generation with PixelCNN Decoders, 2016b, https://arxiv.org/abs/1606.05328
    Ramachandran et al.: Fast Generation for Convolutional Autoregressive Models, 2017, https://arxiv.org/abs/1704.06001
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

ABOVE = 3  # rows of patches above that the first layer sees
BESIDE = 3  # columns of patches to either side


def gate(a: torch.Tensor, dim: int = 1) -> torch.Tensor:
    """Return tanh(a_1) sigmoid(a_2) of the two halves of a along an axis."""
    first, second = a.chunk(2, dim)
    return first.tanh() * second.sigmoid()


class GatedLayer(nn.Module):
    """A layer of both stacks, of C features each.

    Args:
        width: C.
        dilation: d.
    """

    def __init__(self, width: int, dilation: int):
        super().__init__()
        self.dilation = dilation
        self.vertical = nn.Conv2d(width, 2 * width, (2, 3), dilation=dilation)
        self.horizontal = nn.Conv2d(width, 2 * width, (1, 2), dilation=dilation)
        self.down = nn.Conv2d(width, 2 * width, 1, bias=False)
        self.out = nn.Conv2d(width, width, 1)
        nn.init.normal_(self.out.weight, std=0.3 * width**-0.5)

    def forward(
        self, v: torch.Tensor, h: torch.Tensor, shift_v: torch.Tensor, shift_h: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return both stacks after the layer: features [N, C, s, s], shifts [N, 2 C, 1, 1]."""
        d = self.dilation
        g = gate(self.vertical(F.pad(v, (d, d, d, 0))) + shift_v)
        b = self.horizontal(F.pad(h, (d, 0))) + self.down(g) + shift_h
        return v + g, h + self.out(gate(b))


class PatchHead(nn.Module):
    """The distributions of the pixels of a patch, one after the other, given the features of the place.

    Pixel j has a hidden layer of its own, which sees the features and the pixels i < j of the patch.

    Args:
        width: C, features.
        hidden: units for each pixel.
        pixels: p^2.
        num_params: P.
    """

    def __init__(self, width: int, hidden: int, pixels: int, num_params: int):
        super().__init__()
        self.pixels = pixels
        self.features = nn.Conv2d(width, pixels * hidden, 1)
        self.before = nn.Conv2d(pixels, pixels * hidden, 1, bias=False)
        self.params = nn.Conv2d(pixels * hidden, pixels * num_params, 1, groups=pixels)

    def mask(self) -> torch.Tensor:
        """Return which weights of `before` stay: 1 where a unit of pixel j looks at a pixel i < j, [p^2 H, p^2, 1, 1]."""
        earlier = torch.ones(self.pixels, self.pixels, device=self.before.weight.device).tril(-1)
        return earlier.repeat_interleave(self.before.out_channels // self.pixels, 0)[:, :, None, None]

    def forward(self, h: torch.Tensor, patches: torch.Tensor) -> torch.Tensor:
        """Return [N, p^2 P, s, s] of features [N, C, s, s] and patches [N, p^2, s, s]."""
        hidden = self.features(F.elu(h)) + F.conv2d(patches, self.before.weight * self.mask())
        return self.params(F.elu(hidden))


class PixelCNNModel(ModelMixin, ConfigMixin):
    """A gated PixelCNN of grey pictures.

    Args:
        sample_size: S, a multiple of p.
        num_params: P, numbers that describe the distribution of a pixel.
        width: C, features of each stack.
        dilations: d of each layer.
        head_width: hidden units for each pixel of a patch.
        patch_size: p.
        num_classes: K; 0: without classes.

    Raises:
        ValueError: a size that p does not divide.
    """

    layers: Any  # nn.ModuleList of GatedLayer

    @register_to_config
    def __init__(
        self,
        sample_size: int = 28,
        num_params: int = 1,
        width: int = 64,
        dilations: Sequence[int] = (1, 2, 1, 2, 1, 2),
        head_width: int = 64,
        patch_size: int = 2,
        num_classes: int = 0,
    ):
        super().__init__()
        if sample_size % patch_size:
            raise ValueError(f"patch_size: {sample_size} pixels cannot be cut into patches of {patch_size}.")
        pixels, side = patch_size**2, sample_size // patch_size
        self.num_pixels = sample_size**2
        self.above = nn.Conv2d(pixels + 1, width, (ABOVE, 2 * BESIDE + 1))
        self.left = nn.Conv2d(pixels + 1, width, (1, BESIDE))
        self.place = nn.Parameter(torch.zeros(2, width, side, side))
        self.layers = nn.ModuleList(GatedLayer(width, dilation) for dilation in dilations)
        self.shifts = nn.Embedding(num_classes + 1, len(dilations) * 4 * width)  # the last one: no class
        self.head = PatchHead(width, head_width, pixels, num_params)
        nn.init.zeros_(self.shifts.weight)

    def class_shifts(self, labels: torch.Tensor | None) -> torch.Tensor:
        """Return what classes, int64 [N] or None, add to the layers: [N or 1, layers, 2, 2 C, 1, 1]."""
        if labels is None:
            labels = torch.full((1,), self.config.num_classes, device=self.device)
        return self.shifts(labels).unflatten(1, (len(self.layers), 2, -1, 1, 1))

    def patches(self, x: torch.Tensor) -> torch.Tensor:
        """Return pixels [N, D] as patches [N, p^2, s, s]."""
        return F.pixel_unshuffle(x.unflatten(1, (1, self.config.sample_size, -1)), self.config.patch_size)

    @property
    def order(self) -> torch.Tensor:
        """The order of the pixels, int64 [D]: patch by patch, row by row, and so within a patch."""
        numbers = torch.arange(self.num_pixels, device=self.device)
        return self.patches(numbers[None].float())[0].flatten(1).T.flatten().long()

    def draw_order(self, uniform: torch.Tensor) -> torch.Tensor:
        """Return the order of the pixels, which is always the same."""
        return self.order

    def order_for(self, known: torch.Tensor) -> torch.Tensor:
        """Return the order in which a picture is completed, whatever is known: always the same."""
        return self.order

    def orders(self, number: int) -> list[torch.Tensor]:
        """Return the orders that were learnt: the only one."""
        return [self.order]

    def forward(
        self, x: torch.Tensor, labels: torch.Tensor | None = None, order: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return the parameters of each pixel's distribution, given the pixels before it.

        Args:
            x: [N, D] in [-1, 1].
            labels: int64 [N], K for no class; None: no class.
            order: not used.

        Returns:
            [N, D, P].
        """
        patches = self.patches(x)
        x = torch.cat([patches, torch.ones_like(patches[:, :1])], 1)  # the ones tell a black pixel from the border
        v = self.above(F.pad(x, (BESIDE, BESIDE, ABOVE, 0))[:, :, :-1]) + self.place[0]
        h = self.left(F.pad(x, (BESIDE, 0))[..., :-1]) + self.place[1]
        shifts = self.class_shifts(labels)
        for i, layer in enumerate(self.layers):
            v, h = layer(v, h, shifts[:, i, 0], shifts[:, i, 1])
        return self.by_pixel(self.head(h, patches))

    def conditionals(
        self, number: int, labels: torch.Tensor | None = None, order: torch.Tensor | None = None
    ) -> PixelCNNConditionals:
        """Return the distributions of the pixels one after the other, as pictures [N, D] become known.

        Args:
            number: N.
            labels, order: as in `forward`.
        """
        return PixelCNNConditionals(self, number, labels)

    def by_pixel(self, params: torch.Tensor) -> torch.Tensor:
        """Return the parameters of the places, [N, p^2 P, s, s], as those of the pixels, [N, D, P]."""
        size = self.config.patch_size
        params = params.unflatten(1, (size, size, -1))  # [N, p, p, P, s, s]
        return params.permute(0, 4, 1, 5, 2, 3).flatten(1, 4)  # [N, s, p, s, p, P]


class PixelCNNConditionals:
    """The distribution of each pixel in turn, with all features of earlier places kept (Ramachandran et al. 2017).

    The vertical stack is computed for a whole row, once the row above is known. The horizontal one is computed place by place.
    Each feature is computed once, so that all pixels together cost about as much as one pass of the network.

    Args:
        network: `PixelCNNModel`.
        number: N.
        labels: int64 [N] or None.
    """

    def __init__(self, network: PixelCNNModel, number: int, labels: torch.Tensor | None):
        self.network = network
        self.pixels, self.side = network.head.pixels, network.place.shape[-1]
        width, side = network.config.width, self.side
        self.shifts = network.class_shifts(labels)
        zeros = self.shifts.new_zeros
        self.x = zeros(number, self.pixels + 1, ABOVE + side, side + 2 * BESIDE)  # with the border
        self.x[:, -1, ABOVE:, BESIDE : BESIDE + side] = 1
        spread = [layer.dilation for layer in network.layers]
        self.v = [zeros(number, width, side + d, side + 2 * d) for d in spread]  # what each layer sees, with the border
        self.h = [zeros(number, side + d, width) for d in spread]  # in the row at hand
        self.from_v = [zeros(number, side, 2 * width) for _ in spread]  # what each layer's h gets from v in this row
        self.features = zeros(number, 1)
        self.horizontal = [layer.horizontal.weight[:, :, 0].permute(0, 2, 1).flatten(1) for layer in network.layers]
        self.out = [layer.out.weight[:, :, 0, 0] for layer in network.layers]
        self.left = network.left.weight.flatten(1)
        self.of_features = network.head.features.weight[:, :, 0, 0]
        self.before = (network.head.before.weight * network.head.mask())[:, :, 0, 0]

    def params(self, step: int) -> torch.Tensor:
        """Return the parameters of the pixel of a step, given those that are known, [N, P]; to be called step by step."""
        place, pixel = divmod(step, self.pixels)
        row, column = divmod(place, self.side)
        if pixel == 0:
            if column == 0:
                self._start_row(row)
            self._look(row, column)
        head: Any = self.network.head
        size, number = head.features.out_channels // self.pixels, head.params.out_channels // self.pixels
        units, rows = slice(pixel * size, (pixel + 1) * size), slice(pixel * number, (pixel + 1) * number)
        patch = self.x[:, :pixel, ABOVE + row, BESIDE + column]
        hidden = self.features[:, units] + F.linear(patch, self.before[units, :pixel])
        return F.linear(F.elu(hidden), head.params.weight[rows, :, 0, 0], head.params.bias[rows])

    def _start_row(self, row: int) -> None:
        """Compute the vertical stack of a row, all rows above being known."""
        network, side = self.network, self.side
        v = network.above(self.x[:, :, row : row + ABOVE]) + network.place[0, :, row : row + 1]  # [N, C, 1, s]
        for i, layer in enumerate(network.layers):
            d = layer.dilation
            self.v[i][:, :, row + d, d : d + side] = v[:, :, 0]
            seen = self.v[i][:, :, row : row + d + 1 : d]  # rows row - d and row
            a = F.conv2d(seen, layer.vertical.weight, layer.vertical.bias, dilation=(1, d))
            g = gate(a + self.shifts[:, i, 0])
            b = layer.down(g) + self.shifts[:, i, 1] + layer.horizontal.bias[:, None, None]
            self.from_v[i] = b[:, :, 0].transpose(1, 2)
            v = v + g
        for h in self.h:
            h.zero_()

    def _look(self, row: int, column: int) -> None:
        """Compute the horizontal stack and the head's features of a place, all before it being known."""
        network = self.network
        left = self.x[:, :, ABOVE + row, column : column + BESIDE].flatten(1)
        h = F.linear(left, self.left, network.left.bias) + network.place[1, :, row, column]
        for i, layer in enumerate(network.layers):
            d = layer.dilation
            self.h[i][:, column + d] = h
            seen = self.h[i][:, column : column + d + 1 : d].flatten(1)  # columns column - d and column
            b = F.linear(seen, self.horizontal[i]) + self.from_v[i][:, column]
            h = h + F.linear(gate(b), self.out[i], layer.out.bias)
        self.features = F.linear(F.elu(h), self.of_features, network.head.features.bias)

    def reveal(self, step: int, x: torch.Tensor) -> None:
        """Take the values of the pixel of a step, [N]."""
        place, pixel = divmod(step, self.pixels)
        row, column = divmod(place, self.side)
        self.x[:, pixel, ABOVE + row, BESIDE + column] = x

    def select(self, rows: torch.Tensor) -> None:
        """Go on with these of the pictures, int64 [M]."""
        self.x, self.features = self.x[rows], self.features[rows]
        self.shifts = self.shifts if len(self.shifts) == 1 else self.shifts[rows]
        for kept in (self.v, self.h, self.from_v):
            kept[:] = [state[rows] for state in kept]
