"""Sizes that small networks of several families have in common, for their starters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genarium.families import Material


def channels(material: Material) -> list[int]:
    """Return the channels of a convolutional network by level; large pictures get a level more."""
    return [32, 64, 96] if material.sample_size >= 64 else [48, 96]


def components(material: Material, most: int) -> int:
    """Return the number of components of a class's mixture: no more than its pictures support."""
    return max(1, min(most, material.fewest // 20))


def pixel_unet(material: Material, **own: Any) -> Mapping[str, Any]:
    """Return the sections of a family with a `pixel_unet` for a network, and a rate that a short training stands.

    Args:
        material: the pictures.
        own: keys of the architecture that the family has beside the network's.
    """
    network = {
        "class_conditional": material.classes > 0,
        "patch_size": material.patch_size,
        "block_out_channels": [48, 96],
        "layers_per_block": 1,
        "norm_num_groups": 16,
        "attention_head_dim": 48,
    }
    training = {"batch_size": 32, "learning_rate": 0.001, "ema_decay": 0.998, "schedule": "cosine"}
    return {"architecture": {**network, **own}, "training": training}
