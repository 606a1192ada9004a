"""From what was found to training data: every picture in the model's form, and a part of them held out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from genarium.data.own.entries import Limits, Unreadable
from genarium.data.own.found import Found
from genarium.data.own.sources import open_entries
from genarium.errors import DataError, InputError
from genarium.files import write_file
from genarium.media.decoding import open_picture
from genarium.media.pictures import fit_picture, to_pixels

HELD_OUT = 0.1  # of the pictures of each class
MOST_HELD_OUT = 1000
LEAST_HELD_OUT = 2


def prepare(
    brought: Sequence[tuple[str, Path]],
    found: Found,
    sample_size: int,
    channels: int,
    target: Path,
    limits: Limits = Limits(),  # noqa: B008  frozen
    seed: int = 0,
    advance: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Write the pictures that were found as an .npz file with the splits "train" and "test".

    Args:
        brought: as it was looked through; every picture is decoded again.
        found: what `look_through` returned of it.
        sample_size, channels: the model's form.
        target: of the file.
        limits: as for `look_through`.
        seed: of the choice of what is held out.
        advance: called with the pictures that are done, and how many there are.

    Raises:
        DataError: a picture is not what it was.
        Refused: what was brought is not what it was.
        FileError: the file cannot be written.
    """
    images = np.empty((len(found), sample_size, sample_size, channels), np.uint8)
    with open_entries(brought, limits) as entries:
        for row, place in enumerate(found.places):
            try:
                picture = open_picture(entries[place].read())
            except (InputError, Unreadable, IndexError) as error:
                raise DataError(f"{found.names[row]}: it has changed since it was looked at. Begin again.") from error
            images[row] = to_pixels([fit_picture(picture, sample_size, channels, invert="no")])[0]
            advance(row + 1, len(found))
    names = list(found.classes)
    numbers = {name: number for number, name in enumerate(names)}
    labels = np.array([-1 if label is None else numbers[label] for label in found.labels], np.int64)
    held_out = choose_held_out(labels, seed)
    arrays = {"train_images": images[~held_out], "test_images": images[held_out]}
    if names:
        arrays |= {"train_labels": labels[~held_out], "test_labels": labels[held_out], "label_names": np.array(names)}
    return write_file(target, lambda part: _save(part, arrays))


def choose_held_out(labels: np.ndarray, seed: int = 0) -> np.ndarray:
    """Choose the pictures that are not learnt, by which the model is measured: the same share of each class, at random.

    Args:
        labels: int64 [N], -1 for a picture of no class.
        seed: of the choice.

    Returns:
        bool [N]: whether a picture is held out. At least one of each class of five and `LEAST_HELD_OUT` in all are; at least
        half of each class is not.
    """
    generator = np.random.default_rng(seed)
    share = min(HELD_OUT, MOST_HELD_OUT / len(labels))
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        chosen[rows[: max(round(share * len(rows)), 1 if len(rows) >= 5 else 0)]] = True
    for row in generator.permutation(len(labels)):
        if chosen.sum() >= LEAST_HELD_OUT:
            break
        chosen[row] = True
    return chosen


def _save(path: Path, arrays: dict[str, Any]) -> None:
    with path.open("wb") as file:  # by name numpy would add an ending
        np.savez(file, **arrays)
