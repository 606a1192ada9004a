"""Figures of anomaly scores: how well they separate ordinary images or recordings from strange ones.

The quantiles of the ordinary scores go to the checkpoint's model_index.json, so that a score can be read as a percentile.

Paper:
    Ruff et al.: Deep One-Class Classification, 2018, https://proceedings.mlr.press/v80/ruff18a.html (one class against the
        rest)
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genarium.checkpoints import MODEL_INDEX
from genarium.data.images import ImageData, load_images
from genarium.errors import DataError, RecipeError
from genarium.evaluation.audio import AudioEvaluation
from genarium.evaluation.figure import Column, Figure, Measured, Metric, Part, settings_in_words
from genarium.evaluation.images import ImageEvaluation
from genarium.evaluation.measures import area_under_roc
from genarium.files import write_json
from genarium.parallel import join
from genarium.tasks import CLASSES
from genarium.tasks.anomaly.chords import chords
from genarium.tasks.anomaly.quantiles import quantiles_key

NUM_NOISE_IMAGES = 500
FEW_IMAGES = 50  # fewer do not replace quantiles that the checkpoint has, such as those of a `fit` on more images
SECONDS = 2  # of a strange sound

SCALE = "1 is perfect, 0.5 chance"
AGAINST = (
    "{normal} images of {test} against {strange} of {against}, image i with seed {seed} + i, no labels given, {settings}; "
    + SCALE
)
AUROC_OTHER_DATA = Figure("auroc_other_data", "Anomaly AUROC, other data", AGAINST, variant="{against}, {score}")
AUROC_NOISE = Figure("auroc_noise", "Anomaly AUROC, noise", AGAINST, variant="{against}, {score}")
AUROC_ONE_CLASS = Figure(
    "auroc_one_class",
    "Anomaly AUROC, one class given",
    "mean over {classes} classes of the AUROC of images of the class against as many of the other classes, {normal} and "
    "{strange} of {test} in all, with that class given to the model for each image, image i with seed {seed} + i, "
    "{settings}; " + SCALE,
    variant="{score}",
)

AGAINST_SOUND = f"{{clips}} clips of {{test}} against {{clips}} times {SECONDS} s of {{against}}; {SCALE}"
STRANGE_SOUNDS = {
    "white noise": Figure("auroc_noise", "Anomaly AUROC, noise", AGAINST_SOUND, variant="{against}, {score}"),
    "chords of decaying tones": Figure(
        "auroc_music", "Anomaly AUROC, music", AGAINST_SOUND, variant="{against}, {score}"
    ),
}


# ---- pictures ----


def measure_images(evaluation: ImageEvaluation) -> list[Metric]:
    """Measure the AUROC of each score against other data, against noise, and of one class against the others.

    Writes the quantiles of ordinary images' scores into model_index.json, but those of few images only where there are none.
    """
    ordinary = evaluation.test_images(evaluation.num_test)
    strange = strange_images(evaluation, ordinary)
    controls = evaluation.checkpoint.controls("anomaly")
    control = controls.get("score")
    choices = control.choices if control is not None and control.kind == "choice" else ("default",)
    claims = class_claims(evaluation)
    quantiles, found = {}, []
    for choice in choices:
        parameters = evaluation.defaults("anomaly", {} if choice == "default" else {"score": choice})
        unlabelled = {name: value for name, value in parameters.items() if controls[name].needs != CLASSES}
        normal = scores(evaluation, ordinary, parameters, f"anomaly, ordinary, {choice}")
        quantiles[quantiles_key(choice)] = quantiles_of(normal.numpy())
        for figure, name, images in strange:
            of_strange = scores(evaluation, images, parameters, f"anomaly, {name}, {choice}")
            facts = {
                "normal": len(ordinary),
                "strange": len(images),
                "against": name,
                "test": evaluation.test_name,
                "settings": settings_in_words(unlabelled),
            }
            value, number = area_under_roc(normal, of_strange), len(ordinary) + len(images)
            found.append(evaluation.metric(figure, value, number, facts, score=str(choice), against=name))
        if claims is not None:
            of_class, one_class = measure_one_class(evaluation, claims, str(choice), parameters)
            quantiles[quantiles_key(choice, class_given=True)] = quantiles_of(of_class.numpy())
            found.append(one_class)
    few = len(ordinary) < FEW_IMAGES and evaluation.checkpoint.index.get("anomaly_quantiles")
    if join().is_main_process and not few:
        write_quantiles(evaluation.checkpoint.folder, quantiles)
    return found


def scores(
    evaluation: ImageEvaluation,
    images: torch.Tensor,
    parameters: Mapping[str, Any],
    description: str,
    labels: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return anomaly scores of images, float64 [N], with the class of each given, int64 [N], or without classes."""
    found = evaluation.map_images(
        "anomaly_score", images, parameters, description, labels, keep=lambda output: output.scores
    )
    return torch.cat(found).double()


