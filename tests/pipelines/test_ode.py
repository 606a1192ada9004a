"""The solvers and the divergence against closed forms and against scipy."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from pipelines.likelihood import dequantized, log_standard_normal, random_signs, with_trace
from pipelines.ode import check_strength, dormand_prince, midpoint, reported_in_parts


def ignore(*state):
    pass


def test_the_midpoint_rule_has_order_two_both_ways():
    def error(number, times=(0.0, 1.0)):
        y = torch.ones(1, 1, dtype=torch.float64)
        path = torch.linspace(*times, number + 1, dtype=torch.float64).tolist()
        y = midpoint(lambda y, t, rows: -2 * t[:, None] * y, y, path, ignore)  # y = exp(-t^2)
        return abs(y.item() - math.exp(times[0] ** 2 - times[1] ** 2))

    assert error(20) / error(40) == pytest.approx(4, rel=0.1)
    assert error(20, (1.0, 0.0)) / error(40, (1.0, 0.0)) == pytest.approx(4, rel=0.1)


def test_the_midpoint_rule_reports_where_each_step_began():
    seen = []
    y = torch.zeros(2, 3)
    midpoint(lambda y, t, rows: torch.ones_like(y), y, [0.0, 0.5, 1.0], lambda *state: seen.append(state))
    assert [(step, t.tolist(), y[0, 0].item()) for step, t, y, _ in seen] == [(0, [0, 0], 0), (1, [0.5, 0.5], 0.5)]


def test_rk45_has_the_order_and_the_tolerance_it_claims():
    """dy/dt = -y with one very stiff sample: each has its own steps, and the stiff one does not slow the other down."""
    rates = torch.tensor([1.0, 40.0], dtype=torch.float64)
    start = torch.ones(2, 1, dtype=torch.float64)

    def solve(y, begin, end, tolerance, rates=rates):
        evaluations = torch.zeros(len(y), dtype=torch.int64)

        def field(y, t, rows):
            evaluations[rows] += 1
            return -rates[rows, None] * y

        return dormand_prince(field, y, begin, end, tolerance, ignore), evaluations

    for tolerance in (1e-3, 1e-6):
        y, evaluations = solve(start, 0.0, 1.0, tolerance)
        assert (y[:, 0] - torch.exp(-rates)).abs().max() < 5 * tolerance
    assert evaluations[1] > 2 * evaluations[0]
    alone, fewer = solve(start[:1], 0.0, 1.0, 1e-6)
    assert torch.equal(alone, y[:1]) and fewer == evaluations[0]
    back, _ = solve(y, 1.0, 0.0, 1e-8)
    assert back[0, 0].item() == pytest.approx(1, abs=1e-5)


def test_rk45_agrees_with_scipy():
    """A pendulum, for two starts at once, each with steps of its own; against scipy's solver at a fine tolerance."""

    def field(y, t, rows):
        return torch.stack([y[:, 1], -torch.sin(y[:, 0]) * (1 + t)], dim=1)

    starts = torch.tensor([[0.1, 0.0], [2.5, 1.0]], dtype=torch.float64)
    parts = []
    ends = dormand_prince(field, starts, 0.0, 5.0, 1e-8, lambda part, *_: parts.append(part))
    for start, end in zip(starts, ends, strict=True):
        exact = solve_ivp(lambda t, x: [x[1], -np.sin(x[0]) * (1 + t)], (0, 5), start.numpy(), rtol=1e-10, atol=1e-12)
        assert np.allclose(end.numpy(), exact.y[:, -1], atol=1e-6)
    assert parts == sorted(parts) and parts[-1] == 1
    assert torch.allclose(dormand_prince(field, ends, 5.0, 0.0, 1e-8, ignore), starts, atol=1e-6)


def test_rounding_does_not_hold_up_rk45():
    """A field that no step size makes smooth: every step is at its floor, and taken there."""
    calls = []

    def field(y, t, rows):
        calls.append(len(rows))
        return torch.randn(y.shape, generator=torch.Generator().manual_seed(len(calls))).to(y.dtype)

    dormand_prince(field, torch.zeros(1, 4), 0.0, 1.0, 1e-9, ignore, shortest=0.01)
    assert len(calls) < 1 + 6 * 110


def test_each_part_of_the_way_is_reported_once():
    seen = []
    report = reported_in_parts(lambda part, t: seen.append((part, t)), 4)
    for part in (0.1, 0.6, 0.6, 0.8, 1.0):
        report(part, part)
    assert seen == [(0, 0.6), (1, 0.6), (2, 0.8), (3, 1.0)]


@pytest.mark.parametrize("strength", [0.0, -0.5, 1.01, math.nan])
def test_a_strength_that_is_no_part_of_the_way_is_refused(strength):
    check_strength(1.0)
    with pytest.raises(ValueError, match="strength"):
        check_strength(strength)


# ---- densities ----


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_trace_is_exact_and_its_estimate_unbiased(dtype):
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(6, 6, generator=generator, dtype=torch.float64).to(dtype)
    x = torch.randn(2, 1, 2, 3, generator=generator).to(dtype)

    def f(x):  # the Jacobian at x is the matrix with another diagonal
        return (x.flatten(1) @ matrix.T + x.flatten(1) ** 3).reshape(x.shape)

    expected = matrix.trace() + 3 * x.square().flatten(1).sum(1)
    y, trace = with_trace(f, x, None)
    assert torch.equal(y, f(x)) and torch.allclose(trace, expected, atol=1e-4)
    probes = random_signs(torch.randn(3000, *x.shape, generator=generator))
    estimate = with_trace(f, x, probes)[1]
    assert set(probes.unique().tolist()) == {-1.0, 1.0}
    assert estimate.dtype == dtype and torch.allclose(estimate, expected, atol=0.5)
    assert not y.requires_grad and not estimate.requires_grad


def test_dequantization_covers_one_level_evenly():
    x = torch.zeros(20_000)
    noise = dequantized(x, torch.randn(20_000, generator=torch.Generator().manual_seed(0)))
    assert noise.abs().max() <= 1 / 255 and noise.std().item() == pytest.approx(2 / 255 / math.sqrt(12), rel=0.02)


def test_the_density_of_noise():
    x = torch.randn(3, 2, 4)
    expected = torch.distributions.Normal(0, 1).log_prob(x).sum((1, 2))
    assert torch.allclose(log_standard_normal(x), expected, atol=1e-5)
