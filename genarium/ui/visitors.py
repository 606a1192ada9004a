"""What a visitor has of their own, such as checkpoints that they trained: offered on the tabs of their page alone.

A page of a task knows its visitors by a secret in their browser. Its part `visitors` says what each of them has:
`begin(runtime)` is called when the app starts, `brought(runtime, visitor)` returns checkpoints that are guests of the runtime,
and `learn(runtime, visitor, checkpoint, name, picture)` takes a picture for the next training.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr

from genarium.runtime import Runtime
from genarium.tasks import Task, find_tasks
from genarium.ui.links import OWN, query_of

if TYPE_CHECKING:
    from genarium.ui.publishing import PublishPanel
    from genarium.ui.tab import TaskTab

READ_SECRET = "() => [localStorage.getItem('genarium-visitor') || '']"


def learn(runtime: Runtime, visitor: str, checkpoint: str, name: str, picture: Path) -> bool:
    """Let a picture join what a visitor's checkpoint was trained on, for the next training.

    Args:
        visitor: the secret in the browser.
        checkpoint: its name.
        name: of the picture.
        picture: its file, which is copied.

    Returns:
        Whether the checkpoint is this visitor's and its pictures are still here.
    """
    parts = [part for task in find_tasks().values() if (part := task.part("visitors")) is not None]
    return any(part.learn(runtime, visitor, checkpoint, name, picture) for part in parts)


def offer_own(
    app: gr.Blocks,
    runtime: Runtime,
    tasks: Sequence[Task],
    chooser: gr.Tabs,
    tabs: Sequence[TaskTab],
    brought: gr.State,
    publish: PublishPanel | None = None,
) -> None:
    """Let the first page offer what its visitor has; a link "?own=NAME&task=TASK" chooses one of these.

    Args:
        app: the page, whose contents are being built.
        tasks: of the app, some of which have a part `visitors`.
        chooser: the tabs; each has its task's name as its id.
        tabs: of the tasks.
        brought: names of the checkpoints that this visitor brought.
        publish: offers to publish what the visitor trained, where one can sign in.
    """
    parts = [part for task in tasks if (part := task.part("visitors")) is not None]
    tabs = [tab for tab in tabs if tab.families]
    if not parts or not tabs:
        return
    for part in parts:
        part.begin(runtime)
    secret = gr.Textbox(visible=False)

    def offer(visitor: str, visit: gr.Request) -> dict[Any, Any]:
        own = [checkpoint for part in parts for checkpoint in part.brought(runtime, visitor)]
        updates: dict[Any, Any] = {secret: ""}
        if not own:
            return updates
        query = query_of(visit)
        chosen = next((checkpoint for checkpoint in own if checkpoint.name == query.get(OWN)), None)
        for tab in tabs:
            updates |= tab.offer(own, chosen) if chosen is not None else tab.add(own)
        if chosen is not None and query.get("task") in chosen.tasks:
            updates[chooser] = gr.update(selected=query["task"])
        if publish is not None:
            updates |= publish.offer(own)
        return {**updates, brought: [checkpoint.name for checkpoint in own]}

    offered = [publish.checkpoint] if publish is not None else []
    outputs = list({secret, *offered, chooser, brought, *(component for tab in tabs for component in tab.offered)})
    app.load(offer, secret, outputs, js=READ_SECRET, queue=False, show_progress="hidden", api_visibility="private")
