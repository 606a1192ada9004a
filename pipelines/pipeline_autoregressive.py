"""Autoregressive models: a picture is a chain of pixels, and each has a distribution given the pixels before it.

    log p(x) = sum_d log p(x_{o_d} | x_{o_1}, ..., x_{o_(d-1)}),      o an order of the pixels

This is the chain rule, so the likelihood is exact. A network gives all conditionals of a known picture in one pass, and drawing
takes a step for each pixel. Training is maximum likelihood, with no other term. The network is the recipe's choice:

    MADE        a perceptron with masks, for several orders of the pixels
    NADE        the same with shared weights
    PixelCNN    causal convolutions, for one order, row by row

There is no code: what decides a sample is a number in [0, 1) for each pixel, and many such numbers give the same picture. So there is
nothing to interpolate in, but the pixels themselves.

Papers:
    Larochelle, Murray: The Neural Autoregressive Distribution Estimator, 2011, https://proceedings.mlr.press/v15/larochelle11a.html
    Germain et al.: MADE: Masked Autoencoder for Distribution Estimation, 2015, https://arxiv.org/abs/1502.03509
    van den Oord et al.: Conditional Image Generation with PixelCNN Decoders, 2016, https://arxiv.org/abs/1606.05328
    Uria, Murray, Larochelle: A Deep and Tractable Density Estimator, 2014, https://arxiv.org/abs/1310.1757 (a mixture of orders)
    Naesseth, Lindsten, Schön: Elements of Sequential Monte Carlo, 2019, https://arxiv.org/abs/1903.04797 (completion)
    Nalisnick et al.: Do Deep Generative Models Know What They Don't Know?, 2019, https://arxiv.org/abs/1810.09136
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from diffusers import DiffusionPipeline, ModelMixin

from pipelines.binarization import binarize
from pipelines.family import Generators, Report
from pipelines.film import Film, FilmOutput
from pipelines.images import ImageFamilyMixin, LikelihoodOf, task
from pipelines.modeling_made import MADEModel, NADEModel
from pipelines.modeling_pixelcnn import PixelCNNModel
from pipelines.pixel_distributions import Levels, PixelDistribution, distribution_of
from pipelines.pixel_orders import known_after_missing, rectangle
from pipelines.random_rows import uniform_rows
from pipelines.typicality import calibrate, typicality_score

CHUNK = 16  # pictures in one pass of the network, when surprise is measured; 256 levels of each pixel take room
Keep = Literal["top half", "bottom half", "left half", "right half", "all but a hole", "the inside of the hole"]
Temperature = Annotated[float, {"minimum": 0.1, "maximum": 2.0, "step": 0.05}]
Percent = Annotated[int, {"minimum": 0, "maximum": 100, "step": 1}]


@dataclass
class AnswersOutput(FilmOutput):
    """Images, their films, and `answers`: float [N, A, C, S, S] in [0, 1], A completions of each, the image first."""

    answers: torch.Tensor | None = None


class AutoregressivePipeline(ImageFamilyMixin, DiffusionPipeline):
    """A network that gives each pixel a distribution, given those before it.

    Args:
        network: `MADEModel`, `NADEModel` or `PixelCNNModel`.
        levels: L of a pixel. 2: black or white, and a grey value is the probability of white. 0: any number, with a density.
        label_dropout: part of the training images whose class is hidden, for samples and likelihoods of no class.
        typicality: {"mean", "precision", "class_mismatch"} of training images; written by `fit`.
    """

    network: ModelMixin
    model_cpu_offload_seq = "network"
    joins = {}  # noqa: RUF012  # never changed
    likelihood_kind = "exact"

    def __init__(
        self,
        network: ModelMixin,
        sample_size: int = 28,
        channels: int = 1,
        levels: int = 2,
        label_dropout: float = 0.1,
        id2label: dict[str, str] | None = None,
        typicality: dict[str, Any] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        if network.config.num_params != distribution_of(levels, network.config.num_params // 3).num_params:
            raise ValueError(f"network: has {network.config.num_params} parameters for a pixel of {levels} levels.")
        self._register(locals())

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        kind: Literal["made", "nade", "pixelcnn"] = "made",
        class_conditional: bool = True,
        levels: int = 2,
        num_components: int = 5,
        label_dropout: float = 0.1,
        **architecture,
    ) -> AutoregressivePipeline:
        """Make a pipeline with fresh weights.

        Args:
            kind: of network.
            class_conditional: whether the network knows the class, where the data have classes.
            levels, label_dropout: of the class.
            num_components: K of the mixture for each pixel, where there are more than two levels.
            architecture: the other arguments of the network.

        Raises:
            TypeError: an argument that the network does not have.
            ValueError: an unknown kind, or sizes that do not fit.
        """
        id2label = id2label if class_conditional else None
        shape = {
            "num_params": distribution_of(levels, num_components).num_params,
            "num_classes": len(id2label or ()),
        }
        network: ModelMixin
        if kind == "pixelcnn":
            if channels != 1:
                raise ValueError(f"channels: a PixelCNN here takes grey pictures, of 1 channel, not {channels}.")
            network = PixelCNNModel(sample_size, **shape, **architecture)
        elif kind in ("made", "nade"):
            network = (MADEModel if kind == "made" else NADEModel)(sample_size, channels, **shape, **architecture)
        else:
            raise ValueError(f"kind: choose 'made', 'nade' or 'pixelcnn', not {kind!r}.")
        return cls(network, sample_size, channels, levels, label_dropout, id2label)

    @property
    def likelihood_of(self) -> LikelihoodOf:
        """What `log_likelihood` is the logarithm of: see `ImageFamilyMixin`."""
        if self.config.levels == 0:
            return "density"
        return "binary" if self.config.levels == 2 else "mass"

    @property
    def _pixel(self) -> PixelDistribution:
        """The distribution of a pixel."""
        return distribution_of(self.config.levels, self.network.config.num_params // 3)

    # ---- from pictures to pixels and back ----

    def _pixels(self, x: torch.Tensor, generator: Generators) -> torch.Tensor:
        """Return the pixels of pictures [N, C, S, S] on their levels, float32 [N, D] in [-1, 1]; two levels are drawn."""
        if self.config.levels == 2:
            return binarize(x, generator) * 2 - 1
        pixels = x.float().flatten(1)
        if self.config.levels == 0:
            return pixels
        highest = self.config.levels - 1
        return ((pixels.clamp(-1, 1) + 1) / 2 * highest).round() * 2 / highest - 1

    def _pictures(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return pixels [N, D] as pictures [N, C, S, S]."""
        return pixels.unflatten(1, (self.config.channels, self.config.sample_size, -1))

    def _uniform(self, number: int, width: int, generator: Generators) -> torch.Tensor:
        """Return uniform numbers in [0, 1), [number, width], row i from generator i."""
        return uniform_rows(number, generator, self._execution_device)(width)

    # ---- training ----

    def loss(self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0):
        """Return the mean of -log p(x) / D in nats.

        Args:
            batch: "images" [B, C, S, S] in [-1, 1], "class_labels" int64 [B] or None, -1 for an image without class.
            generator: for all random numbers, on the images' device.
            progress: not used.

        Returns:
            (scalar, {"nats": mean of -log p(x), "bits": in bits for each pixel}).
        """
        x = self._pixels(batch["images"], generator)
        number, size = x.shape
        draw = uniform_rows(number, generator, x.device)
        order = self.network.draw_order(draw(1)[0])  # one for the whole batch
        labels = batch.get("class_labels") if self.config.id2label else None
        if labels is not None:
            hidden = (draw(1)[:, 0] < self.config.label_dropout) | (labels < 0)
            labels = torch.where(hidden, len(self.config.id2label), labels)
        nats = -self._pixel.log_prob(self.network(x, labels, order).float(), x).sum(1).mean()
        return nats / size, {"nats": nats.detach(), "bits": nats.detach() / size / math.log(2)}

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Measure what is typical of training images.

        Args:
            batches: of `{"images", "class_labels"}`, one pass over the training data.

        Raises:
            ValueError: fewer than two images.
        """

        def measure(images, labels, generators):
            labels = None if labels is None else labels.to(self._execution_device)
            return self._features(self._to_tensor(images), labels, generators)[:2]

        if self.config.levels:
            self.register_to_config(typicality=calibrate(batches, bool(self.config.id2label), measure))

    # ---- generate and complete ----

    def _fill(self, x, known, labels, uniform, temperature: float, candidates: int, report: Report, film: Film):
        """Draw the pixels that are not known, one after the other, given all before them in the order.

        Known pixels that come later than missing ones are taken account of by a particle filter: of `candidates` pictures side by
        side, those that make the known pixels likely go on, and the others give their place to copies of these.

        Args:
            x: [n K, D], known pixels; K candidates of a picture lie side by side.
            known: bool [D].
            labels: int64 [n K] or None.
            uniform: [n K, D + S + 1], in [0, 1).
            candidates: K.

        Returns:
            [n, D], one of each picture's candidates.
        """
        size, rows = x.shape[1], self.config.sample_size
        order = self.network.order_for(known)
        state = self.network.conditionals(len(x), labels, order)
        x, log_weights = torch.where(known, x, 0.0), x.new_zeros(len(x))
        groups = torch.arange(len(x), device=x.device).unflatten(0, (-1, candidates))
        is_known = known.tolist()
        for step, d in enumerate(order.tolist()):
            params = state.params(step).float()
            if not is_known[d]:
                x[:, d] = self._pixel.sample(params, uniform[:, d], temperature)
            elif candidates > 1:
                log_weights = log_weights + self._pixel.log_prob(params, x[:, d])
            state.reveal(step, x[:, d])
            if (step + 1) % (size // rows) == 0:
                row = (step + 1) // (size // rows) - 1
                if candidates > 1:  # systematic resampling (Naesseth et al. 2019 sec. 2.1.3)
                    ends = log_weights[groups].softmax(1).cumsum(1)
                    first = uniform[groups[:, :1], size + row]  # [n, 1]
                    places = (first + torch.arange(candidates, device=x.device)) / candidates
                    chosen = groups.gather(1, torch.searchsorted(ends, places).clamp(max=candidates - 1)).flatten()
                    state.select(chosen)
                    x, log_weights = x[chosen], torch.zeros_like(log_weights)
                picture = self._pictures(x[groups[:, 0]])
                film.take(row, picture)
                report(row, row, rows, picture)
        chosen = (uniform[groups[:, :1], -1] * candidates).long() if candidates > 1 else groups[:, :1] * 0
        return x[groups.gather(1, chosen)[:, 0]]

    @task(output=FilmOutput)
    def __call__(self, batch_size, generator, labels, report, temperature: Temperature = 1.0):
        """Generate images pixel by pixel. What is not drawn yet is grey.

        Args:
            class_labels: int, list or int64 tensor [N], the class of each image; None: any, as the model finds likely.
            temperature: Below 1 each pixel keeps to its likeliest values, which makes pictures safer and plainer; above 1 it dares more.
        """
        size, film = self.network.num_pixels, Film(self.config.sample_size)
        uniform = self._uniform(batch_size, size, generator)
        known = torch.zeros(size, dtype=torch.bool, device=uniform.device)
        x = self._fill(torch.zeros_like(uniform), known, labels, uniform, temperature, 1, report, film)
        return self._pictures(x), film.fields()

    def _known(self, keep: str, top: int, left: int, height: int, width: int) -> torch.Tensor:
        """Return which pixels are kept, bool [D]; the hole is given in percent of the side.

        Raises:
            ValueError: nothing is left out.
        """
        top, left, height, width = {
            "top half": (0, 0, 50, 100),
            "bottom half": (50, 0, 50, 100),
            "left half": (0, 0, 100, 50),
            "right half": (0, 50, 100, 50),
        }.get(keep, (top, left, height, width))
        size = self.config.sample_size
        corners = torch.tensor([top, top + height, left, left + width]).clamp(max=100) / 100
        corners = (corners * size).round() / (size + 1) + 1e-4  # as `rectangle` counts them
        inside = rectangle(size, self.config.channels, corners).to(self._execution_device)
        known = ~inside if keep == "all but a hole" else inside
        if known.all():
            raise ValueError("hole: covers no pixel; make it larger, or move it into the picture.")
        return known

    @task(output=AnswersOutput)
    def reconstruct(
        self,
        x,
        labels,
        generator,
        report,
        keep: Keep = "top half",
        hole_top: Percent = 30,
        hole_left: Percent = 30,
        hole_height: Percent = 40,
        hole_width: Percent = 40,
        num_answers: Annotated[int, {"minimum": 1, "maximum": 8, "step": 1}] = 4,
        num_candidates: Annotated[int, {"minimum": 1, "maximum": 32, "step": 1}] = 8,
        temperature: Temperature = 1.0,
    ):
        """Keep a part of images and draw the rest, pixel by pixel, with several answers.

        Args:
            class_labels: int, list or int64 tensor [N], the class of each image; None: any, as the model finds likely.
            keep: What of the image stays; the rest is drawn.
            hole_top: Upper edge of the hole, in percent of the side.
            hole_left: Left edge of the hole, in percent of the side.
            hole_height: Height of the hole, in percent of the side.
            hole_width: Width of the hole, in percent of the side.
            num_answers: Completions of each image, each drawn by itself.
            num_candidates: Pictures drawn side by side for one answer where known pixels come after missing ones, as about a hole. Those that fit the known pixels go on.
            temperature: Below 1 each pixel keeps to its likeliest values; above 1 it dares more.
        """
        known = self._known(keep, hole_top, hole_left, hole_height, hole_width)
        exact = known_after_missing(known, self.network.order_for(known)) == 0
        candidates, size = 1 if exact else num_candidates, x[0].numel()
        copies = num_answers * candidates
        draw = uniform_rows(len(x), generator, x.device)
        pixels = self._pixels(x, generator).repeat_interleave(copies, 0)
        uniform = draw(copies * (size + self.config.sample_size + 1)).reshape(len(x) * copies, -1)
        labels = None if labels is None else labels.repeat_interleave(copies, 0)
        film = Film(self.config.sample_size)
        drawn = self._fill(pixels, known, labels, uniform, temperature, candidates, _firsts(report, num_answers), film)
        drawn = self._pictures(torch.where(known, x.float().flatten(1).repeat_interleave(num_answers, 0), drawn))
        answers = drawn.unflatten(0, (len(x), num_answers))
        films = {k: v[::num_answers] if k == "frames" and v is not None else v for k, v in film.fields().items()}
        return answers[:, 0], {"answers": (answers / 2 + 0.5).clamp(0, 1).cpu(), **films}

    # ---- likelihood and anomaly ----

    def _surprise(self, x, labels, order, expected: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
        """Return -log p of each pixel x [N, D] given those before it, and the sum of its expectations: [N, D] and [N] in nats.

        The expectations are the entropies of the pixels, or 0 unless they are `expected`.
        """
        surprise, entropy, pixel = [], [], self._pixel
        for i in range(0, len(x), CHUNK):
            rows = slice(i, i + CHUNK)
            params = self.network(x[rows], None if labels is None else labels[rows], order).float()
            surprise.append(-pixel.log_prob(params, x[rows]))
            if expected and isinstance(pixel, Levels):
                entropy.append(pixel.entropy(params).sum(1))
            else:
                entropy.append(x.new_zeros(len(params)))
        return torch.cat(surprise), torch.cat(entropy)

    def _features(self, x, labels, generator: Generators):
        """Return what the typicality score compares, float64 [N, 3]; how badly classes fit, [N] or None; and surprises [N, D]."""
        pixels, order = self._pixels(x, generator), self.network.orders(1)[0]
        surprise, entropy = self._surprise(pixels, None, order, expected=True)
        features = torch.stack([surprise.sum(1), entropy, pixels.sum(1)], 1).cpu().double()
        if labels is None:
            return features, None, surprise
        given = self._surprise(pixels, labels, order)[0]
        return features, (given.sum(1) - surprise.sum(1)).cpu().double(), given  # -log p(x | y) / p(x)

    @task
    def anomaly_score(self, x, labels, generator, report, score: Literal["typicality", "surprise"] = "typicality"):
        """Measure how strange an image is to the model.

        The maps show -log p of each pixel given those before it, the surprise, in nats. Their sum is -log p of the image. A simple
        stranger can be likelier than the data (Nalisnick et al. 2019). Typicality therefore is a Mahalanobis distance from training
        images, in either direction. It takes three sums: the surprise, the surprise that the model itself expected on the way, which
        is the sum of the entropies, and the brightness.

        Args:
            generator: of black and white pixels; None: seed 0 for each image.
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "typicality" is high for images unlike the training images in either direction. "surprise" is -log p, the sum of the map.
        """
        features, mismatch, surprise = self._features(x, labels, generator)
        maps = self._pictures(surprise).sum(1).clamp(min=0)
        report(0, 0, 1, x.float())
        if score == "surprise":
            return surprise.sum(1), maps, "nats"
        return typicality_score(features, self.config.typicality, mismatch), maps, "Mahalanobis distance"

    @task
    def log_likelihood(
        self,
        x,
        labels,
        generator,
        report,
        num_orders: Annotated[int, {"minimum": 1, "maximum": 4, "step": 1}] = 1,
    ):
        """Return log p of images in nats, exactly: of black and white pixels, of levels, or the logarithm of a density.

        Args:
            generator: of black and white pixels. A test set keeps its pixels if image i always has the generator of the same seed.
            class_labels: int, list or int64 tensor [N], for log p(x | class); None: log p(x).
            num_orders: Orders of a model that learned several: the likelihood is that of their mixture. A PixelCNN has one order.
        """
        pixels, orders = self._pixels(x, generator), self.network.orders(num_orders)
        found = []
        for i, order in enumerate(orders):
            found.append(-self._surprise(pixels, labels, order)[0].sum(1))
            report(i, i, len(orders), self._pictures(pixels))
        return torch.logsumexp(torch.stack(found), 0) - math.log(len(orders))


def _firsts(report: Report, number: int) -> Report:
    """Return a report of every `number`-th picture: the first answers."""

    def called(pipeline, step, timestep, values):
        if report.callback is not None:
            first = values["pred_original_sample"][::number]
            report.callback(pipeline, step, timestep, {**values, "pred_original_sample": first})

    return Report(report.pipeline, called if report else None, report.first, report.total)
