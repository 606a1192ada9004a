"""The map of a model's codes: where test pictures lie in two dimensions. `evaluate` stores it as explore.npz."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

from genarium.errors import FileError
from genarium.files import write_file
from genarium.tasks.explore.codes import CONTINUOUS, numbers_of, restrict
from genarium.tasks.explore.directions import Directions

FILE = "explore.npz"
MAX_BYTES = 200_000  # of the file
ATLAS_COLUMNS = 50
DAMAGED = (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, zipfile.BadZipFile, zlib.error)
NESTED = ("one_hot", "path")  # kinds whose codes have squares of their own


@dataclass(frozen=True)
class CodeMap:
    """A map of N test pictures' codes.

    A continuous code is mean + sum of deviations along axes: the principal ones, or the numbers themselves where there are
    two. The map is the plane of the first two. A class or a path has a square of its own. Another discrete code has the
    place that classical scaling (Torgerson 1952) of `similarity` gives it.

    Args:
        kind: of the code.
        shape: of a single code; () of words.
        points: float32 [N, 2].
        labels: int64 [N], a number of `names`; -1: none.
        names: of the classes, or of another condition where the data have no classes.
        share: of the variance that lies in the plane of the map, 0 ... 1.
        mean: float32 [d], continuous codes only.
        axes: float32 [k, d], orthonormal, continuous codes only.
        deviations: float32 [k], of the codes along the axes.
        spreads: float32 [d], deviations of each number, of codes of few numbers.
        codes: discrete codes, int64 [N, ...] or N strings; None for continuous ones.
        pictures: digest of the test pictures. Maps of one digest show the same pictures in the same order.
        atlas: a WebP with small versions of the pictures, ATLAS_COLUMNS in a row.
        side: of a small picture.
    """

    kind: str
    shape: tuple[int, ...]
    points: np.ndarray
    labels: np.ndarray
    names: tuple[str, ...]
    share: float
    mean: np.ndarray | None
    axes: np.ndarray | None
    deviations: np.ndarray | None
    spreads: np.ndarray | None
    codes: Any
    pictures: str
    atlas: bytes
    side: int

    def __len__(self) -> int:
        return len(self.points)

    @property
    def is_continuous(self) -> bool:
        return self.mean is not None

    @property
    def is_plane(self) -> bool:
        """Whether the code has two numbers, and the map shows all of it."""
        return self.mean is not None and len(self.mean) == 2

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of the shown part: all points, unless a few lie very far out."""
        if self.kind in NESTED:
            return 0.0, 0.0, 1.0, 1.0
        low, high = self.points.min(0), self.points.max(0)
        inner_low, inner_high = np.quantile(self.points, 0.005, axis=0), np.quantile(self.points, 0.995, axis=0)
        far = (high - low) > 2 * (inner_high - inner_low)
        low, high = np.where(far, inner_low, low), np.where(far, inner_high, high)
        margin = 0.04 * np.maximum(high - low, 1e-6)
        (x0, y0), (x1, y1) = low - margin, high + margin
        return float(x0), float(y0), float(x1), float(y1)

    def places(self) -> np.ndarray:
        """Return the points as parts of the shown box, float64 [N, 2]; y downwards, as on a screen."""
        x0, y0, x1, y1 = self.box
        return np.stack([(self.points[:, 0] - x0) / (x1 - x0), (y1 - self.points[:, 1]) / (y1 - y0)], 1)

    def at(self, places: np.ndarray) -> torch.Tensor:
        """Return the codes at places of the map, float32 [M, *shape]; of continuous codes.

        Args:
            places: parts of the shown box, [M, 2], y downwards.
        """
        x0, y0, x1, y1 = self.box
        points = np.stack([x0 + places[:, 0] * (x1 - x0), y1 - places[:, 1] * (y1 - y0)], 1)
        return self.from_axes(points)

    def from_axes(self, values: np.ndarray) -> torch.Tensor:
        """Return codes with these coordinates along the first axes, [M, j], and the mean's along the others."""
        assert self.mean is not None and self.axes is not None
        flat = self.mean + values @ self.axes[: values.shape[1]]
        codes = torch.from_numpy(np.asarray(flat, np.float32)).reshape(-1, *self.shape)
        return restrict(self.kind, codes)

    def to_axes(self, codes: Any) -> np.ndarray:
        """Return the coordinates of continuous codes along the axes, float64 [M, k]."""
        assert self.mean is not None and self.axes is not None
        return (numbers_of(codes) - self.mean) @ self.axes.T

    # ---- along the axes ----

    @property
    def middle(self) -> np.ndarray:
        """The mean of all codes along the axes: 0, but for codes of two numbers, whose axes are the numbers themselves."""
        return self.points.mean(0) if self.is_plane else np.zeros(1)

    @property
    def centre(self) -> np.ndarray:
        """The mean of all codes, float [d]; of continuous codes."""
        assert self.mean is not None
        return self.mean + self.middle if self.is_plane else self.mean

    @cached_property
    def directions(self) -> Directions:
        """The axes, each as long as one deviation."""
        assert self.axes is not None and self.deviations is not None
        return Directions(self.kind, self.centre, self.axes * self.deviations[:, None])

    # ---- places ----

    def lattice(self, side: int, box: Sequence[float] = (0.0, 0.0, 1.0, 1.0)) -> np.ndarray:
        """Return places of a lattice of side x side over a part of the map, row by row, [side^2, 2]."""
        x0, y0, x1, y1 = box
        steps = (np.arange(side) + 0.5) / side
        y, x = np.meshgrid(y0 + steps * (y1 - y0), x0 + steps * (x1 - x0), indexing="ij")
        return np.stack([x.ravel(), y.ravel()], 1)

    def nearest(self, place: Sequence[float]) -> int:
        """Return which picture lies nearest to a place."""
        return int(((self.places() - np.asarray(place)) ** 2).sum(1).argmin())

    def inside(self, box: Sequence[float]) -> np.ndarray:
        """Return which pictures lie in a part of the map, from its middle outwards."""
        places, (x0, y0, x1, y1) = self.places(), box
        found = np.flatnonzero(((places >= (x0, y0)) & (places <= (x1, y1))).all(1))
        middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
        return found[((places[found] - middle) ** 2).sum(1).argsort(kind="stable")]

    def thumbnail(self, i: int) -> PIL.Image.Image:
        """Return a small picture, L or RGB."""
        left, top = i % ATLAS_COLUMNS * self.side, i // ATLAS_COLUMNS * self.side
        return self._sheet.crop((left, top, left + self.side, top + self.side))

    def name_of(self, i: int) -> str:
        """Return the name of a picture's class, "" if it has none."""
        return self.names[self.labels[i]] if 0 <= self.labels[i] < len(self.names) else ""

    @cached_property
    def _sheet(self) -> PIL.Image.Image:
        with PIL.Image.open(io.BytesIO(self.atlas), formats=["WEBP"]) as file:
            sheet = file.convert("RGB")
        grey = np.asarray(sheet)
        is_grey = int(np.abs(grey[..., 0].astype(int) - grey[..., 2]).max()) <= 2
        return sheet.convert("L") if is_grey else sheet

    # ---- the file ----

    def save(self, path: Path) -> Path:
        """Write the map; at most MAX_BYTES."""
        values: dict[str, Any] = {
            "kind": self.kind,
            "shape": np.array(self.shape, np.int64),
            "points": self.points.astype(np.float16 if np.abs(self.points).max() < 6e4 else np.float32),
            "labels": self.labels.astype(np.int16),
            "names": np.array(self.names, dtype=np.str_),
            "share": np.float32(self.share),
            "pictures": self.pictures,
            "atlas": np.frombuffer(self.atlas, np.uint8),
            "side": self.side,
        }
        for name in ("mean", "axes", "deviations", "spreads"):
            if (value := getattr(self, name)) is not None:
                values[name] = value.astype(np.float16)
        if self.codes is not None:
            values["codes"] = compact(self.codes)

        def put(part: Path) -> None:
            with part.open("wb") as file:
                np.savez_compressed(file, **values)

        return write_file(path, put)

    @classmethod
    def load(cls, path: Path) -> CodeMap:
        """Read a map.

        Raises:
            FileError: it cannot be read, or holds something else.
        """
        try:
            if path.stat().st_size > 4 * MAX_BYTES:
                raise ValueError("too large")
            with np.load(path, allow_pickle=False) as file:
                values = {name: file[name] for name in file.files}
            found = cls._of(values)
        except DAMAGED as error:
            raise FileError(f"{path.name} cannot be read: {error}. Make it anew: evaluate --only explore.") from error
        return found

    @classmethod
    def _of(cls, values: dict[str, np.ndarray]) -> CodeMap:
        numbers = {
            name: values[name].astype(np.float32) if name in values else None
            for name in ("mean", "axes", "deviations", "spreads")
        }
        points = values["points"].astype(np.float32)
        codes: Any = values.get("codes")
        labels = values["labels"].astype(np.int64)
        if points.ndim != 2 or points.shape[1] != 2 or len(labels) != len(points) or not np.isfinite(points).all():
            raise ValueError("its points are none")
        kind = str(values["kind"])
        if (codes is None) != (kind in CONTINUOUS) or (codes is None and numbers["axes"] is None):
            raise ValueError("its codes are none")
        if codes is not None:
            codes = [str(text) for text in codes] if kind == "words" else codes.astype(np.int64)
        return cls(
            kind=kind,
            shape=tuple(int(n) for n in values["shape"]),
            points=points,
            labels=labels,
            names=tuple(str(name) for name in values["names"]),
            share=float(values["share"]),
            codes=codes,
            pictures=str(values["pictures"]),
            atlas=values["atlas"].tobytes(),
            side=int(values["side"]),
            **numbers,
        )


def compact(codes: Any) -> np.ndarray:
    """Return discrete codes in the smallest type that holds them."""
    if isinstance(codes, list):
        return np.array(codes, dtype=np.str_)
    codes = np.asarray(codes)
    return codes.astype(np.min_scalar_type(int(codes.max())))
