"""The Lab's data: densities, scores and distances against closed forms, and what visitors may give."""

import math

import numpy as np
import pytest
import torch

from genarium.errors import InputError
from genarium.tasks.lab.data import DATA_NAMES, FEWEST, MOST, SETS, data_points, density_of, known_density, parse_points
from genarium.tasks.lab.densities import Gaussians, Rectangles
from genarium.tasks.lab.distance import wasserstein1
from genarium.tasks.lab.frame import SIDE, Frame, Layer, pack, unpack


def torch_log_density(density, x, noise):
    """log p_s(x) in torch, written down anew from the definition, so that autograd can differentiate it."""
    x = x[:, None]
    if isinstance(density, Gaussians):
        means, weights = torch.from_numpy(density.means), torch.from_numpy(density.weights)
        variance = torch.from_numpy(density.deviations**2 + noise**2)
        logs = weights.log() - (2 * math.pi * variance).log() - (x - means).square().sum(2) / (2 * variance)
        return torch.logsumexp(logs, 1)
    low, high = torch.from_numpy(density.low), torch.from_numpy(density.high)
    masses = torch.special.ndtr((x - low) / noise) - torch.special.ndtr((x - high) / noise)
    return (masses / (high - low)).prod(2).mul(torch.from_numpy(density.weights)).sum(1).log()


@pytest.mark.parametrize("name", list(SETS))
@pytest.mark.parametrize("noise", [0.2, 1.0])
def test_scores_are_the_gradients_of_the_log_densities(name, noise):
    density, random = known_density(name), np.random.default_rng(0)
    x = density.draw(50, random) + noise * random.standard_normal((50, 2))
    free = torch.from_numpy(x).requires_grad_()
    logs = torch_log_density(density, free, noise)
    np.testing.assert_allclose(density.log_density(x, noise), logs.detach().numpy(), rtol=1e-6, atol=1e-8)
    (gradient,) = torch.autograd.grad(logs.sum(), free)
    np.testing.assert_allclose(density.score(x, noise), gradient.numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", list(SETS))
def test_densities_have_mass_one_and_draws_lie_where_they_say(name):
    density = known_density(name)
    line = np.linspace(-6, 6, 101)
    points = np.stack(np.meshgrid(line, line), 2).reshape(-1, 2)
    p = np.exp(density.log_density(points, 0.3))
    assert p.sum() * (line[1] - line[0]) ** 2 == pytest.approx(1, abs=2e-3)
    random = np.random.default_rng(1)
    drawn = density.draw(20_000, random) + 0.3 * random.standard_normal((20_000, 2))
    np.testing.assert_allclose(drawn.mean(0), (p @ points) / p.sum(), atol=0.07)
    np.testing.assert_allclose(drawn.std(0), np.sqrt(p @ points**2 / p.sum() - (p @ points / p.sum()) ** 2), atol=0.07)


@pytest.mark.parametrize("name", list(SETS))
def test_points_fit_the_square_and_depend_on_their_seed_alone(name):
    points = data_points(name, seed=3, number=2000)
    assert points.dtype == np.float32 and (np.abs(points) < SIDE).mean() > 0.999
    np.testing.assert_array_equal(points, data_points(name, seed=3, number=2000))
    assert not np.array_equal(points, data_points(name, seed=4, number=2000))


def test_a_rectangle_far_away_pulls_towards_itself():
    square = Rectangles(np.array([[0.0, 0.0]]), np.array([[1.0, 1.0]]))
    scores = square.score(np.array([[9.0, 0.5], [-8.0, 0.5]]), 0.4)
    assert scores[0, 0] < -40 and scores[1, 0] > 40
    np.testing.assert_allclose(scores[:, 1], 0, atol=1e-9)


def test_w1_of_two_points_is_their_distance():
    assert wasserstein1(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]])) == pytest.approx(5)


def test_w1_of_a_translated_set_is_the_length_of_the_translation():
    a = np.random.default_rng(0).normal(size=(300, 2))
    assert wasserstein1(a, a + [0.6, -0.8]) == pytest.approx(1)
    assert wasserstein1(a, a[::-1]) == 0


