"""Kinds of code that `encode` gives and `decode` takes, and the check of codes that a caller gives.

kind       form                    what it is
vector     float32 [N, d]          d numbers
binary     float32 [N, K]          K bits, 0 or 1; `decode` also takes probabilities
one_hot    int64 [N]               one of K classes that the model made for itself
path       int64 [N, L]            a choice at each of L levels of a tree
grid       int64 [N, h, w]         a map of entries of a codebook
words      list of N strings       words of a vocabulary, with a space between two
noise      float32 [N, C, h, w]    about standard normal, such as the noise that generates a picture
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch

CodeKind = Literal["vector", "binary", "one_hot", "path", "grid", "words", "noise"]
Codes = torch.Tensor | np.ndarray | list | str
CODE_AXES = {  # after N
    "vector": ("d",),
    "binary": ("K",),
    "one_hot": (),
    "path": ("L",),
    "grid": ("h", "w"),
    "noise": ("C", "h", "w"),
}
CONTINUOUS = ("vector", "binary", "noise")


def to_codes(
    codes: Any,
    kind: CodeKind,
    shape: tuple[int, ...] | None,
    number_of_values: int | None,
    device: torch.device | str = "cpu",
) -> torch.Tensor | list[str]:
    """Return codes in the form of their kind, checked.

    Args:
        codes: N codes, or a single one without the axis N: a tensor, an array or nested lists; for "words" strings.
        kind: of the code.
        shape: of a single code; None: not checked.
        number_of_values: that an entry of a discrete code can take, from 0; None: not checked.
        device: of the result.

    Returns:
        float32, int64 or a list of strings; see the top of this file.

    Raises:
        TypeError: codes of another kind.
        ValueError: another shape, no code, or values out of range.
    """
    if kind == "words":
        codes = [codes] if isinstance(codes, str) else codes
        if not isinstance(codes, (list, tuple)) or not all(isinstance(one, str) for one in codes):
            raise TypeError("codes: this model's codes are words; give a string, or a list of strings.")
        if not codes:
            raise ValueError("codes: give at least one string.")
        return list(codes)

    axes = ", ".join(str(n) for n in (shape if shape is not None else CODE_AXES[kind]))
    form = f"{'float' if kind in CONTINUOUS else 'int64'} [N{', ' * bool(axes)}{axes}]"
    try:
        given = torch.as_tensor(codes, device=device)
    except (TypeError, ValueError, RuntimeError):  # torch's for strings, for None, for ragged lists
        raise TypeError(f"codes: this model's codes are of kind {kind!r}; give {form}, not {codes!r:.80}.") from None
    if given.is_complex() or (kind not in CONTINUOUS and (given.is_floating_point() or given.dtype == torch.bool)):
        raise TypeError(f"codes: this model's codes are of kind {kind!r}; give {form}, not {given.dtype}.")
    if given.ndim == len(CODE_AXES[kind]):
        given = given[None]
    fits = given.ndim == 1 + len(CODE_AXES[kind]) and (shape is None or given.shape[1:] == tuple(shape))
    if not fits or not given.numel():
        raise ValueError(f"codes: this model takes {form} with N > 0, not {list(given.shape)}.")
    if kind in CONTINUOUS:
        given = given.to(torch.float32)
        if not given.isfinite().all():
            raise ValueError("codes: NaN or infinity among the numbers.")
        if kind == "binary" and (given.min() < 0 or given.max() > 1):
            raise ValueError("codes: bits are 0 or 1, or probabilities between them.")
        return given
    given = given.to(torch.int64)
    if given.min() < 0 or (number_of_values is not None and given.max() >= number_of_values):
        most = "" if number_of_values is None else f" ... {number_of_values - 1}"
        raise ValueError(f"codes: entries must lie in 0{most}, not {int(given.min())} ... {int(given.max())}.")
    return given
