"""Vector quantisation: a codebook, and the moving averages by which it learns.

van den Oord, Vinyals, Kavukcuoglu: Neural Discrete Representation Learning, 2017, https://arxiv.org/abs/1711.00937, cited as
VQ-VAE.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn


class CodebookMixin:
    """The lookups of a module with a buffer `codebook` [K, D], for latents [B, D, ...] of any number of places.

    Distances are computed in float32 whatever the dtype of the weights.
    """

    codebook: torch.Tensor

    def nearest(self, z: torch.Tensor) -> torch.Tensor:
        """Return the code nearest to each latent [B, D, ...], int64 [B, ...] (VQ-VAE eq. 1)."""
        with torch.autocast(z.device.type, enabled=False):
            flat, codebook = z.float().movedim(1, -1), self.codebook.float()  # [B, ..., D], [K, D]
            # |z - e|^2 without |z|^2, which is the same for all codes
            distances = codebook.square().sum(1) - 2 * flat @ codebook.T  # [B, ..., K]
            return distances.argmin(-1)

    def embed(self, codes: torch.Tensor) -> torch.Tensor:
        """Return the vectors of codes int64 [B, ...], float32 [B, D, ...] (VQ-VAE eq. 2)."""
        return self.codebook.float()[codes].movedim(-1, 1)

    def quantize(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Quantise latents with the straight-through gradient: that of z_q goes to z unchanged (VQ-VAE sec. 3.1).

        Args:
            z: float [B, D, ...].

        Returns:
            z_q float32 [B, D, ...], codes int64 [B, ...].
        """
        codes = self.nearest(z)
        return z + (self.embed(codes) - z).detach(), codes


class CodebookAverage(nn.Module):
    """A rule that moves each code to the average of the latents assigned to it, and restarts unused codes.

        N_i <- g N_i + (1 - g) n_i,   m_i <- g m_i + (1 - g) sum_j z_ij,   e_i = m_i / N_i          VQ-VAE eq. 6-8

    with n_i latents z_i1 ... in this batch nearest to code i. A code with N_i below `restart_below` of a fair share is put
    where a latent of this batch is (Dhariwal et al. 2020, sec. 3.1, https://arxiv.org/abs/2005.00341), with twice that
    share. If no latent takes it up, it moves on after log 2 / (1 - g) steps, soon enough for latents that still drift. All
    N_i are 0 at first, so the first batch places the whole codebook. Under torchrun the sums are over all processes.

    Only training needs it. It is not part of a checkpoint.

    Args:
        codebook_size: K.
        code_dim: D.
        decay: g.
        restart_below: share of a fair share of the latents below which a code is restarted.
    """

    counts: torch.Tensor
    sums: torch.Tensor

    def __init__(self, codebook_size: int, code_dim: int, decay: float = 0.99, restart_below: float = 0.1):
        super().__init__()
        self.decay, self.restart_below = decay, restart_below
        self.register_buffer("counts", torch.zeros(codebook_size, dtype=torch.float32))  # N
        self.register_buffer("sums", torch.zeros(codebook_size, code_dim, dtype=torch.float32))  # m

    @torch.no_grad()
    def update(
        self,
        codebook: torch.Tensor,
        z: torch.Tensor,
        codes: torch.Tensor,
        restart: bool = True,
        generator: torch.Generator | None = None,
    ) -> dict[str, torch.Tensor]:
        """Move the codebook by one step, in place.

        Args:
            codebook: [K, D].
            z: latents [B, D, ...].
            codes: int64 [B, ...], the nearest codes to `z`.
            restart: whether dead codes are restarted.
            generator: chooses the latents for them, on the device of `z`.

        Returns:
            {"perplexity": exp of the entropy of the codes' use in this batch, "restarted": number of codes}.
        """
        flat = z.float().movedim(1, -1).flatten(0, -2)  # [M, D]
        codes = codes.flatten()  # [M]
        number = torch.zeros_like(self.counts).index_add_(0, codes, torch.ones_like(codes, dtype=torch.float32))  # n
        total = torch.zeros_like(self.sums).index_add_(0, codes, flat)
        size = len(self.counts)
        chosen = flat[torch.randint(len(flat), (size,), generator=generator, device=flat.device)]  # [K, D]
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(number)
            dist.all_reduce(total)
            dist.broadcast(chosen, 0)

        self.counts.lerp_(number, 1 - self.decay)
        self.sums.lerp_(total, 1 - self.decay)
        limit = self.restart_below * number.sum() / size
        dead = self.counts < limit if restart else torch.zeros_like(self.counts, dtype=torch.bool)
        self.counts.copy_(torch.where(dead, 2 * limit, self.counts))
        self.sums.copy_(torch.where(dead[:, None], 2 * limit * chosen, self.sums))
        # A code unused for so long that its average is lost in rounding stays where it was.
        known = self.counts[:, None] > 1e-6
        codebook.copy_(torch.where(known, self.sums / self.counts.clamp(min=1e-6)[:, None], codebook))

        p = number / number.sum()
        return {"perplexity": torch.special.entr(p).sum().exp(), "restarted": dead.sum().float()}
