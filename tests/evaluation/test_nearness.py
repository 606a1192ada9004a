"""Nearness to the training data, against answers known beforehand."""

import pytest
import torch

from genarium.errors import GenariumError
from genarium.evaluation.nearness import class_weights, compare_distances, nearest_distances, weighted_quantile


def normal(number, seed, size=16):
    return torch.randn(number, size, generator=torch.Generator().manual_seed(seed))


def test_nearest_distances_of_points_on_a_line():
    points = torch.tensor([[0.0], [2.4], [10.0]])
    support = torch.tensor([[0.0], [3.0], [5.0], [-1.0]])
    assert torch.allclose(nearest_distances(points, support, chunk=2), torch.tensor([0.0, 0.6, 5.0]))


def test_distance_to_itself_is_exactly_zero_though_far_from_the_origin():
    points = 1000 + normal(50, 0)
    assert (nearest_distances(points, points, chunk=7) == 0).all()


def test_eight_bit_images_do_not_wrap_around():
    black, white = torch.zeros(1, 3, 4, 4, dtype=torch.uint8), torch.full((1, 3, 4, 4), 255, dtype=torch.uint8)
    assert nearest_distances(black, white).item() == pytest.approx(255 * 48**0.5)


def test_points_of_another_shape_and_an_empty_support_are_refused():
    with pytest.raises(GenariumError, match="one shape"):
        nearest_distances(normal(3, 0, 4), normal(3, 1, 5))
    with pytest.raises(GenariumError, match="one shape"):
        nearest_distances(normal(3, 0), normal(0, 1))


def test_weighted_quantile_counts_weights():
    values = torch.tensor([3.0, 1.0, 2.0, 4.0])
    assert weighted_quantile(values, 0.5) == 2.0
    assert weighted_quantile(values, 0.01) == 1.0
    assert weighted_quantile(values, 1.0) == 4.0
    assert weighted_quantile(values, 0.5, torch.tensor([1.0, 0.0, 0.0, 3.0])) == 4.0
    assert weighted_quantile(values, 0.2, torch.tensor([1.0, 0.0, 0.0, 3.0])) == 3.0


def test_class_weights_give_the_classes_their_share_of_the_samples():
    test, samples = torch.tensor([0, 0, 0, 1]), torch.tensor([0, 1, 1, 1])
    weights = class_weights(test, samples)
    assert weights[test == 0].sum() == pytest.approx(1.0) and weights[test == 1].sum() == pytest.approx(3.0)
    assert class_weights(torch.tensor([0, 2]), torch.tensor([0, 1])).tolist() == [1.0, 0.0]


def test_new_points_of_the_same_distribution_are_rarely_copies():
    train, test, samples = normal(1000, 0), normal(1000, 1), normal(1000, 2)
    found = compare_distances(nearest_distances(samples, train), nearest_distances(test, train))
    assert found.share_of_copies < 0.03
    assert found.samples == pytest.approx(found.test, rel=0.05)


def test_memorised_points_are_copies_one_for_one():
    train, test = normal(1000, 0), normal(1000, 1)
    samples = torch.cat([train[:300] + 0.01 * normal(300, 3), normal(700, 2)])
    found = compare_distances(nearest_distances(samples, train), nearest_distances(test, train))
    assert found.copies[:300].all()
    assert 0.3 <= found.share_of_copies < 0.33


def test_samples_of_the_narrow_class_alone_are_no_copies_once_classes_count_alike():
    # Class 1 is narrow: its new points lie close to the training points without being copies of them.
    narrow = 0.01
    train = torch.cat([normal(500, 0), narrow * normal(500, 1) + 100])
    test = torch.cat([normal(990, 2), narrow * normal(10, 3) + 100])
    samples = narrow * normal(100, 4) + 100
    labels = (torch.arange(1000) >= 990).long()
    distances = nearest_distances(samples, train), nearest_distances(test, train)
    weights = class_weights(labels, torch.ones(100, dtype=torch.int64))
    assert compare_distances(*distances).share_of_copies > 0.3
    assert compare_distances(*distances, weights).share_of_copies < 0.2


def test_nothing_to_measure_is_refused():
    with pytest.raises(GenariumError, match="at least one"):
        compare_distances(torch.empty(0), torch.ones(3))
