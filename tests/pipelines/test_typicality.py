"""Typicality: the choice of the calibration images, the distance from them, and what a class adds to it."""

import math

import pytest
import torch

from pipelines.typicality import (
    CALIBRATION_BATCH_SIZE,
    NUM_CALIBRATION_IMAGES,
    calibrate,
    calibration,
    calibration_batches,
    class_calibration,
    log_error_ratio,
    reservoir,
    typicality_score,
)


def numbered(number, size=10, labels=True):
    """Batches of images that are their own places."""
    for start in range(0, number, size):
        places = torch.arange(start, min(start + size, number))
        yield {"images": places[:, None].float(), "class_labels": places if labels else None}


def test_the_reservoir_takes_images_from_all_over_with_their_labels():
    chosen = reservoir(numbered(2000), 400, labelled=True)
    places = torch.tensor([image.item() for image, _ in chosen])
    assert [label.item() for _, label in chosen] == places.tolist()
    assert len(set(places.tolist())) == 400
    quarters = torch.histc(places, 4, 0, 2000)
    assert (quarters - 100).abs().max() < 35
    again = reservoir(numbered(2000, size=7), 400, labelled=False)
    assert [image.item() for image, _ in again] == places.tolist(), "it does not depend on the size of batches"
    assert all(label is None for _, label in again)
    assert len(reservoir(numbered(30), 400, labelled=True)) == 30
    with pytest.raises(ValueError, match="two"):
        reservoir(numbered(1), 400, labelled=True)


def test_calibration_batches_have_a_generator_for_each_image_and_labels_if_all_have_one():
    batches = list(calibration_batches(numbered(600), labelled=True))
    assert sum(len(images) for images, _, _ in batches) == NUM_CALIBRATION_IMAGES
    assert [g.initial_seed() for _, _, generators in batches for g in generators] == list(range(NUM_CALIBRATION_IMAGES))
    assert all(torch.equal(images[:, 0].long(), labels) for images, labels, _ in batches)
    unknown = [{"images": torch.zeros(CALIBRATION_BATCH_SIZE, 1), "class_labels": torch.arange(64) - 1}]
    assert next(calibration_batches(unknown, labelled=True))[1] is None, "-1 is no class"
    assert next(calibration_batches(numbered(10), labelled=False))[1] is None


def test_the_distance_is_mahalanobis():
    generator = torch.Generator().manual_seed(0)
    mixing = torch.tensor([[2.0, 0.0], [1.0, 0.5]], dtype=torch.float64)
    features = 3 + torch.randn(4000, 2, generator=generator, dtype=torch.float64) @ mixing.T
    known = calibration(features)
    scores = typicality_score(features, known)
    assert scores.dtype == torch.float32 and scores.square().mean().item() == pytest.approx(2, rel=0.2)
    covariance = torch.cov(features.T)
    exact = typicality_score(features, {"mean": features.mean(0).tolist(), "covariance": covariance.tolist()})
    assert exact.square().mean().item() == pytest.approx(2, rel=1e-3)
    assert torch.allclose(typicality_score(features, None), features.norm(dim=1).float())


def test_a_constant_feature_does_not_break_the_calibration():
    features = torch.cat([torch.randn(50, 2, dtype=torch.float64), torch.ones(50, 1, dtype=torch.float64)], dim=1)
    assert typicality_score(features, calibration(features)).isfinite().all()


def test_a_class_that_helps_less_than_usual_adds_to_the_distance():
    features = torch.tensor([[3.0, 4.0]], dtype=torch.float64).expand(3, 2)
    mismatch = torch.tensor([-2.0, -1.0, 1.0], dtype=torch.float64)
    known = {"mean": [0.0, 0.0], "precision": [[1.0, 0.0], [0.0, 1.0]], "class_mismatch": {"mean": -1.0, "std": 0.5}}
    assert typicality_score(features, known, mismatch).tolist() == pytest.approx([5, 5, math.sqrt(25 + 2 * 16)])
    del known["class_mismatch"]
    assert typicality_score(features, known, mismatch).tolist() == pytest.approx([5, 5, math.sqrt(25 + 2)]), "in nats"


def test_the_mismatch_compares_errors_of_the_same_noise():
    conditional, unconditional = torch.tensor([[1.0, 4.0], [0.0, 1.0]]), torch.tensor([[2.0, 2.0], [0.0, 1.0]])
    assert log_error_ratio(conditional, unconditional).tolist() == pytest.approx([0, 0])
    assert log_error_ratio(conditional / 2, unconditional)[0].item() == pytest.approx(-math.log(2))
    found = class_calibration([torch.tensor([1.0, 2.0]), torch.tensor([3.0])])["class_mismatch"]
    assert found == {"mean": 2.0, "std": 1.0}
    assert class_calibration([torch.tensor([1.0]), None]) == class_calibration([]) == {}


def test_a_calibration_is_of_all_chosen_images():
    seen = []

    def measure(images, labels, generators):
        seen.extend(images[:, 0].tolist())
        return torch.stack([images[:, 0], -images[:, 0].square()], dim=1).double(), None

    known = calibrate(numbered(100), True, measure)
    assert sorted(seen) == list(range(100))
    assert known["mean"] == pytest.approx([49.5, -3283.5]) and "class_mismatch" not in known
    known = calibrate(numbered(100), True, lambda images, labels, _: (images.double(), labels.double()))
    assert known["class_mismatch"]["mean"] == pytest.approx(49.5)
