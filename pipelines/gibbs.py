"""Gibbs sampling of restricted Boltzmann machines, and the gradient that it gives for training.

    W <- W + rate (<(v - mu)(h - lambda)'>_data - <(v - mu)(h - lambda)'>_model)

Contrastive divergence (CD-k) starts the chain of the second term at the data and makes k steps. Persistent contrastive
divergence (PCD) goes on from where the chain was after the last update.

Papers:
    Hinton: Training Products of Experts by Minimizing Contrastive Divergence, 2002, https://doi.org/10.1162/089976602760128018
    Tieleman: Training Restricted Boltzmann Machines using Approximations to the Likelihood Gradient, 2008,
        https://doi.org/10.1145/1390156.1390290 (PCD)
    Geyer: Practical Markov Chain Monte Carlo, 1992, https://doi.org/10.1214/ss/1177011137 (the initial positive sequence)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import nn

from pipelines.boltzmann import BoltzmannMachine
from pipelines.random_rows import Draw, uniform_rows


def one_of(p: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Choose a class in each row by its probability: [N, K] and numbers in [0, 1) [N, 1] -> one-hot float32 [N, K]."""
    chosen = (uniform >= p.cumsum(1)[:, :-1]).sum(1)
    return F.one_hot(chosen, p.shape[1]).float()


