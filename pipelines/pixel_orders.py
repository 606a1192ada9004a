"""Orders in which the pixels of a picture are filled in, int64 [D]: the numbers of the pixels, the first to be filled in first.

The pixels of a picture [C, S, S] are numbered as they lie in memory, channel by channel and row by row.
"""

from __future__ import annotations

import torch


def ranks_of(order: torch.Tensor) -> torch.Tensor:
    """Return the rank of each pixel in an order, 1 ... D: int64 [D] -> int64 [D]."""
    ranks = torch.empty_like(order)
    ranks[order] = torch.arange(1, len(order) + 1, device=order.device)
    return ranks


SCANS = ("rows down", "rows up", "columns right", "columns left")


def scan(name: str, sample_size: int, channels: int, device: torch.device | str = "cpu") -> torch.Tensor:
    """Return an order that goes through the picture row by row or column by column, the channels of a place together.

    Args:
        name: of SCANS. "rows down" is the natural order of a picture of one channel.
        sample_size, channels: S and C, with D = C S S.

    Returns:
        int64 [D].
    """
    numbers = torch.arange(channels * sample_size**2, device=device)
    numbers = numbers.reshape(channels, sample_size, sample_size).permute(1, 2, 0)  # rows, columns, channels
    if name.startswith("columns"):
        numbers = numbers.transpose(0, 1)
    order = numbers.flatten()
    return order.flip(0) if name in ("rows up", "columns left") else order


def known_after_missing(known: torch.Tensor, order: torch.Tensor) -> int:
    """Return how many known pixels, bool [D], come after the first missing one in an order."""
    in_order = known[order]
    return int((in_order & (~in_order).cumsum(0).bool()).sum())


def best_scan(known: torch.Tensor, sample_size: int, channels: int) -> torch.Tensor:
    """Return the scan with the fewest known pixels after the first missing one, int64 [D]; of equals the first of SCANS."""
    orders = [scan(name, sample_size, channels, known.device) for name in SCANS]
    return min(orders, key=lambda order: known_after_missing(known, order))


def rectangle(sample_size: int, channels: int, corners: torch.Tensor) -> torch.Tensor:
    """Return which pixels lie in a rectangle, bool [D] with D = C S S.

    Args:
        corners: four numbers in [0, 1): two rows and two columns, as parts of the side.
    """
    top, bottom, left, right = (corners * (sample_size + 1)).long().tolist()
    inside = torch.zeros(channels, sample_size, sample_size, dtype=torch.bool, device=corners.device)
    inside[:, min(top, bottom) : max(top, bottom), min(left, right) : max(left, right)] = True
    return inside.flatten()
