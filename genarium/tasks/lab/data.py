"""The Lab's data: sets of points whose density is known, and points that a visitor draws or uploads.

Every set is a mixture of Gaussians or of rectangles, so its density and score are known exactly, with any noise.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from genarium.errors import InputError
from genarium.messages import quoted
from genarium.tasks.lab.densities import Density, Gaussians, Rectangles
from genarium.tasks.lab.frame import SIDE

DRAWN = "drawn"
FEWEST, MOST = 20, 20_000  # points that a visitor may give
ROOM = 0.9 * SIDE  # what a visitor's points are shrunk to, if they lie outside of the square
BLUR = 0.08  # deviation of the Gaussians around drawn points
WORD = "GEN"


def _moons() -> Density:
    """Return two half circles that reach into each other."""
    angle = np.linspace(0, math.pi, 60)
    upper = np.stack([np.cos(angle), np.sin(angle)], 1)
    lower = np.stack([1 - np.cos(angle), 0.5 - np.sin(angle)], 1)
    return Gaussians(2 * (np.concatenate([upper, lower]) - (0.5, 0.25)), 0.16)


def _pinwheel() -> Density:
    """Return five arms that turn as they reach outwards (Johnson et al. 2016, https://arxiv.org/abs/1603.06277)."""
    radius = np.linspace(0.5, 3.3, 24)
    turn = 0.55 * radius
    start = 2 * math.pi * np.arange(5) / 5
    angle = start[:, None] + turn  # [5, 24]
    means = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 2).reshape(-1, 2)
    along = np.exp(-0.5 * ((radius - 1.9) / 0.75) ** 2)
    return Gaussians(means, np.tile(0.07 + 0.05 * radius, 5), np.tile(along, 5))


def _gaussians() -> Density:
    """Return eight Gaussians on a circle."""
    angle = 2 * math.pi * np.arange(8) / 8
    return Gaussians(2.8 * np.stack([np.cos(angle), np.sin(angle)], 1), 0.22)


def _checkerboard() -> Density:
    """Return eight squares of a chequerboard of four by four."""
    side = 1.7
    low = np.array([(i, j) for i in range(4) for j in range(4) if (i + j) % 2 == 0]) * side - 2 * side
    return Rectangles(low, low + side)


def _swiss_roll() -> Density:
    """Return a spiral of equal density along its length."""
    angle = 1.5 * math.pi * np.sqrt(np.linspace(0.11, 1, 150)) * 2
    return Gaussians(np.stack([angle * np.cos(angle), angle * np.sin(angle)], 1) * 3.3 / (3 * math.pi), 0.13)


def _rings() -> Density:
    """Return three circles around one centre, with equal density along them."""
    means = []
    for radius in (1.0, 2.1, 3.2):
        angle = 2 * math.pi * np.arange(round(30 * radius)) / round(30 * radius)
        means.append(radius * np.stack([np.cos(angle), np.sin(angle)], 1))
    return Gaussians(np.concatenate(means), 0.1)


def _letters() -> Density:
    """Return a word, whose every pixel is a small square."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(size=40)
    left, top, right, bottom = font.getbbox(WORD)
    picture = Image.new("1", (math.ceil(right - left), math.ceil(bottom - top)))
    ImageDraw.Draw(picture).text((-left, -top), WORD, fill=1, font=font)
    ink = np.asarray(picture)
    rows, columns = np.nonzero(ink)
    pixel = 2 * ROOM / max(ink.shape)
    low = np.stack([columns - ink.shape[1] / 2, ink.shape[0] / 2 - 1 - rows], 1) * pixel
    return Rectangles(low, low + pixel)


SETS: dict[str, Callable[[], Density]] = {
    "moons": _moons,
    "pinwheel": _pinwheel,
    "gaussians": _gaussians,
    "checkerboard": _checkerboard,
    "swiss-roll": _swiss_roll,
    "rings": _rings,
    "letters": _letters,
}
DATA_NAMES = (*SETS, DRAWN)


@functools.cache
def known_density(name: str) -> Density:
    """Return the density of a set of SETS."""
    return SETS[name]()


def density_of(name: str, points: np.ndarray | None = None) -> Density:
    """Return the density of the data.

    Args:
        name: of DATA_NAMES.
        points: [N, 2], for "drawn": the density is a small Gaussian around each.

    Raises:
        InputError: an unknown set, or drawn data without points.
    """
    if name == DRAWN:
        if points is None:
            raise InputError("Draw some points first, or upload a CSV file.")
        return Gaussians(parse_points(points), BLUR)
    if name not in SETS:
        raise InputError(f"data: choose one of {', '.join(DATA_NAMES)}, not {quoted(name)}.")
    return known_density(name)


def data_points(name: str, seed: int = 0, number: int = 400) -> np.ndarray:
    """Draw points of a set of SETS, float32 [number, 2].

    Raises:
        InputError: an unknown set.
    """
    return density_of(name).draw(number, np.random.default_rng(seed)).astype(np.float32)


def parse_points(given: Any) -> np.ndarray:
    """Return points from a canvas or a CSV file, float32 [N, 2].

    Points that do not all fit the square are moved to its middle and shrunk together, which keeps their shape. Points in the
    square stay where they are. Of more than MOST points an even choice is taken.

    Args:
        given: a list or an array of pairs, or the text of a CSV file: two columns of numbers, with or without a line of
            headings, separated by commas, semicolons, tabs or spaces.

    Raises:
        InputError: no pairs of finite numbers, or fewer than FEWEST of them.
    """
    if isinstance(given, bytes):
        given = given.decode("utf-8", "replace")
    if isinstance(given, str):
        given = _rows_of(given)
    try:
        points = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        points = np.empty(0)
    if points.size and (points.ndim != 2 or points.shape[1] != 2):
        raise InputError("Points are pairs of numbers: two columns, x and y.")
    if len(points) < FEWEST:
        raise InputError(f"At least {FEWEST} points are needed; these are {len(points)}.")
    if not np.isfinite(points).all() or np.abs(points).max() > 1e12:
        raise InputError("Points are pairs of finite numbers, below 10^12.")
    if len(points) > MOST:
        points = points[np.linspace(0, len(points) - 1, MOST).round().astype(int)]
    if np.abs(points).max() > SIDE:
        low, high = points.min(0), points.max(0)
        points = (points - (low + high) / 2) * (2 * ROOM / max(float((high - low).max()), 1e-12))
    return points.astype(np.float32)


def _rows_of(text: str) -> list[list[float]]:
    """Return the rows of numbers of a CSV file.

    Raises:
        InputError: a row that has no two numbers, and is not the first.
    """
    rows: list[list[float]] = []
    lines = [line for line in text.replace("\ufeff", "").splitlines() if line.strip()]
    for number, line in enumerate(lines, 1):
        cells = line.replace(";", " ").replace(",", " ").replace("\t", " ").split()
        try:
            rows.append([float(cells[0]), float(cells[1])])
        except (ValueError, IndexError):
            if number > 1:
                raise InputError(f"Line {number} of the file has no two numbers: {quoted(line)}.") from None
    return rows
