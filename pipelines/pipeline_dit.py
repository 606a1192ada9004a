"""DiT: diffusion or flow matching in the latent space of a small auto-encoder, by a transformer.

Stage one, the auto-encoder (Rombach et al. 2022 sec. 3.1, "KL-reg."): q(z | x) = N(m(x), s(x)^2), trained by

    L = mean over scales of |x - x_hat|  +  |grad x - grad x_hat|  +  kl_weight KL(q(z | x) || N(0, I)) / dim z

Stage two, a `DiTModel` (Peebles and Xie 2023) on latents that are shifted and scaled to mean 0 and standard deviation 1 in
each channel, as measured on the training data between the stages (Rombach et al. 2022 app. G has one factor for all). It
learns by flow matching, or by the diffusion of DDPM with one of two targets (`DiffusionPath`). Sampling is the same for all,

    u = (1 - r) z + r e,   du / dr = e_hat - z_hat,   e ~ N(0, I),   r = 0 data, r = 1 noise

Euler's method is DDIM there (Song et al. 2020 eq. 12): both go straight on towards the predicted z.

diffusers' own parts fit too: an `AutoencoderKL`, and a `DiTTransformer2DModel` with the discrete schedule that it was
trained with, which gives signal^2 = alpha_bar and a timestep in place of the cosine and t. An auto-encoder alone, without
any transformer, reconstructs, interpolates and measures errors.

There is no likelihood: an ODE in latent space gives the density of latents, and the images that the decoder makes of them
fill no volume among all images.

Papers:
    Peebles, Xie: Scalable Diffusion Models with Transformers, 2023, https://arxiv.org/abs/2212.09748
    Rombach et al.: High-Resolution Image Synthesis with Latent Diffusion Models, 2022, https://arxiv.org/abs/2112.10752
    Song, Meng, Ermon: Denoising Diffusion Implicit Models, 2020, https://arxiv.org/abs/2010.02502
    Zhao et al.: UniPC, 2023, https://arxiv.org/abs/2302.04867
    Ho, Salimans: Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from diffusers import (
    AutoencoderKL,
    DDPMScheduler,
    DiffusionPipeline,
    DiTTransformer2DModel,
    FlowMatchEulerDiscreteScheduler,
    ModelMixin,
    SchedulerMixin,
)
from torch import nn

from pipelines.diffusion_path import DiffusionPath
from pipelines.family import Report
from pipelines.guidance import guided
from pipelines.images import task
from pipelines.interpolation import slerp
from pipelines.latent_typicality import LatentTypicalityMixin, OwnSteps
from pipelines.modeling_dit import DiTModel
from pipelines.modeling_kl_autoencoder import KLAutoencoder, autoencoder_loss
from pipelines.ode import check_strength, midpoint
from pipelines.stock_dit import StockAutoencoder, StockTransformer, stock_schedule
from pipelines.velocity import flow_scheduler, from_velocity

Sampler = Literal["unipc", "euler", "heun"]
Style = Annotated[str, {"choices_from": "style"}]
Steps = Annotated[int, {"minimum": 1, "maximum": 250, "step": 1}]
Guidance = Annotated[float, {"minimum": 0.0, "maximum": 8.0, "step": 0.1}]
# The same in tasks that an auto-encoder alone can do too, without them.
OwnStyle = Annotated[str, {"choices_from": "style", "needs": "transformer"}]
OwnGuidance = Annotated[float, {"minimum": 0.0, "maximum": 8.0, "step": 0.1, "needs": "transformer"}]
OwnStrength = Annotated[float, {"minimum": 0.05, "maximum": 1.0, "step": 0.05, "needs": "transformer"}]
CodeStrength = Annotated[float, {"minimum": 0.0, "maximum": 1.0, "step": 0.05, "needs": "transformer"}]

STAGES = ("autoencoder", "transformer")


class LatentTransformerPipeline(LatentTypicalityMixin, DiffusionPipeline):
    """A diffusion transformer on the latents of a small auto-encoder, conditional on a class, a style, both or neither.

    Args:
        autoencoder: `KLAutoencoder`; or diffusers' `AutoencoderKL`, which is not trained here.
        transformer: `DiTModel`; its labels are the class and the style, as far as there are names for them. Or diffusers'
            `DiTTransformer2DModel`, which knows the class. None: nothing is generated, and only the auto-encoder's errors
            measure what is strange.
        scheduler: a `FlowMatchEulerDiscreteScheduler`, whose configuration the samplers are made from; for diffusers'
            transformer one of diffusers' own with its training's betas and prediction type, kept as a `DDPMScheduler`.
        target: what the transformer predicts, and on which path: "flow_matching", "v_prediction" or "epsilon".
        label_dropout: part of the training in which class and style are replaced by "none", for classifier-free guidance;
            where there are two of them, each is also replaced alone in as large a part.
        kl_weight: of the auto-encoder's loss; keeps the latents from growing and its decoder from being brittle.
        latents_mean, latents_std: of each latent channel, measured by `prepare`.
        conditions: {"style": {number: name}}, or None.
        typicality: what `fit` found; see `anomaly_score`.
    """

    autoencoder: KLAutoencoder | AutoencoderKL
    transformer: DiTModel | DiTTransformer2DModel | None
    scheduler: FlowMatchEulerDiscreteScheduler | DDPMScheduler
    code_kind = "noise"
    model_cpu_offload_seq = "autoencoder->transformer"
    joins = {}  # noqa: RUF012  # never changed

    _optional_components: ClassVar[list[str]] = ["transformer", "scheduler"]  # as diffusers has it
    needs: ClassVar[dict[str, str]] = {"__call__": "transformer"}

    def __init__(
        self,
        autoencoder: ModelMixin,
        transformer: ModelMixin | None = None,
        scheduler: SchedulerMixin | None = None,
        sample_size: int | None = None,
        channels: int | None = None,
        target: str = "flow_matching",
        label_dropout: float = 0.1,
        kl_weight: float = 0.005,
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
        id2label: dict[str, str] | None = None,
        conditions: dict[str, dict[str, str]] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        typicality: dict[str, Any] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        config = autoencoder.config
        if isinstance(transformer, DiTTransformer2DModel):
            scheduler = stock_schedule(transformer, config.latent_channels, scheduler, len(id2label or ()))
            target = scheduler.config.prediction_type
        else:
            scheduler = FlowMatchEulerDiscreteScheduler.from_config(scheduler.config if scheduler else {})
        if isinstance(autoencoder, AutoencoderKL):
            if sample_size is None and transformer is not None:
                sample_size = transformer.config.sample_size * StockAutoencoder.shrinking(autoencoder)
            StockAutoencoder(autoencoder, sample_size or config.sample_size)  # refuses what does not fit
            if latents_mean is None:  # the scale alone, as in `DiTPipeline`, which ignores a shift
                latents_mean, latents_std = ([v] * config.latent_channels for v in (0.0, 1 / config.scaling_factor))
        self._register(
            locals(),
            sample_size=sample_size or config.sample_size,
            channels=channels or (config.in_channels if isinstance(autoencoder, AutoencoderKL) else config.channels),
        )

    @property
    def coder(self) -> ModelMixin | StockAutoencoder:
        """The auto-encoder, ours or diffusers', with the methods of `KLAutoencoder`."""
        if isinstance(self.autoencoder, AutoencoderKL):
            return StockAutoencoder(self.autoencoder, self.config.sample_size)
        return self.autoencoder

    @property
    def network(self) -> ModelMixin | StockTransformer:
        """The transformer, ours or diffusers', with the methods of `DiTModel`.

        Raises:
            ValueError: there is none.
        """
        self._require("transformer", "This")
        if isinstance(self.transformer, DiTTransformer2DModel):
            return StockTransformer(self.transformer, self.scheduler.config.num_train_timesteps)
        return self.transformer

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        conditions: dict[str, dict[str, str]] | None = None,
        class_conditional: bool = True,
        latent_channels: int = 4,
        block_out_channels: tuple[int, ...] = (48, 128),
        layers_per_block: int = 1,
        kl_weight: float = 0.005,
        patch_size: int = 1,
        width: int = 192,
        depth: int = 6,
        num_heads: int = 3,
        mlp_ratio: float = 4.0,
        conditioning: Literal["adaln_zero", "cross_attention", "in_context"] = "adaln_zero",
        objective: Literal["flow_matching", "ddpm"] = "flow_matching",
        prediction_type: Literal["v_prediction", "epsilon"] = "v_prediction",
        label_dropout: float = 0.1,
        defaults: dict[str, dict[str, Any]] | None = None,
    ) -> LatentTransformerPipeline:
        """Make a pipeline with fresh weights.

        Args:
            class_conditional: condition the transformer on the classes of `id2label`.
            latent_channels, block_out_channels, layers_per_block: of `KLAutoencoder`.
            patch_size, width, depth, num_heads, mlp_ratio, conditioning: of `DiTModel`.
            objective: flow matching, or the diffusion of DDPM on a cosine schedule.
            prediction_type: what is predicted under "ddpm".

        Raises:
            ValueError: sizes that do not divide, an unknown conditioning, objective or prediction, or other conditions
                than "style".
        """
        if set(conditions or ()) - {"style"}:
            raise ValueError(
                f"conditions: this family offers 'style' beside the class, not {', '.join(conditions or ())}."
            )
        if objective not in ("flow_matching", "ddpm") or prediction_type not in ("v_prediction", "epsilon"):
            raise ValueError(
                "objective: choose 'flow_matching', or 'ddpm' with prediction_type 'v_prediction' or 'epsilon', not "
                f"{objective!r} with {prediction_type!r}."
            )
        if not 0 <= label_dropout <= 1:
            raise ValueError(f"label_dropout: must lie in 0 ... 1, not {label_dropout}.")
        id2label = id2label if class_conditional else None
        named = (id2label, (conditions or {}).get("style"))
        autoencoder = KLAutoencoder(sample_size, channels, latent_channels, tuple(block_out_channels), layers_per_block)
        transformer = DiTModel(
            sample_size=autoencoder.latent_shape[-1],
            in_channels=latent_channels,
            patch_size=patch_size,
            width=width,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            conditioning=conditioning,
            num_labels=tuple(len(names) for names in named if names),
        )
        return cls(
            autoencoder,
            transformer,
            FlowMatchEulerDiscreteScheduler(),
            target="flow_matching" if objective == "flow_matching" else prediction_type,
            label_dropout=label_dropout,
            kl_weight=kl_weight,
            id2label=id2label,
            conditions=conditions or None,
            defaults=defaults,
        )

    # ---- training ----

    def trainable(self, stage: str) -> dict[str, nn.Module]:
        """Return the module that a stage trains.

        Raises:
            ValueError: an unknown stage, or one whose part is not there or is diffusers' own auto-encoder.
        """
        if stage not in STAGES:
            raise ValueError(f"stage: choose {' or '.join(map(repr, STAGES))}, not {stage!r}.")
        if stage == "transformer":
            self._require("transformer", "stage: 'transformer'")
        elif isinstance(self.autoencoder, AutoencoderKL):
            raise ValueError("stage: diffusers' AutoencoderKL is not trained here.")
        return {stage: getattr(self, stage)}

    @torch.no_grad()
    def prepare(self, stage: str, batches: Iterable[dict]) -> dict[str, torch.Tensor] | None:
        """Encode the training images before the second stage, and measure mean and deviation of each latent channel.

        The measured z = m(x) + s(x) e has the mean of m and the variance of m plus the mean of s^2. Both go into the
        configuration as `latents_mean` and `latents_std`.

        Args:
            stage: the one that begins.
            batches: of `{"images": ...}`, one pass over the training data.

        Returns:
            {"latent_mean", "latent_std"}: m and s as the encoder gives them, float32 [N, c, h, w]; None for the first stage.
        """
        if stage != "transformer":
            return None
        means, stds = [], []
        for batch in batches:
            mean, logvar = self.coder.encode(batch["images"].to(self._execution_device, self.dtype))
            means.append(mean.cpu())
            stds.append((0.5 * logvar).exp().cpu())
        mean, std = torch.cat(means), torch.cat(stds)
        centre = mean.double().mean((0, 2, 3))
        variance = mean.double().var((0, 2, 3), correction=0) + std.double().square().mean((0, 2, 3))
        self.register_to_config(latents_mean=centre.tolist(), latents_std=variance.sqrt().clamp(min=1e-6).tolist())
        return {"latent_mean": mean, "latent_std": std}

    def loss(
        self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0, stage: str = "transformer"
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of one stage; see the top of this file.

        Args:
            batch: "images" [B, C, S, S] in [-1, 1], or what `prepare` returned for them; "class_labels" int64 [B] (-1: none) or
                None; and "conditions", {"style": int64 [B]}, if any.
            generator: for all random numbers, on the images' device.
            progress: part of the stage that is done; not used.
            stage: "autoencoder" or "transformer".

        Returns:
            (scalar, {"l1", "kl"}) or (scalar, {"mse"}).

        Raises:
            ValueError: as `trainable`.
        """
        self.trainable(stage)
        if stage == "autoencoder":
            return autoencoder_loss(self.autoencoder, batch["images"], generator, self.config.kl_weight)
        if "latent_mean" in batch:
            mean, std = batch["latent_mean"], batch["latent_std"]
        else:
            with torch.no_grad():
                mean, logvar = self.coder.encode(batch["images"])
                std = (0.5 * logvar).exp()

        def normal() -> torch.Tensor:
            return torch.randn(mean.shape, generator=generator, device=mean.device, dtype=torch.float32)

        z = self._normalised(mean + std * normal())  # [B, c, h, w]
        t = self._path.times(len(z), generator, z.device)
        style = (batch.get("conditions") or {}).get("style")
        labels = self._forget(self._labels(len(z), batch.get("class_labels"), style), generator)
        x_t, wanted = self._path.noised(z, normal(), t)
        mse = F.mse_loss(self.network(x_t, t, labels).float(), wanted)
        return mse, {"mse": mse.detach()}

    def _forget(self, labels: torch.Tensor | None, generator: torch.Generator | None) -> torch.Tensor | None:
        """Replace labels by "none" at random: all of a sample's, and where it has two, each by itself too."""
        if labels is None:
            return None
        none = self._no_labels(len(labels))

        def chosen(columns: int) -> torch.Tensor:
            draws = torch.rand(len(labels), columns, generator=generator, device=labels.device, dtype=torch.float32)
            return draws < self.config.label_dropout

        drop = chosen(1) | (
            chosen(labels.shape[1]) if labels.shape[1] > 1 else torch.zeros_like(labels, dtype=torch.bool)
        )
        return torch.where(drop, none, labels)

    # ---- latents ----

    def _normalised(self, z: torch.Tensor) -> torch.Tensor:
        """Return latents of the auto-encoder with mean 0 and standard deviation 1 in each channel of the training data."""
        if self.config.latents_mean is None:
            return z
        return (z - self._channels(self.config.latents_mean, z)) / self._channels(self.config.latents_std, z)

    def _decoded(self, z: torch.Tensor) -> torch.Tensor:
        """Return the images of normalised latents, float32 [N, C, S, S]."""
        if self.config.latents_mean is not None:
            z = z * self._channels(self.config.latents_std, z) + self._channels(self.config.latents_mean, z)
        return self.coder.decode(z)

    @staticmethod
    def _channels(values: list[float], like: torch.Tensor) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None, None]  # [c, 1, 1]

    @property
    def code_shape(self) -> tuple[int, ...]:
        """(c, h, w) of the latents."""
        return self.coder.latent_shape

    @task
    def encode(self, x, labels, report, strength: CodeStrength = 0.0, num_inference_steps: OwnSteps = 20):
        """Encode images as the means of their latents, normalised, or go on along the flow to the noise that generates them.

        Args:
            generator: not used: the flow is deterministic.
            class_labels: of the images, if known; `decode` then needs the same. The latents do not depend on them.
            strength: How far into the noise, as in `reconstruct`: 0 gives the latents, 1 the noise.
            num_inference_steps: Steps; each evaluates the network twice.

        Returns:
            float32 [N, c, h, w].
        """
        z = self._latents(x)
        if strength == 0:
            return z
        self._require("transformer", "strength above 0")
        check_strength(strength)
        turn = strength * self._start
        return self._follow(z, 0.0, turn, self._labels(len(x), labels, None), num_inference_steps, report)

    @task
    def decode(self, codes, labels, report, strength: CodeStrength = 0.0, num_inference_steps: OwnSteps = 20):
        """Decode normalised latents [N, c, h, w], or noise from which the flow first leads to latents.

        Args:
            class_labels: as they were given to `encode`.
            strength: As it was for `encode`: 0 for latents, 1 for noise.
            num_inference_steps: Steps; each evaluates the network twice.
        """
        if strength == 0:
            return self._decoded(codes)
        self._require("transformer", "strength above 0")
        check_strength(strength)
        turn = strength * self._start
        labels = self._labels(len(codes), labels, None)
        return self._decoded(self._follow(codes, turn, 0.0, labels, num_inference_steps, report))

    def _latents(self, x: torch.Tensor) -> torch.Tensor:
        """Return the means of the latents of images [N, C, S, S], normalised, float32 [N, c, h, w]."""
        return self._normalised(self.coder.encode(x)[0])

    # ---- the network ----

    def _labels(
        self, number: int, class_labels: torch.Tensor | None, style: torch.Tensor | None
    ) -> torch.Tensor | None:
        """Return class and style, int64 [N] or None each, as labels [N, K] of the transformer; None without both.

        None, or a number below 0, becomes "none".
        """
        given = [class_labels] if self.config.id2label else []
        given += [style] if self._condition_names("style") else []
        if all(values is None for values in given):
            return None
        none = self._no_labels(number)
        columns = [none[:, k] if values is None else values for k, values in enumerate(given)]
        labels = torch.stack(columns, dim=1)  # [N, K]
        return torch.where(labels < 0, none, labels)

    def _no_labels(self, number: int) -> torch.Tensor:
        """Return "none" for every label, int64 [number, K]."""
        return self.network.no_labels(number).to(self._execution_device)

    def _network(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Predict the target, float32, at x_t [N, c, h, w] and t [N] of the training's own path; labels [N, K] or None."""
        return self.network(x.to(self.dtype), t, labels).float()

    @property
    def _path(self) -> DiffusionPath:
        """The path and target that the transformer was trained with."""
        return DiffusionPath(self.config.target, getattr(self.scheduler, "alphas_cumprod", None))

    @property
    def _start(self) -> float:  # type: ignore[override]  # the mixin only reads it
        """The r at which sampling begins, and encoding ends."""
        return self._path.start

    def _velocity(
        self, u: torch.Tensor, r: torch.Tensor, labels: torch.Tensor | None, guidance_scale: float = 1.0
    ) -> torch.Tensor:
        """Return the velocity e_hat - z_hat at u = (1 - r) z + r e, guided by class and style together.

        Args:
            u: [N, c, h, w].
            r: [N] in [0, 1]; below 1 for "epsilon".
            labels: [N, K] or None.
            guidance_scale: see `guided`.

        Returns:
            float32 [N, c, h, w].
        """
        x, t, rates = self._path.place(u, r)
        none = None if labels is None else self._no_labels(len(labels))
        output = guided(self._network, x, t, labels, none, guidance_scale)
        return self._path.velocity(output, x, rates)

    # ---- along the curves ----

    def _report(self, report: Report, step: int, r: float, number: int, z: torch.Tensor) -> None:
        """Report a step with the predicted latents, which are decoded only if somebody listens."""
        if report:
            report(step, r * 1000, number, self._decoded(z))

    def _sample(
        self,
        u: torch.Tensor,
        labels: torch.Tensor | None,
        sampler: str,
        num_inference_steps: int,
        guidance_scale: float,
        report: Report,
    ) -> torch.Tensor:
        """Carry noise [N, c, h, w] to latents by one of diffusers' samplers."""
        scheduler = self._scheduler(sampler, num_inference_steps)
        u = u.float()
        for i, timestep in enumerate(scheduler.timesteps):
            r = scheduler.sigmas[i].item()
            v = self._velocity(u, u.new_full((len(u),), r), labels, guidance_scale)
            self._report(report, i, r, len(scheduler.timesteps), from_velocity("x0", v, u, r))
            u = scheduler.step(v, timestep, u).prev_sample
        return u

    def _scheduler(self, sampler: str, num_inference_steps: int) -> SchedulerMixin:
        """Return a fresh scheduler that goes from `_start` to 0 in equal steps of r."""
        config = self.scheduler.config
        if isinstance(self.scheduler, DDPMScheduler):
            config = {"num_train_timesteps": config.num_train_timesteps}
        return flow_scheduler(sampler, config, num_inference_steps, self._start, self._execution_device)

    def _follow(
        self,
        u: torch.Tensor,
        start: float,
        end: float,
        labels: torch.Tensor | None,
        num_steps: int,
        report: Report,
        guidance_scale: float = 1.0,
    ) -> torch.Tensor:
        """Carry u [N, c, h, w] from r = `start` to `end` by the midpoint rule, which goes both ways alike."""
        step = (end - start) / num_steps
        places = [*(start + i * step for i in range(num_steps)), end]

        def field(u: torch.Tensor, r: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            return self._velocity(u, r, labels, guidance_scale)

        def after_step(i: int, r: torch.Tensor, u: torch.Tensor, slope: torch.Tensor) -> None:
            self._report(report, i, places[i], num_steps, from_velocity("x0", slope, u, places[i]))

        return midpoint(field, u.float(), places, after_step)

    # ---- the tasks ----

    @task
    def __call__(
        self,
        batch_size,
        generator,
        labels,
        report,
        style: Style = "any",
        sampler: Sampler = "unipc",
        num_inference_steps: Steps = 16,
        guidance_scale: Guidance = 1.5,
    ):
        """Generate images: carry noise to a latent, and decode it.

        The noise is drawn first, then the style where any will do. So one seed with several styles begins with one noise.

        Args:
            class_labels: int, list or int64 tensor [N]; None: the class is left to the model.
            style: Designer whose style the image gets; any: each image draws one by its seed.
            sampler: UniPC of order 2, Euler, which is DDIM here, or Heun.
            num_inference_steps: Steps of the sampler, fewer is faster; Heun evaluates the network twice a step.
            guidance_scale: Above 1 samples follow class and style more closely and vary less; 0 ignores both.
        """
        self._require("transformer", "Generating")
        noise = self._randn((batch_size, *self.coder.latent_shape), generator)
        labels = self._labels(batch_size, labels, self._to_condition("style", style, batch_size, generator))
        return self._decoded(self._sample(noise, labels, sampler, num_inference_steps, guidance_scale, report))

    @task
    def reconstruct(
        self,
        x,
        generator,
        labels,
        report,
        method: Annotated[
            Literal["inversion", "noise", "autoencoder"],
            {"needs": {"inversion": "transformer", "noise": "transformer"}},
        ] = "inversion",
        style: OwnStyle = "any",
        strength: OwnStrength = 0.5,
        num_inference_steps: OwnSteps = 20,
        guidance_scale: OwnGuidance = 1.0,
    ):
        """Take images into latents, on into noise, and back; with a style given for the way back, redrawn in it.

        Args:
            generator: one `torch.Generator`, or a list with one for each image ("noise" only).
            class_labels: of the images, if known.
            method: "inversion" follows the flow backwards to the noise that generates the latent. "noise" mixes in random noise and follows the flow from there, so that details are invented anew. "autoencoder" stops at the latent.
            style: Designer whose style the image gets on the way back; any: none is given.
            strength: How far into the noise, 1 being all the way.
            num_inference_steps: Steps each way; each evaluates the network twice.
            guidance_scale: Above 1 the way back follows the given class and style more closely.
        """
        if method != "autoencoder":
            self._require("transformer", f"method: {method!r}")
        check_strength(strength)
        z = self._latents(x)
        if method == "autoencoder":
            self._report(report, 0, 0.0, 1, z)
            return self._decoded(z)
        asked = None if style == "any" else self._to_condition("style", style, len(x), None)
        there, back = (self._labels(len(x), labels, style) for style in (None, asked))
        turn, steps = strength * self._start, num_inference_steps
        if method == "noise":
            u = (1 - turn) * z + turn * self._randn(z.shape, generator).float()
        else:
            u = self._follow(z, 0.0, turn, there, steps, report.part(0, 2 * steps))
            report = report.part(steps, 2 * steps)
        return self._decoded(self._follow(u, turn, 0.0, back, steps, report, guidance_scale))

    @task
    def interpolate(self, a, b, num_frames, report, strength: OwnStrength = 1.0, num_inference_steps: OwnSteps = 20):
        """Interpolate between two images: both latents into noise, along the arc between the noises, and back.

        Without a transformer there are latents only, and the arc is drawn between these.

        Args:
            generator: not used: this path is deterministic.
            strength: How far into the noise the path is drawn; less keeps closer to a blend of the two latents.
            num_inference_steps: Steps each way; each evaluates the network twice.
        """
        check_strength(strength)
        z, steps = self._latents(torch.cat([a, b])), num_inference_steps
        weights = torch.linspace(0, 1, num_frames, dtype=torch.float32, device=z.device)
        if self.transformer is None:
            z = slerp(z[:1], z[1:], weights)
            self._report(report, 0, 0.0, 1, z)
            return self._decoded(z)
        turn = strength * self._start
        noise = self._follow(z, 0.0, turn, None, steps, report.part(0, 2 * steps))
        u = slerp(noise[:1], noise[1:], weights)
        return self._decoded(self._follow(u, turn, 0.0, None, steps, report.part(steps, 2 * steps)))
