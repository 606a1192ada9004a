"""An over-complete dictionary, a fast encoder for it, and what is known of the codes of the training images.

    x = a D,   a >= 0,   |d_k| = 1                                  Olshausen and Field 1996; Mairal et al. 2009
    a_t+1 = TopK(relu(a_t + g_t (x - a_t D) D^T + b_t)),   a_0 = 0  the fast encoder

The first step of the fast encoder alone is that of a k-sparse auto-encoder with tied weights (Makhzani and Frey 2013). Further
steps correct it, as learned ISTA does (Gregor and LeCun 2010). It has no weights but a gain g and a bias b for each atom and
step.

Papers:
    Olshausen, Field: Emergence of Simple-Cell Receptive Field Properties by Learning a Sparse Code for Natural Images, 1996,
        https://doi.org/10.1038/381607a0
    Mairal, Bach, Ponce, Sapiro: Online Dictionary Learning for Sparse Coding, 2009, https://doi.org/10.1145/1553374.1553463
    Gregor, LeCun: Learning Fast Approximations of Sparse Coding, 2010
    Makhzani, Frey: k-Sparse Autoencoders, 2013, https://arxiv.org/abs/1312.5663
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from pipelines.mixture import MixtureMixin

USAGE_DECAY = 0.99  # of the moving average of how often an atom is used
DEAD_BELOW = 0.025  # share of a fair share of uses below which an atom is replaced
REPLACED_AT_ONCE = 16


class SparseCodingModel(MixtureMixin, ModelMixin, ConfigMixin):
    """Dictionary, fast encoder, and statistics of codes.

    Signals are images as rows of pixels in [0, 1], float [N, P] with P = C S S. Codes are float32 [N, K] >= 0.

    Args:
        sample_size: S, side of the images.
        channels: C, 1 or 3.
        num_atoms: K, more than P for an over-complete dictionary.
        num_nonzeros: atoms that the fast encoder uses for each image. `fit` sets the penalty of FISTA so that it uses as many
            on average.
        encoder_steps: T of the fast encoder.
        num_classes: classes with statistics of their own; 0: none.
        prior_dim: principal components of the codes that the mixture is fitted to.
        mixture_components: Gaussians of each class.

    Raises:
        ValueError: more non-zeros or principal components than atoms.
    """

    penalty: torch.Tensor
    lipschitz: torch.Tensor
    direction: torch.Tensor
    usage: torch.Tensor
    frequencies: torch.Tensor
    amplitudes: torch.Tensor
    code_mean: torch.Tensor
    code_basis: torch.Tensor

    @register_to_config
    def __init__(
        self,
        sample_size: int = 28,
        channels: int = 1,
        num_atoms: int = 1568,
        num_nonzeros: int = 32,
        encoder_steps: int = 2,
        num_classes: int = 0,
        prior_dim: int = 24,
        mixture_components: int = 5,
    ):
        super().__init__()
        if max(num_nonzeros, prior_dim) > num_atoms:
            raise ValueError(f"num_nonzeros, prior_dim: at most num_atoms, {num_atoms}.")
        pixels, groups = channels * sample_size**2, max(num_classes, 1)
        self.dictionary = nn.Parameter(F.normalize(torch.randn(num_atoms, pixels)))
        self.gains = nn.Parameter(torch.full((encoder_steps, num_atoms), 0.2))
        self.biases = nn.Parameter(torch.zeros(encoder_steps, num_atoms))
        self.register_buffer("penalty", torch.tensor(0.1))
        self.register_buffer("lipschitz", torch.tensor(0.0))
        self.register_buffer("direction", F.normalize(torch.randn(pixels), dim=0))  # nearly the first singular vector
        self.register_buffer("usage", torch.full((num_atoms,), num_nonzeros / num_atoms))
        # How often each atom is used, and its mean weight where it is: for each class, and in the last row for all images.
        # Before `fit` the classes differ by chance.
        self.register_buffer("frequencies", (0.5 + torch.rand(groups + 1, num_atoms)) * num_nonzeros / num_atoms / 2)
        self.register_buffer("amplitudes", torch.ones(groups + 1, num_atoms))
        self.register_buffer("code_mean", torch.zeros(num_atoms))
        self.register_buffer("code_basis", torch.eye(prior_dim, num_atoms))
        self._register_mixture(groups, mixture_components, prior_dim)

    # ---- dictionary ----

    def atoms(self) -> torch.Tensor:
        """Return the atoms with norm 1: float32 [K, P]."""
        return F.normalize(self.dictionary.float())

    @torch.no_grad()
    def measure_lipschitz(self, num_steps: int) -> None:
        """Bring `lipschitz` nearer to the largest eigenvalue of D D^T, by steps of the power method, and 2 % above."""
        atoms, v = self.atoms(), self.direction.float()
        value = v.new_zeros(())
        for _ in range(num_steps):
            v = atoms.T @ (atoms @ v)
            value = v.norm()
            v = v / value
        self.direction.copy_(v)
        self.lipschitz.copy_(1.02 * value)

    @torch.no_grad()
    def measure_lipschitz_exactly(self) -> None:
        """Set `lipschitz` to the largest eigenvalue of D D^T, and 0.5 % more for what half precision rounds away."""
        atoms = self.atoms().double()
        smaller = atoms.T @ atoms if atoms.shape[0] > atoms.shape[1] else atoms @ atoms.T
        self.lipschitz.copy_(1.005 * torch.linalg.eigvalsh(smaller)[-1])

    @torch.no_grad()
    def normalize_atoms(self) -> None:
        """Bring the atoms back to norm 1 in place."""
        self.dictionary.copy_(self.atoms())

    @torch.no_grad()
    def count_uses(self, used: torch.Tensor) -> None:
        """Take a batch into the moving average of the atoms' use: the share of its images that use each atom, [K]."""
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(used)
            used = used / dist.get_world_size()
        self.usage.lerp_(used.to(self.usage.dtype), 1 - USAGE_DECAY)

    @torch.no_grad()
    def replace_dead(self, x: torch.Tensor) -> int:
        """Put atoms that hardly any image uses where the dictionary is worst: on what is left of the images coded worst.

        Args:
            x: signals [N, P] of the batch.

        Returns:
            Number of atoms that were replaced, at most `REPLACED_AT_ONCE`.
        """
        fair = self.config.num_nonzeros / self.config.num_atoms
        dead = (self.usage < DEAD_BELOW * fair).nonzero()[:REPLACED_AT_ONCE, 0]
        if not len(dead):
            return 0
        residual = x - self.decode(self.encode(x))  # [N, P]
        worst = residual.norm(dim=1).argsort(descending=True)[: len(dead)]
        dead, chosen = dead[: len(worst)], F.normalize(residual[worst])
        if dist.is_available() and dist.is_initialized():
            dist.broadcast(chosen, 0)
        self.dictionary[dead] = chosen.to(self.dictionary.dtype)
        self.biases[:, dead] = 0.0
        self.usage[dead] = 0.5 * fair
        return len(dead)

    @torch.no_grad()
    def keep_up(self, x: torch.Tensor, used: torch.Tensor | None, nonzeros: torch.Tensor | None, replace: bool) -> int:
        """Bring dictionary, penalty and step size up to date before a training step.

        Args:
            x: signals [N, P] of the batch.
            used: share of the images of the last batch that use each atom, [K]; None: there was none.
            nonzeros: mean number of atoms that FISTA used for them. The penalty rises where that is more than wanted.
            replace: whether dead atoms are replaced.

        Returns:
            Number of atoms that were replaced.
        """
        with torch.autocast(x.device.type, enabled=False):
            self.normalize_atoms()
            if used is not None and nonzeros is not None:
                self.count_uses(used)
                self.penalty.mul_((0.05 * (nonzeros / self.config.num_nonzeros).clamp(0.5, 2).log()).exp())
            replaced = self.replace_dead(x) if replace else 0
            self.measure_lipschitz(1)
        return replaced

    # ---- codes ----

    def encode(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """Return what the fast encoder makes of signals: [N, P] -> codes float32 [N, K] with at most `num_nonzeros`.

        Args:
            x: [N, P].
            mask: [N, P], 1 where a pixel is known.
        """
        atoms, a = self.atoms(), None
        for gain, bias in zip(self.gains.float(), self.biases.float(), strict=True):
            residual = x if a is None else x - a @ atoms  # [N, P]
            step = (residual if mask is None else residual * mask) @ atoms.T * gain + bias  # [N, K]
            a = top_k(step if a is None else a + step, self.config.num_nonzeros)
        assert a is not None
        return a

    def decode(self, a: torch.Tensor) -> torch.Tensor:
        """Return the sum of the atoms with these weights: [N, K] -> [N, P]."""
        return a.float() @ self.atoms()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Encode signals [N, P] with the fast encoder and decode them, [N, P]."""
        return self.decode(self.encode(x))

    # ---- statistics of codes ----

    @torch.no_grad()
    def set_statistics(self, row: int, a: torch.Tensor) -> None:
        """Set how often the atoms are used and how strongly, for a class, or with row -1 for all images; set that row first.

        One image more than there are is counted: it uses each atom as all images do on average.

        Args:
            a: codes [n, K].
        """
        used = (a > 0).float().sum(0)  # [K]
        fair = self.config.num_nonzeros / self.config.num_atoms
        usual = torch.full_like(used, fair) if row == -1 else self.frequencies[-1].float()
        mean = a.sum() / used.sum().clamp(min=1) if row == -1 else self.amplitudes[-1].float()
        self.frequencies[row].copy_(((used + usual) / (len(a) + 1)).clamp(1e-5, 0.999))
        self.amplitudes[row].copy_(((a.sum(0) + mean) / (used + 1)).clamp(min=1e-3))

    def code_cost(self, a: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        """Return -log p(a) in nats, atom by atom independent: used or not, and if so with an exponential weight.

        Args:
            a: codes [N, K].
            row: int64 [N], a class, or the last row: all images.

        Returns:
            float32 [N].
        """
        p, mean = self.frequencies.float()[row], self.amplitudes.float()[row]  # [N, K]
        log_on = p.log() - mean.log() - a / mean
        return -torch.where(a > 0, log_on, torch.log1p(-p)).sum(1)

    def draw_independent(self, uniform: torch.Tensor, row: torch.Tensor, scale: float = 1.0) -> torch.Tensor:
        """Draw codes from the distribution of `code_cost`.

        Args:
            uniform: numbers in (0, 1), [2, N, K]: whether an atom is used, and its weight.
            row: int64 [N].
            scale: factor on the deviation of a weight from its mean.

        Returns:
            float32 [N, K].
        """
        p, mean = self.frequencies.float()[row], self.amplitudes.float()[row]
        weight = mean * (1 + scale * (-uniform[1].log() - 1))
        return torch.where(uniform[0] < p, weight.clamp(min=0), 0.0)

    def from_components(self, z: torch.Tensor) -> torch.Tensor:
        """Return the codes at places of the principal components: [N, r] -> [N, K] with at most 2 `num_nonzeros`."""
        a = self.code_mean.float() + z.float() @ self.code_basis.float()
        return top_k(a, min(2 * self.config.num_nonzeros, self.config.num_atoms))

    @torch.no_grad()
    def set_components(self, a: torch.Tensor) -> torch.Tensor:
        """Set mean and principal components of codes [n, K]; return the codes' places there, [n, r]."""
        mean, rank = a.mean(0), self.config.prior_dim
        _, _, axes = torch.svd_lowrank(a - mean, q=min(rank + 8, *a.shape), niter=4)
        basis = axes.T[:rank]  # [r, K]
        self.code_mean.copy_(mean)
        self.code_basis.zero_()[: len(basis)].copy_(basis)
        return (a - mean) @ self.code_basis.float().T


def top_k(a: torch.Tensor, number: int) -> torch.Tensor:
    """Return codes [N, K] with all but the `number` largest weights of each row, and those below 0, set to 0."""
    a = a.relu()
    values, indices = a.topk(number, dim=1)
    return torch.zeros_like(a).scatter(1, indices, values)
