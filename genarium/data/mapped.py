"""Pictures that stay encoded in a memory-mapped Arrow table: indexed like a tensor of all, decoded row by row when asked for.

The system reads the pages of the table that are looked at, and takes them back when it needs the memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from genarium.data.budget import num_workers
from genarium.data.feed import feed
from genarium.errors import DataError, InputError
from genarium.media.decoding import open_picture
from genarium.media.pictures import fit_picture, to_pixels

Index = int | slice | torch.Tensor
PIECE = 500  # rows that a pass over all decodes at once


class MappedImages:
    """The pictures of a split, in the place of the tensor uint8 [N, C, H, W] that they would be.

    Args:
        table: a `datasets.Dataset` with a column of encoded pictures, as `encoded` returns it.
        column: its name.
        size, channels: of the decoded pictures.
        where: names the split in errors, "me/animals, test".
        rows: of the table that are used, int64 [N]; None: all.
    """

    dtype = torch.uint8

    def __init__(self, table: Any, column: str, size: int, channels: int, where: str, rows: torch.Tensor | None = None):
        self.table, self.column, self.size, self.channels, self.where = table, column, size, channels, where
        self.rows = torch.arange(len(table)) if rows is None else rows

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> torch.Size:
        return torch.Size([len(self), self.channels, self.size, self.size])

    @property
    def num_bytes(self) -> int:
        """The memory that all would take, decoded."""
        return self.shape.numel()

    def __getitem__(self, index: Index) -> torch.Tensor:
        """Decode a row, or some: uint8 [C, H, W] or [B, C, H, W].

        Raises:
            DataError: a picture is missing, empty or damaged, with its row and its file.
        """
        rows = self.rows[index]
        pixels = np.empty((rows.numel(), self.size, self.size, self.channels), np.uint8)
        numbers = rows.reshape(-1).tolist()
        for i, image in enumerate(self.table[numbers][self.column] if numbers else []):
            pixels[i] = decoded(image, self.size, self.channels, f"{self.where}, row {numbers[i]}")
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
        return images.reshape(*rows.shape, *self.shape[1:])

    def select(self, rows: torch.Tensor) -> MappedImages:
        """Return some of the rows, undecoded."""
        return MappedImages(self.table, self.column, self.size, self.channels, self.where, self.rows[rows])

    def split(self, number: int) -> Iterator[torch.Tensor]:
        """Decode all rows in order, so many at once."""
        for start in range(0, len(self), number):
            yield self[start : start + number]

    def pieces(self) -> Iterator[torch.Tensor]:
        """Decode all rows in order, in processes that run ahead."""
        slices = (slice(start, start + PIECE) for start in range(0, len(self), PIECE))
        with tqdm(total=len(self), desc=f"reading {self.where}", leave=False) as bar:
            for part in feed(self.__getitem__, slices, num_workers()):
                yield part
                bar.update(len(part))

    def whole(self) -> torch.Tensor:
        """Decode all rows into memory."""
        images = torch.empty(self.shape, dtype=torch.uint8)
        with tqdm(total=len(self), desc=f"decoding {self.where}", leave=False) as bar:
            for start in range(0, len(self), PIECE):
                part = self[start : start + PIECE]
                images[start : start + len(part)] = part
                bar.update(len(part))
        return images


Images = torch.Tensor | MappedImages  # uint8 [N, C, H, W]


def in_pieces(images: Images) -> Iterator[torch.Tensor]:
    """Yield all pictures in order: those in memory at once, the others in pieces."""
    if isinstance(images, MappedImages):
        yield from images.pieces()
    else:
        yield images


def encoded(data: Any, column: str, name: str) -> Any:
    """Return a data set, whole or a stream, with a column of pictures as bytes or paths.

    Args:
        data: of `datasets`.
        name: of the data set, for errors.

    Raises:
        DataError: the column holds no pictures.
    """
    import datasets

    try:
        return data.cast_column(column, datasets.Image(decode=False))  # the bytes as they are
    except Exception as error:  # pyarrow's and datasets' own, for a column of another kind
        raise DataError(f"{name}: the column {column} holds no pictures ({data.features[column]}).") from error


def decoded(image: Any, size: int, channels: int, where: str) -> np.ndarray:
    """Decode a picture by the decoder of uploads: uint8 [size, size, channels].

    Args:
        image: {"bytes", "path"}, or None.
        where: names its row in errors.

    Raises:
        DataError: it is missing, empty or damaged; with its file.
    """
    if image is None or not (image["bytes"] or image["path"]):
        raise DataError(f"{where}: there is no picture. Remove the row, or put a picture there.")
    if image["path"]:
        where += f" ({image['path']})"
    try:
        picture = open_picture(image["bytes"] or image["path"])
    except InputError as error:
        raise DataError(f"{where}: {error} Replace or remove it.") from error
    return to_pixels([fit_picture(picture, size, channels, invert="no")])[0]
