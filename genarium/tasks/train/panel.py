"""The train page: one component, whose script asks the desk."""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from typing import Any

import gradio as gr

from genarium.rights import is_near
from genarium.tasks import find_tasks
from genarium.tasks.train.visitors import desk_of
from genarium.ui.answers import without_folders
from genarium.ui.pages import Page
from genarium.ui.problems import in_chinese
from genarium.ui.script import elements
from genarium.ui.texts import markup

START = "new Train(element, JSON.parse(props.spec), message => server.talk(message), upload);"


@functools.cache
def script() -> str:
    """Return the page's script as one function body for Gradio."""
    own = (files(__package__) / "train.js").read_text(encoding="utf-8")
    return "\n".join([elements(), own, START])


def build(page: Page) -> None:
    """Build the contents of the page."""
    markup(f'<div class="intro">{page.texts.both("intro")}</div>')
    desk = desk_of(page.runtime)

    async def talk(message: Any, visit: gr.Request) -> dict[str, Any]:
        """Answer the page's script; see `Desk.talk`."""
        client = visit.client.host if visit.client else "unknown"
        answer = await desk.talk(message, client, is_near(dict(visit.headers)))
        if answer.get("problem"):
            english, chinese = (without_folders(text) for text in answer["problem"])
            answer["problem"] = [english, in_chinese(chinese)]
        return answer

    spec = {
        "texts": {key: [text["en"], text["zh"]] for key, text in page.task.texts().items()},
        "tasks": {task.name: _title(task) for task in find_tasks().values()},
        "root": "",
    }
    gr.HTML(
        "",
        html_template='<div class="train-waiting"></div>',
        js_on_load=script(),
        apply_default_css=False,
        padding=False,
        elem_id="train",
        server_functions=[talk],
        spec=json.dumps(spec),
    )


def _title(task: Any) -> list[str]:
    """Return the title of a task's tab in English and Chinese."""
    title = task.texts().get("tab", {"en": task.name, "zh": task.name})
    return [title["en"], title.get("zh", title["en"])]
