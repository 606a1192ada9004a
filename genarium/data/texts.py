"""Texts beside pictures, in two piles: what a picture shows, and what it is called, are drawn apart from each other.

Only a share of the pictures, which the recipe names, comes with its own text.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from genarium.errors import DataError

BATCH_PART = 4  # the pictures that come with their text are a fourth of a batch more


class Texts:
    """The texts of a split, one for each row, and which rows are shown with theirs.

    Args:
        rows: the text of each row.
        paired: share of the rows that are shown with their text, 0 ... 1. Which these are is the same in every run.

    Raises:
        DataError: a row without text.
    """

    def __init__(self, rows: Sequence[str], paired: float = 0.0):
        for number, text in enumerate(rows):
            if not isinstance(text, str) or not text.strip():
                raise DataError(f"data.texts: row {number} holds {text!r:.80}, which is no text. Remove the row.")
        self.rows = list(rows)
        self.names = sorted(set(rows))  # each text once: what the numbers mean
        places = {text: i for i, text in enumerate(self.names)}
        self.numbers = torch.tensor([places[text] for text in rows], dtype=torch.int64)  # int64 [N]
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
        self.paired = order[: round(paired * len(rows))].sort().values  # rows, int64 [P]

    def draw(self, number: int, generator: torch.Generator) -> torch.Tensor:
        """Draw texts from the pile, as often as there are rows of each: their numbers, int64 [number]."""
        return self.numbers[torch.randint(len(self.rows), (number,), generator=generator)]

    def draw_paired(self, batch_size: int, generator: torch.Generator) -> torch.Tensor:
        """Draw rows that come with their text, beside a batch of this size: int64, of no length where there are none."""
        if not len(self.paired):
            return self.paired
        number = max(batch_size // BATCH_PART, 1)
        return self.paired[torch.randint(len(self.paired), (number,), generator=generator)]
