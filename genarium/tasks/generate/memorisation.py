"""Whether a critic, trained beside a generator, has learnt its training images by heart: its scores of those and of others.

Zhao et al.: Differentiable Augmentation for Data-Efficient GAN Training, 2020, https://arxiv.org/abs/2006.10738 (fig. 1: the
gap between the two grows where the critic overfits)
"""

from __future__ import annotations

import torch

from genarium.data.images import ImageData
from genarium.errors import DataError, NotMeasurableError
from genarium.evaluation.figure import Figure, Metric, Part
from genarium.evaluation.images import ImageEvaluation
from genarium.parallel import join

CRITIC_GAP = Figure(
    "critic_gap",
    "Gap between the critic's scores of training and test images",
    "mean score of {n} images of {train} less that of {num_test} images of {test}, each with its class where the model knows "
    "classes, in standard deviations of the test images' scores; 0: the critic has learnt none by heart",
)
SEPARATION = Figure(
    "critic_separation",
    "Gap between the critic's scores of test images and samples",
    "mean score of {num_test} images of {test} less that of {n} samples, sample i with seed {seed} + i, classes in turn, in "
    "standard deviations of the test images' scores; 0: the critic cannot say which are real",
)


def measure(evaluation: ImageEvaluation) -> list[Metric]:
    """Compare the critic's scores of training images, test images and samples.

    Raises:
        NotMeasurableError: the training images cannot be had.
    """
    try:
        train = evaluation.train
    except DataError as error:
        raise NotMeasurableError(f"the gap of the critic's scores needs the training images: {error}") from error
    number = min(evaluation.num_samples, len(train), len(evaluation.test))
    some = torch.randperm(len(train), generator=torch.Generator().manual_seed(evaluation.seed))[:number]
    of_train = _scores(evaluation, train, some, "critic, training images")
    of_test = _scores(evaluation, evaluation.test, evaluation.order[:number], "critic, test images")
    samples = evaluation.samples
    names = evaluation.checkpoint.class_names
    labels = torch.arange(len(samples)) % len(names) if names else None
    of_samples = torch.cat(evaluation.map_images("realness", samples, {}, "critic, samples", labels))
    if not join().is_main_process:
        return []
    facts = {"train": evaluation.train_name, "test": evaluation.test_name, "num_test": number}
    unit = of_test.std().clamp(min=1e-8)
    return [
        evaluation.metric(CRITIC_GAP, ((of_train.mean() - of_test.mean()) / unit).item(), number, facts),
        evaluation.metric(SEPARATION, ((of_test.mean() - of_samples.mean()) / unit).item(), len(samples), facts),
    ]


def _scores(evaluation: ImageEvaluation, data: ImageData, indices: torch.Tensor, description: str) -> torch.Tensor:
    """Return the critic's scores of some images with their classes, float64 [N]."""
    labels = data.labels[indices] if evaluation.checkpoint.class_names and data.labels is not None else None
    return torch.cat(evaluation.map_images("realness", data.images[indices], {}, description, labels)).double()


PART = Part("critic", "image", "realness", (CRITIC_GAP, SEPARATION), measure)
