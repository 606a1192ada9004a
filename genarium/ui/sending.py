"""What a visitor does with a picture of a result: take it, and its checkpoint, to another tab or page, or download it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
import PIL.Image

from genarium.checkpoints import Checkpoint
from genarium.errors import GenariumError, InputError
from genarium.media.decoding import open_picture
from genarium.media.pictures import read_request, save_picture
from genarium.runtime import Pictures, Result
from genarium.tasks import Task
from genarium.ui.answers import said
from genarium.ui.events import QUIET
from genarium.ui.files import keep_file, keep_results
from genarium.ui.pages import Current, is_uploaded
from genarium.ui.texts import TaskTexts, Texts, markup

if TYPE_CHECKING:
    from genarium.ui.tab import TaskTab

CSS = """
.send { align-items: center; gap: 8px !important; flex-wrap: wrap; }
.send .block, .send > div { flex: none; width: auto !important; min-width: 0 !important; }
.send button { flex: none; min-width: 0 !important; width: auto; }
"""
FACTORS = (1, 8)  # of the side of a downloaded picture
DOWNLOAD = """(file) => {
  const link = Object.assign(document.createElement('a'), {href: file.url, download: file.orig_name ?? ''});
  link.click();
}"""
OPEN_PAGE = "() => {{ location.href = {address}; }}"


class Sending:
    """The buttons below the result of a task.

    Args:
        task: of the result.
        others: the tasks that take pictures, each with its texts.
    """

    def __init__(self, task: Task, others: Sequence[tuple[Task, TaskTexts]]):
        self.pictures = gr.Textbox(visible=False)  # paths as JSON: in the visitor's page, not here
        self.chosen = gr.Number(0, precision=0, visible=False)  # which of them
        self.buttons: dict[str, gr.Button] = {}
        with gr.Row(visible=False, elem_classes="send") as self.row:
            markup(f'<span class="note">{Texts.both("send")}</span>')
            for other, texts in others:
                if other.name != task.name:
                    elem_id = f"{task.name}-to-{other.name}"
                    self.buttons[other.name] = gr.Button(texts("tab"), size="sm", elem_id=elem_id)
            markup(f'<span class="note">{Texts.both("download")}</span>')
            self.file = gr.File(visible=False)
            for factor in FACTORS:
                button = gr.Button(f"×{factor}", size="sm", elem_id=f"{task.name}-times-{factor}")
                made = button.click(partial(self.enlarged, factor), [self.pictures, self.chosen], self.file, **QUIET)
                made.success(None, self.file, None, js=DOWNLOAD, **QUIET)

    @property
    def outputs(self) -> list[Any]:
        """What `show` updates."""
        return [self.row, self.pictures, self.chosen]

    def show(self, result: Result, checkpoint: Checkpoint) -> dict[Any, Any]:
        """Return updates that offer the pictures of a result, or else the picture that it is about."""
        if checkpoint.modality != "image":
            return {self.row: gr.update(visible=False)}
        paths = keep_results(result) if isinstance(result, Pictures) else []
        return {self.row: gr.update(visible=bool(paths)), self.pictures: json.dumps(paths), self.chosen: 0}

    def choose(self, event: gr.SelectData) -> Any:
        """Remember which picture of a gallery the visitor pressed."""
        return event.index if isinstance(event.index, int) else 0

    def enlarged(self, factor: int, pictures: Any, chosen: Any) -> str:
        """Return the file of the chosen picture, each of its pixels `factor` pixels wide, with its request in the metadata."""
        try:
            path = self.picture(pictures, chosen)
            if not path:
                raise InputError("There is no picture to download. Press Run first.")
            if factor == 1:
                return path
            picture = open_picture(path)
            large = picture.resize((picture.width * factor, picture.height * factor), PIL.Image.Resampling.NEAREST)
            name = f"{Path(path).stem}-x{factor}.png"
            return keep_file(lambda place: save_picture(large, place, read_request(path)), name)
        except GenariumError as error:
            raise said(error) from error

    @staticmethod
    def picture(pictures: Any, chosen: Any) -> str:
        """Return the path of the chosen picture; "" if the page sent none that is a visitor's."""
        try:
            paths = json.loads(pictures)
            path = paths[int(chosen)]
        except (IndexError, KeyError, TypeError, ValueError):
            return ""
        return path if is_uploaded(path) else ""


def takes_pictures(task: Task) -> bool:
    """Return whether a picture can be sent to a task."""
    return task.starts_with_picture is not None if task.address else bool(task.inputs)


def connect_sending(tabs: Sequence[TaskTab], pages: Sequence[Task], chooser: gr.Tabs, current: Current) -> None:
    """Let the buttons of all tabs do what they say.

    Args:
        tabs: of the tasks.
        pages: tasks with pages of their own.
        chooser: the tabs.
        current: the visitor's current checkpoint and picture, by which a page gets them.
    """
    targets = {tab.task.name: tab for tab in tabs if tab.families}
    addresses = {task.name: f"{task.address}?{task.starts_with_picture}".rstrip("?") for task in pages}
    for tab in targets.values():
        sending = tab.outcome.sending
        for name, button in sending.buttons.items():
            given = [sending.pictures, sending.chosen, tab.question.picker.dropdown]
            if name in addresses:
                sent = button.click(_remembering, given, current.all, **QUIET)
                sent.success(None, None, None, js=OPEN_PAGE.format(address=json.dumps(addresses[name])), **QUIET)
            elif name in targets and "image" in targets[name].question.inputs:
                _connect_tab(button, given, targets[name], chooser)


def _remembering(pictures: str, chosen: int, checkpoint: str) -> list[Any]:
    """Make checkpoint and picture the current ones."""
    path = Sending.picture(pictures, chosen)
    return [checkpoint, path or gr.skip()]


def _connect_tab(button: gr.Button, given: list[Any], target: TaskTab, chooser: gr.Tabs) -> None:
    """Let a button put a picture into a tab: into its first empty place, or else its first."""
    places = list(target.question.inputs["image"].components.values())

    def send(pictures: str, chosen: int, checkpoint: str, before: str, shown: Any, *filled: Any) -> dict[Any, Any]:
        path = Sending.picture(pictures, chosen)
        updates = target.take(checkpoint, before, shown)
        if path:
            updates[next((place for place, value in zip(places, filled, strict=True) if not value), places[0])] = path
        return {**updates, chooser: gr.update(selected=target.task.name)}

    inputs = [*given, target.question.picker.dropdown, target.question.modality, *places]
    button.click(send, inputs, [chooser, *places, *target.taken], **QUIET)
