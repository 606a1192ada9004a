"""VQGAN: images become maps of codes, and a transformer draws such maps, a dozen codes at a time or one after another.

    z_e = E(x),  k = argmin_j |z_e - e_j|^2,  x_hat = D(e_k)                van den Oord et al. 2017 eq. 1, 2
    L_1 = |x - x_hat| + pyramid + beta |z_e - sg(e_k)|^2 + lambda L_GAN     Esser et al. 2021 eq. 4, 7
    L_2 = -log p(k_i | k_1 ... k_(i-1), y)        for half of the rows      Esser et al. 2021 sec. 3.2
          -log p(k_i | unmasked codes, y)         for the others            Chang et al. 2022 eq. 1

Two stages of training, "autoencoder" (L_1) and "transformer" (L_2). The codebook follows the averages of the latents and
codes that nobody uses are restarted. One transformer learns to read codes in order and to fill gaps, so that the same
checkpoint decodes quickly (masked, MaskGIT) and exactly (autoregressive, which also gives the likelihood of a code map).

Without a transformer, as an adopted `VQModel` comes, the auto-encoder alone reconstructs, interpolates and measures errors.

There is no `log_likelihood`: the probability of a code map is none of pixels, since many maps may give nearly the same
picture, and most pictures are the decoder's answer to no map at all.

Papers:
    van den Oord, Vinyals, Kavukcuoglu: Neural Discrete Representation Learning (VQ-VAE), 2017,
        https://arxiv.org/abs/1711.00937
    Esser, Rombach, Ommer: Taming Transformers for High-Resolution Image Synthesis (VQGAN), 2021,
        https://arxiv.org/abs/2012.09841
    Chang et al.: MaskGIT: Masked Generative Image Transformer, 2022, https://arxiv.org/abs/2202.04200
    Chang et al.: Muse: Text-To-Image Generation via Masked Generative Transformers, 2023,
        https://arxiv.org/abs/2301.00704 (guidance of masked decoding)
    Ho, Salimans: Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, ModelMixin, VQModel
from torch import nn

from pipelines.adversarial import (
    PatchDiscriminator,
    add_adversarial_terms,
    pyramid_distance,
    ramp,
    with_detached_weights,
    zero_gradients,
)
from pipelines.codebook import CodebookAverage
from pipelines.decoding import Choice, draw_in_order, fill_masks
from pipelines.deviations import add_deviations, measure_terms
from pipelines.family import Generators, Report, check_stage
from pipelines.guidance import guided
from pipelines.images import ImageFamilyMixin, ImagesOutput, task
from pipelines.modeling_vqgan import StockCodec, VQGANModel
from pipelines.modeling_vqgan_transformer import CodeTransformer, code_losses
from pipelines.typicality import floored_log, reservoir

Steps = Annotated[int, {"minimum": 1, "maximum": 64, "step": 1}]

STAGES = ("autoencoder", "transformer")
RESTARTS_UNTIL = 0.8  # of the first stage; then the codebook settles
CALIBRATION_SIZE = 1024


@dataclass
class CodesOutput(ImagesOutput):
    """Images, and `codes`: int64 [N, h, w], the map of codes of each."""

    codes: torch.Tensor


class VQGANPipeline(ImageFamilyMixin, DiffusionPipeline):
    """An auto-encoder with a codebook, and a transformer over its code maps.

    Args:
        vqgan: `VQGANModel`, encoder, codebook, decoder; or diffusers' `VQModel`, which is not trained here.
        transformer: `CodeTransformer`; None: nothing can be generated, and only errors of reconstruction tell what is strange.
        perceptual_weight: of the Laplacian pyramid's distance beside the plain one in the reconstruction loss.
        commitment_weight: beta of the commitment loss (VQ-VAE eq. 3).
        adversarial_weight, feature_weight: see `add_adversarial_terms`.
        discriminator_start, discriminator_ramp: parts of the first stage, before the discriminator starts and while its share
            of the auto-encoder's loss rises from 0.
        discriminator_widths: of the discriminator's layers.
        class_dropout: part of the training rows that get neither class nor conditions, for classifier-free guidance. As large
            a part gets no class, and as large a part lacks each of the conditions.
        causal_share: part of the training rows that are read in order.
        corruption: part of the codes that such a row reads wrong, so that it copes with mistakes of its own (VQGAN's code).
        conditions: {condition: {number: name}} beside the class.
        calibration: what `fit` found; see `anomaly_score`.
    """

    vqgan: VQGANModel
    code_kind = "grid"
    transformer: CodeTransformer  # None in an auto-encoder alone
    model_cpu_offload_seq = "vqgan->transformer"
    joins = {}  # noqa: RUF012  # never changed

    _optional_components: ClassVar[list[str]] = ["transformer"]  # as diffusers has it
    needs: ClassVar[dict[str, str]] = {"__call__": "transformer"}

    def __init__(
        self,
        vqgan: ModelMixin,
        transformer: ModelMixin | None = None,
        sample_size: int | None = None,
        channels: int | None = None,
        perceptual_weight: float = 1.0,
        commitment_weight: float = 0.25,
        adversarial_weight: float = 0.2,
        feature_weight: float = 0.2,
        discriminator_start: float = 0.3,
        discriminator_ramp: float = 0.2,
        discriminator_widths: list[int] | tuple[int, ...] = (64, 128),
        class_dropout: float = 0.1,
        causal_share: float = 0.5,
        corruption: float = 0.1,
        id2label: dict[str, str] | None = None,
        conditions: dict[str, dict[str, str]] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        calibration: dict[str, list[float]] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        stock = StockCodec(vqgan) if isinstance(vqgan, VQModel) else None
        self._register(
            locals(),
            sample_size=sample_size or vqgan.config.sample_size,
            channels=channels or (stock.channels if stock else vqgan.config.channels),
            discriminator_widths=tuple(discriminator_widths),
        )
        self._helpers: dict[str, nn.Module] = {}  # of the first stage; no components, so never saved

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        conditions: dict[str, dict[str, str]] | None = None,
        class_conditional: bool = True,
        block_out_channels: tuple[int, ...] = (64, 128),
        encoder_layers: int = 1,
        decoder_layers: int = 2,
        codebook_size: int = 512,
        code_dim: int = 16,
        width: int = 256,
        num_layers: int = 6,
        num_heads: int = 4,
        **options,
    ) -> VQGANPipeline:
        """Make a pipeline with fresh weights.

        Args:
            block_out_channels, encoder_layers, decoder_layers, codebook_size, code_dim: of `VQGANModel`.
            width, num_layers, num_heads: of `CodeTransformer`.
            options: the other arguments of the class.

        Raises:
            ValueError: sizes that do not divide, shares beyond 0 ... 1, or another condition than "style".
        """
        id2label = id2label if class_conditional else None
        if set(conditions or ()) - {"style"}:
            raise ValueError(f"conditions: this family knows the condition 'style', not {', '.join(conditions or ())}.")
        for name in ("class_dropout", "causal_share", "corruption", "discriminator_start", "discriminator_ramp"):
            if not 0 <= options.get(name, 0) <= 1:
                raise ValueError(f"{name}: must lie in 0 ... 1, not {options[name]}.")
        vqgan = VQGANModel(
            sample_size, channels, tuple(block_out_channels), encoder_layers, decoder_layers, codebook_size, code_dim
        )
        transformer = CodeTransformer(
            codebook_size,
            vqgan.map_size**2,
            width,
            num_layers,
            num_heads,
            num_classes=len(id2label or ()),
            conditions={name: len(names) for name, names in (conditions or {}).items()},
        )
        return cls(vqgan, transformer, id2label=id2label, conditions=conditions, **options)

    # ---- training ----

    def trainable(self, stage: str) -> dict[str, nn.Module]:
        """Return the modules that a stage trains; helpers of the first stage are made when first asked for.

        Raises:
            ValueError: an unknown stage, or one whose part is not there or is diffusers' own.
        """
        check_stage(stage, STAGES)
        if stage == "transformer":
            self._require("transformer", "stage: 'transformer'")
            return {"transformer": self.transformer}
        if isinstance(self.vqgan, VQModel):
            raise ValueError(
                "stage: diffusers' VQModel is not trained here, since its codebook learns by gradients alone."
            )
        if not self._helpers:
            config = self.vqgan.config
            self._helpers = {
                "discriminator": PatchDiscriminator(config.channels, tuple(self.config.discriminator_widths)),
                "codebook_average": CodebookAverage(config.codebook_size, config.code_dim),
            }
        return {"vqgan": self.vqgan, **self._helpers}

    def prepare(self, stage: str, batches: Iterable[dict]) -> dict[str, torch.Tensor] | None:
        """Return what the second stage needs of the images: their codes, int16 [N, h, w]. For the first stage: None."""
        if stage != "transformer":
            return None
        codes = [self._codes(batch["images"].to(self._execution_device)).to(torch.int16).cpu() for batch in batches]
        return {"codes": torch.cat(codes)}

    def loss(
        self,
        batch: dict,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
        stage: Literal["autoencoder", "transformer"] = "transformer",
    ):
        """Return the loss of a stage.

        "autoencoder": reconstruction, commitment, and, once there is a discriminator, the adversarial loss and the
        discriminator's own. While the model is in training mode, each call also moves the codebook.

        "transformer": cross-entropy of codes, read in order or, for the other rows, of those that are masked.

        Args:
            batch: "images" [B, C, S, S] in [-1, 1], or for the second stage "codes" [B, h, w]; "class_labels" int64 [B] (-1:
                none) or None; "conditions" {name: int64 [B]}.
            generator: for all random numbers, on the images' device.
            progress: part of the stage that is done, 0 ... 1.

        Returns:
            (scalar, {name: scalar}).
        """
        self.trainable(stage)
        if stage == "autoencoder":
            return self._autoencoder_loss(batch["images"], generator, progress)
        return self._transformer_loss(batch, generator)

    def _autoencoder_loss(self, x: torch.Tensor, generator: torch.Generator | None, progress: float):
        helpers, config = self.trainable("autoencoder"), self.config
        x_hat, z, codes = self.vqgan(x)
        pixels = (x - x_hat).abs().mean()
        perceptual = pyramid_distance(x, x_hat)
        reconstruction = pixels + config.perceptual_weight * perceptual
        commitment = F.mse_loss(z, self.vqgan.embed(codes))  # the codebook is a buffer, so this is |z_e - sg(e)|^2
        loss = reconstruction + config.commitment_weight * commitment
        parts = {"pixels": pixels, "perceptual": perceptual, "commitment": commitment}

        discriminator = helpers["discriminator"]
        if progress < config.discriminator_start:
            loss = loss + zero_gradients(discriminator)
        else:
            share = ramp(progress, config.discriminator_start, config.discriminator_ramp)
            real, others = discriminator(x), [discriminator(x_hat.detach())[0]]
            fake = with_detached_weights(discriminator, x_hat)
            weights = (config.adversarial_weight, config.feature_weight, share)
            terms = (reconstruction, self.vqgan.last_layer, real, others, fake, *weights)
            loss, named = add_adversarial_terms(loss, *terms)
            parts |= named
        if self.vqgan.training:
            update = (self.vqgan.codebook, z.detach(), codes, progress < RESTARTS_UNTIL, generator)
            average: Any = helpers["codebook_average"]
            parts |= average.update(*update)
        return loss, {name: value.detach() for name, value in parts.items()}

    def _transformer_loss(self, batch: dict, generator: torch.Generator | None):
        codes = batch["codes"].long() if "codes" in batch else self._codes(batch["images"])
        codes = codes.flatten(1)  # [B, T]
        causal = torch.arange(len(codes), device=codes.device) < round(self.config.causal_share * len(codes))
        shown, masked = self.transformer.corrupt(codes, causal, self.config.corruption, generator)
        logits = self.transformer(shown, *self._forget(batch, len(codes), generator), causal=causal)
        filling, reading, masked_nll = code_losses(logits, codes, masked, causal)
        loss = (1 - self.config.causal_share) * filling + self.config.causal_share * reading
        return loss, {"masked_nll": masked_nll.detach(), "causal_nll": reading.detach()}

    def _forget(self, batch: dict, n: int, generator: torch.Generator | None) -> tuple:
        """Return class labels and conditions of a training batch, some of them withheld (-1)."""

        def dropped() -> torch.Tensor:
            return torch.rand(n, generator=generator, device=self._execution_device) < self.config.class_dropout

        nothing = dropped()
        labels = batch.get("class_labels") if self.config.id2label else None
        labels = None if labels is None else torch.where(nothing | dropped(), -1, labels)
        known = batch.get("conditions") or {}
        conditions = {name: torch.where(nothing | dropped(), -1, known[name]) for name in self.config.conditions or ()}
        return labels, conditions

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Calibrate the anomaly scores: store means and deviations of both kinds over training images in the configuration.

        It takes CALIBRATION_SIZE at random from one pass, or all if there are fewer.

        Args:
            batches: of `{"images", "class_labels"}`, one pass over the training data.

        Raises:
            ValueError: fewer than two images.
        """
        chosen = [image for image, _ in reservoir(batches, CALIBRATION_SIZE, labelled=False)]
        each: list[tuple[torch.Tensor, torch.Tensor]] = []
        for start in range(0, len(chosen), 64):
            codes, _, error = self._restored(self._to_tensor(torch.stack(chosen[start : start + 64])))
            each.append((error.mean((1, 2)), self._nats(codes, None).sum((1, 2))))
        errors, surprises = (torch.cat(column) for column in zip(*each, strict=True))
        terms = measure_terms({"log_error": floored_log(errors), "nats": surprises})
        maps = [errors.mean().clamp(min=1e-8).item(), surprises.mean().item() / self.vqgan.map_size**2]
        self.register_to_config(calibration={**terms, "maps": maps})

    # ---- codes ----

    @property
    def codec(self) -> VQGANModel | StockCodec:
        """The auto-encoder with the methods of `VQGANModel`, whether it is one or diffusers' `VQModel`."""
        return StockCodec(self.vqgan) if isinstance(self.vqgan, VQModel) else self.vqgan

    @torch.no_grad()
    def _codes(self, x: torch.Tensor) -> torch.Tensor:
        """Return the code maps of images [N, C, S, S], int64 [N, h, w]."""
        return self.codec.nearest(self.codec.encode(x))

    @property
    def code_shape(self) -> tuple[int, ...]:
        """(h, w)."""
        return (self.codec.map_size, self.codec.map_size)

    @property
    def code_values(self) -> int:
        """Number of entries of the codebook."""
        return len(self.codec.codebook)

    @property
    def code_vectors(self) -> torch.Tensor:
        """The codebook, float [K, D]."""
        return self.codec.codebook

    @task
    def encode(self, x):
        """Encode images as code maps, int64 [N, h, w].

        Args:
            generator: not used: nothing here is left to chance.
            class_labels: not used: the auto-encoder knows no class.
        """
        return self._codes(x)

    @task
    def decode(self, codes):
        """Decode code maps int64 [N, h, w] as images.

        Args:
            class_labels: not used: the auto-encoder knows no class.
        """
        return self.codec.decode_codes(codes)

    def _partly(self, codes: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        """Decode the known codes of maps, both [N, T], to images [N, C, S, S] that are grey at all other places."""
        h = self.codec.map_size
        known = known.reshape(-1, h, h).float()
        z = self.codec.embed(codes.reshape(-1, h, h)) * known[:, None]
        return self.codec.decode(z) * self._enlarged(known)[:, None]

    def _enlarged(self, map_: torch.Tensor) -> torch.Tensor:
        """Repeat each value of maps [N, h, w] over its patch, [N, S, S]."""
        patch = self.config.sample_size // self.codec.map_size
        return map_.repeat_interleave(patch, 1).repeat_interleave(patch, 2)

    def _guided(
        self, network: Callable, codes: torch.Tensor, given: torch.Tensor | None, guidance_scale: float
    ) -> torch.Tensor:
        """Return guided logits (Ho and Salimans 2022 eq. 6; for masked decoding Muse sec. 2.7).

        Args:
            network: takes codes [N, ...], class_labels [N] and {condition: values [N]}, and returns logits [N, ...].
            given: int64 [N, 1 + number of conditions], each row a class and the conditions' values; None: nothing.
        """

        def logits(codes: torch.Tensor, _: torch.Tensor, given: torch.Tensor | None) -> torch.Tensor:
            if given is None:
                return network(codes, None, {})
            return network(codes, given[:, 0], dict(zip(self.config.conditions or (), given[:, 1:].T)))

        none = None if given is None else torch.full_like(given, -1)
        return guided(logits, codes, torch.zeros(()), given, none, guidance_scale)

    def _fill(
        self,
        codes: torch.Tensor,
        given: torch.Tensor | None,
        generator: Generators,
        report: Report,
        num_inference_steps: int,
        guidance_scale: float = 1.0,
        choice: Choice | None = None,
        choice_temperature: float = 4.5,
    ) -> torch.Tensor:
        """Draw the masked ones of codes [N, T] (Chang et al. 2022, "Iterative Decoding")."""

        def on_step(step: int, steps: int, drawn: torch.Tensor, known: torch.Tensor) -> None:
            if report:
                report(step, step, steps, self._partly(drawn, known))

        def network(codes: torch.Tensor) -> torch.Tensor:
            return self._guided(self.transformer, codes, given, guidance_scale)

        how = (num_inference_steps, choice or Choice(), choice_temperature, on_step)
        return fill_masks(network, codes, self.transformer.mask_code, lambda: self._rand(codes.shape, generator), *how)

    def _write(
        self,
        number: int,
        given: torch.Tensor | None,
        generator: Generators,
        report: Report,
        guidance_scale: float,
        choice: Choice,
    ) -> torch.Tensor:
        """Draw codes [N, T] in order, each given those before (Esser et al. 2021 sec. 3.2)."""
        side = self.codec.map_size
        cache: list = []

        def extend(new: torch.Tensor, labels, conditions) -> torch.Tensor:
            nonlocal cache
            logits, cache = self.transformer(new, labels, conditions, cache=cache)
            return logits

        def network(new: torch.Tensor) -> torch.Tensor:
            return self._guided(extend, new, given, guidance_scale)

        def on_step(i: int, codes: torch.Tensor) -> None:
            if report and (i + 1) % side == 0:
                known = torch.arange(side**2, device=codes.device) <= i
                filled = F.pad(codes, (0, side**2 - i - 1))
                report(i // side, i, side, self._partly(filled, known.expand(number, -1)))

        return draw_in_order(network, self._rand((number, side**2), generator), choice, on_step)

    def _picture(self, codes: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Decode codes [N, T] as images [N, C, S, S], with their maps."""
        codes = codes.reshape(-1, self.codec.map_size, self.codec.map_size)
        return self.codec.decode_codes(codes), {"codes": codes.cpu()}

    # ---- the tasks ----

    @task(output=CodesOutput)
    def __call__(
        self,
        batch_size,
        generator,
        labels,
        report,
        style: Annotated[str, {"choices_from": "style"}] = "any",
        decoding: Literal["masked", "autoregressive"] = "masked",
        num_inference_steps: Steps = 10,
        guidance_scale: Annotated[float, {"minimum": 0.0, "maximum": 6.0, "step": 0.1}] = 1.5,
        temperature: Annotated[float, {"minimum": 0.0, "maximum": 2.0, "step": 0.05}] = 1.0,
        top_k: Annotated[int, {"minimum": 0, "maximum": 1024, "step": 1}] = 0,
        top_p: Annotated[float, {"minimum": 0.0, "maximum": 1.0, "step": 0.01}] = 1.0,
        choice_temperature: Annotated[float, {"minimum": 0.0, "maximum": 10.0, "step": 0.1}] = 4.5,
    ):
        """Generate images: draw a map of codes and decode it.

        Args:
            class_labels: int, list or int64 tensor [N]; None: the unconditional model.
            style: Designer whose style the image gets; any: each image draws one by its seed.
            decoding: "masked" draws many codes at once, the surest first, in a few steps; "autoregressive" draws one after another, row by row.
            num_inference_steps: Steps of masked decoding; the other kind takes one for each code.
            guidance_scale: Above 1 samples follow their class more closely and vary less; 0 ignores the class.
            temperature: Below 1 codes are drawn from the likelier ones, 0 takes the likeliest only; above 1 more freely.
            top_k: Draw from this many of the likeliest codes only; 0 from all.
            top_p: Draw from the likeliest codes that have this probability together; 1 from all.
            choice_temperature: Chance in the order in which masked decoding settles codes; 0 always settles the surest first, which makes samples plain.
            callback_on_step_end: called after each step of masked decoding, or each row of codes, as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}).
        """
        self._require("transformer", "Generating")
        styles = self._to_condition("style", style, batch_size, generator)
        given = stacked(labels, styles)
        choice = Choice(temperature, top_k, top_p)
        if decoding == "autoregressive":
            return self._picture(self._write(batch_size, given, generator, report, guidance_scale, choice))
        shape = (batch_size, self.codec.map_size**2)
        codes = torch.full(shape, self.transformer.mask_code, device=self._execution_device)
        how = (num_inference_steps, guidance_scale, choice, choice_temperature)
        return self._picture(self._fill(codes, given, generator, report, *how))

    @task(output=CodesOutput)
    def reconstruct(
        self,
        x,
        generator,
        labels,
        report,
        redraw: Annotated[float, {"minimum": 0.0, "maximum": 1.0, "step": 0.05, "needs": "transformer"}] = 0.0,
        num_inference_steps: Annotated[int, {"minimum": 1, "maximum": 64, "step": 1, "needs": "transformer"}] = 10,
    ):
        """Encode images as codes and decode them again; part of the codes can be forgotten and drawn anew.

        Args:
            class_labels: of the images, if known (with `redraw`).
            redraw: Part of the codes, chosen at random, that is masked and drawn anew by the transformer; 0 keeps all.
            num_inference_steps: Steps in which those codes are drawn.
        """
        codes = self._codes(x).flatten(1)  # [N, T]
        number = round(redraw * codes.shape[1])
        if number:
            self._require("transformer", "redraw")
            rank = self._rand(codes.shape, generator).argsort(1).argsort(1)
            codes = torch.where(rank < number, self.transformer.mask_code, codes)
            codes = self._fill(codes, stacked(labels), generator, report, num_inference_steps)
        elif report:
            report(0, 0, 1, self._partly(codes, torch.ones_like(codes)))
        return self._picture(codes)

    @task
    def interpolate(self, a, b, num_frames, report, quantize: bool = True):
        """Interpolate between two images along the straight line between their latents before quantisation.

        Args:
            generator: not used: this path is deterministic.
            quantize: Snap each point of the path to the codes, which is what the decoder knows; without, the path is smoother and more of a blend.
        """
        za, zb = (self.codec.encode(image) for image in (a, b))  # 2 x [1, D, h, w]
        weights = torch.linspace(0, 1, num_frames, device=za.device, dtype=za.dtype)[:, None, None, None]
        z = torch.lerp(za, zb, weights)  # [M, D, h, w]
        x = self.codec.decode(self.codec.embed(self.codec.nearest(z)) if quantize else z)
        report(0, 0, 1, x)
        return x

    def _restored(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return codes [N, h, w], reconstructions [N, C, S, S], and their squared errors [N, S, S], of images."""
        codes = self._codes(x)
        x_hat = self.codec.decode_codes(codes)
        return codes, x_hat, (x.float() - x_hat).square().mean(1)

    def _nats(self, codes: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Return -log p of each code given those before: [N, h, w], as the codes."""
        logits = self.transformer(codes.flatten(1), labels, causal=True)  # [N, T, K]
        return F.cross_entropy(logits.flatten(0, 1), codes.flatten(), reduction="none").reshape(codes.shape)

    @task
    def anomaly_score(
        self,
        x,
        labels,
        report,
        score: Annotated[
            Literal["both", "reconstruction", "likelihood"],
            {"needs": {"both": "transformer", "likelihood": "transformer"}},
        ] = "both",
        class_weight: Annotated[float, {"minimum": 0.0, "maximum": 100.0, "step": 0.5, "needs": "classes"}] = 10.0,
    ):
        """Measure how strange an image is to the model.

        "reconstruction" is the mean squared error of what comes back through the codes. Its map is that of each pixel.
        "likelihood" is -log p of the code map, one code after another. Its map has the nats of each code on its patch.
        "both" is the sum of the two, the error's logarithm and the nats each as deviations from the training images' mean
        in their standard deviations, which `fit` found (before `fit`: as they are). Its map is the sum of both maps, each in
        multiples of the training images' mean.

        With a class given, the nats are n + w (n_y - n), where n and n_y are those of the transformer without and with the
        class, and w is `class_weight`. With w = 1 that is -log p of the codes given the class. There the class has little
        effect among hundreds of nats. As with a guidance scale (Ho and Salimans 2022 eq. 6), a larger w counts p(y | codes)
        more often. With the default, both weigh about the same on Fashion-MNIST. The map is cut off at 0. "reconstruction"
        does not depend on the class.

        Args:
            generator: not used: nothing here is left to chance.
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "reconstruction" is what the codes cannot say of the image, "likelihood" how unusual its codes are together, "both" the sum of the two in standard deviations.
            class_weight: Weight of the class, where one is given; 0 ignores it, 1 is the plain likelihood of codes of the class.
        """
        if score != "reconstruction":
            self._require("transformer", f"score: {score!r}")
        codes, x_hat, errors = self._restored(x)
        report(0, 0, 1, x_hat)
        error = errors.mean((1, 2))
        if score == "reconstruction":
            return error, errors, "mean squared error"
        nats = self._nats(codes, None)
        if labels is not None:
            nats = nats + class_weight * (self._nats(codes, labels) - nats)
        wide = self._enlarged(nats.clamp(min=0))  # [N, S, S]
        surprise = nats.sum((1, 2))
        if score == "likelihood":
            return surprise, wide, "nats"
        usual_e, usual_n = (self.config.calibration or {}).get("maps", (1.0, 1.0))
        scores = add_deviations({"log_error": floored_log(error), "nats": surprise}, self.config.calibration)
        return scores, errors / usual_e + wide / usual_n, "standard deviations"


def stacked(*columns: torch.Tensor | None) -> torch.Tensor | None:
    """Stack labels [N] as columns [N, K], -1 where one is not given; None where none is given."""
    given = [column for column in columns if column is not None]
    if not given:
        return None
    return torch.stack([torch.full_like(given[0], -1) if c is None else c for c in columns], dim=1)
