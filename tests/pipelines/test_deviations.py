"""Anomaly terms in standard deviations of training images."""

import pytest
import torch

from pipelines.deviations import add_deviations, measure_terms


def test_terms_of_training_images_have_mean_zero_and_deviation_one():
    terms = {"error": 3 + 5 * torch.randn(200), "code": torch.rand(200) * 1e4}
    calibration = measure_terms(terms)
    for name, values in terms.items():
        alone = add_deviations({name: values}, calibration)
        assert alone.mean().abs() < 1e-4 and alone.std().item() == pytest.approx(1, abs=1e-4)
    both = add_deviations(terms, calibration)
    assert torch.allclose(both, sum(add_deviations({n: v}, calibration) for n, v in terms.items()))


def test_a_known_sum_and_terms_that_were_not_measured():
    terms = {"a": torch.tensor([1.0, 5.0]), "b": torch.tensor([2.0, 2.0])}
    assert add_deviations(terms, {"a": [1.0, 2.0], "b": [0.0, 4.0]}).tolist() == [0.5, 2.5]
    assert add_deviations(terms, {"a": [1.0, 2.0]}).tolist() == [2.0, 4.0]
    assert add_deviations(terms, None).tolist() == [3.0, 7.0]


def test_one_image_is_refused_and_a_constant_divides_by_no_zero():
    with pytest.raises(ValueError, match="at least two images"):
        measure_terms({"a": torch.ones(1)})
    calibration = measure_terms({"a": torch.ones(5)})
    assert add_deviations({"a": torch.ones(5)}, calibration).tolist() == [0.0] * 5
