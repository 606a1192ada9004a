"""Components that a script of ours draws in the browser, and what these scripts have in common."""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Callable
from importlib.resources import files
from typing import Any

import gradio as gr

from genarium.tasks import Task


def scripted(
    package: str, scripts: tuple[str, ...], start: str, answer: Callable[..., Awaitable[Any]], spec: Any, **options: Any
) -> gr.HTML:
    """Build a component that its script fills.

    Args:
        package: in which the files of the script are.
        scripts: their names. Together they are one function body: they see each other, and nothing else sees them.
        start: JavaScript that starts them. It sees `element`, `props`, and `server` with the function `answer` by its name.
        answer: answers the script's messages.
        spec: what the script is given, as JSON in `props.spec`.
        options: of `gr.HTML`, and further properties.
    """
    return gr.HTML(
        "",
        js_on_load=_body(package, scripts, start),
        apply_default_css=False,
        padding=False,
        server_functions=[answer],
        spec=json.dumps(spec),
        **options,
    )


@functools.cache
def _body(package: str, scripts: tuple[str, ...], start: str) -> str:
    """Return a script with the functions by which it makes elements, with texts in two languages."""
    shared = (files(__package__) / "elements.js").read_text(encoding="utf-8")
    return "\n".join([shared, *((files(package) / name).read_text(encoding="utf-8") for name in scripts), start])


def pairs(task: Task) -> dict[str, list[str]]:
    """Return the texts of a task as [English, Chinese], by key."""
    return {key: [text["en"], text["zh"]] for key, text in task.texts().items()}
