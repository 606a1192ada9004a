"""How likely and how typical an image is to a flow on pixels: the log-likelihood, and the typicality of its features.

    log p_0(x_0) = log N(x_1; 0, I) + int_0^1 div v(x_t, t) dt      Chen et al. 2018 eq. 8

The density is that of images in [-1, 1]; an 8-bit level is 2 / 255 wide.

Papers:
    Chen et al.: Neural Ordinary Differential Equations, 2018, https://arxiv.org/abs/1806.07366
    Grathwohl et al.: FFJORD, 2019, https://arxiv.org/abs/1810.01367 (Hutchinson's estimate of the divergence)
    Nalisnick et al.: Do Deep Generative Models Know What They Don't Know?, 2019, https://arxiv.org/abs/1810.09136
    Morningstar et al.: Density of States Estimation for Out-of-Distribution Detection, 2021,
        https://arxiv.org/abs/2006.09273
    Mahmood et al.: Multiscale Score Matching for Out-of-Distribution Detection, 2021, https://arxiv.org/abs/2010.13132
    Li et al.: Your Diffusion Model is Secretly a Zero-Shot Classifier, 2023, https://arxiv.org/abs/2303.16203
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Literal

import torch

from pipelines.family import Generators, Report, seeded
from pipelines.images import ImageFamilyMixin, task
from pipelines.likelihood import dequantized, log_standard_normal, random_signs, with_trace
from pipelines.ode import dormand_prince, midpoint, reported_in_parts
from pipelines.typicality import calibrate, floored_log, log_error_ratio, typicality_score
from pipelines.velocity import (
    ERROR_TIMES,
    SCORE_TIMES,
    from_velocity,
    noise_seen,
    noise_statistics,
    velocity_errors,
)

Solver = Literal["midpoint", "rk45"]
Steps = Annotated[int, {"minimum": 1, "maximum": 250, "step": 1}]
Tolerance = Annotated[float, {"minimum": 1e-5, "maximum": 0.1, "step": 1e-5}]

RK45_REPORTS = 20  # the adaptive solver reports twentieths of the way
CALIBRATED_STEPS = 8  # of the way into noise
FEATURES = (
    *(f"log error at {t}" for t in ERROR_TIMES),
    *(f"log score norm at {t}" for t in SCORE_TIMES),
    *("divergence", "latent norm", "latent row correlation", "latent column correlation"),
)


def number_of_reports(sampler: str, num_inference_steps: int) -> int:
    """Return how often a solver reports.

    Raises:
        ValueError: an unknown sampler, or fewer than one step.
    """
    if num_inference_steps < 1:
        raise ValueError(f"num_inference_steps: needs at least 1, not {num_inference_steps}.")
    numbers = {"euler": num_inference_steps, "midpoint": num_inference_steps, "rk45": RK45_REPORTS}
    numbers["heun"] = 2 * num_inference_steps - 1  # diffusers counts both evaluations of a step
    if sampler not in numbers:
        raise ValueError(f"sampler: choose {', '.join(numbers)}, not {sampler!r}.")
    return numbers[sampler]


class FlowDensityMixin(ImageFamilyMixin):
    """Likelihood and typicality of a `DiffusionPipeline` with a velocity field on pixels."""

    likelihood_kind = "estimate"  # Hutchinson's, along an ODE that is solved in steps
    _velocity: Callable[..., torch.Tensor]  # (x [N, C, S, S], t [N], labels [N] or None) -> float32 [N, C, S, S]

    # ---- likelihood ----

    @task
    def log_likelihood(
        self,
        x,
        generator,
        labels,
        report,
        sampler: Solver = "midpoint",
        num_inference_steps: int = 50,
        tolerance: float = 1e-3,
        divergence: Literal["hutchinson", "exact"] = "hutchinson",
        num_samples: int = 1,
        dequantize: bool = True,
    ):
        """Measure log p(x) by the instantaneous change of variables (Chen et al. 2018 eq. 8).

        Args:
            generator: one `torch.Generator`, or a list with one for each image; None: seed 0 for each image.
            class_labels: for log p(x | y); None: log p(x) of the unconditional model.
            sampler: the midpoint rule, whose steps shorten towards the image, or RK45.
            num_inference_steps: steps of the midpoint rule.
            tolerance: of RK45.
            divergence: Hutchinson's unbiased estimate, or the exact trace by D gradients a step, for small images.
            num_samples: random directions of Hutchinson's estimate; each holds for the whole path.
            dequantize: add uniform noise of one 8-bit level's width, so that the mean over the noise is a lower bound of
                the log-probability of the 8-bit image (plus D log(2 / 255)); leave it out for data that are no bytes.

        Returns:
            float32 [N] in nats: the log-density on the [-1, 1] scale.
        """
        if num_samples < 1:
            raise ValueError(f"num_samples: needs at least 1, not {num_samples}.")
        generator = seeded(len(x)) if generator is None else generator
        x_0, probes = x.float(), None
        if dequantize:
            x_0 = dequantized(x_0, self._float_noise(x, generator))
        if divergence == "hutchinson":
            probes = torch.stack([random_signs(self._float_noise(x, generator)) for _ in range(num_samples)])
        x_1, integral = self._encode_with_divergence(
            x_0, labels, probes, sampler, num_inference_steps, tolerance, report
        )
        return log_standard_normal(x_1) + integral

    def _float_noise(self, x: torch.Tensor, generator: Generators) -> torch.Tensor:
        """Return standard normal noise of x's shape in float32."""
        return self._randn(x.shape, generator).float()

    def _encode_with_divergence(
        self,
        x: torch.Tensor,
        labels: torch.Tensor | None,
        probes: torch.Tensor | None,
        sampler: str,
        num_inference_steps: int,
        tolerance: float,
        report: Report,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Follow images float32 [N, C, S, S] into noise [N, C, S, S], and integrate the divergence on the way [N].

        The state of the solver is both of them, [N, D + 1].

        Args:
            probes: random signs [K, N, C, S, S], see `with_trace`; None: the exact divergence.
        """
        number = number_of_reports(sampler, num_inference_steps)

        def field(state: torch.Tensor, t: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
            def velocity(x: torch.Tensor) -> torch.Tensor:
                return self._velocity(x, t, None if labels is None else labels[rows])

            x_t = state[:, :-1].reshape(-1, *x.shape[1:])
            v, trace = with_trace(velocity, x_t, None if probes is None else probes[:, rows])
            return torch.cat([v.flatten(1), trace[:, None]], dim=1)

        def after_step(step: int, t: torch.Tensor, state: torch.Tensor, slope: torch.Tensor) -> None:
            x_0 = from_velocity("x0", slope[:, :-1], state[:, :-1], t[:, None]).reshape(x.shape)
            report(step, t.mean().item() * 1000, number, x_0)

        state = torch.cat([x.flatten(1), x.new_zeros((len(x), 1))], dim=1)
        if sampler == "midpoint":
            # The divergence grows like 1 / t towards the image, where smooth regions are known to within t.
            times = torch.linspace(0, 1, num_inference_steps + 1, dtype=torch.float64) ** 3
            state = midpoint(field, state, times.tolist(), after_step)
        else:
            state = dormand_prince(field, state, 0.0, 1.0, tolerance, reported_in_parts(after_step, number))
        return state[:, :-1].reshape(x.shape), state[:, -1]

    # ---- typicality ----

    @task
    def anomaly_score(
        self,
        x,
        generator,
        labels,
        report,
        score: Literal["typicality", "likelihood", "velocity"] = "typicality",
        num_inference_steps: Steps = CALIBRATED_STEPS,
    ):
        """Measure how strange an image is to the model.

        A model may find simple strangers *more* likely than its own data (Nalisnick et al. 2019). The typicality score
        therefore asks whether an image is like the training images in several statistics at once (Morningstar et al.
        2021), in either direction: errors of the velocity and norms of the score (Mahmood et al. 2021) at several times,
        and, from the way into noise, the divergence, the norm of the noise and the correlation of its neighbours. It is
        their Mahalanobis distance d from the training images, by the mean and covariance that `fit` found. Before `fit` it
        is their plain norm.

        With a class given, "likelihood" is -log p(x | y), "velocity" is the error of the conditional network, and
        typicality is sqrt(d^2 + F max(m, 0)^2). F is the number of statistics. m says how much less the class helps than it
        helps training images of their own class, in standard deviations. The help is the mean over the times of
        log(error without the class / error given the class), with the same noise added, as a diffusion classifier compares
        them (Li et al. 2023 sec. 3). A class that helps one deviation less than usual adds F, which is the mean of d^2 over
        training images. No class makes an image less strange. Before `fit` has seen images with classes, m is in nats. In
        "likelihood" the class has little effect beside the rest.

        The maps show (x_0 - x_0_hat)^2, mean over the times, of the network conditional on the class if one is given. The
        likelihood has none.

        Args:
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "typicality" is high for images unlike the training images in any direction, also for all too simple ones. "likelihood" is the negative log-likelihood. "velocity" is the mean error of the predicted velocities.
            num_inference_steps: Steps on the way into noise ("velocity" takes none); typicality is calibrated for the default.
        """
        if score == "likelihood":
            how = {"num_inference_steps": num_inference_steps, "callback_on_step_end": report.callback}
            return -self.log_likelihood(x, generator, labels, **how), None, "nats"
        if score == "velocity":
            (errors,), (maps,) = self._velocity_errors(x, [labels], generator, report)
            return errors.mean(1), maps, "mean squared error"
        features, mismatch, maps = self._features(x, labels, generator, num_inference_steps, report)
        return typicality_score(features, self.config.typicality, mismatch), maps, "Mahalanobis distance"

    def _velocity_errors(
        self, x: torch.Tensor, conditions: list[torch.Tensor | None], generator: Generators, report: Report
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Measure `velocity_errors` of images [N, C, S, S]."""

        def after_time(i: int, time: float, x_0: torch.Tensor) -> None:
            report(i, time * 1000, len(ERROR_TIMES), x_0)

        return velocity_errors(
            self._velocity, x.float(), conditions, lambda: self._float_noise(x, generator), after_time
        )

    def _features(
        self,
        x: torch.Tensor,
        labels: torch.Tensor | None,
        generator: Generators,
        num_inference_steps: int,
        report: Report,
    ) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]:
        """Measure the FEATURES of images [N, C, S, S], which do not depend on labels, and how badly the labels fit.

        Returns:
            (features, float64 [N, F] on the CPU; `log_error_ratio` [N], None without labels; maps [N, S, S]).
        """
        total = num_inference_steps + len(ERROR_TIMES)
        x_0 = dequantized(x.float(), self._float_noise(x, generator))
        probes = random_signs(self._float_noise(x, generator))[None]
        encoding = report.part(0, total)
        noise, integral = self._encode_with_divergence(
            x_0, None, probes, "midpoint", num_inference_steps, 0.0, encoding
        )
        conditions: list[torch.Tensor | None] = [None] if labels is None else [None, labels]
        (errors, *conditional), maps = self._velocity_errors(
            x, conditions, generator, report.part(num_inference_steps, total)
        )
        seen = noise_seen(self._velocity, x.float())
        features = [
            *floored_log(errors).unbind(1),
            *(floored_log((n / t).square().mean((1, 2, 3))) / 2 for t, n in zip(SCORE_TIMES, seen, strict=True)),
            integral / x[0].numel(),
            *noise_statistics(noise),
        ]
        mismatch = log_error_ratio(conditional[0], errors) if conditional else None
        return torch.stack(features, dim=1).cpu().double(), mismatch, maps[-1]

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Calibrate the typicality score with training images, and keep mean and precision in the configuration.

        With labels, mean and standard deviation of how badly their own class fits them are kept too.

        Args:
            batches: of `{"images", "class_labels"}`, one pass over the training data.

        Raises:
            ValueError: fewer than two images.
        """

        def measure(
            images: torch.Tensor, labels: torch.Tensor | None, generators: list[torch.Generator]
        ) -> tuple[torch.Tensor, torch.Tensor | None]:
            x = self._to_tensor(images)
            labels = None if labels is None else labels.to(x.device)
            return self._features(x, labels, generators, CALIBRATED_STEPS, Report(self, None))[:2]

        known = calibrate(batches, bool(self.config.id2label), measure)
        self.register_to_config(typicality={"features": list(FEATURES), **known})
