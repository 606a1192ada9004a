"""The Lab's page: one component, whose script draws in the browser what the trainings on the server find."""

from __future__ import annotations

import functools
from typing import Any

import gradio as gr

from genarium.errors import GenariumError
from genarium.runtime import Runtime
from genarium.tasks.lab.experiment import Experiment
from genarium.tasks.lab.panel_spec import spec_of
from genarium.tasks.lab.rooms import Rooms
from genarium.ui.answers import without_folders
from genarium.ui.pages import Page
from genarium.ui.script import scripted
from genarium.ui.texts import markup

SCRIPTS = ("page.js", "drawing.js", "curves.js", "pen.js", "side.js", "lessons.js", "lab.js")
START = "new Lab(element, JSON.parse(props.spec), message => server.talk(message));"
USUAL = Experiment.of({})


@functools.cache
def rooms_of(runtime: Runtime) -> Rooms:
    """Return the rooms of all visitors of an app."""
    return Rooms(runtime)


def build(page: Page) -> None:
    """Build the contents of the page."""
    rooms = rooms_of(page.runtime)
    start, problem = USUAL, ""
    try:
        if page.query:
            start = Experiment.of_query(page.query)
    except GenariumError as error:
        problem = str(error)

    async def talk(message: Any, visit: gr.Request) -> dict[str, Any]:
        """Answer the page's script; see `Rooms.talk`."""
        answer = await rooms.talk(message, visit.client.host if visit.client else "unknown")
        if answer.get("problem"):
            answer["problem"] = without_folders(answer["problem"])
        return answer

    markup(f'<div class="intro">{page.texts.both("intro")}</div>')
    waiting = '<div class="lab-waiting"></div>'
    spec = spec_of(page.task, start, problem)
    scripted(__package__, SCRIPTS, START, talk, spec, html_template=waiting, elem_id="lab")
