"""Views of an estimated score: beside the true one, at work in Langevin dynamics, and where it is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
import torch

from genarium.tasks.lab.frame import SIDE, Layer
from genarium.tasks.lab.views.scene import Drawing, Moment, Scene, View, grid, places, shortened, tensor
from pipelines.score_samplers import ncsn_step_size

LEAST, GREATEST = 0.05, 4.0  # noise levels of the sliders, in units of the plane
ARROWS, CELLS = 21, 61  # of the grids
LEVELS = 16
WALKERS, TAIL = 300, 12
STEPS_PER_LEVEL, WALK = 6, 96
MEASURED = 4000  # points at which the error is measured
Noise = Annotated[float, {"minimum": LEAST, "maximum": GREATEST, "step": 0.05}]


def noise_levels(number: int) -> np.ndarray:
    """Return falling noise levels in geometric steps, from GREATEST to LEAST."""
    return np.geomspace(GREATEST, LEAST, number)


def sigma(noise: float) -> str:
    """Return the label of a noise level."""
    return f"σ = {noise:.2f}"


def score_error(scene: Scene, noise: float) -> float:
    """Measure the error of the estimated score: E |s - s*|^2 / E |s*|^2 over p_noise, which is 0 for the true score.

    A score of 0 everywhere has the error 1.
    """
    random = np.random.default_rng(scene.seed + 1)
    x = scene.density.draw(MEASURED, random) + noise * random.standard_normal((MEASURED, 2))
    true = scene.density.score(x, noise)
    learnt = scene.plane.score(tensor(x), noise).numpy()
    return float(np.square(learnt - true).sum() / np.square(true).sum())


class Score(View):
    """The estimated score at a noise level, beside the true one.

    An arrow is sigma^2 score, which leads to the mean of the clean points that the noisy one may come from. Long arrows are
    shortened to the distance of the grid's points, those of both scores alike.
    """

    name = "score"
    needs = ("score",)
    live = True

    def draw(self, scene: Scene, samples: np.ndarray, noise: float = 0.5) -> Drawing:
        """Return both scores at one noise level."""
        feet = grid(ARROWS)
        cell = 2 * SIDE / (ARROWS - 1)
        learnt = noise**2 * scene.plane.score(tensor(feet), noise).numpy()
        true = noise**2 * scene.density.score(feet, noise)
        layers = (
            Layer("true_score", "arrows", shortened(true, cell), "truth", feet),
            Layer("learnt_score", "arrows", shortened(learnt, cell), "model", feet),
        )
        return Drawing(layers, {"score_error": score_error(scene, noise)})

    def moments(self, scene: Scene, samples: np.ndarray, noise: Noise = 0.5) -> Iterator[Moment]:
        """Return the scores from much noise to little.

        Args:
            noise: Deviation of the noise on the data while the model learns; afterwards the slider runs through all levels.
        """
        for place, level in zip(places(LEVELS), noise_levels(LEVELS), strict=True):
            yield Moment(self.draw(scene, samples, float(level)), place, sigma(level))


class Langevin(View):
    """Walkers that follow the score: x <- x + a score(x) + sqrt(2 a) z (Song and Ermon 2019, alg. 1)."""

    name = "langevin"
    needs = ("score",)

    def moments(
        self,
        scene: Scene,
        samples: np.ndarray,
        levels: Literal["many", "one"] = "many",
        noise: Noise = 0.1,
        random_steps: bool = True,
        whose: Literal["learnt", "true"] = "learnt",
    ) -> Iterator[Moment]:
        """Return walkers that begin anywhere in the square.

        Args:
            levels: Annealed over many noise levels, or at one level from beginning to end.
            noise: The one level.
            random_steps: Whether every step has noise of its own; without it the walkers run into the modes.
            whose: Whose score they follow: the model's, or the true one.
        """
        generator = scene.generator()
        x = (2 * torch.rand(WALKERS, 2, generator=generator) - 1) * SIDE
        way = noise_levels(LEVELS) if levels == "many" else np.full(LEVELS, noise)
        # of NCSN's technique 4 for many levels; one level has no ratio, and takes the same small steps all along
        part = ncsn_step_size(float(way[0] / way[1]), STEPS_PER_LEVEL) if levels == "many" else 0.1
        trail = [x]
        total = LEVELS * STEPS_PER_LEVEL
        for i in range(total):
            level = float(way[i // STEPS_PER_LEVEL])
            step = part * level**2
            drift = scene.plane.score(x, level) if whose == "learnt" else tensor(scene.density.score(x.numpy(), level))
            x = x + step * drift
            if random_steps:
                x = x + math.sqrt(2 * step) * torch.randn(x.shape, generator=generator)
            trail.append(x)
            if i % 2:
                tails = torch.stack(trail[-TAIL:], 1).numpy()
                layers = (Layer("walkers", "paths", tails), Layer("walkers", "points", x.numpy()))
                far = np.mean(scene.density.log_density(x.numpy(), 0.2) < math.log(1e-3))
                figures = {"walkers_far_from_data": float(far)}
                yield Moment(Drawing(layers, figures), (i + 1) / total, sigma(level), x.numpy())


class Error(View):
    """Where the estimated score is wrong: its relative error over the square, with contours of the data's density."""

    name = "error"
    needs = ("score",)

    def draw(self, scene: Scene, samples: np.ndarray, noise: float = LEAST) -> Drawing:
        """Return the error at one noise level, as a part of what the score is there, at most 2."""
        points = grid(CELLS)
        learnt = scene.plane.score(tensor(points), noise).numpy()
        true = scene.density.score(points, noise)
        size = np.linalg.norm(true, axis=1) + 1 / max(
            noise, 0.5
        )  # where the score vanishes, no part can be taken of it
        error = np.minimum(np.linalg.norm(learnt - true, axis=1) / size, 2.0)
        density = np.exp(scene.density.log_density(points, noise))
        near = density > 0.02 * density.max()
        layers = (
            Layer("score_error", "field", error.reshape(CELLS, CELLS), "error"),
            Layer("noisy_density", "field", density.reshape(CELLS, CELLS), "truth", contours=_levels(density)),
        )
        figures = {"error_near_data": float(error[near].mean())}
        if not near.all():  # under much noise, data are everywhere
            figures["error_far_from_data"] = float(error[~near].mean())
        return Drawing(layers, figures)

    def moments(self, scene: Scene, samples: np.ndarray) -> Iterator[Moment]:
        """Return the error from little noise to much."""
        for place, level in zip(places(LEVELS), noise_levels(LEVELS)[::-1], strict=True):
            yield Moment(self.draw(scene, samples, float(level)), place, sigma(level))


def _levels(density: np.ndarray) -> tuple[float, ...]:
    """Return levels of contour lines, as parts of the greatest density."""
    return tuple(float(part * density.max()) for part in (0.02, 0.1, 0.3, 0.6))
