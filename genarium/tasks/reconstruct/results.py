"""What a reconstruction returns: pictures, and what some pipelines say beside them: the damaged input, the atoms of a code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL.Image

from genarium.media.pictures import to_pictures
from genarium.runtime.results import Pictures, joined

if TYPE_CHECKING:
    from genarium.runtime.results import RunContext


@dataclass(frozen=True, kw_only=True)
class ReconstructedPictures(Pictures):
    """Pictures, the damaged inputs, what each is the sum of, and other answers of models that complete a picture.

    Args:
        noisy: the inputs with the noise that was added to them first; None: nothing was added.
        atoms: float [N, M, C, H, W], of models that write an image as a sum; None of others.
        weights: float [N, M], falling. Those that are 0 stand for no atom.
        answers: float [N, A, C, H, W] in [0, 1], several completions of each, the picture first; None of others.
    """

    noisy: list[PIL.Image.Image] | None = None
    atoms: np.ndarray | None = None
    weights: np.ndarray | None = None
    answers: np.ndarray | None = None

    @classmethod
    def fields_from(cls, outputs: Sequence[Any], run: RunContext) -> dict[str, Any]:
        noisy, atoms, weights = (joined(outputs, name) for name in ("noisy", "atoms", "weights"))
        return {
            **super().fields_from(outputs, run),
            "noisy": None
            if noisy is None
            else to_pictures((255 * noisy.transpose(0, 2, 3, 1)).round().astype(np.uint8)),
            "atoms": atoms,
            "weights": weights,
            "answers": joined(outputs, "answers"),
        }


RESULTS = {"image": ReconstructedPictures}
