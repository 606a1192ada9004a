"""What every view of the Lab is made of: the scene that it looks at, and what it draws."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from genarium.tasks.controls import Control, function_controls
from genarium.tasks.lab.densities import Density
from genarium.tasks.lab.frame import SIDE, Layer
from genarium.tasks.lab.plane import Plane


@dataclass(frozen=True)
class Scene:
    """A model with its data.

    Args:
        plane: the model.
        density: of the data, exact.
        data: points of the data that the model has not seen, float32 [1000, 2].
        seed: of all draws.
    """

    plane: Any  # a Plane; which methods it has is for the views to know
    density: Density
    data: np.ndarray
    seed: int

    def generator(self) -> torch.Generator:
        """Return a fresh generator with the scene's seed."""
        return torch.Generator().manual_seed(self.seed)


@dataclass(frozen=True)
class Drawing:
    """What a view draws: layers from the back to the front, figures, and half the side of the square."""

    layers: tuple[Layer, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    side: float = SIDE


@dataclass(frozen=True)
class Moment:
    """A drawing at a place of the view's clock.

    Args:
        drawing: what is to be seen.
        place: 0 ... 1, where the slider stands.
        label: the place in the view's own terms.
        samples: [N, 2], where they differ from the model's samples.
    """

    drawing: Drawing
    place: float
    label: str = ""
    samples: np.ndarray | None = None


class View(ABC):
    """One way to look at a model. The keyword parameters of `moments` with a default are the view's controls.

    Attributes:
        name: of the view, in questions and as a key of texts.
        needs: methods that the plane must have.
        live: whether `draw` shows something while the model learns.
    """

    name = ""
    needs: tuple[str, ...] = ()
    live = False

    def fits(self, plane: type[Plane]) -> bool:
        """Return whether planes of this class can be looked at in this way."""
        return all(callable(getattr(plane, need, None)) for need in self.needs)

    @functools.cached_property
    def controls(self) -> dict[str, Control]:
        """The view's controls, by name."""
        return function_controls(self.moments, f"view {self.name}", {"scene", "samples"})

    def draw(self, scene: Scene, samples: np.ndarray) -> Drawing:
        """Return what is drawn in one frame of a training. A view with controls takes them here, too.

        Args:
            scene: the model as it is.
            samples: its samples, [N, 2].
        """
        return Drawing()

    @abstractmethod
    def moments(self, scene: Scene, samples: np.ndarray) -> Iterator[Moment]:
        """Return what is shown after the training, moment by moment.

        Args:
            scene: the model.
            samples: its samples, [N, 2].
        """

    def drawn(self, scene: Scene, samples: np.ndarray, options: Mapping[str, Any]) -> Drawing:
        """Return what `draw` returns for a value of each control."""
        draw: Callable[..., Drawing] = self.draw
        return draw(scene, samples, **options) if self.live else Drawing()

    def shown(self, scene: Scene, samples: np.ndarray, options: Mapping[str, Any]) -> Iterator[Moment]:
        """Return what `moments` returns for a value of each control."""
        moments: Callable[..., Iterator[Moment]] = self.moments
        return moments(scene, samples, **options)


def grid(number: int, side: float = SIDE) -> np.ndarray:
    """Return the points of a square grid, row by row from the bottom: float32 [number^2, 2]."""
    line = np.linspace(-side, side, number)
    x, y = np.meshgrid(line, line)
    return np.stack([x, y], 2).reshape(-1, 2).astype(np.float32)


def tensor(points: np.ndarray) -> torch.Tensor:
    """Return points as a float32 tensor."""
    return torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32))


def places(number: int) -> list[float]:
    """Return `number` even places of a slider, from 0 to 1."""
    return np.linspace(0, 1, number).tolist()


def shortened(arrows: np.ndarray, longest: float) -> np.ndarray:
    """Return arrows [M, 2] in their own directions, none longer than `longest`: a length r becomes longest tanh(r / longest)."""
    length = np.linalg.norm(arrows, axis=1, keepdims=True)
    return arrows * (longest * np.tanh(length / longest) / np.maximum(length, 1e-12))
