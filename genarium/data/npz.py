"""Data sets in one .npz file: every array is checked when the file is loaded."""

from __future__ import annotations

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from genarium.data.labels import Names, number_labels
from genarium.errors import DataError
from genarium.notices import note


class Arrays:
    """The arrays of a .npz file by name, read when they are asked for."""

    def __init__(self, source: Path, file):
        self.source, self._file = source, file

    def __contains__(self, name: str) -> bool:
        return name in self._file.files

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self:
            raise DataError(f"{self.source}: no array {name}; it has {', '.join(self._file.files)}.")
        try:
            return self._file[name]
        except (OSError, ValueError, EOFError, KeyError, zlib.error, zipfile.BadZipFile) as error:
            raise DataError(
                f"{self.source}: the array {name} cannot be read ({error}). Save the file again."
            ) from error

    # ---- arrays of one kind, checked ----

    def images(self, name: str, channels: int, size: int) -> torch.Tensor:
        """Return an array of images as uint8 [N, C, H, W]."""
        array = self[name]
        if array.dtype != np.uint8:
            raise DataError(
                f"{self.source}: {name} holds {array.dtype}, which could mean any brightness; save it as uint8 from 0 to 255, for "
                f"example by {_how(array)}."
            )
        if array.ndim != 4 or not len(array):
            raise DataError(
                f"{self.source}: {name} is {list(array.shape)}; it must be [N, H, W, C] with at least one image."
            )
        found, expected = (array.shape[3], *array.shape[1:3]), (channels, size, size)
        if found != expected:
            raise DataError(f"{self.source}: images are {found}, the recipe asks for {expected}.")
        return torch.from_numpy(array).permute(0, 3, 1, 2).contiguous()

    def labels(
        self, name: str, names: str, rows: int, known: Names | None, required: bool = False
    ) -> tuple[torch.Tensor, dict[str, str]]:
        """Return an array of labels as int64 [N], and what the numbers mean.

        Args:
            names: the array that names the numbers; without it each number is its own name.
            rows: that there must be.
            known, required: as for `number_labels`.
        """
        values = self.column(name, rows)
        if values.dtype.kind not in "iuUS":
            raise DataError(
                f"{self.source}: {name} holds {values.dtype}; labels are whole numbers or strings: save them by astype('int64')."
            )
        texts: list[str] | None = None
        if names in self and values.dtype.kind in "iu":
            given = self[names]
            if given.ndim != 1:
                raise DataError(f"{self.source}: {names} is {list(given.shape)}; it must be a list of names.")
            texts = [str(text) for text in given]
        if values.dtype.kind == "S":
            values = np.char.decode(values, "utf-8")
        return number_labels(values.tolist(), f"{self.source}, {name}", texts, known, required)

    def column(self, name: str, rows: int) -> np.ndarray:
        """Return an array with a value for each of so many rows."""
        values = self[name]
        if values.shape != (rows,):
            raise DataError(
                f"{self.source}: {name} is {list(values.shape)}; there are {rows} images, so it must be [{rows}]."
            )
        return values


@contextlib.contextmanager
def open_npz(source: Path) -> Iterator[Arrays]:
    """Open a .npz file.

    Raises:
        DataError: it is none, or damaged.
    """
    try:
        file = np.load(source, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{source}: cannot be read as a .npz file; it is damaged, or another kind of file.") from error
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise DataError(f"{source}: is a single array, not a .npz file; save it by np.savez(..., train_images=images).")
    with file:
        yield Arrays(source, file)


def note_lacking_labels(source: Path, name: str) -> None:
    note(f"{source}: no array {name}; the images are used without classes.")


def _how(array: np.ndarray) -> str:
    if array.dtype == np.bool_:
        return "images.astype('uint8') * 255"
    if array.dtype.kind == "f" and array.size and array.min() >= 0 and array.max() <= 1:
        return "(images * 255).round().astype('uint8')"
    return "images.clip(0, 255).round().astype('uint8')"
