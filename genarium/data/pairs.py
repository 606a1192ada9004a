"""Pairs in labelled data: rows that agree in one thing and differ in another, drawn by a generator alone.

For a swap of style these are the same emoji by another designer, and another emoji by that designer.
"""

from __future__ import annotations

import torch

from genarium.errors import DataError


class Others:
    """The rows that have the same `same` as a row and another `differ`. Each is drawn with equal probability.

    Rows are kept sorted by (same, differ), so that those of one `same` are one piece, and in it those of one `differ` one
    piece again. What is left of the first without the second is drawn from: no list of pairs, which could be of any length.

    Args:
        same, differ: int64 [N].
    """

    def __init__(self, same: torch.Tensor, differ: torch.Tensor):
        order = torch.argsort(differ, stable=True)
        self.order = order[torch.argsort(same[order], stable=True)]  # row at each place
        self.place = torch.empty_like(self.order)  # of each row
        self.place[self.order] = torch.arange(len(self.order))
        sorted_same, sorted_differ = same[self.order], differ[self.order]
        self.start, self.size = _pieces(sorted_same[:, None])  # by place
        self.own_start, self.own_size = _pieces(torch.stack([sorted_same, sorted_differ], 1))

    def count(self, rows: torch.Tensor) -> torch.Tensor:
        """Return how many there are for each row, int64 [M]."""
        place = self.place[rows]
        return self.size[place] - self.own_size[place]

    def draw(self, rows: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """Draw another row for each row, int64 [M]. A row without others is its own."""
        place, number = self.place[rows], self.count(rows)
        uniform = torch.rand(len(rows), generator=generator, dtype=torch.float64)
        offset = torch.minimum((uniform * number).long(), (number - 1).clamp(min=0))
        drawn = self.start[place] + offset
        drawn = torch.where(
            drawn >= self.own_start[place], drawn + self.own_size[place], drawn
        )  # leap over its own piece
        return torch.where(number > 0, self.order[torch.where(number > 0, drawn, place)], rows)


def _pieces(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each row of sorted keys [N, K] the first row with an equal key, and the number of such rows."""
    _, piece, sizes = torch.unique_consecutive(keys, dim=0, return_inverse=True, return_counts=True)
    starts = sizes.cumsum(0) - sizes
    return starts[piece], sizes[piece]


class Pairs:
    """The rows that show the same content in different styles.

    Args:
        contents: int64 [N], what a row shows.
        styles: int64 [N], in which style.

    Raises:
        DataError: no content is there in two styles.
    """

    def __init__(self, contents: torch.Tensor, styles: torch.Tensor):
        self.contents, self.styles = contents, styles
        self._in_other_styles, self._with_other_contents = Others(contents, styles), Others(styles, contents)
        if not self.paired().any():
            raise DataError("data.pairs: nothing in these data is there twice with another value; there is no pair.")

    def paired(self) -> torch.Tensor:
        """Return whether a row has a partner, bool [N]."""
        return self._in_other_styles.count(torch.arange(len(self.contents))) > 0

    def draw(self, rows: torch.Tensor, generator: torch.Generator | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw for each row a partner, the same content in another style, and an example of that style with another content.

        A row without partner is its own.

        Args:
            rows: int64 [M].
            generator: of both draws.

        Returns:
            partners, examples: int64 [M].
        """
        partners = self._in_other_styles.draw(rows, generator)
        return partners, self._with_other_contents.draw(partners, generator)
