"""One tab for each task, all of one kind: on the left what to ask, on the right the answer."""

from __future__ import annotations

import html
import threading
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.errors import GenariumError, InputError, Stopped
from genarium.pictures import read_request
from genarium.requests import Request, parse_seed, to_python
from genarium.runtime import Progress, Result, Runtime
from genarium.tasks import TASKS
from genarium.ui.controls import ClassChooser, FamilyControls, seed_row
from genarium.ui.files import columns, tiles
from genarium.ui.inputs import example_pictures, picture_input, said
from genarium.ui.picker import Picker
from genarium.ui.results import PANELS
from genarium.ui.streaming import follow
from genarium.ui.texts import Texts, markup

MAX_SHOWN = 64  # pictures in one run of the page; the command line takes more
PAIR_EXAMPLES = 12
VISITORS = 8  # runs of one tab that are under way at the same time; the runtime lets them compute in turn
QUIET = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


class TaskTab:
    """The contents of a tab.

    Nothing a visitor does is kept here: it lives in the page, and comes with each event. Only the means to stop a run
    stay here while it is under way.
    """

    def __init__(self, task: str, runtime: Runtime, texts: Texts):
        self.task, self.runtime, self.texts = TASKS[task], runtime, texts
        self.checkpoints = runtime.catalogue.offering(task)
        self._stops: dict[str, threading.Event] = {}  # by page
        markup(f'<div class="intro">{Texts.both("intro_" + task)}</div>')
        if not self.checkpoints:
            markup(f'<p class="about">{Texts.both("no_checkpoint")}</p>')
            return
        with gr.Row(elem_classes="workbench"):
            with gr.Column(scale=4, min_width=300, elem_classes="question"):
                self._build_question()
            with gr.Column(scale=7, min_width=300, elem_id=f"{task}-answer"):
                self._build_answer()
        self._connect()

    # ---- building ----

    def _build_question(self) -> None:
        first = next(iter(self.checkpoints.values()))
        task, texts = self.task, self.texts
        self.picker = Picker(self.checkpoints, texts)
        self.pictures: dict[str, gr.Image] = {}
        self.invert = None
        if task.inputs:
            with gr.Row():
                for name in task.inputs:
                    with gr.Column(min_width=130):
                        self._build_input(name)
        self.number = None
        if task.name == "generate":
            self.number = gr.Slider(1, MAX_SHOWN, 16, step=1, label=texts("num_images"), buttons=[])
        self.classes = ClassChooser(task.name, first, texts)
        self.seed = seed_row(texts)
        with gr.Row(elem_classes="run-row"):
            self.run = gr.Button(texts("run"), variant="primary", elem_id=f"{task.name}-run", scale=3)
            self.stop = gr.Button(texts("stop"), interactive=False, elem_id=f"{task.name}-stop", scale=1)
        with gr.Accordion(texts("controls"), open=True, elem_classes="settings"):
            self.controls = FamilyControls(task.name, self.checkpoints, texts)
            if task.inputs:
                choices = [(texts(f"invert_{key}"), key) for key in ("auto", "yes", "no")]
                self.invert = gr.Radio(choices, value="auto", label=texts("invert"), info=texts("invert_info"))
        self.restore = None
        if task.name == "generate":
            with gr.Accordion(texts("restore"), open=False, elem_classes="settings"):
                markup(f'<div class="intro">{Texts.both("restore_info")}</div>')
                self.restore = gr.File(
                    file_types=[".png"], show_label=False, height=140, elem_id=f"{task.name}-restore"
                )
                self.restored = markup("", elem_id=f"{task.name}-restored")

    def _build_input(self, name: str) -> None:
        """A place for a picture, and below it examples to take instead."""
        self.pictures[name] = picture_input(
            label=self.texts(f"input_{name}"),
            sources=["upload", "webcam", "clipboard"],
            height=220,
            buttons=[],
            elem_classes="pixels",
            elem_id=f"{self.task.name}-{name}",
        )
        pictures = example_pictures()
        if len(self.task.inputs) > 1:  # half as wide, so fewer
            pictures = pictures[:PAIR_EXAMPLES]
        examples = gr.Examples(
            [[str(path)] for path in pictures],
            self.pictures[name],
            label=self.texts("examples"),
            examples_per_page=len(pictures),
            elem_id=f"{self.task.name}-{name}-examples",
            api_visibility="private",
        )
        examples.dataset.elem_classes = ["example-strip"]

    def _build_answer(self) -> None:
        self.status = markup(status_html(""), elem_id=f"{self.task.name}-status")
        panel = PANELS[self.task.name]
        self.preview = markup(placeholder_html(panel.blanks), elem_id=f"{self.task.name}-preview")
        self.panel = panel(self.texts)
        with gr.Accordion(self.texts("python"), open=False, visible=False) as self.program:
            self.snippet = gr.Code(
                language="python", interactive=False, show_label=False, buttons=["copy"], wrap_lines=True
            )
        self.picker.build_card()

    # ---- behaviour ----

    def _connect(self) -> None:
        asked = {
            self.picker.dropdown,
            self.seed,
            *self.classes.all,
            *self.controls.all,
            *self.pictures.values(),
            *self.panel.settings,
        }
        asked |= {component for component in (self.number, self.invert) if component is not None}
        shown = {self.run, self.stop, self.status, self.preview, *self.panel.outputs, self.program, self.snippet}
        gr.on(
            [self.run.click, self.seed.submit],
            self._run,
            asked,
            shown,
            show_progress="hidden",
            trigger_mode="once",
            concurrency_limit=VISITORS,
            concurrency_id=f"run-{self.task.name}",
            api_visibility="private",
        )
        # Not Gradio's own `cancels`: news of the run that are on their way when it is cancelled arrive after the word
        # "Stopped", and stay. Here the run itself has the last word.
        self.stop.click(self._stop, None, self.stop, **QUIET)
        chosen = {*self.picker.show(self._first), *self.controls.outputs, *self.classes.show(self._first)}
        # `input`, not `change`: restoring sets the drop-down itself, and must not have its work undone
        self.picker.dropdown.input(self._choose, self.picker.dropdown, chosen, **QUIET)
        if self.restore is not None:
            restored = {*chosen, self.picker.dropdown, self.number, self.seed, self.restored, *self.controls.all}
            self.restore.upload(self._restore, self.restore, restored, **QUIET)

    @property
    def _first(self) -> Checkpoint:
        return next(iter(self.checkpoints.values()))

    def _checkpoint(self, name: str) -> Checkpoint:
        if name not in self.checkpoints:
            raise InputError(f"There is no checkpoint {name!r} here for this. Known: {', '.join(self.checkpoints)}.")
        return self.checkpoints[name]

    def _choose(self, name: str) -> dict[Any, Any]:
        checkpoint = self._checkpoint(name)
        return {
            **self.picker.show(checkpoint),
            **self.controls.show(checkpoint),
            **self.classes.show(checkpoint),
        }

    def _request(self, data: Mapping[Any, Any]) -> Request:
        checkpoint = self._checkpoint(data[self.picker.dropdown])
        number = int(data[self.number]) if self.number is not None else 1
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
        """What Run does: from the page's values to updates of the answer."""
        stop = self._stops[visit.session_hash] = threading.Event()
        ready = {self.run: gr.update(interactive=True), self.stop: gr.update(interactive=False)}
        try:
            request = self._request(data)
            inputs = {name: data[component] for name, component in self.pictures.items()}
            if not all(inputs.values()):
                raise InputError("There is no picture yet. Choose one, or take an example.")
            yield {
                self.run: gr.update(interactive=False),
                self.stop: gr.update(interactive=True),
                self.status: status_html(Texts.both("preparing"), waiting=True),
            }
            events = follow(self.runtime, request, inputs, stop)
            try:
                async for event in events:
                    if isinstance(event, Progress):
                        yield self._progress(event)
                    elif isinstance(event, Result):
                        yield {**ready, **self._result(event, data)}
                    else:
                        yield {self.status: gr.skip()}  # lets Gradio notice a closed page
            finally:
                await events.aclose()
        except Stopped:
            yield {**ready, self.status: status_html(Texts.both("stopped"))}
        except GenariumError as error:
            yield {**ready, self.status: status_html(html.escape(str(error)), bad=True)}
            raise said(error) from error
        except Exception:  # of a plugin or of ours; Gradio logs it and keeps the details from the visitor
            yield {**ready, self.status: status_html(Texts.both("failed"), bad=True)}
            raise
        finally:
            self._stops.pop(visit.session_hash, None)

    def _progress(self, event: Progress) -> dict[Any, Any]:
        if event.step == 0:  # a sign of life from a run that waits or loads
            return {self.status: status_html(Texts.both("preparing"), waiting=True)}
        words = Texts.both("running", step=event.step, total=event.total)
        updates = {self.status: status_html(words, event.seconds, share=event.step / max(event.total, 1))}
        if event.pictures:
            updates[self.preview] = gr.update(value=tiles(event.pictures), visible=True)
            updates[self.panel.group] = gr.update(visible=False)
        return updates

    def _result(self, result: Result, data: Mapping[Any, Any]) -> dict[Any, Any]:
        checkpoint = self.runtime.catalogue[result.request.checkpoint]
        words = Texts.both(
            "done",
            seconds=seconds(result.seconds),
            device=result.device.upper(),
            dtype=result.dtype,
        )
        if result.evaluations:
            words += " · " + Texts.both("evaluations", number=f"{result.evaluations:.4g}")
        return {
            self.status: status_html(words),
            self.preview: gr.update(visible=False),
            self.panel.group: gr.update(visible=True),
            **self.panel.fill(result, checkpoint, data),
            self.program: gr.update(visible=True),
            self.snippet: to_python(result.request, checkpoint),
        }

    def _stop(self, visit: gr.Request) -> dict[str, Any]:
        """What Stop does. The run ends at its next step, and says so."""
        if stop := self._stops.get(visit.session_hash):
            stop.set()
        return gr.update(interactive=False)

    def _restore(self, path: str | None) -> dict[Any, Any]:
        """Bring back what a result's PNG remembers, or say beside the file why not."""
        try:
            if path is None:
                raise InputError("There is no file. Drop a PNG saved by this app.")
            request = Request.from_dict(read_request(path))
            if request.task != self.task.name:
                raise InputError(f"This picture comes from {request.task!r}; drop one that was generated.")
            checkpoint = self._checkpoint(request.checkpoint)
            request = request.checked(checkpoint)
            if request.batch_size > MAX_SHOWN:
                raise InputError(f"This came of a run with {request.batch_size} images; the page shows {MAX_SHOWN}.")
        except GenariumError as error:
            return {self.restored: status_html(html.escape(str(error)), bad=True)}
        return {
            self.picker.dropdown: checkpoint.name,
            **self.picker.show(checkpoint),
            **self.controls.fill(checkpoint, request.parameters),
            **self.classes.fill(checkpoint, request),
            self.number: request.batch_size,
            self.seed: str(request.seed),
            self.restored: status_html(Texts.both("restored", name=Path(path).name)),
        }


def seconds(value: float) -> str:
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def placeholder_html(blanks: int) -> str:
    """Empty places, laid out like the pictures to come."""
    places = f'<div class="tiles" style="--columns:{columns(blanks)}">{"<i></i>" * blanks}</div>'
    return f'<div class="placeholder">{places}<p>{Texts.both("empty")}</p></div>'


def status_html(words: str, elapsed: float | None = None, share: float | None = None, waiting=False, bad=False) -> str:
    """A line of words, the time so far, and below it a bar."""
    if not words:
        return ""
    bar = ""
    if waiting or share is not None:
        width = "" if share is None else f' style="width:{100 * share:.1f}%"'
        bar = f'<div class="bar{" wait" if waiting else ""}"><i{width}></i></div>'
    time = "" if elapsed is None else f"<span>{seconds(elapsed)}</span>"
    role = ' role="status" aria-live="polite"'
    return f'<div class="status{" bad" if bad else ""}"{role}><div class="line"><span>{words}</span>{time}</div>{bar}</div>'
