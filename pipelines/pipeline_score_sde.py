"""Score-based generative modelling by stochastic differential equations: one denoiser, every process and sampler.

    D(y; sigma) = c_skip y + c_out F(c_in y; c_noise)       Karras et al. 2022 eq. 7, F the network
    grad log p(y; sigma) = (D(y; sigma) - y) / sigma^2       Karras et al. 2022 eq. 3; the score
    y = x_0 + sigma eps, x = s y                             every process of processes.py

Papers:
    Song et al.: Score-Based Generative Modeling through Stochastic Differential Equations, 2021,
        https://arxiv.org/abs/2011.13456
    Karras et al.: Elucidating the Design Space of Diffusion-Based Generative Models, 2022, https://arxiv.org/abs/2206.00364
    Song, Ermon: Generative Modeling by Estimating Gradients of the Data Distribution, 2019, https://arxiv.org/abs/1907.05600
    Ho, Salimans: Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598
    Meng et al.: SDEdit, 2021, https://arxiv.org/abs/2108.01073
    Mahmood et al.: Multiscale Score Matching for Out-of-Distribution Detection, 2021, https://arxiv.org/abs/2010.13132
    Nalisnick et al.: Do Deep Generative Models Know What They Don't Know?, 2018, https://arxiv.org/abs/1810.09136
    Li et al.: Your Diffusion Model is Secretly a Zero-Shot Classifier, 2023, https://arxiv.org/abs/2303.16203
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, SchedulerMixin, ScoreSdeVeScheduler, UNet2DModel
from diffusers.utils.torch_utils import randn_tensor

from pipelines.denoiser import Denoiser
from pipelines.family import Generators, Labels, seeded
from pipelines.images import ImagesOutput, task
from pipelines.interpolation import slerp
from pipelines.likelihood import dequantized, random_signs
from pipelines.ode import check_strength
from pipelines.pixel_unet import build_unet, image_shape
from pipelines.probability_flow import heun_path, rk45_path, with_divergence
from pipelines.processes import Process, views
from pipelines.scheduling_score_sde import ScoreSdeScheduler
from pipelines.score_samplers import SAMPLERS
from pipelines.score_typicality import CLASS_SIGMAS, FEATURE_SIGMAS, ScoreTypicalityMixin
from pipelines.typicality import typicality_score

Sampler = Literal[
    "heun",
    "rk45",
    "predictor-corrector",
    "reverse diffusion",
    "euler-maruyama",
    "ancestral",
    "annealed langevin",
]
ProcessName = Literal["edm", "ve", "vp", "sub-vp"]
Keep = Literal[
    "everything", "left half", "right half", "top half", "bottom half", "border", "centre", "structure", "brightness"
]
Score = Literal["typicality", "score norms", "likelihood"]

# The positional embedding of a timestep distinguishes what differs by about one. c_noise = log(sigma) / 4 spans -1.6 ... 1.1.
Levels = Annotated[int, {"minimum": 2, "maximum": 500, "step": 1}]

TIMESTEPS_PER_C_NOISE = 100


@dataclass
class ScoreSdeOutput(ImagesOutput):
    """Images, and how many evaluations of the denoiser each took, list of N ints; one with guidance is two network passes."""

    num_function_evaluations: list[int] | None = None


class ScoreSdePipeline(ScoreTypicalityMixin, DiffusionPipeline):
    """A noise-conditional `UNet2DModel` with EDM preconditioning, sampled under any process by any solver.

    Args:
        unet: F; takes [N, C * p * p, S / p, S / p], timesteps [N] and, where conditional, labels [N] of which the last
            one (`num_class_embeds - 1`) stands for "no class".
        scheduler: `ScoreSdeScheduler`; or diffusers' `ScoreSdeVeScheduler`, whose network gives the score of images in [0, 1].
        calibration: {"mean": [K], "covariance": [K][K]} of the features of training images and, where they have classes,
            "class_mismatch": {"mean", "std"}; written by `fit`.
    """

    likelihood_kind = "estimate"  # of the trace, along an ODE that is solved in steps
    model_cpu_offload_seq = "unet"
    joins = {"sampler": tuple(name for name in get_args(Sampler) if name != "rk45")}  # noqa: RUF012  # never changed; it takes as many steps as the slowest

    def __init__(
        self,
        unet: UNet2DModel,
        scheduler: SchedulerMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        patch_size: int = 1,
        class_dropout: float = 0.1,
        calibration: dict[str, Any] | None = None,
        id2label: dict[str, str] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        if isinstance(scheduler, ScoreSdeVeScheduler):  # of a stock ScoreSdeVePipeline
            scheduler = ScoreSdeScheduler.adopt(scheduler)
        self._register(locals(), **image_shape(unet, sample_size, channels, patch_size))

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
        **noise_levels,
    ) -> ScoreSdePipeline:
        """Make a pipeline with fresh weights; the architecture is that of `build_unet`.

        Args:
            class_conditional: make the network conditional on the classes of `id2label`.
            noise_levels: the parameters of `ScoreSdeScheduler`: sigma_data, sigma_min, sigma_max and the others.

        Raises:
            TypeError: a parameter that the scheduler does not have.
            ValueError: the sizes do not divide, or noise levels out of order.
        """
        id2label = id2label if class_conditional else None
        width = (block_out_channels, layers_per_block, attention_head_dim, norm_num_groups)
        unet = build_unet(sample_size, channels, id2label, patch_size, *width)
        scheduler = ScoreSdeScheduler(**noise_levels)
        return cls(unet, scheduler, sample_size, channels, patch_size, class_dropout, id2label=id2label)

    # ---- the network ----

    def denoise(self, y: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Return D(y; sigma) = E[x_0 | x_0 + sigma eps = y].

        Karras et al. 2022 eq. 7; eq. 3 for a network that gives the score.

        Args:
            y: float32 or float64 [N, C, S, S].
            sigma: [N] of the same type, > 0.
            labels: int64 [N]; None: the unconditional model.

        Returns:
            [N, C, S, S] of y's type.
        """
        if self.scheduler.config.network == "score":
            # In its images u = (y + 1) / 2 it knows E[u_0 | u] = u + (sigma/2)^2 score(u; sigma/2), Tweedie's formula.
            score = self._network((y + 1) / 2, (sigma / 2).float(), labels)
            return y + (sigma**2 / 2)[:, None, None, None] * score
        c_skip, c_out, c_in, c_noise = self.scheduler.preconditioning(sigma)
        output = self._network(c_in[:, None, None, None] * y, TIMESTEPS_PER_C_NOISE * c_noise.float(), labels)
        return c_skip[:, None, None, None] * y + c_out[:, None, None, None] * output

    @torch.no_grad()
    def predict(
        self, x: torch.Tensor, sigma: float, scale: float = 1.0, class_labels: Labels = None
    ) -> dict[str, torch.Tensor]:
        """Return the prediction of the network in all four views.

        Args:
            x: float32 [N, C, S, S], s (x_0 + sigma eps).
            sigma: noise level of x / s.
            scale: s; `scheduler.process(name)` has both at a time t.
            class_labels: int, list or int64 tensor [N]; None: the unconditional model.

        Returns:
            {"x0", "epsilon", "score", "v"}, each [N, C, S, S].
        """
        x0 = Denoiser(self, self._to_labels(class_labels, len(x)))(x / scale, sigma)
        return views(x, x0, scale, sigma)

    def _noise(self, shape: torch.Size | tuple[int, ...], generator: Generators) -> torch.Tensor:
        """Return standard normal noise as `_randn`, but in float32 whatever the network's dtype."""
        return randn_tensor(tuple(shape), generator=generator, device=self._execution_device, dtype=torch.float32)

    def _state(self, x: torch.Tensor) -> torch.Tensor:
        """Return x as a solver carries it: float64 as in Karras et al.'s code, for at sigma 80 float32 rounds it by 1e-5."""
        return x.to(torch.float32 if x.device.type == "mps" else torch.float64)

    # ---- through the noise levels ----

    def _levels(self, num_inference_steps: int, strength: float) -> list[float]:
        """Return falling noise levels from `strength` of EDM's schedule, where equal parts change an image about equally.

        Raises:
            ValueError: a strength outside of (0, 1].
        """
        check_strength(strength)
        times = self.scheduler.process("edm").times(1001)
        return self.scheduler.levels(num_inference_steps, times[round(1000 * (1 - strength))])

    def _sample(
        self,
        denoise: Denoiser,
        y: torch.Tensor,
        sampler: str,
        process: Process,
        times: list[float],
        generator: Generators,
        report: Callable,
        **options,
    ) -> torch.Tensor:
        """Return x_0 by a sampler, from y = x / s at times[0]."""
        x = process.scale(times[0]) * self._state(y)
        return SAMPLERS[sampler](process, denoise, x, times, lambda: self._noise(y.shape, generator), report, **options)

    def _follow(self, denoise: Denoiser, y: torch.Tensor, sigmas: list[float], report: Callable) -> torch.Tensor:
        """Return where the probability-flow ODE leads from sigmas[0] to sigmas[-1], up or down."""
        return heun_path(denoise.without_divergence, self._state(y), sigmas, report)[0]

    def _projection(self, keep: str) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the orthogonal projection of [N, C, S, S] on what is kept, one of `Keep` but "everything"."""
        size = self.config.sample_size
        half, quarter = size // 2, size // 4
        if keep == "structure":  # an image of at most 8 x 8 blocks is known
            block = next(b for b in range(2, size + 1) if size % b == 0 and size // b <= 8)
            return lambda x: F.interpolate(F.avg_pool2d(x, block), scale_factor=block)
        if keep == "brightness":
            return lambda x: x.mean(dim=1, keepdim=True).expand_as(x)
        rows, columns = {
            "left half": (slice(None), slice(0, half)),
            "right half": (slice(None), slice(half, None)),
            "top half": (slice(0, half), slice(None)),
            "bottom half": (slice(half, None), slice(None)),
        }.get(keep, (slice(quarter, size - quarter),) * 2)
        mask = torch.zeros(size, size, device=self._execution_device, dtype=torch.float32)
        mask[rows, columns] = 1
        mask = 1 - mask if keep == "border" else mask
        return lambda x: mask * x

    # ---- the tasks ----

    @task(output=ScoreSdeOutput)
    def __call__(
        self,
        batch_size,
        generator,
        labels,
        report,
        sampler: Sampler = "ancestral",
        process: ProcessName = "edm",
        num_inference_steps: Levels = 40,
        guidance_scale: Annotated[float, {"minimum": 0.0, "maximum": 6.0, "step": 0.1}] = 1.0,
        churn: Annotated[float, {"minimum": 0.0, "maximum": 100.0, "step": 1.0}] = 0.0,
        num_corrector_steps: Annotated[int, {"minimum": 1, "maximum": 20, "step": 1}] = 2,
        snr: Annotated[float, {"minimum": 0.01, "maximum": 0.5, "step": 0.01}] = 0.16,
        tolerance: Annotated[float, {"minimum": 0.00001, "maximum": 0.1, "step": 0.00001}] = 0.01,
    ):
        """Generate images from noise.

        Args:
            class_labels: int, list or int64 tensor [N]; None: the unconditional model.
            sampler: Heun and adaptive RK45 solve the probability-flow ODE. Predictor-corrector, reverse diffusion, Euler-Maruyama and ancestral solve the reverse SDE. Annealed Langevin is NCSN's.
            process: How the noise levels and the scale run in time: EDM (Karras et al. 2022), or VE, VP and sub-VP (Song et al. 2021). The network is the same.
            num_inference_steps: Noise levels of the sampler, fewer is faster; the adaptive RK45 finds its own.
            guidance_scale: Above 1 samples follow their class more closely and vary less; 0 ignores the class. Any value but 1 takes twice the time.
            churn: Fresh noise along the path, Heun only: 0 is deterministic, more corrects errors (Karras et al. 2022 alg. 2) and needs more steps.
            num_corrector_steps: Langevin steps at each noise level, predictor-corrector and annealed Langevin only.
            snr: Size of the corrector's steps as a signal-to-noise ratio, predictor-corrector only.
            tolerance: Error allowed in each step of the adaptive RK45, where pixels span 2.
            callback_on_step_end: called after each step as (pipe, step, timestep, {"pred_original_sample", "num_timesteps"}),
                the timestep being sigma; RK45 cannot know its steps beforehand and reports per cent.

        Returns:
            `ScoreSdeOutput` with N images and the number of evaluations of the denoiser for each.
        """
        path = self.scheduler.process(process)
        times = path.times(num_inference_steps)
        options: dict[str, Any] = {
            "heun": {"churn": churn},
            "rk45": {"tolerance": tolerance, "sigma_data": self.scheduler.config.sigma_data},
            "predictor-corrector": {"num_corrector_steps": num_corrector_steps, "snr": snr},
            "annealed langevin": {"num_corrector_steps": num_corrector_steps},
        }.get(sampler, {})
        size = self.config.sample_size
        y = path.sigma(times[0]) * self._noise((batch_size, self.config.channels, size, size), generator)
        denoise = Denoiser(self, labels, guidance_scale, clip=True)
        x = self._sample(denoise, y, sampler, path, times, generator, report, **options)
        return x, {"num_function_evaluations": denoise.evaluations()}

    @task(output=ScoreSdeOutput)
    def reconstruct(
        self,
        x,
        generator,
        labels,
        report,
        keep: Keep = "everything",
        method: Literal["ode", "noise"] = "ode",
        strength: Annotated[float, {"minimum": 0.05, "maximum": 1.0, "step": 0.05}] = 1.0,
        num_inference_steps: Levels = 20,
        guidance_scale: Annotated[float, {"minimum": 0.0, "maximum": 6.0, "step": 0.1}] = 1.0,
        churn: Annotated[float, {"minimum": 0.0, "maximum": 100.0, "step": 1.0}] = 10.0,
    ):
        """Take images into noise and back; or keep a part of them and generate the rest.

        Args:
            class_labels: int, list or int64 tensor [N], of the images, or of what is to be made of them; None: the unconditional model.
            keep: What of the image stays; all else is generated to fit. "structure" keeps the averages of small blocks, "brightness" the average of the colours, "everything" reconstructs.
            method: How "everything" is reconstructed: "ode" follows the probability-flow ODE to the noise that generates the image; "noise" adds random noise and denoises it (SDEdit), so that details are invented anew.
            strength: How far into the noise, 1 being all the way.
            num_inference_steps: Noise levels of Heun's method, each way.
            guidance_scale: Above 1 the generated parts follow the class more closely, if there is one; not used by "ode".
            churn: Fresh noise along the way, which fits the generated parts to the kept ones; not used by "ode".

        Returns:
            `ScoreSdeOutput` with N images and the number of evaluations of the denoiser for each.
        """
        x = x.float()
        sigmas = self._levels(num_inference_steps, strength)
        if keep == "everything" and method == "ode":
            denoise = Denoiser(self, labels)
            steps = len(sigmas) - 1
            x = self._follow(denoise, x, sigmas[::-1], report.part(0, 2 * steps))
            x = self._follow(denoise, x, sigmas, report.part(steps, 2 * steps))
        else:
            denoise = Denoiser(self, labels, guidance_scale, clip=True)
            if keep != "everything":
                denoise.known, denoise.projection = x, self._projection(keep)
            y = x + sigmas[0] * self._noise(x.shape, generator)
            if keep != "everything" and strength == 1:  # nothing of the open part shines through
                y = y - x + denoise.projection(x)
            x = self._sample(denoise, y, "heun", self.scheduler.process("edm"), sigmas, generator, report, churn=churn)
        return x, {"num_function_evaluations": denoise.evaluations()}

    @task(output=ScoreSdeOutput)
    def interpolate(
        self,
        a,
        b,
        num_frames,
        report,
        num_inference_steps: Levels = 20,
        strength: Annotated[float, {"minimum": 0.05, "maximum": 1.0, "step": 0.05}] = 1.0,
    ):
        """Interpolate between two images: both to noise along the ODE, an arc between the noises, and back.

        Song et al. 2021 sec. 4.3.

        Args:
            generator: not used: this path is deterministic.
            num_inference_steps: Noise levels of Heun's method, each way.
            strength: How far into the noise the path is drawn; less keeps closer to a blend of the two images.

        Returns:
            `ScoreSdeOutput` with M images and the number of evaluations of the way back.
        """
        sigmas = self._levels(num_inference_steps, strength)
        steps = len(sigmas) - 1
        y = self._follow(Denoiser(self), torch.cat([a, b]).float(), sigmas[::-1], report.part(0, 2 * steps))
        weights = torch.linspace(0, 1, num_frames, device=y.device, dtype=torch.float32)
        denoise = Denoiser(self)
        x = self._follow(denoise, slerp(y[:1], y[1:], weights), sigmas, report.part(steps, 2 * steps))
        return x, {"num_function_evaluations": denoise.evaluations()}

    @task
    def encode(self, x, labels, report, num_inference_steps: Levels = 20):
        """Encode images as the noise that generates them, along the probability-flow ODE: float32 [N, C, S, S].

        The code is y / sigma_max, which is about standard normal.

        Args:
            generator: not used: the ODE is deterministic.
            class_labels: int, list or int64 tensor [N], the class of each image, if known; `decode` then needs the same.
            num_inference_steps: Noise levels of Heun's method.
        """
        sigmas = self._levels(num_inference_steps, 1.0)
        return self._follow(Denoiser(self, labels), x.float(), sigmas[::-1], report) / sigmas[0]

    @task
    def decode(self, codes, labels, report, num_inference_steps: Levels = 20):
        """Generate images from noise along the probability-flow ODE: the way back of `encode`.

        Args:
            class_labels: as they were given to `encode`.
            num_inference_steps: Noise levels of Heun's method.
        """
        sigmas = self._levels(num_inference_steps, 1.0)
        return self._follow(Denoiser(self, labels), sigmas[0] * codes, sigmas, report)

    @task
    def anomaly_score(
        self,
        x,
        generator,
        labels,
        report,
        score: Score = "typicality",
        num_inference_steps: Annotated[int, {"minimum": 2, "maximum": 100, "step": 1}] = 10,
    ):
        """Measure how strange an image is to the model.

        Likelihood alone misleads: a model of clothes gives simple images of other things, digits for one, a *higher*
        density than clothes (Nalisnick et al. 2018). So the default asks not how dense the place is where the image lies,
        but whether the score field around it looks as around training images: at K noise levels the squared norms of
        the score (Mahmood et al. 2021 sec. 3), as logarithms, make a vector of features, and the score is its
        Mahalanobis distance d from the training images' (`fit`). Too simple and too complex are both far. The map is the
        mean of (sigma score)^2 over the levels: where the model would change the image.

        With an image's class y given, "likelihood" is -log p(x | y), "score norms" are those of the conditional network,
        and typicality is sqrt(d^2 + K max(m, 0)^2), where m is the class mismatch of `class_mismatch` in standard deviations
        above that of training images and their own classes (see `typicality_score`). Before `fit` has seen images with
        classes, m is in nats, as it is. The map is then the error of denoising the image conditional on the class. In
        "likelihood" and "score norms" the class has little effect.

        Args:
            generator: one `torch.Generator`, or a list with one for each image, of the noise of "likelihood" and of the class
                mismatch; None: seed 0 for each image.
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "typicality" is the distance from training images over many noise levels. "score norms" is the same measurement before calibration. "likelihood" is the negative log-likelihood, which takes digits for ordinary.
            num_inference_steps: Noise levels on the path of the likelihood; the others have their own.
        """
        x, callback = x.float(), report.callback
        if score == "likelihood":
            how = {"num_inference_steps": num_inference_steps, "callback_on_step_end": callback}
            return -self.log_likelihood(x, generator, labels, **how), None, "nats"
        if score == "score norms":
            features, maps = self.score_features(x, callback, labels)
            return features.exp().mean(dim=1), maps, "squared norm per pixel"
        mismatch, more = None, 0 if labels is None else len(CLASS_SIGMAS)
        features, maps = self.score_features(x, callback, num_more_steps=more)
        if labels is not None:
            mismatch, maps = self.class_mismatch(x, labels, generator, callback, len(FEATURE_SIGMAS))
            mismatch = mismatch.cpu().double()
        scores = typicality_score(features.cpu().double(), self.config.calibration, mismatch)
        return scores, maps, "Mahalanobis distance"

    @task
    def log_likelihood(
        self,
        x,
        generator,
        labels,
        report,
        solver: Literal["heun", "rk45"] = "heun",
        num_inference_steps: Levels = 20,
        tolerance: Annotated[float, {"minimum": 0.00001, "maximum": 0.1, "step": 0.00001}] = 0.001,
        num_probes: Annotated[int, {"minimum": 0, "maximum": 16, "step": 1}] = 1,
        dequantize: bool = True,
    ):
        """Compute log p(x) by the instantaneous change of variables along the probability-flow ODE.

        log p(x) = log N(y; 0, sigma_max^2 I) + int (d - tr dD/dy) d log sigma, over the path from x to y at sigma_max
        (Song et al. 2021 eq. 39).

        Args:
            generator: one `torch.Generator`, or a list with one for each image; None: seed 0 for each image.
            class_labels: int, list or int64 tensor [N], for log p(x | y); None: the unconditional model.
            solver: Heun at fixed noise levels, or the adaptive RK45.
            num_inference_steps: Noise levels of Heun's method.
            tolerance: Error allowed in each step of the RK45.
            num_probes: Random signs of the trace estimator (Song et al. 2021 eq. 40), unbiased with any number; 0: the exact trace, as slow as the image has dimensions.
            dequantize: Add uniform noise of one grey level of 256, so that the density bounds the probability of the 8-bit image.

        Returns:
            float32 [N]: nats per image, of the density of images in [-1, 1].
        """
        x, generator = x.float(), seeded(len(x)) if generator is None else generator
        if dequantize:
            x = dequantized(x, self._noise(x.shape, generator))
        x, probes = self._state(x), None
        if num_probes:
            probes = torch.stack([random_signs(self._noise(x.shape, generator)) for _ in range(num_probes)])
        evaluate = with_divergence(Denoiser(self, labels), probes)
        process = self.scheduler.process("edm")
        if solver == "heun":
            y, change = heun_path(evaluate, x, self.scheduler.levels(num_inference_steps)[::-1], report)
        else:
            ends, sigma_data = (process.stop, process.start), self.scheduler.config.sigma_data
            y, change = rk45_path(evaluate, x, *ends, tolerance, sigma_data, report)
        prior = torch.distributions.Normal(0.0, process.start).log_prob(y.double()).sum(dim=(1, 2, 3))
        return (prior + change).float()

    # ---- training ----

    def loss(self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0):
        """Return the loss of denoising score matching, lambda(sigma) |D(x_0 + sigma eps; sigma) - x_0|^2.

        Karras et al. 2022 eq. 8.

        Args:
            batch: "images" [B, C, S, S] in [-1, 1] and "class_labels" int64 [B] (-1: unknown) or None.
            generator: for the noise levels, the noise and the dropped labels, on the images' device.
            progress: not used.

        Returns:
            (scalar, {"mse": scalar, unweighted}), both means over pixels; lambda makes the first about 1 for a network
            that gives 0.
        """
        x0 = batch["images"]
        sigma = self.scheduler.training_sigmas(len(x0), generator, x0.device)
        eps = torch.randn(x0.shape, generator=generator, device=x0.device, dtype=x0.dtype)
        labels = self._training_labels(batch, generator)
        error = (self.denoise(x0 + sigma[:, None, None, None] * eps, sigma, labels) - x0).square().mean(dim=(1, 2, 3))
        return (self.scheduler.loss_weight(sigma) * error).mean(), {"mse": error.mean().detach()}
