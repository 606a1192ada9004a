"""What a training keeps of generated samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import PIL.Image
import torch

from genarium.data.images import ImageData

NUMBER = 20


def draw(pipeline: Any, data: ImageData, defaults: Mapping[str, Any]) -> list[PIL.Image.Image]:
    """Draw twenty samples, one class after another."""
    num_classes = len(pipeline.config.id2label or ())
    labels = [i % num_classes for i in range(NUMBER)] if num_classes else None
    generators = [torch.Generator().manual_seed(i) for i in range(NUMBER)]
    return pipeline(NUMBER, generator=generators, class_labels=labels, **defaults).images
