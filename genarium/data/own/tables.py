"""The pictures in a Parquet file, as data sets of the Hub are kept: its rows are read in order, and no program of anybody runs.

A row is a picture's bytes and perhaps its class. Where there are more rows than may be brought, some are taken at random.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow

BATCH = 16  # rows that are in memory at once
LABELS = ("label", "labels", "class", "category", "fine_label")  # columns that tell the class, the first that is there
IMAGES = ("image", "img", "picture", "photo")  # columns of bytes that are taken for pictures


class NoTable(Exception):
    """A file that is no Parquet file, or has no column of pictures.

    Args:
        key: of `words.WORDS`, which says why.
    """

    def __init__(self, key: str):
        super().__init__(key)
        self.key = key


@dataclass(frozen=True)
class Columns:
    """The columns of a table that matter.

    Args:
        image: of the pictures.
        label: of the classes, or None.
        names: of the classes by number; () where the labels are the names.
    """

    image: str
    label: str | None
    names: tuple[str, ...]


class Table:
    """A Parquet file of pictures, whose rows are best asked for in order.

    Args:
        path: of the file.

    Raises:
        NoTable: it is none, or has no column of pictures.
    """

    def __init__(self, path: Path):
        import pyarrow.parquet

        try:
            self.file = pyarrow.parquet.ParquetFile(path)
            self.columns = _columns(self.file.schema_arrow)
            self.rows = int(self.file.metadata.num_rows)
        except NoTable:
            raise
        except Exception as error:  # of many kinds, all meaning: it cannot be read
            raise NoTable("no_table") from error
        self._labels: list[str | None] | None = None
        self._batches: Iterator[Any] = iter(())
        self._first = 0
        self._cells: list[Any] = []

    @property
    def unpacked(self) -> int:
        """How many bytes the pictures have, as the file says."""
        meta, total = self.file.metadata, 0
        for group in range(meta.num_row_groups):
            parts = (meta.row_group(group).column(i) for i in range(meta.num_columns))
            total += sum(one.total_uncompressed_size for one in parts if one.path_in_schema.split(".")[0] == self.image)
        return total

    @property
    def image(self) -> str:
        return self.columns.image

    def label(self, row: int) -> str | None:
        """Return the class of a row, or None."""
        if self._labels is None:
            self._labels = self._read_labels()
        return self._labels[row] if row < len(self._labels) else None

    def picture(self, row: int) -> bytes | None:
        """Return the bytes of a row's picture; None where the table only names it, or ends before it.

        Raises:
            OSError: the file is damaged.
        """
        if row < self._first or not self._cells:
            self._first, self._cells = 0, []
            self._batches = self.file.iter_batches(batch_size=BATCH, columns=[self.image])
        try:
            while row >= self._first + len(self._cells):
                self._first += len(self._cells)
                self._cells = next(self._batches).column(0).to_pylist()
        except StopIteration:
            return None
        except Exception as error:  # as above
            raise OSError(str(error)) from error
        cell = self._cells[row - self._first]
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        return data if isinstance(data, bytes) else None

    def _read_labels(self) -> list[str | None]:
        if self.columns.label is None:
            return []
        try:
            values = self.file.read(columns=[self.columns.label]).column(0).to_pylist()
        except Exception:  # the pictures may be whole: they come without classes
            return []
        names = self.columns.names
        return [_name(value, names) for value in values]


def chosen_rows(counts: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Return (table, row) of the rows to take of several tables, in order: all of them, or `most` at random by a fixed seed.

    Rows at equal distances would lack classes where these come in turns.

    Args:
        counts: rows of each table.
        most: rows to take.
    """
    total, starts = sum(counts), [sum(counts[:i]) for i in range(len(counts))]
    chosen = range(total) if total <= most else np.random.default_rng(0).choice(total, most, replace=False)
    wanted = sorted(map(int, chosen))
    found, table = [], 0
    for row in wanted:
        while row >= starts[table] + counts[table]:
            table += 1
        found.append((table, row - starts[table]))
    return found


def _name(value: Any, names: Sequence[str]) -> str | None:
    """Return the name of a class as it is shown; None where there is no class."""
    if value is None or value == "" or isinstance(value, (bool, float, bytes, dict, list)):
        return None
    if isinstance(value, int) and names:
        return names[value] if 0 <= value < len(names) else None
    return None if value == -1 else str(value)


def _columns(schema: pyarrow.Schema) -> Columns:
    """Return the columns of pictures and of classes, by what the Hub's library wrote into the file, or by names and types."""
    import pyarrow.types as types

    features = _features(schema)
    kinds = {name: one.get("_type") for name, one in features.items() if isinstance(one, dict)}
    images = [name for name in schema.names if kinds.get(name) == "Image"]
    for field in schema:
        if (
            types.is_struct(field.type)
            and field.type.get_field_index("bytes") >= 0
            and kinds.get(field.name) != "Audio"
        ):
            images.append(field.name)
    binary = [field.name for field in schema if types.is_binary(field.type) or types.is_large_binary(field.type)]
    images += [name for name in IMAGES if name in binary]
    if not images:
        raise NoTable("no_pictures")
    classes = [name for name in schema.names if kinds.get(name) == "ClassLabel"]
    plain = [
        field.name
        for field in schema
        if types.is_integer(field.type) or types.is_string(field.type) or types.is_large_string(field.type)
    ]
    label = next((name for name in LABELS if name in classes), classes[0] if classes else None)
    label = label or next((name for name in LABELS if name in plain), None)
    names = features[label].get("names") if label is not None and label in classes else None
    whole = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return Columns(images[0], label, tuple(names) if whole and names else ())


def _features(schema: pyarrow.Schema) -> dict[str, Any]:
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return features if isinstance(features, dict) else {}
