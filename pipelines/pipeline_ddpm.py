"""Denoising diffusion: DDPM, DDIM and their fast solvers on one network.

    q(x_t | x_0) = N(sqrt(a_t) x_0, (1 - a_t) I)            a_t: alpha-bar, Ho et al. 2020 eq. 4
    eps-prediction: the network gives eps                      Ho et al. 2020 eq. 14
    v-prediction:   the network gives sqrt(a) eps - sqrt(1 - a) x_0   Salimans and Ho 2022 app. D

Papers:
    Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models, 2020, https://arxiv.org/abs/2006.11239
    Song, Meng, Ermon: Denoising Diffusion Implicit Models, 2020, https://arxiv.org/abs/2010.02502
    Nichol, Dhariwal: Improved Denoising Diffusion Probabilistic Models, 2021, https://arxiv.org/abs/2102.09672
    Ho, Salimans: Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598
    Salimans, Ho: Progressive Distillation for Fast Sampling, 2022, https://arxiv.org/abs/2202.00512
    Lu et al.: DPM-Solver++, 2022, https://arxiv.org/abs/2211.01095
    Zhao et al.: UniPC, 2023, https://arxiv.org/abs/2302.04867
    Karras et al.: Elucidating the Design Space of Diffusion-Based Generative Models, 2022 (Heun)
    Pan et al.: Effective Real Image Editing with Accelerated Iterative Diffusion Inversion, 2023
    Graham et al.: Denoising Diffusion Models for Out-of-Distribution Detection, 2023
    Li et al.: Your Diffusion Model is Secretly a Zero-Shot Classifier, 2023, https://arxiv.org/abs/2303.16203
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DiffusionPipeline,
    DPMSolverMultistepScheduler,
    HeunDiscreteScheduler,
    SchedulerMixin,
    UNet2DModel,
    UniPCMultistepScheduler,
)

from pipelines.export import write_index
from pipelines.family import Generators, Report
from pipelines.images import task
from pipelines.interpolation import slerp
from pipelines.ode import check_strength
from pipelines.pixel_unet import PixelUNetMixin, build_unet, image_shape

Sampler = Literal["unipc", "dpm-solver++", "heun", "ddim", "ddpm"]
Steps = Annotated[int, {"minimum": 2, "maximum": 250, "step": 1}]  # of an inversion
Refinements = Annotated[int, {"minimum": 0, "maximum": 5, "step": 1}]


class DenoisingDiffusionPipeline(PixelUNetMixin, DiffusionPipeline):
    """Pixel-space diffusion with a `UNet2DModel`, with or without classes.

    Args:
        unet: the network; takes [N, C * p * p, S / p, S / p], timesteps [N] and, where conditional, labels [N] of
            which the last one (`num_class_embeds - 1`) stands for "no class".
        scheduler: holds the noise schedule and the prediction type ("epsilon" or "v_prediction"). Each call makes its
            own sampler from this configuration.
    """

    model_cpu_offload_seq = "unet"
    joins = {}  # noqa: RUF012  # never changed

    def __init__(
        self,
        unet: UNet2DModel,
        scheduler: SchedulerMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        patch_size: int = 1,
        class_dropout: float = 0.1,
        id2label: dict[str, str] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        self._register(
            locals(),
            scheduler=DDPMScheduler.from_config(scheduler.config),
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
        beta_schedule: Literal["linear", "squaredcos_cap_v2"] = "squaredcos_cap_v2",
        prediction_type: Literal["epsilon", "v_prediction"] = "v_prediction",
        num_train_timesteps: int = 1000,
        class_dropout: float = 0.1,
    ) -> DenoisingDiffusionPipeline:
        """Make a pipeline with fresh weights; the architecture is that of `build_unet`.

        Args:
            class_conditional: make the network conditional on the classes of `id2label`.
            beta_schedule: "linear" (Ho et al. 2020 sec. 4) or "squaredcos_cap_v2" (cosine, Nichol and Dhariwal eq. 17).

        Raises:
            ValueError: the sizes do not divide.
        """
        id2label = id2label if class_conditional else None
        width = (block_out_channels, layers_per_block, attention_head_dim, norm_num_groups)
        unet = build_unet(sample_size, channels, id2label, patch_size, *width)
        scheduler = DDPMScheduler(
            num_train_timesteps=num_train_timesteps, beta_schedule=beta_schedule, prediction_type=prediction_type
        )
        return cls(unet, scheduler, sample_size, channels, patch_size, class_dropout, id2label)

    # ---- the three views of the network ----

    def _views(self, output: torch.Tensor, x: torch.Tensor, alpha_bar) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (x_0, eps) from the network's output at x_t, all [N, C, S, S]."""
        a, s = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
        if self.scheduler.config.prediction_type == "epsilon":
            return (x - s * output) / a, output  # Ho et al. 2020 eq. 15
        if self.scheduler.config.prediction_type == "v_prediction":
            return a * x - s * output, a * output + s * x  # Salimans and Ho 2022 app. D
        return output, (x - a * output) / s

    def _clip(self, output: torch.Tensor, x: torch.Tensor, alpha_bar) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (the network's output as if x_0 had been clipped to [-1, 1], that x_0).

        This keeps guided samples in range, whatever the solver.
        """
        a, s = alpha_bar**0.5, (1 - alpha_bar) ** 0.5
        x0 = self._views(output, x, alpha_bar)[0].clamp(-1, 1)
        eps = (x - a * x0) / s
        kind = self.scheduler.config.prediction_type
        return {"epsilon": eps, "v_prediction": a * eps - s * x0, "sample": x0}[kind], x0

    # ---- sampling ----

    def _sampler(self, name: str, num_inference_steps: int) -> SchedulerMixin:
        """Return a fresh diffusers scheduler on this checkpoint's noise schedule; the step sizes are the solver's own.

        Raises:
            ValueError: the number of steps is out of range.
        """
        samplers: dict[str, tuple[Any, dict[str, Any]]] = {
            "ddpm": (DDPMScheduler, {"timestep_spacing": "trailing", "variance_type": "fixed_small"}),
            "ddim": (DDIMScheduler, {"timestep_spacing": "trailing", "set_alpha_to_one": True}),
            "dpm-solver++": (DPMSolverMultistepScheduler, {"timestep_spacing": "trailing", "solver_order": 2}),
            "unipc": (UniPCMultistepScheduler, {"timestep_spacing": "trailing", "solver_order": 2}),
            "heun": (HeunDiscreteScheduler, {"timestep_spacing": "trailing"}),
        }
        make, options = samplers[name]
        last = self.scheduler.config.num_train_timesteps
        if not 1 <= num_inference_steps <= last:
            raise ValueError(f"num_inference_steps: must lie in 1 ... {last}, not {num_inference_steps}.")
        # Given in full: from_config puts the other class's own default in place of what here happens to be a default.
        betas = ("beta_start", "beta_end", "beta_schedule", "trained_betas")
        schedule = {key: self.scheduler.config[key] for key in ("num_train_timesteps", *betas, "prediction_type")}
        sampler = make.from_config(self.scheduler.config, clip_sample=False, **schedule, **options)
        if name == "heun":
            sampler.set_timesteps(timesteps=self._heun_timesteps(num_inference_steps), device=self._execution_device)
        else:
            sampler.set_timesteps(num_inference_steps, device=self._execution_device)
        if (
            name == "unipc"
        ):  # it mixes them with ones of torch's default dtype in a linear system, which takes one dtype only
            sampler.sigmas = sampler.sigmas.to(torch.get_default_dtype())
        return sampler

    def _heun_timesteps(self, num_inference_steps: int) -> list[float]:
        """Return the noise levels of Karras et al. 2022 eq. 5 with rho = 7, from sigma 80 down, as fractional timesteps.

        A cosine schedule ends at sigma = 2e4. There the average of the slopes at both ends of a step, which Heun's method
        takes in x / sqrt(alpha_bar), is off by the ratio of the sigmas. At 80 nothing is left of the image either.
        """
        levels = self.scheduler.alphas_cumprod.double()
        sigmas = ((1 - levels) / levels).sqrt().numpy()
        ramp = np.linspace(min(80.0, sigmas[-1]) ** (1 / 7), sigmas[0] ** (1 / 7), num_inference_steps)
        return np.interp(ramp**7, sigmas, np.arange(len(sigmas))).tolist()

    def _denoise(
        self,
        noise: torch.Tensor,
        labels: torch.Tensor | None,
        sampler_name: str,
        num_inference_steps: int,
        guidance_scale: float,
        eta: float,
        generator: Generators,
        report: Report,
    ) -> torch.Tensor:
        """Sample from standard noise to x_0, both [N, C, S, S]."""
        sampler = self._sampler(sampler_name, num_inference_steps)
        timesteps = sampler.timesteps
        x = noise * sampler.init_noise_sigma
        sigmas = None if sampler_name in ("ddpm", "ddim") else sampler.sigmas
        options: dict[str, Any] = {"generator": generator} if sampler_name in ("ddpm", "ddim") else {}
        if sampler_name == "ddim":
            options["eta"] = eta

        for i, t in enumerate(timesteps):
            # VP alpha-bar of this step; the sigma of k-diffusion's notation is sqrt((1 - a) / a), Karras et al. tab. 1
            alpha_bar = sampler.alphas_cumprod[int(t)] if sigmas is None else 1 / (1 + sigmas[i] ** 2)
            alpha_bar = alpha_bar.to(x.device, torch.float32)
            x_t = sampler.scale_model_input(x, t)
            output = self._guided(x_t, t, labels, guidance_scale)
            output, x0 = self._clip(output, x_t.float(), alpha_bar)
            x = sampler.step(output, t, x.float(), **options).prev_sample
            report(i, t, len(timesteps), x0)
        return x

    # ---- DDIM backwards ----

    def _inversion_timesteps(self, num_inference_steps: int, strength: float) -> torch.Tensor:
        """Return rising integer timesteps [n] from 0, where the image is all but clean, to `strength` of the schedule.

        Raises:
            ValueError: `strength` out of range.
        """
        check_strength(strength)
        last = strength * (self.scheduler.config.num_train_timesteps - 1)
        return torch.linspace(0, last, max(num_inference_steps, 2), dtype=torch.float32).round().long().unique()

    def _invert(self, x, labels, timesteps, num_refinements: int, report: Report) -> torch.Tensor:
        """Return the noise of clean images at the last timestep, [N, C, S, S].

        Each step solves for the x' at level a' whose DDIM step to a is x: x0 = (x - sqrt(1 - a) eps) / sqrt(a) with
        eps = eps(x', t'), by iterations to the fixed point (Pan et al. 2023 eq. 7).
        """
        x = x.float()
        alpha_bar = x.new_ones(())
        for i, t in enumerate(timesteps):
            alpha_bar_to = self.scheduler.alphas_cumprod[t].to(x.device)
            at = x  # first guess of x': plain DDIM inversion takes the noise predicted where it stands
            for _ in range(1 + num_refinements):
                eps = self._views(self._network(at, t, labels), at, alpha_bar_to)[1]
                x0 = (x - (1 - alpha_bar) ** 0.5 * eps) / alpha_bar**0.5
                at = alpha_bar_to**0.5 * x0 + (1 - alpha_bar_to) ** 0.5 * eps
            x, alpha_bar = at, alpha_bar_to
            report(i, t, len(timesteps), x0)
        return x

    def _revert(self, x, labels, timesteps, report: Report, clip: bool = False) -> torch.Tensor:
        """Return the clean images of noise at the last timestep, by DDIM with eta 0 (Song et al. 2020 eq. 13).

        Args:
            clip: keep x_0 in [-1, 1]; not for the way back of an inversion, which must undo each step as it was.
        """
        levels = [x.new_ones(()), *(self.scheduler.alphas_cumprod[t].to(x.device) for t in timesteps)]
        for i, t in enumerate(timesteps.flip(0)):
            alpha_bar, alpha_bar_to = levels[-1 - i], levels[-2 - i]
            output = self._network(x, t, labels)
            if clip:
                output = self._clip(output, x, alpha_bar)[0]
            x0, eps = self._views(output, x, alpha_bar)
            x = alpha_bar_to**0.5 * x0 + (1 - alpha_bar_to) ** 0.5 * eps
            report(i, t, len(timesteps), x0)
        return x

    # ---- the tasks ----

    @task
    def __call__(
        self,
        batch_size,
        generator,
        labels,
        report,
        sampler: Sampler = "unipc",
        num_inference_steps: Annotated[int, {"minimum": 1, "maximum": 250, "step": 1}] = 12,
        guidance_scale: Annotated[float, {"minimum": 0.0, "maximum": 6.0, "step": 0.1}] = 1.5,
        eta: Annotated[float, {"minimum": 0.0, "maximum": 1.0, "step": 0.05}] = 0.0,
    ):
        """Generate images from noise.

        Args:
            class_labels: int, list or int64 tensor [N]; None: the unconditional model.
            sampler: DDPM ancestral (Ho et al. 2020 alg. 2), DDIM (Song et al. 2020 eq. 12), DPM-Solver++, UniPC or Heun.
            num_inference_steps: Steps of the sampler, fewer is faster; Heun evaluates the network twice a step.
            guidance_scale: Above 1 samples follow their class more closely and vary less; 0 ignores the class.
            eta: Noise added at each step, DDIM only: 0 is deterministic, 1 is as noisy as DDPM.
        """
        size = self.config.sample_size
        noise = self._randn((batch_size, self.config.channels, size, size), generator)
        return self._denoise(noise, labels, sampler, num_inference_steps, guidance_scale, eta, generator, report)

    @task
    def reconstruct(
        self,
        x,
        generator,
        labels,
        report,
        method: Literal["inversion", "noise"] = "inversion",
        strength: Annotated[float, {"minimum": 0.05, "maximum": 1.0, "step": 0.05}] = 0.5,
        num_inference_steps: Steps = 20,
        num_refinements: Refinements = 2,
    ):
        """Take images into noise and back.

        Args:
            class_labels: int, list or int64 tensor [N], the class of each image, if known; None: the unconditional model.
            method: "inversion" runs the DDIM equation backwards to the noise that generates the image; "noise" adds random noise and denoises it, so that details are invented anew.
            strength: How far into the noise, 1 being all the way.
            num_inference_steps: Steps each way.
            num_refinements: Fixed-point iterations a step of the inversion; with more, the way back meets the image more exactly.
        """
        timesteps = self._inversion_timesteps(num_inference_steps, strength)
        if method == "noise":
            alpha_bar = self.scheduler.alphas_cumprod[timesteps[-1]].to(x.device)
            noise = self._randn(x.shape, generator).float()
            x = alpha_bar**0.5 * x.float() + (1 - alpha_bar) ** 0.5 * noise  # Ho et al. 2020 eq. 4
            return self._revert(x, labels, timesteps, report, clip=True)
        steps = len(timesteps)
        x = self._invert(x, labels, timesteps, num_refinements, report.part(0, 2 * steps))
        return self._revert(x, labels, timesteps, report.part(steps, 2 * steps))

    @task
    def interpolate(
        self,
        a,
        b,
        num_frames,
        report,
        num_inference_steps: Steps = 20,
        num_refinements: Refinements = 1,
        strength: Annotated[float, {"minimum": 0.05, "maximum": 1.0, "step": 0.05}] = 1.0,
    ):
        """Interpolate between two images: invert both, walk the arc between their noises, denoise (Song et al. 2020 sec. 5.3).

        Args:
            generator: not used: this path is deterministic.
            num_inference_steps: Steps each way.
            num_refinements: Fixed-point iterations a step of the inversion.
            strength: How far into the noise the path is drawn; less keeps closer to a blend of the two images.
        """
        timesteps = self._inversion_timesteps(num_inference_steps, strength)
        steps = len(timesteps)
        noise = self._invert(torch.cat([a, b]), None, timesteps, num_refinements, report.part(0, 2 * steps))
        weights = torch.linspace(0, 1, num_frames, device=noise.device, dtype=torch.float32)
        x = slerp(noise[:1], noise[1:], weights)
        return self._revert(x, None, timesteps, report.part(steps, 2 * steps))

    @task
    def encode(self, x, labels, report, num_inference_steps: Steps = 20, num_refinements: Refinements = 2):
        """Encode images as the noise that generates them, by DDIM backwards: float32 [N, C, S, S].

        Args:
            generator: not used: the inversion is deterministic.
            class_labels: int, list or int64 tensor [N], the class of each image, if known; `decode` then needs the same.
            num_inference_steps: Steps of the inversion.
            num_refinements: Fixed-point iterations a step of the inversion.
        """
        timesteps = self._inversion_timesteps(num_inference_steps, 1.0)
        return self._invert(x, labels, timesteps, num_refinements, report)

    @task
    def decode(self, codes, labels, report, num_inference_steps: Steps = 20):
        """Generate images from noise by DDIM with eta 0: the way back of `encode` in as many steps.

        Args:
            class_labels: as they were given to `encode`.
            num_inference_steps: Steps.
        """
        return self._revert(codes, labels, self._inversion_timesteps(num_inference_steps, 1.0), report)

    @task
    def anomaly_score(
        self,
        x,
        generator,
        labels,
        report,
        num_noise_levels: Annotated[int, {"minimum": 1, "maximum": 20, "step": 1}] = 6,
        num_samples: Annotated[int, {"minimum": 1, "maximum": 8, "step": 1}] = 2,
        class_weight: Annotated[float, {"minimum": 0.0, "maximum": 100.0, "step": 0.5, "needs": "classes"}] = 8.0,
    ):
        """Measure how badly the model denoises an image, over several noise levels (after Graham et al. 2023).

        score = mean over levels and pixels of (x_0 - x_0_hat(x_t))^2, images in [-1, 1]

        With a class y given, it is e + w (e_y - e): e and e_y are the errors of the unconditional and of the conditional
        network in the same noise, and w is `class_weight`. A diffusion classifier compares e_y - e (Li et al. 2023 sec. 3).
        With w = 1 the score is e_y, in which the class has little effect: how hard an image is to denoise depends more on
        its patterns and folds. With the default, both weigh about the same on Fashion-MNIST. The map is cut off at 0.

        Args:
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            num_noise_levels: Noise levels, evenly spread over the middle of the schedule.
            num_samples: Noise draws at each level; more is steadier.
            class_weight: Weight of the class, where one is given; 0 ignores it, 1 is the plain error of the network conditional on it.
        """
        x = x.float()
        last = self.scheduler.config.num_train_timesteps - 1
        # The ends say little: with hardly any noise everything is restored, with hardly any image nothing is.
        timesteps = torch.linspace(0.2, 0.8, num_noise_levels, dtype=torch.float32) * last
        error = torch.zeros(x.shape, device=x.device, dtype=torch.float32)
        for i, t in enumerate(timesteps.round().long()):
            alpha_bar = self.scheduler.alphas_cumprod[t].to(x.device)
            for _ in range(num_samples):
                x_t = alpha_bar**0.5 * x + (1 - alpha_bar) ** 0.5 * self._randn(x.shape, generator).float()
                x0 = self._clip(self._network(x_t, t, None), x_t, alpha_bar)[1]
                squared = (x0 - x).square()
                if labels is not None:
                    x0 = self._clip(self._network(x_t, t, labels), x_t, alpha_bar)[1]
                    squared = squared + class_weight * ((x0 - x).square() - squared)
                error += squared / (num_samples * num_noise_levels)
            report(i, t, num_noise_levels, x0)
        return error.mean(dim=(1, 2, 3)), error.mean(dim=1).clamp(min=0), "mean squared error"

    # ---- training ----

    def loss(self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0):
        """Return the mean squared error of the network's target at uniform timesteps.

        Ho et al. 2020 eq. 14; for v Salimans and Ho 2022.

        Args:
            batch: "images" [B, C, S, S] in [-1, 1] and "class_labels" int64 [B] (-1: unknown) or None.
            generator: for the timesteps, the noise and the dropped labels, on the images' device.
            progress: not used.

        Returns:
            (scalar, {"mse": scalar}).
        """
        x0 = batch["images"]
        num, device = len(x0), x0.device
        t = torch.randint(self.scheduler.config.num_train_timesteps, (num,), generator=generator, device=device)
        eps = torch.randn(x0.shape, generator=generator, device=device, dtype=x0.dtype)
        labels = self._training_labels(batch, generator)
        x_t = self.scheduler.add_noise(x0, eps, t)  # Ho et al. 2020 eq. 4
        v = self.scheduler.config.prediction_type == "v_prediction"
        mse = F.mse_loss(self._network(x_t, t, labels), self.scheduler.get_velocity(x0, eps, t) if v else eps)
        return mse, {"mse": mse.detach()}

    def save_config(self, save_directory, push_to_hub: bool = False, **kwargs) -> None:
        """Save model_index.json and the sources; name diffusers' own DDPMPipeline where it can run every part.

        An unconditional network on plain pixels so loads without remote code. For all tasks, load it with
        `DiffusionPipeline.from_pretrained(folder, custom_pipeline="pipeline_ddpm", trust_remote_code=True)`.
        """
        super().save_config(save_directory, push_to_hub, **kwargs)
        if self.unet.config.num_class_embeds is None and self.config.patch_size == 1:
            index = json.loads((Path(save_directory) / self.config_name).read_text())
            write_index(self, save_directory, {**index, "_class_name": "DDPMPipeline"})
