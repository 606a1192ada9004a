"""What the Lab's engine gives the page: frames, and the layers that are drawn in them.

Everything lies in the square [-SIDE, SIDE] x [-SIDE, SIDE] of the plane, or near it. x runs to the right and y upwards.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

SIDE = 4.0  # half the side of the square that is drawn
Kind = Literal["points", "paths", "arrows", "field", "curve"]
Role = Literal["data", "model", "truth", "error"]
WHOLE = 32766  # the largest whole number of a packed array; WHOLE + 1 stands for NaN


@dataclass(frozen=True)
class Layer:
    """One thing that is drawn.

    Args:
        name: key of its text on the page: "learnt_score", "true_score", "walkers", ...
        kind: how it is drawn, and the shape of `values`:
            "points"  [N, 2]
            "paths"   [N, T, 2], N lines of T points each; the walker or sample stands at the last point
            "arrows"  [M, 2], vectors, whose feet are `at` [M, 2]
            "field"   [H, W], a value for each point of a grid: values[i, j] at x = linspace(-side, side, W)[j],
                      y = linspace(-side, side, H)[i] with the frame's side; row 0 lies at the bottom
            "curve"   [T, 2], one line
        values: float array, NaN where there is nothing to draw.
        role: decides the colour: the data, the model, the truth, or the difference of the two.
        at: of arrows.
        contours: of a field: levels of contour lines; empty for a heat map.
        signed: of a field: zero has a meaning (a critic's height), so the colours diverge from zero.
    """

    name: str
    kind: Kind
    values: np.ndarray
    role: Role = "model"
    at: np.ndarray | None = None
    contours: tuple[float, ...] = ()
    signed: bool = False

    def __post_init__(self) -> None:
        dimensions = {"points": 2, "paths": 3, "arrows": 2, "field": 2, "curve": 2}[self.kind]
        if self.values.ndim != dimensions or (self.kind != "field" and self.values.shape[-1] != 2):
            raise ValueError(f"layer {self.name!r}: {self.kind} have another shape than {self.values.shape}.")
        if (self.kind == "arrows") != (self.at is not None):
            raise ValueError(f"layer {self.name!r}: arrows, and only arrows, have feet.")

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary for JSON, with packed arrays; see `pack`."""
        made: dict[str, Any] = {"name": self.name, "kind": self.kind, "role": self.role, "values": pack(self.values)}
        if self.at is not None:
            made["at"] = pack(self.at)
        if self.kind == "field":
            made.update(contours=[float(level) for level in self.contours], signed=self.signed)
        return made


@dataclass(frozen=True)
class Frame:
    """A moment of a training, or of a view after it.

    Args:
        step: optimizer steps that were made.
        steps: optimizer steps of the whole training.
        seconds: processor seconds that the training has computed, on one core. Pauses, the drawing of frames, and what else the
            machine does are not counted.
        loss: at this step, a running mean.
        parts: the loss's named parts, running means.
        w1: exact Wasserstein-1 distance between 1,000 samples and 1,000 points of the data, in units of the plane; None
            in a frame in which it was not measured.
        samples: float32 [N, 2].
        layers: what else the view draws, from the back to the front.
        view: name of the view.
        moment: where the slider of a view stands, 0 ... 1; None while the model learns.
        label: the moment in the view's own clock, such as "t = 0.5" or "σ = 0.1"; "" if it has none.
        figures: named numbers of the view, such as the error of the score field.
        finished: whether this is the last frame of the training.
        side: half the side of the square that this frame shows. SIDE, but for views that reach further.
    """

    step: int
    steps: int
    seconds: float
    loss: float
    parts: Mapping[str, float]
    w1: float | None
    samples: np.ndarray
    layers: tuple[Layer, ...] = ()
    view: str = "samples"
    moment: float | None = None
    label: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    finished: bool = False
    side: float = SIDE

    def to_json(self) -> dict[str, Any]:
        """Return a dictionary for JSON. 1,000 samples take 5.4 kB."""
        return {
            "step": self.step,
            "steps": self.steps,
            "seconds": round(self.seconds, 2),
            "loss": _short(self.loss),
            "parts": {name: _short(value) for name, value in self.parts.items()},
            "w1": None if self.w1 is None else _short(self.w1),
            "samples": pack(self.samples),
            "layers": [layer.to_json() for layer in self.layers],
            "view": self.view,
            "moment": None if self.moment is None else round(self.moment, 4),
            "label": self.label,
            "figures": {name: _short(value) for name, value in self.figures.items()},
            "finished": self.finished,
            "side": self.side,
        }


def _short(value: float) -> float | None:
    """Return a number with five significant digits; None for what JSON has no number for."""
    return float(f"{value:.5g}") if np.isfinite(value) else None


def pack(values: np.ndarray) -> dict[str, Any]:
    """Pack an array for JSON, in whole numbers of 16 bits: value = number * scale.

    In the browser: `new Int16Array(bytes.buffer)` of the decoded base64, row by row, little-endian. The number 32767 stands
    for NaN. The error is at most half of `scale`, a 65,532th of the largest value.

    Returns:
        {"shape": [...], "scale": float, "data": base64}.
    """
    finite = np.isfinite(values)
    largest = float(np.abs(values[finite]).max()) if finite.any() else 0.0
    scale = largest / WHOLE or 1.0
    numbers = np.where(finite, np.round(np.where(finite, values, 0) / scale), WHOLE + 1).astype("<i2")
    return {"shape": list(values.shape), "scale": scale, "data": base64.b64encode(numbers.tobytes()).decode("ascii")}


def unpack(packed: Mapping[str, Any]) -> np.ndarray:
    """Return the float32 array of which `pack` made a dictionary."""
    numbers = np.frombuffer(base64.b64decode(packed["data"]), "<i2").reshape(packed["shape"])
    return np.where(numbers == WHOLE + 1, np.nan, numbers * packed["scale"]).astype(np.float32)
