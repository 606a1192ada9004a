"""What a newcomer may try first: a card for each task that has the text `invite`, in one sentence."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import gradio as gr

from genarium.tasks import Task
from genarium.ui.events import QUIET
from genarium.ui.tab import TaskTab
from genarium.ui.texts import Texts

CSS = """
.starts { display: flex; flex-wrap: wrap; gap: 10px; margin: 4px 0 8px; }
.starts h2 { width: 100%; margin: 0; font-size: 15px; font-weight: 600; color: var(--body-text-color); }
.starts a, .starts button { flex: 1 1 220px; display: flex; flex-direction: column; gap: 2px; padding: 10px 14px; text-align: left; font-size: 14px;
  line-height: 1.4; text-decoration: none; cursor: pointer; border: 1px solid var(--block-border-color);
  border-radius: var(--block-radius); background: var(--block-background-fill); color: var(--body-text-color); }
.starts a:hover, .starts button:hover { border-color: var(--color-accent); }
.starts a:focus-visible, .starts button:focus-visible { outline: 2px solid var(--color-accent); }
.starts b { font-weight: 600; }
.starts .why { color: var(--body-text-color-subdued); }
@media (max-width: 640px) { .starts { gap: 8px; } .starts .why { display: none; } }
"""
START_JS = """
element.addEventListener('click', event => {
  const button = event.target.closest('button[data-task]');
  if (button) trigger('select', {task: button.dataset.task});
});
"""
# below the cards on a phone, the tab that was opened is out of sight
SCROLL = "() => document.querySelector('.tab-container')?.scrollIntoView({behavior: 'smooth'})"


def starts_html(tasks: Sequence[Task], texts: Texts) -> str:
    """Return the cards as HTML; "" if no task has one. A task with a page of its own is a link, the others are buttons."""
    cards = "".join(_card(task, texts) for task in tasks if "invite" in task.texts())
    return cards and f'<section class="starts"><h2>{Texts.both("try_this")}</h2>{cards}</section>'


def _card(task: Task, texts: Texts) -> str:
    own = texts.of(task)
    words = f'<b>{own.both("invite")}</b><span class="why">{own.both("invite_why")}</span>'
    if task.address:
        return f'<a href="{html.escape(task.address)}">{words}</a>'
    return f'<button type="button" data-task="{html.escape(task.name)}">{words}</button>'


def open_starts(starts: gr.HTML, chooser: gr.Tabs, tabs: Sequence[TaskTab]) -> None:
    """Let the cards open their tabs.

    Args:
        starts: the cards.
        chooser: the tabs; each has its task's name as its id.
        tabs: of the tasks.
    """
    names = {tab.task.name for tab in tabs}

    def chosen(event: gr.EventData) -> Any:
        name = event._data.get("task") if isinstance(event._data, dict) else None
        return gr.update(selected=name) if name in names else gr.skip()

    starts.select(chosen, None, chooser, **QUIET).then(None, None, None, js=SCROLL, **QUIET)
