"""Samples that are stored with a checkpoint, as `evaluate` leaves them there."""

import json
from pathlib import Path

import numpy as np
import PIL.Image

from genarium.card.part import save_sheet
from genarium.media.pictures import grid


def store_samples(folder: Path, columns: int = 10, rows: int = 2) -> list[PIL.Image.Image]:
    """Write samples.png of random pictures of the checkpoint's size into its folder; return them, row by row."""
    size = json.loads((folder / "model_index.json").read_text())["sample_size"]
    rng = np.random.default_rng(0)
    pictures = [PIL.Image.fromarray(rng.integers(0, 256, (size, size), np.uint8)) for _ in range(columns * rows)]
    save_sheet(grid(pictures, columns), folder / "samples.png")
    return pictures
