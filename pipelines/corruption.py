"""Noise on pictures, as denoising auto-encoders learn to remove it (Vincent et al. 2008, 2010 sec. 3.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from pipelines.images import ImagesOutput

KINDS = ("gaussian", "masking", "salt_and_pepper")


@dataclass
class RestoredOutput(ImagesOutput):
    """Restored images, and `noisy`: float [N, C, H, W] in [0, 1], what they were restored from; None: nothing was added."""

    noisy: torch.Tensor | None = None


def shown(x: torch.Tensor) -> torch.Tensor:
    """Return images as they are shown: float [N, C, H, W], [-1, 1] becoming [0, 1] on the CPU, what lies outside clipped."""
    return (x.float() / 2 + 0.5).clamp(0, 1).cpu()


def corrupt(x: torch.Tensor, kind: str, level: torch.Tensor | float, normal: torch.Tensor) -> torch.Tensor:
    """Add noise to images.

    "gaussian" adds white noise with standard deviation `level`, the range from black to white being 1. "masking" turns that
    part of the pixels black. "salt_and_pepper" turns that part of them black or white, each with one chance in two.

    Args:
        x: float [N, C, H, W] in [-1, 1].
        kind: one of KINDS.
        level: a number in [0, 1], or [N, 1, 1, 1].
        normal: standard normal [N, C, H, W]. "masking" and "salt_and_pepper" take its distribution function, so that one draw
            serves all kinds.

    Returns:
        float [N, C, H, W]; with "gaussian" it may leave [-1, 1].

    Raises:
        ValueError: an unknown kind.
    """
    if kind == "gaussian":
        return x + 2 * level * normal
    uniform = torch.special.ndtr(normal.float())
    if kind == "masking":
        return torch.where(uniform < level, -1.0, x)
    if kind == "salt_and_pepper":
        pepper, salt = uniform < level / 2, uniform > 1 - level / 2
        return torch.where(pepper, -1.0, torch.where(salt, 1.0, x))
    raise ValueError(f"noise: choose {', '.join(map(repr, KINDS))}, not {kind!r}.")


def known_pixels(kind: str, level: float, normal: torch.Tensor) -> torch.Tensor:
    """Choose pixels that go missing, all channels of a pixel at once.

    Args:
        kind: "missing_pixels", here and there; "missing_block", a square.
        level: the part of the picture that goes missing, in [0, 1].
        normal: standard normal [N, C, S, S], whose first channel decides.

    Returns:
        float [N, C, S, S], 1 where a pixel is known and 0 where it is missing.

    Raises:
        ValueError: an unknown kind.
    """
    uniform = torch.special.ndtr(normal[:, :1].float())  # [N, 1, S, S]
    if kind == "missing_pixels":
        return (uniform >= level).float().expand_as(normal)
    if kind != "missing_block":
        raise ValueError(f"damage: choose 'missing_pixels' or 'missing_block', not {kind!r}.")
    size = normal.shape[-1]
    side = round(math.sqrt(level) * size)
    corner = (uniform[:, 0, 0, :2] * (size - side + 1)).long().clamp(max=size - side)  # [N, 2]
    place = torch.arange(size, device=normal.device)
    inside = (place >= corner[..., None]) & (place < corner[..., None] + side)  # [N, 2, S]
    return 1 - (inside[:, 0, :, None] & inside[:, 1, None, :]).float()[:, None].expand_as(normal)
