"""What decides between "ordinary" and "strange": a threshold, and the scores of ordinary and of strange pictures.

A checkpoint has the quantiles of the scores of ordinary test data. Whoever uses it adds scores of pictures of their own, and
chooses a threshold. Both are kept in a file beside the weights, so that every way to ask gives the same verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from genarium.checkpoints import MODEL_INDEX, Checkpoint
from genarium.checkpoints.folder import THRESHOLDS
from genarium.errors import CheckpointError, InputError
from genarium.files import check_writable, read_json, write_json
from genarium.tasks.anomaly.decision import Costs, best_threshold
from genarium.tasks.anomaly.quantiles import quantiles_key, stored_quantiles

USUAL_PERCENT = 95.0  # one ordinary picture in twenty is called strange where nobody has chosen a threshold
MAX_BYTES = 4 << 20  # of the file; it holds a few thousand scores
MAX_SCORES = 20_000  # of each kind
ENOUGH = 20  # ordinary pictures of one's own, from which on the checkpoint's own test data count no more


@dataclass(frozen=True)
class Calibration:
    """What is known beside the quantiles of a checkpoint, for one score.

    Args:
        normal: name of a picture that a person called normal -> its score.
        strange: name of a picture that a person called strange -> its score.
        threshold: the score above which a picture is strange; None: nobody has chosen it.
    """

    normal: Mapping[str, float] = field(default_factory=dict)
    strange: Mapping[str, float] = field(default_factory=dict)
    threshold: float | None = None

    def with_normal(self, scores: Mapping[str, float]) -> Calibration:
        """Return the same with pictures that are normal; they are strange no longer."""
        strange = {name: score for name, score in self.strange.items() if name not in scores}
        return replace(self, normal={**self.normal, **scores}, strange=strange)

    def with_strange(self, scores: Mapping[str, float]) -> Calibration:
        """Return the same with pictures that are strange; they are normal no longer."""
        normal = {name: score for name, score in self.normal.items() if name not in scores}
        return replace(self, strange={**self.strange, **scores}, normal=normal)


@dataclass(frozen=True)
class Judge:
    """The verdicts on scores of one checkpoint, for one score and one set of parameters.

    Args:
        quantiles: 201 of ordinary test data; None where the checkpoint holds none for these parameters.
        calibration: what its users added.
    """

    quantiles: list[float] | None
    calibration: Calibration

    @property
    def normal(self) -> np.ndarray:
        """Scores of ordinary pictures, float64 [N], ascending.

        The quantiles count as that many pictures. From ENOUGH pictures of the user's own on, these count alone.
        """
        own = list(self.calibration.normal.values())
        known = own if len(own) >= ENOUGH else [*(self.quantiles or ()), *own]
        return np.sort(np.asarray(known, np.float64))

    @property
    def strange(self) -> np.ndarray:
        """Scores of strange pictures, float64 [M], ascending."""
        return np.sort(np.asarray(list(self.calibration.strange.values()), np.float64))

    @property
    def threshold(self) -> float | None:
        """The score above which a picture is strange: as it was chosen, else a quantile. None if nothing is known."""
        if self.calibration.threshold is not None:
            return self.calibration.threshold
        return float(np.quantile(self.normal, USUAL_PERCENT / 100)) if len(self.normal) else None

    def choose(self, threshold: float | None, percent: float | None, costs: Costs) -> Judge:
        """Return the same with a threshold.

        Args:
            threshold: as somebody chose it; None: by `percent`, else the one of least cost where strange pictures are
                known, else the usual one.
            percent: of ordinary pictures that are called ordinary.
            costs: decide which threshold is best.

        Raises:
            InputError: no ordinary picture is known.
        """
        if not len(self.normal):
            raise InputError("No ordinary picture is known. Give some, or evaluate the checkpoint first.")
        if threshold is None and percent is not None:
            threshold = float(np.quantile(self.normal, percent / 100))
        if threshold is None and len(self.strange):
            threshold = best_threshold(self.normal, self.strange, costs).value
        if threshold is None:
            return replace(self, calibration=replace(self.calibration, threshold=self.threshold))
        return replace(self, calibration=replace(self.calibration, threshold=threshold))

    def percentile(self, score: float) -> float | None:
        """Return the per cent of ordinary pictures that score lower; None if none are known."""
        from genarium.evaluation.quantiles import percentile

        return percentile(score, self.normal.tolist()) if len(self.normal) > 1 else None

    def verdict(self, score: float) -> str | None:
        """Return "strange" or "ordinary"; None if nothing is known."""
        threshold = self.threshold
        return None if threshold is None else "strange" if score > threshold else "ordinary"


def judge_of(checkpoint: Checkpoint, parameters: Mapping[str, Any], class_given: bool = False) -> Judge:
    """Return the judge of a checkpoint's scores.

    Args:
        checkpoint: whose scores they are.
        parameters: of the anomaly task.
        class_given: whether the scores are conditional on each picture's own class.
    """
    quantiles = stored_quantiles(checkpoint, parameters, class_given)
    return Judge(quantiles, read_calibration(checkpoint.folder, key_of(parameters, class_given)))


def key_of(parameters: Mapping[str, Any], class_given: bool = False) -> str:
    """Return under what a calibration is kept: the score, and each other parameter's value, since both decide the scale."""
    others = [f"{name}={value}" for name, value in sorted(parameters.items()) if name != "score"]
    return "; ".join([quantiles_key(parameters.get("score", "default"), class_given), *others])


