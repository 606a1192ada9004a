"""Flow matching: a network learns the velocity of straight lines from data to noise; an ODE follows it back.

Convention of diffusers' FlowMatch schedulers, t = sigma in [0, 1], t = 0 data, t = 1 noise (in the papers below time runs
the other way, so their t is 1 - t here and their velocity is -v):

    x_t = (1 - t) x_0 + t x_1,   x_1 ~ N(0, I)        Lipman et al. 2023 eq. 22 (sigma_min = 0), Liu et al. 2023 eq. 1
    v(x_t, t) ~ E[x_1 - x_0 | x_t]                    Lipman et al. 2023 eq. 23, Liu et al. 2023 eq. 1
    dx / dt = v(x, t)                                 from t = 1 to 0 it generates images, from 0 to 1 it encodes them

A student (reflow) learns from pairs (x_1, x_0) that a teacher's ODE connects: its lines hardly cross, so that one or two
Euler steps follow them.

Papers:
    Lipman et al.: Flow Matching for Generative Modeling, 2023, https://arxiv.org/abs/2210.02747
    Liu, Gong, Liu: Flow Straight and Fast (rectified flow), 2023, https://arxiv.org/abs/2209.03003
    Tong et al.: Improving and Generalizing Flow-Based Generative Models with Minibatch Optimal Transport, 2024,
        https://arxiv.org/abs/2302.00482
    Cheng, Schwing: The Curse of Conditions, 2025, https://arxiv.org/abs/2503.10636 (transport within a class)
    Ho, Salimans: Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598
    Dormand, Prince: A Family of Embedded Runge-Kutta Formulae, 1980
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, FlowMatchEulerDiscreteScheduler, SchedulerMixin, UNet2DModel

from pipelines.family import Report
from pipelines.flow_density import FlowDensityMixin, Solver, Steps, Tolerance, number_of_reports
from pipelines.images import task
from pipelines.interpolation import slerp
from pipelines.ode import check_strength, dormand_prince, midpoint, reported_in_parts
from pipelines.pixel_unet import PixelUNetMixin, build_unet, image_shape
from pipelines.velocity import flow_scheduler, from_velocity, sample_times

Sampler = Literal["heun", "euler", "midpoint", "rk45"]
Strength = Annotated[float, {"minimum": 0.05, "maximum": 1.0, "step": 0.05}]

DISTILLED_SHARE = 0.75  # of a student's batch, late in training; the rest keeps the whole path usable for encoding


def optimal_coupling(x0: torch.Tensor, x1: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
    """Return the permutation, int64 [B], that brings noise x1 to images x0 at the least total squared distance.

    Mini-batch optimal transport (Tong et al. 2024 alg. 3). Noise changes places only among samples of one label, "no
    class" being one. Over the whole batch, noise would come to predict the class, and the N(0, I) that sampling begins with
    would not be the one that the class was trained with (Cheng and Schwing 2025 sec. 4).

    Args:
        x0, x1: [B, ...].
        labels: int64 [B], as the network sees them, or None.

    Raises:
        ImportError: scipy is missing.
    """
    try:  # by name: bare diffusers takes every import statement in this file for a need of the pipeline
        optimize = importlib.import_module("scipy.optimize")
    except ImportError as error:
        raise ImportError("Optimal transport coupling needs scipy: pip install scipy") from error
    order = torch.arange(len(x0), device=x0.device)
    groups = torch.zeros_like(order) if labels is None else labels
    for label in groups.unique():
        members = (groups == label).nonzero()[:, 0]
        cost = torch.cdist(x0[members].flatten(1), x1[members].flatten(1)).square()  # [M, M]
        places = optimize.linear_sum_assignment(cost.cpu().numpy())[1]
        order[members] = members[torch.from_numpy(places).to(members.device)]
    return order


class FlowMatchingPipeline(FlowDensityMixin, PixelUNetMixin, DiffusionPipeline):
    """A velocity field on pixels by a `UNet2DModel`, with or without classes.

    Args:
        unet: the network; takes [N, C * p * p, S / p, S / p], timesteps 1000 t [N] and, where conditional, labels [N] of
            which the last one (`num_class_embeds - 1`) stands for "no class". Gives the velocity, noise minus image.
        scheduler: a `FlowMatchEulerDiscreteScheduler`, whose configuration the Euler and Heun samplers are made from.
        patch_size: p, space-to-depth factor in front of the network: the same flow (a permutation of pixels), several
            times cheaper on a CPU.
        time_sampling: times of the training, see `sample_times`.
        coupling: which noise is trained with which image: "independent", or "optimal_transport" within the batch.
        dequantize: train on images with uniform noise of one 8-bit level, as `log_likelihood` adds it.
        distilled_steps: K; a student's late training is on the K times at which K Euler steps ask. 0: no distillation.
        distill_from: part of the training, 0 ... 1, after which that begins.
        defaults: {task: {parameter: value}}, the defaults of this checkpoint where they differ from the signatures; e.g. a
            student's two steps.
        typicality: what `fit` found; see `anomaly_score`.
    """

    scheduler: FlowMatchEulerDiscreteScheduler
    model_cpu_offload_seq = "unet"
    joins = {"sampler": ("heun", "euler", "midpoint")}  # noqa: RUF012  # never changed; RK45 takes as many steps as the slowest

    def __init__(
        self,
        unet: UNet2DModel,
        scheduler: SchedulerMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        patch_size: int = 1,
        class_dropout: float = 0.1,
        time_sampling: str = "logit_normal",
        coupling: str = "independent",
        dequantize: bool = True,
        distilled_steps: int = 0,
        distill_from: float = 0.5,
        id2label: dict[str, str] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        typicality: dict[str, Any] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        self._register(
            locals(),
            scheduler=FlowMatchEulerDiscreteScheduler.from_config(scheduler.config),
            **image_shape(unet, sample_size, channels, patch_size),
        )

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        class_conditional: bool = True,
        patch_size: int = 1,
        block_out_channels: tuple[int, ...] = (64, 128),
        layers_per_block: int = 2,
        attention_head_dim: int = 64,
        norm_num_groups: int = 32,
        class_dropout: float = 0.1,
        time_sampling: Literal["logit_normal", "uniform", "u_shaped"] = "logit_normal",
        coupling: Literal["independent", "optimal_transport"] = "independent",
        dequantize: bool = True,
        distilled_steps: int = 0,
        distill_from: float = 0.5,
        defaults: dict[str, dict[str, Any]] | None = None,
    ) -> FlowMatchingPipeline:
        """Make a pipeline with fresh weights. Attention stands at the lowest resolution only, where it is cheap.

        Args:
            class_conditional: learn the classes of `id2label`.
            block_out_channels, layers_per_block, attention_head_dim, norm_num_groups: of the network.

        Raises:
            ValueError: the sizes do not divide, or an unknown way of sampling times or of coupling.
        """
        sample_times(time_sampling, 1, torch.Generator(), "cpu")  # refuses an unknown kind before training begins
        if coupling not in ("independent", "optimal_transport"):
            raise ValueError(f"coupling: choose 'independent' or 'optimal_transport', not {coupling!r}.")
        if distilled_steps < 0 or not 0 <= distill_from <= 1:
            raise ValueError("distilled_steps must be 0 or more, and distill_from a part of the training, 0 ... 1.")
        id2label = id2label if class_conditional else None
        network = (patch_size, block_out_channels, layers_per_block, attention_head_dim, norm_num_groups)
        return cls(
            build_unet(sample_size, channels, id2label, *network),
            FlowMatchEulerDiscreteScheduler(),
            sample_size=sample_size,
            channels=channels,
            patch_size=patch_size,
            class_dropout=class_dropout,
            time_sampling=time_sampling,
            coupling=coupling,
            dequantize=dequantize,
            distilled_steps=distilled_steps,
            distill_from=distill_from,
            id2label=id2label,
            defaults=defaults,
        )

    # ---- the velocity field ----

    def _network(self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        """Return the velocity at x_t [N, C, S, S] and t [N] in [0, 1] for labels [N] or None, float32 [N, C, S, S]."""
        return super()._network(x, t * self.scheduler.config.num_train_timesteps, labels)

    def _velocity(
        self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor | None, guidance_scale: float = 1.0
    ) -> torch.Tensor:
        """Return the velocity with classifier-free guidance, shapes as for `_network`."""
        return self._guided(x, t, labels, guidance_scale)

    def _follow(
        self,
        x: torch.Tensor,
        start: float,
        end: float,
        labels: torch.Tensor | None,
        sampler: str,
        num_inference_steps: int,
        tolerance: float,
        report: Report,
        guidance_scale: float = 1.0,
    ) -> torch.Tensor:
        """Carry x [N, C, S, S] along the ODE from time `start` to `end`. Euler and Heun go to 0 only."""
        number = number_of_reports(sampler, num_inference_steps)
        evaluations = 0

        def field(x: torch.Tensor, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            nonlocal evaluations
            evaluations += 1
            return self._velocity(x, t, None if labels is None else labels[rows], guidance_scale)

        def after_step(step: int, t: torch.Tensor, x: torch.Tensor, v: torch.Tensor) -> None:
            if report:
                timestep = t.mean().item() * self.scheduler.config.num_train_timesteps
                x_0 = from_velocity("x0", v, x, t[:, None, None, None])
                report(step, timestep, number, x_0, num_function_evaluations=evaluations)

        x = x.float()
        if sampler == "midpoint":
            times = torch.linspace(start, end, num_inference_steps + 1, dtype=torch.float64)
            return midpoint(field, x, times.tolist(), after_step)
        if sampler == "rk45":
            return dormand_prince(field, x, start, end, tolerance, reported_in_parts(after_step, number))
        config, device = self.scheduler.config, self._execution_device
        scheduler = flow_scheduler(sampler, config, num_inference_steps, start, device)
        rows = torch.arange(len(x), device=x.device)
        for i, timestep in enumerate(scheduler.timesteps):
            t = (timestep / config.num_train_timesteps).float().expand(len(x))
            v = field(x, t, rows)
            after_step(i, t, x, v)
            x = scheduler.step(v, timestep, x).prev_sample
        return x

    # ---- noise as a latent ----

    @task
    def encode(
        self,
        x,
        labels,
        report,
        sampler: Solver = "midpoint",
        num_inference_steps: Steps = 20,
        tolerance: Tolerance = 1e-3,
    ):
        """Encode images as the noise at t = 1 that generates them, float32 [N, C, S, S].

        Args:
            generator: not used: the flow is deterministic.
            class_labels: of the images, if known; `decode` then needs the same.
            sampler: The midpoint rule in equal steps, or RK45, which chooses its own.
            num_inference_steps: Steps of the midpoint rule, which evaluates the network twice a step.
            tolerance: Error that RK45 allows itself in a step; the midpoint rule does not use it.
        """
        return self._follow(x, 0.0, 1.0, labels, sampler, num_inference_steps, tolerance, report)

    @task
    def decode(
        self,
        codes,
        labels,
        report,
        sampler: Sampler = "midpoint",
        num_inference_steps: Steps = 20,
        tolerance: Tolerance = 1e-3,
    ):
        """Generate images from given noise at t = 1, float [N, C, S, S].

        Args:
            class_labels: as they were given to `encode`.
            sampler: as in `__call__`.
            num_inference_steps: Steps of the sampler; Heun and midpoint evaluate the network twice a step.
            tolerance: Error that RK45 allows itself in a step; the other samplers do not use it.
        """
        return self._follow(codes, 1.0, 0.0, labels, sampler, num_inference_steps, tolerance, report)

    # ---- the tasks ----

    @task
    def __call__(
        self,
        batch_size,
        generator,
        labels,
        report,
        sampler: Sampler = "heun",
        num_inference_steps: Steps = 8,
        guidance_scale: Annotated[float, {"minimum": 0.0, "maximum": 6.0, "step": 0.1}] = 1.5,
        tolerance: Tolerance = 1e-3,
    ):
        """Generate images: draw noise and follow the flow from t = 1 to 0.

        Args:
            class_labels: int, list or int64 tensor [N]; None: the unconditional model.
            sampler: Euler, Heun or the midpoint rule in equal steps, or RK45 (Dormand and Prince 1980), which chooses its own.
            num_inference_steps: Steps of the sampler, fewer is faster; Heun and midpoint evaluate the network twice a step.
            guidance_scale: Above 1 samples follow their class more closely and vary less; 0 ignores the class.
            tolerance: Error that RK45 allows itself in a step; the other samplers do not use it.
            callback_on_step_end: called as (pipe, step, timestep, {"pred_original_sample", "num_timesteps", "num_function_evaluations"}); RK45 reports each twentieth of the way.
        """
        size = self.config.sample_size
        x_1 = self._randn((batch_size, self.config.channels, size, size), generator)
        return self._follow(x_1, 1.0, 0.0, labels, sampler, num_inference_steps, tolerance, report, guidance_scale)

    @task
    def reconstruct(
        self,
        x,
        generator,
        labels,
        report,
        method: Literal["inversion", "noise"] = "inversion",
        strength: Strength = 0.5,
        sampler: Solver = "midpoint",
        num_inference_steps: Steps = 20,
        tolerance: Tolerance = 1e-3,
    ):
        """Take images into noise and back.

        Args:
            generator: one `torch.Generator`, or a list with one for each image ("noise" only).
            class_labels: of the images, if known.
            method: "inversion" follows the flow backwards to the noise that generates the image. "noise" mixes in random noise and follows the flow from there, so that details are invented anew.
            strength: How far into the noise, 1 being all the way.
            sampler: The midpoint rule in equal steps, or RK45, which chooses its own.
            num_inference_steps: Steps each way; the midpoint rule evaluates the network twice a step.
            tolerance: Error that RK45 allows itself in a step; the midpoint rule does not use it.
        """
        check_strength(strength)
        how = (labels, sampler, num_inference_steps, tolerance)
        if method == "noise":
            x_t = (1 - strength) * x.float() + strength * self._randn(x.shape, generator).float()
            return self._follow(x_t, strength, 0.0, *how, report)
        number = number_of_reports(sampler, num_inference_steps)
        x_t = self._follow(x, 0.0, strength, *how, report.part(0, 2 * number))
        return self._follow(x_t, strength, 0.0, *how, report.part(number, 2 * number))

    @task
    def interpolate(
        self,
        a,
        b,
        num_frames,
        report,
        strength: Strength = 1.0,
        sampler: Solver = "midpoint",
        num_inference_steps: Steps = 20,
        tolerance: Tolerance = 1e-3,
    ):
        """Interpolate between two images: follow both into noise, walk the arc between their noises, follow the flow back.

        Args:
            generator: not used: this path is deterministic.
            strength: How far into the noise the path is drawn; less keeps closer to a blend of the two images.
            sampler: The midpoint rule in equal steps, or RK45, which chooses its own.
            num_inference_steps: Steps each way; the midpoint rule evaluates the network twice a step.
            tolerance: Error that RK45 allows itself in a step; the midpoint rule does not use it.
        """
        check_strength(strength)
        how = (None, sampler, num_inference_steps, tolerance)
        number = number_of_reports(sampler, num_inference_steps)
        ends = self._follow(torch.cat([a, b]), 0.0, strength, *how, report.part(0, 2 * number))
        x_t = slerp(ends[:1], ends[1:], torch.linspace(0, 1, num_frames, dtype=torch.float32, device=ends.device))
        return self._follow(x_t, strength, 0.0, *how, report.part(number, 2 * number))

    # ---- training ----

    def learn_from(self, teacher: DiffusionPipeline) -> None:
        """Begin with the teacher's weights (Liu et al. 2023 sec. 2: the flow that reflow straightens).

        Raises:
            ValueError: another architecture.
        """
        state = teacher.unet.state_dict()
        shapes = {name: value.shape for name, value in self.unet.state_dict().items()}
        if {name: value.shape for name, value in state.items()} != shapes:
            raise ValueError("a student needs the teacher's architecture, and its number of classes.")
        self.unet.load_state_dict(state)

    def loss(
        self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of conditional flow matching, E |v(x_t, t) - (x_1 - x_0)|^2.

        Lipman et al. 2023 eq. 23, Liu et al. 2023 eq. 1. Images that a teacher generated come with their noise: `reflow`
        (Liu et al. 2023 alg. 1). With `distilled_steps` K, after the part `distill_from` of the training most times are
        k / K, where K Euler steps evaluate the network (distillation, Liu et al. 2023 sec. 2).

        Args:
            batch: "images" [B, C, S, S] in [-1, 1], "class_labels" int64 [B] (-1: none) or None, and, for pairs,
                "seeds" int64 [B]: image i was generated by `__call__` with `torch.Generator().manual_seed(seeds[i])`.
            generator: for all random numbers but those of the pairs, on the images' device.
            progress: part of the training that is done, in [0, 1].

        Returns:
            (scalar, {"mse": scalar}).

        Raises:
            ValueError: a student without pairs.
        """
        x_0 = batch["images"]
        num, device, seeds = len(x_0), x_0.device, batch.get("seeds")
        random = {"generator": generator, "device": device, "dtype": torch.float32}
        if self.config.distilled_steps and seeds is None:
            raise ValueError("distilled_steps: a student learns from a teacher's images; name one in training.teacher.")
        t = sample_times(self.config.time_sampling, num, generator, device)
        if self.config.distilled_steps and progress >= self.config.distill_from:
            steps = self.config.distilled_steps
            asked = (1 + torch.randint(steps, (num,), generator=generator, device=device)).float() / steps
            t = torch.where(torch.rand(num, **random) < DISTILLED_SHARE, asked, t)
        # Pairs keep their labels: noise leads to another image without the class than with it.
        labels = self._training_labels(batch, generator, None if seeds is None else 0.0)
        if seeds is None:
            x_1 = torch.randn(x_0.shape, **random)
            if self.config.coupling == "optimal_transport":
                x_1 = x_1[optimal_coupling(x_0, x_1, labels)]
        else:
            x_1 = torch.stack([self.noise_of(seed) for seed in seeds.tolist()]).to(device)
        if self.config.dequantize:
            x_0 = x_0 + (torch.rand(x_0.shape, **random) - 0.5) * 2 / 255
        times = t[:, None, None, None]
        x_t = (1 - times) * x_0 + times * x_1
        mse = F.mse_loss(self._network(x_t, t, labels), x_1 - x_0)
        return mse, {"mse": mse.detach()}

    def noise_of(self, seed: int) -> torch.Tensor:
        """Return the noise, float32 [C, S, S], that `__call__` begins with for the sample with this seed."""
        shape = (self.config.channels, self.config.sample_size, self.config.sample_size)
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
