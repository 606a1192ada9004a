"""The networks of auto-encoders with a discrete code: bits, one class of K, or a path through a tree.

    logits = E(x),   code ~ Bernoulli(sigmoid(logits)) or Categorical(softmax(logits)),   x_hat = D(code)

A class of K is a path of one step through a tree with K branches, so one encoder and one decoder serve all three kinds.

Papers:
    Jang, Gu, Poole: Categorical Reparameterization with Gumbel-Softmax, 2017, https://arxiv.org/abs/1611.01144
    Germain, Gregor, Murray, Larochelle: MADE: Masked Autoencoder for Distribution Estimation, 2015,
        https://arxiv.org/abs/1502.03509
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

from pipelines.blocks import convolutional_decoder, convolutional_encoder, fully_connected, smallest_side
from pipelines.tree import descend, inner_nodes, nodes_of

CODES = ("binary", "one_hot", "path")


class DiscreteEncoder(ModelMixin, ConfigMixin):
    """A network from images to the logits of their codes.

    Args:
        sample_size: S, side of the images.
        channels: C, 1 or 3.
        code: "binary", "one_hot" or "path".
        code_size: K, the number of bits, or of classes. For paths it is the number of branches at each node.
        depth: L, steps of a path; 1 for the other kinds.
        network: "convolutional"; "normalised": the same with batch normalisation and a hidden layer, for clustering;
            "fully_connected".
        block_out_channels, layers_per_block: of a convolutional network, see `convolutional_encoder`.
        hidden_sizes: of a fully connected network; its first number is the hidden layer of a normalised one.
        heads: alternative codings of the same features, of which `prepare` of the pipeline keeps the best; one-hot only.
        over_clusters: classes of one more head, which only helps the features; 0: none.

    Raises:
        ValueError: sizes that do not divide, an unknown code or network, or heads of another code than one-hot.
    """

    chosen_head: torch.Tensor

    @register_to_config
    def __init__(
        self,
        sample_size: int = 28,
        channels: int = 1,
        code: str = "binary",
        code_size: int = 64,
        depth: int = 1,
        network: str = "convolutional",
        block_out_channels: tuple[int, ...] = (48, 128),
        layers_per_block: int = 1,
        hidden_sizes: tuple[int, ...] = (512, 256),
        heads: int = 1,
        over_clusters: int = 0,
    ):
        super().__init__()
        if code not in CODES:
            raise ValueError(f"code: choose {', '.join(map(repr, CODES))}, not {code!r}.")
        if code != "path" and depth != 1:
            raise ValueError(f"depth: only a path has several steps, not the code {code!r}.")
        if code != "one_hot" and (heads != 1 or over_clusters):
            raise ValueError(f"heads, over_clusters: only for the code 'one_hot', not {code!r}.")
        if code_size < 2 or depth < 1 or heads < 1:
            raise ValueError(
                f"code_size, depth, heads: need at least 2, 1 and 1, not {code_size}, {depth} and {heads}."
            )
        self.outputs = code_size if code == "binary" else heads * code_size * inner_nodes(code_size, depth)
        outputs, widths = self.outputs + over_clusters, tuple(block_out_channels)
        if network == "convolutional":
            self.layers = convolutional_encoder(sample_size, channels, widths, layers_per_block, outputs)
        elif network == "normalised":
            self.layers = normalised_encoder(sample_size, channels, widths, layers_per_block, hidden_sizes[0], outputs)
        elif network == "fully_connected":
            sizes = (channels * sample_size**2, *hidden_sizes, outputs)
            self.layers = nn.Sequential(nn.Flatten(), *fully_connected(sizes, nn.SiLU))
        else:
            raise ValueError(f"network: choose 'convolutional', 'normalised' or 'fully_connected', not {network!r}.")
        self.register_buffer("chosen_head", torch.zeros((), dtype=torch.int64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of codes.

        Args:
            x: images [B, C, S, S] in [-1, 1].

        Returns:
            float32: [B, K] of bits; [B, inner nodes, K] of paths, for each node those of its children; [B, 1, K] of
            classes.
        """
        if self.config.code == "binary":
            return self.layers(x).float()
        logits = self.all_heads(x)[0]  # [B, heads, inner nodes, K]
        return logits[:, int(self.chosen_head)]

    @apply_forward_hook
    def all_heads(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of all heads, float32 [B, heads, inner nodes, K], and of the over-clustering one, [B, K']."""
        out = self.layers(x).float()
        return out[:, : self.outputs].reshape(len(x), self.config.heads, -1, self.config.code_size), out[
            :, self.outputs :
        ]

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Return the likeliest code of images: bits float32 [B, K], or paths int64 [B, L]; of a tree, step by step."""
        return self.likeliest(self(x))

    def likeliest(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the likeliest codes, as `encode`, of logits as `forward` gives them."""
        return (logits > 0).float() if self.config.code == "binary" else descend(logits, self.config.depth)


class DiscreteDecoder(ModelMixin, ConfigMixin):
    """A network from codes, exact or relaxed, to images.

    The vector of a node of a tree is the sum of a learned vector for each node on the way to it, as in residual quantisation.
    So each step adds detail to the picture of the node above, and every node has a picture.

    Args:
        sample_size: S, side of the images.
        channels: C, 1 or 3.
        code, code_size, depth: as in `DiscreteEncoder`.
        embedding_dim: d, of the nodes' vectors.
        network: "convolutional" or "fully_connected".
        block_out_channels, layers_per_block: of a convolutional network, in the encoder's order.
        hidden_sizes: of a fully connected network, in the encoder's order.

    Raises:
        ValueError: sizes that do not divide, or an unknown network.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 28,
        channels: int = 1,
        code: str = "binary",
        code_size: int = 64,
        depth: int = 1,
        embedding_dim: int = 64,
        network: str = "convolutional",
        block_out_channels: tuple[int, ...] = (48, 128),
        layers_per_block: int = 1,
        hidden_sizes: tuple[int, ...] = (512, 256),
    ):
        super().__init__()
        inputs, widths = code_size, tuple(block_out_channels)
        self.nodes = nn.ParameterList()
        self.squash = nn.Sigmoid()
        if code != "binary":
            inputs = embedding_dim
            for level in range(depth + 1):
                self.nodes.append(nn.Parameter(torch.randn(code_size**level, embedding_dim) / (level + 1)))
        if network == "convolutional":
            self.layers = convolutional_decoder(sample_size, channels, widths, layers_per_block, inputs)
        elif network == "fully_connected":
            sizes = (inputs, *reversed(hidden_sizes), channels * sample_size**2)
            shape = (channels, sample_size, sample_size)
            self.layers = nn.Sequential(*fully_connected(sizes, nn.SiLU), nn.Unflatten(1, shape))
        else:
            raise ValueError(f"network: choose 'convolutional' or 'fully_connected', not {network!r}.")

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        """Return the logits of pixels in [0, 1].

        Args:
            z: vectors of nodes [B, d]; or bits [B, K], 0, 1 or the probability of 1.

        Returns:
            float32 [B, C, S, S].
        """
        z = 2 * z - 1 if self.config.code == "binary" else z
        return self.layers(z.to(next(self.layers.parameters()).dtype)).float()

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Return images float32 [B, C, S, S] in [-1, 1], of what `forward` takes."""
        return self.squash(self(z)) * 2 - 1

    def vectors(self, weights: list[torch.Tensor]) -> torch.Tensor:
        """Return the vectors of nodes on relaxed paths.

        Args:
            weights: those of the nodes of each level, [B, K^l], as `node_weights` gives them.

        Returns:
            float32 [B, levels, d], the root first.
        """
        steps = [w.float() @ table.float() for w, table in zip(weights, self.nodes, strict=False)]
        return torch.stack(steps, dim=1).cumsum(1)

    def vectors_of(self, path: torch.Tensor) -> torch.Tensor:
        """Return the vectors of the nodes on exact paths, whole or not: int64 [B, l] -> float32 [B, l + 1, d]."""
        nodes = nodes_of(path, self.config.code_size).T
        steps = [table.float()[row] for row, table in zip(nodes, self.nodes, strict=False)]
        return torch.stack(steps, dim=1).cumsum(1)


class BitPrior(ModelMixin, ConfigMixin):
    """A masked network that gives the probability of each bit from those before it, and a class if one is given.

        p(b | y) = prod_k p(b_k | b_1 ... b_(k-1), y)                   Germain et al. 2015 eq. 3, 8 - 10

    Args:
        num_bits: K, at least 2.
        width: units of each hidden layer.
        num_layers: hidden layers, at least 1.
        num_classes: 0: without classes.
    """

    @register_to_config
    def __init__(self, num_bits: int = 64, width: int = 512, num_layers: int = 2, num_classes: int = 0):
        super().__init__()
        sizes = (num_bits, *([width] * num_layers), num_bits)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))
        self.activation = nn.SiLU()
        self.classes = nn.Embedding(num_classes + 1, width)  # the last row: none is given

    def masks(self, device: torch.device) -> list[torch.Tensor]:
        """Return which weights of each layer are used, bool [outputs, inputs] (Germain et al. 2015 eq. 8, 9).

        Bit k has the number k and a hidden unit one of 1 ... K - 1. A unit sees those with numbers up to its own, and an
        output those with smaller ones.
        """
        number = self.config.num_bits
        bits = torch.arange(1, number + 1, device=device)
        hidden = torch.arange(self.config.width, device=device) % (number - 1) + 1
        numbers = [bits, *([hidden] * self.config.num_layers)]
        masks = [after[:, None] >= before for before, after in itertools.pairwise(numbers)]
        return [*masks, bits[:, None] > hidden]

    def forward(self, bits: torch.Tensor, class_labels: torch.Tensor | None = None) -> torch.Tensor:
        """Return the logits of each bit given those before it.

        Args:
            bits: [B, K], 0 or 1.
            class_labels: int64 [B], -1 where no class is given; None: nowhere.

        Returns:
            float32 [B, K].
        """
        none = self.config.num_classes
        labels = torch.full((len(bits),), -1, device=bits.device) if class_labels is None else class_labels
        given = self.classes(torch.where(labels < 0, none, labels))  # [B, width]
        h = 2 * bits.to(given.dtype) - 1
        masks = self.masks(bits.device)
        for i, (layer, mask) in enumerate(zip(self.layers, masks, strict=True)):
            h = F.linear(h, layer.get_parameter("weight") * mask, layer.get_parameter("bias"))
            h = self.activation(h + given) if i < len(masks) - 1 else h
        return h.float()

    def log_probability(self, bits: torch.Tensor, class_labels: torch.Tensor | None = None) -> torch.Tensor:
        """Return log p(b) or log p(b | y) in nats: [B, K] -> float32 [B]."""
        bits = bits.float()
        return -F.binary_cross_entropy_with_logits(self(bits, class_labels), bits, reduction="none").sum(1)

    def draw(
        self,
        uniform: torch.Tensor,
        class_labels: torch.Tensor | None,
        temperature: float,
        on_step: Callable[[int, torch.Tensor], None],
    ) -> torch.Tensor:
        """Draw bits one after another.

        Args:
            uniform: numbers [B, K] in (0, 1), one for each bit.
            class_labels: int64 [B] or None.
            temperature: divides the logits; 0 takes the likelier value of each bit.
            on_step: called as (k, bits [B, K], of which the first k + 1 are drawn and the others 0).

        Returns:
            float32 [B, K].
        """
        bits = torch.zeros(uniform.shape, dtype=torch.float32, device=uniform.device)
        for k in range(bits.shape[1]):
            logits = self(bits, class_labels)[:, k].double()
            chance = (logits / temperature).sigmoid() if temperature else (logits > 0).double()
            bits[:, k] = (uniform[:, k] < chance).float()
            on_step(k, bits)
        return bits


