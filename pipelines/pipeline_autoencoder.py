"""Auto-encoders: a picture becomes a code, a few numbers, and a picture again. Plain, deep, and denoising.

    z = E(x~),   x_hat = D(z),   L = d(x, x_hat)          x~ = x, or x with noise (Vincent et al. 2008 eq. 4)

Nothing makes the codes fill their space, unlike those of a VAE: between them are holes, where the decoder was never trained.
Generating shows this. Codes from a box or from one Gaussian fall into the holes. A mixture fitted to the codes avoids them
(Ghosh et al. 2019). A denoising auto-encoder samples without any prior on the codes: it adds noise and removes it, again and
again (Bengio et al. 2013).

Papers:
    Hinton, Salakhutdinov: Reducing the Dimensionality of Data with Neural Networks, 2006,
        https://doi.org/10.1126/science.1127647
    Vincent, Larochelle, Bengio, Manzagol: Extracting and Composing Robust Features with Denoising Autoencoders, 2008,
        https://doi.org/10.1145/1390156.1390294
    Bengio, Yao, Alain, Vincent: Generalized Denoising Auto-Encoders as Generative Models, 2013,
        https://arxiv.org/abs/1305.6663 (the chain, and its walk back)
    Ghosh et al.: From Variational to Deterministic Autoencoders, 2019, https://arxiv.org/abs/1903.12436 (the mixture)
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, ModelMixin

from pipelines.corruption import KINDS, RestoredOutput, corrupt, shown
from pipelines.deviations import add_deviations, measure_terms
from pipelines.family import Generators, Report
from pipelines.images import ImageFamilyMixin, task
from pipelines.interpolation import slerp
from pipelines.mixture import fit_mixtures
from pipelines.modeling_autoencoder import AutoencoderModel
from pipelines.typicality import floored_log

Level = Annotated[float, {"minimum": 0.0, "maximum": 1.0, "step": 0.05}]


class AutoencoderPipeline(ImageFamilyMixin, DiffusionPipeline):
    """A deterministic auto-encoder with a vector code.

    Args:
        autoencoder: `AutoencoderModel`.
        noise: kinds of noise on the training images, of KINDS; none: a plain auto-encoder. Each image gets one of them.
        noise_levels: least and greatest level of that noise; see `corrupt`.
        reconstruction_loss: "squared_error", or "cross_entropy" of pixels in [0, 1] for a bounded decoder.
        id2label: names of the classes. The networks know no class; the mixture and the Gaussians of the codes do.
        calibration: {"error", "code": [mean, standard deviation]} of the anomaly terms of training images, "sigma" of their
            reconstruction error; written by `fit`.
    """

    autoencoder: AutoencoderModel
    code_kind = "vector"
    model_cpu_offload_seq = "autoencoder"

    def __init__(
        self,
        autoencoder: ModelMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        noise: list[str] | None = None,
        noise_levels: list[float] | None = None,
        reconstruction_loss: str = "squared_error",
        id2label: dict[str, str] | None = None,
        calibration: dict[str, Any] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        if unknown := set(noise or ()) - set(KINDS):
            raise ValueError(f"noise: choose from {', '.join(map(repr, KINDS))}, not {unknown.pop()!r}.")
        if reconstruction_loss not in ("squared_error", "cross_entropy"):
            raise ValueError(
                f"reconstruction_loss: choose 'squared_error' or 'cross_entropy', not {reconstruction_loss!r}."
            )
        if reconstruction_loss == "cross_entropy" and not autoencoder.config.bounded:
            raise ValueError("reconstruction_loss: 'cross_entropy' needs a decoder with `bounded: true`.")
        self._register(
            locals(),
            sample_size=sample_size or autoencoder.config.sample_size,
            channels=channels or autoencoder.config.channels,
            noise=list(noise)
            if noise
            else None,  # diffusers cannot download a pipeline with an empty list in its index
            noise_levels=list(noise_levels or (0.1, 0.5)),
        )

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        noise: Sequence[str] = (),
        noise_levels: Sequence[float] = (0.1, 0.5),
        reconstruction_loss: str = "squared_error",
        **architecture,
    ) -> AutoencoderPipeline:
        """Make a pipeline with fresh weights.

        Args:
            noise, noise_levels, reconstruction_loss: as in the class.
            architecture: the other parameters of `AutoencoderModel`.

        Raises:
            TypeError: a parameter that `AutoencoderModel` does not have.
            ValueError: sizes that do not divide, or an unknown noise, network, activation or loss.
        """
        model = AutoencoderModel(sample_size, channels, num_classes=len(id2label or ()), **architecture)
        return cls(
            model,
            noise=list(noise) or None,
            noise_levels=list(noise_levels),
            reconstruction_loss=reconstruction_loss,
            id2label=id2label,
        )

    # ---- training ----

    def loss(self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0):
        """Return the distance of the reconstruction from the clean image, per pixel and channel.

        Args:
            batch: "images" [B, C, S, S] in [-1, 1].
            generator: of the noise, on the images' device.
            progress: not used.

        Returns:
            (scalar, {"squared_error": scalar, the sum over pixels in [0, 1], mean over images}).
        """
        x = batch["images"]
        logits = self.autoencoder(self._training_noise(x, generator))
        bounded = self.autoencoder.config.bounded
        x_hat = logits.sigmoid() * 2 - 1 if bounded else logits
        squared = ((x - x_hat) / 2).square()
        if self.config.reconstruction_loss == "cross_entropy":
            loss = F.binary_cross_entropy_with_logits(logits, (x / 2 + 0.5).clamp(0, 1))
        else:
            loss = squared.mean()
        return loss, {"squared_error": squared.detach().sum((1, 2, 3)).mean()}

    def _training_noise(self, x: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Return images with one of the recipe's kinds of noise each, at a level drawn for each."""
        kinds = self.config.noise
        if not kinds:
            return x
        low, high = self.config.noise_levels
        shape, device = (len(x), 1, 1, 1), x.device
        level = low + (high - low) * torch.rand(shape, generator=generator, device=device)
        which = torch.randint(len(kinds), shape, generator=generator, device=device)
        normal = torch.randn(x.shape, generator=generator, device=device)
        noisy = x
        for i, kind in enumerate(kinds):
            noisy = torch.where(which == i, corrupt(x, kind, level, normal), noisy)
        return noisy

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Measure the codes of the training images: mixtures, Gaussians, range, and what calibrates the anomaly score.

        Args:
            batches: of `{"images", "class_labels"}`, one pass over the training data. Images of class -1 count for all codes
                and for no class.

        Raises:
            ImportError: scikit-learn is missing.
            ValueError: fewer than two images.
        """
        rows: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for batch in batches:
            x = self._to_tensor(batch["images"])
            z = self.autoencoder.encode(x)
            error = (x.float() - self.autoencoder.decode(z)).square().mean((1, 2, 3))
            known = batch.get("class_labels") if self.config.id2label else None
            labels = torch.zeros(len(z), dtype=torch.int64) if known is None else known.cpu()
            rows.append((z.cpu(), error.cpu(), labels))
        codes, errors, labels = (torch.cat(column) for column in zip(*rows, strict=True))
        if len(codes) < 2:
            raise ValueError("batches: calibration needs at least two images.")
        model = self.autoencoder
        model.set_gaussian(-1, codes.double())
        for y in range(len(model.code_means) - 1):
            chosen = codes[labels == y]
            model.set_gaussian(y, (chosen if len(chosen) > 1 else codes).double())
        model.code_range.copy_(torch.stack([codes.amin(0), codes.amax(0)]))
        if model.config.mixture_components:
            fit_mixtures(model, codes, labels, model.code_means)
        everything = torch.full((len(codes),), len(model.code_means) - 1)
        distance = floored_log(model.code_distance(codes.to(model.device), everything.to(model.device)).cpu())
        calibration = measure_terms({"error": floored_log(errors), "code": distance})
        self.register_to_config(calibration={**calibration, "sigma": errors.mean().sqrt().item()})

    # ---- the code ----

    @property
    def code_shape(self) -> tuple[int, ...]:
        """(d,)."""
        return (self.autoencoder.config.code_dim,)

    @task
    def encode(self, x):
        """Encode images as vectors, float32 [N, d].

        Args:
            generator: not used: nothing here is random.
            class_labels: not used: the networks know no class.
        """
        return self.autoencoder.encode(x)

    @task
    def decode(self, codes):
        """Decode vectors [N, d] as images.

        Args:
            class_labels: not used: the networks know no class.
        """
        return self.autoencoder.decode(codes)

    def _draw_codes(
        self, prior: str, temperature: float, labels: torch.Tensor | None, number: int, generator: Generators
    ) -> torch.Tensor:
        """Draw codes from a prior that `fit` measured: float32 [N, d]."""
        model = self.autoencoder
        noise = self._randn((number, model.config.code_dim + 2), generator).float()
        uniform = torch.special.ndtr(noise)
        if prior == "box":
            low, high = model.code_range.float()
            middle, half = (low + high) / 2, (high - low) / 2
            return middle + temperature * half * (2 * uniform[:, :-2] - 1)
        if prior == "gaussian" or not model.is_fitted:
            row = torch.full((number,), len(model.code_means) - 1, device=noise.device) if labels is None else labels
            deviation = (model.code_cholesky.float()[row] @ noise[:, :-2, None])[:, :, 0]
            return model.code_means.float()[row] + temperature * deviation
        groups = len(model.mixture_weights)
        drawn = (uniform[:, -2] * groups).long().clamp(max=groups - 1)  # the classes being equally likely
        return model.draw_mixture(noise[:, :-2], uniform[:, -1:], drawn if labels is None else labels, temperature)

    # ---- the tasks ----

    @task
    def __call__(
        self,
        batch_size,
        generator,
        labels,
        report,
        prior: Literal["mixture", "gaussian", "box", "chain"] = "mixture",
        temperature: Annotated[float, {"minimum": 0.0, "maximum": 1.5, "step": 0.05}] = 1.0,
        num_inference_steps: Annotated[int, {"minimum": 1, "maximum": 200, "step": 1}] = 30,
        noise: Literal["gaussian", "masking", "salt_and_pepper"] = "gaussian",
        noise_level: Level = 0.3,
    ):
        """Generate images: draw codes and decode them, or walk from noise to a picture.

        Args:
            class_labels: int, list or int64 tensor [N]; None: each sample's generator draws its class. "box" and "chain" know no class.
            prior: "mixture" follows the codes of the training images. "gaussian" is one Gaussian around them and "box" the least box that holds them, both with holes in between. "chain" adds noise and removes it, step by step, which a denoising auto-encoder has learnt.
            temperature: Spread of the codes; 0 gives the middle only, 1 the prior itself.
            num_inference_steps: Steps of the chain.
            noise: Noise that each step of the chain adds.
            noise_level: How much noise each step of the chain adds; 0.5 hides most of the picture.
        """
        if prior == "chain":
            return self._chain(batch_size, generator, report, num_inference_steps, noise, noise_level)
        x = self.autoencoder.decode(self._draw_codes(prior, temperature, labels, batch_size, generator))
        report(0, 0, 1, x)
        return x

    def _chain(
        self, number: int, generator: Generators, report: Report, steps: int, noise: str, level: float
    ) -> torch.Tensor:
        """Sample by adding noise and removing it (Bengio et al. 2013 alg. 1): [N, C, S, S].

        x_t+1 ~ P(x | x~_t), a Gaussian of the reconstruction's deviation around D(E(x~_t)), with x~_t ~ C(x~ | x_t). The
        first picture is noise, and the last one is the mean.
        """
        size = self.config.sample_size
        shape = (number, self.config.channels, size, size)
        sigma = (self.config.calibration or {}).get("sigma", 0.0)
        x = self._randn(shape, generator).float()
        mean = x
        for i in range(steps):
            noisy = corrupt(x, noise, level, self._randn(shape, generator).float())
            mean = self.autoencoder.decode(self.autoencoder.encode(noisy.to(self.dtype)))
            x = mean + sigma * self._randn(shape, generator).float()
            report(i, i, steps, mean)
        return mean

    @task(output=RestoredOutput)
    def reconstruct(
        self,
        x,
        generator,
        report,
        noise: Literal["none", "gaussian", "masking", "salt_and_pepper"] = "none",
        noise_level: Level = 0.3,
    ):
        """Encode images and decode them again, with noise added first if wanted.

        Args:
            noise: Noise that is added to the picture first; a denoising auto-encoder restores what was there before.
            noise_level: How much noise is added.

        Returns:
            `RestoredOutput` with N images, and `noisy` [N, C, H, W] in [0, 1] where noise was added.
        """
        added = noise != "none"
        if added:
            x = corrupt(x.float(), noise, noise_level, self._randn(x.shape, generator).float()).to(x.dtype)
            report(0, 0, 2, x.float())
        restored = self.autoencoder.decode(self.autoencoder.encode(x))
        report(int(added), 0, 1 + added, restored)
        return restored, {"noisy": shown(x) if added else None}

    @task
    def interpolate(self, a, b, num_frames, report, mode: Literal["lerp", "slerp"] = "lerp"):
        """Interpolate between two images through the codes; the ends are the two reconstructions.

        Args:
            generator: not used: this path is deterministic.
            mode: "lerp" walks the straight line between the codes; "slerp" an arc around the mean of all codes.
        """
        za, zb = (self.autoencoder.encode(image)[0] for image in (a, b))  # 2 x [d]
        weights = torch.linspace(0, 1, num_frames, device=za.device, dtype=torch.float32)
        if mode == "slerp":
            centre = self.autoencoder.code_means[-1].float()
            z = centre + slerp(za - centre, zb - centre, weights)  # [M, d]
        else:
            z = torch.lerp(za, zb, weights[:, None])
        x = self.autoencoder.decode(z)
        report(0, 0, 1, x)
        return x

    @task
    def anomaly_score(
        self,
        x,
        labels,
        report,
        score: Literal["both", "reconstruction", "code"] = "both",
        class_weight: Annotated[float, {"minimum": 0.0, "maximum": 10.0, "step": 0.1, "needs": "classes"}] = 5.0,
    ):
        """Measure how strange an image is to the model.

        "reconstruction" is the mean squared error e. Its map is that of each pixel, which all three scores show. "code" is the
        squared Mahalanobis distance m of the code from the codes of the training images, divided by their dimension. "both" is
        the sum of log e and log m, each as deviation from the training images' mean in their standard deviations, which `fit`
        found (before `fit`: as they are).

        With a class y given, log m becomes log m + w (log m_y - log m), where m_y is the distance from the codes of the class
        and w is `class_weight`. "reconstruction" does not depend on the class.

        Args:
            generator: not used: nothing here is random.
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "reconstruction" is what the code cannot say of the image, "code" how unusual the code is, "both" the sum of the two in standard deviations.
            class_weight: Weight of the class, where one is given; 0 ignores it, 1 is the distance from the codes of the class alone.
        """
        z = self.autoencoder.encode(x)
        x_hat = self.autoencoder.decode(z)
        report(0, 0, 1, x_hat)
        errors = (x.float() - x_hat).square().mean(1)  # [N, S, S]
        if score == "reconstruction":
            return errors.mean((1, 2)), errors, "mean squared error"
        rows = torch.full((len(x),), len(self.autoencoder.code_means) - 1, device=x.device)
        distance = floored_log(self.autoencoder.code_distance(z, rows))
        if labels is not None:
            of_class = floored_log(self.autoencoder.code_distance(z, labels))
            distance = distance + class_weight * (of_class - distance)
        if score == "code":
            return distance.exp(), errors, "squared deviations"
        terms = {"error": floored_log(errors.mean((1, 2))), "code": distance}
        return add_deviations(terms, self.config.calibration), errors, "standard deviations"
