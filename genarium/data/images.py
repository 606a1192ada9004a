"""Data sets of images, from the Hub, from a folder in its layout or from an .npz file, as batches in [-1, 1].

A split whose decoded pictures fit a budget of memory is decoded once. A larger one stays encoded on the disk, and each
batch is decoded when it is asked for. Both give the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genarium import paths
from genarium.data.budget import memory_budget, num_workers
from genarium.data.feed import feed
from genarium.data.fingerprint import hash_of
from genarium.data.labels import Names, number_labels
from genarium.data.mapped import Images, MappedImages, encoded
from genarium.data.npz import note_lacking_labels, open_npz
from genarium.data.pairs import Pairs
from genarium.data.texts import Texts
from genarium.errors import DataError
from genarium.recipe import DataSpec
from genarium.tasks import ANY


@dataclass(frozen=True)
class ImageData:
    """A whole split, in memory but for pictures that are too many for it.

    Args:
        images: uint8 [N, C, H, W], or what is indexed like it and decodes the pictures of a batch.
        labels: int64 [N], -1 for an image of no known class, or None without classes.
        id2label: names of the classes by number.
        horizontal_flip: whether training mirrors half of the images.
        seeds: int64 [N], of the generators that drew the images, if a teacher did.
        conditions: further labels by name, int64 [N] each.
        condition_names: names of their values by number.
        encoded: tensors [N, ...] that take the place of the images in batches of a stage that needs no pixels.
        pairs: which rows show the same content in different styles.
        texts: what each row is called.
    """

    images: Images
    labels: torch.Tensor | None
    id2label: dict[str, str] | None
    horizontal_flip: bool = False
    seeds: torch.Tensor | None = None
    conditions: Mapping[str, torch.Tensor] = field(default_factory=dict)
    condition_names: Mapping[str, dict[str, str]] = field(default_factory=dict)
    encoded: Mapping[str, torch.Tensor] = field(default_factory=dict)
    pairs: Pairs | None = None
    texts: Texts | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_workers(self) -> int:
        """How many processes compute batches ahead: none for pictures in memory."""
        return num_workers() if isinstance(self.images, MappedImages) else 0

    def batch(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> dict[str, Any]:
        """Return the batch of the training contract.

        With a generator, half of the images are mirrored if the data allow it, and each row gets a partner if the data have
        pairs. A row's partner and style example are mirrored with it. Data with texts add some of them.
        """
        flip = self._mirrored(len(indices), generator)
        batch: dict[str, Any] = {} if self.encoded else {"images": self._pixels(indices, flip)}
        batch["class_labels"] = None if self.labels is None else self.labels[indices]
        if self.conditions:
            batch["conditions"] = {name: values[indices] for name, values in self.conditions.items()}
        if self.pairs is not None and generator is not None:
            partners, examples = self.pairs.draw(indices, generator)
            batch |= {"partners": self._pixels(partners, flip), "style_examples": self._pixels(examples, flip)}
            batch["partner_conditions"] = {name: values[partners] for name, values in self.conditions.items()}
        if self.texts is not None and generator is not None:
            batch["texts"] = self.texts.draw(len(indices), generator)
            paired = self.texts.draw_paired(len(indices), generator)
            if len(paired):
                batch["paired"] = self._paired(paired, generator)
        if self.seeds is not None:
            batch["seeds"] = self.seeds[indices]
        if self.encoded:
            batch |= {name: values[indices] for name, values in self.encoded.items()}
        return batch

    def _paired(self, rows: torch.Tensor, generator: torch.Generator) -> dict[str, Any]:
        """Return rows of the batch contract that come with their own texts."""
        assert self.texts is not None
        found: dict[str, Any] = {"images": self._pixels(rows, self._mirrored(len(rows), generator))}
        if self.conditions:
            found["conditions"] = {name: values[rows] for name, values in self.conditions.items()}
        return found | {"texts": self.texts.numbers[rows]}

    def pixels(self, indices: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return the images of a batch alone, float [B, C, H, W] in [-1, 1]."""
        return self._pixels(indices, self._mirrored(len(indices), generator))

    def _mirrored(self, number: int, generator: torch.Generator | None) -> torch.Tensor | None:
        """Return which rows of a batch are mirrored, bool [number, 1, 1, 1]; None: none."""
        if generator is None or not self.horizontal_flip:
            return None
        return torch.rand(number, 1, 1, 1, generator=generator) < 0.5

    def array(self, indices: torch.Tensor) -> np.ndarray:
        """Return images as they are, uint8 [B, H, W, C]."""
        return self.images[indices].permute(0, 2, 3, 1).numpy()

    def _pixels(self, indices: torch.Tensor, flip: torch.Tensor | None) -> torch.Tensor:
        images = self.images[indices].float() / 127.5 - 1.0  # [B, C, H, W] in [-1, 1]
        return images if flip is None else torch.where(flip, images.flip(-1), images)

    def with_encoded(self, encoded: Mapping[str, torch.Tensor] | None) -> ImageData:
        """Return the same with what a pipeline made of each image; not where images are mirrored anew at each look."""
        return replace(self, encoded=encoded) if encoded and not self.horizontal_flip else self

    def only(self, names: Sequence[str], where: str) -> ImageData:
        """Return the images of some classes, numbered in the order of `names`; of a single class, without labels.

        Args:
            names: of the classes.
            where: the data are from, for messages.

        Raises:
            DataError: there is no such class, or no image of them.
        """
        known = {name: int(number) for number, name in (self.id2label or {}).items()}
        unknown = [name for name in names if name not in known]
        if self.labels is None or unknown:
            raise DataError(
                f"{where}: only: no class {', '.join(unknown or names)}; known: {', '.join(known) or 'none'}."
            )
        numbers = torch.full((max(known.values()) + 2,), -1)  # the last is what -1, no known class, refers to
        numbers[[known[name] for name in names]] = torch.arange(len(names))
        labels = numbers[self.labels]
        rows = (labels >= 0).nonzero()[:, 0]
        if not len(rows):
            raise DataError(f"{where}: only: there is no image of {', '.join(names)}.")
        several = len(names) > 1
        return replace(
            self,
            images=self.images.select(rows) if isinstance(self.images, MappedImages) else self.images[rows],
            labels=labels[rows] if several else None,
            id2label={str(i): name for i, name in enumerate(names)} if several else None,
            conditions={name: values[rows] for name, values in self.conditions.items()},
        )

    def class_counts(self) -> dict[str, int]:
        """Return the number of images of each class by its name; {} without classes."""
        if self.labels is None or not self.id2label:
            return {}
        return {name: int((self.labels == int(number)).sum()) for number, name in self.id2label.items()}

    def remarks(self) -> list[str]:
        """Return what a person should know of the classes before training: images without class, classes without image."""
        if self.labels is None or not self.id2label:
            return []
        unlabelled = int((self.labels < 0).sum())
        found = (
            [f"{unlabelled} of {len(self)} images have no label and are learnt without class."] if unlabelled else []
        )
        lacking = [name for name, number in self.class_counts().items() if not number]
        if lacking:
            found.append(f"there is no image of {', '.join(lacking)}; what is drawn for such a class was never learnt.")
        return found

    def fingerprint(self) -> dict[str, Any]:
        """Return what distinguishes these data from others: rows, classes, conditions, and a hash of pixels and labels.

        It is the same whether the pictures are in memory or not. Those that are not are all decoded once for it.
        """
        return self._fingerprint

    @cached_property
    def _fingerprint(self) -> dict[str, Any]:
        arrays: dict[str, Any] = {"images": self.images, "labels": self.labels, **self.conditions}
        if self.pairs is not None:
            arrays["contents"] = self.pairs.contents
        if self.texts is not None:
            arrays |= {"texts": self.texts.numbers, "paired": self.texts.paired}
        return {
            "rows": len(self),
            "id2label": self.id2label,
            "conditions": {name: dict(names) for name, names in self.condition_names.items()},
            "horizontal_flip": self.horizontal_flip,
            "sha256": hash_of(arrays),
        }

    def batches(self, batch_size: int) -> Iterator[dict[str, Any]]:
        """Yield the batches of one pass in order."""
        starts = range(0, len(self), batch_size)
        pieces = (torch.arange(start, min(start + batch_size, len(self))) for start in starts)
        yield from feed(self.batch, pieces, self.num_workers)


