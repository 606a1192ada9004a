"""Generative adversarial networks: a generator learns from a critic, who learns which pictures are real.

    w = M(z, y),   x' = S(w),   z ~ N(0, I)        D(x, y): high for real pictures

The objective is the recipe's choice: non-saturating with R1, Wasserstein with clipped weights or with a gradient penalty, or
relativistic with R1 and R2; see `adversarial_objectives`. One pass through the generator makes a picture.

Three stages: "decoder" trains the generator as the decoder of a variational auto-encoder, which spreads the noise over all kinds
of pictures at a fraction of an adversarial step's cost. "adversarial" makes the pictures sharp. There is no way back from there:
"encoder" trains an encoder for the finished generator, and gradient descent on w goes on from its guess.

Papers:
    Goodfellow et al.: Generative Adversarial Nets, 2014, https://arxiv.org/abs/1406.2661
    Larsen et al.: Autoencoding beyond pixels using a learned similarity metric, 2016, https://arxiv.org/abs/1512.09300 (a
        decoder that a critic trains)
    Chen et al.: InfoGAN, 2016, https://arxiv.org/abs/1606.03657 (eq. 6: the noise can be read off the picture)
    Huang et al.: The GAN is dead; long live the GAN! A Modern Baseline GAN, 2024, https://arxiv.org/abs/2501.05441
    Zhu et al.: Generative Visual Manipulation on the Natural Image Manifold, 2016, https://arxiv.org/abs/1609.03552 (inversion)
    Schlegl et al.: f-AnoGAN, 2019, https://doi.org/10.1016/j.media.2019.01.010 (inversion as an anomaly score)
    Härkönen et al.: GANSpace, 2020, https://arxiv.org/abs/2004.02546 (directions)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
from diffusers import DiffusionPipeline, ModelMixin
from torch import nn

from pipelines.adversarial_objectives import OBJECTIVES
from pipelines.deviations import add_deviations, measure_terms
from pipelines.family import Report, check_stage
from pipelines.gan_training import adversarial_loss, decoder_loss, encoder_loss
from pipelines.images import ImageFamilyMixin, task
from pipelines.interpolation import slerp
from pipelines.inversion import descend
from pipelines.modeling_gan import CriticModel, EncoderModel, GeneratorModel
from pipelines.typicality import calibration_batches, floored_log

STAGES = ("decoder", "adversarial", "encoder")
AUGMENTATIONS = ("translation", "cutout", "colour")
INVERSION_STEPS = 50  # of the anomaly score, which is calibrated for them
Steps = Annotated[int, {"minimum": 0, "maximum": 200, "step": 5}]


class GANPipeline(ImageFamilyMixin, DiffusionPipeline):
    """A generator, its critic and an encoder.

    Args:
        generator: `GeneratorModel`.
        critic: `CriticModel`.
        encoder: `EncoderModel`.
        objective: of OBJECTIVES.
        penalty_weights: weight of the penalty at the beginning and at the end of the training; between them it falls or rises
            geometrically.
        penalty_every: the penalty is added in one of so many steps, times that number (Karras et al. 2020 appendix B).
        penalty_share: part of the batch that it is measured on.
        critic_steps: the generator makes a step in one of so many steps of the critic.
        information_weight: weight, for both sides, of the noise that the critic guesses from generated images (InfoGAN); it
            falls to a tenth. Without it, all pictures of a class become the same.
        clip: limit of the critic's weights, for "wgan_clip".
        augmentations: of AUGMENTATIONS, of what the critic sees; None: no augmentation.
        calibration: {"inversion", "critic", "critic, class given": [mean, standard deviation]} of the anomaly terms of
            training images; written by `fit`.
    """

    generator: GeneratorModel
    critic: CriticModel
    encoder: EncoderModel
    model_cpu_offload_seq = "encoder->generator->critic"
    code_kind = "vector"

    def __init__(
        self,
        generator: ModelMixin,
        critic: ModelMixin,
        encoder: ModelMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        objective: str = "relativistic",
        penalty_weights: list[float] | tuple[float, float] = (0.2, 0.02),
        penalty_every: int = 4,
        penalty_share: float = 0.5,
        critic_steps: int = 1,
        information_weight: float = 3.0,
        clip: float = 0.01,
        augmentations: list[str] | None = None,
        id2label: dict[str, str] | None = None,
        calibration: dict[str, list[float]] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"objective: choose {', '.join(map(repr, OBJECTIVES))}, not {objective!r}.")
        if not all(weight > 0 for weight in penalty_weights):
            raise ValueError(f"penalty_weights: must be above 0, not {list(penalty_weights)}.")
        if unknown := set(augmentations or ()) - set(AUGMENTATIONS):
            raise ValueError(f"augmentations: choose from {', '.join(AUGMENTATIONS)}, not {unknown.pop()!r}.")
        self._register(
            locals(),
            sample_size=sample_size or generator.config.sample_size,
            channels=channels or generator.config.channels,
            penalty_weights=list(penalty_weights),
            augmentations=list(augmentations) if augmentations else None,
        )

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        class_conditional: bool = True,
        latent_dim: int = 32,
        style_dim: int = 128,
        block_out_channels: tuple[int, ...] = (48, 96),
        feature_dim: int = 256,
        encoder_channels: tuple[int, ...] = (32, 64),
        layers_per_block: int = 1,
        **options,
    ) -> GANPipeline:
        """Make a pipeline with fresh weights.

        Args:
            class_conditional: whether the networks know the class, where the data have classes.
            latent_dim, style_dim, block_out_channels: of `GeneratorModel`; the critic mirrors it.
            feature_dim: of `CriticModel`.
            encoder_channels, layers_per_block: of `EncoderModel`.
            options: the other arguments of the class.

        Raises:
            TypeError: an option that the class does not have.
            ValueError: sizes that do not divide, or an unknown objective or augmentation.
        """
        known = id2label if class_conditional else None
        of_images = {"sample_size": sample_size, "channels": channels, "num_classes": len(known or ())}
        of_codes = {"latent_dim": latent_dim, "style_dim": style_dim}
        widths = {"block_out_channels": tuple(block_out_channels)}
        of_encoder = {"block_out_channels": tuple(encoder_channels), "layers_per_block": layers_per_block}
        return cls(
            GeneratorModel(**of_images, **of_codes, **widths),
            CriticModel(**of_images, **widths, latent_dim=latent_dim, feature_dim=feature_dim),
            EncoderModel(**of_images, **of_codes, **of_encoder),
            id2label=known,
            **options,
        )

    # ---- training ----

    def trainable(self, stage: str) -> dict[str, nn.Module]:
        """Return the modules that a stage trains: generator and encoder, the two adversaries, then the encoder alone.

        Raises:
            ValueError: an unknown stage.
        """
        check_stage(stage, STAGES)
        names = {"decoder": ("generator", "encoder"), "adversarial": ("generator", "critic"), "encoder": ("encoder",)}
        return {name: getattr(self, name) for name in names[stage]}

    def prepare(self, stage: str, batches: Iterable[dict]) -> None:
        """Measure the styles of the finished generator before the encoder's stage."""
        if stage == "encoder":
            self.generator.measure_styles()

    def loss(
        self,
        batch: dict,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
        stage: Literal["decoder", "adversarial", "encoder"] = "adversarial",
    ):
        """Return the loss of a stage; that of the adversaries is the sum of both sides, each seeing the other one detached.

        Args:
            batch: "images" [B, C, S, S] in [-1, 1], "class_labels" int64 [B] or None, -1 for an image without class.
            generator: for all random numbers, on the images' device.
            progress: part of the stage that is done, 0 ... 1.
            stage: which.

        Returns:
            (scalar, {name: scalar}). Of the decoder, "pixels" is the mean squared error and "divergence" the Kullback-Leibler
            term in nats. Of the adversaries, "critic" and "generator" are what each minimises. "information" is
            the mean squared error of the noise that the critic guesses, 1 where it knows nothing. "penalty" has no weight yet.
            "distance" is the mean score of real less that of generated images, which under a Wasserstein objective estimates
            the distance times the critic's slope. "gap" is the running mean score of training images less that of images
            held out.

        Raises:
            ValueError: an unknown stage.
        """
        check_stage(stage, STAGES)
        labels = batch.get("class_labels") if self.config.id2label else None
        x, model = batch["images"], self.generator
        if stage == "adversarial":
            return adversarial_loss(self.config, model, self.critic, x, labels, generator, progress)
        return (decoder_loss if stage == "decoder" else encoder_loss)(model, self.encoder, x, labels, generator)

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Measure the styles, and mean and standard deviation of the anomaly terms of training images.

        Args:
            batches: of `{"images", "class_labels"}`, one pass over the training data.

        Raises:
            ValueError: fewer than two images.
        """
        self.generator.measure_styles()
        rows: dict[str, list[torch.Tensor]] = {}
        for images, labels, _ in calibration_batches(batches, bool(self.config.id2label)):
            x = self._to_tensor(images)
            errors = (self._invert(x, Report(self, None), INVERSION_STEPS)[1] - x.float()).square().mean((1, 2, 3))
            terms = {"inversion": floored_log(errors), "critic": -self.critic.best_class(x)}
            if labels is not None:
                terms["critic, class given"] = -self.critic(x, labels.to(x.device))
            for name, values in terms.items():
                rows.setdefault(name, []).append(values.float().cpu())
        self.register_to_config(calibration=measure_terms({name: torch.cat(parts) for name, parts in rows.items()}))

    # ---- the code: w ----

    @property
    def code_shape(self) -> tuple[int, ...]:
        """(d,)."""
        return (self.generator.config.style_dim,)

    @task
    def encode(self, x, report, num_inference_steps: Steps = INVERSION_STEPS):
        """Encode images as vectors w, float32 [N, d].

        Args:
            generator: not used: nothing here is random.
            class_labels: not used: w holds the class.
            num_inference_steps: Gradient steps on the code after the encoder's guess; 0 gives the guess.
        """
        return self._invert(x, report, num_inference_steps)[0]

    @task
    def decode(self, codes):
        """Draw images of vectors w [N, d].

        Args:
            class_labels: not used: w holds the class.
        """
        return self.generator.synthesize(codes)

    @torch.no_grad()
    def realness(self, images: Any, *, generator: Any = None, class_labels: Any = None) -> torch.Tensor:
        """Return the critic's scores of images, of their class or of the one that suits best: float32 [N], high for real ones.

        Args:
            images, class_labels: as in `anomaly_score`. `generator` is not used.
        """
        x = self._to_tensor(images)
        labels = self._to_labels(class_labels, len(x))
        return (self.critic.best_class(x) if labels is None else self.critic(x, labels)).cpu()

    @torch.no_grad()
    def code_directions(self, number: int = 8) -> torch.Tensor:
        """Return the principal components of the first features as directions of w (GANSpace), the strongest first.

        Args:
            number: of directions, at most the length of w.

        Returns:
            float32 [number, d], each as long as one standard deviation; see `GeneratorModel.directions`.
        """
        return self.generator.directions(number)[0].cpu()

    # ---- inversion ----

    def _invert(self, x: torch.Tensor, report: Report, steps: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Find w of images, from the encoder's guess: (w [N, d], the images S(w) [N, C, S, S])."""

        def draw(u: torch.Tensor) -> torch.Tensor:
            return self.generator.synthesize(self.generator.style_from_units(u))

        w = self.generator.style_from_units(descend(x, self.encoder(x).w, draw, steps, report))
        drawn = self.generator.synthesize(w)
        report(steps, steps, steps + 1, drawn)
        return w, drawn

    # ---- the tasks ----

    @task
    def __call__(
        self,
        batch_size,
        generator,
        labels,
        report,
        truncation: Annotated[float, {"minimum": 0.0, "maximum": 1.5, "step": 0.05}] = 1.0,
    ):
        """Generate images in one pass.

        Args:
            class_labels: int, list or int64 tensor [N]; None: each sample's generator draws its class.
            truncation: How far the style goes from its class's mean; below 1 samples are safer and more alike, 0 gives the mean only.
        """
        model = self.generator
        groups = len(model.style_means) - 1
        noise = self._randn((batch_size, model.config.latent_dim + 1), generator).float()
        labels = (torch.special.ndtr(noise[:, -1]) * groups).long().clamp(max=groups - 1) if labels is None else labels
        w = model.style(noise[:, :-1], model.embed(labels if self.config.id2label else None, batch_size))
        w = torch.lerp(model.style_means.float()[labels], w, truncation)
        x = model.synthesize(w)
        report(0, 0, 1, x)
        return x

    @task
    def reconstruct(self, x, report, num_inference_steps: Steps = INVERSION_STEPS):
        """Find a code by the encoder and by gradient steps, and draw its image.

        Args:
            generator: not used: nothing here is random.
            class_labels: not used: the code holds the class.
            num_inference_steps: Gradient steps on the code after the encoder's guess; 0 shows the guess.
        """
        return self._invert(x, report, num_inference_steps)[1]

    @task
    def interpolate(
        self,
        a,
        b,
        num_frames,
        report,
        mode: Literal["lerp", "slerp"] = "lerp",
        num_inference_steps: Steps = INVERSION_STEPS,
    ):
        """Interpolate between two images through codes that are found by the encoder and by gradient steps.

        Args:
            generator: not used: nothing here is random.
            mode: "lerp" walks the straight line between the codes w; "slerp" an arc between the noises z, where fewer pictures can be found, so that the ends are less like the two images.
            num_inference_steps: Gradient steps on the two codes after the encoder's guess.
        """
        model, x = self.generator, torch.cat([a, b])
        weights = torch.linspace(0, 1, num_frames, device=x.device, dtype=torch.float32)
        if mode == "lerp":
            w, _ = self._invert(x, report, num_inference_steps)
            return model.synthesize(torch.lerp(w[:1], w[1:], weights[:, None]))
        guess = self.encoder(x)
        embedding = model.embed(guess.logits.argmax(1) if self.config.id2label else None, 2)

        def draw(z: torch.Tensor) -> torch.Tensor:
            return model.synthesize(model.style(z, embedding))

        z = descend(x, guess.z, draw, num_inference_steps, report)
        path = slerp(z[:1], z[1:], weights)  # [M, latent_dim]
        frames = model.synthesize(model.style(path, torch.lerp(embedding[:1], embedding[1:], weights[:, None])))
        report(num_inference_steps, num_inference_steps, num_inference_steps + 1, frames)
        return frames

    @task
    def anomaly_score(self, x, labels, report, score: Literal["both", "inversion", "critic"] = "both"):
        """Measure how strange an image is to the model.

        "inversion" is the mean squared error e of the best image that 50 gradient steps find, and the map is that of each
        pixel. "critic" is -D(x, y), for the class that suits the image best if none is given. "both" is
        the sum of log e and -D, each as deviation from the training images' mean in their standard deviations, which `fit`
        found (before `fit`: as they are). "inversion" does not depend on the class.

        Args:
            generator: not used: nothing here is random.
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "inversion" is what the generator cannot draw of the image, "critic" how unlike real images the critic finds it, "both" the sum of the two in standard deviations.
        """
        opinion = -(self.critic.best_class(x) if labels is None else self.critic(x, labels))
        if score == "critic":
            return opinion, None, "score of the critic, negated"
        errors = (self._invert(x, report, INVERSION_STEPS)[1] - x.float()).square().mean(1)  # [N, S, S]
        if score == "inversion":
            return errors.mean((1, 2)), errors, "mean squared error"
        terms = {
            "inversion": floored_log(errors.mean((1, 2))),
            "critic" if labels is None else "critic, class given": opinion,
        }
        return add_deviations(terms, self.config.calibration), errors, "standard deviations"
