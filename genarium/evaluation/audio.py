"""Evaluations of sound: the data, pairs of clips by different speakers, and conversions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch

from genarium.data.audio import AudioData, load_audio
from genarium.errors import NotMeasurableError
from genarium.evaluation.evaluation import Evaluation
from genarium.recipe import AudioSpec, Recipe

STYLE_SECONDS = 2, 10  # length of the clips that voices are taken from, where there are such clips


@dataclass
class AudioEvaluation(Evaluation):
    """An evaluation of a checkpoint of sound. Pipelines run at their defaults."""

    takes_parameters: ClassVar[bool] = False

    @classmethod
    def measures(cls, recipe: Recipe) -> bool:
        return isinstance(recipe.data, AudioSpec)

    @property
    def spec(self) -> AudioSpec:
        assert isinstance(self.recipe.data, AudioSpec)
        return self.recipe.data

    @property
    def test_name(self) -> str:
        return f"{self.spec.name} {self.spec.test_split}"

    @cached_property
    def test(self) -> AudioData:
        return self.load(self.spec.test_split)

    def load(self, split: str, names: tuple[str, ...] | None = None) -> AudioData:
        """Load a split of the recipe's data sets, or of these alone.

        Raises:
            DataError: none has the split, or a clip cannot be read.
        """
        return load_audio(self.spec, split, self.data_override, names=names)

    def splits(self) -> dict[str, AudioData]:
        """Return clips of "known" speakers, who were in the training, and of "unseen" ones where the recipe names a split."""
        found = {"known": self.test}
        if self.spec.unseen_split:
            found["unseen"] = self.load(self.spec.unseen_split)
        return found

    def some(self, data: AudioData, number: int) -> list[int]:
        """Choose clips at random: splits are sorted by speaker."""
        return np.random.default_rng(self.seed).permutation(len(data))[:number].tolist()

    def pairs(self, data: AudioData, number: int) -> list[tuple[int, int]]:
        """Choose pairs of clips by two different speakers: the content, then the style.

        Raises:
            NotMeasurableError: only one person speaks.
        """
        rng, of = np.random.default_rng(self.seed), self.speakers(data)
        low, high = (seconds * data.sampling_rate for seconds in STYLE_SECONDS)
        styles = [i for i, clip in enumerate(data.waveforms) if low <= len(clip) <= high] or list(range(len(data)))
        found = []
        for _ in range(number):
            content = int(rng.integers(len(data)))
            others = [i for i in styles if of[i] != of[content]]
            if others:
                found.append((content, others[rng.integers(len(others))]))
        if not found:
            raise NotMeasurableError(f"{self.spec.name}: only one person speaks, so no voice can be exchanged.")
        return found

    @staticmethod
    def speakers(data: AudioData) -> list[int]:
        """Return the number of each clip's speaker."""
        return data.conditions["speaker"].tolist()

    def log_mel(self, sound: np.ndarray) -> Any:
        """Return the log-mel spectrogram [bands, frames] of a sound float [T], at a fixed loudness."""
        return self.pipeline.analyse(torch.from_numpy(sound).to(self.pipeline.device)).mel[0].float().cpu().numpy()
