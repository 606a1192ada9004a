"""Normalizing flows: an invertible network, whose density of images is known exactly.

    z = f(x; y),   log p(x | y) = log N(z; 0, I) + log |det df/dx|         Dinh et al. 2017 eq. 2 and 3
    x = f^-1(z; y),  z ~ N(0, I)                                           generates images

The recipe chooses the network: affine couplings at several scales (RealNVP, Glow), whose inverse is as fast as themselves, or
TarFlow, causal transformers over patches, which are inverted patch by patch. Training adds noise of one 8-bit level to the
images, since the density of bytes has no bound (Theis et al. 2016 sec. 3.1), or Gaussian noise (Zhai et al. 2024 sec. 2.4).

Papers:
    Dinh, Sohl-Dickstein, Bengio: Density Estimation Using Real NVP, 2017, https://arxiv.org/abs/1605.08803
    Kingma, Dhariwal: Glow: Generative Flow with Invertible 1x1 Convolutions, 2018, https://arxiv.org/abs/1807.03039
    Zhai et al.: Normalizing Flows are Capable Generative Models, 2024, https://arxiv.org/abs/2412.06329 (TarFlow)
    Durkan et al.: Neural Spline Flows, 2019, https://arxiv.org/abs/1906.04032
    Theis et al.: A Note on the Evaluation of Generative Models, 2016, https://arxiv.org/abs/1511.01844 (dequantization)
    Nalisnick et al.: Do Deep Generative Models Know What They Don't Know?, 2019, https://arxiv.org/abs/1810.09136
    Nalisnick et al.: Detecting Out-of-Distribution Inputs to Deep Generative Models Using Typicality, 2019,
        https://arxiv.org/abs/1906.02994
    Ho, Salimans: Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import torch
from diffusers import DiffusionPipeline, ModelMixin

from pipelines.family import Generators, Report, seeded
from pipelines.flow_layers import LEVEL, log_normal_map
from pipelines.images import ImageFamilyMixin, task
from pipelines.interpolation import slerp
from pipelines.likelihood import dequantized
from pipelines.modeling_normalizing_flow import CouplingFlowModel
from pipelines.modeling_tarflow import TarFlowModel
from pipelines.typicality import calibrate, floored_log, typicality_score
from pipelines.velocity import noise_statistics

NETWORKS = {"coupling": CouplingFlowModel, "tarflow": TarFlowModel}
STATISTICS = ("log score norm", "latent norm", "latent row correlation", "latent column correlation")


class NormalizingFlowPipeline(ImageFamilyMixin, DiffusionPipeline):
    """An invertible network between images and noise.

    Args:
        flow: `CouplingFlowModel` or `TarFlowModel`; takes (images, labels) to (noise, maps of the log-determinant).
        class_dropout: part of the training images that are seen without their class.
        noise_std: of the Gaussian noise in training; 0: none.
        dequantize: where there is no Gaussian noise, train with uniform noise of one 8-bit level, as `log_likelihood` adds it.
        typicality: what `fit` found; see `anomaly_score`.
    """

    flow: TarFlowModel
    code_kind = "noise"
    likelihood_kind = "exact"
    model_cpu_offload_seq = "flow"

    def __init__(
        self,
        flow: ModelMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        class_dropout: float = 0.1,
        noise_std: float = 0.0,
        dequantize: bool = True,
        id2label: dict[str, str] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        typicality: dict[str, Any] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        self._register(
            locals(),
            sample_size=sample_size or flow.config.sample_size,
            channels=channels or flow.config.channels,
        )

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        class_conditional: bool = True,
        network: Literal["coupling", "tarflow"] = "coupling",
        class_dropout: float = 0.1,
        noise_std: float = 0.0,
        dequantize: bool = True,
        defaults: dict[str, dict[str, Any]] | None = None,
        **architecture,
    ) -> NormalizingFlowPipeline:
        """Make a pipeline with fresh weights.

        Args:
            class_conditional: learn the classes of `id2label`.
            network: "coupling" or "tarflow".
            architecture: the other parameters of the network.

        Raises:
            TypeError: a parameter that the network does not have.
            ValueError: an unknown network, sizes that do not divide, or noise or a dropout out of range.
        """
        if network not in NETWORKS:
            raise ValueError(f"network: choose {' or '.join(map(repr, NETWORKS))}, not {network!r}.")
        if noise_std < 0 or not 0 <= class_dropout < 1:
            raise ValueError("noise_std must be 0 or more, and class_dropout at least 0 and below 1.")
        id2label = id2label if class_conditional else None
        flow = NETWORKS[network](sample_size, channels, num_classes=len(id2label or ()), **architecture)
        return cls(
            flow,
            class_dropout=class_dropout,
            noise_std=noise_std,
            dequantize=dequantize,
            id2label=id2label,
            defaults=defaults,
        )

    # ---- training ----

    def loss(
        self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the mean of -log p(x + noise | y) / D, in nats for each of the D dimensions.

        Args:
            batch: "images" [B, C, S, S] in [-1, 1], "class_labels" int64 [B] (-1: none) or None.
            generator: of the noise and of the dropped classes, on the images' device.
            progress: not used.

        Returns:
            (scalar, {"bits_per_dim", "latent_norm"}): of images with this noise, and the mean square of z, which is 1 for noise.
        """
        x, labels = batch["images"].float(), batch.get("class_labels") if self.config.id2label else None
        random = {"generator": generator, "device": x.device}
        if self.config.noise_std:
            x = x + self.config.noise_std * torch.randn(x.shape, **random)
        elif self.config.dequantize:
            x = x + (torch.rand(x.shape, **random) - 0.5) * LEVEL
        if labels is not None:
            labels = torch.where(torch.rand(len(x), **random) < self.config.class_dropout, -1, labels)
        log_p, z, _ = self._log_density(x, labels)
        loss = -log_p.mean() / x[0].numel()
        bits = (loss.detach() - math.log(LEVEL)) / math.log(2)
        return loss, {"bits_per_dim": bits, "latent_norm": z.detach().square().mean()}

    def _log_density(
        self, x: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return log p(x | y) [N], z [N, C, S, S], and the log-determinant of each layer, [N, K]."""
        z, maps = self.flow(x, labels)
        log_dets = maps.flatten(2).sum(2).T
        return log_normal_map(z).flatten(1).sum(1) + log_dets.sum(1), z, log_dets

    def _score(self, x: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Return the score grad_x log p(x | y), float32 [N, C, S, S]."""
        with torch.enable_grad():
            x = x.float().detach().requires_grad_()
            return torch.autograd.grad(self._log_density(x, labels)[0].sum(), x)[0]

    # ---- noise as a latent ----

    @property
    def code_shape(self) -> tuple[int, ...]:
        """(C, S, S)."""
        return (self.config.channels, self.config.sample_size, self.config.sample_size)

    @task
    def encode(self, x, labels):
        """Encode images as the noise that generates them, float32 [N, C, S, S].

        Args:
            generator: not used: the flow is deterministic.
            class_labels: of the images, if known; `decode` then needs the same.
        """
        return self.flow(x, labels)[0]

    @task
    def decode(self, codes, labels, report):
        """Generate images from given noise, float [N, C, S, S].

        Args:
            class_labels: as they were given to `encode`.
        """
        return self._generate(codes, labels, report)

    def _generate(
        self,
        z: torch.Tensor,
        labels: torch.Tensor | None,
        report: Report,
        guidance_scale: float = 1.0,
        denoise: bool = False,
    ) -> torch.Tensor:
        """Run the flow backwards from z [N, C, S, S]; one more step denoises."""

        steps = self.flow.number_of_steps

        def after_step(step: int, picture: Callable[[], torch.Tensor]) -> None:
            if report:
                report(step, step, steps + denoise, picture())

        x = self.flow.inverse(z, labels, guidance_scale, after_step)
        if denoise:
            x = self._denoised(x, labels)
            report(steps, steps, steps + 1, x)
        return x

    def _denoised(self, x: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Return x + s^2 grad log p(x), with s^2 the variance of the noise in training (Zhai et al. 2024 eq. 8).

        Of Gaussian noise this is the mean of the clean image, by Tweedie's formula; of uniform noise it is about that. No pixel is
        moved by more than the noise can have moved it: two deviations.
        """
        deviation = self.config.noise_std or LEVEL / math.sqrt(12)
        step = deviation**2 * self._score(x, labels)
        return x + step.clamp(-2 * deviation, 2 * deviation)

    # ---- the tasks ----

    @task
    def __call__(
        self,
        batch_size,
        generator,
        labels,
        report,
        temperature: Annotated[float, {"minimum": 0.0, "maximum": 1.5, "step": 0.05}] = 1.0,
        guidance_scale: Annotated[float, {"minimum": 0.0, "maximum": 6.0, "step": 0.1}] = 1.0,
        denoise: bool = True,
    ):
        """Generate images: draw noise and run the flow backwards.

        Args:
            class_labels: int, list or int64 tensor [N]; None: the model without class.
            temperature: Standard deviation of the noise; below 1 images are safer and more alike, 1 is the model itself.
            guidance_scale: Above 1 images follow their class more closely and vary less; 1 is the model itself, 0 ignores the class.
            denoise: Take off the noise that the training put on the images, by one step along the score.
        """
        z = temperature * self._randn((batch_size, *self.code_shape), generator).float()
        return self._generate(z, labels, report, guidance_scale if labels is not None else 1.0, denoise)

    @task
    def reconstruct(self, x, labels, report):
        """Take images into noise and back, which an exact inverse does without loss.

        Args:
            generator: not used: the flow is deterministic.
            class_labels: of the images, if known.
        """
        return self._generate(self.flow(x, labels)[0], labels, report)

    @task
    def interpolate(self, a, b, num_frames, report, mode: Literal["slerp", "lerp"] = "slerp"):
        """Interpolate between the noise of two images; the ends are the two images.

        Args:
            generator: not used: the flow is deterministic.
            mode: "slerp" walks an arc at the distance from 0 that noise has (White 2016 sec. 2.1); "lerp" walks the straight line, which passes nearer to 0.
        """
        z = self.flow(torch.cat([a, b]), None)[0]  # [2, C, S, S]
        weights = torch.linspace(0, 1, num_frames, dtype=torch.float32, device=z.device)
        path = (
            slerp(z[:1], z[1:], weights) if mode == "slerp" else torch.lerp(z[:1], z[1:], weights[:, None, None, None])
        )
        return self._generate(path, None, report)

    # ---- likelihood and typicality ----

    @task
    def log_likelihood(self, x, generator, labels, dequantize: bool = True):
        """Compute log p(x) exactly (Dinh et al. 2017 eq. 2).

        Args:
            generator: one `torch.Generator`, or a list with one for each image; None: seed 0 for each image.
            class_labels: for log p(x | y); None: log p(x) of the model without class.
            dequantize: add uniform noise of one 8-bit level's width, so that the mean over the noise is a lower bound of
                the log-probability of the 8-bit image (plus D log(2 / 255)); leave it out for data that are no bytes.

        Returns:
            float32 [N] in nats: the log-density on the [-1, 1] scale.
        """
        x = x.float()
        if dequantize:
            x = self._with_noise(x, seeded(len(x)) if generator is None else generator)
        return self._log_density(x, labels)[0]

    def _with_noise(self, x: torch.Tensor, generator: Generators) -> torch.Tensor:
        """Return images [N, C, S, S] with uniform noise of one level, image i by generator i."""
        return dequantized(x.float(), self._randn(x.shape, generator).float())

    @task
    def anomaly_score(self, x, generator, labels, report, score: Literal["typicality", "likelihood"] = "typicality"):
        """Measure how strange an image is to the model.

        A flow finds simple strangers *more* likely than its own data (Nalisnick et al. 2019), although its likelihood is exact:
        "likelihood" shows it. "typicality" asks whether an image is like the training images in several statistics at once: the
        log-determinant of each layer, the norm of the score, the norm of the noise and the correlation of its neighbours. It is
        their Mahalanobis distance d from the training images, by the mean and covariance that `fit` found. Before `fit` it
        is their plain norm.

        With a class given, "likelihood" is -log p(x | y), and typicality is sqrt(d^2 + F max(m, 0)^2). F is the number of
        statistics. m says how much less the class helps than it helps training images of their own class, in standard deviations.
        The help is log p(x | y) - log p(x) for each dimension.

        The maps show z^2, the mean over the channels, which of noise is 1 on average: where the image does not become noise.

        Args:
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "typicality" is high for images unlike the training images in any direction, also for all too simple ones. "likelihood" is the negative log-likelihood, which is low for simple images of any kind.
        """
        x = self._with_noise(x, generator)
        features, mismatch, given = self._features(x, labels)
        log_p, z = given
        maps = z.square().mean(1)
        report(0, 0, 1, x)
        if score == "likelihood":
            return -log_p, maps, "nats"
        return typicality_score(features, self.config.typicality, mismatch), maps, "Mahalanobis distance"

    def _features(
        self, x: torch.Tensor, labels: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None, tuple[torch.Tensor, torch.Tensor]]:
        """Measure the statistics of images with noise [N, C, S, S], which do not depend on labels, and how badly labels fit.

        Returns:
            (features, float64 [N, F] on the CPU; log p(x) - log p(x | y) for each dimension, float64 [N] on the CPU, None without
            labels; (log p [N], z [N, C, S, S]) given the labels, if any).
        """
        dimensions = x[0].numel()
        log_p, z, log_dets = self._log_density(x, None)
        norm = self._score(x, None).square().mean((1, 2, 3))
        features = torch.stack([*(log_dets / dimensions).unbind(1), floored_log(norm) / 2, *noise_statistics(z)], 1)
        if labels is None:
            return features.cpu().double(), None, (log_p, z)
        of_class, z, _ = self._log_density(x, labels)
        mismatch = ((log_p - of_class) / dimensions).cpu().double()
        return features.cpu().double(), mismatch, (of_class, z)

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Calibrate the typicality score with training images, and keep mean and precision in the configuration.

        With labels, mean and standard deviation of how badly their own class fits them are kept too.

        Args:
            batches: of `{"images", "class_labels"}`, one pass over the training data.

        Raises:
            ValueError: fewer than two images.
        """
        known = calibrate(batches, bool(self.config.id2label), self._measure)
        layers = len(known["mean"]) - len(STATISTICS)
        features = [*(f"log-determinant {i + 1}" for i in range(layers)), *STATISTICS]
        self.register_to_config(typicality={"features": features, **known})

    def _measure(
        self, images: torch.Tensor, labels: torch.Tensor | None, generators: list[torch.Generator]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the statistics of some training images and how badly their classes fit, as `calibrate` takes them."""
        x = self._with_noise(self._to_tensor(images), generators)
        return self._features(x, None if labels is None else labels.to(x.device))[:2]
