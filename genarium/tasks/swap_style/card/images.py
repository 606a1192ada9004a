"""Swapped styles of pictures on the card: test images drawn in every named style, and the code of a swap."""

from __future__ import annotations

from typing import TYPE_CHECKING

import PIL.Image

from genarium.card.part import CardPart, Example, HubTask, load_sheet, picture, save_sheet
from genarium.checkpoints import Checkpoint
from genarium.media.pictures import grid
from genarium.recipe import Recipe
from genarium.runtime.request import Request

if TYPE_CHECKING:
    from genarium.evaluation.images import ImageEvaluation

CONTENTS = 8


def named_styles(checkpoint: Checkpoint) -> dict[str, tuple[str, ...]]:
    """Return the controls of the swap that choose a style by its name, with the names."""
    controls = checkpoint.controls("swap_style").values()
    return {control.name: control.choices[1:] for control in controls if control.choices_from}


def draw(evaluation: ImageEvaluation) -> None:
    """Write swaps.png: a row for each test image, drawn in each named style."""
    for control, names in named_styles(evaluation.checkpoint).items():
        rows = []
        for content in evaluation.test_pictures(CONTENTS):
            rows.append(content)
            for name in names:
                request = Request(
                    evaluation.name, "swap_style", evaluation.seed, parameters={control: name}, invert="no"
                )
                # a name needs no style picture
                rows += evaluation.pictures_of(request, {"content": content, "style": content})
        save_sheet(grid(rows, 1 + len(names)), evaluation.checkpoint.folder / "swaps.png")


def samples(checkpoint: Checkpoint) -> list[PIL.Image.Image]:
    """Return the swaps of the first test image in swaps.png, without the test image."""
    rows = load_sheet(checkpoint.folder / "swaps.png", int(checkpoint.index.get("sample_size") or 0))
    return rows[0][1:] if rows else []


def code(checkpoint: Checkpoint, recipe: Recipe) -> str:
    """Return a program that swaps styles in a bare diffusers, by an example and by name."""
    lines = [
        "from diffusers import DiffusionPipeline",
        "from PIL import Image",
        "",
        f'pipe = DiffusionPipeline.from_pretrained("{recipe.repo_id}", trust_remote_code=True)',
        'content, style = Image.open("content.png"), Image.open("style.png")',
        "image = pipe.swap_style(content, style).images[0]",
    ]
    for control, names in named_styles(checkpoint).items():
        lines.append(f'image = pipe.swap_style(content, {control}="{names[0]}").images[0]')
    return "\n".join(lines)


PART = CardPart(
    "image",
    picture(
        "swaps.png",
        "Swaps",
        "Test images on the left, then drawn in each style by its name, in the order of the table above.",
    ),
    "Swaps",
    draw,
    samples=samples,
    example=Example(
        code,
        lambda checkpoint: f"swap {checkpoint.name} --content content.png --style style.png --out swapped.png",
        HubTask("image-to-image", "Image to image", "style-transfer"),
    ),
)
