"""What each value of a discrete code looks like and how many test pictures have it, as `evaluate` stores it with a checkpoint.

codebook.png is a sheet of the pictures of classes or of a tree's nodes, level by level. Of bits it has the mean test picture,
and the means of the test pictures with each bit at 0 and at 1. codebook.json says what the pictures are of.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import PIL.Image

from genarium.files import read_json, write_file, write_json
from genarium.media.pictures import grid

SHEET, FACTS = "codebook.png", "codebook.json"
COLUMNS, GAP = 32, 2  # of the sheet; the gap in pixels
MAX_NODES = 4096


@dataclass(frozen=True)
class Codebook:
    """The values of a discrete code.

    Args:
        kind: "binary", "one_hot" or "path".
        size: bits, classes, or branches at each node.
        depth: choices of a path; 1 for the other kinds.
        side: of a picture in pixels.
        images: number of test pictures that were encoded.
        members: {code, such as "3" or "0-2-1": {label: number of test pictures}} of classes and leaves; of bits
            {bit: {"1": number}}.
    """

    kind: str
    size: int
    depth: int
    side: int
    images: int
    members: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def save(self, folder: Path, levels: Sequence[Sequence[PIL.Image.Image]]) -> None:
        """Write the two files into a checkpoint's folder.

        Args:
            folder: of the checkpoint.
            levels: of nodes, the root alone first; of bits the mean, and those with each bit at 0, and at 1.
        """
        sheet = grid([picture for level in levels for picture in level], self.columns, GAP)
        write_file(folder / SHEET, lambda part: sheet.save(part, format="PNG", optimize=True))
        write_json(folder / FACTS, asdict(self))

    @classmethod
    def load(cls, folder: Path) -> Codebook | None:
        """Read what `save` wrote; None if there is none, or none that can be used."""
        if not (folder / SHEET).is_file() or not (folder / FACTS).is_file():
            return None
        try:
            found = cls(**read_json(folder / FACTS))
            with PIL.Image.open(folder / SHEET) as sheet:
                width, height = sheet.size
            fits = found.kind in ("binary", "one_hot", "path") and 0 < found.nodes <= MAX_NODES
            fits = fits and all(isinstance(n, int) for member in found.members.values() for n in member.values())
            number = found.columns, -(-found.nodes // found.columns)
            fits = fits and all(n * (found.side + GAP) - GAP <= size for n, size in zip(number, (width, height)))
        except Exception:  # files that somebody else wrote: whatever is wrong with them, there is then no codebook
            return None
        return found if fits else None

    @property
    def nodes(self) -> int:
        """Number of pictures on the sheet."""
        if self.kind == "binary":
            return 1 + 2 * self.size
        return sum(self.size**level for level in range(self.depth + 1)) if self.depth < 13 else 0

    @property
    def columns(self) -> int:
        """Number of columns of the sheet."""
        return min(self.nodes, COLUMNS)

    def place(self, level: int, node: int) -> tuple[int, int]:
        """Return column and row of a picture on the sheet: of node `node` of level `level`; of bits, level 1 is 0 and 2 is 1."""
        sizes = (1, self.size, self.size) if self.kind == "binary" else tuple(self.size**k for k in range(level + 1))
        number = sum(sizes[:level]) + node
        return number % self.columns, number // self.columns

    def labels_below(self, path: Sequence[int]) -> Counter[str]:
        """Return the labels of the test pictures whose path begins so, with their numbers."""
        start = "".join(f"{choice}-" for choice in path)
        found: Counter[str] = Counter()
        for code, labels in self.members.items():
            if f"{code}-".startswith(start):
                found.update(labels)
        return found


def members_of(codes: Sequence[Any], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Count the labels of pictures by their code.

    Args:
        codes: a class or a path each, as sequences of whole numbers.
        labels: the label of each picture, "" if it has none.
    """
    counted: dict[str, Counter[str]] = {}
    for code, label in zip(codes, labels, strict=True):
        counted.setdefault("-".join(map(str, code)), Counter())[label] += 1
    return {code: dict(found.most_common()) for code, found in sorted(counted.items())}
