"""Relaxed draws against closed forms, and the gradients of discrete codes against enumeration."""

import itertools
import math

import pytest
import torch

from pipelines.relaxation import (
    bernoulli_kl_to_uniform,
    categorical_kl_to_uniform,
    relaxed_bernoulli,
    relaxed_categorical,
    temperature_at,
)

LOGITS = torch.tensor([0.5, -1.0, 1.2])


def uniform(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_temperature_falls_by_a_constant_factor():
    values = [temperature_at(progress, 1.0, 0.25) for progress in (0, 0.25, 0.5, 0.75, 1)]
    assert values[0] == 1.0 and values[-1] == pytest.approx(0.25) and values[2] == pytest.approx(0.5)
    assert all(b / a == pytest.approx(values[1]) for a, b in itertools.pairwise(values))


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_the_largest_entry_is_an_exact_draw_at_every_temperature(temperature):
    y = relaxed_categorical(LOGITS.expand(40000, 3), temperature, uniform(40000, 3))
    assert torch.allclose(y.sum(1), torch.ones(40000), atol=1e-5)
    shares = torch.bincount(y.argmax(1), minlength=3) / 40000
    assert torch.allclose(shares, LOGITS.softmax(0), atol=0.01)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_relaxed_bits_have_their_distribution_function(temperature):
    logit = 0.7
    y = relaxed_bernoulli(torch.full((40000,), logit), temperature, uniform(40000))
    for t in (0.05, 0.3, 0.5, 0.8, 0.97):  # P(y <= t) = sigmoid(tau logit(t) - l), Maddison et al. 2017 eq. 24
        exact = 1 / (1 + math.exp(logit - temperature * math.log(t / (1 - t))))
        assert (y <= t).float().mean().item() == pytest.approx(exact, abs=0.01)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_relaxed_classes_have_the_concrete_density(temperature):
    """For K = 3: the share of draws in a cell of the simplex is the integral of the density over it.

    p(y) = (K - 1)! tau^(K - 1) prod_k a_k y_k^(-tau - 1) / (sum_k a_k y_k^-tau)^K, Maddison et al. 2017 eq. 10
    """
    a, tau, number = LOGITS.double().exp(), temperature, 60000
    y = relaxed_categorical(LOGITS.expand(number, 3), tau, uniform(number, 3))
    side = 400
    grid = (torch.arange(side, dtype=torch.float64) + 0.5) / side
    first, second = torch.meshgrid(0.1 + 0.3 * grid, 0.2 + 0.3 * grid, indexing="ij")
    points = torch.stack([first, second, 1 - first - second], dim=-1)
    density = 2 * tau**2 * (a * points ** (-tau - 1)).prod(-1) / (a * points**-tau).sum(-1) ** 3
    exact = density.mean().item() * 0.09
    inside = (y[:, 0] > 0.1) & (y[:, 0] < 0.4) & (y[:, 1] > 0.2) & (y[:, 1] < 0.5)
    assert inside.double().mean().item() == pytest.approx(exact, abs=4 * math.sqrt(exact / number))


def test_straight_through_is_exact_forward_and_relaxed_backward():
    logits = LOGITS.expand(50, 3).clone().requires_grad_()
    u, weights = uniform(50, 3), torch.tensor([1.0, -2.0, 0.5])
    hard = relaxed_categorical(logits, 0.7, u, straight_through=True)
    assert torch.equal(hard.detach().round(), hard.detach().round().clamp(0, 1)) and (hard.detach().amax(1) == 1).all()
    (through,) = torch.autograd.grad((hard * weights).sum(), logits)
    (relaxed,) = torch.autograd.grad((relaxed_categorical(logits, 0.7, u) * weights).sum(), logits)
    assert torch.allclose(through, relaxed)
    bits = relaxed_bernoulli(logits, 0.7, u, straight_through=True)
    assert torch.allclose(bits.detach(), (relaxed_bernoulli(logits, 0.7, u) > 0.5).float(), atol=1e-6)


def quartic(y):
    """A loss of codes [..., 2] of two bits whose slope at the ends says little of the difference between them."""
    return (y[..., 0] + 0.5 * y[..., 1]) ** 4


def linear(y):
    return 1.5 * y[..., 0] - 2 * y[..., 1]


def gradients(loss, temperature, straight_through, number=200000):
    """Return the exact gradient over the four codes of two bits, and the mean of an estimator's."""
    logits = torch.tensor([0.4, -0.6], requires_grad=True)
    codes = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    p = logits.sigmoid()
    exact = ((codes * p + (1 - codes) * (1 - p)).prod(1) * loss(codes)).sum()
    y = relaxed_bernoulli(logits.expand(number, 2), temperature, uniform(number, 2), straight_through)
    return [torch.autograd.grad(value, logits)[0] for value in (exact, loss(y).mean())]


@pytest.mark.parametrize("straight_through", [False, True])
def test_the_gradient_of_a_linear_loss_nears_the_exact_one(straight_through):
    far, near = (gradients(linear, tau, straight_through) for tau in (2.0, 0.2))
    assert torch.allclose(*near, rtol=0.04, atol=0.01)
    assert (far[0] - far[1]).abs().max() > 0.1  # the bias of a high temperature


def test_only_the_relaxed_gradient_of_other_losses_nears_the_exact_one():
    exact, relaxed = gradients(quartic, 0.1, False)
    assert torch.allclose(exact, relaxed, rtol=0.08, atol=0.02)
    exact, through = gradients(quartic, 0.1, True)
    assert (exact - through).abs().max() > 0.05  # its bias stays at every temperature


def test_the_gradient_of_three_classes_nears_the_exact_one():
    values = torch.tensor([1.0, -0.5, 2.0])
    logits = LOGITS.clone().requires_grad_()
    (exact,) = torch.autograd.grad(logits.softmax(0) @ values, logits)
    for straight_through in (False, True):
        y = relaxed_categorical(logits.expand(100000, 3), 0.2, uniform(100000, 3), straight_through)
        (estimate,) = torch.autograd.grad((y @ values).mean(), logits)
        assert torch.allclose(exact, estimate, atol=0.02)


def test_divergences_from_uniform():
    assert categorical_kl_to_uniform(torch.full((4,), 0.25)).item() == pytest.approx(0, abs=1e-6)
    assert categorical_kl_to_uniform(torch.tensor([1.0, 0, 0, 0])).item() == pytest.approx(math.log(4))
    p = LOGITS.softmax(0)
    assert categorical_kl_to_uniform(p).item() == pytest.approx((p * (p * 3).log()).sum().item(), rel=1e-5)
    q = LOGITS.sigmoid()
    exact = q * (2 * q).log() + (1 - q) * (2 * (1 - q)).log()
    assert torch.allclose(bernoulli_kl_to_uniform(LOGITS), exact, atol=1e-6)
    assert bernoulli_kl_to_uniform(torch.tensor([0.0, 90.0, -90.0])).tolist() == pytest.approx(
        [0, math.log(2), math.log(2)], abs=1e-6
    )
