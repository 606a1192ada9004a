"""Links to a result: the address in the browser names what made it, and who opens the address sees the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import gradio as gr

from genarium.errors import GenariumError, InputError
from genarium.messages import listed, quoted
from genarium.runtime.links import request_from_parts
from genarium.ui.runs import problem_html

if TYPE_CHECKING:
    from genarium.ui.tab import TaskTab

OWN = "own"  # of a link to a checkpoint of the visitor's own, which `visitors` opens
WRITE_ADDRESS = "(query) => { if (query) history.replaceState(null, '', location.pathname + '?' + query); }"
# A tab that was just chosen is not there at once.
PRESS_RUN = """(task) => {
  const press = (times) => {
    const button = document.getElementById(task + '-run');
    if (button) button.click(); else if (times) setTimeout(press, 100, times - 1);
  };
  if (task) setTimeout(press, 100, 50);
}"""


def query_of(visit: gr.Request | None) -> dict[str, str]:
    """Return what the address of a visitor's page says after the "?", by name, without what Gradio itself puts there."""
    return {} if visit is None else {name: text for name, text in visit.query_params.items() if name[:2] != "__"}


def open_links(app: gr.Blocks, chooser: gr.Tabs, tabs: Sequence[TaskTab]) -> None:
    """Let the first page be opened by a link: it shows the tab, sets it, and runs it if it needs no material.

    Args:
        app: the page, whose contents are being built.
        chooser: the tabs; each has its task's name as its id.
        tabs: of the tasks. The first one says what is wrong with a link.
    """
    tabs = [tab for tab in tabs if tab.families]
    if not tabs:
        return
    started = gr.Textbox(visible=False)  # the task to run

    def fill(visit: gr.Request) -> dict[Any, Any]:
        parts = query_of(visit)
        if not parts or OWN in parts:
            return {started: ""}
        try:
            tab, updates = _opened(tabs, parts)
        except GenariumError as error:
            return {tabs[0].outcome.status: problem_html(error), started: ""}
        name = tab.task.name
        return {**updates, chooser: gr.update(selected=name), started: name if tab.task.draws else ""}

    outputs = [chooser, started, *(component for tab in tabs for component in tab.linked)]
    app.load(fill, None, outputs, queue=False, show_progress="hidden", api_visibility="private").then(
        None, started, None, js=PRESS_RUN, api_visibility="private"
    )


def _opened(tabs: Sequence[TaskTab], parts: Mapping[str, str]) -> tuple[TaskTab, dict[Any, Any]]:
    """Return the tab of a link, and the updates that set it.

    Raises:
        GenariumError: there is no such task, or the request does not fit it.
    """
    request = request_from_parts(parts)
    for tab in tabs:
        if tab.task.name == request.task:
            return tab, tab.open_link(request)
    raise InputError(
        f"The link asks for the task {quoted(request.task)}, which is no tab here. There are: "
        f"{listed(tab.task.name for tab in tabs)}."
    )
