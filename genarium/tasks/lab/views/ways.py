"""Views of the way from noise to samples: reverse SDE and ODE, and the lines of a flow."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
import torch

from genarium.tasks.lab.frame import SIDE, Layer
from genarium.tasks.lab.views.scene import Drawing, Moment, Scene, View, grid, tensor

FAR = 2 * SIDE  # half the side of the square in which a flow's noise has room
ARROWS = 21
COUPLED = 64
TAIL = 24


class Paths(View):
    """Paths of the reverse SDE and of its ODE, which begin at the same noise."""

    name = "paths"
    needs = ("paths",)

    def moments(
        self,
        scene: Scene,
        samples: np.ndarray,
        kind: Literal["both", "ode", "sde"] = "both",
        steps: Annotated[int, {"minimum": 5, "maximum": 200, "step": 5}] = 60,
        number: Annotated[int, {"minimum": 1, "maximum": 200, "step": 1}] = 40,
    ) -> Iterator[Moment]:
        """Return the paths as they grow.

        Args:
            kind: Which paths are drawn.
            steps: Steps of each path.
            number: How many paths.
        """
        ways = {}
        for name, noisy in (("ode", False), ("sde", True)):
            if kind in ("both", name):
                ways[name] = scene.plane.paths(number, steps, scene.seed, noisy).numpy()
        length = min(len(way) for way in ways.values())
        for i in range(length):
            layers = []
            for name, way in ways.items():
                role: Literal["truth", "model"] = "truth" if name == "ode" else "model"
                layers.append(Layer(f"{name}_paths", "paths", way[: i + 1].transpose(1, 0, 2), role))
            ends = [way[i] for way in ways.values()]
            yield Moment(Drawing(tuple(layers)), i / (length - 1), f"{i} / {length - 1}", np.concatenate(ends))


class Flow(View):
    """The velocity of a flow, the lines that samples take, and the straight lines that the training brings together."""

    name = "flow"
    needs = ("velocity", "pairs")
    live = True

    def draw(self, scene: Scene, samples: np.ndarray, show: str = "flow", steps: int = 40, number: int = 60) -> Drawing:
        """Return the whole lines."""
        if show == "pairs":
            return self._pairs(scene)
        return self._lines(scene, self._follow(scene, number, steps))

    def moments(
        self,
        scene: Scene,
        samples: np.ndarray,
        show: Literal["flow", "pairs"] = "flow",
        steps: Annotated[int, {"minimum": 1, "maximum": 100, "step": 1}] = 40,
        number: Annotated[int, {"minimum": 1, "maximum": 200, "step": 1}] = 60,
    ) -> Iterator[Moment]:
        """Return the lines as they grow, with the velocity at their time.

        Args:
            show: What is drawn: the lines of the flow, or the pairs of noise and data that the training brings together.
            steps: Euler steps along a line.
            number: How many lines.
        """
        if show == "pairs":
            yield Moment(self._pairs(scene), 1.0)
            return
        way = self._follow(scene, number, steps)
        feet = grid(ARROWS, FAR)
        cell = 2 * FAR / (ARROWS - 1)
        for i in range(len(way)):
            t = 1 - i / steps
            arrows = -scene.plane.velocity(tensor(feet), t).numpy()  # towards the data
            arrows *= cell / max(float(np.linalg.norm(arrows, axis=1).max()), 1e-6)
            drawing = self._lines(scene, way[: i + 1], way)
            layers = (Layer("velocity", "arrows", arrows, "model", feet), *drawing.layers)
            moment = Drawing(layers, drawing.figures, FAR)
            yield Moment(moment, i / steps, f"t = {t:.2f}", way[i])

    def _follow(self, scene: Scene, number: int, steps: int) -> np.ndarray:
        """Return lines from noise at t = 1 to samples at t = 0 by Euler steps, [T, N, 2]."""
        x = scene.plane.scale * torch.randn(number, 2, generator=scene.generator())
        way = [x]
        for i in range(steps):
            x = x - scene.plane.velocity(x, 1 - i / steps) / steps
            way.append(x)
        return torch.stack(way).numpy()

    def _lines(self, scene: Scene, way: np.ndarray, whole: np.ndarray | None = None) -> Drawing:
        """Return lines with their bend: how much longer they are than straight ones, on average."""
        whole = way if whole is None else whole
        length = np.linalg.norm(np.diff(whole, axis=0), axis=2).sum(0)
        chord = np.linalg.norm(whole[-1] - whole[0], axis=1)
        figures = {"bend": float((length / np.maximum(chord, 1e-9) - 1).mean())}
        return Drawing((Layer("flow_lines", "paths", way.transpose(1, 0, 2)),), figures, FAR)

    def _pairs(self, scene: Scene) -> Drawing:
        """Return the pairs of one batch, and the mean length of their lines."""
        noise, data = scene.plane.pairs(tensor(scene.data[:256]), scene.generator())
        lines = torch.stack([noise, data], 1).numpy()
        figures = {
            "mean_length": float(np.linalg.norm(lines[:, 1] - lines[:, 0], axis=1).mean()),
            "crossings": float(crossings(lines[:COUPLED])),
        }
        return Drawing((Layer("pairs", "paths", lines[:COUPLED], "data"),), figures, FAR)


def crossings(lines: np.ndarray) -> int:
    """Count the pairs of straight lines [N, 2, 2] that meet at the same time: |difference| passes near 0 on the way.

    Two points that move evenly from a_i to b_i are at the same time within a tenth of their distances' mean.
    """
    start = lines[:, None, 0] - lines[None, :, 0]  # [N, N, 2]
    change = lines[:, None, 1] - lines[None, :, 1] - start
    t = np.clip(-(start * change).sum(2) / np.maximum((change**2).sum(2), 1e-12), 0, 1)
    nearest = np.linalg.norm(start + t[..., None] * change, axis=2)
    first, last = np.linalg.norm(start, axis=2), np.linalg.norm(start + change, axis=2)
    near = nearest < 0.1 * (first + last) / 2
    return int(np.triu(near, 1).sum())
