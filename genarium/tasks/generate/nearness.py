"""Figures of how near samples are to the training images: distances to the nearest one, and the share of copies."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn

from genarium.data.mapped import Images
from genarium.errors import DataError, NotMeasurableError
from genarium.evaluation.features import load_network
from genarium.evaluation.figure import Figure, Metric, Part, settings_in_words
from genarium.evaluation.images import ImageEvaluation
from genarium.evaluation.nearness import COPY_QUANTILE, class_weights, compare_distances, nearest_distances
from genarium.parallel import join
from genarium.runtime.request import choose_labels

SAMPLES = "{n} samples, sample i with seed {seed} + i, classes in turn, {settings}"
NEAREST = "the nearest of {num_train} images of {train}; {measure}"
WEIGHTED = "classes count as often as among the samples"

NEAREST_OF_SAMPLES = Figure(
    "nearest_distance",
    "Distance of samples to the nearest training image",
    f"median over {SAMPLES}, of the distance to {NEAREST}",
    variant="{features}",
)
NEAREST_OF_TEST = Figure(
    "nearest_distance_of_test",
    "Distance of test images to the nearest training image",
    f"median over {{n}} images of {{test}}, of the distance to {NEAREST}; {WEIGHTED}",
    variant="{features}",
)
COPIES = Figure(
    "copies",
    "Share of copies of training images",
    f"share of {SAMPLES}, whose distance to {NEAREST}, is under {{threshold}}, which {COPY_QUANTILE} of {{num_test}} "
    f"images of {{test}} are under ({WEIGHTED}): unseen images get about {COPY_QUANTILE}",
    variant="{features}",
)


def measure(evaluation: ImageEvaluation) -> list[Metric]:
    """Compare how near samples are to the training images with how near test images are, in features and in pixels.

    Raises:
        NotMeasurableError: the training images cannot be had.
    """
    try:
        train = evaluation.train
    except DataError as error:
        raise NotMeasurableError(f"nearness to the training images needs them: {error}") from error
    test = evaluation.test_images(evaluation.num_samples)
    samples = evaluation.samples
    labels = choose_labels(evaluation.checkpoint, "cycle", len(samples))
    weights = None
    if labels is not None and evaluation.test.labels is not None:
        weights = class_weights(evaluation.test.labels[evaluation.order[: len(test)]], torch.tensor(labels))
    facts = {
        "settings": settings_in_words(evaluation.defaults("generate", evaluation.parameters)),
        "num_train": len(train),
        "train": evaluation.train_name + (" and their mirror images" if train.horizontal_flip else ""),
        "num_test": len(test),
        "test": evaluation.test_name,
    }
    found = []
    for name, measure, distances in _distances(evaluation, samples, test, train.images, train.horizontal_flip):
        nearness = compare_distances(*distances, weights)
        facts |= {"measure": measure, "threshold": f"{nearness.threshold:.4g}"}
        found += [
            evaluation.metric(NEAREST_OF_SAMPLES, nearness.samples, len(samples), facts, features=name),
            evaluation.metric(NEAREST_OF_TEST, nearness.test, len(test), facts, features=name),
            evaluation.metric(COPIES, nearness.share_of_copies, len(samples), facts, features=name),
        ]
    return found


def _distances(
    evaluation: ImageEvaluation, samples: torch.Tensor, test: torch.Tensor, train: Images, mirrored: bool
) -> Iterator[tuple[str, str, tuple[torch.Tensor, torch.Tensor]]]:
    """Yield for features and for pixels: its name, how it is measured, and the distances of samples and of test images.

    Args:
        evaluation: in progress.
        samples, test, train: uint8 [N, C, H, W], [M, C, H, W] and [L, C, H, W].
        mirrored: training has also seen the mirror images. The distance to these is that of the mirrored sample.
    """
    network: nn.Module = load_network(evaluation.network).to(evaluation.runtime.device)
    name = getattr(network, "name", type(network).__name__)
    key = (name, evaluation.train_name, len(train))
    if key not in evaluation.cache:
        evaluation.cache[key] = evaluation.features(network, train, "features of training images")
    views = [(samples, test)] + ([(samples.flip(-1), test.flip(-1))] if mirrored else [])
    features = [
        (evaluation.features(network, a, "features of samples"), evaluation.features(network, b, "features of test images"))
        for a, b in views
    ]  # fmt: skip
    if not join().is_main_process:
        return
    title = getattr(network, "title", type(network).__name__)
    yield name, f"Euclidean, features: {title}", _nearest(features, evaluation.cache[key])
    # per value, so that pictures of different sizes can be compared
    scale = train[0].numel() ** 0.5
    of_samples, of_test = _nearest(views, train)
    yield "pixels", "root mean square of 8-bit values", (of_samples / scale, of_test / scale)


def _nearest(views: list[tuple[torch.Tensor, torch.Tensor]], train: Images) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the distances of samples and of test images to the nearest training image, in the nearest of their views."""
    of_samples = torch.stack([nearest_distances(samples, train) for samples, _ in views]).amin(0)
    of_test = torch.stack([nearest_distances(test, train) for _, test in views]).amin(0)
    return of_samples, of_test


PART = Part("nearness", "image", "__call__", (NEAREST_OF_SAMPLES, NEAREST_OF_TEST, COPIES), measure)
