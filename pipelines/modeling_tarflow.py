"""TarFlow: a normalizing flow whose blocks are causal transformers over patches (Zhai et al. 2024).

    z_t = (x_t - b_t(x_<t)) exp(-a_t(x_<t)),   log |det dz/dx| = -sum a        Zhai et al. 2024 eq. 5 and 6
    x_t = b_t(x_<t) + exp(a_t(x_<t)) z_t                                       one patch after the other

Papers:
    Zhai et al.: Normalizing Flows are Capable Generative Models, 2024, https://arxiv.org/abs/2412.06329
    Papamakarios, Pavlakou, Murray: Masked Autoregressive Flow for Density Estimation, 2017, https://arxiv.org/abs/1705.07057
    Ho, Salimans: Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import register_to_config
from torch import nn

from pipelines.flow_layers import EdgeSpline, bounded, guided_affine
from pipelines.modeling_flow import AfterStep, PictureFlow


class CausalLayer(nn.Module):
    """A layer of a transformer in which each token attends to itself and to those before it, [N, T, d] to [N, T, d]."""

    def __init__(self, width: int, num_heads: int, mlp_ratio: int):
        super().__init__()
        self.num_heads = num_heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, mlp_ratio * width), nn.GELU(approximate="tanh"), nn.Linear(mlp_ratio * width, width)
        )

    def forward(self, h: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Compute all tokens at once.

        Args:
            h: tokens, [N, T, d].
            mask: [T, T], 0 where the row's token sees the column's and -inf elsewhere.
        """
        q, k, v = self._qkv(self.norm1(h))  # 3 x [N, heads, T, d / heads]
        weights = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2) + mask, -1)  # [N, heads, T, T]
        h = h + self.out((weights @ v).transpose(1, 2).flatten(2))  # [N, T, d]
        return h + self.mlp(self.norm2(h))  # [N, T, d]

    def step(self, h: torch.Tensor, t: int, cache: torch.Tensor) -> torch.Tensor:
        """Compute token t alone, [N, 1, d].

        Args:
            h: the token, [N, 1, d].
            t: its place.
            cache: keys and values of the tokens before it, [2, N, heads, T, d / heads]; those of this one are written to it.
        """
        q, k, v = self._qkv(self.norm1(h))
        cache[0, :, :, t], cache[1, :, :, t] = k[:, :, 0], v[:, :, 0]
        seen = F.scaled_dot_product_attention(q, cache[0, :, :, : t + 1], cache[1, :, :, : t + 1])
        h = h + self.out(seen.transpose(1, 2).flatten(2))
        return h + self.mlp(self.norm2(h))

    def _qkv(self, h: torch.Tensor) -> torch.Tensor:
        return self.qkv(h).unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)


