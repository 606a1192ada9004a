"""The page: on the left what is compared, on the right the table that fills up; below it a blind vote and a chart."""

from __future__ import annotations

import html
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, cast
from urllib.parse import urlencode

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.errors import GenariumError, InputError, Stopped
from genarium.media.pictures import read_request
from genarium.runtime.request import parse_number, parse_seed
from genarium.tasks import Control
from genarium.tasks.compare.comparison import CLASS, COMPARED, MAX_COLUMNS, SEED, Comparison, parse_values
from genarium.tasks.compare.panel_chart import build_chart
from genarium.tasks.compare.panel_vote import VotePanel
from genarium.tasks.compare.running import Board, Compared
from genarium.tasks.compare.sheet import save_sheet, to_python, zip_of
from genarium.tasks.compare.table import notes_html, table_html
from genarium.ui.answers import said, without_folders
from genarium.ui.controls import seed_row
from genarium.ui.files import keep, keep_file
from genarium.ui.inputs import example_pictures, picture_input
from genarium.ui.pages import Page
from genarium.ui.streaming import follow
from genarium.ui.tab import QUIET, VISITORS, seconds, status_html
from genarium.ui.texts import Texts, markup

VALUE = "value"  # columns are values of a setting
FEWER = 8  # example pictures offered
WRITE_ADDRESS = "(query) => { if (query) history.replaceState(null, '', location.pathname + '?' + query); }"


def build(page: Page) -> None:
    """Build the contents of the page."""
    ComparePage(page)


