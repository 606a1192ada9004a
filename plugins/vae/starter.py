"""What the VAE begins with on somebody's own pictures."""

from collections.abc import Mapping
from typing import Any

from genarium.families import Material
from genarium.fitting.starters import channels, components


def starter(material: Material) -> Mapping[str, Any]:
    """Return a small network; a level more for large pictures, and no more components than the pictures of a class support."""
    return {
        "architecture": {
            "class_conditional": material.classes > 0,
            "latent_dim": 32,
            "kl_annealing": 0.1,
            "block_out_channels": channels(material),
            "layers_per_block": 1,
            "mixture_components": components(material, 10),
        },
        "training": {"batch_size": 32, "learning_rate": 0.002, "ema_decay": 0.998, "schedule": "cosine"},
    }
