"""What a training keeps of reconstructions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import PIL.Image
import torch

from genarium.data.images import ImageData
from genarium.media.pictures import to_pictures


def draw(pipeline: Any, data: ImageData, defaults: Mapping[str, Any]) -> list[PIL.Image.Image]:
    """Return ten training images, and below them their reconstructions."""
    inputs = data.array(torch.arange(min(10, len(data))))
    generators = [torch.Generator().manual_seed(i) for i in range(len(inputs))]
    return to_pictures(inputs) + pipeline.reconstruct(inputs, generator=generators, **defaults).images
