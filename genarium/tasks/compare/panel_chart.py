"""The chart of what was measured of the bundled checkpoints."""

from __future__ import annotations

from typing import Any

import gradio as gr

from genarium.tasks.compare.bundled import AXES, points
from genarium.tasks.compare.chart import chart_html, in_svg
from genarium.ui.pages import Page
from genarium.ui.texts import markup


def build_chart(page: Page) -> None:
    """Build the chart, folded: one data set at a time, against one of the axes."""
    texts = page.texts
    found = points(page.runtime.catalogue.checkpoints)
    sets = sorted({point.data for point in found})
    if not sets:
        return
    usual = next(
        (one.data for one in found if one.name == page.checkpoint),
        max(sets, key=lambda s: sum(p.data == s for p in found)),
    )

    def draw(data: str, axis: str) -> str:
        shown = [point for point in found if point.data == data]
        chosen = axis if axis in AXES else AXES[0]
        title = in_svg(texts.plain(f"axis_{chosen}"), texts.plain(f"axis_{chosen}", "zh"))
        return chart_html(shown, chosen, title, "?checkpoints={name}")

    with gr.Accordion(texts("chart"), open=False, elem_id="compare-chart"):
        markup(f'<div class="intro">{texts.both("chart_intro")}</div>')
        with gr.Row():
            names = [(name.rpartition("/")[2].replace("_", " "), name) for name in sets]
            data = gr.Radio(names, value=usual, label=texts("data"), interactive=True)
            against = [(texts(f"axis_{axis}"), axis) for axis in AXES]
            axis: Any = gr.Radio(against, value=AXES[0], label=texts("chart_against"), interactive=True)
        markup(f'<p class="note">{texts.both("chart_up")}</p>')
        chart = markup(draw(usual, AXES[0]))
        gr.on(
            [data.change, axis.change],
            draw,
            [data, axis],
            chart,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )
