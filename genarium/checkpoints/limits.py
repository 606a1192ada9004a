"""Limits on what a checkpoint's configurations may ask for, checked before anything is built from them.

A configuration is a few bytes, and may ask for a network of any size. The weights beside it say how large the network can
really be: a header of safetensors lists every tensor with its shape, and the file must hold them all.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from genarium.errors import CheckpointError
from genarium.files import read_json

MAX_INTEGER = 2**20  # in any configuration; the largest here, a sampling rate, is 16,000
SMALL = 2**16  # up to here an integer is no matter of the weights: sampling rates, time steps, lengths of windows
MAX_SIDE = 1024  # pixels of a picture's side
LAYERS = re.compile(r"(^|_)(layers|depth|blocks|repeats)(_|$)")


def check_limits(name: str, folder: Path) -> None:
    """Refuse a checkpoint whose configurations ask for more than its weights can fill. Reads configurations and headers.

    Args:
        name: of the checkpoint, for messages.
        folder: in `save_pretrained` layout, or with all files beside each other.

    Raises:
        CheckpointError: an integer is too large, or a file of weights has no readable header.
    """
    for path in sorted([*folder.glob("*.json"), *folder.glob("*/*.json")]):
        if path.name == "config.json":
            check_model(name, path, *_tensors(name, path.parent))
        elif path.name == "model_index.json" or path.name.endswith("_config.json"):
            for key, value in integers(_read(name, path)):
                _check(name, path, key, value, MAX_SIDE if key == "sample_size" else MAX_INTEGER)


def check_model(name: str, path: Path, number: int, elements: int) -> None:
    """Refuse a network's configuration that asks for more than its weights can fill.

    Args:
        name: of the checkpoint, for messages.
        path: of the config.json.
        number: of tensors in the weights; 0 if there are none, which the loader reports.
        elements: of all tensors together.

    Raises:
        CheckpointError: it cannot be read, or an integer in it is too large.
    """
    for key, value in integers(_read(name, path)):
        most = max(SMALL, min(elements, MAX_INTEGER))
        if key == "sample_size":
            most = MAX_SIDE
        elif LAYERS.search(key) and number:
            most = number  # a layer without a tensor has nothing to learn
        _check(name, path, key, value, most)


def integers(values: Any) -> Iterator[tuple[str, int]]:
    """Yield the integers of a configuration, each with the key that it stands under."""
    todo: list[tuple[str, Any]] = [("", values)]
    while todo:  # a stack of our own: nesting may be deep
        key, value = todo.pop()
        if isinstance(value, Mapping):
            todo += value.items()
        elif isinstance(value, list):
            todo += [(key, one) for one in value]
        elif isinstance(value, int) and not isinstance(value, bool):
            yield key, value


def _check(name: str, path: Path, key: str, value: int, most: int) -> None:
    if abs(value) > most:
        shown = f"{value}" if abs(value) < 10**15 else "a number of more than 15 digits"
        raise CheckpointError(
            f"{name}: {path.parent.name}/{path.name}: {key} is {shown}; with these weights it can be {most} at most."
        )


def _tensors(name: str, folder: Path) -> tuple[int, int]:
    """Return how many tensors the weights in a folder have, and how many elements together."""
    number = elements = 0
    for path in folder.glob("*.safetensors"):
        if not os.access(path, os.R_OK):  # safetensors says that there is no such file
            raise CheckpointError(f"{name}: {path.parent.name}/{path.name} cannot be read: permission denied.")
        try:
            with safe_open(path, "pt") as file:
                for key in file.keys():  # noqa: SIM118 - it is no dictionary
                    size = 1
                    for length in file.get_slice(key).get_shape():
                        size *= length
                    number, elements = number + 1, elements + size
        except (OSError, SafetensorError) as error:
            raise CheckpointError(
                f"{name}: {path.parent.name}/{path.name} cannot be loaded from safetensors: {error}"
            ) from error
    return number, elements


def _read(name: str, path: Path) -> Any:
    try:
        return read_json(path)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{name}: {path.parent.name}/{path.name} cannot be read: {error}") from error
