"""What the card shows of reconstructions: test images, and what the model makes of them."""

from genarium.card.part import CardPart, picture, save_sheet
from genarium.evaluation.images import ImageEvaluation
from genarium.media.pictures import grid
from genarium.runtime.request import Request

COLUMNS = 10


def draw(evaluation: ImageEvaluation) -> None:
    """Write reconstructions.png: test images above, their reconstructions below."""
    pictures = evaluation.test_pictures(COLUMNS)
    request = Request(evaluation.name, "reconstruct", evaluation.seed, invert="no")
    restored = evaluation.pictures_of(request, {"images": pictures})
    save_sheet(grid(pictures + restored, len(pictures)), evaluation.checkpoint.folder / "reconstructions.png")


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
            "bits: the mean code, each bit at 0, each bit at 1.",
        ),
        "Codebook",
    ),
)