def gibbs_step(
    machine: BoltzmannMachine,
    v: torch.Tensor,
    y: torch.Tensor | None,
    draw: Draw,
    beta: float = 1.0,
    base: float = 0.0,
    clamp_class: bool = False,
    a: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
    """Draw the hidden units given the others, then the others given the hidden units.

    Args:
        v: visible units [N, D].
        y: class units, one-hot [N, K]; None for a machine without them.
        draw: where the random numbers come from.
        beta, base: see `BoltzmannMachine`.
        clamp_class: leave y as it is.
        a: logits of the hidden units given v and y, where they are known already, [N, H].

    Returns:
        (v, y, p), with the probabilities p of the visible units that v was drawn from.
    """
    d, hidden = machine.num_visible, machine.num_hidden
    uniform = draw(d + hidden + 1)
    h = machine.sample_hidden(machine(v, y) if a is None else a, uniform[:, d:-1], beta)
    p = machine.visible_logits(h, beta, base).sigmoid()
    if y is not None and not clamp_class:
        y = one_of(machine.class_logits(h, beta, base).softmax(1), uniform[:, -1:])
    return (uniform[:, :d] < p).float(), y, p


def independent_units(machine: BoltzmannMachine, number: int, draw: Draw) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Draw visible units and classes from the data's means alone: v [N, D] and y one-hot [N, K] or None."""
    uniform = draw(machine.num_visible + 1)
    v = (uniform[:, :-1] < machine.base_visible_logits().sigmoid()).float()
    if not machine.num_classes:
        return v, None
    p = machine.base_class_logits().softmax(0).expand(number, -1)
    return v, one_of(p, uniform[:, -1:])


class PersistentChains(nn.Module):
    """The state of the chains of PCD between two updates. Only training needs it. It is not part of a checkpoint.

    Args:
        number: of chains, M.
        num_visible: D.
        num_classes: K.
    """

    visible: torch.Tensor
    classes: torch.Tensor | None
    started: torch.Tensor

    def __init__(self, number: int, num_visible: int, num_classes: int):
        super().__init__()
        self.register_buffer("visible", torch.zeros(number, num_visible))
        self.register_buffer("classes", torch.zeros(number, num_classes) if num_classes else None)
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    @torch.no_grad()
    def advance(self, machine: BoltzmannMachine, steps: int, draw: Draw) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Make Gibbs steps with the machine as it is now; return v [M, D] and y one-hot [M, K] or None.

        Args:
            draw: uniform numbers for M chains.
        """
        if self.started:
            v, y = self.visible, self.classes
        else:
            v, y = independent_units(machine, len(self.visible), draw)
        for _ in range(steps):
            v, y, _ = gibbs_step(machine, v, y, draw)
        self.visible.copy_(v)
        if self.classes is not None and y is not None:
            self.classes.copy_(y)
        self.started.fill_(True)
        return v, y


def contrastive_loss(
    machine: BoltzmannMachine,
    v: torch.Tensor,
    y: torch.Tensor | None,
    steps: int,
    generator: torch.Generator | None,
    chains: PersistentChains | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return a scalar whose gradient is the estimate of (P)CD: mean F(data) - mean F(end of the chains).

    The value itself is no measure of progress: it is about 0 whenever the chains and the data have the same free energy.

    Args:
        v: data, 0 or 1, [B, D].
        y: one-hot [B, K]; None for a machine without class units.
        steps: k, Gibbs steps.
        generator: of the chains.
        chains: of PCD, which this moves on; None: CD, from the data.

    Returns:
        (scalar, {"free_energy_gap", "reconstruction_nats": cross-entropy of the data after one step up and down}).
    """
    with torch.no_grad():
        if chains is not None:
            source = uniform_rows(len(chains.visible), generator, v.device)
            v_model, y_model = chains.advance(machine, steps, source)
        else:
            source, y_model = uniform_rows(len(v), generator, v.device), y
            v_model = v
            for _ in range(steps):
                v_model, y_model, _ = gibbs_step(machine, v_model, y_model, source)
        logits = machine.visible_logits(machine.hidden_means(machine.hidden_logits(v, y)))
        nats = F.binary_cross_entropy_with_logits(logits, v, reduction="none").sum(1).mean()
    gap = machine.free_energy(v, y).mean() - machine.free_energy(v_model, y_model).mean()
    return gap, {"free_energy_gap": gap.detach(), "reconstruction_nats": nats}


def means_of(
    batches: Iterable[dict], to_units: Callable[[torch.Tensor], torch.Tensor], num_classes: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the means of a machine's visible units and of its class units over training data.

    Args:
        batches: of `{"images", "class_labels"}`; images without class count for the visible units only.
        to_units: images [N, C, S, S] -> visible units [N, D] in [0, 1].
        num_classes: K.

    Returns:
        [D], and [K] or None for K = 0 or data without classes.
    """
    number, total, counts = 0, torch.zeros(()), torch.zeros(num_classes)
    for batch in batches:
        units, labels = to_units(batch["images"]).cpu(), batch.get("class_labels")
        number, total = number + len(units), total + units.double().sum(0)
        if num_classes and labels is not None:
            counts += torch.bincount(labels[labels >= 0].cpu(), minlength=num_classes)
    return (total / number).float(), counts / counts.sum() if counts.any() else None


# ---- how slowly a chain forgets ----


def autocorrelation(series: torch.Tensor) -> torch.Tensor:
    """Return the autocorrelation of stationary chains, averaged over chains and quantities.

    Each quantity counts by its variance. Mean and variance are over all chains, so a chain that is stuck in one place does not
    look as if it mixed.

    Args:
        series: [T, M, Q], T steps of M chains.

    Returns:
        float64 [T // 2], 1 at lag 0.
    """
    x = series.double() - series.double().mean((0, 1))
    steps = len(x)
    spectrum = torch.fft.rfft(x, n=2 * steps, dim=0)
    products = torch.fft.irfft(spectrum.abs().square(), n=2 * steps, dim=0)[: steps // 2].sum((1, 2))
    covariance = products / torch.arange(steps, steps - len(products), -1)  # unbiased: T - lag products each
    return covariance / covariance[0].clamp(min=1e-30)


def autocorrelation_time(correlation: torch.Tensor) -> float:
    """Return the integrated autocorrelation time in steps: how many steps of a chain are worth one independent sample.

    tau = 1 + 2 sum_k rho_k, up to where the sum of two neighbouring terms turns negative (Geyer 1992 sec. 3.3).
    """
    pairs = correlation[: len(correlation) // 2 * 2].reshape(-1, 2).sum(1)
    negative = (pairs <= 0).nonzero()
    end = int(negative[0]) if len(negative) else len(pairs)
    return max(1.0, 2 * float(pairs[:end].sum()) - 1)
