"""What a task declares for the model card: the pictures that it draws, the code that it shows, the Hub's name for it.

A task's folder declares it in its part `card`, a module with `PARTS`, a tuple of `CardPart`: one for each modality.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL.Image

from genarium.checkpoints import Checkpoint
from genarium.errors import InputError
from genarium.files import write_file
from genarium.media.decoding import open_picture
from genarium.media.pictures import cut, enlarge, save_picture
from genarium.recipe import Recipe
from genarium.tasks import Modality


@dataclass(frozen=True)
class HubTask:
    """A task in the Hub's terms: its pipeline tag, a title for people, and one more tag."""

    pipeline_tag: str
    title: str
    tag: str


@dataclass(frozen=True)
class Example:
    """An example on the card: how to use a checkpoint for a task.

    Args:
        code: (checkpoint, recipe) -> a program for a bare diffusers.
        command: checkpoint -> the arguments of `python -m genarium` that do the same.
        hub_task: the Hub's name for it.
        caution: a sentence about responsible use; "" if there is nothing special.
    """

    code: Callable[[Checkpoint, Recipe], str]
    command: Callable[[Checkpoint], str]
    hub_task: HubTask
    caution: str = ""


def _nothing(folder: Path) -> str:
    return ""


@dataclass(frozen=True)
class CardPart:
    """A part of the card: what it shows of a task.

    Args:
        modality: of the checkpoints.
        show: folder of the checkpoint -> Markdown around the files that are there, "" if there are none.
        heading: of the section; "" if it stands at the top of the card.
        draw: takes an `Evaluation`; writes the files into the checkpoint's folder.
        needs_data: whether `draw` uses the test split. It is called only if that is in memory.
        example: how to use the checkpoint for the task. The card has the example of the checkpoint's first task with one.
        samples: checkpoint -> pictures that it made, as they are stored with it, of unlike contents; for the first page of
            the app. None: there are none.
    """

    modality: Modality
    show: Callable[[Path], str] = _nothing
    heading: str = ""
    draw: Callable[[Any], None] | None = None
    needs_data: bool = True
    example: Example | None = None
    samples: Callable[[Checkpoint], list[PIL.Image.Image]] | None = None


def card_parts(checkpoint: Checkpoint) -> list[CardPart]:
    """Return what the tasks of a checkpoint contribute to its card, in the order of the tasks."""
    modules = (task.part("card") for task in checkpoint.tasks.values())
    return [part for module in modules if module for part in module.PARTS if part.modality == checkpoint.modality]


def picture(file: str, title: str, text: str = "") -> Callable[[Path], str]:
    """Return a `CardPart.show` of one picture, below a text.

    Args:
        file: its name in the checkpoint's folder.
        title: for those who cannot see it.
        text: one sentence about what it shows.
    """

    def show(folder: Path) -> str:
        above = f"{text}\n\n" if text else ""
        return f"{above}![{title}]({file})" if (folder / file).exists() else ""

    return show


def load_sheet(path: Path, size: int) -> list[list[PIL.Image.Image]]:
    """Return the rows of pictures of a sheet that `save_sheet` wrote; none if there is no such sheet, or it is damaged.

    Args:
        path: of the PNG.
        size: of a picture in pixels.
    """
    try:
        return cut(open_picture(path), size) if size > 0 and path.is_file() else []
    except InputError:
        return []


def save_sheet(sheet: PIL.Image.Image, path: Path, request: Mapping[str, Any] | None = None) -> None:
    """Write a sheet of pictures in twice its size.

    Args:
        sheet: to write.
        path: of the PNG.
        request: kept in the file, where one request made all of it.

    Raises:
        FileError: it cannot be written. The old file is whole.
    """
    image = enlarge(sheet, 2 * max(sheet.size))
    write_file(path, lambda temporary: save_picture(image, temporary, dict(request or {})))
