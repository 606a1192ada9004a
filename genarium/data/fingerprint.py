"""A hash of what is in a data set, by which a run knows its data again wherever they lie."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import torch

from genarium.data.mapped import Images, in_pieces


def hash_of(arrays: Mapping[str, Images | None], more: Iterable[torch.Tensor] = ()) -> str:
    """Return the SHA-256 of named tensors, of their shapes and types, and of a list of further ones, as hexadecimal digits."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {None if array is None else (array.dtype, tuple(array.shape))}".encode())
        for part in () if array is None else in_pieces(array):
            digest.update(part.contiguous().numpy().data)
    for array in more:
        digest.update(array.contiguous().numpy().data)
    return digest.hexdigest()
