"""What the feature memory begins with on somebody's own pictures."""

from collections.abc import Mapping
from typing import Any

from genarium.families import Material


def starter(material: Material) -> Mapping[str, Any]:
    """Return what the family begins with on somebody's own pictures: the network sees larger pictures larger."""
    side = 96 if material.sample_size <= 48 else 160 if material.sample_size <= 96 else 224
    return {"architecture": {"method": "memory", "input_size": side}, "training": {"precision": "fp32"}}
