"""The pages. The first has a tab for each task, the Hub, and About; tasks with an address have a page each."""

from __future__ import annotations

import contextlib
import functools
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import gradio as gr
import gradio.utils
from gradio.routes import App
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware

from genarium.errors import Broken
from genarium.runtime import Runtime
from genarium.tasks import Task, find_tasks
from genarium.ui import history, provenance, sending, wall
from genarium.ui.about import build_about
from genarium.ui.answers import answer_in_words
from genarium.ui.endpoints import build_endpoints
from genarium.ui.forgetting import forget_file_names, forget_functions, share_file_names
from genarium.ui.gate import Gate
from genarium.ui.head import ICON, describe_pages, picture_routes
from genarium.ui.history import build_history
from genarium.ui.hub import HubTab
from genarium.ui.links import open_links
from genarium.ui.notices import show_notes
from genarium.ui.pages import Current, build_contents, open_page
from genarium.ui.picker import choices_of
from genarium.ui.problems import for_scripts
from genarium.ui.reach import be_patient
from genarium.ui.readers import know_visitors
from genarium.ui.sending import connect_sending, takes_pictures
from genarium.ui.sight import FirstSight
from genarium.ui.starts import CSS as STARTS_CSS
from genarium.ui.starts import START_JS, open_starts, starts_html
from genarium.ui.storage import STORAGE
from genarium.ui.tab import TaskTab
from genarium.ui.texts import TEXTS, Texts, markup
from genarium.ui.theme import CSS, make_theme
from genarium.ui.thrift import spare_outputs, spare_sessions
from genarium.ui.visitors import offer_own

MAX_UPLOAD = "64mb"  # ten minutes as a browser records them; how much a file holds is looked at before it is decoded
MAX_SESSIONS = 256  # of which Gradio remembers the state; each call of the web API is one
MAX_EVENTS = 128  # under way at the same time, of all pages and programs together; the others wait in Gradio's queue
HOUR = 3600  # seconds
ACCESS_JS = Path(__file__).with_name("access.js").read_text(encoding="utf-8")


def build_app(runtime: Runtime, seen: Callable[[], None] | None = None) -> tuple[gr.Blocks, dict[str, Any]]:
    """Return the app, and what `launch` needs to know to show it as designed. Loads no weights.

    Args:
        runtime: runs the requests of all visitors.
        seen: is called each time that the first page has been sent.
    """
    show_notes()
    describe_pages()
    spare_sessions()
    be_patient()
    texts = Texts()
    tasks, broken = _usable_tasks()
    pages = [task for task in tasks if task.address]
    with _assembled_later():
        # Files of results are deleted a day after they were made.
        app = gr.Blocks(title="Genarium", analytics_enabled=False, delete_cache=(HOUR, 24 * HOUR))
        cast(Any, app).get_config_file = dict  # made by `launch`
        choices_of(runtime.catalogue.checkpoints.values(), texts)  # pages that are built later have these names, too
        style = _build_first_page(app, runtime, tasks, broken, texts)
        for task in pages:
            _build_page(app, task, runtime, texts)
        app.queue(max_size=256, api_open=False)  # no way past the queue
        del cast(Any, app).get_config_file
    texts.name_pages({"": TEXTS["home"][1]} | {task.address: texts.of(task).plain("tab", "zh") for task in pages})
    answer_in_words(app)
    know_visitors(app)
    spare_outputs(app)
    _keep_examples(app)
    forget_functions(app)
    forget_file_names(app)
    return app, {
        "theme": make_theme(),
        "css": "".join((CSS, style, *(task.style() for task in tasks))),
        "js": ACCESS_JS.replace("CHINESE_OF_PHRASES", for_scripts()),
        "i18n": texts.i18n(),
        "max_file_size": MAX_UPLOAD,
        "ssr_mode": False,
        "state_session_capacity": MAX_SESSIONS,
        "max_threads": MAX_EVENTS,
        "enable_monitoring": False,
        "run_history": False,
        "favicon_path": str(ICON),
        "app_kwargs": {
            "middleware": [
                # Gradio itself compresses scripts and styles only. The gate reads answers, so it stands before the compression.
                Middleware(GZipMiddleware, minimum_size=1024, compresslevel=6),
                Middleware(Gate, blocks=app),
                *([Middleware(FirstSight, then=seen)] if seen else []),
            ],
            "routes": picture_routes(),
        },
        "footer_links": ["api", "settings"],
    }