class NormalisedBlock(nn.Module):
    """Residual block with batch normalisation (He et al. 2016, https://arxiv.org/abs/1512.03385).

    Args:
        channels: of input and output.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = F.relu(self.norm1(self.conv1(x)))  # [B, C, H, W]
        return F.relu(x + self.norm2(self.conv2(h)))  # [B, C, H, W]


def normalised_encoder(
    sample_size: int, channels: int, widths: tuple[int, ...], num_blocks: int, hidden: int, outputs: int
) -> nn.Sequential:
    """Return a network from images [B, C, S, S] to vectors [B, outputs], with batch normalisation after each layer.

    Raises:
        ValueError: the image does not divide into that many levels.
    """
    size = smallest_side(sample_size, len(widths))
    layers: list[nn.Module] = []
    for previous, width in itertools.pairwise((channels, *widths)):
        layers += [nn.Conv2d(previous, width, 4, stride=2, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
        layers += [NormalisedBlock(width) for _ in range(num_blocks)]
    layers += [nn.Flatten(), nn.Linear(widths[-1] * size**2, hidden), nn.BatchNorm1d(hidden), nn.ReLU()]
    last = nn.Linear(hidden, outputs)
    nn.init.normal_(last.weight, std=0.05)
    return nn.Sequential(*layers, last)