def test_w1_on_a_line_is_the_distance_of_the_sorted_values():
    a, b = np.random.default_rng(0).normal(size=(2, 200))
    lines = [np.stack([values, np.zeros(200)], 1) for values in (a, b)]
    assert wasserstein1(*lines) == pytest.approx(np.abs(np.sort(a) - np.sort(b)).mean())


def test_w1_needs_sets_of_one_size():
    with pytest.raises(ValueError, match="same number"):
        wasserstein1(np.zeros((2, 2)), np.zeros((3, 2)))


@pytest.mark.parametrize("separator", [",", ";", "\t", " ", ", "])
def test_csv_files_are_read(separator):
    rows = np.random.default_rng(0).uniform(-3, 3, (FEWEST, 2)).round(3)
    text = "\n".join([f"x{separator}y", *(f"{x}{separator}{y}" for x, y in rows)])
    np.testing.assert_allclose(parse_points(text), rows, atol=1e-6)
    np.testing.assert_allclose(parse_points(("\ufeff" + text).encode()), rows, atol=1e-6)


def test_points_outside_of_the_square_keep_their_shape():
    rows = np.random.default_rng(0).uniform(0, 1000, (100, 2))
    points = parse_points(rows)
    assert np.abs(points).max() <= SIDE
    np.testing.assert_allclose(
        np.ptp(points[:, 0]) / np.ptp(points[:, 1]), np.ptp(rows[:, 0]) / np.ptp(rows[:, 1]), rtol=1e-4
    )


def test_of_many_points_an_even_choice_is_taken():
    assert len(parse_points(np.zeros((MOST + 7, 2)))) == MOST


@pytest.mark.parametrize(
    "given, message",
    [
        ([[0.0, 1.0]] * (FEWEST - 1), "At least"),
        ([[0.0, 1.0, 2.0]] * FEWEST, "pairs"),
        ([[0.0, math.nan]] * FEWEST, "finite"),
        ([[0.0, 1e300]] * FEWEST, "finite"),
        (["word"] * FEWEST, "At least"),
        ("x,y\n1,2\nthree,4\n", "Line 3"),
        ("", "At least"),
        (None, "pairs"),
        (7, "pairs"),
    ],
)
def test_points_that_are_none_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        parse_points(given)


def test_drawn_data_need_points_and_their_density_is_around_them():
    with pytest.raises(InputError, match="Draw some points"):
        density_of("drawn")
    points = np.random.default_rng(0).uniform(-2, 2, (FEWEST, 2))
    density = density_of("drawn", points)
    assert density.log_density(points).min() > density.log_density(np.array([[3.5, 3.5]]))[0] + 50
    with pytest.raises(InputError, match="moons"):
        density_of("sun")
    assert "drawn" in DATA_NAMES


def test_packed_arrays_come_back():
    values = np.random.default_rng(0).normal(size=(5, 7, 2))
    values[0, 0, 0] = np.nan
    back = unpack(pack(values))
    assert back.shape == values.shape and np.isnan(back[0, 0, 0])
    np.testing.assert_allclose(back, values, atol=np.nanmax(np.abs(values)) / 65_000)
    np.testing.assert_array_equal(unpack(pack(np.zeros((3, 2)))), 0)


def test_a_frame_of_a_thousand_points_is_small():
    import json

    frame = Frame(1, 2, 0.5, math.nan, {"mse": 0.1234567}, None, np.ones((1000, 2), dtype=np.float32))
    text = json.dumps(frame.to_json(), allow_nan=False)
    assert len(text) < 6000
    assert frame.to_json()["loss"] is None and frame.to_json()["parts"] == {"mse": 0.12346}


def test_layers_have_the_shape_of_their_kind():
    with pytest.raises(ValueError, match="shape"):
        Layer("a", "points", np.zeros((3, 3)))
    with pytest.raises(ValueError, match="feet"):
        Layer("a", "arrows", np.zeros((3, 2)))
    with pytest.raises(ValueError, match="feet"):
        Layer("a", "points", np.zeros((3, 2)), at=np.zeros((3, 2)))
