"""The page Check: a question on the left, its outcome on the right. Here is what joins the two."""

from __future__ import annotations

import asyncio
import contextlib
import html
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import gradio as gr

from genarium.environment import KEEPING, is_allowed
from genarium.errors import GenariumError, InputError
from genarium.runtime import Progress, Result
from genarium.runtime.request import Request
from genarium.tasks.anomaly.calibration import write_calibration
from genarium.tasks.anomaly.decision import Costs
from genarium.tasks.check import camera
from genarium.tasks.check.looking import Look, judge_for, look, read
from genarium.tasks.check.panel_outcome import Outcome, Updates
from genarium.tasks.check.panel_question import Question, number_of
from genarium.ui.answers import said
from genarium.ui.events import QUIET, VISITORS
from genarium.ui.files import keep_shown
from genarium.ui.pages import Page
from genarium.ui.runs import Runs, progress_html, status_html
from genarium.ui.streaming import follow
from genarium.ui.texts import Texts, markup
from genarium.ui.visitors import READ_SECRET, learn


def build(page: Page) -> None:
    """Build the contents of the page."""
    CheckPage(page)


class CheckPage:
    """One visitor's page, and what happens when it is used. What was found is in the page's state."""

    def __init__(self, page: Page):
        self.runtime, self.texts = page.runtime, page.texts
        markup(f'<div class="intro">{self.texts.both("intro")}</div>')
        if not page.checkpoint:
            markup(f'<p class="about">{Texts.both("no_checkpoint")}</p>')
            return
        with gr.Row(elem_classes="workbench"):
            with gr.Column(scale=4, min_width=300, elem_classes="question"):
                self.question = Question(page)
            with gr.Column(scale=8, min_width=300, elem_id="check-answer"):
                self.outcome = Outcome(self.texts)
        self.secret = gr.Textbox(visible=False)
        self._connect()

    def _connect(self) -> None:
        question, outcome = self.question, self.outcome
        self.runs = Runs(question.run, question.stop, outcome.status)
        stakes, found = set(question.stakes), outcome.found
        run: Any = {question.checkpoint, question.files, *stakes}
        question.run.click(
            self._run,
            run,
            [*outcome.outputs, question.run, question.stop],
            show_progress="hidden",
            trigger_mode="once",
            concurrency_limit=VISITORS,
            concurrency_id="run-check",
            api_visibility="private",
        )
        question.stop.click(self.runs.halt, None, question.stop, **QUIET)
        shown = [*outcome.shown, *outcome.taken]
        moved: Any = {found, outcome.threshold, outcome.picked, *stakes}
        outcome.threshold.input(self._move, moved, shown, **QUIET, trigger_mode="always_last")
        gr.on([one.change for one in question.stakes], self._weigh, {found, *stakes}, [outcome.numbers], **QUIET)
        gr.on(
            [question.checkpoint.change, outcome.histogram.change],
            self._watch,
            [question.checkpoint, found],
            question.camera,
            **QUIET,
        )
        question.take_best.click(self._best, {found, *stakes}, [*shown, outcome.threshold], **QUIET)
        outcome.sheet.select(self._pick, found, outcome.of_picture, **QUIET)
        for button, kind in ((outcome.normal, "normal"), (outcome.strange, "strange")):
            # Whose training the picture joins is known by the secret in the browser.
            pressed = button.click(None, None, self.secret, js=READ_SECRET, **QUIET)
            pressed.then(self._marking(kind), {*moved, self.secret}, [*shown, outcome.threshold, self.secret], **QUIET)
        if is_allowed(KEEPING):
            outcome.keep.click(self._keep, found, outcome.kept, **QUIET)

    # ---- a check ----

    async def _run(self, data: dict[Any, Any], visit: gr.Request) -> AsyncIterator[Updates]:
        """Handle Check."""
        async for updates in self.runs.answer(visit, lambda stop: self._answer(data, stop)):
            yield updates

    async def _answer(self, data: dict[Any, Any], stop: threading.Event) -> AsyncGenerator[Updates, None]:
        question, status = self.question, self.outcome.status
        name = data[question.checkpoint]
        checkpoint = self.runtime.checkpoint(name)
        if "check" not in checkpoint.tasks:
            raise InputError(f"{checkpoint.name} cannot score pictures.")
        stakes = question.stakes_of(data)
        yield {**self.runs.busy, status: status_html(self.texts.both("looking"), waiting=True)}
        files = [str(path) for path in data[question.files] or ()]
        names, given, fitted, unread = await asyncio.to_thread(read, self.runtime, name, files)
        key, judge, parameters = judge_for(checkpoint)
        request = Request(name, "anomaly", parameters=parameters, invert="no")
        async with contextlib.aclosing(follow(self.runtime, request, {"images": fitted}, stop)) as events:
            async for event in events:
                if isinstance(event, Progress):
                    yield {status: progress_html(event)}
                elif isinstance(event, Result):
                    found = await asyncio.to_thread(
                        look, Look(name, key, judge), names, given, cast(Any, event), keep_shown
                    )
                    first = await asyncio.to_thread(self.outcome.first, found, event.seconds, unread, stakes)
                    yield {**self.runs.ready, **first}
                else:
                    yield {status: gr.skip()}  # lets Gradio notice a closed page

    # ---- what a visitor does with it ----

    def _move(self, data: dict[Any, Any]) -> Updates:
        """Handle the slider."""
        return self._with(data, lambda found: self._show(found.at(number_of(data[self.outcome.threshold])), data))

    def _weigh(self, data: dict[Any, Any]) -> Updates:
        """Handle a change of the pictures an hour or of the costs."""
        return self._with(data, lambda found: self.outcome.weigh(found, self.question.stakes_of(data)))

    def _best(self, data: dict[Any, Any]) -> Updates:
        """Handle the button that takes the threshold of least cost."""

        def best(found: Look) -> Updates:
            costs = self.question.stakes_of(data).costs
            chosen = replace(found, judge=found.judge.choose(None, None, costs))
            return {**self._show(chosen, data), self.outcome.threshold: self.outcome.slider(chosen)}

        return self._with(data, best)

    @staticmethod
    def _watch(checkpoint: str, found: Look | None) -> Any:
        """Let the camera go by the chosen checkpoint, and by the threshold of a check with it."""
        threshold = found.judge.threshold if found is not None and found.checkpoint == checkpoint else None
        return gr.update(asked=camera.asked_of(checkpoint, threshold))

    def _pick(self, found: Look | None, event: gr.SelectData) -> Updates:
        """Show where a picture of the sheet is strange."""
        index = event.index
        if found is None or not isinstance(index, int) or not 0 <= index < len(found.names):
            return {self.outcome.picked: gr.skip()}
        return self.outcome.pick(found, found.rows[index])

    def _marking(self, kind: str) -> Any:
        def mark(data: dict[Any, Any]) -> Updates:
            """Let a picture join the calibration, and an ordinary one what the visitor's next training learns."""
            name = data[self.outcome.picked]

            def marked(found: Look) -> Updates:
                if name not in found.names:
                    return {self.outcome.numbers: gr.skip()}
                again = found.marked(name, kind)
                known = again.judge.calibration.normal if kind == "normal" else again.judge.calibration.strange
                words = self.texts.both(f"marked_{kind}", name=html.escape(name), number=len(known))
                visitor, picture = data[self.secret], Path(found.picture_of(name))
                if kind == "normal" and learn(self.runtime, visitor, found.checkpoint, name, picture):
                    words += self.texts.both("marked_learns")
                return {
                    **self._show(again, data),
                    self.outcome.threshold: self.outcome.slider(again),
                    self.outcome.about: f"<p>{words}</p>",
                    self.secret: "",
                }

            return self._with(data, marked)

        return mark

    def _keep(self, found: Look | None) -> str:
        """Keep threshold and calibration with the checkpoint, where the operator allows it."""
        if found is None or not is_allowed(KEEPING):
            return ""
        try:
            checkpoint = self.runtime.checkpoint(found.checkpoint)
            write_calibration(
                checkpoint, found.key, found.judge.choose(found.judge.threshold, None, Costs()).calibration
            )
        except GenariumError as error:
            raise said(error) from error
        return f"<p>{self.texts.both('kept')}</p>"

    def _show(self, found: Look, data: dict[Any, Any]) -> Updates:
        return self.outcome.show(found, self.question.stakes_of(data))

    def _with(self, data: dict[Any, Any], work: Callable[[Look], Updates]) -> Updates:
        """Return the updates of an event, none before the first check.

        Raises:
            gr.Error: what was asked cannot be done; the message says why.
        """
        found = data[self.outcome.found]
        if found is None:
            return {self.outcome.numbers: gr.skip()}
        try:
            return work(found)
        except GenariumError as error:
            raise said(error) from error