def told_apart(source: Path, names: Sequence[str]) -> list[str]:
    """Return the names of pictures with their folder's before it: two folders may have files of one name."""
    return [f"{source.resolve().name}/{name}" for name in names] if source.is_dir() else list(names)


def read_calibration(folder: Path, key: str) -> Calibration:
    """Read what is kept beside a checkpoint for one key; nothing where there is no file, or none that can be read."""
    path = folder / THRESHOLDS
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return Calibration()
        found = read_json(path)["scores"][key]
        threshold = found.get("threshold")
        return Calibration(
            _scores(found.get("normal")),
            _scores(found.get("strange")),
            None if threshold is None else _finite(threshold),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Calibration()


def write_calibration(checkpoint: Checkpoint, key: str, calibration: Calibration) -> Path:
    """Keep a calibration beside a checkpoint. What is kept for other keys stays.

    Raises:
        CheckpointError: the checkpoint lies in the Hub's cache, or too many scores.
        FileError: the folder cannot be written; the old file is whole.
    """
    if (checkpoint.folder / MODEL_INDEX).is_symlink():
        raise CheckpointError(
            f"{checkpoint.name} lies in the Hub's cache; copy it to a folder of its own to keep a threshold."
        )
    if max(len(calibration.normal), len(calibration.strange)) > MAX_SCORES:
        raise CheckpointError(f"A calibration holds at most {MAX_SCORES} pictures of each kind.")
    path = check_writable(checkpoint.folder) / THRESHOLDS
    try:
        known = read_json(path)["scores"] if path.is_file() else {}
        scores = dict(known) if isinstance(known, dict) else {}
    except (OSError, ValueError, KeyError, TypeError):  # damaged: its scores can be measured again
        scores = {}
    write_json(path, thresholds_json({**scores, key: calibration}))
    return path


def thresholds_json(scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the file holds, from calibrations by key; those that were read already stay as they are."""
    plain = {key: asdict(one) if isinstance(one, Calibration) else one for key, one in scores.items()}
    return {"version": 1, "scores": plain}


def _scores(values: Any) -> dict[str, float]:
    found = {str(name): _finite(score) for name, score in dict(values or {}).items()}
    if len(found) > MAX_SCORES:
        raise ValueError("too many scores")
    return found


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not math.isfinite(number := float(value)):
        raise ValueError("not a finite number")
    return number
