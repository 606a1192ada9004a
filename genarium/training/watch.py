"""When a training keeps its state and its samples, and whether it goes on: by its recipe's steps, or by the clock."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Literal

Wish = Literal["go", "pause", "finish"]


class Watch:
    """The watch of a training by the recipe: every so many steps, to the end."""

    def wish(self, step: int, end: int) -> Wish:
        """Return what is to be done after a step: "pause" saves the state and ends, "finish" takes the weights as they are.

        Args:
            step: of the run, which is done.
            end: the step at which this part of the training ends.
        """
        return "go"

    def saves(self, step: int, every: int) -> bool:
        """Return whether the state is to be saved after this step."""
        return step % every == 0

    def samples(self, step: int, every: int) -> bool:
        """Return whether samples are to be drawn after this step."""
        return step % every == 0

    def saving(self) -> contextlib.AbstractContextManager[None]:
        """Return what surrounds the saving of the state."""
        return contextlib.nullcontext()

    def sampling(self) -> contextlib.AbstractContextManager[None]:
        """Return what surrounds the drawing of samples."""
        return contextlib.nullcontext()


class Clock(Watch):
    """The watch of a training in front of a person: samples every few seconds, and nothing is lost but the last seconds.

    Drawing and saving take a bounded share of the time, however slow they are. For trainings in one process only, because
    the clocks of several differ.

    Args:
        ask: returns the person's wish.
        sample_seconds, save_seconds: between two of a kind, at least.
        share: of the time that each of the two may take.
    """

    def __init__(
        self,
        ask: Callable[[], Wish] = lambda: "go",
        sample_seconds: float = 5.0,
        save_seconds: float = 20.0,
        share: float = 0.1,
    ):
        self.ask = ask
        self._sampling = _Chore(sample_seconds, share)
        self._saving = _Chore(save_seconds, share)

    def wish(self, step: int, end: int) -> Wish:
        return self.ask()

    def saves(self, step: int, every: int) -> bool:
        return self._saving.is_due

    def samples(self, step: int, every: int) -> bool:
        return self._sampling.is_due

    def saving(self) -> contextlib.AbstractContextManager[None]:
        return self._saving.timed()

    def sampling(self) -> contextlib.AbstractContextManager[None]:
        return self._sampling.timed()


class _Chore:
    """Something that is done now and then, and takes a bounded share of the time."""

    def __init__(self, seconds: float, share: float):
        self.seconds, self.share = seconds, share
        self._ended, self._took = time.monotonic(), 0.0

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self._ended >= max(self.seconds, self._took / self.share)

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            self._ended = time.monotonic()
            self._took = self._ended - began
