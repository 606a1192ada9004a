"""What the GAN begins with on somebody's own pictures."""

from collections.abc import Mapping
from typing import Any

from genarium.families import Material
from genarium.fitting.starters import channels


def starter(material: Material) -> Mapping[str, Any]:
    """Return a small relativistic GAN with augmentations, because few pictures would be learnt by heart."""
    adversarial = {"learning_rate": 0.0004, "betas": [0.5, 0.99], "weight_decay": 0.0, "grad_clip": 10.0}
    return {
        "architecture": {
            "class_conditional": material.classes > 0,
            "objective": "relativistic",
            "penalty_weights": [0.5, 0.05],
            "augmentations": ["translation", "cutout"],
            "block_out_channels": channels(material),
            "encoder_channels": [16, 32, 64] if material.sample_size >= 64 else [32, 64],
        },
        "training": {
            "stages": [
                {"name": "decoder", "share": 0.25, "learning_rate": 0.0015},
                {"name": "adversarial", "share": 0.55, **adversarial},
                {"name": "encoder", "share": 0.2, "learning_rate": 0.002, "samples": "reconstruct"},
            ],
            "batch_size": 32,
            "ema_decay": 0.998,
        },
    }
