"""Pages of their own, with an address, and what they share with the tabs: a visitor's current checkpoint and picture."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import LocalContext
from gradio.utils import get_upload_folder

from genarium.checkpoints import Checkpoint
from genarium.errors import CheckpointError, PluginError
from genarium.runtime import Runtime
from genarium.tasks import Task
from genarium.ui.links import query_of
from genarium.ui.texts import TaskTexts

STOP_TIMER = "() => ({__type__: 'update', active: false})"
SECRET = secrets.token_hex(16)  # of this process: what an earlier start of the app left in a browser is forgotten


class Current:
    """The current checkpoint and picture of a visitor. Their one place is the visitor's browser, shared by all pages.

    To be built once on each page, within it: `checkpoint` and `picture` are components, to be used in events.
    """

    def __init__(self) -> None:
        self.checkpoint = gr.BrowserState("", storage_key="genarium-checkpoint", secret=SECRET)
        self.picture = gr.BrowserState("", storage_key="genarium-picture", secret=SECRET)

    @property
    def all(self) -> list[Any]:
        return [self.checkpoint, self.picture]

    def remember(self, checkpoint: Checkpoint, inputs: Mapping[str, Any]) -> dict[Any, Any]:
        """Return updates that make a checkpoint the current one, and the first picture among the inputs the current picture.

        Args:
            checkpoint: which the visitor runs.
            inputs: the paths of its inputs, by parameter.
        """
        given = [value for value in inputs.values() if isinstance(value, str) and value]
        updates: dict[Any, Any] = {self.checkpoint: checkpoint.name}
        if given and checkpoint.modality == "image":
            updates[self.picture] = given[0]
        return updates


@dataclass(frozen=True)
class Page:
    """The argument of a task's `panel.build(page)`.

    Args:
        task: whose page it is.
        runtime: runs requests.
        texts: of the task.
        current: components of the current checkpoint and picture, for events of the page.
        checkpoint: the name of the current checkpoint when the page was opened; the first that can do the task, if the
            current one cannot; "" if none can.
        picture: the path of the current picture when the page was opened, or "".
        query: what the address says after the "?", by name; the texts are a stranger's.
    """

    task: Task
    runtime: Runtime
    texts: TaskTexts
    current: Current
    checkpoint: str = ""
    picture: str = ""
    query: Mapping[str, str] = field(default_factory=dict)


def open_page(task: Task, runtime: Runtime, texts: TaskTexts, current: Current, checkpoint: str, picture: str) -> Page:
    """Return a page for what a browser says is current. It may say anything, so it is checked."""
    visit: Any = LocalContext.request.get(None)
    offered = runtime.catalogue.offering(task.name)
    try:
        known = runtime.guest(checkpoint) or runtime.catalogue.checkpoints[checkpoint]
        able = task.name in known.tasks
    except (CheckpointError, KeyError, TypeError):
        able = False
    name = checkpoint if able else next(iter(offered), "")
    return Page(task, runtime, texts, current, name, picture if is_uploaded(picture) else "", query_of(visit))


def shown_once() -> Any:
    """Return an event that happens one time, when the contents of a page have been shown; its `then` can fill them.

    It is the tick of a timer, which the browser stops. By way of the server it would tick until the answer came, and do the
    work as often.
    """
    timer = gr.Timer(0.2)
    return timer.tick(None, None, timer, js=STOP_TIMER, api_visibility="private", show_progress="hidden")


def build_contents(page: Page) -> None:
    """Build the contents of a task's page or tab by its panel.py.

    Raises:
        PluginError: the task has no panel.py with a function `build`.
    """
    panel = page.task.part("panel")
    if panel is None or not callable(getattr(panel, "build", None)):
        raise PluginError(f"task {page.task.name}: a page needs panel.py with build(page)")
    panel.build(page)


def is_uploaded(path: Any) -> bool:
    """Return whether the path is a file that a visitor gave to this app: the page must not show others of this machine."""
    if not isinstance(path, str) or not path:
        return False
    file = Path(path).resolve()
    return file.is_file() and file.is_relative_to(Path(get_upload_folder()).resolve())
