"""What flow matching begins with on somebody's own pictures."""

from collections.abc import Mapping
from typing import Any

from genarium.families import Material
from genarium.fitting.starters import pixel_unet


def starter(material: Material) -> Mapping[str, Any]:
    """Return the network of the other diffusion families, with optimal-transport couplings."""
    return pixel_unet(material, coupling="optimal_transport")
