"""What a training keeps of swapped styles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import PIL.Image
import torch

from genarium.data.images import ImageData
from genarium.media.pictures import to_pictures


def draw(pipeline: Any, data: ImageData, defaults: Mapping[str, Any]) -> list[PIL.Image.Image]:
    """Return ten contents, examples of the requested styles, the swaps, and the true drawings. Without pairs there are none."""
    if data.pairs is None:
        return []
    rows = torch.linspace(0, len(data) - 1, 10).long()
    partners, examples = data.pairs.draw(rows, torch.Generator().manual_seed(0))
    contents, styles = data.array(rows), data.array(examples)
    swapped = pipeline.swap_style(contents, styles, **defaults).images
    return [*to_pictures(contents), *to_pictures(styles), *swapped, *to_pictures(data.array(partners))]
