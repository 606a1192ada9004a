"""A transformer over a map of codes that reads in two ways: one code after another, or all at once with gaps.

Causal, as in Esser et al. 2021 (VQGAN, https://arxiv.org/abs/2012.09841) sec. 3.2: the place before code i predicts it.
Masked, as in Chang et al. 2022 (MaskGIT, https://arxiv.org/abs/2202.04200): a place that holds the mask predicts itself.

One network does both, each row of a batch in its own way: the weights of attention and perceptrons are shared, and only
the positions, which say how the network is to read, are learnt apart. Two networks would have half the size each.
"""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from pipelines.decoding import masked_share, random_masks

LABEL_SMOOTHING = 0.1  # of the masked places, as in MaskGIT; causal rows have none, since they are to give likelihoods
Cache = list[tuple[torch.Tensor, torch.Tensor]]  # of each layer: keys and values [N, heads, S, d]


class Block(nn.Module):
    """Pre-norm attention and perceptron.

    Attention is written out: for so few places, the backward pass of PyTorch's fused one takes eight times as long on a CPU
    (2.13, measured: 40 ms against 5).
    """

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))

    def forward(
        self, x: torch.Tensor, mask: torch.Tensor | None, past: tuple[torch.Tensor, torch.Tensor] | None
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """Return the outputs for inputs [N, S, W], of the same shape, and the keys and values of `past` and of these places.

        Args:
            mask: bool [N, 1, S, S], True where a place may look, or None: everywhere.
            past: keys and values of earlier places, which every place may see.
        """
        n, s, w = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(n, s, 3, self.num_heads, w // self.num_heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # 3 x [N, heads, S, d]
        if past is not None:
            k, v = torch.cat([past[0], k], dim=2), torch.cat([past[1], v], dim=2)
        weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # [N, heads, S, places]
        if mask is not None:
            weights = weights.masked_fill(~mask, -torch.inf)
        h = weights.softmax(-1).to(v.dtype) @ v  # [N, heads, S, d]
        x = x + self.project(h.transpose(1, 2).reshape(n, s, w))
        return x + self.mlp(self.norm2(x)), (k, v)


class CodeTransformer(ModelMixin, ConfigMixin):
    """A transformer that gives the distribution of codes, given other codes, a class and further conditions.

    The input is one place for the conditions and one for each code. The number `codebook_size` is the mask; the number
    after the last class, or after the last value of a condition, stands for "not given".

    Args:
        codebook_size: K, number of codes.
        num_codes: T, codes of an image.
        width: W.
        num_layers: blocks.
        num_heads: attention heads in each.
        num_classes: number of classes; 0: none.
        conditions: {name: number of values} beside the class.
    """

    @register_to_config
    def __init__(
        self,
        codebook_size: int = 512,
        num_codes: int = 49,
        width: int = 256,
        num_layers: int = 6,
        num_heads: int = 4,
        num_classes: int = 0,
        conditions: dict[str, int] | None = None,
    ):
        super().__init__()
        if width % num_heads:
            raise ValueError(f"width: {width} is not a multiple of num_heads, {num_heads}.")
        self.codes = nn.Embedding(codebook_size + 1, width)
        self.positions = nn.Parameter(torch.zeros(2, num_codes + 1, width))  # masked, causal
        self.classes = nn.Embedding(num_classes + 1, width)
        self.tables = nn.ModuleDict({k: nn.Embedding(size + 1, width) for k, size in (conditions or {}).items()})
        self.blocks = nn.ModuleList(Block(width, num_heads) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, codebook_size)
        self.apply(self._initialise)
        nn.init.normal_(self.positions, std=0.02)
        for block in self.blocks:  # the sum of all blocks starts as large as one of them (GPT-2)
            for last in ("project.weight", "mlp.2.weight"):
                nn.init.normal_(block.get_parameter(last), std=0.02 / (2 * num_layers) ** 0.5)

    @staticmethod
    def _initialise(module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=0.02)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    @property
    def mask_code(self) -> int:
        """The number that stands for a masked code."""
        return self.config.codebook_size

    def corrupt(
        self, codes: torch.Tensor, causal: torch.Tensor, corruption: float, generator: torch.Generator | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the network is shown of codes in training, and which places it has to fill.

        Args:
            codes: int64 [B, T].
            causal: bool [B], rows that are read in order. A part of their codes is replaced by random ones, so that the
                network copes with mistakes of its own (as in VQGAN's code). The other rows have masks, as many as the cosine
                schedule gives for a random time (MaskGIT eq. 1).
            corruption: that part.
            generator: on the device of `codes`.

        Returns:
            int64 [B, T], bool [B, T].
        """
        (n, size), device = codes.shape, codes.device
        wrong = torch.randint(self.config.codebook_size, codes.shape, generator=generator, device=device)
        misread = torch.rand(codes.shape, generator=generator, device=device) < corruption
        number = (masked_share(torch.rand(n, generator=generator, device=device)) * size).ceil().long().clamp(min=1)
        masked = random_masks(number, size, generator)  # [B, T]
        shown = torch.where(masked, self.mask_code, codes)
        shown = torch.where(causal[:, None], torch.where(misread, wrong, codes), shown)
        return shown, masked & ~causal[:, None]

    def context(
        self,
        number: int,
        class_labels: torch.Tensor | None = None,
        conditions: dict[str, torch.Tensor] | None = None,
    ) -> torch.Tensor:
        """Return the content of the first place: the class and the conditions.

        Args:
            number: N.
            class_labels: int64 [N], -1 where none is given; None: none is given.
            conditions: int64 [N] each, likewise.

        Returns:
            [N, 1, W].
        """
        total = torch.zeros((), dtype=self.positions.dtype, device=self.positions.device)
        known = [class_labels, *((conditions or {}).get(name) for name in self.tables)]
        for table, value in zip([self.classes, *self.tables.values()], known):
            none = len(table.get_parameter("weight")) - 1
            if value is None:
                value = torch.full((number,), none, device=self.positions.device)
            total = total + table(torch.where(value < 0, none, value))  # [N, W]
        return total[:, None]

    def forward(
        self,
        codes: torch.Tensor,
        class_labels: torch.Tensor | None = None,
        conditions: dict[str, torch.Tensor] | None = None,
        causal: torch.Tensor | bool = False,
        cache: Cache | None = None,
    ) -> torch.Tensor | tuple[torch.Tensor, Cache]:
        """Return the logits of the codes.

        Args:
            codes: int64 [N, T], of which some are the mask; with a cache, the codes since the last call, [N, S].
            class_labels, conditions: see `context`; needed at the first call only, with a cache.
            causal: how to read, for all rows or bool [N]. A causal row's logits for code i depend on the codes before i
                only.
            cache: keys and values of the places so far, for causal reading; [] at the first call, whose `codes` may be
                [N, 0].

        Returns:
            float32 [N, T, K]. With a cache: [N, K], for the code after those given so far, and the longer cache.
        """
        if cache is not None:
            return self._extend(codes, class_labels, conditions, cache)
        n, t = codes.shape
        causal = torch.as_tensor(causal, device=codes.device).expand(n)
        x = torch.cat([self.context(n, class_labels, conditions), self.codes(codes)], dim=1)  # [N, T + 1, W]
        x = x + torch.where(causal[:, None, None], self.positions[1], self.positions[0])
        mask = None
        if causal.any():
            lower = torch.ones(t + 1, t + 1, dtype=torch.bool, device=codes.device).tril()
            mask = (lower | ~causal[:, None, None])[:, None]  # [N, 1, T + 1, T + 1]
        for block in self.blocks:
            x, _ = block(x, mask, None)
        x = torch.where(causal[:, None, None], x[:, :-1], x[:, 1:])  # a causal row predicts one place ahead
        return self.head(self.norm(x)).float()  # [N, T, K]

    def _extend(self, codes, class_labels, conditions, cache: Cache) -> tuple[torch.Tensor, Cache]:
        x = self.codes(codes)  # [N, S, W]
        past = cache[0][0].shape[2] if cache else 0
        if not cache:
            x = torch.cat([self.context(len(codes), class_labels, conditions), x], dim=1)
        s = x.shape[1]
        x = x + self.positions[1, past : past + s]
        mask = None
        if s > 1:
            mask = torch.ones(s, past + s, dtype=torch.bool, device=x.device).tril(past)
        longer = []
        for i, block in enumerate(self.blocks):
            x, keys_values = block(x, mask, cache[i] if cache else None)
            longer.append(keys_values)
        return self.head(self.norm(x[:, -1])).float(), longer  # [N, K]


def code_losses(
    logits: torch.Tensor, codes: torch.Tensor, masked: torch.Tensor, causal: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the cross-entropies of masked and of ordered reading.

    Args:
        logits: float32 [B, T, K].
        codes: int64 [B, T].
        masked: bool [B, T], the places to fill.
        causal: bool [B], the rows that are read in order.

    Returns:
        that of the masked places with label smoothing, that of the causal rows, and that of the masked places without
        smoothing: three scalars, nats for each code.
    """
    log_p = logits.log_softmax(-1)  # [B, T, K]
    nll = -log_p.gather(-1, codes[..., None])[..., 0]  # [B, T]
    smooth = (1 - LABEL_SMOOTHING) * nll - LABEL_SMOOTHING * log_p.mean(-1)
    filling = (smooth * masked).sum() / masked.sum().clamp(min=1)
    reading = (nll * causal[:, None]).sum() / (causal.sum() * codes.shape[1]).clamp(min=1)
    return filling, reading, (nll * masked).sum() / masked.sum().clamp(min=1)
