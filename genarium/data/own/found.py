"""What was found among what somebody brought: every file is either used, or left out for a reason that is said."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

from genarium.data.own.entries import Entry, Limits, Unreadable
from genarium.data.own.sources import label_folders, open_entries
from genarium.data.own.words import BRIEFLY, WORDS, Refused, said
from genarium.errors import InputError
from genarium.media.decoding import open_picture
from genarium.media.pictures import fit_picture, grid

LEAST = 4  # pictures without which nothing can be learnt and measured
SMALLEST = 4  # pixels on the longer side
SHOWN = 48  # pictures of the sheet
SHOWN_SIDE = 56  # pixels of each
LISTED = 200  # files left out that are named; all are counted
SIZES = (28, 32, 64)  # pixels
ALIKE = 12  # levels between a border's pixels of one colour
GREY = 2.5  # levels, the mean difference of the channels of a picture without colour
FAITHFUL = 26.0  # dB of a picture at 64 pixels that 32 pixels keep: details of this size are not missed
WEIGHED = 64  # pictures by which the size is proposed


@dataclass(frozen=True)
class LeftOut:
    """A file that is not used, and why: the key of `words.WORDS` and its values."""

    name: str
    key: str
    values: Mapping[str, Any] = field(default_factory=dict)

    def reason(self, language: str = "en") -> str:
        return said(self.key, language, **self.values)


@dataclass(frozen=True)
class Proposal:
    """The form in which pictures are to be learnt.

    Args:
        sample_size: pixels on a side.
        channels: 1, grey, or 3.
        dark_background: whether most borders are dark.
        background: the colour of most borders, as "#rrggbb"; "" where they have none in common.
    """

    sample_size: int
    channels: int
    dark_background: bool
    background: str


@dataclass(frozen=True)
class Found:
    """What was found.

    Args:
        names: of the usable pictures, in the order in which they are learnt.
        places: of each among the entries of what was brought.
        labels: the class of each by its folder, or None.
        left_out: the other files, the first `LISTED` of each reason.
        counts: how many files were left out, by key.
        sizes: (width, height) -> number of pictures.
        modes: of the pictures as they are stored, such as "RGB" -> number.
        proposal: of size, channels and background.
        sheet: some of the pictures.
        source: the Hub's data set that they are from, as "user/name@commit"; "" for pictures of one's own.
    """

    names: tuple[str, ...]
    places: tuple[int, ...]
    labels: tuple[str | None, ...]
    left_out: tuple[LeftOut, ...]
    counts: Mapping[str, int]
    sizes: Mapping[tuple[int, int], int]
    modes: Mapping[str, int]
    proposal: Proposal
    sheet: PIL.Image.Image
    source: str = ""

    def __len__(self) -> int:
        return len(self.names)

    @property
    def classes(self) -> dict[str, int]:
        """The number of pictures of each class, by its name; {} without classes."""
        return dict(sorted(Counter(label for label in self.labels if label is not None).items()))

    def to_json(self) -> dict[str, Any]:
        """Return all but the sheet, with the reasons in both languages."""
        sizes = sorted(self.sizes.items(), key=lambda item: -item[1])
        longer = sorted(max(size) for size, number in sizes for _ in range(number))
        return {
            "pictures": len(self),
            "classes": self.classes,
            "unlabelled": sum(label is None for label in self.labels),
            "sizes": [[width, height, number] for (width, height), number in sizes[:5]],
            "size_range": [longer[0], longer[len(longer) // 2], longer[-1]],
            "modes": dict(self.modes),
            "counts": {key: [number, *BRIEFLY.get(key, WORDS[key])] for key, number in self.counts.items()},
            "left_out": [[one.name, one.key, one.reason(), one.reason("zh")] for one in self.left_out],
            "proposal": vars(self.proposal),
            "source": self.source,
        }


@dataclass
class _Seen:
    """What the look at each picture gathers."""

    names: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    folders: list[tuple[str, ...]] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    digests: dict[bytes, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    coloured: int = 0
    borders: list[np.ndarray] = field(default_factory=list)
    thumbs: list[PIL.Image.Image] = field(default_factory=list)
    megapixels: float = 0.0

    def leave_out(self, name: str, key: str, number: int = 1, **values: Any) -> None:
        known = self.counts[key]
        self.counts[key] += number
        if known < LISTED:
            self.left_out.append(LeftOut(name, key, {"number": number, **values}))


def look_through(
    brought: Sequence[tuple[str, Path]],
    limits: Limits = Limits(),  # noqa: B008  frozen
    advance: Callable[[int, int], None] = lambda done, total: None,
    beside: Sequence[LeftOut] = (),
    source: str = "",
) -> Found:
    """Look at every file that somebody brought.

    Args:
        brought: the name and the path of each file or folder.
        limits: of what may be brought.
        advance: called with the files that were looked at, and how many there are.
        beside: files that were left out before, since they were not fetched.
        source: as `Found` has it.

    Raises:
        Refused: it is too much, hostile, or holds too few pictures.
    """
    seen = _Seen()
    for one in beside:
        seen.leave_out(one.name, one.key, **one.values)
    with open_entries(brought, limits) as entries:
        total = 0
        for number, entry in enumerate(entries):
            advance(number, len(entries))
            size, usable = _look_at(entry, seen, limits)
            total += size
            seen.places += [number] if usable else []
            if total > limits.bytes:
                raise Refused("bytes", name=brought[0][0], most=limits.bytes // 2**20)
            if len(seen.names) > limits.pictures:
                raise Refused("pictures", most=limits.pictures)
        advance(len(entries), len(entries))
    if not seen.names:
        raise Refused("nothing") if not seen.left_out else Refused("too_few", usable=0, least=LEAST)
    if len(seen.names) < LEAST:
        raise Refused("too_few", usable=len(seen.names), least=LEAST)
    labels = label_folders(seen.folders)
    found = len(set(labels) - {None})
    if found > limits.classes:
        raise Refused("classes", found=found, most=limits.classes)
    return Found(
        tuple(seen.names),
        tuple(seen.places),
        tuple(labels),
        tuple(seen.left_out),
        dict(seen.counts),
        dict(seen.sizes),
        dict(seen.modes),
        _propose(seen),
        _sheet(seen.thumbs),
        source,
    )


def _look_at(entry: Entry, seen: _Seen, limits: Limits) -> tuple[int, bool]:
    """Look at one file, and return how many bytes it has, and whether it is a picture to be used."""
    try:
        data = entry.read()
    except Unreadable as error:
        most = limits.pictures if error.key == "beyond" else limits.file_bytes // 2**20
        seen.leave_out(entry.name, error.key, entry.number, most=most, reason="–")
        return (limits.file_bytes if error.was_read else 0), False
    try:
        picture = open_picture(data)
    except InputError as error:
        seen.leave_out(entry.name, "unreadable", reason=str(error))
        return len(data), False
    seen.megapixels += picture.width * picture.height / 1e6
    if seen.megapixels > limits.megapixels:
        raise Refused("pixels", most=limits.megapixels)
    if max(picture.size) < SMALLEST:
        seen.leave_out(entry.name, "tiny", width=picture.width, height=picture.height)
        return len(data), False
    digest = hashlib.sha256(f"{picture.mode}{picture.size}".encode() + picture.tobytes()).digest()[:16]
    if digest in seen.digests:
        other, folders = seen.digests[digest]
        seen.leave_out(entry.name, "copy" if folders == entry.folders else "copy_elsewhere", other=other)
        return len(data), False
    seen.digests[digest] = entry.name, entry.folders
    _take_in(entry, picture, seen)
    return len(data), True


def _take_in(entry: Entry, picture: PIL.Image.Image, seen: _Seen) -> None:
    """Count a usable picture, and keep what the proposal and the sheet need of it."""
    seen.names.append(entry.name)
    seen.folders.append(entry.folders)
    seen.sizes[picture.size] += 1
    seen.modes[picture.mode] += 1
    small = fit_picture(picture, 64, 3, invert="no")
    pixels = np.asarray(small, np.int16)  # [64, 64, 3]
    seen.coloured += (pixels.max(-1) - pixels.min(-1)).mean() > GREY
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])  # [256, 3]
    colour = np.median(edge, axis=0)
    if (np.abs(edge - colour).max(-1) <= ALIKE).mean() > 0.8:
        seen.borders.append(colour)
    # Of a stream of unknown length every picture has the same chance to be among the thumbnails (Vitter 1985, algorithm R).
    most, place = 4 * SHOWN, len(seen.names) - 1
    if place < most:
        seen.thumbs.append(small)
    elif (slot := int(np.random.default_rng(place).integers(place + 1))) < most:
        seen.thumbs[slot] = small


def _propose(seen: _Seen) -> Proposal:
    """Propose a form: the least size that shows what the pictures show, grey where none has colour, and the usual border."""
    longer = np.array([max(size) for size, number in seen.sizes.items() for _ in range(number)])
    median = float(np.median(longer))
    if median <= SIZES[0]:
        size = SIZES[0]
    else:
        size = SIZES[1] if median <= SIZES[1] or _kept_at(SIZES[1], seen.thumbs[:WEIGHED]) >= FAITHFUL else SIZES[2]
    common, dark = "", False
    if len(seen.borders) > len(seen.names) / 2:
        colour = np.median(np.stack(seen.borders), axis=0)
        alike = (np.abs(np.stack(seen.borders) - colour).max(-1) <= 2 * ALIKE).mean() > 0.5
        common = "#{:02x}{:02x}{:02x}".format(*(int(v) for v in colour)) if alike else ""
        dark = bool(common) and colour.mean() < 64
    return Proposal(size, 3 if seen.coloured > 0.02 * len(seen.names) else 1, bool(dark), common)


def _kept_at(size: int, thumbs: Sequence[PIL.Image.Image]) -> float:
    """Return how well pictures of 64 pixels can be had back from so many, in dB, as a median."""
    kept = []
    for thumb in thumbs:
        again = thumb.resize((size, size), PIL.Image.Resampling.LANCZOS).resize(
            thumb.size, PIL.Image.Resampling.BICUBIC
        )
        error = np.square(np.asarray(thumb, np.float64) - np.asarray(again, np.float64)).mean()
        kept.append(10 * np.log10(255**2 / max(error, 1e-3)))
    return float(np.median(kept))


def _sheet(thumbs: Sequence[PIL.Image.Image]) -> PIL.Image.Image:
    step = max(1, len(thumbs) // SHOWN)
    chosen = list(thumbs[::step])[:SHOWN]
    return grid([thumb.resize((SHOWN_SIDE, SHOWN_SIDE)) for thumb in chosen], columns=min(12, len(chosen)))
