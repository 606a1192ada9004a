"""The right column of a task's tab: how far the run is, what came of it, what made it, and what a visitor may do with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.runtime import Progress, Result
from genarium.runtime.links import request_to_parts
from genarium.runtime.program import to_python
from genarium.tasks import Modality, Task
from genarium.ui.events import QUIET
from genarium.ui.files import columns
from genarium.ui.panels import Gallery, Panel
from genarium.ui.players import Takes
from genarium.ui.provenance import Provenance
from genarium.ui.runs import progress_html, seconds, status_html
from genarium.ui.sending import Sending
from genarium.ui.texts import TaskTexts, Texts, markup
from genarium.ui.wall import PICK_JS

DEFAULT_PANELS: dict[Modality, type[Panel[Any]]] = {"image": Gallery, "audio": Takes}  # of tasks that bring none


class Outcome:
    """The components that show a result, by modality, and what stands in their place until there is one.

    `status` says how far the run is. `query` holds the link to the result, for the browser.
    """

    def __init__(
        self,
        task: Task,
        modalities: Sequence[Modality],
        first: Modality,
        texts: TaskTexts,
        wall: str,
        others: Sequence[tuple[Task, TaskTexts]],
    ):
        """Build the components.

        Args:
            task: of the tab.
            modalities: on which it works; each has a panel of its own.
            first: the modality that is shown when the page is opened.
            texts: of the task.
            wall: stored samples as HTML, which stand there until there is a result; "": empty places do.
            others: tasks to which a result can be sent, with their texts.
        """
        self.task = task.name
        self.status = markup(status_html(""), elem_id=f"{task.name}-status")
        panels = {modality: panel_of(task, modality) for modality in modalities}
        self.provenance = Provenance(texts, task.name)
        empty = wall or placeholder_html(panels[first])
        self.preview = markup(empty, elem_id=f"{task.name}-preview", js_on_load=PICK_JS)
        with gr.Column(elem_classes="outcome"):
            self.panels = {modality: panel(texts) for modality, panel in panels.items()}
            self.sending = Sending(task, others)
        with gr.Accordion(texts("python"), open=False, visible=False) as self.program:
            # Not visible until it is filled: the browser loads an editor of code for it.
            self.snippet = gr.Code(
                language="python",
                interactive=False,
                show_label=False,
                buttons=["copy"],
                wrap_lines=True,
                visible=False,
            )
            markup(f'<p class="note">{Texts.both("link_note")}</p>')
        self.query = gr.Textbox(visible=False)  # of the link to the result

    def connect(self) -> None:
        """Let a visitor choose one of the pictures of a result."""
        for panel in self.panels.values():
            if panel.pictures is not None:
                panel.pictures.select(self.sending.choose, None, self.sending.chosen, **QUIET)

    # ---- edits of the result ----

    @property
    def asked(self) -> set[Any]:
        """Components whose values `show` and `edits` need."""
        panels = self.panels.values()
        return {component for panel in panels for component in (*panel.settings, *panel.edits.values())}

    @property
    def edited(self) -> list[Any]:
        """Events upon which the task runs again with `edits`."""
        return [event for panel in self.panels.values() for event in panel.edited]

    def edits(self, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the parameters that a visitor edited where the result is shown, as far as the checkpoint has them."""
        known = checkpoint.controls(self.task)
        edits = self.panels[checkpoint.modality].edits
        return {name: data[place] for name, place in edits.items() if name in known}

    # ---- what is shown ----

    @property
    def outputs(self) -> set[Any]:
        """What `progress` and `show` update."""
        own = {self.status, self.provenance.line, self.preview, self.program, self.snippet, self.query}
        return own.union(self.sending.outputs, *(panel.outputs for panel in self.panels.values()))

    def progress(self, event: Progress, modality: Modality) -> dict[Any, Any]:
        """Return updates that show how far a run is, and its estimate if there is a new one."""
        panel = self.panels[modality]
        updates: dict[Any, Any] = {self.status: progress_html(event)}
        if event.pictures:
            updates[self.preview] = gr.update(value=panel.preview(event.pictures), visible=True)
            updates |= {part: gr.update(visible=False) for part in (panel.group, self.sending.row)}
            updates[self.provenance.line] = ""
        return updates

    def show(
        self, result: Result, checkpoint: Checkpoint, data: Mapping[Any, Any], counting: Sequence[int]
    ) -> dict[Any, Any]:
        """Return updates that show a result.

        Args:
            result: which came of the run.
            checkpoint: which made it.
            data: the page's values, by component.
            counting: as of `Provenance.of`.
        """
        panel = self.panels[checkpoint.modality]
        words = Texts.both(
            "done",
            seconds=seconds(result.seconds),
            device=result.device.upper(),
            dtype=result.dtype,
        )
        if result.evaluations and result.comparable:
            words += " · " + Texts.both("evaluations", number=f"{result.evaluations:.4g}")
        return {
            self.status: status_html(words),
            self.provenance.line: self.provenance.of(result, checkpoint, counting),
            self.preview: gr.update(visible=False),
            panel.group: gr.update(visible=True),
            **self.sending.show(result, checkpoint),
            **panel.fill(result, checkpoint, data),
            self.program: gr.update(visible=True),
            self.snippet: gr.update(value=to_python(result.request, checkpoint), visible=True),
            self.query: urlencode(request_to_parts(result.request, checkpoint)),
        }

    @property
    def cleared(self) -> list[Any]:
        """What `clear` updates."""
        if len(self.panels) < 2:
            return []
        groups = [panel.group for panel in self.panels.values()]
        return [self.preview, self.program, self.provenance.line, self.sending.row, *groups]

    def clear(self, modality: Modality) -> dict[Any, Any]:
        """Return updates that show no result yet of a modality: one of the other kind would be in the way.

        There are none where there is one modality only: then a result stays when another checkpoint is chosen.
        """
        if len(self.panels) < 2:
            return {}
        return {
            **{panel.group: gr.update(visible=False) for panel in self.panels.values()},
            self.preview: gr.update(value=placeholder_html(self.panels[modality]), visible=True),
            self.program: gr.update(visible=False),
            self.provenance.line: "",
            self.sending.row: gr.update(visible=False),
        }


def panel_of(task: Task, modality: Modality) -> type[Panel[Any]]:
    """Return the panel of a task on a modality: its own, or else the default one."""
    part = task.part(f"panel_{modality}")
    return DEFAULT_PANELS[modality] if part is None else part.Panel


def placeholder_html(panel: Panel[Any] | type[Panel[Any]]) -> str:
    """Return empty places, laid out like the results to come."""
    places = f'<div class="tiles" style="--columns:{columns(panel.blanks)}">{"<i></i>" * panel.blanks}</div>'
    return f'<div class="placeholder{" wide" if panel.wide else ""}">{places}<p>{Texts.both("empty")}</p></div>'
