"""What the card shows of interpolations: steps from one test image to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genarium.card.part import CardPart, picture, save_sheet
from genarium.media.pictures import grid
from genarium.runtime.request import Request

if TYPE_CHECKING:
    from genarium.evaluation.images import ImageEvaluation

FRAMES, PAIRS = 8, 4


def draw(evaluation: ImageEvaluation) -> None:
    """Write interpolations.png: a row for each pair of test images."""
    pictures = evaluation.test_pictures(2 * PAIRS)
    if len(pictures) < 2:
        return
    parameters = {"num_frames": FRAMES} if "num_frames" in evaluation.checkpoint.controls("interpolate") else {}
    request = Request(evaluation.name, "interpolate", evaluation.seed, parameters=parameters, invert="no")
    pairs = zip(pictures[0::2], pictures[1::2], strict=False)
    strips = [evaluation.pictures_of(request, {"a": a, "b": b}) for a, b in pairs]
    sheet = grid([picture for strip in strips for picture in strip], len(strips[0]))
    save_sheet(sheet, evaluation.checkpoint.folder / "interpolations.png")


PARTS = (
    CardPart(
        "image",
        picture("interpolations.png", "Interpolations", "From the test image on the left to the one on the right."),
        "Interpolations",
        draw,
    ),
)
