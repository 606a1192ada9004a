"""The parts of an evaluation of pictures: what each measures, and by which protocol.

Papers:
    Heusel et al.: GANs Trained by a Two Time-Scale Update Rule (FID), 2017, https://arxiv.org/abs/1706.08500
    Kynkaanniemi et al.: Improved Precision and Recall Metric for Assessing Generative Models, 2019,
        https://arxiv.org/abs/1904.06991
    Ruff et al.: Deep One-Class Classification, 2018, https://proceedings.mlr.press/v80/ruff18a.html (one class against the
        rest)
"""

from __future__ import annotations

import inspect
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from genarium.checkpoints import Checkpoint, quantiles_key
from genarium.data.images import ImageData
from genarium.errors import RecipeError
from genarium.evaluation.features import extract, load_network
from genarium.evaluation.measures import (
    area_under_roc,
    bits_per_dim,
    frechet_distance,
    precision_recall,
    reconstruction_quality,
)
from genarium.evaluation.swaps import measure_swaps
from genarium.parallel import join, map_batches
from genarium.recipe import Recipe
from genarium.records import hardware, told, write_quantiles
from genarium.runtime import EVALUATIONS, Runtime
from genarium.runtime.request import Request, choose_labels
from genarium.tasks import CLASSES

NEIGHBOURS = 3  # k of precision and recall, as in the paper's experiments
NUM_RECONSTRUCTIONS = 500
NUM_NOISE_IMAGES = 500
TIMED_IMAGES, TIMED_RUNS = 16, 3


