"""How typical an image is to a diffusion model in latent space: errors of the auto-encoder and of the velocity field.

Papers:
    Nalisnick et al.: Do Deep Generative Models Know What They Don't Know?, 2019, https://arxiv.org/abs/1810.09136
    Morningstar et al.: Density of States Estimation for Out-of-Distribution Detection, 2021,
        https://arxiv.org/abs/2006.09273
    Mahmood et al.: Multiscale Score Matching for Out-of-Distribution Detection, 2021, https://arxiv.org/abs/2010.13132
    Li et al.: Your Diffusion Model is Secretly a Zero-Shot Classifier, 2023, https://arxiv.org/abs/2303.16203
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from typing import Annotated, Literal

import torch
import torch.nn.functional as F

from pipelines.family import Generators, Report
from pipelines.images import ImageFamilyMixin, task
from pipelines.modeling_kl_autoencoder import edges
from pipelines.typicality import calibrate, floored_log, log_error_ratio, typicality_score
from pipelines.velocity import ERROR_TIMES, SCORE_TIMES, noise_seen, noise_statistics, velocity_errors

OwnSteps = Annotated[int, {"minimum": 1, "maximum": 250, "step": 1, "needs": "transformer"}]

CALIBRATED_STEPS = 8  # of the way into noise
FEATURES = (
    *("log auto-encoder error", "log auto-encoder edge error", "latent norm"),
    *(f"log error at {r}" for r in ERROR_TIMES),
    *(f"log noise seen at {r}" for r in SCORE_TIMES),
    *("noise norm", "noise row correlation", "noise column correlation"),
)


class LatentTypicalityMixin(ImageFamilyMixin):
    """Typicality of a `DiffusionPipeline` with an auto-encoder and a velocity field on its latents."""

    _start: float  # r of pure noise
    _latents: Callable[[torch.Tensor], torch.Tensor]  # images [N, C, S, S] -> latents float32 [N, c, h, w]
    _decoded: Callable[[torch.Tensor], torch.Tensor]  # and back
    _velocity: Callable[..., torch.Tensor]  # (u [N, c, h, w], r [N], labels [N, K] or None) -> [N, c, h, w]
    _follow: Callable[..., torch.Tensor]  # (u, start, end, labels, num_steps, report) -> u at `end`
    _labels: Callable[..., torch.Tensor | None]  # (N, classes, styles) -> labels [N, K] or None
    _report: Callable[..., None]  # (report, step, r, number of steps, latents)

    @task
    def anomaly_score(
        self,
        x,
        generator,
        labels,
        report,
        score: Annotated[
            Literal["typicality", "denoising", "autoencoder"],
            {"needs": {"typicality": "transformer", "denoising": "transformer"}},
        ] = "typicality",
        num_inference_steps: OwnSteps = CALIBRATED_STEPS,
    ):
        """Measure how strange an image is to the model.

        Each half fails in its own way: an auto-encoder restores simple strangers well, and a diffusion model finds some of
        them more likely than its data (Nalisnick et al. 2019). The typicality score therefore asks whether an image is
        like the training images in several statistics at once (Morningstar et al. 2021), in either direction: errors of
        the auto-encoder and of the velocity, the noise that the network sees in the latent (the norm of the score, Mahmood
        et al. 2021), and norm and neighbours' correlation of the noise that the latent is encoded to. It is their
        Mahalanobis distance d from the training images, by the mean and covariance that `fit` found. Before `fit` it is
        their plain norm.

        With a class given, "denoising" is the error of the conditional transformer, and typicality is
        sqrt(d^2 + F max(m, 0)^2). F is the number of statistics. m says how much less the class helps than it helps
        training images of their own class, in standard deviations. The help is the mean over several times of
        log(error without the class / error given the class), with the same noise added, as a diffusion classifier compares
        them (Li et al. 2023 sec. 3). A class that helps one deviation less than usual adds F, which is the mean of d^2 over
        training images. No class makes an image less strange. Before `fit` has seen images with classes, m is in nats. The
        auto-encoder knows no classes.

        The maps show (x - x_hat)^2 of the auto-encoder, or (z - z_hat)^2 of the transformer, conditional on the class if
        one is given, at the image's size, or for typicality the sum of both, each in units of its mean over the training
        images.

        Args:
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "typicality" is high for images unlike the training images in any direction, also for all too simple ones. "denoising" is the mean error of the transformer's predictions. "autoencoder" is the error of the reconstruction.
            num_inference_steps: Steps on the way into noise (typicality only, which is calibrated for the default).

        Raises:
            ValueError, TypeError: images of another kind or size, labels that do not fit, an unknown score, or another than
                "autoencoder" without a transformer.
        """
        if score == "autoencoder":
            z, error, _ = self._restored(x)
            self._report(report, 0, 0.0, 1, z)
            return error.mean((1, 2, 3)).float(), error.mean(1).float(), "mean squared error"
        self._require("transformer", f"score: {score!r}")
        labels = self._labels(len(x), labels, None)
        if score == "denoising":
            (errors,), (map_,) = self._denoising_errors(self._latents(x), [labels], generator, report)
            return errors.mean(1), self._enlarged(map_), "mean squared error"
        features, mismatch, (pixels, *latents) = self._features(x, labels, generator, num_inference_steps, report)
        known = self.config.typicality
        units = known["map_units"] if known else (1.0, 1.0)
        maps = pixels / units[0] + self._enlarged(latents[-1]) / units[1]
        return typicality_score(features, known, mismatch), maps.float(), "Mahalanobis distance"

    def _restored(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return latents of images [N, C, S, S], squared errors of the reconstruction [N, C, S, S], and of its edges [N]."""
        z = self._latents(x)
        restored = self._decoded(z)
        blur = [(a - b).square().mean((1, 2, 3)) for a, b in zip(edges(restored), edges(x.float()), strict=True)]
        return z, (restored - x.float()).square(), functools.reduce(operator.add, blur) / len(blur)

    def _enlarged(self, map_: torch.Tensor) -> torch.Tensor:
        """Return a map of the latents [N, h, w] at the images' size [N, S, S]."""
        size = self.config.sample_size
        return F.interpolate(map_[:, None], size=(size, size), mode="bilinear")[:, 0]

    def _denoising_errors(
        self, z: torch.Tensor, conditions: list[torch.Tensor | None], generator: Generators, report: Report
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Measure `velocity_errors` of latents [N, c, h, w]."""

        def noise() -> torch.Tensor:
            return self._randn(z.shape, generator).float()

        def after_time(i: int, r: float, estimate: torch.Tensor) -> None:
            self._report(report, i, r, len(ERROR_TIMES), estimate)

        return velocity_errors(self._velocity, z, conditions, noise, after_time)

    def _features(
        self,
        x: torch.Tensor,
        labels: torch.Tensor | None,
        generator: Generators,
        num_inference_steps: int,
        report: Report,
    ) -> tuple[torch.Tensor, torch.Tensor | None, tuple[torch.Tensor, ...]]:
        """Measure the FEATURES of images, which do not depend on labels [N, K], and how badly the labels fit.

        Returns:
            (features, float64 [N, F] on the CPU; `log_error_ratio` [N], None without labels; the maps, [N, S, S] of pixels,
            [N, h, w] of latents, and with labels one more of latents, conditional on them).
        """
        z, error, blur = self._restored(x)
        total = num_inference_steps + len(ERROR_TIMES)
        noise = self._follow(z, 0.0, self._start, None, num_inference_steps, report.part(0, total))
        conditions: list[torch.Tensor | None] = [None] if labels is None else [None, labels]
        (errors, *conditional), latent_maps = self._denoising_errors(
            z, conditions, generator, report.part(num_inference_steps, total)
        )
        features = [
            floored_log(error.mean((1, 2, 3))),
            floored_log(blur),
            z.square().mean((1, 2, 3)),
            *floored_log(errors).unbind(1),
            *(floored_log(seen.square().mean((1, 2, 3))) for seen in noise_seen(self._velocity, z)),
            *noise_statistics(noise),
        ]
        mismatch = log_error_ratio(conditional[0], errors) if conditional else None
        return torch.stack(features, dim=1).cpu().double(), mismatch, (error.mean(1), *latent_maps)

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Calibrate the typicality score with training images, and keep mean and precision in the configuration.

        With labels, mean and standard deviation of how badly their own class fits them are kept too.

        Args:
            batches: of `{"images", "class_labels"}`, the labels None or missing where there are none; one pass over the
                training data.

        Raises:
            ValueError: fewer than two images.
        """
        sums: list[list[float]] = []  # of the maps of pixels and of latents, and the number of images

        def measure(
            images: torch.Tensor, classes: torch.Tensor | None, generators: list[torch.Generator]
        ) -> tuple[torch.Tensor, torch.Tensor | None]:
            x = self._to_tensor(images)
            labels = self._labels(len(x), None if classes is None else classes.to(x.device), None)
            features, mismatch, maps = self._features(x, labels, generators, CALIBRATED_STEPS, Report(self, None))
            sums.append([map_.mean().item() * len(x) for map_ in maps[:2]] + [len(x)])  # of the unconditional network
            return features, mismatch

        known = calibrate(batches, bool(self.config.id2label), measure)
        pixels, latents, number = map(sum, zip(*sums, strict=True))
        units = [max(total / number, 1e-8) for total in (pixels, latents)]
        self.register_to_config(typicality={"features": list(FEATURES), **known, "map_units": units})