def strange_images(evaluation: ImageEvaluation, ordinary: torch.Tensor) -> list[tuple[Figure, str, torch.Tensor]]:
    """Return images that should get high scores: (figure, name, uint8 [N, C, H, W]) of other data and of noise."""
    generator = torch.Generator().manual_seed(evaluation.seed)
    size = (min(NUM_NOISE_IMAGES, len(ordinary)), *ordinary.shape[1:])
    noise = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
    strange = [(AUROC_NOISE, "uniform noise", noise)]
    try:
        name, other = other_data(evaluation)
    except DataError as error:  # the other figures do not depend on it
        evaluation.skipped[AUROC_OTHER_DATA.name] = str(error)
    else:
        rows = torch.randperm(len(other), generator=generator)[: evaluation.num_test]
        strange.insert(0, (AUROC_OTHER_DATA, name, other.images[rows]))
    return strange


def other_data(evaluation: ImageEvaluation) -> tuple[str, ImageData]:
    """Return the name of the data set that should get high scores, and its test split.

    Raises:
        DataError: the recipe names none, or it cannot be had.
        RecipeError: it has another size or number of channels.
    """
    recipe, own = evaluation.recipe, evaluation.spec
    spec = recipe.evaluation.anomaly_data
    if spec is None:
        raise DataError("the recipe names no evaluation.anomaly_data")
    if (spec.channels, spec.sample_size) != (own.channels, own.sample_size):
        raise RecipeError(f"{recipe.name}: evaluation.anomaly_data must have the channels and sample_size of data.")
    return spec.split_name(spec.test_split), load_images(spec, spec.test_split)


@dataclass(frozen=True)
class Claims:
    """True and false claims about the class of test images.

    Args:
        rows: of the test split, int64 [N].
        claimed: the class claimed of each, int64 [N].
        true: whether that is its class, bool [N].
    """

    rows: torch.Tensor
    claimed: torch.Tensor
    true: torch.Tensor


