"""What the anomaly task returns: a score for each input, and where in it the model finds it strange."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from genarium.checkpoints import Checkpoint
from genarium.evaluation.quantiles import percentile
from genarium.media.pictures import heat_map, save_picture
from genarium.runtime.results import RunContext, RunResult
from genarium.tasks.anomaly.calibration import Judge, judge_of
from genarium.tasks.anomaly.quantiles import stored_quantiles


@dataclass(frozen=True, kw_only=True)
class Scores(RunResult):
    """Scores of inputs.

    Args:
        scores: float [N]; higher is stranger, conditional on the classes of the request if it has any.
        unit: of the scores.
    """

    python_use = ("print(output.scores)",)

    scores: np.ndarray
    unit: str

    @classmethod
    def fields_from(cls, outputs: Sequence[Any], run: RunContext) -> dict[str, Any]:
        scores = np.concatenate([output.scores.float().cpu().numpy() for output in outputs])
        return {"scores": scores, "unit": outputs[-1].unit}

    @property
    def num_samples(self) -> int:
        return len(self.scores)

    def write(self, folder: Path) -> list[Path]:
        return []

    def quantiles(self, checkpoint: Checkpoint) -> list[float] | None:
        """Return the quantiles of ordinary test data that fit this request, if the checkpoint has them."""
        return stored_quantiles(checkpoint, self.request.parameters, self.request.class_labels is not None)

    def judge(self, checkpoint: Checkpoint) -> Judge:
        """Return who says "strange" or "ordinary" of these scores, by the checkpoint's threshold."""
        return judge_of(checkpoint, self.request.parameters, self.request.class_labels is not None)

    def report(self, checkpoint: Checkpoint) -> dict[str, Any]:
        score, quantiles, judge = float(self.scores[0]), self.quantiles(checkpoint), self.judge(checkpoint)
        return {
            **super().report(checkpoint),
            "score": score,
            "unit": self.unit,
            "stranger_than": percentile(score, quantiles) / 100 if quantiles else None,
            "threshold": judge.threshold,
            "verdict": judge.verdict(score),
        }


@dataclass(frozen=True, kw_only=True)
class PictureScores(Scores):
    """Scores of pictures.

    Args:
        maps: float [N, H, W], a score for each pixel; None if the pipeline gives none.
    """

    maps: np.ndarray | None = None

    @classmethod
    def fields_from(cls, outputs: Sequence[Any], run: RunContext) -> dict[str, Any]:
        maps = [output.maps.float().numpy() for output in outputs if output.maps is not None]
        return {**super().fields_from(outputs, run), "maps": np.concatenate(maps) if maps else None}

    def write(self, folder: Path) -> list[Path]:
        """Write a heat map for each picture."""
        if self.maps is None:
            return []
        stem, asked = f"{Path(self.request.checkpoint).name}-heat-map", self.request.to_dict()
        drawn = [heat_map(map_.clip(0), seen) for map_, seen in zip(self.maps, self.inputs, strict=True)]
        return [save_picture(picture, folder / f"{stem}-{i:02d}.png", asked) for i, picture in enumerate(drawn)]


@dataclass(frozen=True, kw_only=True)
class SoundScores(Scores):
    """Scores of recordings.

    Args:
        sampling_rate: of the recordings, in Hz.
        maps: float32 [frames] for each recording, a score for each frame; None if the pipeline gives none.
    """

    sampling_rate: int
    maps: list[np.ndarray] | None = None

    @classmethod
    def fields_from(cls, outputs: Sequence[Any], run: RunContext) -> dict[str, Any]:
        maps = [np.asarray(m, np.float32) for output in outputs if output.maps is not None for m in output.maps]
        rate = int(run.checkpoint.index["sampling_rate"])
        return {**super().fields_from(outputs, run), "sampling_rate": rate, "maps": maps or None}

    @property
    def comparable(self) -> bool:
        return False

    def report(self, checkpoint: Checkpoint) -> dict[str, Any]:
        frames = {} if self.maps is None else {"frames": self.maps[0].tolist()}
        return {**super().report(checkpoint), "sampling_rate": self.sampling_rate, **frames}


RESULTS = {"image": PictureScores, "audio": SoundScores}