def local_copy(spec: DataSpec, override: str | Path | None = None) -> Path | None:
    """Return the folder or .npz file that stands in for the Hub id, if there is one.

    Raises:
        DataError: the override does not exist.
    """
    if override is not None:
        if not Path(override).exists():
            raise DataError(f"{override}: no such folder or file; leave it out to use {spec.name} from the Hub.")
        return Path(override)
    folder = paths.data()
    if folder is not None and (folder / spec.name.split("/")[-1]).exists():
        return folder / spec.name.split("/")[-1]
    return None


def load_images(
    spec: DataSpec,
    split: str,
    override: str | Path | None = None,
    id2label: Names | None = None,
    condition_names: Mapping[str, Names] | None = None,
) -> ImageData:
    """Load one split, in the size and mode that the recipe asks for; into memory if its pictures fit the budget.

    An .npz file is always read into memory, because its arrays are compressed whole.

    Args:
        spec: the recipe's data section.
        split: name of the split.
        override: a local folder in the Hub's layout, or an .npz file with `{split}_images` uint8 [N, H, W, C],
            `{split}_labels` int [N] and `label_names`, for each condition `{split}_{condition}` int [N] and
            `{condition}_names`, and for pairs and texts `{split}_{column}`, in place of the Hub id.
        id2label, condition_names: of a checkpoint, by whose names the split is numbered. Training gives none: its split is
            numbered by its own names.

    A split of a recipe that streams is read into memory, as far as its budget goes; training opens a stream instead.

    Raises:
        DataError: the data cannot be had, lack a column, hold a damaged picture or what is no label, or have a class that the
            checkpoint does not know.
    """
    if spec.streaming:
        from genarium.data.stream import open_stream  # which needs this module

        return open_stream(spec, split, override, id2label, condition_names).whole()
    if spec.only:
        return _load(spec, split, override, None, condition_names).only(spec.only, f"{spec.name}, {split}")
    return _load(spec, split, override, id2label, condition_names)


