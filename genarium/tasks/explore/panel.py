"""The Explore page: the map of a model's codes, a code by hand, and arithmetic. What it offers follows from the kind of code."""

from __future__ import annotations

import gradio as gr

from genarium.tasks.explore.explorer import Explorer
from genarium.tasks.explore.panel_code import CodeSection
from genarium.tasks.explore.panel_map import MapSection
from genarium.tasks.explore.panel_sum import SumSection
from genarium.ui.pages import Page, shown_once
from genarium.ui.texts import Texts, markup


def heading(page: Page, key: str) -> None:
    """Build the heading of a section, and a sentence below it."""
    words = page.texts.both(f"{key}_intro")
    markup(f'<div class="explore-heading"><h2>{page.texts.both(key)}</h2><p>{words}</p></div>')


def build(page: Page) -> None:
    """Build the contents of the page."""
    names = list(page.runtime.catalogue.offering("explore"))
    markup(f'<div class="intro">{page.texts.both("intro")}</div>')
    if not page.checkpoint:
        markup(f'<p class="about">{Texts.both("no_checkpoint")}</p>')
        return
    explorer = Explorer.of(page.runtime)
    if page.checkpoint not in names:  # one that this visitor brought
        names.append(page.checkpoint)
    with gr.Row():
        checkpoint = gr.Dropdown(
            names,
            value=page.checkpoint,
            label=page.texts("checkpoint"),
            filterable=False,
            interactive=True,
            elem_id="explore-checkpoint",
        )
        beside = gr.Dropdown(
            [(page.texts.plain("beside_none"), ""), *names],
            value="",
            label=page.texts("beside"),
            filterable=False,
            interactive=True,
            elem_id="explore-beside",
        )
    once = shown_once()
    heading(page, "map")
    the_map = MapSection(page, explorer, checkpoint, beside)
    heading(page, "code")
    code = CodeSection(page, explorer, checkpoint)
    heading(page, "sum")
    arithmetic = SumSection(page, explorer, checkpoint)

    for section in (the_map, code, arithmetic):
        section.connect(once, page.current)
