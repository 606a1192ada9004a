"""What the card shows of generated samples: a sheet of them, and the code that draws ten."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import PIL.Image

from genarium.card.facts import needs_remote_code
from genarium.card.part import CardPart, Example, HubTask, load_sheet, picture, save_sheet
from genarium.checkpoints import Checkpoint
from genarium.media.pictures import grid
from genarium.recipe import Recipe
from genarium.runtime.request import Request, choose_labels

if TYPE_CHECKING:
    from genarium.evaluation.images import ImageEvaluation

COLUMNS, ROWS = 10, 5
MAX_FIELDS = 160  # receptive fields


def draw(evaluation: ImageEvaluation) -> None:
    """Write samples.png: classes from left to right."""
    checkpoint = evaluation.checkpoint
    columns = min(len(checkpoint.class_names) or COLUMNS, COLUMNS)
    number = columns * ROWS
    labels = choose_labels(checkpoint, "cycle", number)
    request = Request(evaluation.name, "generate", evaluation.seed, number, labels)
    pictures = evaluation.pictures_of(request)
    asked = {
        **request.checked(checkpoint).to_dict(),
        "checkpoint": checkpoint.name,
    }  # a folder's path is nobody's business
    save_sheet(grid(pictures, columns), checkpoint.folder / "samples.png", asked)


def samples(checkpoint: Checkpoint) -> list[PIL.Image.Image]:
    """Return the pictures of samples.png, a class after the other, each from the next row."""
    rows = load_sheet(checkpoint.folder / "samples.png", int(checkpoint.index.get("sample_size") or 0))
    return [rows[column % len(rows)][column] for column in range(len(rows[0]))] if rows else []


def draw_fields(evaluation: ImageEvaluation) -> None:
    """Write receptive_fields.png: what each hidden unit looks for, of families that can say."""
    if not hasattr(evaluation.pipeline, "receptive_fields"):
        return
    fields = evaluation.pipeline.receptive_fields().images[:MAX_FIELDS]
    save_sheet(
        grid(fields, math.ceil(1.5 * math.sqrt(len(fields)))), evaluation.checkpoint.folder / "receptive_fields.png"
    )


def code(checkpoint: Checkpoint, recipe: Recipe) -> str:
    """Return a program that draws ten images in a bare diffusers, with this checkpoint's own defaults."""
    arguments = ["batch_size=10", "generator=generator"]
    trust = ""
    if needs_remote_code(checkpoint):
        trust = ", trust_remote_code=True"
        if checkpoint.class_names:
            arguments.append(f"class_labels=[i % {len(checkpoint.class_names)} for i in range(10)]")
        defaults = (checkpoint.index.get("defaults") or {}).get("generate") or {}
        arguments += [f"{name}={json.dumps(v) if isinstance(v, str) else repr(v)}" for name, v in defaults.items()]
    call = f"images = pipe({', '.join(arguments)}).images"
    if len(call) > 100:
        call = "images = pipe(\n    " + ",\n    ".join(arguments) + ",\n).images"
    return "\n".join(
        (
            "import torch",
            "from diffusers import DiffusionPipeline",
            "",
            f'pipe = DiffusionPipeline.from_pretrained("{recipe.repo_id}"{trust})',
            "generator = [torch.Generator().manual_seed(i) for i in range(10)]  # one for each image",
            call,
        )
    )


PARTS = (
    CardPart(
        "image",
        picture("samples.png", "Samples, classes from left to right"),
        draw=draw,
        needs_data=False,
        samples=samples,
        example=Example(
            code,
            lambda checkpoint: f"generate {checkpoint.name} --n 16 --out samples.png",
            HubTask("unconditional-image-generation", "Image generation", "image-generation"),
        ),
    ),
    CardPart(
        "image",
        picture(
            "receptive_fields.png",
            "Receptive fields",
            f"Each picture belongs to a hidden unit; the first {MAX_FIELDS} are shown. White pixels turn it on, black ones off.",
        ),
        "Receptive fields",
        draw_fields,
        needs_data=False,
    ),
)
