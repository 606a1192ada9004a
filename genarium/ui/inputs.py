"""Where a visitor's material goes in, with examples to take instead, for pictures and for sound.

The components accept whatever a visitor or a program sends, so that the host can say what is wrong with it: Gradio's own
would fail before any of our code runs, and the visitor would read no more than "Error". The check is put on the instance:
for each subclass of a component, Gradio writes a .pyi file beside the module.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.errors import InputError
from genarium.media.decoding import open_picture
from genarium.media.sounds import MAX_SECONDS, read_sound
from genarium.tasks import Modality, Task
from genarium.ui.events import QUIET
from genarium.ui.runs import problem_html
from genarium.ui.texts import TaskTexts, Texts, markup

EXAMPLES = Path(__file__).parent / "examples"
PAIR_EXAMPLES = 18
HEARD = 8000  # Hz, at which it is tried whether a recording can be read
STRIPS = {1: "grey", 3: "emoji"}  # folder of the example pictures for models of so many channels


class PictureInputs:
    """A place for each picture that a task takes, side by side; below it examples of the kind that the model knows.

    `components`: by the parameter of the task's method. `shown`: what `show` updates. `missing`: what to say without one.
    `invertible`: whether a visitor may swap bright and dark.
    """

    missing = "There is no picture yet. Choose one, or take an example."
    invertible = True

    def __init__(self, task: Task, texts: TaskTexts, visible: bool, first: Checkpoint | None):
        self.components: dict[str, gr.Image] = {}
        self.strips: dict[str, list[gr.Dataset]] = {strip: [] for strip in STRIPS.values()}
        with gr.Row(visible=visible) as self.group:
            for name in task.inputs:
                with gr.Column(min_width=130):
                    self._place(task, name, texts, _strip(first))

    @property
    def shown(self) -> list[Any]:
        return [dataset for strip in self.strips.values() for dataset in strip]

    def show(self, checkpoint: Checkpoint) -> dict[Any, Any]:
        """Return updates that show the examples for a checkpoint."""
        chosen = _strip(checkpoint)
        return {d: gr.update(visible=strip == chosen) for strip, datasets in self.strips.items() for d in datasets}

    def _place(self, task: Task, name: str, texts: TaskTexts, shown: str) -> None:
        self.components[name] = picture_input(
            label=texts(f"input_{name}"),
            sources=["upload", "webcam", "clipboard"],
            height=220,
            buttons=[],
            elem_classes="pixels",
            elem_id=f"{task.name}-{name}",
        )
        for strip, datasets in self.strips.items():
            pictures = example_pictures(strip)
            if len(task.inputs) > 1:  # half as wide, so fewer
                pictures = pictures[:PAIR_EXAMPLES]
            examples = gr.Examples(
                [[str(path)] for path in pictures],
                self.components[name],
                label=texts("examples"),
                examples_per_page=len(pictures),
                elem_id=f"{task.name}-{name}-{strip}",
                api_visibility="private",
                visible=strip == shown,
            )
            examples.dataset.elem_classes = ["example-strip"]
            datasets.append(examples.dataset)


class SoundInputs:
    """A place for each recording that a task takes, one below the other, and whose voices may be used.

    `components`: by the parameter of the task's method. `missing`, `invertible`: as of pictures.
    """

    missing = "There is no recording yet. Record or upload one, or take an example."
    invertible = False
    shown = ()  # the examples suit every model of voices

    def __init__(self, task: Task, texts: TaskTexts, visible: bool, first: Checkpoint | None):
        self.components: dict[str, gr.Audio] = {}
        with gr.Column(visible=visible) as self.group:
            for name in task.inputs:
                self._place(task, name, texts, visible)
            if task.inputs:
                words = Texts.both("consent", minutes=MAX_SECONDS // 60)
                markup(f'<p class="note">{words}</p>', elem_id=f"{task.name}-consent")

    def show(self, checkpoint: Checkpoint) -> dict[Any, Any]:
        """Return no updates: the examples suit every checkpoint."""
        return {}

    def _place(self, task: Task, name: str, texts: TaskTexts, visible: bool) -> None:
        self.components[name] = gr.Audio(
            type="filepath",
            label=texts(f"sound_{name}"),
            sources=["upload", "microphone"],
            buttons=[],
            elem_classes="sound",
            elem_id=f"{task.name}-sound-{name}",
            visible=visible,  # by itself, too: for a visible one the browser loads players of sound and of video
        )
        refuse_damaged(self.components[name], lambda path: read_sound(path, HEARD))
        sounds = example_sounds()
        # `gr.Examples` would hide the place again when one is clicked: it repeats all that the place was built with.
        examples = gr.Dataset(
            components=["audio"],
            samples=[[str(path)] for path in sounds],
            sample_labels=[path.stem.replace("-", " ") for path in sounds],
            label=texts("examples"),
            samples_per_page=len(sounds),
            type="values",
            elem_id=f"{task.name}-sound-{name}-examples",
            elem_classes=["voices"],
        )
        examples.click(_take, examples, self.components[name], **QUIET)


def _take(sample: list[Any] | None) -> Any:
    """Return the file of an example; without one, change nothing."""
    return sample[0] if sample else gr.skip()


INPUTS: dict[Modality, type[PictureInputs] | type[SoundInputs]] = {"image": PictureInputs, "audio": SoundInputs}


def picture_input(**options: Any) -> Any:
    """Return an image component whose value is the path of the file as it was given; below it goes what is wrong with a file."""
    image: Any = gr.Image(type="filepath", image_mode=None, **options)
    image.preprocess = lambda payload: payload and payload.path  # Gradio has seen to it that it is a file of a visitor
    refuse_damaged(image, open_picture)
    return image


def refuse_damaged(place: Any, read: Callable[[str], object]) -> None:
    """Let a place refuse a file that cannot be used as soon as it is dropped, and say why below it.

    Args:
        place: a component whose value is a path.
        read: reads the file of a path, or raises an InputError.
    """
    problem = markup("", elem_id=f"{place.elem_id}-problem")

    def check(path: str | None) -> tuple[Any, str]:
        try:
            if path:
                read(path)
        except InputError as error:
            return None, problem_html(error)
        return gr.skip(), ""

    place.upload(check, place, [place, problem], **QUIET)
    # the words go when something else comes, such as an example
    place.change(None, [place, problem], problem, js="(file, problem) => file ? '' : problem", **QUIET)


def any_value(component: Any, schema: dict[str, Any]) -> Any:
    """Return the same component, which now hands on whatever a program sends, and documents itself by a JSON schema.

    Gradio's own schema of `gr.JSON` is none that MCP clients accept.
    """
    component.preprocess = lambda payload: payload
    component.api_info = lambda: schema
    return component


def _strip(checkpoint: Checkpoint | None) -> str:
    return STRIPS.get(int(checkpoint.index.get("channels") or 0) if checkpoint else 1, "emoji")


def example_pictures(strip: str) -> list[Path]:
    """Return the bundled pictures of a strip, "grey", "digits" or "emoji".

    Of the grey ones, one of each class comes first, so that the first row shows them all; then the strange ones. The strip
    "digits" has the same pictures for models of digits, to which clothes are strange.
    """
    files = sorted((EXAMPLES / ("grey" if strip == "digits" else strip)).glob("*.png"))
    first = [f for f in files if f.stem.endswith("-1")]
    strange = [f for f in files if f.stem.startswith(("digit", "noise", "checker"))]
    if strip == "digits":
        digits = [f for f in files if f.stem.startswith("digit")]
        return [*digits, *(f for f in files if f not in digits)]
    return [*first, *strange, *(f for f in files if f not in first and f not in strange)]


def example_sounds() -> list[Path]:
    """Return the bundled recordings: a sentence of each voice first."""
    return sorted((EXAMPLES / "voices").glob("*.flac"), key=lambda path: path.stem.split("-")[::-1])
