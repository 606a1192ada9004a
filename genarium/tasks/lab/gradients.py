"""How a gradient gets through a random choice: estimators beside the exact gradient, which enumeration knows.

A place p of the plane decides where a random point falls, and the loss is the squared distance of that point to a target:

    a choice     k ~ softmax(-|p - m_k|^2 / 2 w^2),   L = |m_k - target|^2        eight points m_k on a circle
    a Gaussian   x ~ N(p, w^2 I),                     L = |x - target|^2

    REINFORCE            L grad log p(k)                        Williams 1992, https://doi.org/10.1007/BF00992696
    with a baseline      (L - b) grad log p(k), b the mean loss of the other draws (Kool et al. 2019)
    Gumbel-softmax       grad |sum_k y_k m_k - target|^2 with y the relaxed choice (Jang et al. 2017 eq. 2)
    reparameterisation   grad |p + w eps - target|^2            Kingma and Welling 2013 sec. 2.4

The gradient is by p, so every estimate is an arrow in the plane. A mean over many draws shows the bias. Their scatter is the
variance.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from genarium.tasks.lab.frame import Frame, Layer
from pipelines.relaxation import relaxed_categorical

TEMPERATURES = (2.0, 0.5, 0.1)
CHOICES = 2.8 * torch.tensor([[math.cos(a), math.sin(a)] for a in torch.arange(8) * math.pi / 4], dtype=torch.float32)
WIDTH = 1.5  # w
PLACE, TARGET = torch.tensor([-0.4, 0.6]), torch.tensor([1.4, -0.9])
DRAWS, BATCHES = 1500, 6  # of each estimator, and the frames in which they come
GROUP = 10  # draws that share a baseline

Loss = Callable[[torch.Tensor], torch.Tensor]  # points [N, 2] -> [N]


def distance_to_target(x: torch.Tensor) -> torch.Tensor:
    """Return |x - target|^2 of points [N, 2]: [N]."""
    return (x - TARGET).square().sum(-1)


def choice_logits(place: torch.Tensor) -> torch.Tensor:
    """Return the logits of the eight choices at places [..., 2]: [..., 8]."""
    return -(place[..., None, :] - CHOICES).square().sum(-1) / (2 * WIDTH**2)


def exact_gradients() -> dict[str, torch.Tensor]:
    """Return the gradients of both expected losses by p, [2]: of the choice by enumeration, of the Gaussian in closed form."""
    place = PLACE.clone().requires_grad_()
    expected = (choice_logits(place).softmax(-1) * distance_to_target(CHOICES)).sum()
    (gradient,) = torch.autograd.grad(expected, place)
    return {"choice": gradient, "gaussian": 2 * (PLACE - TARGET)}  # E L = |p - target|^2 + 2 w^2


def _choices(number: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the losses of `number` draws [N], and grad log p of each [N, 2]."""
    p = choice_logits(PLACE).softmax(-1)
    drawn = torch.multinomial(p, number, replacement=True, generator=generator)
    # log p(k) has the gradient (m_k - sum_j p_j m_j) / w^2
    return distance_to_target(CHOICES[drawn]), (CHOICES[drawn] - p @ CHOICES) / WIDTH**2


def reinforce(number: int, generator: torch.Generator) -> torch.Tensor:
    """Return estimates L grad log p(k), [N, 2]."""
    loss, slope = _choices(number, generator)
    return loss[:, None] * slope


def reinforce_with_baseline(number: int, generator: torch.Generator) -> torch.Tensor:
    """Return estimates (L - b) grad log p(k), [N, 2]; b is the mean loss of the nine other draws of a group of ten."""
    loss, slope = _choices(math.ceil(number / GROUP) * GROUP, generator)
    groups = loss.reshape(-1, GROUP)
    baseline = (groups.sum(1, keepdim=True) - groups) / (GROUP - 1)
    return ((groups - baseline).reshape(-1, 1) * slope)[:number]


def gumbel_softmax(number: int, generator: torch.Generator, temperature: float) -> torch.Tensor:
    """Return estimates by relaxed choices at a temperature, [N, 2]."""
    places = PLACE.expand(number, 2).clone().requires_grad_()
    uniform = torch.rand(number, len(CHOICES), generator=generator)
    relaxed = relaxed_categorical(choice_logits(places), temperature, uniform)
    (gradients,) = torch.autograd.grad(distance_to_target(relaxed @ CHOICES).sum(), places)
    return gradients


def gaussian_reinforce(number: int, generator: torch.Generator) -> torch.Tensor:
    """Return estimates L grad log N(x; p, w^2), [N, 2]."""
    noise = torch.randn(number, 2, generator=generator)
    return distance_to_target(PLACE + WIDTH * noise)[:, None] * noise / WIDTH


