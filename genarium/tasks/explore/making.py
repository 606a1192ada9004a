"""Making the map of codes: principal axes or classical scaling, and small versions of the pictures."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import PIL.Image

from genarium.tasks.explore.codes import CONTINUOUS, numbers_of, similarity
from genarium.tasks.explore.directions import MAX_AXES
from genarium.tasks.explore.mapping import ATLAS_COLUMNS, MAX_BYTES, NESTED, CodeMap, compact

NUM_PICTURES = 2000
MAX_CODE_BYTES = 90_000  # of discrete codes in the file; with longer codes there are fewer pictures
ROOM = 3000  # bytes of the file for names and headers
AXES_NUMBERS = 30_000  # of all axes together; a code of many numbers gets fewer axes
MAX_SPREADS = 64  # up to this length each number of a code has a slider of its own
THUMBNAILS = ((28, 50), (24, 45), (24, 30), (20, 50), (20, 35), (16, 50), (16, 30), (12, 30))  # (side, WebP quality)


def make_map(
    kind: str,
    codes: Any,
    images: np.ndarray,
    labels: np.ndarray | None,
    names: Sequence[str],
    vectors: np.ndarray | None = None,
) -> CodeMap:
    """Make the map of codes.

    Args:
        kind: of the codes.
        codes: of N test pictures, as `encode` gives them.
        images: the pictures, uint8 [N, H, W, C].
        labels: int64 [N] or None.
        names: of the classes.
        vectors: of the entries of a discrete code, float [K, D], where the model has some.
    """
    if kind not in CONTINUOUS and (needed := len(zlib.compress(compact(codes).tobytes()))) > MAX_CODE_BYTES:
        number = int(len(images) * MAX_CODE_BYTES / needed)
        labels = None if labels is None else labels[:number]
        return make_map(kind, codes[:number], images[:number], labels, names, vectors)
    number = len(images)
    own: dict[str, Any] = {"mean": None, "axes": None, "deviations": None, "spreads": None, "codes": None}
    if kind in CONTINUOUS:
        flat = numbers_of(codes)
        axes, share = _axes(flat)
        mean = np.zeros(2) if flat.shape[1] == 2 else flat.mean(0)
        along = (flat - mean) @ axes.T
        points = along[:, :2]
        spreads = flat.std(0) if flat.shape[1] <= MAX_SPREADS else None
        own |= {"mean": mean, "axes": axes, "deviations": along.std(0), "spreads": spreads}
    else:
        points, share = (
            (_nest(np.asarray(codes)), 1.0) if kind in NESTED else _scaling(similarity(kind, codes, vectors))
        )
        own["codes"] = list(codes) if kind == "words" else np.asarray(codes)
    shape = () if kind == "words" else tuple(np.asarray(codes).shape[1:])
    common: dict[str, Any] = {
        "kind": kind,
        "shape": shape,
        "points": points.astype(np.float32),
        "labels": np.full(number, -1) if labels is None else np.asarray(labels),
        "names": tuple(names),
        "share": share,
        "pictures": hashlib.sha256(np.ascontiguousarray(images).tobytes()).hexdigest()[:16],
    }
    rest = _size(CodeMap(**common, **own, atlas=b"", side=1))
    atlas, side = _atlas(images, MAX_BYTES - ROOM - rest)
    return CodeMap(**common, **own, atlas=atlas, side=side)


def _size(code_map: CodeMap) -> int:
    file = io.BytesIO()
    arrays = [getattr(code_map, name) for name in ("mean", "axes", "deviations", "spreads")]
    halves = [a.astype(np.float16) for a in arrays if a is not None]
    extra = [] if code_map.codes is None else [compact(code_map.codes)]
    np.savez_compressed(file, *halves, *extra, code_map.points.astype(np.float16), code_map.labels.astype(np.int16))
    return len(file.getvalue())


def _axes(flat: np.ndarray) -> tuple[np.ndarray, float]:
    """Return principal axes, orthonormal [k, d] with their largest entry positive, and the share of variance of the first two.

    Two numbers stay as they are. A code of one number gets a second axis without variance.
    """
    number, d = flat.shape
    if d == 2:
        return np.eye(2), 1.0
    if d == 1:
        raise ValueError("codes: a map needs codes of two numbers or more.")
    centred = flat - flat.mean(0)
    k = max(2, min(MAX_AXES, d, number - 1, AXES_NUMBERS // d))
    if d <= number:
        values, rows = np.linalg.eigh(centred.T @ centred)
        axes = rows.T[::-1][:k]
    else:
        values, columns = np.linalg.eigh(centred @ centred.T)
        axes = (columns.T[::-1][:k]) @ centred
        axes /= np.maximum(np.linalg.norm(axes, axis=1, keepdims=True), 1e-12)
    signs = np.sign(axes[np.arange(k), np.abs(axes).argmax(1)])
    return axes * signs[:, None], float(values[::-1][:2].sum() / max(values.sum(), 1e-12))


def _scaling(alike: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the places of classical scaling, [N, 2], and their share of the whole variance."""
    centred = alike - alike.mean(0) - alike.mean(1)[:, None] + alike.mean()
    values, vectors = np.linalg.eigh(centred)
    top = np.maximum(values[::-1][:2], 0)
    signs = np.sign(vectors[np.abs(vectors[:, ::-1][:, :2]).argmax(0), [-1, -2]])
    return vectors[:, ::-1][:, :2] * np.sqrt(top) * signs, float(top.sum() / max(np.maximum(values, 0).sum(), 1e-12))


def _nest(codes: np.ndarray) -> np.ndarray:
    """Return places of classes or paths, [N, 2]: a square for each choice, in it one for each choice of the next level.

    Codes that are equal lie around the middle of their square, as the seeds of a sunflower do.

    Args:
        codes: int [N] or [N, L].
    """
    rows = codes.reshape(len(codes), -1)
    columns = int(np.ceil(np.sqrt(rows.max() + 1)))
    corner, side = np.zeros((len(rows), 2)), 1.0
    for choice in rows.T:
        side /= columns
        corner += side * np.stack([choice % columns, columns - 1 - choice // columns], 1)
    _, leaf, counts = np.unique(rows, axis=0, return_inverse=True, return_counts=True)
    leaf = leaf.ravel()
    rank = np.zeros(len(rows))
    for i in range(len(counts)):
        rank[leaf == i] = np.arange(counts[i])
    radius = 0.45 * side * np.sqrt((rank + 0.5) / counts.max())
    turn = rank * np.pi * (3 - np.sqrt(5))
    return corner + side / 2 + radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], 1)


def _atlas(images: np.ndarray, room: int) -> tuple[bytes, int]:
    """Return small versions of pictures uint8 [N, H, W, C] as one WebP within `room` bytes, and their side."""
    found = (b"", 1)
    for largest, quality in THUMBNAILS:
        side = min(largest, images.shape[1])
        rows = -(-len(images) // ATLAS_COLUMNS)
        mode = "L" if images.shape[-1] == 1 else "RGB"
        sheet = PIL.Image.new(mode, (ATLAS_COLUMNS * side, rows * side))
        for i, pixels in enumerate(images):
            picture = PIL.Image.fromarray(pixels[..., 0] if mode == "L" else pixels)
            if picture.width != side:
                picture = picture.resize((side, side), PIL.Image.Resampling.LANCZOS)
            sheet.paste(picture, (i % ATLAS_COLUMNS * side, i // ATLAS_COLUMNS * side))
        file = io.BytesIO()
        sheet.save(file, "WEBP", quality=quality, method=6)
        found = file.getvalue(), side
        if len(found[0]) <= room:
            break
    return found