class CausalBlock(nn.Module):
    """One block of the flow: every patch is shifted and scaled by what the patches before it say.

    The input of place t holds the patches at fixed distances before t, like a causal convolution: the last ones, and those above
    in the picture. The transformer so need not learn where the neighbours are. Zhai et al. feed the patch t - 1 alone.

    Args:
        patch_dim: D, numbers in a patch.
        taps: distances, each at least 1.
        num_patches: T.
    """

    def __init__(
        self,
        patch_dim: int,
        taps: tuple[int, ...],
        num_patches: int,
        num_classes: int,
        width: int,
        num_layers: int,
        num_heads: int,
        mlp_ratio: int,
        log_scale_bound: float,
    ):
        super().__init__()
        self.taps, self.bound, self.num_heads = taps, log_scale_bound, num_heads
        self.embed = nn.Linear(len(taps) * patch_dim, width)
        self.places = nn.Parameter(0.02 * torch.randn(num_patches, width))
        self.classes = nn.Embedding(num_classes + 1, width) if num_classes else None
        self.layers = nn.ModuleList(CausalLayer(width, num_heads, mlp_ratio) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, 2 * patch_dim)
        if self.classes is not None:
            nn.init.normal_(self.classes.weight, std=0.02)
        nn.init.zeros_(self.out.weight)  # so that the block starts as the identity (Zhai et al. 2024 sec. 2.3)
        nn.init.zeros_(self.out.bias)

    def _condition(self, labels: torch.Tensor | None) -> torch.Tensor:
        """Return what is added to every token, [N, 1, d] or [T, d]."""
        return self.places if self.classes is None else self.classes(labels)[:, None] + self.places

    def _affine(self, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return shift b and log-scale a of tokens [N, T, d], both float32 [N, T, D]."""
        shift, log_scale = self.out(self.norm(h)).float().chunk(2, -1)
        return shift, bounded(log_scale, self.bound)

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return z and the log-scales of patches in order, both float32 [N, T, D].

        Args:
            x: float32 [N, T, D].
            labels: int64 [N], the last number being "no class"; None without classes.
        """
        length = x.shape[1]
        before = torch.cat([F.pad(x, (0, 0, tap, 0))[:, :length] for tap in self.taps], -1)  # [N, T, taps D]
        h = self.embed(before.to(self.places.dtype)) + self._condition(labels)  # [N, T, d]
        mask = torch.full((length, length), -torch.inf, dtype=h.dtype, device=h.device).triu(1)
        for layer in self.layers:
            h = layer(h, mask)
        shift, log_scale = self._affine(h)
        return (x - shift) * (-log_scale).exp(), log_scale

    def inverse(
        self,
        z: torch.Tensor,
        labels: torch.Tensor | None,
        guidance_scale: float,
        after_patch: Callable[[int, torch.Tensor], None],
    ) -> torch.Tensor:
        """Return x of z, one patch after the other, with the keys and values of the earlier ones kept.

        Args:
            z: float32 [N, T, D].
            labels: as in `forward`.
            guidance_scale: of `guided_affine`; 1 is the model itself.
            after_patch: called as (t, x so far [N, T, D]).
        """
        number, length, _ = z.shape
        guided = guidance_scale != 1 and labels is not None
        if labels is not None and self.classes is not None and guided:
            nothing = torch.full_like(labels, self.classes.num_embeddings - 1)
            labels = torch.cat([labels, nothing])
        rows = 2 * number if guided else number
        width = self.places.shape[1]
        keys = (2, rows, self.num_heads, length, width // self.num_heads)
        caches = [self.places.new_empty(keys) for _ in self.layers]
        condition = self._condition(labels).expand(rows, length, width)
        most = max(self.taps)
        x = F.pad(torch.zeros_like(z), (0, 0, most, 0))  # zeros before the first patch, as in `forward`
        for t in range(length):
            before = torch.cat([x[:, most + t - tap] for tap in self.taps], -1)[:, None]  # [N, 1, taps D]
            h = self.embed(before.to(self.places.dtype))
            h = (torch.cat([h, h]) if guided else h) + condition[:, t : t + 1]
            for layer, cache in zip(self.layers, caches, strict=True):
                h = cast(CausalLayer, layer).step(h, t, cache)
            shift, log_scale = (value[:, 0] for value in self._affine(h))
            if guided:
                given, without = zip(*(value.chunk(2) for value in (shift, log_scale)), strict=True)
                shift, log_scale = guided_affine(given, without, guidance_scale, self.bound)
            x[:, most + t] = shift + log_scale.exp() * z[:, t]
            after_patch(t, x[:, most:])
        return x[:, most:]


class TarFlowModel(PictureFlow):
    """A stack of `CausalBlock`s on pictures [N, C, S, S].

    Every second block sees the patches in reverse order, cut half a patch further right and down, around the border. So the pixels
    of one patch, which a block treats as independent of each other, lie in different patches of the next block. (Zhai et
    al. reverse only.)

    Args:
        sample_size: S, a multiple of the patch's size.
        channels: C.
        num_classes: 0: without classes. Otherwise label `num_classes` means "no class".
        patch_size: p; a patch is p x p pixels.
        width, layers_per_block, num_heads, mlp_ratio: of the transformers.
        num_blocks: of the flow.
        log_scale_bound: no block scales a number by more than exp of this.
        edge_spline: begin with an `EdgeSpline`, for 8-bit pictures.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int,
        channels: int,
        num_classes: int = 0,
        patch_size: int = 2,
        width: int = 96,
        num_blocks: int = 4,
        layers_per_block: int = 2,
        num_heads: int = 2,
        mlp_ratio: int = 4,
        log_scale_bound: float = 4.0,
        edge_spline: bool = True,
    ):
        super().__init__()
        if sample_size % patch_size:
            raise ValueError(f"patch_size: {sample_size} pixels are no multiple of {patch_size}.")
        if width % num_heads:
            raise ValueError(f"num_heads: a width of {width} is no multiple of {num_heads}.")
        row = sample_size // patch_size
        near = (1, 2, 3, *(row + i for i in range(-2, 3)), *(2 * row + i for i in range(-1, 2)))
        taps = tuple(sorted({tap for tap in near if 0 < tap < max(2, row * row)}))
        network = (width, layers_per_block, num_heads, mlp_ratio, log_scale_bound)
        self.spline = EdgeSpline() if edge_spline else None
        self.blocks = nn.ModuleList(
            CausalBlock(channels * patch_size**2, taps, row * row, num_classes, *network) for _ in range(num_blocks)
        )

    def _to_tokens(self, x: torch.Tensor, index: int) -> torch.Tensor:
        """Return a picture [N, C, S, S] as the patches [N, T, D] of a block."""
        size = self.config.patch_size
        if index % 2:
            x = x.roll((-(size // 2), -(size // 2)), (2, 3))
        tokens = F.pixel_unshuffle(x, size).flatten(2).transpose(1, 2)
        return tokens.flip(1) if index % 2 else tokens

    def _to_picture(self, tokens: torch.Tensor, index: int) -> torch.Tensor:
        """Return the patches [N, T, D] of a block as a picture [N, C, S, S]."""
        size, row = self.config.patch_size, self.config.sample_size // self.config.patch_size
        tokens = tokens.flip(1) if index % 2 else tokens
        x = F.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (row, row)), size)
        return x.roll((size // 2, size // 2), (2, 3)) if index % 2 else x

    def _forward(self, x: torch.Tensor, labels: torch.Tensor | None) -> tuple[torch.Tensor, list[torch.Tensor]]:
        maps = []
        for index, block in enumerate(self.blocks):
            z, log_scale = block(self._to_tokens(x, index), labels)
            x = self._to_picture(z, index)
            maps.append(-self._to_picture(log_scale, index))
        return x, maps

    @property
    def number_of_steps(self) -> int:
        """A step for each row of patches of each block."""
        return len(self.blocks) * (self.config.sample_size // self.config.patch_size)

    def _inverse(
        self, z: torch.Tensor, labels: torch.Tensor | None, guidance_scale: float, after_step: AfterStep
    ) -> torch.Tensor:
        row = self.config.sample_size // self.config.patch_size
        for done, index in enumerate(reversed(range(len(self.blocks)))):
            block, tokens = cast(CausalBlock, self.blocks[index]), self._to_tokens(z, index)

            def after_patch(t: int, x: torch.Tensor, done=done, index=index, tokens=tokens) -> None:
                if t % row == row - 1:
                    mixed = (x[:, : t + 1], tokens[:, t + 1 :])
                    after_step(done * row + t // row, lambda: self._to_picture(torch.cat(mixed, 1), index))

            z = self._to_picture(block.inverse(tokens, labels, guidance_scale, after_patch), index)
        return z