def reparameterisation(number: int, generator: torch.Generator) -> torch.Tensor:
    """Return estimates grad |p + w eps - target|^2, [N, 2]."""
    return 2 * (PLACE + WIDTH * torch.randn(number, 2, generator=generator) - TARGET)


@dataclass(frozen=True)
class Estimator:
    """One way to estimate a gradient.

    Args:
        name: key of its text, and of its figures.
        label: its name, as it is written in any language.
        of: "choice" or "gaussian", what its gradient is of.
        draw: (number, generator) -> estimates [N, 2].
    """

    name: str
    label: str
    of: str
    draw: Callable[[int, torch.Generator], torch.Tensor]


def _relaxed(temperature: float) -> Estimator:
    def draw(number: int, generator: torch.Generator) -> torch.Tensor:
        return gumbel_softmax(number, generator, temperature)

    return Estimator(f"gumbel_softmax_{temperature:g}", f"Gumbel-softmax, τ = {temperature:g}", "choice", draw)


ESTIMATORS = (
    Estimator("reinforce", "REINFORCE", "choice", reinforce),
    Estimator("reinforce_with_baseline", "REINFORCE − b", "choice", reinforce_with_baseline),
    *(_relaxed(temperature) for temperature in TEMPERATURES),
    Estimator("gaussian_reinforce", "REINFORCE, N(p, w²)", "gaussian", gaussian_reinforce),
    Estimator("reparameterisation", "p + w ε, N(p, w²)", "gaussian", reparameterisation),
)


@dataclass(frozen=True)
class Measured:
    """What draws say of an estimator.

    Args:
        mean: of the estimates, float64 [2].
        bias: length of the difference between the mean and the exact gradient.
        error_of_bias: what an estimator without bias shows by chance, one standard deviation.
        variance: of an estimate, summed over both coordinates.
    """

    mean: np.ndarray
    bias: float
    error_of_bias: float
    variance: float


def measured(estimates: np.ndarray, exact: np.ndarray) -> Measured:
    """Measure bias and variance of estimates [N, 2] of an exact gradient [2]."""
    values = estimates.astype(np.float64)
    variance = float(values.var(0, ddof=1).sum()) if len(values) > 1 else 0.0
    mean = values.mean(0)
    return Measured(mean, float(np.linalg.norm(mean - exact)), math.sqrt(variance / len(values)), variance)


def measure(draws: int = 100_000, seed: int = 0) -> dict[str, Measured]:
    """Measure every estimator by so many draws."""
    exact = exact_gradients()
    return {
        e.name: measured(e.draw(draws, torch.Generator().manual_seed(seed)).numpy(), exact[e.of].numpy())
        for e in ESTIMATORS
    }


def frames(seed: int = 0, stop: threading.Event | None = None) -> Iterator[Frame]:
    """Return the lesson's frames: each estimator in turn, with more and more draws.

    The samples are the estimates, as points about the exact gradient's head. The exact gradient and the mean of the estimates
    are arrows from the middle. All of them are downhill, minus the gradient, and in one scale.

    The figures are `variance`, `bias` and `draws` of the estimator in sight, and `variance_NAME` of all so far. In a frame,
    `view` is the estimator's name.

    Args:
        seed: of the draws.
        stop: set it to end the frames.
    """
    exact = exact_gradients()
    scale = 1.5 / max(float(value.norm()) for value in exact.values())
    figures: dict[str, float] = {}
    total = len(ESTIMATORS) * BATCHES
    for i, estimator in enumerate(ESTIMATORS):
        true = exact[estimator.of].numpy()
        estimates = estimator.draw(DRAWS, torch.Generator().manual_seed(seed)).numpy()
        for j in range(BATCHES):
            if stop is not None and stop.is_set():
                return
            number = DRAWS * (j + 1) // BATCHES
            found = measured(estimates[:number], true)
            figures[f"variance_{estimator.name}"] = found.variance
            now = {"draws": float(number), "variance": found.variance, "bias": found.bias, **figures}
            middle = np.zeros((1, 2), dtype=np.float32)
            layers = (
                Layer("exact_gradient", "arrows", -scale * true[None], "truth", middle),
                Layer("mean_estimate", "arrows", -scale * found.mean[None], "model", middle),
            )
            step = i * BATCHES + j + 1
            yield Frame(
                step,
                total,
                0.0,
                math.nan,
                {},
                None,
                (-scale * estimates[:number]).astype(np.float32),
                layers,
                estimator.name,
                (step - 1) / (total - 1),
                estimator.label,
                now,
                step == total,
            )
