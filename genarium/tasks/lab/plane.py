"""How a family learns points of the plane: the door through which a family enters the Lab.

A point is a picture of 1 x 1 pixel with two channels. So the pipeline learns and draws points by the very code by which it
learns and draws pictures. Only its networks are small ones for points. A family names a class derived from `Plane` in its
plugin (`Family(plane=...)`). The capabilities beyond learning and drawing are methods, as everywhere in this house: a view
of the Lab is offered where the class has the method that the view needs.

    method                               what it returns                                        views
    score(x, noise)                      grad log p_noise(x), [N, 2]                            score, langevin, error
    paths(number, steps, seed, noisy)    states on the way from noise to samples, [T, N, 2]     paths
    velocity(x, t)                       velocity of a flow at time t in [0, 1], [N, 2]         flow
    pairs(points, generator)             noise and data that are trained together, two [B, 2]   flow
    log_density(x)                       log p(x), nats, [N]                                    density
    height(x)                            a critic's score, [N]                                  critic
    restore(x)                           reconstruction of points, [N, 2]                       code
    lines()                              what the decoder makes of lines of codes, [L, T, 2]    code

All of these take and return float32 tensors in units of the plane.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import nn

from genarium.tasks.lab.frame import SIDE


class Plane(ABC):
    """A pipeline that learns points, and how it is trained.

    A subclass has a class method `build`, whose keyword parameters are the settings that the page shows: at most six, with
    annotations and lines of documentation as in the methods of a pipeline. It raises ValueError for settings that do not fit.

    Args:
        pipeline: with fresh weights, of the family's own class.

    Attributes:
        steps: optimizer steps of a training; good samples should take less than 15 seconds on two cores.
        batch_size: points of a step.
        learning_rate: of AdamW; it rises over 50 steps and then falls to 0 with a cosine.
        betas: of AdamW.
        averaging: decay of the moving average of the weights, by which all views are computed.
        stages: (name, share of the steps); each has its own schedule and begins with the averaged weights of the one before.
        scale: units of the plane in one unit of the pictures.
        drawing: options of the pipeline's call.
    """

    steps: int = 2000
    batch_size: int = 256
    learning_rate: float = 2e-3
    betas: tuple[float, float] = (0.9, 0.99)
    averaging: float = 0.995
    stages: tuple[tuple[str, float], ...] = (("", 1.0),)
    scale: ClassVar[float] = SIDE
    drawing: dict[str, Any]

    def __init__(self, pipeline: Any):
        self.pipeline = pipeline
        self.drawing = {}

    @classmethod
    @abstractmethod
    def build(cls) -> Plane:
        """Make a plane with fresh weights."""

    # ---- points and pictures ----

    def to_pictures(self, points: torch.Tensor) -> torch.Tensor:
        """Return points [N, 2] as pictures, float32 [N, 2, 1, 1]."""
        return (points / self.scale)[:, :, None, None]

    def to_points(self, pictures: torch.Tensor) -> torch.Tensor:
        """Return pictures [N, 2, 1, 1] as points, float32 [N, 2]."""
        return pictures.reshape(len(pictures), 2).float() * self.scale

    # ---- training ----

    def trainable(self, stage: str) -> dict[str, nn.Module]:
        """Return the modules that a stage trains, by name; by default all components of the pipeline."""
        return {name: part for name, part in self.pipeline.components.items() if isinstance(part, nn.Module)}

    def prepare(self, stage: str, points: torch.Tensor, generator: torch.Generator) -> None:  # noqa: B027  most need nothing
        """Do what comes before a stage.

        Args:
            points: the training data, [N, 2].
            generator: of the training.
        """

    def loss(self, points: torch.Tensor, generator: torch.Generator, progress: float, stage: str):
        """Return the pipeline's loss for points [B, 2]: scalar, {name: scalar}.

        Args:
            generator: of all draws.
            progress: part of the stage that is done, 0 ... 1.
        """
        batch = {"images": self.to_pictures(points), "class_labels": None}
        return self.pipeline.loss(batch, generator, progress)

    def refresh(self, points: torch.Tensor) -> None:  # noqa: B027  most need nothing
        """Do what must come before samples are drawn, with the weights as they are now, such as a fit to the codes.

        Args:
            points: some training data, [N, 2].
        """

    # ---- drawing ----

    def sample(self, number: int, generator: torch.Generator, callback: Any = None) -> torch.Tensor:
        """Draw samples, float32 [number, 2].

        Args:
            generator: of all draws.
            callback: `callback_on_step_end` of the pipeline.
        """
        options = dict(self.drawing)
        if callback is not None:
            options["callback_on_step_end"] = callback
        images = self.pipeline(number, generator=generator, output_type="pt", **options).images
        return self.to_points(2 * images - 1)
