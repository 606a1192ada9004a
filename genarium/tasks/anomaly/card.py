"""What the card shows of anomaly scores, where a model does nothing else: test images and where they are strange."""

from __future__ import annotations

from typing import TYPE_CHECKING

import PIL.Image

from genarium.card.part import CardPart, Example, HubTask, picture, save_sheet
from genarium.checkpoints import Checkpoint
from genarium.media.pictures import grid, heat_map
from genarium.recipe import Recipe
from genarium.runtime.request import Request

if TYPE_CHECKING:
    from genarium.evaluation.images import ImageEvaluation

COLUMNS = 10
FILE = "heat_maps.png"


def draw(evaluation: ImageEvaluation) -> None:
    """Write heat_maps.png: test images above, their heat maps below, all on one scale."""
    others = {"generate", "reconstruct"} & set(evaluation.checkpoint.tasks)
    pictures = evaluation.test_pictures(COLUMNS)
    if others or not pictures:
        return
    request = Request(evaluation.name, "anomaly", evaluation.seed, invert="no")
    result = evaluation.runtime.run(request, {"images": pictures})
    if result.maps is None:
        return
    high = float(result.maps.max())
    heated = [heat_map(map_, one, high) for map_, one in zip(result.maps, pictures, strict=True)]
    shown: list[PIL.Image.Image] = [one.convert("RGB") for one in pictures]
    save_sheet(grid(shown + heated, len(pictures)), evaluation.checkpoint.folder / FILE)


def code(checkpoint: Checkpoint, recipe: Recipe) -> str:
    """Return a program that scores a picture in a bare diffusers."""
    return "\n".join(
        (
            "import PIL.Image",
            "from diffusers import DiffusionPipeline",
            "",
            f'pipe = DiffusionPipeline.from_pretrained("{recipe.repo_id}", trust_remote_code=True)',
            'output = pipe.anomaly_score(PIL.Image.open("picture.png"))',
            "print(output.scores, output.unit)  # higher is stranger; output.maps says where",
        )
    )


PARTS = (
    CardPart(
        "image",
        picture(FILE, "Heat maps", "Test images above, where they are strange below. Yellow is strange."),
        "Heat maps",
        draw,
        example=Example(
            code,
            lambda checkpoint: f"anomaly {checkpoint.name} --images pictures/ --out scores.json",
            HubTask("image-feature-extraction", "Anomaly detection", "anomaly-detection"),
        ),
    ),
)
