"""The film of a Markov chain: states on its way, evenly spread over the steps, so that one can see it move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from pipelines.images import ImagesOutput

FRAMES = 48  # of a film; a chain that makes fewer steps is shown whole


@dataclass
class FilmOutput(ImagesOutput):
    """Images, and how each came about.

    Args:
        frames: uint8 [N, F, C, S, S], the states of each chain; None for fewer than two.
        frame_steps: F numbers of steps, from 1, after which the states were taken.
    """

    frames: torch.Tensor | None = None
    frame_steps: list[int] | None = None


class Film:
    """Takes the states of chains at evenly spread steps, the first and the last among them.

    Args:
        steps: that the chains will make.
        frames: F, at most.
    """

    def __init__(self, steps: int, frames: int = FRAMES):
        last, number = steps - 1, min(steps, frames)
        self.wanted = {round(i * last / max(number - 1, 1)) for i in range(number)}
        self.frames: list[torch.Tensor] = []
        self.steps: list[int] = []

    def wants(self, step: int) -> bool:
        """Return whether the state after a step, from 0, is a frame."""
        return step in self.wanted

    def take(self, step: int, x: torch.Tensor) -> None:
        """Keep the pictures x [N, C, S, S] in [-1, 1] if the step is a frame."""
        if self.wants(step):
            self.frames.append(((x.float() / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).cpu())
            self.steps.append(step + 1)

    def fields(self) -> dict[str, Any]:
        """Return the fields of `FilmOutput`."""
        if len(self.frames) < 2:
            return {"frames": None, "frame_steps": None}
        return {"frames": torch.stack(self.frames, 1), "frame_steps": list(self.steps)}
