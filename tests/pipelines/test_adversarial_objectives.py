"""Objectives of adversaries against closed forms: slopes, duality, clipping, and what augmentation does."""

import math

import pytest
import torch
from torch import nn

from pipelines.adversarial_objectives import (
    OBJECTIVES,
    augment,
    clip_weights,
    critic_loss,
    generator_loss,
    gradient_norm,
    held_out,
    penalty,
)


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def plane_critic(width=32):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(1, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))
    return network, lambda x: network(x)[:, 0]


# ---- the critic's slope ----


def test_the_slope_of_critics_with_known_gradients():
    x, a = numbers(5, 2, 3, 3), numbers(2, 3, 3, seed=1)
    linear = gradient_norm(lambda x: (a * x).sum((1, 2, 3)), x)
    assert torch.allclose(linear, a.norm().expand(5), rtol=1e-3)
    square = gradient_norm(lambda x: x.square().sum((1, 2, 3)) / 2, x)
    assert torch.allclose(square, x.flatten(1).norm(dim=1), rtol=1e-3)
    assert gradient_norm(lambda x: 0 * x.sum((1, 2, 3)), x).abs().max() == 0, "a flat critic has no direction"


def test_the_slope_has_the_derivative_that_double_backward_has():
    network, critic = plane_critic()
    x = numbers(16, 1)
    y = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(y).sum(), y, create_graph=True)
    (gradient.norm(dim=1) - 1).square().mean().backward()
    exact = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    (gradient_norm(critic, x) - 1).square().mean().backward()
    found = [p.grad for p in network.parameters() if p.grad is not None]
    for a, b in zip(exact[:-1], found[:-1], strict=False):
        assert torch.allclose(a, b, atol=2e-3 * a.abs().max().item())


def test_penalties_of_a_critic_with_slope_three():
    a = torch.tensor([0.0, 3.0])
    real, fake, uniform = numbers(8, 2), numbers(8, 2, seed=1), torch.rand(8)
    found = {name: penalty(name, lambda x: x @ a, real, fake, uniform) for name in OBJECTIVES}
    assert found["wgan_clip"] is None
    assert found["wgan_gp"].item() == pytest.approx(4.0, rel=1e-2)  # (3 - 1)^2
    assert found["non_saturating"].item() == pytest.approx(4.5, rel=1e-2)  # 9 / 2
    assert found["relativistic"].item() == pytest.approx(9.0, rel=1e-2)  # (9 + 9) / 2


def test_the_gradient_penalty_looks_between_real_and_fake():
    seen = []
    real, fake = torch.zeros(3, 2), torch.ones(3, 2)
    penalty("wgan_gp", lambda x: (seen.append(x.detach()), x.sum(1))[1], real, fake, torch.tensor([0.0, 0.25, 1.0]))
    assert torch.equal(seen[0], torch.tensor([[1.0, 1.0], [0.75, 0.75], [0.0, 0.0]]))


# ---- duality ----


def test_duality_on_two_gaussians():
    """W1(N(0, 1), N(3, 1)) = 3, the shift; no critic of slope 1 says more, and a trained one comes near."""
    network, critic = plane_critic()
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3, betas=(0.0, 0.9))
    source = torch.Generator().manual_seed(0)
    for _ in range(250):
        real, fake = (torch.randn(128, 1, generator=source) + shift for shift in (3.0, 0.0))
        slope = penalty("wgan_gp", critic, real, fake, torch.rand(128, generator=source))
        loss = critic_loss("wgan_gp", critic(real), critic(fake)).mean() + 10 * slope
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    real, fake = numbers(4000, 1) + 3, numbers(4000, 1, seed=1)
    with torch.no_grad():
        estimate = (critic(real).mean() - critic(fake).mean()).item()
    between = torch.lerp(real[:400], fake[:400], torch.linspace(0, 1, 400)[:, None])
    slope = gradient_norm(critic, between).mean().item()
    assert estimate / slope == pytest.approx(3.0, abs=0.2)
    # the slope s that maximises s W1 - 10 (s - 1)^2 is 1 + 3 / 20
    assert slope == pytest.approx(1.15, abs=0.15)


def test_clipped_weights_bound_the_slope_far_below_one():
    network, critic = plane_critic()
    clip_weights(network, 0.01)
    assert all(p.abs().max() <= 0.01 for p in network.parameters())
    assert gradient_norm(critic, numbers(50, 1)).max() < 1e-3, "so its estimate of a distance of 3 is under 0.003"


# ---- losses ----


def test_losses_at_scores_that_are_known():
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([-1.0, 0.0])
    log2 = math.log(2)

    def softplus(v):
        return math.log1p(math.exp(v))

    expected = {
        "non_saturating": ([softplus(-2) + softplus(-1), 2 * log2], [softplus(1), log2]),
        "wgan_gp": ([-3.0, 0.0], [1.0, 0.0]),
        "wgan_clip": ([-3.0, 0.0], [1.0, 0.0]),
        "relativistic": ([softplus(-3), log2], [softplus(3), log2]),
    }
    for name, (critic, generator) in expected.items():
        assert torch.allclose(critic_loss(name, real, fake), torch.tensor(critic))
        assert torch.allclose(generator_loss(name, real, fake), torch.tensor(generator))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_only_fake_scores_pull_the_generator(name):
    real, fake = torch.zeros(3, requires_grad=True), torch.zeros(3, requires_grad=True)
    generator_loss(name, real, fake).sum().backward()
    assert real.grad is None and (fake.grad < 0).all()


# ---- pictures that are held out, and augmentation ----


def test_held_out_pictures_are_few_and_always_the_same():
    images = torch.randint(256, (4000, 1, 8, 8), generator=torch.Generator().manual_seed(0)) / 127.5 - 1
    held = held_out(images)
    assert 0.015 < held.float().mean() < 0.05
    assert torch.equal(held, held_out(images)) and torch.equal(held, held_out(images.flip(-1)))


def test_augmentation():
    x = (numbers(6, 3, 16, 16) / 3).clamp(-1, 1).requires_grad_()
    assert torch.equal(augment(x, (), None), x)
    moved = augment(x, ("translation",), torch.Generator().manual_seed(1))
    padded = nn.functional.pad(x, [2] * 4, mode="replicate")
    for i in range(len(x)):  # each picture moved as a whole, by two pixels at most
        places = [padded[i, :, a : a + 16, b : b + 16] for a in range(5) for b in range(5)]
        assert any(torch.equal(moved[i], place) for place in places)
    cut = augment(x, ("cutout",), torch.Generator().manual_seed(1))
    changed = (cut != x).any(1).flatten(1).float().mean(1)
    assert (changed <= 0.26).all() and changed.max() > 0.1
    for kinds in (("translation",), ("colour",), ("translation", "cutout", "colour")):
        (gradient,) = torch.autograd.grad(augment(x, kinds, torch.Generator().manual_seed(1)).square().sum(), x)
        assert gradient.abs().sum() > 0
    again = [augment(x, ("translation", "cutout", "colour"), torch.Generator().manual_seed(2)) for _ in range(2)]
    assert torch.equal(*again)
