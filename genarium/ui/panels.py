"""How a result is shown: what the panels of all tasks share. A panel is a few components, hidden until there is a result."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, TypeVar

import gradio as gr
import PIL.Image

from genarium.checkpoints import Checkpoint
from genarium.media.pictures import enlarge
from genarium.runtime import Pictures, Result
from genarium.runtime.request import MAX_SEED
from genarium.ui.files import columns, keep_results, keep_shown, tiles
from genarium.ui.texts import TaskTexts

SHOWN_SIDE = 336  # pixels; a multiple of 28 and 56, near enough to one of 32

AnyResult = TypeVar("AnyResult", bound=Result)


class Panel(ABC, Generic[AnyResult]):
    """The result of one task on one modality.

    `group` is hidden until there is a result. Until then `blanks` empty places stand for it, square or `wide`.
    """

    group: gr.Column
    blanks: int
    wide = False

    @abstractmethod
    def __init__(self, texts: TaskTexts):
        """Build the components.

        Args:
            texts: of the task.
        """

    @property
    @abstractmethod
    def outputs(self) -> list[Any]:
        """All components that `fill` may update, and the group."""

    @property
    def pictures(self) -> Any:
        """The gallery in which a visitor chooses one of several pictures that were made; None where there is none."""
        return None

    @property
    def settings(self) -> list[Any]:
        """Components of the panel whose values `fill` needs."""
        return []

    @property
    def edits(self) -> dict[str, Any]:
        """Components in which a visitor edits parameters of the task where the result is shown, by parameter."""
        return {}

    @property
    def edited(self) -> list[Any]:
        """Events upon which the task runs again with `edits`."""
        return []

    @abstractmethod
    def fill(self, result: AnyResult, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """Return updates that show a result.

        Args:
            result: what the task returned.
            checkpoint: which made it.
            data: the page's values, by component.
        """

    def preview(self, pictures: Sequence[PIL.Image.Image]) -> str:
        """Return the estimate while the run goes on, as HTML."""
        return tiles(pictures)


class Gallery(Panel[Pictures]):
    """The pictures of a result. Tasks without a panel of their own get this one."""

    blanks = 4

    def __init__(self, texts: TaskTexts):
        with gr.Column(visible=False) as self.group:
            self.gallery = gallery(texts("results"))

    @property
    def outputs(self) -> list[Any]:
        return [self.group, self.gallery]

    @property
    def pictures(self) -> Any:
        return self.gallery

    def fill(self, result: Pictures, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[Any, Any]:
        files = keep_results(result)
        return {self.gallery: filled(files, columns(len(files)))}


def picture(label: Any, **options: Any) -> gr.Image:
    """Return a place for one picture of a result."""
    return gr.Image(
        label=label,
        alt_text=label,
        interactive=False,
        format="png",
        buttons=["download", "fullscreen"],
        elem_classes=["pixels", "shown"],
        min_width=140,
        **options,
    )


def captioned(files: Sequence[str], words: Sequence[str] | None) -> list[Any]:
    """Return the files of a gallery, each with its words below it where there are some."""
    return list(zip(files, words, strict=True)) if words else list(files)


def captions(result: Pictures, checkpoint: Checkpoint) -> list[str]:
    """Return a caption for each picture that was drawn: its class or its words, and its seed after a #."""
    labels = result.request.class_labels or ()
    said = result.words or [checkpoint.class_names[label] for label in labels]
    seeds = [(result.request.seed + i) % (MAX_SEED + 1) for i in range(len(result.pictures))]
    if len(said) != len(seeds):
        return [f"#{seed}" for seed in seeds]
    return [f"{text} #{seed}" for text, seed in zip(said, seeds, strict=True)]


def gallery(label: Any) -> gr.Gallery:
    """Return a place for several pictures of a result, to be shown by `filled`.

    While it is not visible, the browser does without the scripts of Gradio's gallery, which play videos, too.
    """
    return gr.Gallery(
        label=label,
        visible=False,
        format="png",
        interactive=False,
        object_fit="contain",
        height="auto",
        buttons=["download", "download_all", "fullscreen"],
        elem_classes=["pixels", "sheet"],
    )


def filled(files: Sequence[Any], columns: int) -> Any:
    """Return an update that shows pictures in a `gallery`, none of them chosen.

    Args:
        files: paths, or pairs of a path and a caption.
        columns: of pictures.
    """
    return gr.update(value=files, columns=columns, selected_index=None, visible=True)


def large(picture: PIL.Image.Image) -> PIL.Image.Image:
    """Return the picture enlarged for the screen, its pixels crisp."""
    return enlarge(picture, SHOWN_SIDE)


def keep_large(picture: PIL.Image.Image) -> str:
    """Return the path of the picture, enlarged for the screen, for a place made by `picture`."""
    return keep_shown(large(picture))
