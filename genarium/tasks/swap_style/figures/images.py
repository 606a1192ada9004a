"""Figures of swapped styles of pictures: is it the requested style, is it still the content, and how near is the true drawing.

Each content is drawn in a style for which the data hold a true drawing of it, from an example that shows another content. A
classifier that was trained on real drawings judges the style. Features find the content among true drawings in that style.

Papers:
    Zhang et al.: The Unreasonable Effectiveness of Deep Features as a Perceptual Metric, 2018,
        https://arxiv.org/abs/1801.03924 (why distances of features)
    Liu et al.: Few-Shot Unsupervised Image-to-Image Translation, 2019, https://arxiv.org/abs/1905.01723 (sec. 4: style by a
        classifier's accuracy, content by distances of features)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F

from genarium.data.images import ImageData
from genarium.data.pairs import Pairs
from genarium.errors import GenariumError
from genarium.evaluation.features import load_network
from genarium.evaluation.figure import Column, Figure, Measured, Metric, Part, Table, settings_in_words
from genarium.evaluation.images import Advance, ImageEvaluation
from genarium.parallel import join, map_batches
from genarium.recipe import DataSpec, Recipe
from genarium.tasks.swap_style.figures.classifier import EPOCHS, train_classifier

CANDIDATES = 100

SWAPS = (
    "{n} images of {test}, each in a style in which a true drawing of it exists, {drawn}, its style example showing another "
    "content; chosen at random with seed {seed}; none of these contents was in the training data"
)
CLASSIFIED = f"; classified by a small convolutional network trained on {{train}} for {EPOCHS} epochs"
RANKED = (
    f"; the true drawing among {CANDIDATES} real ones in that style, the others of {{train}}, by the cosine of centred "
    "features: {features}; chance is "
)
OF_PIXELS = "; mean absolute difference, 0 ... 1"
OF_FEATURES = "; 1 - cosine of {features}"

BY = "style given by {how}"
FIGURES = {
    "style_accuracy": Figure(
        "style_accuracy", "Swaps classified as the requested style", SWAPS + CLASSIFIED, variant=BY
    ),
    "content_top1": Figure(
        "content_top1",
        f"Swaps for which the true drawing ranks first of {CANDIDATES}",
        f"{SWAPS}{RANKED}{1 / CANDIDATES:g}",
        variant=BY,
    ),
    "content_top5": Figure(
        "content_top5",
        f"Swaps for which the true drawing is in the first 5 of {CANDIDATES}",
        f"{SWAPS}{RANKED}{5 / CANDIDATES:g}",
        variant=BY,
    ),
    "pixel_distance": Figure(
        "pixel_distance", "Pixel distance of swaps from the true drawing", SWAPS + OF_PIXELS, variant=BY
    ),
    "feature_distance": Figure(
        "feature_distance", "Feature distance of swaps from the true drawing", SWAPS + OF_FEATURES, variant=BY
    ),
}
OF_SOURCE = {
    name: Figure(f"{name}_of_source", title, FIGURES[name].protocol)
    for name, title in (
        ("style_accuracy", "Unchanged sources classified as the requested style"),
        ("content_top1", f"Unchanged sources for which the true drawing ranks first of {CANDIDATES}"),
        ("content_top5", f"Unchanged sources for which the true drawing is in the first 5 of {CANDIDATES}"),
        ("pixel_distance", "Pixel distance of the unchanged source from the true drawing"),
        ("feature_distance", "Feature distance of the unchanged source from the true drawing"),
    )
}
OF_REAL = Figure(
    "style_accuracy_of_real",
    "Real drawings classified as their own style",
    f"real images of {{test}}{CLASSIFIED}",
)


@dataclass(frozen=True)
class Swaps:
    """The chosen swaps, as rows of the test split, int64 [N] each.

    Args:
        contents: which are drawn anew.
        examples: in whose style.
        targets: the true drawings.
    """

    contents: torch.Tensor
    examples: torch.Tensor
    targets: torch.Tensor


def choose_swaps(pairs: Pairs, rows: torch.Tensor, seed: int) -> Swaps:
    """Choose a target and an example for each of the rows that have a partner.

    Raises:
        GenariumError: no row has one.
    """
    rows = rows[pairs.paired()[rows]]
    if not len(rows):
        raise GenariumError("None of the test images has a partner: there is no swap to measure.")
    targets, examples = pairs.draw(rows, torch.Generator().manual_seed(seed))
    return Swaps(rows, examples, targets)


def found_among(
    queries: torch.Tensor,
    targets: torch.Tensor,
    styles: torch.Tensor,
    others: torch.Tensor,
    other_styles: torch.Tensor,
    seed: int,
    candidates: int = CANDIDATES,
) -> torch.Tensor:
    """Rank each query's true drawing among candidates in the same style.

    The candidates are the true drawing and randomly chosen others of the same style. They are ranked by the cosine of
    features minus the mean of that style's others, because what all drawings in a style share says nothing about content.

    Args:
        queries, targets: features of the swaps and of their true drawings, float [N, D].
        styles: of the targets, int64 [N].
        others, other_styles: features of other real drawings, float [M, D], and their styles.
        seed: of the choice.
        candidates: how many, with the true one.

    Returns:
        Ranks, int64 [N]. 0 is first.

    Raises:
        GenariumError: fewer others in a style than needed.
    """
    generator = torch.Generator().manual_seed(seed)
    ranks = torch.empty(len(queries), dtype=torch.int64)
    for style in styles.unique():
        rows = torch.nonzero(styles == style)[:, 0]
        pool = others[other_styles == style]
        if len(pool) < candidates - 1:
            raise GenariumError(
                f"Finding one among {candidates} needs {candidates - 1} other drawings in each style; there are {len(pool)}."
            )
        mean = pool.mean(0)
        query, target, rest = (F.normalize(x - mean, dim=1) for x in (queries[rows], targets[rows], pool))
        true = (query * target).sum(1)  # [n]
        for i, row in enumerate(rows):
            chosen = rest[torch.randperm(len(pool), generator=generator)[: candidates - 1]]
            ranks[row] = (chosen @ query[i] >= true[i]).sum()
    return ranks


def feature_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return 1 - cosine of features [N, D], the mean over N."""
    return (1 - F.cosine_similarity(a.double(), b.double(), dim=1)).mean().item()


