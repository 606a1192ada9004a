"""Views of what a model has over the plane: a density, a critic's height, the code of an auto-encoder."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from genarium.tasks.lab.frame import SIDE, Layer
from genarium.tasks.lab.views.scene import Drawing, Moment, Scene, View, grid, shortened, tensor

CELLS, ARROWS = 61, 21
PARTS = (0.02, 0.1, 0.3, 0.6)  # contour lines, as parts of the greatest true density
BLUR = 0.05  # of the true density where it has edges
SHOWN = 150  # reconstructions


class Density(View):
    """Contours of the model's density beside those of the data's."""

    name = "density"
    needs = ("log_density",)

    def draw(self, scene: Scene, samples: np.ndarray) -> Drawing:
        """Return both densities, and the mean log-likelihood of data under both in nats."""
        points = grid(CELLS)
        true = np.exp(scene.density.log_density(points, BLUR)).reshape(CELLS, CELLS)
        model = np.exp(scene.plane.log_density(tensor(points)).numpy()).reshape(CELLS, CELLS)
        levels = tuple(float(part * true.max()) for part in PARTS)
        layers = (
            Layer("model_density", "field", model, "model", contours=levels),
            Layer("true_density", "field", true, "truth", contours=levels),
        )
        figures = {
            "log_likelihood": float(scene.plane.log_density(tensor(scene.data)).mean()),
            "true_log_likelihood": float(scene.density.log_density(scene.data).mean()),
            "mass_in_square": float(model.sum() * (2 * SIDE / (CELLS - 1)) ** 2),
        }
        return Drawing(layers, figures)

    def moments(self, scene: Scene, samples: np.ndarray) -> Iterator[Moment]:
        """Return the densities."""
        yield Moment(self.draw(scene, samples), 1.0)


class Critic(View):
    """The critic as a height field, with its slope, which is where the generator is drawn to."""

    name = "critic"
    needs = ("height",)
    live = True

    def draw(self, scene: Scene, samples: np.ndarray) -> Drawing:
        """Return the height, its slope, and what the critic takes for the distance of samples from data."""
        points = grid(CELLS)
        height = scene.plane.height(tensor(points)).numpy().reshape(CELLS, CELLS)
        cell = 2 * SIDE / (CELLS - 1)
        by_y, by_x = np.gradient(height, cell)
        every = (CELLS - 1) // (ARROWS - 1)
        slope = np.stack([by_x[::every, ::every], by_y[::every, ::every]], 2).reshape(-1, 2)
        feet = grid(ARROWS)
        steep = np.linalg.norm(np.stack([by_x, by_y], 2), axis=2)
        real = scene.plane.height(tensor(scene.data)).numpy()
        drawn = scene.plane.height(tensor(samples)).numpy()
        figures = {"critic_distance": float(real.mean() - drawn.mean()), "mean_slope": float(steep.mean())}
        # Divided by the greatest slope, it is a lower bound of W1 (the dual of Kantorovich and Rubinstein).
        figures["bound_on_w1"] = figures["critic_distance"] / max(float(steep.max()), 1e-9)
        longest = 2 * SIDE / (ARROWS - 1)
        unit = longest / max(float(np.linalg.norm(slope, axis=1).mean()), 1e-9)
        layers = (
            Layer("critic_height", "field", height - height.mean(), "model", signed=True),
            Layer("critic_slope", "arrows", shortened(slope * unit / 2, longest), "model", feet),
        )
        return Drawing(layers, figures)

    def moments(self, scene: Scene, samples: np.ndarray) -> Iterator[Moment]:
        """Return the critic at the end of the training."""
        yield Moment(self.draw(scene, samples), 1.0)


class Code(View):
    """The code of an auto-encoder as curves through the plane, and where it puts points of the data."""

    name = "code"
    needs = ("restore", "lines")
    live = True

    def draw(self, scene: Scene, samples: np.ndarray) -> Drawing:
        """Return lines of codes, and data with their reconstructions."""
        curves = scene.plane.lines().numpy()
        restored = scene.plane.restore(tensor(scene.data)).numpy()
        pairs = np.stack([scene.data, restored], 1)[:SHOWN]
        one = curves.shape[0] == 1
        code = Layer("code_curve", "curve", curves[0]) if one else Layer("code_grid", "paths", curves)
        hollow = np.exp(scene.density.log_density(curves.reshape(-1, 2), 0.1))
        data = np.exp(scene.density.log_density(scene.data, 0.1))
        figures = {
            "reconstruction_error": float(np.linalg.norm(restored - scene.data, axis=1).mean()),
            "code_in_holes": float(np.mean(hollow < np.quantile(data, 0.01))),
        }
        return Drawing((Layer("restored", "paths", pairs, "data"), code), figures)

    def moments(self, scene: Scene, samples: np.ndarray) -> Iterator[Moment]:
        """Return the code at the end of the training."""
        yield Moment(self.draw(scene, samples), 1.0)
