"""A diffusion transformer: a vision transformer on patches of noisy latents, conditional on time and labels.

Peebles and Xie, Scalable Diffusion Models with Transformers, 2023 (https://arxiv.org/abs/2212.09748), written DiT below.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.models.embeddings import get_2d_sincos_pos_embed, get_timestep_embedding
from torch import nn

FREQUENCIES = 256  # of the time's embedding, as in DiT


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Return softmax(q k^T / sqrt(d)) v, [N, heads, T, d], for q [N, heads, T, d] and k and v [N, heads, M, d].

    It is written out where a CPU trains. For so few tokens the backward pass of PyTorch's fused attention takes six times
    as long in bf16 (measured with 2.13: 46 ms against 7).
    """
    if q.device.type != "cpu" or not q.requires_grad:
        return F.scaled_dot_product_attention(q, k, v)
    weights = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # [N, heads, T, M]
    return weights.softmax(-1).to(v.dtype) @ v


class SelfAttention(nn.Module):
    """Multi-head attention of tokens [N, T, d] to each other."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        qkv = self.qkv(x).unflatten(2, (3, self.num_heads, -1))  # [N, T, 3, heads, d / heads]
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # 3 x [N, heads, T, d / heads]
        h = attend(q, k, v)  # [N, heads, T, d / heads]
        return self.out(h.transpose(1, 2).flatten(2))  # [N, T, d]


class CrossAttention(nn.Module):
    """Multi-head attention of tokens [N, T, d] to others [N, M, d]."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
        q = self.q(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2)  # [N, heads, T, d / heads]
        kv = self.kv(context).unflatten(2, (2, self.num_heads, -1))  # [N, M, 2, heads, d / heads]
        k, v = kv.permute(2, 0, 3, 1, 4)  # 2 x [N, heads, M, d / heads]
        h = attend(q, k, v)  # [N, heads, T, d / heads]
        return self.out(h.transpose(1, 2).flatten(2))  # [N, T, d]


class FeedForward(nn.Sequential):
    """Two layers that work on each token by itself."""

    def __init__(self, width: int, ratio: float):
        hidden = int(width * ratio)
        super().__init__(nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width))