def pixel_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Return the mean absolute difference of uint8 images [N, C, H, W], 0 ... 1."""
    return (a.double() - b.double()).abs().mean().item() / 255


def measure(evaluation: ImageEvaluation) -> list[Metric]:
    """Draw test images in the style of another and compare them with the true drawings: style, content and distance."""
    test, train = evaluation.test, evaluation.train
    pairs, other_pairs = _pairs(test), _pairs(train)
    swaps = choose_swaps(pairs, evaluation.order[: evaluation.num_test], evaluation.seed)
    styles = pairs.styles[swaps.targets]  # int64 [N]
    settings = evaluation.defaults("swap_style")
    drawn = swap_all_ways(evaluation, swaps, styles, settings)
    targets, sources = test.images[swaps.targets], test.images[swaps.contents]

    network = load_network(evaluation.network).to(evaluation.runtime.device)
    of_targets = evaluation.features(network, targets, "features of true drawings")
    of_others = evaluation.features(network, train.images, "features of training images")
    of_drawn = {
        how: evaluation.features(network, images, f"features of swaps by {how}") for how, images in drawn.items()
    }
    of_sources = evaluation.features(network, sources, "features of sources")
    if not join().is_main_process:
        return []

    classifier = train_classifier(train, seed=evaluation.seed)
    facts = {"test": evaluation.test_name, "train": evaluation.train_name}
    accuracy = classifier.accuracy(test.images, pairs.styles)
    found = [evaluation.metric(OF_REAL, accuracy, len(test), facts)]
    facts["features"] = getattr(network, "title", type(network).__name__)
    rows = {how: (drawn[how], of_drawn[how]) for how in drawn} | {"source": (sources, of_sources)}
    for how, (images, features) in rows.items():
        of_source = how == "source"
        facts["drawn"] = "the source left as it is" if of_source else f"style by {how}, {settings_in_words(settings)}"
        ranks = found_among(features, of_targets, styles, of_others, other_pairs.styles, evaluation.seed)
        values = {
            "style_accuracy": classifier.accuracy(images, styles),
            "content_top1": (ranks < 1).double().mean().item(),
            "content_top5": (ranks < 5).double().mean().item(),
            "pixel_distance": pixel_distance(images, targets),
            "feature_distance": feature_distance(features, of_targets),
        }
        figures = OF_SOURCE if of_source else FIGURES
        found += [evaluation.metric(figures[n], value, len(styles), facts, how=how) for n, value in values.items()]
    return found


def _pairs(data: ImageData) -> Pairs:
    assert data.pairs is not None  # the part applies only to recipes whose data have pairs
    return data.pairs


def swap_all_ways(
    evaluation: ImageEvaluation, swaps: Swaps, styles: torch.Tensor, settings: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """Swap styles in each way that the checkpoint offers: by an example, and by the style's name.

    Args:
        evaluation: in progress.
        swaps: what to swap.
        styles: the requested ones, int64 [N].
        settings: parameters of `swap_style`.

    Returns:
        "an example" or "name" -> images, uint8 [N, C, H, W].
    """
    spec = evaluation.spec.pairs
    assert spec is not None
    drawn = {"an example": _swap(evaluation, swaps.contents, swaps.examples, settings, "swaps by example")}
    controls = evaluation.checkpoint.controls("swap_style")
    naming = [name for name, control in controls.items() if control.choices_from == spec.differ]
    if naming:
        images = torch.empty_like(evaluation.test.images[swaps.contents])
        for number, name in enumerate(evaluation.checkpoint.condition_names[spec.differ]):
            wanted = styles == number
            if wanted.any():
                named = {**settings, naming[0]: name}
                images[wanted] = _swap(evaluation, swaps.contents[wanted], None, named, f"swaps to {name}")
        drawn["name"] = images
    return drawn


def _swap(
    evaluation: ImageEvaluation,
    contents: torch.Tensor,
    examples: torch.Tensor | None,
    parameters: Mapping[str, Any],
    description: str,
) -> torch.Tensor:
    """Swap the styles of test images.

    Args:
        evaluation: in progress.
        contents: rows of the test split, int64 [N].
        examples: rows of their style examples, int64 [N], or None if a parameter names the style.
        parameters: of `swap_style`.
        description: of the progress bar.

    Returns:
        uint8 [N, C, H, W].
    """

    def compute(start: int, stop: int, advance: Advance) -> torch.Tensor:
        content, style = (
            None if rows is None else evaluation.test.images[rows[start:stop]].permute(0, 2, 3, 1).numpy()
            for rows in (contents, examples)
        )
        images = evaluation.pipeline.swap_style(
            content, style, generator=evaluation.generators(start, stop), output_type="pt", **parameters
        ).images
        return (images * 255).round().to(torch.uint8)

    return torch.cat(map_batches(compute, len(contents), evaluation.batch_size, description))


def data_have_pairs(recipe: Recipe | None) -> bool:
    """Return whether the recipe's data show the same content in several styles."""
    return recipe is not None and isinstance(recipe.data, DataSpec) and recipe.data.pairs is not None


