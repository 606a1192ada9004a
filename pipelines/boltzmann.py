"""A restricted Boltzmann machine: visible units, hidden units, class units, and weights between the kinds but not within them.

    E(v, y, h) = -b.(v - mu) - d.(y - nu) - c.(h - lambda) - (v - mu)'W(h - lambda) - (y - nu)'U(h - lambda)
    p(v, y, h) = exp(-E(v, y, h)) / Z

Visible and hidden units are 0 or 1, and y is one-hot. Given one kind, the units of the other are independent. So one Gibbs
step draws all of one kind at once, and the sum over the hidden units has a closed form, the free energy F:

    p(h_j = 1 | v, y) = sigmoid(a_j),  a = c + (v - mu)'W + (y - nu)'U
    F(v, y) = -log sum_h exp(-E) = -b.(v - mu) - d.(y - nu) - sum_j (softplus(a_j) - lambda_j a_j)

The offsets mu, nu and lambda (the centre) change no distribution. They make the gradient well-conditioned (Melchior et al. 2016).

Papers:
    Smolensky: Information Processing in Dynamical Systems: Foundations of Harmony Theory, 1986
    Hinton: Training Products of Experts by Minimizing Contrastive Divergence, 2002, https://doi.org/10.1162/089976602760128018
    Larochelle, Bengio: Classification using Discriminative Restricted Boltzmann Machines, 2008 (class units),
        https://doi.org/10.1145/1390156.1390224
    Hinton: A Practical Guide to Training Restricted Boltzmann Machines, 2010
    Melchior, Fischer, Wiskott: How to Center Deep Boltzmann Machines, 2016, https://jmlr.org/papers/v17/14-237.html
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import nn

RAREST = 0.005  # mean of a unit that is never on, or never off, in the independent distribution of the base rates


class BoltzmannMachine(nn.Module):
    """The energy above, its conditional distributions and its free energy.

    All of it is computed in float32, whatever the dtype of the weights. `beta` and `base` put the machine on the path of
    annealed importance sampling (Salakhutdinov and Murray 2008 eq. 14): they stand for the energy

        beta E(v, y, h) + base E_0(v, y),     E_0 = -sum_i v_i logit(mu_i) - sum_k y_k log(nu_k)

    where E_0 is that of independent units with the means of the data. 1 and 0 are the machine itself. 1 / T and 0 are the machine
    at temperature T.

    With `gaussian_hidden` the hidden units are normal with variance 1 given the others, E has another |h|^2 / 2, and softplus(a)
    becomes a^2 / 2. A code layer of few numbers is made of such units (Hinton and Salakhutdinov 2006).

    Args:
        num_visible: D.
        num_hidden: H.
        num_classes: K, number of class units; 0: none.
        gaussian_hidden: hidden units are real numbers.
        initial_std: standard deviation of fresh weights (Hinton 2010 sec. 8).
    """

    visible_mean: torch.Tensor
    hidden_mean: torch.Tensor
    class_mean: torch.Tensor

    def __init__(
        self,
        num_visible: int,
        num_hidden: int,
        num_classes: int = 0,
        gaussian_hidden: bool = False,
        initial_std: float = 0.01,
    ):
        super().__init__()
        self.gaussian_hidden = gaussian_hidden
        self.num_visible, self.num_hidden, self.num_classes = num_visible, num_hidden, num_classes
        self.weight = nn.Parameter(initial_std * torch.randn(num_visible, num_hidden))  # W
        self.visible_bias = nn.Parameter(torch.zeros(num_visible))  # b
        self.hidden_bias = nn.Parameter(torch.zeros(num_hidden))  # c
        if num_classes:
            self.class_weight = nn.Parameter(initial_std * torch.randn(num_classes, num_hidden))  # U
            self.class_bias = nn.Parameter(torch.zeros(num_classes))  # d
        self.register_buffer("visible_mean", torch.full((num_visible,), 0.5))  # mu
        self.register_buffer("hidden_mean", torch.full((num_hidden,), 0.0 if gaussian_hidden else 0.5))
        class_mean = torch.full((num_classes,), 1 / num_classes) if num_classes else None
        self.register_buffer("class_mean", class_mean)  # nu

    # ---- conditional distributions ----

    def hidden_logits(self, v: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Return a, the logits of the hidden units given the others.

        Args:
            v: [N, D] in [0, 1].
            y: [N, K]; None: at its mean, which adds nothing.

        Returns:
            float32 [N, H].
        """
        a = (v.float() - self.visible_mean.float()) @ self.weight.float() + self.hidden_bias.float()
        if y is not None:
            a = a + (y - self.class_mean.float()) @ self.class_weight.float()
        return a

    def forward(self, v: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Return `hidden_logits`: one pass up, which is what a Gibbs step costs beside the pass down."""
        return self.hidden_logits(v, y)

    def hidden_means(self, a: torch.Tensor) -> torch.Tensor:
        """Return the means of the hidden units given their logits a: probabilities, or a itself for Gaussian units."""
        return a if self.gaussian_hidden else a.sigmoid()

    def sample_hidden(self, a: torch.Tensor, uniform: torch.Tensor, beta: float = 1.0) -> torch.Tensor:
        """Draw hidden units given their logits a, both [N, H], with numbers in [0, 1): float32 [N, H]."""
        if self.gaussian_hidden:
            return a + torch.special.ndtri(uniform.clamp(1e-6, 1 - 1e-6)) / beta**0.5
        return (uniform < (beta * a).sigmoid()).float()

    def visible_logits(self, h: torch.Tensor, beta: float = 1.0, base: float = 0.0) -> torch.Tensor:
        """Return the logits of the visible units given hidden units: [N, H] in [0, 1] -> float32 [N, D]."""
        centred = h.float() - self.hidden_mean.float()
        logits = beta * (centred @ self.weight.float().T + self.visible_bias.float())
        return logits + base * self.base_visible_logits() if base else logits

    def class_logits(self, h: torch.Tensor, beta: float = 1.0, base: float = 0.0) -> torch.Tensor:
        """Return the logits of the classes given hidden units: [N, H] in [0, 1] -> float32 [N, K]."""
        centred = h.float() - self.hidden_mean.float()
        logits = beta * (centred @ self.class_weight.float().T + self.class_bias.float())
        return logits + base * self.base_class_logits() if base else logits

    def base_visible_logits(self) -> torch.Tensor:
        """Return logit(mu) of E_0, float32 [D], with mu kept away from 0 and 1."""
        return torch.logit(self.visible_mean.float().clamp(RAREST, 1 - RAREST))

    def base_class_logits(self) -> torch.Tensor:
        """Return log(nu) of E_0, float32 [K], with nu kept away from 0."""
        return self.class_mean.float().clamp(min=RAREST).log()

    # ---- free energy ----

    def free_energy(
        self, v: torch.Tensor, y: torch.Tensor | None = None, beta: float = 1.0, base: float = 0.0
    ) -> torch.Tensor:
        """Return F(v, y), or F(v) = -log sum_y exp(-F(v, y)) where no class is given and the machine has class units.

        Args:
            v: [N, D], 0 or 1.
            y: one-hot [N, K], or None.

        Returns:
            float32 [N], nats.
        """
        if y is None and self.num_classes:
            return -torch.logsumexp(-self.class_free_energies(v, beta, base), 1)
        return self.free_energy_given(self.hidden_logits(v, y), v, y, beta, base)

    def free_energy_given(
        self, a: torch.Tensor, v: torch.Tensor, y: torch.Tensor | None = None, beta: float = 1.0, base: float = 0.0
    ) -> torch.Tensor:
        """Return F(v, y) from the logits a of the hidden units, [N, H], which several `beta` share; without y, F(v, mean of y)."""
        return self._visible_energy(v, beta, base) - self._gain(a, beta) + self._class_energy(y, beta, base)

    def class_free_energies(self, v: torch.Tensor, beta: float = 1.0, base: float = 0.0) -> torch.Tensor:
        """Return F(v, y) for each class y: [N, D] -> float32 [N, K]. Their softmax over -F is p(y | v), exactly."""
        y = torch.eye(self.num_classes, device=v.device, dtype=torch.float32)
        shift = (y - self.class_mean.float()) @ self.class_weight.float()  # [K, H]
        gain = self._gain(self.hidden_logits(v)[:, None] + shift, beta)  # [N, K]
        return self._visible_energy(v, beta, base)[:, None] - gain + self._class_energy(y, beta, base)

    def flipped_free_energies(self, v: torch.Tensor, y: torch.Tensor | None = None) -> torch.Tensor:
        """Return the free energies of v with one unit changed, for each unit: float32 [N, D].

        Changing v_i adds (1 - 2 v_i) W_i to a, so no matrix product is needed. Without y, class units are at their mean.
        """
        a, weight, b = self.hidden_logits(v, y), self.weight.float(), self.visible_bias.float()
        energy = self._visible_energy(v) + self._class_energy(y)
        step = 1 - 2 * v.float()  # [N, D]
        rows = [
            e - s * b - self._gain(a_n + s[:, None] * weight, 1.0)  # row by row: [D, H] each
            for e, s, a_n in zip(energy.expand(len(v)), step, a, strict=True)
        ]
        return torch.stack(rows)

    def _gain(self, a: torch.Tensor, beta: float) -> torch.Tensor:
        """Return what the hidden units add to -F, given their logits: [..., H] -> [...]."""
        gain = beta * a.square() / 2 if self.gaussian_hidden else F.softplus(beta * a)
        return gain.sum(-1) - beta * (a @ self.hidden_mean.float())

    def _visible_energy(self, v: torch.Tensor, beta: float = 1.0, base: float = 0.0) -> torch.Tensor:
        energy = -beta * ((v.float() - self.visible_mean.float()) @ self.visible_bias.float())
        return energy - base * (v.float() @ self.base_visible_logits()) if base else energy

    def _class_energy(self, y: torch.Tensor | None, beta: float = 1.0, base: float = 0.0) -> torch.Tensor:
        if y is None:
            return torch.zeros((), device=self.weight.device, dtype=torch.float32)
        energy = -beta * ((y - self.class_mean.float()) @ self.class_bias.float())
        return energy - base * (y @ self.base_class_logits()) if base else energy

    def base_log_partition(self) -> torch.Tensor:
        """Return log Z of beta = 0 and base = 1, in closed form, nats. Hidden units must be binary."""
        log_z = self.num_hidden * torch.log(torch.tensor(2.0)) + F.softplus(self.base_visible_logits().cpu()).sum()
        return log_z + torch.logsumexp(self.base_class_logits().cpu(), 0) if self.num_classes else log_z

    # ---- centring ----

    @property
    def is_centred(self) -> bool:
        """Whether `set_visible_mean` was called, so that mu holds the data's means."""
        return bool((self.visible_mean != 0.5).any())

    @torch.no_grad()
    def set_visible_mean(self, v_mean: torch.Tensor, y_mean: torch.Tensor | None = None) -> None:
        """Put the centre of the visible units at the data's means, and the biases where independent units have these means.

        Args:
            v_mean: [D].
            y_mean: [K], or None.
        """
        self.visible_mean.copy_(v_mean)
        self.visible_bias.copy_(self.base_visible_logits())
        if y_mean is not None:
            self.class_mean.copy_(y_mean)
            self.class_bias.copy_(self.base_class_logits())

    @torch.no_grad()
    def move_hidden_mean(self, h: torch.Tensor, rate: float) -> None:
        """Move the centre of the hidden units towards the mean of a batch, and the biases so that no distribution changes.

        Melchior et al. 2016, algorithm 1. Under torchrun the mean is over all processes.

        Args:
            h: hidden probabilities [N, H].
            rate: of the moving average, 0 ... 1.
        """
        mean = h.mean(0)
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(mean)
            mean /= dist.get_world_size()
        shift = rate * (mean - self.hidden_mean)
        self.hidden_mean.add_(shift)
        self.visible_bias.add_(self.weight @ shift)
        if self.num_classes:
            self.class_bias.add_(self.class_weight @ shift)