@dataclass
class ImageEvaluation:
    """One evaluation in progress: what is measured, on what, and how far it has come."""

    name: str
    checkpoint: Checkpoint
    runtime: Runtime
    recipe: Recipe
    test: ImageData
    other: ImageData | None
    network: str | nn.Module
    num_samples: int
    num_test_images: int
    parameters: Mapping[str, Any]
    batch_size: int
    cache: dict
    train: ImageData | None = None  # where a part learns from real images
    order: torch.Tensor = field(init=False)  # int64 [len(test)]: splits may be sorted by class, so take them shuffled

    def __post_init__(self):
        self.order = torch.randperm(len(self.test), generator=torch.Generator().manual_seed(self.seed))

    @property
    def seed(self) -> int:
        return self.recipe.evaluation.seed

    @property
    def pipeline(self):
        return self.runtime.pipeline(self.name)

    @property
    def test_name(self) -> str:
        return f"{self.recipe.data.name} {self.recipe.data.test_split}"

    @property
    def train_name(self) -> str:
        return f"{self.recipe.data.name} {self.recipe.data.train_split}"

    def test_images(self, number: int) -> torch.Tensor:
        """uint8 [min(number, len(test)), C, H, W]."""
        return self.test.images[self.order[:number]]

    def defaults(self, task: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The parameters of a task as the app would send them."""
        request = Request(self.checkpoint.name, task, seed=self.seed, parameters=changes or {})
        return dict(request.checked(self.checkpoint).parameters)

    def generators(self, start: int, stop: int) -> list[torch.Generator]:
        """One for each of the samples start ... stop - 1."""
        return Request("", "", seed=self.seed).generators(start, stop)

    def metric(self, part: str, name: str, value: float, n: int, protocol: str, **more) -> dict[str, Any]:
        facts = {"part": part, "name": name, "value": float(f"{value:.6g}"), "n": n, "seed": self.seed}
        return {**facts, "protocol": " ".join(protocol.split()), **more}

    # ---- computing, in batches over all processes ----

    def generate(self, number: int, features: nn.Module | None = None) -> torch.Tensor:
        """`number` samples, classes in turn -> uint8 [N, C, H, W], or their features, float32 [N, D]."""
        labels = choose_labels(self.checkpoint, "cycle", number)
        parameters = self.defaults("generate", self.parameters)

        def compute(start: int, stop: int, advance: Callable[[float], None]) -> torch.Tensor:
            arguments = dict(parameters) if labels is None else parameters | {"class_labels": list(labels[start:stop])}
            images = self.pipeline(
                batch_size=stop - start,
                generator=self.generators(start, stop),
                callback_on_step_end=_on_step(advance),
                output_type="pt",
                **arguments,
            ).images
            pixels = (images * 255).round().to(torch.uint8)
            return pixels if features is None else extract(features, pixels)

        return torch.cat(map_batches(compute, number, self.batch_size, "samples"))

    def map_images(
        self, method: str, images: torch.Tensor, parameters: Mapping[str, Any], description: str
    ) -> list[Any]:
        """Outputs of `method(images)`, a batch each; image i with the generator of seed + i."""
        call = getattr(self.pipeline, method)
        names = inspect.signature(call).parameters

        def compute(start: int, stop: int, advance: Callable[[float], None]) -> Any:
            batch = images[start:stop].permute(0, 2, 3, 1).numpy()  # uint8 [B, H, W, C]
            steps = {"callback_on_step_end": _on_step(advance)} if "callback_on_step_end" in names else {}
            return call(batch, generator=self.generators(start, stop), **parameters, **steps)

        return map_batches(compute, len(images), self.batch_size, description)

    def scores(
        self,
        images: torch.Tensor,
        parameters: Mapping[str, Any],
        description: str,
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Anomaly scores, float64 [N], of images that are told to be of these classes, int64 [N], or of none."""
        call = self.pipeline.anomaly_score

        def compute(start: int, stop: int, advance: Callable[[float], None]) -> torch.Tensor:
            batch = images[start:stop].permute(0, 2, 3, 1).numpy()
            given = {} if labels is None else {"class_labels": labels[start:stop].tolist()}
            output = call(
                batch,
                generator=self.generators(start, stop),
                callback_on_step_end=_on_step(advance),
                **given,
                **parameters,
            )
            return output.scores  # the maps are dropped here rather than gathered

        return torch.cat(map_batches(compute, len(images), self.batch_size, description)).double()

    def features(self, network: nn.Module, images: torch.Tensor, description: str) -> torch.Tensor:
        """Features of images uint8 [N, C, H, W], float32 [N, D]."""

        def compute(start: int, stop: int, advance: Callable[[float], None]) -> torch.Tensor:
            return extract(network, images[start:stop])

        return torch.cat(map_batches(compute, len(images), self.batch_size, description))

    def swapped(
        self, contents: torch.Tensor, examples: torch.Tensor | None, parameters: Mapping[str, Any], description: str
    ) -> torch.Tensor:
        """Test images swapped: rows int64 [N], their style examples' rows or None -> uint8 [N, C, H, W]."""

        def compute(start: int, stop: int, advance: Callable[[float], None]) -> torch.Tensor:
            content, style = (
                None if rows is None else self.test.images[rows[start:stop]].permute(0, 2, 3, 1).numpy()
                for rows in (contents, examples)
            )
            images = self.pipeline.swap_style(
                content, style, generator=self.generators(start, stop), output_type="pt", **parameters
            ).images
            return (images * 255).round().to(torch.uint8)

        return torch.cat(map_batches(compute, len(contents), self.batch_size, description))

    # ---- the parts ----

    def distance(self) -> list[dict[str, Any]]:
        """Samples against test images in feature space: Fréchet distance, precision, recall."""
        network = load_network(self.network).to(self.runtime.device)
        title = getattr(network, "title", type(network).__name__)
        name = getattr(network, "name", type(network).__name__)
        size = min(self.num_samples, len(self.test))
        # Half of a small split is left as it is; from a large one, other real images show what a perfect model would get.
        floor = size if len(self.test) >= 2 * size else 0
        key = (name, self.test_name, len(self.test), self.seed, size + floor)
        if key not in self.cache:
            self.cache[key] = self.features(network, self.test_images(size + floor), "features of test images")
        real, others = self.cache[key][:size], self.cache[key][size:]
        fake = self.generate(self.num_samples, network)
        if not join().is_main_process:
            return []
        parameters = told(self.defaults("generate", self.parameters))
        how = f"""{self.num_samples} samples, sample i with seed {self.seed} + i, classes in turn, {parameters},
            against {size} images of {self.test_name}; features: {title}"""
        precision, recall = precision_recall(real, fake, NEIGHBOURS)
        fid = "fid" if name == "inception" else "frechet_distance"
        note = "" if fid == "fid" else " (not FID: comparable only with figures of these features)"
        about = {"features": name}
        found = [
            self.metric("distance", fid, frechet_distance(real, fake), self.num_samples, how + note, **about),
            self.metric("distance", "precision", precision, self.num_samples, f"{how}; k = {NEIGHBOURS}", **about),
            self.metric("distance", "recall", recall, self.num_samples, f"{how}; k = {NEIGHBOURS}", **about),
        ]
        if floor:
            how = f"{floor} other images of {self.test_name} against the same {size}: what perfect samples would get"
            found.append(self.metric("distance", fid + "_of_real", frechet_distance(real, others), floor, how, **about))
        return found

    def reconstruction(self) -> list[dict[str, Any]]:
        """PSNR and SSIM of test images that went through the model."""
        images = self.test_images(min(self.num_test_images, NUM_RECONSTRUCTIONS))
        parameters = self.defaults("reconstruct")
        outputs = self.map_images("reconstruct", images, parameters | {"output_type": "pt"}, "reconstructions")
        restored = (torch.cat([o.images for o in outputs]) * 255).round().to(torch.uint8)
        psnr, ssim = reconstruction_quality(restored, images)
        how = f"mean over {len(images)} images of {self.test_name}, 8-bit, no labels given, {told(parameters)}"
        return [
            self.metric("reconstruction", "psnr", psnr, len(images), how, unit="dB"),
            self.metric("reconstruction", "ssim", ssim, len(images), how),
        ]

    def likelihood(self) -> list[dict[str, Any]]:
        """log p(x) in nats of the density on [-1, 1], and in bits per dimension of 8-bit images."""
        wanted = dict(self.recipe.evaluation.likelihood or {})
        number = min(int(wanted.pop("num_images", self.num_test_images)), len(self.test))
        known = inspect.signature(self.pipeline.log_likelihood).parameters
        unknown = set(wanted) - set(known)
        if unknown:
            raise RecipeError(f"evaluation.likelihood: log_likelihood takes no {', '.join(sorted(unknown))}.")
        images = self.test_images(number)
        nats = torch.cat(self.map_images("log_likelihood", images, wanted, "likelihood")).double()
        value = nats.mean().item()
        skipped = ("images", "generator", "class_labels", "callback_on_step_end")
        used = {k: wanted.get(k, p.default) for k, p in known.items() if k not in skipped}
        how = f"mean of log_likelihood over {number} images of {self.test_name}, {told(used)}"
        bits = f"{how}; (-nats / D - log(2 / 255)) / log 2 with D = {images[0].numel()}: 8-bit cells of a density"
        return [
            self.metric("likelihood", "log_likelihood", value, number, how, unit="nats per image"),
            self.metric(
                "likelihood", "bits_per_dim", bits_per_dim(value, images[0].numel()), number, bits, unit="bits"
            ),
        ]

    def anomaly(self) -> list[dict[str, Any]]:
        """AUROC against other data, against noise and against other classes; quantiles of ordinary images into
        model_index.json."""
        ordinary = self.test_images(self.num_test_images)
        generator = torch.Generator().manual_seed(self.seed)
        size = (min(NUM_NOISE_IMAGES, len(ordinary)), *ordinary.shape[1:])
        noise = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
        strange = {"noise": ("uniform noise", noise)}
        if self.other is not None:
            order = torch.randperm(len(self.other), generator=generator)[: self.num_test_images]
            spec = self.recipe.evaluation.anomaly_data
            strange = {"other_data": (f"{spec.name} {spec.test_split}", self.other.images[order])} | strange
        controls = self.checkpoint.controls("anomaly")
        control = controls.get("score")
        choices = control.choices if control is not None and control.kind == "choice" else ("default",)
        claims = self.claims()
        quantiles, found = {}, []
        for choice in choices:
            parameters = self.defaults("anomaly", {} if choice == "default" else {"score": choice})
            unlabelled = {name: value for name, value in parameters.items() if controls[name].needs != CLASSES}
            normal = self.scores(ordinary, parameters, f"anomaly, ordinary, {choice}")
            quantiles[quantiles_key(choice)] = _quantiles(normal)
            for kind, (title, images) in strange.items():
                value = area_under_roc(normal, self.scores(images, parameters, f"anomaly, {title}, {choice}"))
                how = f"""{len(ordinary)} images of {self.test_name} against {len(images)} of {title}, image i with seed
                    {self.seed} + i, no labels given, {told(unlabelled)}; 1 is perfect, 0.5 chance"""
                number = len(ordinary) + len(images)
                found.append(
                    self.metric("anomaly", f"auroc_{kind}", value, number, how, score=str(choice), against=title)
                )
            if claims is not None:
                own, one_class = self.one_class(*claims, str(choice), parameters)
                quantiles[quantiles_key(choice, class_told=True)] = _quantiles(own)
                found.append(one_class)
        if join().is_main_process:
            write_quantiles(self.checkpoint.folder, quantiles)
        return found

    def claims(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor] | None:
        """True and false claims of what class test images are of: for each class as many of its images as of the others'.

        Returns:
            (rows of test images, int64 [N]; the classes claimed, int64 [N]; whether that is true, bool [N]); None where the
            family's scores ask for no class, or the checkpoint or its data have none.
        """
        labels = self.test.labels
        if labels is None or not self.checkpoint.takes_classes("anomaly"):
            return None
        generator = torch.Generator().manual_seed(self.seed)
        size = max(self.num_test_images // len(self.checkpoint.class_names), 1)
        known = labels[self.order]
        own = {k: self.order[known == k][:size] for k in range(len(self.checkpoint.class_names)) if (known == k).any()}
        if len(own) < 2:
            return None
        rows, claimed, true = [], [], []
        for k, mine in own.items():
            others = torch.cat([theirs for j, theirs in own.items() if j != k])
            others = others[torch.randperm(len(others), generator=generator)[: len(mine)]]
            rows += [mine, others]
            claimed.append(torch.full((len(mine) + len(others),), k))
            true.append(torch.arange(len(mine) + len(others)) < len(mine))
        return torch.cat(rows), torch.cat(claimed), torch.cat(true)

    def one_class(
        self, rows: torch.Tensor, claimed: torch.Tensor, true: torch.Tensor, choice: str, parameters: Mapping[str, Any]
    ) -> tuple[torch.Tensor, dict[str, Any]]:
        """How well a class's own images are told from others that are claimed to be of it -> (the former's scores, metric).

        As in one-class classification, each class in turn is the ordinary one and the rest is strange (Ruff et al. 2018
        sec. 4.2), and the figure is the mean over the classes; but there is one model of all classes, told which to expect.
        """
        scores = self.scores(self.test.images[rows], parameters, f"anomaly, one class, {choice}", claimed)
        values = [
            area_under_roc(scores[(claimed == k) & true], scores[(claimed == k) & ~true])
            for k in claimed.unique().tolist()
        ]
        how = f"""mean over {len(values)} classes of the AUROC of images of the class against as many of the other classes,
            {int(true.sum())} and {int((~true).sum())} of {self.test_name} in all, the model being told of each that it is of
            the class, image i with seed {self.seed} + i, {told(parameters)}; 1 is perfect, 0.5 chance"""
        value = statistics.fmean(values)
        return scores[true], self.metric("anomaly", "auroc_one_class", value, len(rows), how, score=choice)

    def swap_style(self) -> list[dict[str, Any]]:
        """Test images drawn in the style of another, beside the true drawings: style, content and distance."""
        return measure_swaps(self)

    def speed(self) -> list[dict[str, Any]]:
        """Seconds and network evaluations per image, warm, by the main process while the others wait."""
        if not join().is_main_process:
            return []
        parameters = self.defaults("generate", self.parameters)
        if self.checkpoint.class_names:
            parameters["class_labels"] = list(choose_labels(self.checkpoint, "cycle", TIMED_IMAGES))
        times = []
        for _ in tqdm(range(1 + TIMED_RUNS), desc="speed", leave=False):  # the first warms up
            EVALUATIONS.samples = 0
            started = time.perf_counter()
            self.pipeline(batch_size=TIMED_IMAGES, generator=self.generators(0, TIMED_IMAGES), **parameters)
            times.append(time.perf_counter() - started)
        value = statistics.median(times[1:]) / TIMED_IMAGES
        machine = hardware(self.runtime.device, self.runtime.dtype)
        parameters.pop("class_labels", None)
        how = f"{TIMED_IMAGES} images at once, warm, median of {TIMED_RUNS}, {told(parameters)}; {machine}"
        found = [self.metric("speed", "seconds_per_image", value, TIMED_IMAGES, how, unit="s", hardware=machine)]
        if EVALUATIONS.samples:
            how = f"samples through the network for each image, guidance counting twice; {told(parameters)}"
            found.append(
                self.metric("speed", "network_evaluations", EVALUATIONS.samples / TIMED_IMAGES, TIMED_IMAGES, how)
            )
        return found


# part -> the task or method that the pipeline needs for it
PARTS = {
    "distance": "__call__",
    "reconstruction": "reconstruct",
    "likelihood": "log_likelihood",
    "anomaly": "anomaly_score",
    "swap_style": "swap_style",
    "speed": "__call__",
}


def _quantiles(scores: torch.Tensor) -> list[float]:
    """The quantiles 0, 0.005 ... 1."""
    return [float(f"{q:.6g}") for q in np.quantile(scores.numpy(), np.linspace(0, 1, 201))]


def _on_step(advance: Callable[[float], None]) -> Callable:
    return lambda pipe, step, timestep, values: advance((step + 1) / values["num_timesteps"])
