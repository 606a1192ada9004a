"""A place for a picture on the Explore page, with examples of the kind that the chosen model knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.ui.inputs import STRIPS, example_pictures, picture_input
from genarium.ui.texts import TaskTexts

SHOWN = 12  # examples
OF_DATA = {"ylecun/mnist": "digits"}  # strips for models of these data
ALL_STRIPS = (*STRIPS.values(), *OF_DATA.values())


def strip_of(checkpoint: Checkpoint) -> str:
    """Return which examples suit a checkpoint."""
    return OF_DATA.get(checkpoint.data or "") or STRIPS.get(int(checkpoint.index.get("channels") or 0), "emoji")


class PicturePlace:
    """An image component, and below it a strip of examples for each kind of model.

    Args:
        texts: of the task.
        label: key of the image's label.
        checkpoint: that is chosen first.
        picture: path of the picture that is there first; "": the example `first`.
        first: stem of an example for each strip, {strip: stem}.
    """

    def __init__(self, texts: TaskTexts, label: str, checkpoint: Checkpoint, picture: str, first: dict[str, str]):
        self.first = first
        strip = strip_of(checkpoint)
        with gr.Column(min_width=130, elem_id=f"explore-place-{label}"):
            self.image = picture_input(
                value=picture or self._example(strip),
                label=texts(label),
                sources=["upload", "clipboard"],
                height=170,
                buttons=[],
                interactive=True,
                elem_classes="pixels",
                elem_id=f"explore-{label}",
            )
            self.strips = {}
            for name in ALL_STRIPS:
                files = example_pictures(name)[:SHOWN]
                self.strips[name] = gr.Dataset(
                    components=["image"],
                    samples=[[str(path)] for path in files],
                    label=texts("examples"),
                    type="values",
                    samples_per_page=SHOWN,
                    visible=name == strip,
                    elem_classes="explore-strip",
                )

    def connect(self) -> None:
        """Let a click on an example put it into the place."""
        for dataset in self.strips.values():
            dataset.click(self._take, dataset, self.image, show_progress="hidden", api_visibility="private")

    @staticmethod
    def _take(sample: list[Any] | None) -> Any:
        """Return the picture of an example; without one, change nothing."""
        return sample[0] if sample else gr.skip()

    @property
    def shown(self) -> list[Any]:
        """What `show` updates."""
        return [self.image, *self.strips.values()]

    def show(self, checkpoint: Checkpoint, before: str) -> Sequence[Any]:
        """Return updates for another checkpoint: its kind of examples, and the first of them if the kind has changed.

        Args:
            before: the strip that was shown.
        """
        strip = strip_of(checkpoint)
        image = gr.skip() if strip == before else self._example(strip)
        return [image, *(gr.update(visible=name == strip) for name in self.strips)]

    def _example(self, strip: str) -> str:
        return str({path.stem: path for path in example_pictures(strip)}[self.first[strip]])
