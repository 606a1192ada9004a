"""Figures of generated samples: their distance from real images, the likelihood of real images, and speed.

Papers:
    Heusel et al.: GANs Trained by a Two Time-Scale Update Rule (FID), 2017, https://arxiv.org/abs/1706.08500
    Kynkaanniemi et al.: Improved Precision and Recall Metric for Assessing Generative Models, 2019,
        https://arxiv.org/abs/1904.06991
"""

from __future__ import annotations

import inspect
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from genarium.errors import RecipeError
from genarium.evaluation.features import load_network
from genarium.evaluation.figure import NOTHING, Column, Figure, Measured, Metric, Part, settings_in_words
from genarium.evaluation.images import ImageEvaluation
from genarium.evaluation.measures import bits_per_dim, frechet_distance, precision_recall
from genarium.hardware import describe_hardware
from genarium.parallel import join
from genarium.runtime import EVALUATIONS
from genarium.runtime.request import choose_labels
from genarium.tasks.generate import memorisation, mixing, nearness, second_judge
from genarium.tasks.generate.second_judge import DISTANCE_OF_REAL as BY_SECOND

NEIGHBOURS = 3  # k of precision and recall, as in the paper's experiments
TIMED_IMAGES, TIMED_RUNS = 16, 3

SAMPLES = (
    "{n} samples, sample i with seed {seed} + i, classes in turn, {settings}, against {references} images of {test}; "
    "features: {features}"
)
OTHERS = "{n} other images of {test} against the same {references}: what perfect samples would get"
LIKELIHOOD = "mean of log_likelihood over {n} images of {test}, {settings}"

FORMULAS = {  # by what `log_likelihood` is the logarithm of
    "density": "(-nats / D - log(2 / 255)) / log 2, 8-bit cells of a density,",
    "mass": "-nats / (D log 2), probabilities of 8-bit levels,",
}

FID = Figure("fid", "FID", SAMPLES, variant="{features}")
FID_OF_REAL = Figure("fid_of_real", "FID of real images", OTHERS, variant="{features}")
FRECHET = Figure(
    "frechet_distance",
    "Fréchet distance",
    SAMPLES + " (not FID: comparable only with figures of these features)",
    variant="{features}",
)
FRECHET_OF_REAL = Figure("frechet_distance_of_real", "Fréchet distance of real images", OTHERS, variant="{features}")
PRECISION = Figure("precision", "Precision", f"{SAMPLES}; k = {NEIGHBOURS}", variant="{features}")
RECALL = Figure("recall", "Recall", f"{SAMPLES}; k = {NEIGHBOURS}", variant="{features}")
LOG_LIKELIHOOD = Figure("log_likelihood", "Log-likelihood", LIKELIHOOD, unit="nats per image")
BITS_PER_DIM = Figure(
    "bits_per_dim",
    "Bits per dimension",
    LIKELIHOOD + "; {formula} with D = {dimensions}",
    unit="bits",
)
OF_BINARY_PIXELS = Figure(
    "log_likelihood_binary",
    "Log-likelihood of black and white pixels",
    "mean of log_likelihood over {n} images of {test}, {settings}; each pixel white with its grey value as the probability, drawn "
    "once for image i from the generator with seed {seed} + i, in the order of a permutation with seed {seed}{partition}",
    unit="nats per image",
)
PARTITION = (
    "; log Z = {log_z:.2f} by annealed importance sampling, {chains} chains over {temperatures} temperatures, from {low:.2f} to "
    "{high:.2f} by 3 standard errors of the weights"
)
SECONDS = Figure(
    "seconds_per_image",
    "Seconds per image",
    f"{{n}} images at once, warm, median of {TIMED_RUNS}, {{settings}}; {{machine}}",
    unit="s",
)
EVALUATIONS_PER_IMAGE = Figure(
    "network_evaluations",
    "Network evaluations per image",
    "samples through the network for each image, guidance counting twice; {settings}",
)


