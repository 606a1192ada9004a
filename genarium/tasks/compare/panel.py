"""The page: on the left what is compared, on the right the table that fills up; below it a blind vote and a chart."""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from typing import Any, cast
from urllib.parse import urlencode

import gradio as gr

from genarium.errors import GenariumError, InputError, Stopped
from genarium.tasks.compare.comparison import MAX_CHECKPOINTS, Comparison
from genarium.tasks.compare.offer import Offer
from genarium.tasks.compare.panel_chart import build_chart
from genarium.tasks.compare.panel_question import Question
from genarium.tasks.compare.panel_vote import VotePanel
from genarium.tasks.compare.running import Board, Compared
from genarium.tasks.compare.sheet import save_sheet, to_python, zip_of
from genarium.tasks.compare.table import PAUSE, Table, notes_html
from genarium.ui.events import QUIET, VISITORS
from genarium.ui.files import keep, keep_file
from genarium.ui.links import WRITE_ADDRESS
from genarium.ui.pages import Page, shown_once
from genarium.ui.runs import Runs, problem_html, seconds, status_html
from genarium.ui.streaming import follow
from genarium.ui.texts import Texts, markup


def build(page: Page) -> None:
    """Build the contents of the page."""
    ComparePage(page)


class ComparePage:
    """The components of one visitor's page, and what happens when they are used."""

    def __init__(self, page: Page):
        self.page, self.runtime, self.texts = page, page.runtime, page.texts
        self.offer = Offer(page.runtime.catalogue)
        self.question = Question(page, self.offer)
        start, problem = self._start()
        markup(f'<div class="intro">{self.texts.both("intro")}</div>')
        if not any(self.offer.by_task.values()):
            markup(f'<p class="about">{Texts.both("no_checkpoint")}</p>')
            return
        with gr.Row(elem_classes="workbench"):
            with gr.Column(scale=4, min_width=300, elem_classes="question"):
                self.question.build(start)
                self._build_buttons()
            with gr.Column(scale=9, min_width=300, elem_id="compare-answer"):
                self._build_answer(problem)
                VotePanel(page, self.offer, self.question.rows)
                build_chart(page)
        self._connect(start, bool(page.query) and not problem)

    def _start(self) -> tuple[Comparison, str]:
        """Return what the page begins with, and what is wrong with its link: a link's comparison, or the usual one.

        A link that names no checkpoints means all of one data set.
        """
        usual = self.offer.usual(self.page.checkpoint)
        if not self.page.query:
            return usual, ""
        try:
            wanted = Comparison.from_query(self.page.query)
            if not wanted.checkpoints:
                alike = self.offer.alike(wanted.task, self.page.checkpoint, MAX_CHECKPOINTS)
                wanted = replace(wanted, checkpoints=alike)
            return self.offer.checked(wanted), ""
        except GenariumError as error:
            return usual, str(error)

    # ---- building ----

    def _build_buttons(self) -> None:
        texts = self.texts
        with gr.Row(elem_classes="run-row"):
            self.run = gr.Button(texts("run"), variant="primary", elem_id="compare-run", scale=3)
            self.stop = gr.Button(texts("stop"), interactive=False, elem_id="compare-stop", scale=1)
        with gr.Accordion(texts("restore_sheet"), open=False, elem_classes="settings"):
            markup(f'<div class="intro">{texts.both("restore_sheet_info")}</div>')
            self.restore = gr.File(
                file_types=[".png"], show_label=False, height=140, interactive=True, elem_id="compare-restore"
            )

    def _build_answer(self, problem: str) -> None:
        self.status = markup(problem_html(problem) if problem else "", elem_id="compare-status")
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

    # ---- behaviour ----

    def _connect(self, start: Comparison, run_now: bool) -> None:
        self.runs = Runs(self.run, self.stop, self.status)
        shown = [self.run, self.stop, self.status, self.table, self.verdicts, self.take_along, self.sheet, self.zip]
        shown += [self.snippet, self.query]
        asked: Any = self.question.asked  # a set: then the function gets the values by component
        running: dict[str, Any] = {
            "show_progress": "hidden",
            "trigger_mode": "once",
            "concurrency_limit": VISITORS,
            "concurrency_id": "run-compare",
            "api_visibility": "private",
        }
        done = gr.on([self.run.click, self.question.seed.submit], self._run, asked, shown, **running)
        done.then(None, self.query, None, js=WRITE_ADDRESS, api_visibility="private")
        self.stop.click(self.runs.halt, None, self.stop, **QUIET)
        if run_now and start.task == "generate":  # the comparison of a link, once the page is there
            shown_once().then(self._run, asked, shown, **running)
        self.question.connect()
        self.restore.upload(self._restore, self.restore, [*self.question.restored, self.status], **QUIET)

    def _restore(self, path: str | None) -> dict[Any, Any]:
        """Bring back the comparison that a sheet remembers, or say why not."""
        try:
            if path is None:
                raise InputError("There is no file. Drop a sheet saved by this app.")
            name = path.rpartition("/")[2]
            return {**self.question.restore(path), self.status: status_html(Texts.both("restored", name=name))}
        except GenariumError as error:
            return {self.status: problem_html(error)}

    async def _run(self, data: dict[Any, Any], visit: gr.Request) -> AsyncIterator[dict[Any, Any]]:
        """Handle Run: ask one checkpoint after another; the table fills up."""
        async for updates in self.runs.answer(visit, lambda stop: self._answer(data, stop)):
            yield updates

    async def _answer(self, data: dict[Any, Any], stop: threading.Event) -> AsyncGenerator[dict[Any, Any], None]:
        comparison = self.offer.checked(self.question.comparison(data))
        board = Board(self.runtime, comparison, self.question.given(data))
        hidden = {self.verdicts: "", self.take_along: gr.update(visible=False)}
        table, reported = Table(board, self.texts), -math.inf
        yield {**self.runs.busy, self.table: table.html(), **hidden}
        for request in board.jobs():
            async with contextlib.aclosing(follow(self.runtime, request, board.inputs)) as events:
                async for event in events:
                    if stop.is_set():
                        raise Stopped("Stopped.")
                    if event is None:
                        yield {self.status: gr.skip()}  # lets Gradio notice a closed page
                        continue
                    board.take(event)
                    news, now = table.news(), time.monotonic()
                    if news is None and now - reported < PAUSE:  # each update costs the server some milliseconds
                        continue
                    reported = now
                    yield self._progress(board, news)
        yield {**self.runs.ready, **self._done(board.compared())}

    def _progress(self, board: Board, news: str | None) -> dict[Any, Any]:
        number = len(board.rows)
        updates: dict[Any, Any] = {self.table: gr.skip() if news is None else news}
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
