"""What a style swap returns: pictures or sounds, and where styles lie on a map, if the pipeline draws one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genarium.runtime.results import Pictures, RunContext, Sounds


@dataclass(frozen=True)
class StyleMap:
    """Styles as points of a plane: first those of the training data, by name, then those of a run, by their part in it.

    Args:
        names: of the styles of the training data.
        parts: "content", "style" and "result", as far as there are any.
        points: float [N, 2], those of `names` first.
    """

    names: tuple[str, ...]
    parts: tuple[str, ...]
    points: np.ndarray


@dataclass(frozen=True, kw_only=True)
class SwappedPictures(Pictures):
    """Pictures, with the map of styles or None."""

    style_map: StyleMap | None = None

    @classmethod
    def fields_from(cls, outputs: Sequence[Any], run: RunContext) -> dict[str, Any]:
        fields = super().fields_from(outputs, run)
        return {**fields, "style_map": _style_map(run, fields["pictures"][0])}


@dataclass(frozen=True, kw_only=True)
class SwappedSounds(Sounds):
    """Sounds, with the map of voices or None."""

    style_map: StyleMap | None = None

    @classmethod
    def fields_from(cls, outputs: Sequence[Any], run: RunContext) -> dict[str, Any]:
        fields = super().fields_from(outputs, run)
        return {**fields, "style_map": _style_map(run, fields["audios"][0])}


RESULTS = {"image": SwappedPictures, "audio": SwappedSounds}


def _style_map(run: RunContext, result: Any) -> StyleMap | None:
    """Return where content, style and result lie among the styles that the model knows."""
    if not hasattr(run.pipeline, "style_map"):
        return None
    given = {part: value for part, value in {**run.material, "result": result}.items() if value is not None}
    try:
        output = run.pipeline.style_map(list(given.values()))
    except ValueError:  # a silent result has no place on the map, but it is a result
        return None
    import torch

    points = torch.as_tensor(output.points).float().cpu().numpy()
    return StyleMap(tuple(output.names[: len(points) - len(given)]), tuple(given), points)