def modulate(x: torch.Tensor, shift: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Return tokens [N, T, d], scaled and shifted by what the condition gives, both [N, d]."""
    return x * (1 + scale[:, None]) + shift[:, None]


class AdaLNZeroBlock(nn.Module):
    """A block with adaptive layer norm (DiT fig. 3, "adaLN-Zero"): the condition gives shift, scale and gate of both halves.

    The layer that gives them starts at zero. So every gate is zero and the block begins as the identity (DiT sec. 3.2).
    18 d^2 + 15 d parameters at an MLP ratio of 4.
    """

    def __init__(self, width: int, num_heads: int, mlp_ratio: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.attention = SelfAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6, elementwise_affine=False)
        self.mlp = FeedForward(width, mlp_ratio)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 6 * width))

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        c = self.modulation(condition.sum(1)).chunk(6, dim=1)  # 6 x [N, d], of the summed embeddings
        x = x + c[2][:, None] * self.attention(modulate(self.norm1(x), c[0], c[1]))  # [N, T, d]
        return x + c[5][:, None] * self.mlp(modulate(self.norm2(x), c[3], c[4]))  # [N, T, d]


class CrossAttentionBlock(nn.Module):
    """A block that also attends to the embeddings of time and labels (DiT fig. 3, "cross-attention").

    16 d^2 + 19 d parameters at an MLP ratio of 4.
    """

    def __init__(self, width: int, num_heads: int, mlp_ratio: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = SelfAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.cross_attention = CrossAttention(width, num_heads)
        self.norm3 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = FeedForward(width, mlp_ratio)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))  # [N, T, d]
        x = x + self.cross_attention(self.norm2(x), condition)  # [N, T, d]
        return x + self.mlp(self.norm3(x))  # [N, T, d]


class InContextBlock(nn.Module):
    """A plain ViT block, in whose sequence time and labels are further tokens (DiT fig. 3, "in-context").

    12 d^2 + 13 d parameters at an MLP ratio of 4.
    """

    def __init__(self, width: int, num_heads: int, mlp_ratio: float):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attention = SelfAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = FeedForward(width, mlp_ratio)

    def forward(self, x: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.norm1(x))  # [N, T + M, d]
        return x + self.mlp(self.norm2(x))  # [N, T + M, d]


BLOCKS = {"adaln_zero": AdaLNZeroBlock, "cross_attention": CrossAttentionBlock, "in_context": InContextBlock}


class DiTModel(ModelMixin, ConfigMixin):
    r"""A diffusion transformer, which predicts [N, C, S, S] from x_t of that shape, time [N] and labels [N, K].

    It differs from DiT as the tasks here need it. There is any number K of labels, each with a value for "none". There is
    no learned variance, since the samplers are deterministic. T = (S / p)^2 tokens of width d = `width`; M = 1 + K embeddings of the
    condition. Parameters, at an MLP ratio of 4 and with C' = C p^2:

        patches and output    2 C' d + d + C'
        time                  d^2 + 258 d
        labels                d sum_k (n_k + 1)
        blocks                depth (18 d^2 + 15 d), (16 d^2 + 19 d) or (12 d^2 + 13 d), in the order of `conditioning`
        last normalisation    2 d^2 + 2 d (adaln_zero) or 2 d

    Args:
        sample_size: S, side of the latents.
        in_channels: C, of the latents.
        patch_size: p; one token for each p x p patch.
        width: d, of the tokens; a multiple of 4 and of `num_heads`.
        depth: number of blocks.
        num_heads: of each attention.
        mlp_ratio: hidden width of a block's MLP, in units of d.
        conditioning: how time and labels enter the blocks: `"adaln_zero"`, `"cross_attention"` or `"in_context"`
            (DiT sec. 3.2, compared in its fig. 5).
        num_labels: n_k, the number of values of each label; value n_k stands for "none".

    Raises:
        ValueError: sizes that do not divide, or an unknown conditioning.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 7,
        in_channels: int = 4,
        patch_size: int = 1,
        width: int = 192,
        depth: int = 6,
        num_heads: int = 3,
        mlp_ratio: float = 4.0,
        conditioning: str = "adaln_zero",
        num_labels: tuple[int, ...] = (),
    ):
        super().__init__()
        if conditioning not in BLOCKS:
            raise ValueError(f"conditioning: choose {', '.join(map(repr, BLOCKS))}, not {conditioning!r}.")
        if sample_size % patch_size or width % num_heads or width % 4:
            raise ValueError(
                f"latents of {sample_size} pixels must divide into patches of {patch_size}, and width {width} by 4 and "
                f"into {num_heads} heads."
            )
        side, patch = sample_size // patch_size, in_channels * patch_size**2
        self.embed = nn.Linear(patch, width)
        positions = get_2d_sincos_pos_embed(width, side, base_size=side, output_type="pt")  # [T, d]
        self.register_buffer("positions", positions.float(), persistent=False)
        self.time = nn.Sequential(nn.Linear(FREQUENCIES, width), nn.SiLU(), nn.Linear(width, width))
        self.labels = nn.ModuleList(nn.Embedding(number + 1, width) for number in num_labels)
        self.blocks = nn.ModuleList(BLOCKS[conditioning](width, num_heads, mlp_ratio) for _ in range(depth))
        adaptive = conditioning == "adaln_zero"
        self.norm = nn.LayerNorm(width, eps=1e-6, elementwise_affine=not adaptive)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(width, 2 * width)) if adaptive else None
        self.out = nn.Linear(width, patch)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for embedding in self.labels:
            nn.init.normal_(embedding.get_parameter("weight"), std=0.02)
        for layer in (self.time[0], self.time[2]):
            nn.init.normal_(layer.get_parameter("weight"), std=0.02)
        # Zero: the modulation, so that every block with gates begins as the identity, and the output, so that training
        # begins with the prediction 0.
        zeros = [block.modulation[1] for block in self.blocks if isinstance(block, AdaLNZeroBlock)]
        zeros += [self.out] if self.modulation is None else [self.modulation[1], self.out]
        for layer in zeros:
            nn.init.zeros_(layer.get_parameter("weight"))
            nn.init.zeros_(layer.get_parameter("bias"))

    def no_labels(self, number: int) -> torch.Tensor:
        """Return "none" for every label, int64 [number, K]."""
        values = torch.tensor(self.config.num_labels, dtype=torch.int64, device=self.positions.device)
        return values.expand(number, -1)

    def condition(self, time: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Embed time [N] in [0, 1] and labels [N, K] as [N, 1 + K, d]."""
        # Times are 0 ... 1000 as in DiT. The waves are computed in float32 whatever the model's dtype.
        waves = get_timestep_embedding(1000 * time.float(), FREQUENCIES, flip_sin_to_cos=True, downscale_freq_shift=0)
        embedded = [self.time(waves.to(self.embed.weight.dtype))]
        embedded += [embedding(labels[:, k]) for k, embedding in enumerate(self.labels)]
        return torch.stack(embedded, dim=1)

    def forward(self, x: torch.Tensor, time: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Predict the target of the training.

        Args:
            x: noisy latents [N, C, S, S].
            time: [N] in [0, 1].
            labels: int64 [N, K]; None: "none" for all of them.

        Returns:
            [N, C, S, S].
        """
        p, side = self.config.patch_size, self.config.sample_size // self.config.patch_size
        c = self.condition(time, self.no_labels(len(x)) if labels is None else labels)  # [N, M, d]
        h = F.pixel_unshuffle(x, p).flatten(2).transpose(1, 2)  # [N, T, C p p]
        h = self.embed(h) + self.positions.to(h.dtype)  # [N, T, d]
        if self.config.conditioning == "in_context":
            h = torch.cat([h, c], dim=1)  # [N, T + M, d]
        for block in self.blocks:
            h = block(h, c)  # [N, T, d] or [N, T + M, d]
        h = self.norm(h[:, : side * side])  # [N, T, d]
        if self.modulation is not None:
            h = modulate(h, *self.modulation(c.sum(1)).chunk(2, dim=1))  # [N, T, d]
        h = self.out(h)  # [N, T, C p p]
        h = h.transpose(1, 2).unflatten(2, (side, side))  # [N, C p p, S/p, S/p]
        return F.pixel_shuffle(h, p)  # [N, C, S, S]