def _load(
    spec: DataSpec,
    split: str,
    override: str | Path | None,
    id2label: Names | None,
    condition_names: Mapping[str, Names] | None,
) -> ImageData:
    """Load a split with all its classes."""
    source = local_copy(spec, override)
    known = dict(condition_names or {})
    if source is not None and source.suffix == ".npz":
        return _load_npz(spec, split, source, id2label, known)

    import datasets  # here, so that machines that only generate, or train from .npz, do without it

    try:
        data = datasets.load_dataset(str(source or spec.name), spec.config if source is None else None,
                                     split=split, revision=spec.revision if source is None else None)  # fmt: skip
    except Exception as error:  # datasets raises many kinds, all meaning: it cannot be had
        raise DataError(
            f"{spec.name}: cannot be loaded ({error}). Check the connection, or set GENARIUM_DATA to a folder "
            f"that holds {spec.name.split('/')[-1]}/ in the Hub's layout."
        ) from error
    check_columns(spec, data.column_names)
    if not len(data):
        raise DataError(f"{spec.name}, {split}: there is no row.")

    images = _pictures(spec, data, split)

    def column(name: str, known: Names | None, required: bool) -> tuple[torch.Tensor, dict[str, str]]:
        names = getattr(data.features[name], "names", None)
        return number_labels(data[name][:], f"{spec.name}, {split}, {name}", names, known, required)

    labels, names = column(spec.label_column, id2label, False) if spec.label_column else (None, None)
    found = {c: column(name, known.get(c), True) for c, name in spec.conditions.items()}
    conditions = {name: values for name, (values, _) in found.items()}
    return ImageData(
        images,
        labels,
        names,
        spec.horizontal_flip,
        conditions=conditions,
        condition_names={name: named(spec, name, names) for name, (_, names) in found.items()},
        pairs=_pairs(spec.pairs.differ, data[spec.pairs.same][:], conditions) if spec.pairs else None,
        texts=Texts(data[spec.texts.column][:], spec.texts.paired) if spec.texts else None,
    )


