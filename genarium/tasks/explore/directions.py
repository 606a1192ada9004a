"""Directions of a continuous code: where a code lies along them, and codes that go along them.

They are the principal axes of the codes of test pictures, or what a pipeline offers as `code_directions` (docs/contract.md,
"Codes"). A pipeline's own need not be orthogonal.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from genarium.errors import InputError
from genarium.tasks.explore.codes import numbers_of, restrict

MAX_AXES = 8
REACH = 3.0  # deviations
STEPS = 7  # of a traversal
SMALLEST = 1e-6  # deviation that counts


class Directions:
    """Directions of codes of d numbers.

    Args:
        kind: of the code.
        mean: of all codes, from which coordinates are counted, float [d].
        directions: float [k, d], linearly independent, each as long as one standard deviation of the codes along it.

    Raises:
        InputError: the directions are none of such a code.
    """

    def __init__(self, kind: str, mean: np.ndarray, directions: np.ndarray):
        directions = np.asarray(directions, np.float64)
        if directions.ndim != 2 or directions.shape[1] != len(mean) or not np.isfinite(directions).all():
            raise InputError(f"code_directions: give finite numbers [k, {len(mean)}], not {list(directions.shape)}.")
        self.kind, self.mean = kind, np.asarray(mean, np.float64)
        self.lengths = np.maximum(np.linalg.norm(directions, axis=1), SMALLEST)
        self.units = directions / self.lengths[:, None]  # [k, d]
        self.dual = np.linalg.pinv(self.units)  # [d, k]: coordinates along directions that need not be orthogonal

    def __len__(self) -> int:
        return len(self.units)

    def coordinates(self, code: torch.Tensor) -> np.ndarray:
        """Return where a single code lies along the directions, in deviations from the mean of all codes: float64 [k]."""
        return (numbers_of(code[None])[0] - self.mean) @ self.dual / self.lengths

    def moved(self, code: torch.Tensor, values: Sequence[float]) -> torch.Tensor:
        """Return a single code with these coordinates, in deviations, and otherwise as it was."""
        change = (np.asarray(values, np.float64) - self.coordinates(code)) * self.lengths @ self.units
        return restrict(self.kind, code + torch.from_numpy(change).to(code.dtype).reshape(code.shape))

    def traversal(self, code: torch.Tensor) -> torch.Tensor:
        """Return codes that go along one direction each, from -REACH to REACH in STEPS steps: [k STEPS, ...], one in a row."""
        at = self.coordinates(code)
        steps = np.linspace(-REACH, REACH, STEPS)
        return torch.stack([self.moved(code, [*at[:i], v, *at[i + 1 :]]) for i in range(len(at)) for v in steps])


def directions_of(pipeline: Any, code_map: Any) -> Directions | None:
    """Return the pipeline's own directions, or else the principal axes of the map; None without a map of a continuous code.

    Args:
        code_map: `CodeMap` or None.
    """
    if code_map is None or not code_map.is_continuous:
        return None
    if not hasattr(pipeline, "code_directions"):
        return code_map.directions
    own = torch.as_tensor(pipeline.code_directions())[:MAX_AXES].flatten(1)
    return Directions(code_map.kind, code_map.centre, own.double().cpu().numpy())
