"""What the Explore page does with codes of each kind: numbers of them, distances between them, and arithmetic.

A pipeline declares the kind of its code as `code_kind` (docs/contract.md, "Codes"). Three kinds are continuous: any numbers
between two codes are a code too. Of the others, entries are compared for equality.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeGuard

import numpy as np
import PIL.Image
import torch

from genarium.errors import InputError

CONTINUOUS = ("vector", "binary", "noise")
BATCH = 64


def encode(pipeline: Any, pictures: list[PIL.Image.Image]) -> Any:
    """Return the codes of pictures, which may be many: a tensor, or a list of strings."""
    batches = [encode_with(pipeline, pictures[start : start + BATCH]) for start in range(0, len(pictures), BATCH)]
    return [code for batch in batches for code in batch] if isinstance(batches[0], list) else torch.cat(batches)


def encode_with(
    pipeline: Any,
    pictures: list[PIL.Image.Image],
    seed: int = 0,
    labels: list[int] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> Any:
    """Return the codes of a batch of pictures, with parameters of the pipeline's method.

    Raises:
        InputError: the pipeline does not take them, and says why.
    """
    generators = [torch.Generator().manual_seed(seed) for _ in pictures]
    with _said():
        return pipeline.encode(pictures, generator=generators, class_labels=labels, **(parameters or {}))


def decode(pipeline: Any, codes: Any) -> list[PIL.Image.Image]:
    """Return the pictures of codes, which may be many. Raises as `decode_with`."""
    batches = (codes[start : start + BATCH] for start in range(0, len(codes), BATCH))
    return [picture for batch in batches for picture in decode_with(pipeline, batch)]


def decode_with(
    pipeline: Any, codes: Any, labels: list[int] | None = None, parameters: Mapping[str, Any] | None = None
) -> list[PIL.Image.Image]:
    """Return the pictures of a batch of codes, with parameters of the pipeline's method.

    Raises:
        InputError: the pipeline cannot decode them, and says why.
    """
    with _said():
        return pipeline.decode(codes, class_labels=labels, **(parameters or {})).images


@contextlib.contextmanager
def _said() -> Iterator[None]:
    """Turn what a pipeline says of its arguments into a message for the visitor."""
    try:
        yield
    except (TypeError, ValueError) as error:
        raise InputError(str(error)) from error


def stack(codes: list[Any]) -> Any:
    """Return single codes as a batch."""
    return codes if isinstance(codes[0], str) else torch.stack([torch.as_tensor(code) for code in codes])


def restrict(kind: str, codes: torch.Tensor) -> torch.Tensor:
    """Return continuous codes within what the kind allows: bits between 0 and 1."""
    return codes.clamp(0, 1) if kind == "binary" else codes


def numbers_of(codes: Any) -> np.ndarray:
    """Return continuous codes as float64 [N, d]."""
    return torch.as_tensor(codes).flatten(1).double().numpy()


def combine(
    kind: str, a: Any, b: Any, c: Any, vectors: torch.Tensor | None = None, most_words: int | None = None
) -> Any:
    """Return a - b + c of three codes, each of the shape of a single one.

    vector: the sum. binary: the sum, cut off at 0 and 1. noise: the sum, brought to the length of a, because noise of another
    length is none that a model has seen. one_hot, path, grid: c where a and b agree, and a elsewhere; or where entries stand
    for vectors, float [K, D], the entry nearest to the sum of the vectors. words: a's words without b's, then c's, of all of
    these the first `most_words`; None: all.
    """
    if kind == "words":
        without = Counter(b.split())
        kept = []
        for word in a.split():
            if without[word]:
                without[word] -= 1
            else:
                kept.append(word)
        return " ".join([*kept, *(word for word in c.split() if word not in kept)][:most_words])
    a, b, c = (torch.as_tensor(code) for code in (a, b, c))
    if kind not in CONTINUOUS and vectors is not None:
        vectors = vectors.float().cpu()
        wanted = vectors[a] - vectors[b] + vectors[c]
        return torch.cdist(wanted.reshape(-1, vectors.shape[1]), vectors).argmin(-1).reshape(a.shape)
    if kind not in CONTINUOUS:
        return torch.where(a == b, c, a)
    answer = a - b + c
    if kind == "noise":
        answer = answer * a.norm() / answer.norm().clamp(min=1e-6)
    return restrict(kind, answer)


def most_words(pipeline: Any) -> int | None:
    """Return how many words a code of a pipeline has at most; None where it does not say so, or has no words."""
    return pipeline.code_shape[0] if pipeline.code_kind == "words" and pipeline.code_shape else None


def similarity(kind: str, codes: Any, vectors: np.ndarray | None = None) -> np.ndarray:
    """Return how alike discrete codes are, float64 [N, N], positive semi-definite.

    Args:
        kind: "words": the share of common words (Tanimoto). Others: the share of equal entries.
        vectors: of the entries, float [K, D]: then the inner products of the codes as vectors.
    """
    if kind == "words":
        known = {word: i for i, word in enumerate(sorted({word for text in codes for word in text.split()}))}
        there = np.zeros((len(codes), max(len(known), 1)))
        for row, text in enumerate(codes):
            there[row, [known[word] for word in text.split()]] = 1
        common = there @ there.T
        size = there.sum(1)
        return common / np.maximum(size[:, None] + size[None] - common, 1)
    entries = np.asarray(codes).reshape(len(codes), -1)
    if vectors is not None:
        rows = np.asarray(vectors, np.float32)[entries].reshape(len(entries), -1)
        return (rows @ rows.T).astype(np.float64)
    alike = np.zeros((len(entries), len(entries)))
    for column in entries.T:
        alike += column[:, None] == column[None]
    return alike / entries.shape[1]


def switched(code: torch.Tensor, on: Collection[int], shown: int) -> torch.Tensor:
    """Return bits [K] whose first `shown` are 1 where their number, from 1, is in `on`, and else 0; the others stay."""
    first = torch.tensor([float(i + 1 in on) for i in range(min(shown, len(code)))])
    return torch.cat([first, code[shown:]])


def turned(code: torch.Tensor, place: int, on: bool) -> torch.Tensor:
    """Return bits [K] with one of them, by its number from 0, as given; the others stay."""
    changed = code.clone()
    changed[place] = float(on)
    return changed


def is_place(value: Any, length: int) -> TypeGuard[int]:
    """Return whether a value that came from outside is a number from 0 to `length` - 1."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < length


def vary(kind: str, code: Any, number_of_values: int | None, most: int = 64) -> tuple[Any, int]:
    """Return codes that differ from one in a single place, and how many of them make a row of a sheet.

    binary: each bit turned over. one_hot: every class. path: every choice of each level, a level in a row. Other kinds: none.

    Args:
        kind: of the code.
        code: of the shape of a single one.
        number_of_values: of each entry of a discrete code.
        most: codes.
    """
    values = number_of_values or 0
    if kind == "binary":
        rows = code.repeat(min(len(code), most), 1)
        at = torch.arange(len(rows))
        rows[at, at] = 1 - rows[at, at].round()
        return rows, 8
    if kind == "one_hot" and values:
        return torch.arange(min(values, most)), min(values, 8)
    if kind == "path" and values:
        levels = min(len(code), most // values)
        rows = code.repeat(levels * values, 1)
        rows[torch.arange(len(rows)), torch.arange(levels).repeat_interleave(values)] = torch.arange(values).repeat(
            levels
        )
        return rows, values
    return [], 1
