"""The train page: one component, whose script asks the desk."""

from __future__ import annotations

from typing import Any

import gradio as gr

from genarium.rights import is_near
from genarium.tasks import find_tasks
from genarium.tasks.train.visitors import desk_of
from genarium.ui.answers import without_folders
from genarium.ui.pages import Page
from genarium.ui.problems import in_chinese
from genarium.ui.publishing import can_sign_in
from genarium.ui.script import pairs, scripted
from genarium.ui.texts import markup

START = "new Train(element, JSON.parse(props.spec), message => server.talk(message), upload);"


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
        "texts": pairs(page.task),
        "tasks": {task.name: _title(task) for task in find_tasks().values()},
        "signs_in": can_sign_in(),
        "root": "",
    }
    waiting = '<div class="train-waiting"></div>'
    scripted(__package__, ("train.js",), START, talk, spec, html_template=waiting, elem_id="train")


def _title(task: Any) -> list[str]:
    """Return the title of a task's tab in English and Chinese."""
    title = task.texts().get("tab", {"en": task.name, "zh": task.name})
    return [title["en"], title.get("zh", title["en"])]