def class_claims(evaluation: ImageEvaluation) -> Claims | None:
    """Claim each class of as many of its own test images as of images of other classes.

    Returns:
        None if the family's scores take no class, or the checkpoint or its data have none.
    """
    labels = evaluation.test.labels
    if labels is None or not evaluation.checkpoint.takes_classes("anomaly"):
        return None
    generator = torch.Generator().manual_seed(evaluation.seed)
    num_classes = len(evaluation.checkpoint.class_names)
    size = max(evaluation.num_test // num_classes, 1)
    known = labels[evaluation.order]
    own = {k: evaluation.order[known == k][:size] for k in range(num_classes) if (known == k).any()}
    if len(own) < 2:
        return None
    rows, claimed, true = [], [], []
    for k, mine in own.items():
        others = torch.cat([theirs for j, theirs in own.items() if j != k])
        others = others[torch.randperm(len(others), generator=generator)[: len(mine)]]
        rows += [mine, others]
        claimed.append(torch.full((len(mine) + len(others),), k))
        true.append(torch.arange(len(mine) + len(others)) < len(mine))
    return Claims(torch.cat(rows), torch.cat(claimed), torch.cat(true))


def measure_one_class(
    evaluation: ImageEvaluation, claims: Claims, choice: str, parameters: Mapping[str, Any]
) -> tuple[torch.Tensor, Metric]:
    """Measure how well the score given a class separates images of that class from images of the others.

    As in one-class classification, each class in turn is the ordinary one and the rest is strange (Ruff et al. 2018 sec. 4.2),
    and the figure is the mean over the classes. Here one model knows all classes, and the ordinary one is given to it.

    Returns:
        The scores of images of the class given, float64 [M], and the metric.
    """
    images, claimed, true = evaluation.test.images[claims.rows], claims.claimed, claims.true
    found = scores(evaluation, images, parameters, f"anomaly, one class, {choice}", claimed)
    values = [
        area_under_roc(found[(claimed == k) & true], found[(claimed == k) & ~true]) for k in claimed.unique().tolist()
    ]
    facts: dict[str, object] = {"classes": len(values), "normal": int(true.sum()), "strange": int((~true).sum())}
    facts |= {"test": evaluation.test_name, "settings": settings_in_words(parameters)}
    metric = evaluation.metric(AUROC_ONE_CLASS, statistics.fmean(values), len(images), facts, score=choice)
    return found[true], metric


# ---- sound ----


def measure_audio(evaluation: AudioEvaluation) -> list[Metric]:
    """Measure the AUROC of speech against noise and against music. Writes the quantiles of speech into model_index.json."""
    rate, rng = evaluation.spec.sampling_rate, np.random.default_rng(evaluation.seed)
    ordinary = [evaluation.test.clip(i) for i in evaluation.some(evaluation.test, evaluation.num_test)]
    number, length = len(ordinary), SECONDS * rate
    strange = {
        "white noise": [rng.normal(0, 0.03, length).clip(-1, 1).astype(np.float32) for _ in range(number)],
        "chords of decaying tones": chords(number, length, rate, evaluation.seed),
    }
    normal = evaluation.pipeline.anomaly_score(ordinary).scores.double()
    found = []
    for name, figure in STRANGE_SOUNDS.items():
        value = area_under_roc(normal, evaluation.pipeline.anomaly_score(strange[name]).scores.double())
        facts = {"clips": number, "test": evaluation.test_name, "against": name}
        found.append(evaluation.metric(figure, value, 2 * number, facts, against=name, score="default"))
    write_quantiles(evaluation.checkpoint.folder, {quantiles_key("default"): quantiles_of(normal.numpy())})
    return found


# ---- quantiles ----


def quantiles_of(ordinary: np.ndarray) -> list[float]:
    """Return the quantiles 0, 0.005 ... 1 of scores [N]."""
    return [float(f"{q:.6g}") for q in np.quantile(ordinary, np.linspace(0, 1, 201))]


def write_quantiles(folder: Path, quantiles: Mapping[str, list[float]]) -> None:
    """Put {score: [201 quantiles]} into the folder's model_index.json. All else in it stays."""
    path = folder / MODEL_INDEX
    index = json.loads(path.read_text(encoding="utf-8"))
    index["anomaly_quantiles"] = dict(quantiles)
    write_json(path, dict(sorted(index.items())))


# ---- in the table of all checkpoints ----


def _by_default_score(name: str) -> Callable[[Measured], str]:
    """Return a cell for a figure of the score that the checkpoint uses by default."""

    def cell(measured: Measured) -> str:
        checkpoint = measured.checkpoint
        controls = checkpoint.controls("anomaly") if "anomaly" in checkpoint.tasks else {}
        score = str(controls["score"].default) if "score" in controls else "default"
        return measured.show("{:.3f}", name, score=score)

    return cell


IMAGE_COLUMNS = (
    Column(
        "AUROC, one class",
        _by_default_score("auroc_one_class"),
        "how often an image of another class scores higher than an image of the class that is given to the model, by the "
        "default score. The mean over the classes.",
    ),
    Column(
        "AUROC, other data",
        _by_default_score("auroc_other_data"),
        "how often an image of another data set scores higher than a test image, without classes. Models of clothes are "
        "shown digits, models of emoji clothes.",
    ),
    Column(
        "AUROC, noise",
        _by_default_score("auroc_noise"),
        "the same for uniform noise.",
    ),
)
AUDIO_COLUMNS = (
    Column(
        "AUROC, noise",
        lambda measured: measured.show("{:.3f}", "auroc_noise"),
        "how often white noise scores higher than a recording of the test split.",
    ),
    Column(
        "AUROC, music",
        lambda measured: measured.show("{:.3f}", "auroc_music"),
        "the same for chords of decaying tones.",
    ),
)

PARTS = (
    Part(
        "anomaly",
        "image",
        "anomaly_score",
        (AUROC_OTHER_DATA, AUROC_NOISE, AUROC_ONE_CLASS),
        measure_images,
        few=True,
        columns=IMAGE_COLUMNS,
    ),
    Part(
        "anomaly",
        "audio",
        "anomaly_score",
        tuple(STRANGE_SOUNDS.values()),
        measure_audio,
        columns=AUDIO_COLUMNS,
    ),
)
