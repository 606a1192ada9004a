"""Style autoencoder: it separates what is drawn from how it is drawn, to draw an emoji in another designer's manner.

    c = IN(E_c(x)),   s = E_s(y),   x_hat = D(c, s)
    L = |t - x_hat| + pyramid + style_weight CE(s) + ramp (lambda L_GAN + feature_weight L_FM) + judge_weight CE(J(x_hat))

x is a drawing, y another content by another designer, t the drawing of x's content by that designer: the partner. Since t is
given, content and style need no definition: content is what two drawings of the same have in common, style what
two drawings by the same designer have. (EMD, Zhang et al. 2018, learns typefaces so.) Without pairs, y = t = x, and only
instance normalisation and the bottleneck keep the two apart, as in Chou et al. 2019.

A second stage, the refinement, adds the judge J: it learns to tell in whose style a picture is drawn, or that it is made up,
and what the decoder draws has to pass for a drawing in the style asked for.

A style is a vector. The mean of all that a designer drew stands for the designer; `fit` measures it.

It does not generate: a content nobody drew has no distribution here.

Papers:
    Huang, Belongie: Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization, 2017,
        https://arxiv.org/abs/1703.06868
    Zhang, Zhang, Cai: Separating Style and Content for Generalized Style Transfer (EMD), 2018,
        https://arxiv.org/abs/1711.06454
    Chou, Yeh, Lee: One-shot Voice Conversion by Separating Speaker and Content Representations with Instance Normalization,
        2019, https://arxiv.org/abs/1904.05742
    Liu et al.: Few-Shot Unsupervised Image-to-Image Translation (FUNIT), 2019, https://arxiv.org/abs/1905.01723
        (a discriminator with an answer for each style)
    Reed et al.: Generative Adversarial Text to Image Synthesis, 2016, https://arxiv.org/abs/1605.05396 (sec. 4.2: real images
        that do not match count as fake)
    Salimans et al.: Improved Techniques for Training GANs, 2016, https://arxiv.org/abs/1606.03498 (sec. 5: a classifier with a
        class for what is made up)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, ModelMixin
from torch import nn

from pipelines.adversarial import (
    PatchDiscriminator,
    add_adversarial_terms,
    logits_of,
    pyramid_distance,
    ramp,
    with_detached_weights,
    zero_gradients,
)
from pipelines.family import check_stage
from pipelines.images import ImageFamilyMixin, Images, task
from pipelines.modeling_style_ae import StyleAutoencoder, StyleJudge, disturb
from pipelines.style_map import StyleMapOutput, in_plane_of

STAGES = ("autoencoder", "refinement")
CONDITION = "style"


class StyleAutoencoderPipeline(ImageFamilyMixin, DiffusionPipeline):
    """A style autoencoder: it draws the content of one picture in the style of another.

    Args:
        autoencoder: `StyleAutoencoder`, both encoders and the decoder.
        perceptual_weight: of the Laplacian pyramid's distance beside the plain one.
        style_weight: of the cross-entropy by which a style vector is classified.
        adversarial_weight, feature_weight: see `add_adversarial_terms`.
        identity_share: part of the training rows that are to give back the picture itself, from its own content and style.
        mean_share: part of the training rows drawn in the mean of the batch's styles by that designer, as by a name later.
        discriminator_start, discriminator_ramp: parts of the training, before the discriminator starts and while its share of
            the autoencoder's loss rises from 0.
        discriminator_widths: of the discriminator's layers, and of the judge's.
        judge_weight: of the cross-entropy of the judge's opinion, in the refinement.
        id2label: names of the classes; content is drawn as it is, so nothing depends on them.
        conditions: {"style": {number: name}}, the designers.
    """

    autoencoder: StyleAutoencoder
    code_kind = "vector"
    model_cpu_offload_seq = "autoencoder"

    def __init__(
        self,
        autoencoder: ModelMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        perceptual_weight: float = 1.0,
        style_weight: float = 0.05,
        adversarial_weight: float = 0.3,
        feature_weight: float = 0.3,
        identity_share: float = 0.1,
        mean_share: float = 0.25,
        discriminator_start: float = 0.3,
        discriminator_ramp: float = 0.2,
        discriminator_widths: list[int] | tuple[int, ...] = (32, 64, 128),
        judge_weight: float = 0.1,
        id2label: dict[str, str] | None = None,
        conditions: dict[str, dict[str, str]] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        self._register(
            locals(),
            sample_size=sample_size or autoencoder.config.sample_size,
            channels=channels or autoencoder.config.channels,
            discriminator_widths=tuple(discriminator_widths),
        )
        self._helpers: dict[str, nn.Module] = {}  # of the training; no components, so never saved

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        conditions: dict[str, dict[str, str]] | None = None,
        block_out_channels: tuple[int, ...] = (48, 96, 192),
        content_channels: tuple[int, ...] | None = None,
        encoder_layers: int = 1,
        decoder_layers: int = 2,
        style_dim: int = 64,
        **options,
    ) -> StyleAutoencoderPipeline:
        """Make a pipeline with fresh weights.

        Args:
            block_out_channels, content_channels, encoder_layers, decoder_layers, style_dim: of `StyleAutoencoder`; by
                default, content has 4 channels at the finest level and four times as many at each coarser one.
            options: the other arguments of the class.

        Raises:
            TypeError: an option that the class does not have.
            ValueError: sizes that do not divide, shares beyond 0 ... 1, or another condition than "style".
        """
        if set(conditions or ()) - {CONDITION}:
            raise ValueError(
                f"conditions: this family knows the condition {CONDITION!r}, not {', '.join(conditions or ())}."
            )
        for name in ("identity_share", "mean_share", "discriminator_start", "discriminator_ramp"):
            if not 0 <= options.get(name, 0) <= 1:
                raise ValueError(f"{name}: must lie in 0 ... 1, not {options[name]}.")
        autoencoder = StyleAutoencoder(
            sample_size,
            channels,
            tuple(block_out_channels),
            tuple(content_channels or (4 ** (i + 1) for i in range(len(block_out_channels)))),
            encoder_layers,
            decoder_layers,
            style_dim,
            num_styles=len((conditions or {}).get(CONDITION) or ()),
        )
        return cls(autoencoder, id2label=id2label, conditions=conditions, **options)

    # ---- training ----

    def trainable(self, stage: str) -> dict[str, nn.Module]:
        """Return the modules that a stage trains. Helpers are made when first needed; those of the first help in the second.

        Raises:
            ValueError: an unknown stage.
        """
        check_stage(stage, STAGES)
        config, number = self.autoencoder.config, len(self._condition_names(CONDITION))
        widths = tuple(self.config.discriminator_widths)
        if not self._helpers:
            self._helpers = {"discriminator": PatchDiscriminator(config.channels, widths, max(number, 1))}
            if number:
                self._helpers["classifier"] = nn.Linear(config.style_dim, number)
        helpers = dict(self._helpers)
        if stage == "refinement":
            if "judge" not in self._helpers:
                self._helpers["judge"] = StyleJudge(config.channels, widths, max(number, 1))
            helpers["judge"] = self._helpers["judge"]
        else:
            helpers.pop("judge", None)
        return {"autoencoder": self.autoencoder, **helpers}

    def loss(
        self,
        batch: dict,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
        stage: Literal["autoencoder", "refinement"] = "autoencoder",
    ):
        """Return the loss of a stage: distance to the partner, classification of styles, and the adversarial terms.

        The discriminator also sees the content's picture as it is, as a drawing that is not in the partner's style (Reed et
        al. 2016 sec. 4.2). So it has to look at the style. The refinement adds the judge, for both sides.

        Args:
            batch: "images" [B, C, S, S] in [-1, 1]; from data with pairs, "partners" and "style_examples" of the same shape;
                "conditions" and "partner_conditions" {"style": int64 [B]} where the styles have names.
            generator: for all random numbers, on the images' device.
            progress: part of the training that is done, 0 ... 1.
            stage: which.

        Returns:
            (scalar, {name: scalar}).

        Raises:
            ValueError: an unknown stage.
        """
        helpers, config = self.trainable(stage), self.config
        images = batch["images"]
        own = torch.rand(len(images), generator=generator, device=images.device) < config.identity_share
        if "partners" not in batch:
            own[:] = True
        target = torch.where(own[:, None, None, None], images, batch.get("partners", images))
        examples = torch.where(own[:, None, None, None], images, batch.get("style_examples", images))
        styles = self._styles_of(batch, own)  # int64 [B]
        named = "classifier" in helpers

        mixing = torch.eye(len(images), device=images.device)
        if named:
            averaged = torch.rand(len(images), generator=generator, device=images.device) < config.mean_share
            alike = (styles[:, None] == styles).float()  # [B, B]
            mixing = torch.where((averaged & ~own)[:, None], alike / alike.sum(1, keepdim=True), mixing)
        x_hat, vectors = self.autoencoder(images, examples, mixing)

        pixels = (target - x_hat).abs().mean()
        perceptual = pyramid_distance(target, x_hat)
        reconstruction = pixels + config.perceptual_weight * perceptual
        loss, parts = reconstruction, {"pixels": pixels, "perceptual": perceptual}
        if named:
            logits = helpers["classifier"](vectors)
            cross_entropy = F.cross_entropy(logits.float(), styles)
            loss = loss + config.style_weight * cross_entropy
            parts |= {"style": cross_entropy, "style_accuracy": (logits.argmax(1) == styles).float().mean()}

        discriminator = helpers["discriminator"]
        refining = stage == "refinement"
        if progress < config.discriminator_start and not refining:
            loss = loss + zero_gradients(discriminator)
        else:
            share = 1.0 if refining else ramp(progress, config.discriminator_start, config.discriminator_ramp)
            real = logits_of(discriminator(target), styles)
            others = [logits_of(discriminator(x_hat.detach()), styles)[0]]
            if not own.all():
                others.append(logits_of(discriminator(images[~own]), styles[~own])[0])
            fake = logits_of(with_detached_weights(discriminator, x_hat), styles)
            weights = (config.adversarial_weight, config.feature_weight, share)
            loss, named_parts = add_adversarial_terms(loss, reconstruction, x_hat, real, others, fake, *weights)
            parts |= named_parts
        if refining:
            verdict, opinion = self._judgement(helpers["judge"], target, x_hat, styles, generator)
            loss = loss + verdict + config.judge_weight * opinion
            parts |= {"judge": verdict, "judge_opinion": opinion}
        return loss, {name: value.detach() for name, value in parts.items()}

    def _judgement(
        self,
        judge: nn.Module,
        real: torch.Tensor,
        drawn: torch.Tensor,
        styles: torch.Tensor,
        generator: torch.Generator | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the judge's cross-entropy, and that of drawn pictures in their styles by detached weights: two scalars.

        The judge learns from real pictures and from detached drawn ones, which are a class of their own (Salimans et al. 2016
        sec. 5).
        """

        def disturbed(x: torch.Tensor) -> torch.Tensor:
            return disturb(x, generator, shift=max(x.shape[-1] // 16, 1))

        made_up = torch.full_like(styles, max(len(self._condition_names(CONDITION)), 1))
        verdict = F.cross_entropy(judge(disturbed(real)), styles)
        verdict = (verdict + F.cross_entropy(judge(disturbed(drawn.detach())), made_up)) / 2
        return verdict, F.cross_entropy(with_detached_weights(judge, disturbed(drawn)), styles)

    def _styles_of(self, batch: dict, own: torch.Tensor) -> torch.Tensor:
        """Return the styles to draw in, int64 [B]: the image's own or its partner's; zeros where styles have no names."""
        if not self._condition_names(CONDITION):
            return torch.zeros(len(own), dtype=torch.int64, device=own.device)
        styles = batch["conditions"][CONDITION]
        return torch.where(own, styles, batch.get("partner_conditions", batch["conditions"])[CONDITION])

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Measure each designer's mean style over the training images; it is kept in the autoencoder's `style_means`.

        Args:
            batches: of `{"images", "conditions"}`, one pass over the training data.

        Raises:
            ValueError: a designer of whom there is no image.
        """
        names = self._condition_names(CONDITION)
        if not names:
            return
        sums = torch.zeros(len(names), self.autoencoder.config.style_dim, dtype=torch.float64)
        counts = torch.zeros(len(names), dtype=torch.float64)
        for batch in batches:
            styles = batch["conditions"][CONDITION].cpu()
            sums.index_add_(0, styles, self.autoencoder.encode_style(self._to_tensor(batch["images"])).double().cpu())
            counts += torch.bincount(styles, minlength=len(names))
        if not counts.all():
            missing = [name for name, count in zip(names, counts, strict=True) if not count]
            raise ValueError(f"batches: there is no image of {', '.join(missing)}.")
        means = self.autoencoder.style_means
        means.copy_((sums / counts[:, None]).to(means))

    # ---- styles ----

    def _designers(self) -> torch.Tensor:
        """Return the mean styles of the known designers, float32 [K, style_dim]; K = 0 where none was measured."""
        means = self.autoencoder.style_means.float()
        return means if means.any() else means[:0]

    def _wanted(self, designer: str, style: torch.Tensor | None, number: int) -> torch.Tensor:
        """Return the style to draw `number` contents in, float32 [number, style_dim]."""
        if designer != "any":
            means = self._designers()
            if not len(means):
                raise ValueError("designer: the designers' styles are not measured yet; `fit` does it after training.")
            return means[self._condition_names(CONDITION).index(designer)].expand(number, -1)
        if style is None:
            raise ValueError("style: give a picture in the style you want, or name a designer.")
        vectors = self.autoencoder.encode_style(style)
        if len(vectors) not in (1, number):
            raise ValueError(f"style: give one picture or {number}, one for each content, not {len(vectors)}.")
        return vectors.expand(number, -1)

    @torch.no_grad()
    def style_map(self, styles: Images) -> StyleMapOutput:
        """Map pictures among the known designers, in the plane in which those differ most.

        The plane is that of the first two principal components of the designers' mean styles; where fewer than three are
        known, of those and the given pictures' together.

        Args:
            styles: PIL image(s), uint8 [N, H, W, C] or float [N, C, H, W] in [-1, 1].

        Returns:
            `StyleMapOutput`: the designers' names, then "" for each picture, and their points.
        """
        known = self._designers()
        vectors = torch.cat([known, self.autoencoder.encode_style(self._to_tensor(styles, "styles"))]).double().cpu()
        points = in_plane_of(vectors[: len(known)] if len(known) >= 3 else vectors, vectors).float()
        names = self._condition_names(CONDITION)[: len(known)]
        return StyleMapOutput(names=names + [""] * (len(points) - len(known)), points=points)

    # ---- codes ----

    @property
    def code_shape(self) -> tuple[int, ...]:
        """(style_dim + numbers of the content's maps,)."""
        return (self.autoencoder.vector_size,)

    @task
    def encode(self, x):
        """Encode images as vectors: the style's numbers first, then the content's maps, the finest first.

        Args:
            generator: not used: nothing here is left to chance.
            class_labels: not used.
        """
        return self.autoencoder.encode_vector(x)

    @task
    def decode(self, codes):
        """Draw images from vectors of style and content, as `encode` gives them.

        Args:
            class_labels: not used.
        """
        return self.autoencoder.decode_vector(codes)

    # ---- the tasks ----

    @task
    def swap_style(
        self,
        content,
        style,
        report,
        designer: Annotated[str, {"choices_from": "style"}] = "any",
        strength: Annotated[float, {"minimum": 0.0, "maximum": 1.5, "step": 0.05}] = 1.0,
    ):
        """Draw the content of one picture in the style of another.

        Args:
            style: in whose manner: as many pictures, or one for all; None with a named designer.
            generator: not used: nothing here is left to chance.
            designer: Designer whose style is taken; any: the style of the style picture.
            strength: How far to go from the content's own style, 0, to the other, 1; beyond 1 exaggerates it.
        """
        wanted = self._wanted(designer, style, len(content))
        if strength != 1.0:
            wanted = torch.lerp(self.autoencoder.encode_style(content), wanted, strength)
        x_hat = self.autoencoder.decode(self.autoencoder.encode_content(content), wanted)
        report(0, 0, 1, x_hat)
        return x_hat

    def _restore(self, x: torch.Tensor) -> torch.Tensor:
        """Draw images again from their own content and style: float32 [N, C, S, S]."""
        return self.autoencoder.decode(self.autoencoder.encode_content(x), self.autoencoder.encode_style(x))

    @task
    def reconstruct(self, x, generator, labels, report):
        """Draw images again from their own content and their own style.

        Args:
            generator: not used: nothing here is left to chance.
            class_labels: not used.
        """
        x_hat = self._restore(x)
        report(0, 0, 1, x_hat)
        return x_hat

    @task
    def interpolate(self, a, b, num_frames, report, what: Literal["both", "style", "content"] = "both"):
        """Interpolate between two pictures along straight lines, of the content's maps, of the style's vector, or of both.

        Args:
            generator: not used: this path is deterministic.
            what: "both" goes from a to b; "style" keeps what a shows and changes the manner, "content" keeps a's manner and changes what it shows.
        """
        ends = torch.cat([a, b])  # [2, C, S, S]
        weights = torch.linspace(0, 1, num_frames, device=ends.device, dtype=torch.float32)

        def path(ends: torch.Tensor, moves: bool) -> torch.Tensor:
            """Return [M, ...] from the first to the second of [2, ...], or the first M times."""
            start, end = ends.float()
            share = (weights * moves).reshape(-1, *[1] * start.ndim)
            start, end = start.expand(num_frames, *start.shape), end.expand(num_frames, *end.shape)
            return torch.lerp(start, end, share).to(ends)

        content = [path(c, what != "style") for c in self.autoencoder.encode_content(ends)]
        style = path(self.autoencoder.encode_style(ends), what != "content")
        x_hat = self.autoencoder.decode(content, style)  # [M, C, S, S]
        report(0, 0, 1, x_hat)
        return x_hat

    @task
    def anomaly_score(self, x, generator, report):
        """Measure what content and style together cannot say of an image: the mean squared error of drawing it again.

        The map is the squared error of each pixel.

        Args:
            generator: not used: nothing here is left to chance.
        """
        x_hat = self._restore(x)
        report(0, 0, 1, x_hat)
        errors = (x.float() - x_hat).square().mean(1)  # [N, S, S]
        return errors.mean((1, 2)), errors, "mean squared error"
