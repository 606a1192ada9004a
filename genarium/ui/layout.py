"""The page: a masthead, a tab for each task, the Hub, and About."""

from __future__ import annotations

from typing import Any

import gradio as gr

from genarium.runtime import Runtime
from genarium.tasks import find_tasks, tasks_of
from genarium.ui.about import build_about
from genarium.ui.endpoints import build_endpoints
from genarium.ui.hub import HubTab
from genarium.ui.tab import TaskTab
from genarium.ui.texts import Texts, markup
from genarium.ui.theme import CSS, make_theme

MAX_UPLOAD = "64mb"  # ten minutes as a browser records them; how much a file holds is looked at before it is decoded
HOUR = 3600  # seconds


def build_app(runtime: Runtime) -> tuple[gr.Blocks, dict[str, Any]]:
    """The app, and what `launch` needs to know to show it as designed. Loads no weights.

    Args:
        runtime: runs the requests of all visitors.
    """
    texts = Texts()
    offered = {task.name for family in runtime.catalogue.families for task in tasks_of(family.pipeline_class())}
    # Files of results are deleted a day after they were made.
    with gr.Blocks(title="Genarium", analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR)) as app:
        markup(texts("language_style"), elem_id="language-style")
        markup(
            '<header id="masthead"><span class="name">Genarium</span>'
            f'<span class="tagline">{Texts.both("tagline")}</span></header>'
        )
        tabs = []
        with gr.Tabs():
            for task in find_tasks():
                # every other family can do more or less; only this one task waits for its first plugin
                visible = task in offered or task != "swap_style"
                with gr.Tab(texts(f"tab_{task}"), id=task, visible=visible):
                    tabs.append(TaskTab(task, runtime, texts))
            with gr.Tab(texts("tab_hub"), id="hub"):
                HubTab(runtime, tabs, texts)
            with gr.Tab(texts("tab_about"), id="about"):
                build_about(runtime.catalogue)
        build_endpoints(runtime)
    app.queue(max_size=256)
    return app, {
        "theme": make_theme(),
        "css": CSS,
        "i18n": texts.i18n(),
        "max_file_size": MAX_UPLOAD,
        "ssr_mode": False,
        "footer_links": ["api", "settings"],
    }