def measure_distance(evaluation: ImageEvaluation) -> list[Metric]:
    """Compare samples with test images in feature space: Fréchet distance, precision and recall."""
    network = load_network(evaluation.network).to(evaluation.runtime.device)
    name = getattr(network, "name", type(network).__name__)
    number, available = evaluation.num_samples, len(evaluation.test)
    size = min(number, available)
    # Half of a small split is left as it is; from a large one, other real images show what a perfect model would get.
    num_others = size if available >= 2 * size else 0
    key = (name, evaluation.test_name, available, evaluation.seed, size + num_others)
    if key not in evaluation.cache:
        images = evaluation.test_images(size + num_others)
        evaluation.cache[key] = evaluation.features(network, images, "features of test images")
    real, others = evaluation.cache[key][:size], evaluation.cache[key][size:]
    fake = evaluation.features(network, evaluation.samples, "features of samples")
    if not join().is_main_process:
        return []
    facts = {
        "settings": settings_in_words(evaluation.defaults("generate", evaluation.parameters)),
        "references": size,
        "test": evaluation.test_name,
        "features": getattr(network, "title", type(network).__name__),
    }
    precision, recall = precision_recall(real, fake, NEIGHBOURS)
    of_samples, of_real = (FID, FID_OF_REAL) if name == "inception" else (FRECHET, FRECHET_OF_REAL)
    found = [
        evaluation.metric(of_samples, frechet_distance(real, fake), number, facts, features=name),
        evaluation.metric(PRECISION, precision, number, facts, features=name),
        evaluation.metric(RECALL, recall, number, facts, features=name),
    ]
    if num_others:
        distance = frechet_distance(real, others)
        found.append(evaluation.metric(of_real, distance, num_others, facts, features=name))
    return found


def measure_likelihood(evaluation: ImageEvaluation) -> list[Metric]:
    """Compute log p(x) of test images: in nats and in bits per dimension of 8-bit images, or of binary pixels in nats.

    The pipeline's `likelihood_of` says which: a density on [-1, 1], a probability of 8-bit levels, or one of binary pixels. Its
    `likelihood_kind` stands beside the figure: exact, bound or estimate.
    """
    wanted = dict(evaluation.recipe.evaluation.likelihood or {})
    number = min(int(wanted.pop("num_images", evaluation.num_test)), len(evaluation.test))
    known = inspect.signature(evaluation.pipeline.log_likelihood).parameters
    unknown = set(wanted) - set(known)
    if unknown:
        raise RecipeError(f"evaluation.likelihood: log_likelihood takes no {', '.join(sorted(unknown))}.")
    images = evaluation.test_images(number)
    nats = torch.cat(evaluation.map_images("log_likelihood", images, wanted, "likelihood")).double().mean().item()
    of_host = ("images", "generator", "class_labels", "callback_on_step_end")
    used = {name: wanted.get(name, p.default) for name, p in known.items() if name not in of_host}
    dimensions = images[0].numel()
    facts = {"settings": settings_in_words(used), "test": evaluation.test_name, "dimensions": dimensions}
    of = getattr(evaluation.pipeline, "likelihood_of", "density")
    kind = getattr(evaluation.pipeline, "likelihood_kind", None)
    known_as = {"kind": kind} if kind else {}
    if of == "binary":
        estimate = evaluation.pipeline.config.get("log_partition")
        facts["partition"] = PARTITION.format(**estimate) if estimate else ""
        return [evaluation.metric(OF_BINARY_PIXELS, nats, number, facts, **known_as)]
    facts["formula"] = FORMULAS[of]
    return [
        evaluation.metric(LOG_LIKELIHOOD, nats, number, facts, **known_as),
        evaluation.metric(BITS_PER_DIM, bits_per_dim(nats, dimensions, of), number, facts, **known_as),
    ]


def measure_speed(evaluation: ImageEvaluation) -> list[Metric]:
    """Measure seconds and network evaluations per image, warm, in the main process while the others wait."""
    if not join().is_main_process:
        return []
    settings = evaluation.defaults("generate", evaluation.parameters)
    parameters: dict[str, Any] = dict(settings)
    if evaluation.checkpoint.class_names:
        parameters["class_labels"] = list(choose_labels(evaluation.checkpoint, "cycle", TIMED_IMAGES) or ())
    times = []
    for _ in tqdm(range(1 + TIMED_RUNS), desc="speed", leave=False):  # the first warms up
        EVALUATIONS.samples = 0
        started = time.perf_counter()
        evaluation.pipeline(batch_size=TIMED_IMAGES, generator=evaluation.generators(0, TIMED_IMAGES), **parameters)
        times.append(time.perf_counter() - started)
    machine = describe_hardware(evaluation.runtime.device, evaluation.runtime.dtype)
    facts = {"settings": settings_in_words(settings), "machine": machine}
    seconds = statistics.median(times[1:]) / TIMED_IMAGES
    found = [evaluation.metric(SECONDS, seconds, TIMED_IMAGES, facts, hardware=machine)]
    if EVALUATIONS.samples:
        evaluations = EVALUATIONS.samples / TIMED_IMAGES
        found.append(evaluation.metric(EVALUATIONS_PER_IMAGE, evaluations, TIMED_IMAGES, facts))
    return found


