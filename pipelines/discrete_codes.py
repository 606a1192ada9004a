"""What a pipeline with a discrete code does with it: encode, decode, draw what its parts look like, and measure its probability.

Three kinds share this: bits, classes, and paths through a tree. A class is a path of one step.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import PIL.Image
import torch

from pipelines.codes import CodeKind
from pipelines.images import ImagesOutput, task
from pipelines.modeling_discrete_ae import BitPrior, DiscreteDecoder, DiscreteEncoder
from pipelines.tree import choice_log_probabilities, path_log_probability, path_to


@dataclass
class DiscreteOutput(ImagesOutput):
    """Images, and their codes.

    Args:
        codes: int64 [N, h, w]: bits as a map, a class as [N, 1, 1], a path as [N, 1, L].
        coarse_to_fine: uint8 [N, L + 1, H, W, C], the pictures of the nodes on each path, the root first; None for other codes.
    """

    codes: torch.Tensor
    coarse_to_fine: torch.Tensor | None = None


class DiscreteCodesMixin:
    """The codes of a pipeline with the components `encoder`, `decoder` and, for bits, `prior`."""

    encoder: DiscreteEncoder
    decoder: DiscreteDecoder
    prior: BitPrior
    config: Any
    _execution_device: torch.device
    _to_output: Callable[..., Any]

    @property
    def code_kind(self) -> CodeKind:
        """ "binary", "one_hot" or "path"."""
        return self.config.code

    @property
    def code_shape(self) -> tuple[int, ...]:
        """(K,) for bits, () for classes, (L,) for paths."""
        return {"binary": (self.branching,), "one_hot": (), "path": (self.depth,)}[self.config.code]

    @property
    def code_values(self) -> int:
        """2 for bits, K for classes and for the choices of a path."""
        return 2 if self.config.code == "binary" else self.branching

    @property
    def branching(self) -> int:
        """K: classes, or branches at each node."""
        return self.encoder.config.code_size

    @property
    def depth(self) -> int:
        """L: steps of a path; 1 for classes."""
        return self.encoder.config.depth

    def _decoded(self, code: torch.Tensor) -> torch.Tensor:
        """Decode bits [N, K], or paths [N, l], as images float32 [N, C, S, S] in [-1, 1]."""
        return self.decoder.decode(code if self.config.code == "binary" else self.decoder.vectors_of(code)[:, -1])

    @task
    def encode(self, x):
        """Encode images: bits float32 [N, K], classes int64 [N], or paths int64 [N, L].

        Args:
            generator: not used: the likeliest code is taken.
            class_labels: not used: the encoder knows no class.
        """
        code = self.encoder.encode(x)
        return code[:, 0] if self.config.code == "one_hot" else code

    @task
    def decode(self, codes):
        """Decode codes as images. Bits may also be probabilities.

        Args:
            class_labels: not used: the decoder knows no class.
        """
        return self._decoded(codes[:, None] if self.config.code == "one_hot" else codes)

    @torch.no_grad()
    def node_images(self) -> list[list[PIL.Image.Image]]:
        """Return the pictures of a tree's nodes, or of the classes, level by level, the root alone first.

        Node n of a level has the children n K ... n K + K - 1.

        Raises:
            ValueError: the code is of bits, which have no picture one by one.
        """
        if self.config.code == "binary":
            raise ValueError("node_images: bits have no picture one by one; decode whole codes.")
        levels = []
        for level in range(self.depth + 1):
            nodes = torch.arange(self.branching**level, device=self._execution_device)
            levels.append(self._to_output(self._decoded(path_to(nodes, self.branching, level)), "pil"))
        return levels

    def _surprise(self, code: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Return -log p(code) in nats under the prior: [N, K] or [N, L] -> float32 [N]."""
        if self.config.code == "binary":
            return -self.prior.log_probability(code, labels)
        return -path_log_probability(self._choice_log_p().to(code.device), code).float()

    def _choice_log_p(self) -> torch.Tensor:
        """Return log p(child | node) of the training images, float64 [inner nodes, K]; uniform before `fit`."""
        counts = self.config.code_counts
        return choice_log_probabilities(counts[:-1] if counts else [0] * self.branching**self.depth, self.branching)

    def _with_codes(self, code: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Decode codes as images [N, C, S, S], with the other fields of `DiscreteOutput`."""
        if self.config.code == "binary":
            size = code.shape[1]
            rows = max(k for k in range(1, int(size**0.5) + 1) if size % k == 0)
            return self._decoded(code), {"codes": code.long().reshape(-1, rows, size // rows).cpu()}
        if self.config.code == "one_hot":
            return self._decoded(code), {"codes": code[:, None].cpu()}
        z = self.decoder.vectors_of(code)  # [N, L + 1, d]
        x = self.decoder.decode(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        levels = ((x / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).movedim(2, -1)
        return x[:, -1], {"codes": code[:, None].cpu(), "coarse_to_fine": levels.cpu()}

    def _flips(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the pictures on the way from bits a to b [K], one flip at a time, the one that changes the picture least."""
        code, pictures = a.clone(), [self._decoded(a[None])]
        while len(left := (code != b).nonzero()[:, 0]):
            tried = code.repeat(len(left), 1)
            tried[torch.arange(len(left)), left] = b[left]
            decoded = self._decoded(tried)
            best = (decoded - pictures[-1]).square().mean((1, 2, 3)).argmin()
            code = tried[best]
            pictures.append(decoded[best][None])
        return torch.cat(pictures)

    def _climb(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        """Return the pictures of the nodes on the way from path a to path b [L]: up to the node that both share, and down."""
        shared = int((a == b).long().cumprod(0).sum())
        up = [a[:level] for level in range(len(a), shared, -1)]
        down = [b[:level] for level in range(shared + 1, len(b) + 1)]
        turn = [] if len(a) == 1 and up else [a[:shared]]  # the root is no class: between classes it is left out
        return torch.cat([self._decoded(path[None]) for path in (*up, *turn, *down)])
