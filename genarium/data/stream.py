"""A split that is read as a stream, from the Hub or from files, and is never there as a whole.

Each process reads its own shards (`datasets.distributed.split_dataset_by_node`), in an order that each epoch draws anew.
Rows are shuffled in one buffer after another: a buffer is filled, and its rows are handed out in random order. A place in the
stream is then the state that `datasets` had before a buffer, and a number of rows of it. So a training that goes on sees what
it would have seen. The shuffling of `datasets` keeps part of its buffer each time, and loses that part where it goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genarium.data.budget import memory_budget
from genarium.data.images import ImageData, check_columns, local_copy, named
from genarium.data.labels import Names, number_labels
from genarium.data.mapped import decoded, encoded
from genarium.errors import DataError
from genarium.notices import note
from genarium.recipe import DataSpec

Row = dict[str, Any]
FEW_SHARDS = 64  # fewer are divided further where their format allows it, Parquet files into their row groups
SHOWN = 10  # pictures of sample grids


@dataclass(frozen=True)
class Position:
    """A place in the stream of one process: `taken` rows of a buffer are done.

    `state` is that of `datasets` before the buffer; None: the epoch begins with it.
    """

    epoch: int = 0
    buffer: int = 0
    state: Mapping[str, Any] | None = None
    taken: int = 0


@dataclass(frozen=True)
class ImageStream:
    """A stream of pictures with their labels.

    Args:
        rows: a `datasets.IterableDataset` with encoded pictures.
        spec: the recipe's data section.
        split: its name.
        id2label: names of the classes by number; None without classes.
        condition_names: of further labels, by number.
        value_names: what whole numbers in a column of labels mean, by the column; None: each is its own name.
        files: what the stream is read from, by which a run knows its data again.
        number: of rows, where it is known.
    """

    rows: Any
    spec: DataSpec
    split: str
    id2label: dict[str, str] | None = None
    condition_names: Mapping[str, dict[str, str]] = field(default_factory=dict)
    value_names: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    files: tuple[str, ...] = ()
    number: int | None = None

    # ---- what the steps see ----

    def draw(
        self, share: int, seed: int, rank: int = 0, world: int = 1, position: Position | None = None
    ) -> Generator[tuple[list[Row], Position], None, None]:
        """Yield the rows of one step after another, without an end, and the position after them.

        Args:
            share: rows of a step.
            seed: of the order.
            rank, world: number of this process, and of all.
            position: from which to go on.

        Raises:
            DataError: the process has no row, or a row cannot be read.
        """
        first = position.taken if position else 0
        rows: list[Row] = []
        buffers = self._buffers(seed, rank, world, position or Position())
        with contextlib.closing(_read_ahead(buffers)) as ahead:
            for begin, buffer in ahead:
                for taken in range(first, len(buffer)):
                    rows.append(buffer[taken])
                    if len(rows) == share:
                        yield rows, replace(begin, taken=taken + 1)
                        rows = []
                first = 0

    def _buffers(
        self, seed: int, rank: int, world: int, position: Position
    ) -> Generator[tuple[Position, list[Row]], None, None]:
        """Yield one buffer after another in shuffled order, and where it begins."""
        epoch, number, state = position.epoch, position.buffer, position.state
        while True:
            shards = split_by_node(self.rows, rank, world)
            shards.set_epoch(_epoch_seed(seed, epoch))  # each number is another order, the same in all processes
            if state is not None:
                shards.load_state_dict(dict(state))
            is_empty = state is None
            with contextlib.closing(iter(shards)) as rows:
                while buffer := list(self._read(rows, self.spec.shuffle_buffer)):
                    is_empty = False
                    random = np.random.default_rng([_epoch_seed(seed, epoch), number, rank])
                    yield Position(epoch, number, state), [buffer[i] for i in random.permutation(len(buffer))]
                    number, state = number + 1, shards.state_dict()
            if is_empty:
                raise DataError(f"{self.where}: there is no row for process {rank + 1} of {world}.")
            epoch, number, state = epoch + 1, 0, None

    def _read(self, rows: Iterator[Row], number: int) -> Iterator[Row]:
        try:
            for row in islice(rows, number):
                row[self.spec.image_column] = _fetched(row[self.spec.image_column])
                yield row
        except Exception as error:  # of the Hub, the file system and the formats: all mean that it cannot be read
            raise DataError(
                f"{self.where}: the stream cannot be read further ({error}). Check the connection."
            ) from error

    def batch(self, rows: list[Row], generator: torch.Generator | None = None) -> dict[str, Any]:
        """Return the batch of the training contract; with a generator, half are mirrored if the data allow it."""
        return self.decode(rows).batch(torch.arange(len(rows)), generator)

    def decode(self, rows: list[Row]) -> ImageData:
        """Return rows with their pictures decoded and their labels numbered.

        Raises:
            DataError: a picture is missing or damaged, or a label has no name.
        """
        spec = self.spec
        pixels = [decoded(row[spec.image_column], spec.sample_size, spec.channels, self.where) for row in rows]

        def column(name: str, names: Names, required: bool) -> torch.Tensor:
            where = f"{self.where}, {name}, a piece of the stream"
            return number_labels([row[name] for row in rows], where, self.value_names.get(name), names, required)[0]

        has_labels = spec.label_column and self.id2label
        return ImageData(
            torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).contiguous(),
            column(str(spec.label_column), self.id2label or {}, False) if has_labels else None,
            self.id2label,
            spec.horizontal_flip,
            conditions={
                name: column(place, self.condition_names[name], True) for name, place in spec.conditions.items()
            },
            condition_names=self.condition_names,
        )

    # ---- some of it ----

    def some(self, number: int, batch_size: int) -> Iterator[dict[str, Any]]:
        """Yield batches of the first rows of the first epoch, `number` at most, in the order of one process."""
        for rows in self._first(number, batch_size):
            yield self.batch(rows)

    def batches(self, batch_size: int) -> Iterator[dict[str, Any]]:
        """Yield the batches of `fit_images` rows, which stand for all where a family measures its data."""
        assert self.spec.fit_images is not None  # `check_streaming` asks for it
        yield from self.some(self.spec.fit_images, batch_size)

    @cached_property
    def shown(self) -> ImageData:
        """A few pictures for sample grids."""
        return self.decode(next(self._first(SHOWN, SHOWN)))

    def whole(self) -> ImageData:
        """Decode a split into memory. Of a test split that is too large, as many pictures as the budget of memory holds.

        Raises:
            DataError: another split is larger than the budget.
        """
        spec = self.spec
        most = max(1, memory_budget() // (spec.sample_size**2 * spec.channels))
        parts = [self.decode(rows) for rows in self._first(most + 1, 500)]
        images = torch.cat([torch.as_tensor(part.images) for part in parts])
        labels = (
            torch.cat([part.labels for part in parts if part.labels is not None])
            if parts[0].labels is not None
            else None
        )
        conditions = {name: torch.cat([part.conditions[name] for part in parts]) for name in spec.conditions}
        if len(images) > most:
            if self.split != spec.test_split:
                raise DataError(
                    f"{self.where}: it is streamed, and larger than the memory for it ({most} pictures). What looks at all of "
                    "its pictures needs them in memory, or on the disk: take data.streaming out of the recipe."
                )
            note(f"{self.where}: the first {most} pictures of the stream are used, which the memory for them holds.")
            conditions = {name: values[:most] for name, values in conditions.items()}
            images, labels = images[:most], None if labels is None else labels[:most]
        return replace(parts[0], images=images, labels=labels, conditions=conditions)

    def _first(self, number: int, batch_size: int) -> Iterator[list[Row]]:
        """Yield the rows of the first epoch of one process in pieces, `number` rows at most."""
        left = number
        with contextlib.closing(self._buffers(0, 0, 1, Position())) as buffers:
            for begin, buffer in buffers:
                if begin.epoch:
                    return
                for start in range(0, min(left, len(buffer)), batch_size):
                    yield buffer[start : min(start + batch_size, left)]
                left -= len(buffer)
                if left <= 0:
                    return

    # ---- what is known of it ----

    @property
    def where(self) -> str:
        return f"{self.spec.name}, {self.split}"

    def class_counts(self) -> dict[str, int]:
        """Return {}: nobody has counted the pictures of a stream."""
        return {}

    def remarks(self) -> list[str]:
        """Return what a person should know of the classes before training."""
        return ["the data are streamed. A class without pictures is not noticed, and its samples are never learnt."]

    def fingerprint(self) -> dict[str, Any]:
        """Return what distinguishes this stream from others: its files by name and size or commit, classes and order."""
        return {
            "rows": self.number,
            "id2label": self.id2label,
            "conditions": {name: dict(names) for name, names in self.condition_names.items()},
            "horizontal_flip": self.spec.horizontal_flip,
            "shuffle_buffer": self.spec.shuffle_buffer,
            "sha256": hashlib.sha256("\n".join(self.files).encode()).hexdigest(),
        }


def open_stream(
    spec: DataSpec,
    split: str,
    override: str | Path | None = None,
    id2label: Names | None = None,
    condition_names: Mapping[str, Names] | None = None,
) -> ImageStream:
    """Open a split as a stream.

    Args:
        spec: the recipe's data section.
        split: name of the split.
        override: a local folder in the Hub's layout, in place of the Hub id.
        id2label, condition_names: of a checkpoint, by whose names the split is numbered.

    Raises:
        DataError: the data cannot be had, lack a column, or have labels whose names nobody has said.
    """
    import datasets

    source = local_copy(spec, override)
    if source is not None and source.suffix == ".npz":
        raise DataError(
            f"{source}: an .npz file is read whole. Take data.streaming out of the recipe, or give a folder."
        )
    place, config = str(source or spec.name), spec.config if source is None else None
    revision = spec.revision if source is None else None
    try:
        builder = datasets.load_dataset_builder(place, config, revision=revision)
        rows = builder.as_streaming_dataset(split=split)
        if rows.num_shards < FEW_SHARDS:
            rows = rows.reshard()
    except Exception as error:  # datasets raises many kinds, all meaning: it cannot be had
        raise DataError(
            f"{spec.name}: cannot be streamed ({error}). Check the connection, or set GENARIUM_DATA to a folder "
            f"that holds {spec.name.split('/')[-1]}/ in the Hub's layout."
        ) from error
    files = [str(file) for file in (builder.config.data_files or {}).get(split, [])]
    number = (builder.info.splits or {}).get(split)
    return stream_of(
        rows,
        spec,
        split,
        [_identity(file) for file in files] or [place, str(config), str(revision)],
        None if number is None else number.num_examples,
        id2label,
        condition_names,
    )


def stream_of(
    rows: Any,
    spec: DataSpec,
    split: str,
    files: Sequence[str],
    number: int | None = None,
    id2label: Names | None = None,
    condition_names: Mapping[str, Names] | None = None,
) -> ImageStream:
    """Return a stream of the rows of a `datasets.IterableDataset`, such as one that a program makes up.

    Args:
        rows: with features.
        spec, split, files, number: of the stream, as `ImageStream`.
        id2label, condition_names: of a checkpoint, as for `open_stream`.

    Raises:
        DataError: the rows lack a column, or have labels whose names nobody has said.
    """
    if rows.features is None:
        raise DataError(f"{spec.name}, {split}: a stream must say its features, such as a Parquet file does.")
    check_columns(spec, rows.column_names)
    columns = [spec.image_column, *([spec.label_column] if spec.label_column else []), *spec.conditions.values()]
    rows = encoded(rows.select_columns(columns), spec.image_column, spec.name)
    values: dict[str, Sequence[str] | None] = {
        name: getattr(feature, "names", None) for name, feature in rows.features.items()
    }
    classes = None
    if spec.label_column:
        values[spec.label_column] = _class_names(spec, values[spec.label_column])
        classes = dict(id2label or _numbered(spec, values[spec.label_column]))
    conditions: dict[str, dict[str, str]] = {}
    for name, column in spec.conditions.items():
        given, own = (condition_names or {}).get(name), values[column]
        if given is None and own is None:
            raise DataError(
                f"{spec.name}: the condition {name} is streamed, so its values must be known before: make the column "
                f"{column} a ClassLabel."
            )
        conditions[name] = named(spec, name, dict(given or enumerated(own or ())))
    return ImageStream(rows, spec, split, classes, conditions, values, tuple(files), number)


def _class_names(spec: DataSpec, names: Sequence[str] | None) -> Sequence[str] | None:
    """Return what the numbers of the classes mean, by the data or else by the recipe."""
    if names and spec.class_names and tuple(names) != spec.class_names:
        raise DataError(
            f"{spec.name}: the data call the classes {', '.join(names)}, and data.class_names says otherwise. Take it out."
        )
    return names or spec.class_names or None


def _numbered(spec: DataSpec, names: Sequence[str] | None) -> dict[str, str]:
    """Return the names of the classes by number."""
    if names is None:
        raise DataError(
            f"{spec.name}: the data are streamed, so the names of the classes must be known before, and the column "
            f"{spec.label_column} does not say them. Give data.class_names: [cat, dog], or set data.label_column to null."
        )
    return enumerated(names)


def enumerated(names: Sequence[str]) -> dict[str, str]:
    """Return {"0": first name, ...}."""
    return {str(number): name for number, name in enumerate(names)}


def split_by_node(rows: Any, rank: int, world: int) -> Any:
    """Return the share of a process in a stream, as a stream with a state of its own."""
    from datasets.distributed import split_dataset_by_node

    return split_dataset_by_node(rows, rank, world)


def _fetched(image: Any) -> Any:
    """Return an encoded picture with its bytes, if it is a file elsewhere: streams of single files hold their addresses."""
    if not image or image["bytes"] or "://" not in (image["path"] or ""):
        return image
    import fsspec

    with fsspec.open(image["path"], "rb") as file:
        return {"bytes": file.read(), "path": image["path"]}


def _identity(file: str) -> str:
    """Return what a file is known by: its address, which on the Hub names the commit; of a local one, its name and size."""
    path = Path(file)
    return f"{path.name} {path.stat().st_size}" if path.is_file() else file


def _epoch_seed(seed: int, epoch: int) -> int:
    return (seed * 1_000_003 + epoch + 1) % 2**62


def _read_ahead(buffers: Generator[Any, None, None]) -> Generator[Any, None, None]:
    """Yield the buffers, of which another thread reads the next."""
    with contextlib.closing(buffers), ThreadPoolExecutor(1, "stream") as pool:
        waiting = pool.submit(next, buffers)
        while True:
            buffer = waiting.result()
            waiting = pool.submit(next, buffers)
            yield buffer
