"""One tab for each task, all of one kind: on the left what to ask, on the right the answer."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.errors import GenariumError, InputError
from genarium.media.pictures import read_request
from genarium.messages import quoted
from genarium.runtime import Progress, Result, Runtime
from genarium.runtime.links import request_to_parts
from genarium.runtime.program import to_python
from genarium.runtime.request import Request, parse_number, parse_seed
from genarium.tasks import Modality, Task, can_do, modality_of
from genarium.ui.answers import said
from genarium.ui.controls import ClassChooser, FamilyControls, seed_row
from genarium.ui.files import columns
from genarium.ui.history import remember
from genarium.ui.inputs import INPUTS
from genarium.ui.links import WRITE_ADDRESS
from genarium.ui.pages import Current
from genarium.ui.panels import Gallery, Panel
from genarium.ui.picker import Picker
from genarium.ui.players import Takes
from genarium.ui.provenance import Provenance
from genarium.ui.runs import Runs, problem_html, seconds, status_html
from genarium.ui.sending import Sending
from genarium.ui.streaming import follow
from genarium.ui.texts import TaskTexts, Texts, markup
from genarium.ui.wall import PICK_JS, Thumbnails

MAX_SHOWN = 64  # pictures in one run of the page; the command line takes more
VISITORS = 8  # runs of one tab that are under way at the same time; the runtime lets them compute in turn
DEFAULT_PANELS: dict[Modality, type[Panel[Any]]] = {"image": Gallery, "audio": Takes}  # of tasks that bring none
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


class TaskTab:
    """The contents of a task's tab.

    Nothing a visitor does is kept here: it lives in the page, and comes with each event. Only the means to stop a run
    stay here while it is under way.
    """

    def __init__(
        self,
        task: Task,
        runtime: Runtime,
        texts: TaskTexts,
        current: Current,
        thumbnails: Thumbnails | None = None,
        others: Sequence[tuple[Task, TaskTexts]] = (),
    ):
        """Build the contents.

        Args:
            task: of the tab.
            runtime: runs the requests.
            texts: of the task.
            current: what the visitor used last.
            thumbnails: stored samples, which a task that draws shows until there is a result.
            others: tasks to which a result can be sent, with their texts.
        """
        self.task, self.runtime, self.texts, self.current = task, runtime, texts, current
        self.thumbnails, self.others = thumbnails, others
        self.checkpoints = runtime.catalogue.offering(task.name)
        self.families = [f for f in runtime.catalogue.families if can_do(f.pipeline_class(), task)]
        # what the families work on: each kind has inputs and an answer of its own, of which the page shows one
        able = {modality_of(f.pipeline_class()) for f in self.families}
        self.modalities = [modality for modality in INPUTS if modality in able]
        markup(f'<div class="intro">{texts.both("intro")}</div>')
        words = f'<p class="about">{Texts.both("no_checkpoint")}</p>'
        self.note = markup(words, visible=not self.checkpoints, elem_id=f"{task.name}-none")
        if not self.families:
            return
        # Without checkpoints hidden, not left out: a visitor may bring one from the Hub.
        with gr.Row(elem_classes="workbench", visible=bool(self.checkpoints)) as self.workbench:
            with gr.Column(scale=4, min_width=300, elem_classes="question"):
                self._build_question()
            with gr.Column(scale=7, min_width=300, elem_id=f"{task.name}-answer"):
                self._build_answer()
        self._connect()

    # ---- building ----

    def _build_question(self) -> None:
        first = next(iter(self.checkpoints.values()), None)
        task, texts = self.task, self.texts
        self.picker = Picker(self.checkpoints, texts, self._checkpoint)
        shown = self._first_modality()
        self.modality = gr.State(shown)  # of this visitor's page
        self.inputs = {m: INPUTS[m](task.on(m), texts, visible=m == shown, first=first) for m in self.modalities}
        self.number = None
        if task.draws:
            self.number = gr.Slider(1, MAX_SHOWN, 16, step=1, label=texts("num_images"), buttons=[])
        self.classes = ClassChooser(task, first, texts)
        self.seed = seed_row(texts)
        with gr.Row(elem_classes="run-row"):
            self.run = gr.Button(texts("run"), variant="primary", elem_id=f"{task.name}-run", scale=3)
            self.stop = gr.Button(texts("stop"), interactive=False, elem_id=f"{task.name}-stop", scale=1)
        with gr.Accordion(texts("controls"), open=False, elem_classes="settings", elem_id=f"{task.name}-settings"):
            self.controls = FamilyControls(task, self.families, self.checkpoints, texts)
            self.invert = None
            if task.inputs and any(inputs.invertible for inputs in self.inputs.values()):
                choices = [(texts(f"invert_{key}"), key) for key in ("auto", "yes", "no")]
                visible = INPUTS[shown].invertible
                self.invert = gr.Radio(
                    choices, value="auto", label=texts("invert"), info=texts("invert_info"), visible=visible
                )
        self.restore = None
        if task.draws:
            with gr.Accordion(texts("restore"), open=False, elem_classes="settings"):
                markup(f'<div class="intro">{Texts.both("restore_info")}</div>')
                self.restore = gr.File(
                    file_types=[".png"], show_label=False, height=140, elem_id=f"{task.name}-restore"
                )
                self.restored = markup("", elem_id=f"{task.name}-restored")

    def _first_modality(self) -> Modality:
        first = next(iter(self.checkpoints.values()), None)
        return first.modality if first is not None else self.modalities[0]

    def _build_answer(self) -> None:
        self.status = markup(status_html(""), elem_id=f"{self.task.name}-status")
        panels = {modality: panel_of(self.task, modality) for modality in self.modalities}
        first = panels[self._first_modality()]
        self.provenance = Provenance(self.texts, self.task.name)
        wall = self.thumbnails.wall(self.checkpoints) if self.thumbnails and self.task.draws else ""
        self.preview = markup(wall or placeholder_html(first), elem_id=f"{self.task.name}-preview", js_on_load=PICK_JS)
        with gr.Column(elem_classes="outcome"):
            self.panels = {modality: panel(self.texts) for modality, panel in panels.items()}
            self.sending = Sending(self.task, self.others)
        with gr.Accordion(self.texts("python"), open=False, visible=False) as self.program:
            self.snippet = gr.Code(
                language="python", interactive=False, show_label=False, buttons=["copy"], wrap_lines=True
            )
            markup(f'<p class="note">{Texts.both("link_note")}</p>')
        self.query = gr.Textbox(visible=False)  # of the link to the result
        self.picker.build_card()

    # ---- behaviour ----

    def _connect(self) -> None:
        self.runs = Runs(self.run, self.stop, self.status)
        asked: Any = {  # a set: then the function gets the values by component
            self.picker.dropdown,
            self.seed,
            *self.classes.all,
            *self.controls.all,
            *(component for inputs in self.inputs.values() for component in inputs.components.values()),
            *(component for panel in self.panels.values() for component in panel.settings),
            *(component for panel in self.panels.values() for component in panel.edits.values()),
        }
        asked |= {component for component in (self.number, self.invert) if component is not None}
        self.asked = sorted(asked, key=lambda component: component._id)  # the order in which Gradio sends a set
        shown = {self.run, self.stop, self.status, self.preview, self.program, self.snippet, self.query}
        shown |= {self.provenance.line, *self.sending.outputs}
        shown |= set(self.current.all)
        shown |= {component for panel in self.panels.values() for component in panel.outputs}
        edited = [event for panel in self.panels.values() for event in panel.edited]
        for events, run in (([self.run.click, self.seed.submit], self._run), (edited, self._run_edited)):
            if not events:
                continue
            done = gr.on(
                events,
                run,
                asked,
                list(shown),
                show_progress="hidden",
                trigger_mode="once",
                concurrency_limit=VISITORS,
                concurrency_id=f"run-{self.task.name}",
                api_visibility="private",
                js=self.provenance.keep,
            )
            done.then(None, self.query, None, js=WRITE_ADDRESS, api_visibility="private")
            done.then(None, self.query, None, js=remember(self.task.name), **QUIET)
            done.then(None, self.asked, None, js=self.provenance.compare, **QUIET)
        self.provenance.watch(self.asked)
        # Not Gradio's own `cancels`: news of the run that are on their way when it is cancelled arrive after the word
        # "Stopped", and stay. Here the run itself has the last word.
        self.stop.click(self.runs.halt, None, self.stop, **QUIET)
        chosen = self._chosen
        # `input`, not `change`: restoring sets the drop-down itself, and must not have its work undone
        self.picker.dropdown.input(self._choose, [self.picker.dropdown, self.modality], list(chosen), **QUIET)
        picked = self.preview.select(self._pick, self.modality, [self.picker.dropdown, *chosen], **QUIET)
        picked.success(None, None, None, js=f"() => document.getElementById('{self.task.name}-run').click()", **QUIET)
        self.controls.connect(self.picker.dropdown, self._checkpoint)
        for panel in self.panels.values():
            if panel.pictures is not None:
                panel.pictures.select(self.sending.choose, None, self.sending.chosen, **QUIET)
        if self.restore is not None:
            self.restore.upload(self._restore, self.restore, [*self._filled, self.restored], **QUIET)

    @property
    def _chosen(self) -> set[Any]:
        """What depends on the checkpoint."""
        return {*self.picker.shown, *self.controls.outputs, *self.classes.shown, *self._shown}

    @property
    def _filled(self) -> list[Any]:
        """What `_fill` updates."""
        own = [component for component in (self.number, self.invert) if component is not None]
        return list({*self._chosen, self.picker.dropdown, self.seed, *own})

    @property
    def linked(self) -> list[Any]:
        """What `open_link` updates."""
        return [*self._filled, self.status]

    @property
    def offered(self) -> list[Any]:
        """What `offer` updates."""
        own = [self.note, self.workbench, self.picker.dropdown, *self.picker.shown, *self.classes.shown]
        return [*own, *self.controls.outputs, *self._shown]

    def offer(self, brought: Sequence[Checkpoint], chosen: Checkpoint) -> dict[Any, Any]:
        """Return updates of one visitor's page, on which a checkpoint from the Hub is now chosen; none if it cannot do this.

        Args:
            brought: all that this visitor has brought, `chosen` among them.
        """
        if self.task.name not in chosen.tasks:
            return {}
        return {
            self.note: gr.update(visible=False),
            self.workbench: gr.update(visible=True),
            **self.picker.offer([c for c in brought if self.task.name in c.tasks], chosen),
            **self.controls.show(chosen),
            **self.classes.show(chosen),
            **self.inputs[chosen.modality].show(chosen),
            **self._show_kind(chosen.modality),
        }

    def add(self, brought: Sequence[Checkpoint]) -> dict[Any, Any]:
        """Return updates of one visitor's page that list what this visitor brought. What is chosen stays so, if there is any."""
        able = [checkpoint for checkpoint in brought if self.task.name in checkpoint.tasks]
        if not able:
            return {}
        return self.picker.add(able) if self.checkpoints else self.offer(able, able[-1])

    @property
    def _shown(self) -> list[Any]:
        """What depends on the kind of material that the chosen checkpoint takes."""
        return [*self._kind, *(component for inputs in self.inputs.values() for component in inputs.shown)]

    @property
    def _kind(self) -> list[Any]:
        """What `_show_kind` updates."""
        if len(self.modalities) < 2:
            return []
        groups = [part.group for parts in (self.inputs, self.panels) for part in parts.values()]
        return [
            self.modality,
            self.preview,
            self.program,
            self.provenance.line,
            self.sending.row,
            *groups,
            *([self.invert] if self.invert else []),
        ]

    def _show_kind(self, modality: Modality) -> dict[Any, Any]:
        """Return updates that show the inputs of a modality, and no result yet: one of the other kind would be in the way."""
        if len(self.modalities) < 2:
            return {}
        updates = {inputs.group: gr.update(visible=m == modality) for m, inputs in self.inputs.items()}
        updates |= {panel.group: gr.update(visible=False) for panel in self.panels.values()}
        if self.invert is not None:
            updates[self.invert] = gr.update(visible=self.inputs[modality].invertible)
        return {
            **updates,
            self.modality: modality,
            self.preview: gr.update(value=placeholder_html(self.panels[modality]), visible=True),
            self.program: gr.update(visible=False),
            self.provenance.line: "",
            self.sending.row: gr.update(visible=False),
        }

    def _checkpoint(self, name: Any) -> Checkpoint:
        """Return a checkpoint that this tab offers to somebody. The name comes from a browser, so it may be anything."""
        known_name = name if isinstance(name, str) else ""
        if known_name in self.checkpoints:
            return self.checkpoints[known_name]
        guest = self.runtime.guest(known_name)
        if guest is not None and self.task.name in guest.tasks:
            return guest
        hint = " Load it on the Hub tab: it never was here, or had to make room." if "/" in known_name else ""
        known = ", ".join(self.checkpoints) or "none"
        raise InputError(f"There is no checkpoint {quoted(name)} here for this. Known: {known}.{hint}")

    def _choose(self, name: str, shown: str) -> dict[Any, Any]:
        """Show another checkpoint. `shown`: the modality of the page so far."""
        checkpoint = self._checkpoint(name)
        return {
            **self.picker.show(checkpoint),
            **self.controls.show(checkpoint),
            **self.classes.show(checkpoint),
            **self.inputs[checkpoint.modality].show(checkpoint),
            **(self._show_kind(checkpoint.modality) if checkpoint.modality != shown else {}),
        }

    def _pick(self, shown: str, event: gr.EventData) -> dict[Any, Any]:
        """Choose the checkpoint whose samples on the wall were pressed. `shown`: as of `_choose`."""
        data = event._data
        name = data.get("checkpoint") if isinstance(data, dict) else None
        try:
            return {self.picker.dropdown: self._checkpoint(name).name, **self._choose(str(name), shown)}
        except GenariumError as error:
            raise said(error) from error

    def _request(self, data: Mapping[Any, Any]) -> Request:
        checkpoint = self._checkpoint(data[self.picker.dropdown])
        number = parse_number(data[self.number]) if self.number is not None else 1
        return Request(
            checkpoint=checkpoint.name,
            task=self.task.name,
            seed=parse_seed(str(data[self.seed]).strip()),
            batch_size=number,
            class_labels=self.classes.labels(checkpoint, data, number),
            parameters=self.controls.values(checkpoint, data),
            invert=data[self.invert] if self.invert is not None else "auto",
        )

    async def _run(self, data: dict[Any, Any], visit: gr.Request) -> AsyncIterator[dict[Any, Any]]:
        """Handle Run: turn the values of the page into updates of the answer."""
        async for updates in self.runs.answer(visit, lambda stop: self._answer(data, stop, edited=False)):
            yield updates

    async def _run_edited(self, data: dict[Any, Any], visit: gr.Request) -> AsyncIterator[dict[Any, Any]]:
        """Handle an edit of the result: run again with what the visitor changed there."""
        async for updates in self.runs.answer(visit, lambda stop: self._answer(data, stop, edited=True)):
            yield updates

    async def _answer(
        self, data: dict[Any, Any], stop: threading.Event, edited: bool
    ) -> AsyncGenerator[dict[Any, Any], None]:
        request = self._request(data)
        checkpoint = self.runtime.checkpoint(request.checkpoint)
        panel = self.panels[checkpoint.modality]
        if edited:
            known = checkpoint.controls(self.task.name)
            changes = {name: data[place] for name, place in panel.edits.items() if name in known}
            request = replace(request, parameters={**request.parameters, **changes})
        inputs = {name: data[place] for name, place in self.inputs[checkpoint.modality].components.items()}
        if not all(inputs[name] for name in request.inputs(checkpoint)):
            raise InputError(self.inputs[checkpoint.modality].missing)
        yield {**self.runs.busy, **self.current.remember(checkpoint, inputs)}
        async with contextlib.aclosing(follow(self.runtime, request, inputs, stop)) as events:
            async for event in events:
                if isinstance(event, Progress):
                    yield self._progress(event, panel)
                elif isinstance(event, Result):
                    yield {**self.runs.ready, **self._result(event, panel, data)}
                else:
                    yield {self.status: gr.skip()}  # lets Gradio notice a closed page

    def _progress(self, event: Progress, panel: Panel[Any]) -> dict[Any, Any]:
        if event.step == 0:  # a sign of life from a run that waits or loads
            return {self.status: status_html(Texts.both("preparing"), waiting=True)}
        words = Texts.both("running", step=event.step, total=event.total)
        updates: dict[Any, Any] = {
            self.status: status_html(words, event.seconds, share=event.step / max(event.total, 1))
        }
        if event.pictures:
            updates[self.preview] = gr.update(value=panel.preview(event.pictures), visible=True)
            updates |= {part: gr.update(visible=False) for part in (panel.group, self.sending.row)}
            updates[self.provenance.line] = ""
        return updates

    def _counting(self, checkpoint: Checkpoint) -> list[int]:
        """Return the places in `asked` of the components upon which a result depends."""
        family = self.controls.components.get(checkpoint.family.name, {})
        places: list[Any] = [self.picker.dropdown, self.seed, self.number, self.invert]
        places += [component for name, component in family.items() if name in self.controls.shown(checkpoint)]
        places += self.inputs[checkpoint.modality].components.values()
        if checkpoint.takes_classes(self.task.name):
            places += self.classes.all
        return [i for i, component in enumerate(self.asked) if any(component is place for place in places)]

    def _result(self, result: Result, panel: Panel[Any], data: Mapping[Any, Any]) -> dict[Any, Any]:
        checkpoint = self.runtime.checkpoint(result.request.checkpoint)
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
            self.provenance.line: self.provenance.of(result, checkpoint, self._counting(checkpoint)),
            self.preview: gr.update(visible=False),
            panel.group: gr.update(visible=True),
            **self.sending.show(result, checkpoint),
            **panel.fill(result, checkpoint, data),
            self.program: gr.update(visible=True),
            self.snippet: to_python(result.request, checkpoint),
            self.query: urlencode(request_to_parts(result.request, checkpoint)),
        }

    def _restore(self, path: str | None) -> dict[Any, Any]:
        """Bring back what a result's PNG remembers, or say beside the file why not."""
        try:
            if path is None:
                raise InputError("There is no file. Drop a PNG saved by this app.")
            request = Request.from_dict(read_request(path))
            if request.task != self.task.name:
                raise InputError(f"This picture comes from {quoted(request.task)}; drop one that was generated.")
            updates = self._fill(request)
        except GenariumError as error:
            return {self.restored: problem_html(error)}
        return {**updates, self.restored: status_html(Texts.both("restored", name=Path(path).name))}

    @property
    def taken(self) -> list[Any]:
        """What `take` updates."""
        return [self.picker.dropdown, *self._chosen]

    def take(self, name: Any, before: Any, shown: Any) -> dict[Any, Any]:
        """Return updates that choose the checkpoint of another tab, if it can do this task and is not chosen already.

        Args:
            name: of that checkpoint, as the page sent it.
            before: name of the one that is chosen here.
            shown: as of `_choose`.
        """
        try:
            checkpoint = self._checkpoint(name)
        except GenariumError:
            return {}
        if checkpoint.name == before or checkpoint.name not in self.checkpoints:
            return {}
        return {self.picker.dropdown: checkpoint.name, **self._choose(checkpoint.name, shown)}

    def open_link(self, request: Request) -> dict[Any, Any]:
        """Return updates that set the tab to the request of a link.

        Raises:
            GenariumError: it does not fit this tab.
        """
        return {**self._fill(request), self.status: status_html(Texts.both("linked"))}

    def _fill(self, request: Request) -> dict[Any, Any]:
        """Return updates that set what a visitor can set to a request.

        Raises:
            GenariumError: the request is of a checkpoint that is not offered here, has too many images, or does not fit it.
        """
        checkpoint = self._checkpoint(request.checkpoint)
        if request.batch_size > MAX_SHOWN:
            number = quoted(request.batch_size)
            raise InputError(f"This came of a run with {number} images; the page shows {MAX_SHOWN}.")
        request = request.checked(checkpoint)
        updates = {
            self.picker.dropdown: checkpoint.name,
            **self.picker.show(checkpoint),
            **self.controls.fill(checkpoint, request.parameters),
            **self.classes.fill(checkpoint, request),
            **self.inputs[checkpoint.modality].show(checkpoint),
            **self._show_kind(checkpoint.modality),
            self.seed: str(request.seed),
        }
        if self.number is not None:
            updates[self.number] = request.batch_size
        if self.invert is not None:
            before = updates.get(self.invert, gr.update())
            updates[self.invert] = {**before, "value": request.invert}
        return updates


def panel_of(task: Task, modality: Modality) -> type[Panel[Any]]:
    """Return the panel of a task on a modality: its own, or else the default one."""
    part = task.part(f"panel_{modality}")
    return DEFAULT_PANELS[modality] if part is None else part.Panel


def placeholder_html(panel: Panel[Any] | type[Panel[Any]]) -> str:
    """Return empty places, laid out like the results to come."""
    places = f'<div class="tiles" style="--columns:{columns(panel.blanks)}">{"<i></i>" * panel.blanks}</div>'
    return f'<div class="placeholder{" wide" if panel.wide else ""}">{places}<p>{Texts.both("empty")}</p></div>'