class ComparePage:
    """The components of one visitor's page, and what happens when they are used."""

    def __init__(self, page: Page):
        self.page, self.runtime, self.texts = page, page.runtime, page.texts
        self._stops: dict[str, list[threading.Event]] = {}  # by visit: of the comparison, and of the request under way
        catalogue = page.runtime.catalogue.checkpoints.values()
        self.able = {task: [c for c in catalogue if task in c.tasks and c.modality == "image"] for task in COMPARED}
        start, problem = self._start()
        markup(f'<div class="intro">{self.texts.both("intro")}</div>')
        if not any(self.able.values()):
            markup(f'<p class="about">{Texts.both("no_checkpoint")}</p>')
            return
        with gr.Row(elem_classes="workbench"):
            with gr.Column(scale=4, min_width=300, elem_classes="question"):
                self._build_question(start)
            with gr.Column(scale=9, min_width=300, elem_id="compare-answer"):
                self._build_answer(problem)
                VotePanel(page, self.rows)
                build_chart(page)
        self._connect(start, bool(page.query) and not problem)

    def _start(self) -> tuple[Comparison, str]:
        """Return what the page begins with: the comparison of the link, or all checkpoints of the current one's data."""
        usual = Comparison(tuple(c.name for c in self._alike("generate", self.page.checkpoint)))
        if not self.page.query:
            return usual, ""
        try:
            wanted = Comparison.from_query(self.page.query)
            found = {name: self.runtime.checkpoint(name) for name in wanted.checkpoints}
            return wanted.checked(found), ""
        except GenariumError as error:
            return usual, str(error)

    def _alike(self, task: str, name: str) -> list[Checkpoint]:
        """Return the checkpoints that can do a task, of the data of one of them; of the commonest data otherwise."""
        able = self.able[task]
        sets = [c.data for c in able]
        data = next((c.data for c in able if c.name == name), max(sets, key=sets.count) if sets else None)
        return [c for c in able if c.data == data]

    # ---- building ----

    def _build_question(self, start: Comparison) -> None:
        texts = self.texts
        self.what = gr.Radio(
            [(texts(task), task) for task in COMPARED if self.able[task]],
            value=start.task,
            label=texts("what"),
            interactive=True,
            elem_id="compare-what",
        )
        sets = list(dict.fromkeys(c.data for c in self.able[start.task] if c.data))
        self.data = gr.Radio(
            [(name.rpartition("/")[2].replace("_", " "), name) for name in sets],
            label=texts("data_set"),
            interactive=True,
            elem_id="compare-data",
        )
        self.rows = gr.Dropdown(
            [c.name for c in self.able[start.task]],
            value=list(start.checkpoints),
            multiselect=True,
            label=texts("rows"),
            interactive=True,
            elem_id="compare-rows",
        )
        self._build_pictures(start)
        by_value = start.columns not in (SEED, CLASS)
        self.columns = gr.Radio(
            self._column_choices(start.task),
            value=VALUE if by_value else start.columns,
            label=texts("columns"),
            interactive=True,
            elem_id="compare-columns",
        )
        settings = self._settings(start.task, start.checkpoints)
        self.setting = gr.Dropdown(
            settings,
            value=start.columns if by_value else None,
            label=texts("setting"),
            interactive=True,
            visible=by_value,
            elem_id="compare-setting",
        )
        self.values = gr.Textbox(
            ", ".join(str(value) for value in start.values),
            label=texts("setting_values"),
            interactive=True,
            visible=by_value,
            elem_id="compare-values",
        )
        self.number = gr.Slider(
            1,
            MAX_COLUMNS,
            start.number,
            step=1,
            label=texts("number"),
            interactive=True,
            visible=_counts(start.task, start.columns),
            buttons=[],
        )
        self.class_name = gr.Dropdown(
            self._class_choices(start.checkpoints),
            value=start.class_name,
            label=texts("class_of_all"),
            interactive=True,
            visible=start.task == "generate" and start.columns != CLASS,
            elem_id="compare-class",
        )
        self.seed = seed_row(texts)
        self.seed.interactive, self.seed.value = True, str(start.seed)
        self.kept = gr.State({"parameters": dict(start.parameters), "invert": start.invert})  # of a link or a sheet
        with gr.Row(elem_classes="run-row"):
            self.run = gr.Button(texts("run"), variant="primary", elem_id="compare-run", scale=3)
            self.stop = gr.Button(texts("stop"), interactive=False, elem_id="compare-stop", scale=1)
        with gr.Accordion(texts("restore_sheet"), open=False, elem_classes="settings"):
            markup(f'<div class="intro">{texts.both("restore_sheet_info")}</div>')
            self.restore = gr.File(
                file_types=[".png"], show_label=False, height=140, interactive=True, elem_id="compare-restore"
            )

    def _build_pictures(self, start: Comparison) -> None:
        texts, given = self.texts, self.page.picture or None
        self.places: list[Any] = []
        with gr.Row(visible=start.task != "generate") as self.pictures:
            for name in ("a", "b"):
                with gr.Column(min_width=120, visible=name == "a" or start.task == "interpolate") as column:
                    place = picture_input(
                        value=given if name == "a" else None,
                        label=texts(f"picture_{name}"),
                        sources=["upload", "clipboard"],
                        height=160,
                        buttons=[],
                        interactive=True,
                        elem_classes="pixels",
                        elem_id=f"compare-picture-{name}",
                    )
                    self.places.append(place)
                    for strip in ("grey", "emoji"):
                        examples = gr.Examples(
                            [[str(path)] for path in example_pictures(strip)[:FEWER]],
                            place,
                            label=texts("examples"),
                            elem_id=f"compare-picture-{name}-{strip}",
                            api_visibility="private",
                        )
                        examples.dataset.elem_classes = ["example-strip"]
                if name == "b":
                    self.second = column
        self.more = gr.File(
            file_count="multiple",
            file_types=["image"],
            label=texts("more_pictures"),
            height=110,
            interactive=True,
            visible=start.task in ("reconstruct", "anomaly"),
            elem_id="compare-more",
        )

    def _build_answer(self, problem: str) -> None:
        words = status_html(html.escape(without_folders(problem)), bad=True) if problem else ""
        self.status = markup(words, elem_id="compare-status")
        self.table = markup(
            f'<div class="compare-empty">{self.texts.both("empty_table")}</div>', elem_id="compare-table"
        )
        self.verdicts = markup("", elem_id="compare-verdicts")
        with gr.Column(visible=False) as self.take_along:
            with gr.Row():
                self.sheet = gr.DownloadButton(cast(str, self.texts("sheet")), size="sm", elem_id="compare-sheet")
                self.zip = gr.DownloadButton(cast(str, self.texts("zip")), size="sm", elem_id="compare-zip")
            markup(f'<p class="note">{self.texts.both("link_note")}</p>')
            with gr.Accordion(self.texts("python"), open=False):
                self.snippet = gr.Code(language="python", interactive=False, show_label=False, buttons=["copy"])
        self.query = gr.Textbox(visible=False)

    def _column_choices(self, task: str) -> list[tuple[Any, str]]:
        texts = self.texts
        if task == "generate":
            return [(texts("columns_seed"), SEED), (texts("columns_class"), CLASS), (texts("columns_value"), VALUE)]
        if task == "interpolate":
            return [(texts("columns_picture"), SEED)]
        return [(texts("columns_picture"), SEED), (texts("columns_value"), VALUE)]

    def _controls(self, task: str, names: Sequence[str]) -> dict[str, Control]:
        """Return the controls that any of the checkpoints has; of several of one name the first."""
        found: dict[str, Control] = {}
        for checkpoint in (c for c in self.able[task] if c.name in names):
            for name, control in checkpoint.controls(task).items():
                if not control.hidden:
                    found.setdefault(name, control)
        return found

    def _settings(self, task: str, names: Sequence[str]) -> list[tuple[str, str]]:
        return [(control.label, name) for name, control in self._controls(task, names).items()]

    def _class_choices(self, names: Sequence[str]) -> list[tuple[Any, str]]:
        chosen = (c for c in self.able["generate"] if c.name in names)
        classes = dict.fromkeys(name for c in chosen if c.takes_classes("generate") for name in c.class_names)
        return [(self.texts("any"), ""), *((name, name) for name in classes)]

    # ---- behaviour ----

    def _connect(self, start: Comparison, run_now: bool) -> None:
        asked: Any = {
            *(self.what, self.rows, self.columns, self.setting, self.values, self.number, self.class_name, self.seed),
            *(self.kept, self.more, *self.places),
        }
        shown = {self.run, self.stop, self.status, self.table, self.verdicts, self.take_along, self.sheet, self.zip}
        shown |= {self.snippet, self.query}
        running: dict[str, Any] = {
            "show_progress": "hidden",
            "trigger_mode": "once",
            "concurrency_limit": VISITORS,
            "concurrency_id": "run-compare",
            "api_visibility": "private",
        }
        done = gr.on([self.run.click, self.seed.submit], self._run, asked, list(shown), **running)
        done.then(None, self.query, None, js=WRITE_ADDRESS, api_visibility="private")
        self.stop.click(self._stop, None, self.stop, **QUIET)
        if run_now and start.task == "generate":  # the comparison of a link, once the page is there
            timer = gr.Timer(0.2)
            timer.tick(lambda: gr.Timer(active=False), None, timer, **QUIET)
            timer.tick(self._run, asked, list(shown), **running)
        places: list[Any] = [self.rows, self.columns, self.setting, self.values, self.number, self.class_name]
        places += [self.pictures, self.second, self.more, self.data]
        self.what.change(self._change_task, [self.what, self.rows], places, **QUIET)
        self.data.input(self._choose_data, [self.what, self.data], [self.rows, self.setting, self.class_name], **QUIET)
        self.rows.change(self._change_rows, [self.what, self.rows], [self.setting, self.class_name], **QUIET)
        self.columns.change(
            self._change_columns,
            [self.what, self.columns],
            [self.setting, self.values, self.number, self.class_name],
            **QUIET,
        )
        self.setting.input(self._suggest, [self.what, self.rows, self.setting], self.values, **QUIET)
        restored = [self.what, self.rows, self.columns, self.setting, self.values, self.number, self.class_name]
        self.restore.upload(self._restore, self.restore, [*restored, self.seed, self.kept, self.status], **QUIET)

    def _change_task(self, task: str, names: Sequence[str]) -> dict[Any, Any]:
        able = [c.name for c in self.able[task]]
        kept = [name for name in names if name in able] or [c.name for c in self._alike(task, "")]
        sets = list(dict.fromkeys(c.data for c in self.able[task] if c.data))
        return {
            self.rows: gr.update(choices=able, value=kept),
            self.data: gr.update(choices=[(s.rpartition("/")[2].replace("_", " "), s) for s in sets], value=None),
            self.columns: gr.update(choices=self._column_choices(task), value=SEED),
            self.pictures: gr.update(visible=task != "generate"),
            self.second: gr.update(visible=task == "interpolate"),
            self.more: gr.update(visible=task in ("reconstruct", "anomaly"), value=None),
            self.setting: gr.update(choices=self._settings(task, kept), value=None, visible=False),
            self.values: gr.update(value="", visible=False),
            self.number: gr.update(visible=_counts(task, SEED)),
            self.class_name: gr.update(visible=task == "generate"),
        }

    def _choose_data(self, task: str, data: str) -> dict[Any, Any]:
        names = [c.name for c in self.able[task] if c.data == data]
        return {self.rows: names, **self._change_rows(task, names)}

    def _change_rows(self, task: str, names: Sequence[str]) -> dict[Any, Any]:
        return {
            self.setting: gr.update(choices=self._settings(task, names)),
            self.class_name: gr.update(choices=self._class_choices(names)),
        }

    def _change_columns(self, task: str, columns: str) -> dict[Any, Any]:
        by_value = columns == VALUE
        return {
            self.setting: gr.update(visible=by_value),
            self.values: gr.update(visible=by_value),
            self.number: gr.update(visible=_counts(task, columns)),
            self.class_name: gr.update(visible=task == "generate" and columns != CLASS),
        }

    def _suggest(self, task: str, names: Sequence[str], setting: str) -> str:
        """Return values of a setting to begin with: its choices, or five from its least to its greatest."""
        control = self._controls(task, names).get(setting)
        if control is None:
            return ""
        return ", ".join(map(str, suggested(control)))

    def _restore(self, path: str) -> dict[Any, Any]:
        """Bring back the comparison that a sheet remembers."""
        try:
            values = read_request(path).get("comparison")
            if not isinstance(values, dict):
                raise InputError("This picture holds no comparison; drop a sheet that was downloaded here.")
            wanted = Comparison.from_dict(values)
            wanted = wanted.checked({name: self.runtime.checkpoint(name) for name in wanted.checkpoints})
        except GenariumError as error:
            return {self.status: status_html(html.escape(without_folders(str(error))), bad=True)}
        by_value = wanted.columns not in (SEED, CLASS)
        columns = VALUE if by_value else wanted.columns
        task, names = wanted.task, wanted.checkpoints
        return {
            self.what: task,
            self.rows: gr.update(choices=[c.name for c in self.able[task]], value=list(names)),
            self.columns: gr.update(choices=self._column_choices(task), value=columns),
            self.setting: gr.update(
                choices=self._settings(task, names), value=wanted.columns if by_value else None, visible=by_value
            ),
            self.values: gr.update(value=", ".join(map(str, wanted.values)), visible=by_value),
            self.number: gr.update(value=wanted.number, visible=_counts(task, columns)),
            self.class_name: gr.update(
                choices=self._class_choices(names),
                value=wanted.class_name,
                visible=task == "generate" and columns != CLASS,
            ),
            self.seed: str(wanted.seed),
            self.kept: {"parameters": dict(wanted.parameters), "invert": wanted.invert},
            self.status: status_html(Texts.both("restored", name=path.rpartition("/")[2])),
        }

    def _comparison(self, data: Mapping[Any, Any]) -> Comparison:
        """Return what the page asks for."""
        task, columns = data[self.what], data[self.columns]
        values: tuple[Any, ...] = ()
        if columns == VALUE:
            if not data[self.setting]:
                raise InputError("Choose the setting whose values are the columns.")
            columns, values = data[self.setting], parse_values(data[self.values])
        return Comparison(
            checkpoints=tuple(data[self.rows] or ()),
            task=task,
            columns=columns,
            values=values,
            number=parse_number(data[self.number]),
            seed=parse_seed(str(data[self.seed]).strip()),
            class_name=(data[self.class_name] or "") if task == "generate" and columns != CLASS else "",
            **data[self.kept],
        )

    async def _run(self, data: dict[Any, Any], visit: gr.Request) -> AsyncIterator[dict[Any, Any]]:
        """Handle Run: ask one checkpoint after another; the table fills up."""
        stop = threading.Event()
        ready = {self.run: gr.update(interactive=True), self.stop: gr.update(interactive=False)}
        try:
            board = Board(self.runtime, self._comparison(data), self._given(data))
            yield {
                self.run: gr.update(interactive=False),
                self.stop: gr.update(interactive=True),
                self.status: status_html(Texts.both("preparing"), waiting=True),
                self.table: table_html(board, self.texts),
                self.verdicts: "",
                self.take_along: gr.update(visible=False),
            }
            for request in board.jobs():
                if stop.is_set():
                    raise Stopped("Stopped.")
                part = threading.Event()  # `follow` sets it when the request ends in any way
                self._stops[visit.session_hash or ""] = [stop, part]
                events = follow(self.runtime, request, board.inputs, part)
                try:
                    async for event in events:
                        if event is None:
                            yield {self.status: gr.skip()}  # lets Gradio notice a closed page
                            continue
                        board.take(event)
                        yield self._progress(board)
                finally:
                    await events.aclose()
            yield {**ready, **self._done(board.compared())}
        except Stopped:
            yield {**ready, self.status: status_html(Texts.both("stopped"))}
        except GenariumError as error:
            yield {**ready, self.status: status_html(html.escape(without_folders(str(error))), bad=True)}
            raise said(error) from error
        except Exception:  # of a plugin or of ours; Gradio logs it and keeps the details from the visitor
            yield {**ready, self.status: status_html(Texts.both("failed"), bad=True)}
            raise
        finally:
            self._stops.pop(visit.session_hash or "", None)

    def _given(self, data: Mapping[Any, Any]) -> list[str]:
        """Return the pictures that the task takes, of those on the page."""
        task = data[self.what]
        if task == "generate":
            return []
        first, second = (data[place] for place in self.places)
        given = [first, second] if task == "interpolate" else [first, *(data[self.more] or ())]
        return [path for path in given if path]

    def _progress(self, board: Board) -> dict[Any, Any]:
        number = len(board.rows)
        updates: dict[Any, Any] = {self.table: table_html(board, self.texts)}
        if number < len(board.requests):
            name, total = board.comparison.checkpoints[number], len(board.requests)
            words = self.texts.both("working", name=name, row=number + 1, rows=total)
            updates[self.status] = status_html(words, board.seconds, share=(number + board.share) / total)
        return updates

    def _done(self, compared: Compared) -> dict[Any, Any]:
        comparison = compared.comparison
        words = self.texts.both(
            "done_all", rows=len(compared.rows), seconds=seconds(compared.seconds), first=seconds(compared.first)
        )
        name = f"comparison-{comparison.task}-seed{comparison.seed}"
        return {
            self.status: status_html(words),
            self.verdicts: notes_html(compared, self.texts),
            self.take_along: gr.update(visible=True),
            self.sheet: keep_file(lambda path: save_sheet(compared, path), f"{name}.png"),
            self.zip: keep(zip_of(compared), f"{name}.zip"),
            self.snippet: to_python(compared),
            self.query: urlencode(comparison.to_query()),
        }

    def _stop(self, visit: gr.Request) -> dict[str, Any]:
        """Handle Stop. The run ends at its next step, and says so."""
        for stop in self._stops.get(visit.session_hash or "", ()):
            stop.set()
        return gr.update(interactive=False)


def _counts(task: str, columns: str) -> bool:
    """Return whether the number of columns is the visitor's choice."""
    return task == "interpolate" or (task == "generate" and columns == SEED)


def suggested(control: Control) -> list[Any]:
    """Return values of a control to compare: its choices, or a quarter, half, once, twice and four times its default.

    Values are on the control's steps and in its range. A default of 0 gives three values from the least to the greatest.
    """
    if control.choices:
        return list(control.choices)
    if control.kind == "checkbox":
        return [False, True]
    if control.kind == "text" or control.minimum is None or control.maximum is None:
        return [control.default]
    low, high = control.minimum, control.maximum
    wanted = (
        [control.default * factor for factor in (0.25, 0.5, 1, 2, 4)]
        if control.default
        else [low, (low + high) / 2, high]
    )
    step = control.step or (1 if control.kind == "integer" else 0.01)
    rounded = [min(high, max(low, low + round((value - low) / step) * step)) for value in wanted]
    return list(dict.fromkeys(int(v) if control.kind == "integer" else round(v, 6) for v in rounded))
