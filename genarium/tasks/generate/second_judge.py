"""The distance of samples from real images as a second network sees it, which is in no loss and chooses no setting.

Samples can be tuned to one feature network without looking better to another. So the default settings are chosen by the first
judge, `part distance`, and this one only looks on.
"""

from __future__ import annotations

from typing import Any

from genarium.evaluation.features import EfficientNetLite2
from genarium.evaluation.figure import Column, Figure, Metric, Part, settings_in_words
from genarium.evaluation.images import ImageEvaluation
from genarium.evaluation.measures import frechet_distance
from genarium.parallel import join

NAME = "second_judge"
DISTANCE = Figure(
    "second_frechet_distance",
    "Fréchet distance by the second judge",
    "{n} samples, sample i with seed {seed} + i, classes in turn, {settings}, against {references} images of {test}; features: "
    "{features} (not FID: comparable only with figures of these features)",
)
DISTANCE_OF_REAL = Figure(
    "second_frechet_distance_of_real",
    "Fréchet distance of real images by the second judge",
    "{n} other images of {test} against the same {references}: what perfect samples would get; features: {features}",
)


def measure(evaluation: ImageEvaluation) -> list[Metric]:
    """Compare samples with test images in the features of EfficientNet-Lite2.

    Raises:
        NotMeasurableError: the package with its weights is not installed.
    """
    network = EfficientNetLite2().to(evaluation.runtime.device)
    number, available = evaluation.num_samples, len(evaluation.test)
    size = min(number, available)
    others = size if available >= 2 * size else 0  # as many other real images, where there are so many
    key = (network.name, evaluation.test_name, available, evaluation.seed, size + others)
    if key not in evaluation.cache:
        images = evaluation.test_images(size + others)
        evaluation.cache[key] = evaluation.features(network, images, "second judge, test images")
    features = evaluation.cache[key]
    fake = evaluation.features(network, evaluation.samples, "second judge, samples")
    if not join().is_main_process:
        return []
    facts: dict[str, Any] = {
        "settings": settings_in_words(evaluation.defaults("generate", evaluation.parameters)),
        "references": size,
        "test": evaluation.test_name,
        "features": network.title,
    }
    real, other = features[:size], features[size:]
    found = [evaluation.metric(DISTANCE, frechet_distance(real, fake), number, facts, features=network.name)]
    if others:
        distance = frechet_distance(real, other)
        found.append(evaluation.metric(DISTANCE_OF_REAL, distance, others, facts, features=network.name))
    return found


COLUMN = Column(
    "second judge",
    lambda measured: measured.show("{:.0f}", DISTANCE.name),
    "the same distance in the features of EfficientNet-Lite2, which no setting was chosen by.",
)
PART = Part(NAME, "image", "__call__", (DISTANCE, DISTANCE_OF_REAL), measure, columns=(COLUMN,))
