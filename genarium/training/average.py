"""The moving average of the weights."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from diffusers.training_utils import EMAModel
from torch import nn


class Average:
    """The moving average of the weights that are trained now. One for the whole run, since accelerate saves it."""

    def __init__(self):
        self.ema: Any = None  # an EMAModel, once a part has begun
        self.parameters: list[nn.Parameter] = []

    def begin(self, parameters: list[nn.Parameter], decay: float) -> None:
        """Average other weights from now on."""
        # EMAModel's own ramp, min(decay, (1 + t) / (10 + t)), keeps the first random weights out of the average
        self.ema, self.parameters = EMAModel(parameters, decay=decay, use_ema_warmup=False), parameters

    def step(self) -> None:
        self.ema.step(self.parameters)

    def take(self) -> None:
        """Put the average in the place of the trained weights, for good."""
        self.ema.copy_to(self.parameters)

    @contextlib.contextmanager
    def in_place(self) -> Iterator[None]:
        """Put the average in the place of the trained weights, for a while."""
        self.ema.store(self.parameters)
        self.take()
        try:
            yield
        finally:
            self.ema.restore(self.parameters)

    def state_dict(self) -> dict:
        return self.ema.state_dict()

    def load_state_dict(self, state: dict) -> None:
        self.ema.load_state_dict(state)
