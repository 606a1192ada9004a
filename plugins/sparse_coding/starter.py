"""What sparse coding begins with on somebody's own pictures."""

from collections.abc import Mapping
from typing import Any

from genarium.families import Material
from genarium.fitting.starters import components


def starter(material: Material) -> Mapping[str, Any]:
    """Return about as many atoms as pixels, of which two cores train a thousand quickly, and a plain prior."""
    pixels = material.channels * material.sample_size**2
    return {
        "architecture": {
            "num_atoms": min(1024, 2 * pixels, 6_000_000 // pixels),
            "num_nonzeros": 24,
            "prior_dim": 16,
            "mixture_components": components(material, 5),
        },
        "training": {"batch_size": 32, "learning_rate": 0.002, "ema_decay": 0.995, "precision": "fp32"},
    }