# ---- in the table of all checkpoints ----


def _distance(measured: Measured) -> tuple[str, dict[str, Any]]:
    """Return the name of the distance that was measured, and the metric, empty if there is none."""
    metric = dict(measured.find("frechet_distance") or measured.find("fid"))
    return metric.get("name", "fid"), metric


def _distance_cell(measured: Measured) -> str:
    name, metric = _distance(measured)
    return measured.show("{:.0f}", name) + (" (FID)" if metric and name == "fid" else "")


def _same_features(name: str) -> Callable[[Measured], str]:
    """Return a cell for a figure with the same features as the distance."""
    return lambda measured: measured.show("{:.2f}", name, features=_distance(measured)[1].get("features"))


def _likelihood_cell(form: str, name: str) -> Callable[[Measured], str]:
    """Return a cell for a likelihood, marked as exact, bound or estimate.

    Where the figures are older than the mark, it is that of the family, if all its checkpoints have the same.
    """

    def cell(measured: Measured) -> str:
        shown = measured.show(form, name)
        of_family = getattr(measured.checkpoint.family.pipeline_class(), "likelihood_kind", None)
        kind = measured.find(name).get("kind", of_family)
        return f"{shown} ({kind})" if shown != NOTHING and isinstance(kind, str) else shown

    return cell


def _evaluations_cell(measured: Measured) -> str:
    value = measured.find("network_evaluations").get("value") or measured.count()
    return f"{value:.4g}" if value else NOTHING


def _floor(checkpoints: Sequence[Measured]) -> str:
    """Return sentences on the distance that other real images have, by both judges. It grows as the number of images falls."""
    judges = (
        ("Other real images get a Fréchet distance of", FRECHET_OF_REAL),
        ("The second judge gives them one of", BY_SECOND),
    )
    sentences = []
    for begin, figure in judges:
        found = [metric for m in checkpoints if (metric := m.find(figure.name))]
        values = {metric["n"]: metric["value"] for metric in reversed(found)}
        said = [f"{values[n]:.0f} with {n} images" for n in sorted(values, reverse=True)]
        sentences += [f"{begin} {', of '.join(said)}."] if said else []
    return " ".join(sentences)


DISTANCE_COLUMNS = (
    Column(
        "Fréchet distance",
        _distance_cell,
        "between the samples of the default setting and test images, in EfficientNet-Lite0 features. It is a FID only "
        "where the cell says so. Precision and recall use the same features.",
    ),
    Column("precision", _same_features("precision")),
    Column("recall", _same_features("recall")),
)
LIKELIHOOD_COLUMNS = (
    Column(
        "bits/dim",
        _likelihood_cell("{:.2f}", BITS_PER_DIM.name),
        "the likelihood of the pixels of test images, less is better. *Exact*: computed as it is, of a density with uniform noise "
        "in the pixels. *Bound*: the model gives the images no less than this likelihood. *Estimate*: it may err in either "
        "direction.",
    ),
    Column(
        "nats, black and white",
        _likelihood_cell("{:.1f}", OF_BINARY_PIXELS.name),
        "mean log-likelihood of test images whose pixels were drawn black or white, each white with its grey value as the "
        "probability, marked in the same way.",
    ),
)
SPEED_COLUMNS = (
    Column(
        f"{TIMED_IMAGES} images",
        lambda measured: measured.show("{:.2g} s", "seconds_per_image", TIMED_IMAGES),
        "seconds at the default setting, warm.",
    ),
    Column(
        "network evaluations",
        _evaluations_cell,
        "samples sent through the network for one image. Guidance counts twice.",
    ),
)

PARTS = (
    Part(
        "distance",
        "image",
        "__call__",
        (FID, FRECHET, PRECISION, RECALL, FID_OF_REAL, FRECHET_OF_REAL),
        measure_distance,
        columns=DISTANCE_COLUMNS,
        rank=lambda measured: _distance(measured)[1].get("value", float("inf")),
        note=_floor,
    ),
    second_judge.PART,
    nearness.PART,
    mixing.PART,
    memorisation.PART,
    Part(
        "likelihood",
        "image",
        "log_likelihood",
        (LOG_LIKELIHOOD, BITS_PER_DIM, OF_BINARY_PIXELS),
        measure_likelihood,
        columns=LIKELIHOOD_COLUMNS,
    ),
    Part("speed", "image", "__call__", (SECONDS, EVALUATIONS_PER_IMAGE), measure_speed, columns=SPEED_COLUMNS),
)
