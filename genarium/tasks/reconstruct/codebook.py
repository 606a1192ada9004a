"""Figures of discrete codes: how well they agree with labels that the model did not know, and the codebook that is stored.

Paper:
    Yang et al.: Image Clustering Using Local Discriminant Models and Global Integration, 2010 (accuracy after matching)
"""

from __future__ import annotations

import PIL.Image
import torch

from genarium.data.mapped import Images, in_pieces
from genarium.errors import NotMeasurableError
from genarium.evaluation.figure import Column, Figure, Metric, Part
from genarium.evaluation.images import ImageEvaluation
from genarium.evaluation.measures import matched_accuracy, normalised_information
from genarium.media.codebook import Codebook, members_of
from genarium.media.pictures import to_pictures
from genarium.parallel import join

OF = "the {n} images of {test}, labels used for this figure alone"
ACCURACY = Figure(
    "matched_accuracy",
    "Accuracy after the best matching",
    f"share of {OF}, whose class of {{number}} is matched with their label, one class with one label (Hungarian method)",
)
INFORMATION = Figure(
    "normalised_information",
    "Normalised mutual information with the labels",
    f"of the code's {{number}} values and the labels of {OF}; 1: each tells the other",
)
USED = Figure(
    "codes_used", "Values of the code in use", "share of the {number} values that some of the {n} images of {test} have"
)
BITS_USED = Figure(
    "bits_used",
    "Bits in use",
    "share of the {number} bits that are 1 in some of the {n} images of {test} and 0 in others",
)


def measure(evaluation: ImageEvaluation) -> list[Metric]:
    """Store the codebook, with the members of each class and leaf among the test images, and measure their agreement with labels.

    All images of the test split take part: labels of few would match by chance.

    Raises:
        NotMeasurableError: the family's code has another kind.
    """
    pipeline, images = evaluation.pipeline, evaluation.test.images
    kind = pipeline.code_kind
    if kind not in ("binary", "one_hot", "path"):
        raise NotMeasurableError(f"its code is of the kind {kind}, of which there is no codebook to draw")
    codes = torch.cat(evaluation.map_images("encode", images, {}, "codes"))
    facts = {"kind": kind, "size": pipeline.branching, "depth": pipeline.depth, "side": images.shape[-1]}
    labels, names = evaluation.test.labels, evaluation.test.id2label or {}
    if kind == "binary":
        counts = codes.sum(0).long().tolist()
        book = Codebook(**facts, images=len(images), members={str(i): {"1": count} for i, count in enumerate(counts)})
    else:
        paths = codes.reshape(len(images), -1)
        named = [""] * len(images) if labels is None else [names.get(str(label), "") for label in labels.tolist()]
        book = Codebook(**facts, images=len(images), members=members_of(paths.tolist(), named))
    if join().is_main_process:
        levels = _means(images, codes) if kind == "binary" else pipeline.node_images()
        book.save(evaluation.checkpoint.folder, levels)
    number = pipeline.branching**pipeline.depth
    said = {"number": number, "test": evaluation.test_name}
    if kind == "binary":
        used = sum(0 < count < len(images) for count in counts)
        return [evaluation.metric(BITS_USED, used / number, len(images), said)]
    found = [evaluation.metric(USED, len(book.members) / number, len(images), said)]
    if labels is None or (labels < 0).any():
        return found
    values = torch.zeros(len(images), dtype=torch.int64)
    for choice in paths.T:
        values = values * pipeline.branching + choice
    found.append(evaluation.metric(INFORMATION, normalised_information(values, labels), len(images), said))
    if kind == "one_hot":
        found.append(evaluation.metric(ACCURACY, matched_accuracy(values, labels), len(images), said))
    return found


def _means(images: Images, codes: torch.Tensor) -> list[list[PIL.Image.Image]]:
    """Return the mean picture, those of the pictures with each bit at 0, and those of the pictures with each bit at 1.

    Args:
        images: uint8 [N, C, H, W].
        codes: float32 [N, K] of 0 and 1. Where no picture has a bit at a value, the mean picture stands.
    """
    total, sums = torch.zeros(1), [torch.zeros(1), torch.zeros(1)]
    start = 0
    for part in in_pieces(images):
        x, own = part.flatten(1).float(), codes[start : start + len(part)]
        start += len(part)
        total = total + x.sum(0, keepdim=True)
        sums = [sum_ + bits.T @ x for sum_, bits in zip(sums, (1 - own, own), strict=True)]
    levels = [total / len(images)]
    for bits, sum_ in zip((1 - codes, codes), sums, strict=True):
        number = bits.sum(0)[:, None]  # [K, 1]
        levels.append(torch.where(number > 0, sum_ / number.clamp(min=1), levels[0]))
    pixels = (level.reshape(-1, *images.shape[1:]).round().to(torch.uint8) for level in levels)
    return [to_pictures(level.permute(0, 2, 3, 1).numpy()) for level in pixels]


PART = Part(
    "codebook",
    "image",
    "node_images",
    (ACCURACY, INFORMATION, USED, BITS_USED),
    measure,
    columns=(
        Column(
            "accuracy of its own classes",
            lambda measured: measured.show("{:.1f} %", "matched_accuracy", 100),
            "of test images, after the best matching of the model's classes and the labels, which it did not know.",
        ),
    ),
)
