"""What the card shows of reconstructions: test images, what the model makes of them, and the dictionary if it has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from genarium.card.part import CardPart, picture, save_sheet
from genarium.files import write_file
from genarium.media.pictures import grid, save_picture, to_pictures
from genarium.runtime.request import Request

if TYPE_CHECKING:
    from genarium.evaluation.images import ImageEvaluation

COLUMNS = 10
DICTIONARY_COLUMNS = 56


def draw(evaluation: ImageEvaluation) -> None:
    """Write reconstructions.png: test images above, their reconstructions below."""
    pictures = evaluation.test_pictures(COLUMNS)
    request = Request(evaluation.name, "reconstruct", evaluation.seed, invert="no")
    restored = evaluation.pictures_of(request, {"images": pictures})
    save_sheet(grid(pictures + restored, len(pictures)), evaluation.checkpoint.folder / "reconstructions.png")


def draw_dictionary(evaluation: ImageEvaluation) -> None:
    """Write dictionary.png, the atoms of a pipeline with `dictionary`: the most used first, in 16 shades."""
    if not hasattr(evaluation.pipeline, "dictionary"):
        return
    atoms = evaluation.pipeline.dictionary().permute(0, 2, 3, 1).numpy()  # [K, H, W, C]
    largest = np.maximum(np.abs(atoms).max(axis=(1, 2, 3), keepdims=True), 1e-12)
    sheet = grid(to_pictures((7.5 + 7.5 * atoms / largest).round().astype(np.uint8) * 17), DICTIONARY_COLUMNS)
    path = evaluation.checkpoint.folder / "dictionary.png"
    write_file(path, lambda temporary: save_picture(sheet, temporary, {}))


PARTS = (
    CardPart(
        "image",
        picture("reconstructions.png", "Reconstructions", "Test images above, their reconstructions below."),
        "Reconstructions",
        draw,
    ),
    CardPart(
        "image",
        picture(
            "codebook.png",
            "What the values of the code look like",
            "What the values of the code look like. Of classes and trees: first the picture of all, then each level in order. Of "
            "bits: the mean of all test images, of those with each bit at 0, and of those with each bit at 1.",
        ),
        "Codebook",
    ),
    CardPart(
        "image",
        picture("dictionary.png", "Dictionary", "All atoms, the most used first. Grey is 0."),
        "Dictionary",
        draw_dictionary,
        needs_data=False,
    ),
)
