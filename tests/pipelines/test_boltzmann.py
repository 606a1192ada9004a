"""Boltzmann machines against enumeration: distributions, free energies, log Z, gradients, and how chains mix."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from pipelines.annealed_importance import log_partition, spaced_betas
from pipelines.binarization import binarize
from pipelines.boltzmann import BoltzmannMachine
from pipelines.gibbs import (
    PersistentChains,
    autocorrelation,
    autocorrelation_time,
    contrastive_loss,
    gibbs_step,
    independent_units,
    means_of,
    one_of,
)
from pipelines.random_rows import uniform_rows

D, H, K = 5, 3, 2


def bits(number):
    return torch.tensor(list(itertools.product([0.0, 1.0], repeat=number)))


def machine(num_classes=K, scale=1.0, seed=0, **options):
    torch.manual_seed(seed)
    found = BoltzmannMachine(D, H, num_classes, initial_std=scale, **options)
    with torch.no_grad():
        for name, p in found.named_parameters():
            if "bias" in name:
                p.normal_(std=scale)
        found.visible_mean.copy_(torch.rand(D) * 0.6 + 0.2)
        found.hidden_mean.copy_(torch.rand(H))
        if num_classes:
            found.class_mean.copy_(torch.tensor([0.3, 0.7]))
    return found


def minus_energies(m):
    """-E of every state by its definition: [2^D, K, 2^H]."""
    v, h, y = bits(D) - m.visible_mean, bits(H) - m.hidden_mean, torch.eye(K) - m.class_mean
    return (
        (v @ m.visible_bias)[:, None, None]
        + (y @ m.class_bias)[None, :, None]
        + (h @ m.hidden_bias)[None, None, :]
        + (v @ m.weight @ h.T)[:, None, :]
        + (y @ m.class_weight @ h.T)[None, :, :]
    ).double()


def draws(number, seed=0):
    return uniform_rows(number, torch.Generator().manual_seed(seed), torch.device("cpu"))


@torch.no_grad()
def test_conditionals_and_free_energies_are_those_of_the_energy():
    m = machine()
    log_p, v = minus_energies(m), bits(D)
    assert torch.allclose(m.class_free_energies(v).double(), -torch.logsumexp(log_p, 2), atol=1e-5)
    assert torch.allclose(m.free_energy(v).double(), -torch.logsumexp(log_p.flatten(1), 1), atol=1e-5)
    y = F.one_hot(torch.tensor([1]), K).float()
    assert torch.allclose(m.free_energy(v, y).double(), -torch.logsumexp(log_p[:, 1], 1), atol=1e-5)
    hidden = log_p[:, 1].softmax(1) @ bits(H).double()  # [2^D, H]
    assert torch.allclose(m.hidden_logits(v, y).sigmoid().double(), hidden, atol=1e-5)
    visible = log_p.permute(2, 0, 1).flatten(2).logsumexp(2).softmax(1) @ v.double()  # [2^H, D]
    assert torch.allclose(m.visible_logits(bits(H)).sigmoid().double(), visible, atol=1e-5)
    classes = log_p.permute(2, 1, 0).logsumexp(2).softmax(1)  # [2^H, K]
    assert torch.allclose(m.class_logits(bits(H)).softmax(1).double(), classes, atol=1e-5)


@torch.no_grad()
def test_flipped_free_energies_are_those_of_changed_states():
    m, v = machine(), bits(D)
    y = F.one_hot(torch.arange(len(v)) % K, K).float()
    for i in range(D):
        changed = v.clone()
        changed[:, i] = 1 - changed[:, i]
        assert torch.allclose(m.flipped_free_energies(v, y)[:, i], m.free_energy(changed, y), atol=1e-4)


@torch.no_grad()
def test_the_centre_changes_no_distribution():
    m = machine()
    before = minus_energies(m).flatten().softmax(0)
    m.move_hidden_mean(torch.rand(7, H), 0.5)
    assert torch.allclose(minus_energies(m).flatten().softmax(0), before, atol=1e-6)


@torch.no_grad()
def test_gibbs_steps_reach_the_distribution():
    m, number = machine(), 20000
    draw = draws(number)
    v, y = independent_units(m, number, draw)
    for _ in range(40):
        v, y, _ = gibbs_step(m, v, y, draw)
    p = minus_energies(m).logsumexp(2).flatten().softmax(0)  # [2^D K]
    state = (v @ torch.tensor([16.0, 8, 4, 2, 1])).long() * K + y.argmax(1)
    seen = torch.bincount(state, minlength=len(p)) / number
    assert ((seen - p).abs() < 5 * (p / number).sqrt() + 1e-3).all()


@torch.no_grad()
@pytest.mark.parametrize("num_classes", [0, K])
def test_annealed_importance_sampling_finds_log_z(num_classes):
    m = machine(num_classes)
    if num_classes:
        exact = minus_energies(m).flatten().logsumexp(0).item()
    else:
        exact = torch.logsumexp(-m.free_energy(bits(D)).double(), 0).item()
    found = log_partition(m, chains=400, temperatures=200)
    assert found["low"] < exact < found["high"] and abs(found["log_z"] - exact) < 0.05
    assert found["effective_chains"] > 300
    rough = log_partition(m, chains=400, temperatures=3)
    assert rough["high"] - rough["low"] > 2 * (found["high"] - found["low"])


def test_the_temperatures_rise_from_0_to_1():
    betas = spaced_betas(1000)
    assert spaced_betas(14)[1] == 0.5 and spaced_betas(14)[5] == pytest.approx(0.9)
    assert len(betas) == 1001 and betas[0] == 0 and betas[-1] == 1 and betas == sorted(set(betas))


def test_the_loss_has_the_gradient_of_the_likelihood():
    m = machine()
    torch.manual_seed(1)
    v, y = bits(D)[torch.randint(2**D, (6,))], F.one_hot(torch.randint(K, (6,)), K).float()
    minus_energies(m).flatten().logsumexp(0).backward()  # of log Z
    (m.free_energy(v, y).mean()).backward()
    exact = {name: p.grad.clone() for name, p in m.named_parameters()}
    m.zero_grad()
    chains = PersistentChains(20000, D, K)
    chains.advance(m, 30, draws(20000))
    contrastive_loss(m, v, y, 5, torch.Generator().manual_seed(1), chains)[0].backward()
    for name, p in m.named_parameters():
        # F of the centred machine and log Z of the energy share all constants, so that gradients agree as they are
        assert torch.allclose(p.grad, exact[name], atol=0.03), name


def test_contrastive_divergence_learns_a_distribution():
    torch.manual_seed(0)
    m = BoltzmannMachine(4, 8)
    patterns = torch.tensor([[1.0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 1, 0]])
    m.set_visible_mean(patterns.mean(0))
    chains, generator = PersistentChains(64, 4, 0), torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(m.parameters(), 0.03)
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.03 * (1 - step / 300)
        v = patterns[torch.randint(3, (64,), generator=generator)]
        m.move_hidden_mean(m.hidden_logits(v).sigmoid(), 0.05)
        optimizer.zero_grad()
        contrastive_loss(m, v, None, 10, generator, chains)[0].backward()
        optimizer.step()
    with torch.no_grad():
        log_z = torch.logsumexp(-m.free_energy(bits(4)), 0)
        nats = -m.free_energy(patterns) - log_z
    assert nats.mean() > math.log(1 / 3) - 0.3  # log 3 is perfect, and independent pixels reach 2.3


@torch.no_grad()
def test_gaussian_hidden_units_are_integrated_exactly():
    m, v = machine(0, gaussian_hidden=True, scale=0.5), bits(D)
    grid = torch.linspace(-9, 9, 361, dtype=torch.float64)
    a, total = m.hidden_logits(v).double(), -m._visible_energy(v).double()
    for j in range(H):
        exponent = a[:, j, None] * (grid - m.hidden_mean[j]) - grid.square() / 2
        total += torch.logsumexp(exponent, 1) + math.log(grid[1] - grid[0]) - math.log(2 * math.pi) / 2
    assert torch.allclose(m.free_energy(v).double(), -total, atol=1e-4)
    drawn = m.sample_hidden(a[:1].float().expand(20000, -1), draws(20000)(H))
    assert torch.allclose(drawn.mean(0), a[0].float(), atol=0.04) and torch.allclose(
        drawn.std(0), torch.ones(H), atol=0.04
    )


def test_autocorrelation_of_an_autoregressive_process():
    rho, steps = 0.8, 4000
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(steps, 20, 2, generator=generator)
    series = [noise[0]]
    for t in range(1, steps):
        series.append(rho * series[-1] + math.sqrt(1 - rho**2) * noise[t])
    correlation = autocorrelation(torch.stack(series))
    lags = torch.arange(10)
    assert torch.allclose(correlation[:10], rho ** lags.double(), atol=0.03)
    assert autocorrelation_time(correlation) == pytest.approx((1 + rho) / (1 - rho), rel=0.1)
    stuck = torch.randn(1, 20, 2, generator=generator).expand(100, -1, -1)
    assert autocorrelation(stuck)[-1] == pytest.approx(1, abs=1e-6)  # chains that never move are fully correlated


def test_persistent_chains_go_on_where_they_were():
    m = machine()
    whole, halves = PersistentChains(9, D, K), PersistentChains(9, D, K)
    expected = whole.advance(m, 4, source := draws(9))
    source = draws(9)
    halves.advance(m, 1, source)
    resumed = PersistentChains(9, D, K)
    resumed.load_state_dict(halves.state_dict())
    found = resumed.advance(m, 3, source)
    assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])
    assert torch.equal(resumed.visible, expected[0])


def test_random_rows_depend_on_their_own_generator():
    generators = [torch.Generator().manual_seed(seed) for seed in (3, 5)]
    both = uniform_rows(2, generators, torch.device("cpu"))(7)
    alone = uniform_rows(1, [torch.Generator().manual_seed(5)], torch.device("cpu"))(7)
    assert torch.equal(both[1:], alone)


def test_grey_values_are_the_probabilities_of_white():
    x = torch.tensor([-1.0, -0.5, 0.0, 1.0]).reshape(1, 1, 2, 2).expand(20000, -1, -1, -1)
    v = binarize(x, torch.Generator().manual_seed(0))
    assert set(v.unique().tolist()) == {0.0, 1.0}
    assert torch.allclose(v.mean(0), torch.tensor([0, 0.25, 0.5, 1]), atol=0.02)
    assert torch.equal(v, binarize(x, torch.Generator().manual_seed(0)))


def test_classes_are_chosen_by_their_probabilities():
    p = torch.tensor([[0.2, 0.5, 0.3]]).expand(20000, -1)
    assert torch.allclose(one_of(p, draws(20000)(1)).mean(0), p[0], atol=0.02)


def test_means_over_batches():
    x = torch.rand(10, 1, 2, 2)
    batches = [
        {"images": x[:6], "class_labels": torch.tensor([0, 1, 1, -1, 1, 1])},
        {"images": x[6:], "class_labels": None},
    ]
    units, classes = means_of(batches, lambda x: x.flatten(1), 2)
    assert torch.allclose(units, x.flatten(1).mean(0)) and torch.allclose(classes, torch.tensor([0.2, 0.8]))
    assert means_of(batches, lambda x: x.flatten(1), 0)[1] is None
