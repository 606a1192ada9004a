"""Gradients through a random choice: the estimators against enumeration."""

import threading

import numpy as np
import pytest
import torch

from genarium.tasks.lab.gradients import (
    CHOICES,
    ESTIMATORS,
    PLACE,
    TARGET,
    WIDTH,
    exact_gradients,
    frames,
    measure,
)

UNBIASED = ("reinforce", "reinforce_with_baseline", "gaussian_reinforce", "reparameterisation")


def test_the_exact_gradient_is_the_slope_of_the_enumerated_loss():
    def expected(place):
        weights = np.exp(-((place - CHOICES.numpy().astype(float)) ** 2).sum(1) / (2 * WIDTH**2))
        loss = ((CHOICES.numpy() - TARGET.numpy()) ** 2).sum(1)
        return weights @ loss / weights.sum()

    place, step = PLACE.numpy().astype(float), 1e-5
    slopes = [(expected(place + step * e) - expected(place - step * e)) / (2 * step) for e in np.eye(2)]
    np.testing.assert_allclose(exact_gradients()["choice"].numpy(), slopes, rtol=1e-4)


@pytest.fixture(scope="module")
def found():
    return measure(100_000, seed=1)


@pytest.mark.parametrize("name", UNBIASED)
def test_unbiased_estimators_are(found, name):
    assert found[name].bias < 4 * found[name].error_of_bias


def test_gumbel_softmax_trades_bias_for_variance(found):
    hot, warm, cold = (found[f"gumbel_softmax_{t}"] for t in ("2", "0.5", "0.1"))
    assert hot.bias > 20 * hot.error_of_bias and hot.bias > cold.bias
    assert hot.variance < warm.variance < cold.variance


def test_a_baseline_and_reparameterisation_lower_the_variance(found):
    assert found["reinforce_with_baseline"].variance < 0.5 * found["reinforce"].variance
    assert found["reparameterisation"].variance < 0.2 * found["gaussian_reinforce"].variance
    # of p + w eps the gradient is 2 (p + w eps - target), whose variance is 4 w^2 in each of two coordinates
    assert found["reparameterisation"].variance == pytest.approx(8 * WIDTH**2, rel=0.02)


def test_a_measurement_depends_on_its_seed_alone():
    first, second, other = measure(50, 2), measure(50, 2), measure(50, 3)
    for estimator in ESTIMATORS:
        assert first[estimator.name].variance == second[estimator.name].variance != other[estimator.name].variance


def test_the_lesson_shows_every_estimator_and_stops_when_asked():
    stop, seen = threading.Event(), []
    for frame in frames(0, stop):
        assert {layer.name for layer in frame.layers} == {"exact_gradient", "mean_estimate"}
        assert len(frame.samples) == frame.figures["draws"]
        seen.append(frame)
    assert seen[-1].finished and seen[-1].moment == 1
    assert {f"variance_{e.name}" for e in ESTIMATORS} < set(seen[-1].figures)
    several = frames(0, stop)
    next(several)
    stop.set()
    assert not list(several)


def test_estimators_draw_as_many_as_they_are_asked_for():
    for estimator in ESTIMATORS:
        assert estimator.draw(13, torch.Generator().manual_seed(0)).shape == (13, 2)