# ---- the table of swaps ----


def _rows(measured: Measured) -> Iterator[Measured]:
    """Yield the figures of each way to give the style, with those of sources and real drawings."""
    ways = dict.fromkeys(m["how"] for m in measured.metrics if m["name"] == "style_accuracy")
    for how in ways:
        yield replace(measured, metrics=[m for m in measured.metrics if m.get("how", "source") in (how, "source")])


TABLE = Table(
    "Swapped styles",
    "Test images drawn in another style, compared with the true drawings in that style. No content was in the training data. "
    "*Style recognised*: a classifier assigns the picture to the requested style. *Content*: the true drawing is found among "
    "100 drawings of that style, as the first or among the first 5.",
    (
        Column("style given by", lambda measured: measured.find("style_accuracy")["how"]),
        Column("style recognised", lambda measured: measured.show("{:.0%}", "style_accuracy")),
        Column("of the source", lambda measured: measured.show("{:.0%}", "style_accuracy_of_source")),
        Column("of real drawings", lambda measured: measured.show("{:.0%}", "style_accuracy_of_real")),
        Column("content, first of 100", lambda measured: measured.show("{:.0%}", "content_top1")),
        Column("content, in first 5", lambda measured: measured.show("{:.0%}", "content_top5")),
        Column("feature distance", lambda measured: measured.show("{:.2f}", "feature_distance")),
        Column("of the source", lambda measured: measured.show("{:.2f}", "feature_distance_of_source")),
    ),
    _rows,
    lambda measured: -measured.find("style_accuracy")["value"],
)

PART = Part(
    "swap_style",
    "image",
    "swap_style",
    (OF_REAL, *FIGURES.values(), *OF_SOURCE.values()),
    measure,
    applies=data_have_pairs,
    table=TABLE,
)