def _build_first_page(app: gr.Blocks, runtime: Runtime, tasks: list[Task], broken: list[Broken], texts: Texts) -> str:
    """Build the page with the tabs, and return the style sheets of its parts."""
    able = {task.name for family in runtime.catalogue.families for task in family.outline.tasks}
    with app:
        _build_head(texts, runtime)
        current = Current()
        tabs = []
        others = [(task, texts.of(task)) for task in tasks if takes_pictures(task)]
        thumbnails = wall.Thumbnails(runtime.catalogue.checkpoints)
        starts = markup(starts_html(tasks, texts), elem_id="starts", js_on_load=START_JS)
        with gr.Tabs() as chooser:
            for task in (task for task in tasks if not task.address):
                own = texts.of(task)
                # A tab waits, hidden, for a family that can do it.
                visible = task.name in able or not (task.method or task.fits)
                with gr.Tab(own("tab"), id=task.name, visible=visible):
                    if task.part("panel") is not None:
                        build_contents(open_page(task, runtime, own, current, "", ""))
                    else:
                        tabs.append(TaskTab(task, runtime, own, current, thumbnails, others))
            with gr.Tab(texts("tab_hub"), id="hub"):
                hub = HubTab(runtime, tabs, texts)
            with gr.Tab(texts("tab_about"), id="about"):
                build_about(runtime.catalogue, texts, broken)
        build_history()
        open_starts(starts, chooser, tabs)
        connect_sending(tabs, [task for task in tasks if task.address], chooser, current)
        open_links(app, chooser, tabs)
        offer_own(app, runtime, tasks, chooser, tabs, hub.brought, hub.publish)
        build_endpoints(runtime, tasks)
    return "".join((wall.CSS, STARTS_CSS, provenance.CSS, sending.CSS, history.CSS, thumbnails.style()))


@contextlib.contextmanager
def _assembled_later() -> Iterator[None]:
    """Keep Gradio from making its web application anew after each page, which took a third of the building.

    `launch` makes it from what was built by then.
    """
    usual, changed = App.create_app, cast(Any, App)
    within, asked = gradio.utils.is_in_or_equal, cast(Any, gradio.utils)
    changed.create_app = staticmethod(lambda *_, **__: None)
    asked.is_in_or_equal = functools.cache(within)  # a few pictures are the examples of all tasks
    try:
        yield
    finally:
        changed.create_app = staticmethod(usual)
        asked.is_in_or_equal = within


def _keep_examples(app: gr.Blocks) -> None:
    """Let nothing delete the files that are there before the first visitor comes: neither Gradio, by age, nor a budget."""
    for block in app.blocks.values():
        block.keep_in_cache |= block.temp_files
        STORAGE.keep(block.keep_in_cache)


def _usable_tasks() -> tuple[list[Task], list[Broken]]:
    """Return the tasks whose parts can be imported, and what is wrong with the others and with those never found."""
    found = find_tasks()
    usable, broken = [], list(found.broken)
    for task in found.values():
        try:
            task.texts()
            for name in ("endpoint", *(() if task.address else ("panel", "panel_image", "panel_audio"))):
                task.part(name)
        except Exception as error:  # whatever another package does wrong must not stop the app
            reason = f"{type(error).__name__}: {error}"
            broken.append(Broken(found.origins[task.name], reason, traceback.format_exc()))
        else:
            usable.append(task)
    return usable, broken


def _build_head(texts: Texts, runtime: Runtime) -> None:
    """Build what every page begins with."""
    number = sum(1 for _ in runtime.catalogue.families)
    markup(texts("language_style"), elem_id="language-style")
    markup(
        '<header id="masthead"><h1 class="name">Genarium</h1>'
        f'<span class="tagline">{Texts.both("tagline", number=number)}</span></header>'
    )


def _build_page(app: gr.Blocks, task: Task, runtime: Runtime, texts: Texts) -> None:
    """Build the page of a task: its head now, its contents whenever a visitor opens it."""
    own = texts.of(task)
    with app.route(own.plain("tab"), f"/{task.address}"):
        _build_head(texts, runtime)
        current = Current()

        @gr.render(inputs=current.all, triggers=[app.load], show_progress="hidden")
        def contents(checkpoint: str, picture: str) -> None:
            build_contents(open_page(task, runtime, own, current, checkpoint, picture))
            share_file_names(app)
