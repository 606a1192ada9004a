"""Annealed importance sampling (AIS): the logarithm of a partition function, with an interval.

A chain begins at a distribution whose Z is known and goes over T intermediate ones to the machine's. The weight of each chain,

    w = prod_t p*_t(x_t) / p*_{t-1}(x_t),     E[w] = Z_T / Z_0,

is unbiased for the ratio of the two (Neal 2001 eq. 11). The logarithm of its mean is not: it is too low on average, so that a
likelihood computed from it is too high rather than too low. The interval says how much the mean of the weights varies.

Papers:
    Neal: Annealed Importance Sampling, 2001, https://arxiv.org/abs/physics/9803008
    Salakhutdinov, Murray: On the Quantitative Analysis of Deep Belief Networks, 2008,
        https://doi.org/10.1145/1390156.1390266 (from the base rates to a machine, and the interval of 3 standard errors)
"""

from __future__ import annotations

import itertools
import math
from typing import TypedDict

import torch

from pipelines.boltzmann import BoltzmannMachine
from pipelines.gibbs import gibbs_step, independent_units
from pipelines.random_rows import uniform_rows


class LogPartition(TypedDict):
    """Estimate of log Z in nats, its interval of 3 standard errors of the weights, and the number of chains and temperatures.

    `effective_chains` is (sum w)^2 / sum w^2. Near 1 the estimate rests on one chain, and the interval means nothing.
    """

    log_z: float
    low: float
    high: float
    chains: int
    temperatures: int
    effective_chains: float


@torch.no_grad()
def log_partition(
    machine: BoltzmannMachine, chains: int = 128, temperatures: int = 10000, seed: int = 0
) -> LogPartition:
    """Estimate log Z of a machine, over visible, class and hidden units.

    Args:
        machine: its centre gives the base rates of the first distribution.
        chains: M.
        temperatures: T. The error falls with T, and the variance with M.
        seed: of the chains.
    """
    device = machine.weight.device
    draw = uniform_rows(chains, torch.Generator().manual_seed(seed), device)
    v, y = independent_units(machine, chains, draw)
    log_w = torch.zeros(chains, dtype=torch.float64)
    for t, (before, beta) in enumerate(itertools.pairwise(spaced_betas(temperatures))):
        a = machine(v, y)
        f_before, f = (machine.free_energy_given(a, v, y, b, 1 - b) for b in (before, beta))
        log_w += (f_before - f).double().cpu()
        if t < temperatures - 1:  # nothing is weighed after the last one
            v, y, _ = gibbs_step(machine, v, y, draw, beta, 1 - beta, a=a)
    return summary(log_w, float(machine.base_log_partition()), temperatures)


def spaced_betas(temperatures: int) -> list[float]:
    """Return T + 1 inverse temperatures from 0 to 1, more closely spaced towards 1.

    A 14th of the steps leads to 0.5 and another 4 to 0.9, as in Salakhutdinov and Murray 2008 section 4.
    """
    betas = []
    for t in range(temperatures):
        part = 14 * t / temperatures
        betas.append(0.5 * part if part < 1 else 0.5 + 0.1 * (part - 1) if part < 5 else 0.9 + (part - 5) / 90)
    return [*betas, 1.0]


def summary(log_w: torch.Tensor, log_z_0: float, temperatures: int) -> LogPartition:
    """Return estimate and interval from the logarithms of the weights, float64 [M] (Salakhutdinov and Murray 2008 eq. 11)."""
    number = len(log_w)
    top = float(log_w.max())
    w = (log_w - top).exp()
    mean, error = float(w.mean()), float(w.std()) / math.sqrt(number) if number > 1 else 0.0
    floor = float(w.min()) / number  # an interval that reaches below all weights is cut there
    low, high = max(mean - 3 * error, floor), mean + 3 * error
    return LogPartition(
        log_z=log_z_0 + top + math.log(mean),
        low=log_z_0 + top + math.log(low),
        high=log_z_0 + top + math.log(high),
        chains=number,
        temperatures=temperatures,
        effective_chains=float(w.sum() ** 2 / w.square().sum()),
    )