def check_columns(spec: DataSpec, there: Sequence[str]) -> None:
    """Refuse data that lack a column of the recipe.

    Raises:
        DataError: so it is.
    """
    columns = (
        spec.image_column,
        spec.label_column,
        *spec.conditions.values(),
        spec.pairs and spec.pairs.same,
        spec.texts and spec.texts.column,
    )
    missing = [c for c in columns if c and c not in there]
    if missing:
        raise DataError(f"{spec.name}: no column {', '.join(missing)}; it has {', '.join(there)}.")


def _pictures(spec: DataSpec, data, split: str) -> Images:
    """Return the column of pictures, decoded if that fits the budget of memory: uint8 [N, C, H, W].

    Raises:
        DataError: a picture is missing, empty or damaged; with its row and its file.
    """
    table = encoded(data, spec.image_column, spec.name).select_columns([spec.image_column])
    images = MappedImages(table, spec.image_column, spec.sample_size, spec.channels, f"{spec.name}, {split}")
    return images.whole() if images.num_bytes <= memory_budget() else images


def named(spec: DataSpec, condition: str, names: dict[str, str]) -> dict[str, str]:
    """Return the names of a condition's values.

    Raises:
        DataError: one of them is kept for something else.
    """
    if ANY in names.values():
        raise DataError(f"{spec.name}: the condition {condition} has a value {ANY!r}, which stands for a free choice.")
    return names


def _pairs(differ: str, contents, conditions: Mapping[str, torch.Tensor]) -> Pairs:
    """Return the pairs of rows that agree in the column `same`, of strings or whole numbers, and differ in a condition."""
    numbers = np.unique(np.asarray(contents), return_inverse=True)[1].reshape(-1)
    return Pairs(torch.from_numpy(numbers.astype(np.int64)), conditions[differ])


def _load_npz(
    spec: DataSpec, split: str, source: Path, id2label: Names | None, known: Mapping[str, Names]
) -> ImageData:
    with open_npz(source) as arrays:
        images = arrays.images(f"{split}_images", spec.channels, spec.sample_size)
        labels, names = None, None
        if spec.label_column and f"{split}_labels" in arrays:
            labels, names = arrays.labels(f"{split}_labels", "label_names", len(images), id2label)
        elif spec.label_column:
            note_lacking_labels(source, f"{split}_labels")
        conditions, condition_names = {}, {}
        for name in spec.conditions:
            arrays[f"{name}_names"]  # refuses a file without
            found = arrays.labels(f"{split}_{name}", f"{name}_names", len(images), known.get(name), required=True)
            conditions[name], condition_names[name] = found[0], named(spec, name, found[1])
        pairs = None
        if spec.pairs:
            pairs = _pairs(spec.pairs.differ, arrays.column(f"{split}_{spec.pairs.same}", len(images)), conditions)
        texts = None
        if spec.texts:
            texts = Texts(arrays.column(f"{split}_{spec.texts.column}", len(images)).tolist(), spec.texts.paired)
    return ImageData(
        images,
        labels,
        names,
        spec.horizontal_flip,
        conditions=conditions,
        condition_names=condition_names,
        pairs=pairs,
        texts=texts,
    )
