"""The Explore page: the map of a model's codes, a code by hand, and arithmetic. What it offers follows from the kind of code."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import gradio as gr

from genarium.messages import quoted
from genarium.tasks.explore.explorer import Explorer
from genarium.tasks.explore.panel_code import CodeSection
from genarium.tasks.explore.panel_map import MapSection
from genarium.tasks.explore.panel_sum import SumSection
from genarium.ui.events import LATEST
from genarium.ui.pages import Page, shown_once
from genarium.ui.picker import choices_of
from genarium.ui.runs import status_html
from genarium.ui.texts import Texts, markup

# The address follows the choice: it is a link to the page with these checkpoints.
WRITE_CHOICE = """(checkpoint, beside) => {
  const address = new URL(location);
  for (const [name, value] of Object.entries({checkpoint, beside})) {
    if (value) address.searchParams.set(name, value); else address.searchParams.delete(name);
  }
  history.replaceState(null, '', address);
}"""


def heading(page: Page, key: str) -> None:
    """Build the heading of a section, and a sentence below it."""
    words = page.texts.both(f"{key}_intro")
    markup(f'<div class="explore-heading"><h2>{page.texts.both(key)}</h2><p>{words}</p></div>')


def linked(page: Page, names: Collection[str]) -> tuple[str, str, str]:
    """Return the checkpoint to show, the one beside it, and a name in the page's address that is not offered; "" for none.

    Args:
        page: with the address `?checkpoint=NAME&beside=NAME`. Each of the two may be missing. The page then shows the current
            checkpoint, and none beside it.
        names: of the checkpoints that the page offers. Others are not looked for: the address comes from a stranger.
    """
    asked = [page.query.get(name, "") for name in ("checkpoint", "beside")]
    unknown = next((name for name in asked if name and name not in names), "")
    checkpoint, beside = (name if name in names else "" for name in asked)
    return checkpoint or page.checkpoint, beside, unknown


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
    name, other, unknown = linked(page, names)
    page = replace(page, checkpoint=name)
    if unknown:
        markup(status_html(page.texts.both("link_unknown", name=quoted(unknown)), bad=True), elem_id="explore-problem")
    choices = choices_of(map(page.runtime.checkpoint, names), page.texts)
    with gr.Row():
        checkpoint = gr.Dropdown(
            choices,
            value=page.checkpoint,
            label=page.texts("checkpoint"),
            filterable=False,
            interactive=True,
            elem_id="explore-checkpoint",
        )
        beside = gr.Dropdown(
            [(page.texts("beside_none"), ""), *choices],
            value=other,
            label=page.texts("beside"),
            filterable=False,
            interactive=True,
            elem_id="explore-beside",
        )
    gr.on(
        [checkpoint.input, beside.input, beside.change],
        None,
        [checkpoint, beside],
        None,
        js=WRITE_CHOICE,
        api_visibility="private",
    )
    opened = shown_once()
    chosen = checkpoint.input(lambda name: name, checkpoint, page.current.checkpoint, **LATEST)
    heading(page, "map")
    the_map = MapSection(page, explorer, checkpoint, beside)
    heading(page, "code")
    code = CodeSection(page, explorer, checkpoint)
    heading(page, "sum")
    arithmetic = SumSection(page, explorer, checkpoint)

    for section in (the_map, code, arithmetic):
        section.connect(opened, chosen)
