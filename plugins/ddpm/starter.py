"""What DDPM begins with on somebody's own pictures."""

from genarium.fitting.starters import pixel_unet as starter

__all__ = ["starter"]
