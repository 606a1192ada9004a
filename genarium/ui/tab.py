"""One tab for each task, all of one kind: on the left the question, on the right its outcome. Here is what joins the two."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.errors import GenariumError, InputError
from genarium.media.pictures import read_request
from genarium.messages import quoted
from genarium.runtime import Progress, Result, Runtime
from genarium.runtime.request import Request
from genarium.tasks import Task
from genarium.ui.answers import said
from genarium.ui.events import QUIET, VISITORS
from genarium.ui.history import remember
from genarium.ui.links import WRITE_ADDRESS
from genarium.ui.outcome import Outcome
from genarium.ui.pages import Current
from genarium.ui.question import MAX_SHOWN, Question
from genarium.ui.runs import Runs, problem_html, status_html
from genarium.ui.streaming import follow
from genarium.ui.texts import TaskTexts, Texts, markup
from genarium.ui.wall import Thumbnails


class TaskTab:
    """The contents of a task's tab: `question` and `outcome`, which are there if a family can do the task.

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
        self.task, self.runtime, self.current = task, runtime, current
        self.checkpoints = runtime.catalogue.offering(task.name)
        self.families = [f for f in runtime.catalogue.families if task.name in f.outline.calls]
        markup(f'<div class="intro">{texts.both("intro")}</div>')
        words = f'<p class="about">{Texts.both("no_checkpoint")}</p>'
        self.note = markup(words, visible=not self.checkpoints, elem_id=f"{task.name}-none")
        if not self.families:
            return
        wall = thumbnails.wall(self.checkpoints) if thumbnails and task.draws else ""
        # Without checkpoints hidden, not left out: a visitor may bring one from the Hub.
        with gr.Row(elem_classes="workbench", visible=bool(self.checkpoints)) as self.workbench:
            with gr.Column(scale=4, min_width=300, elem_classes="question"):
                self.question = Question(task, self.families, self.checkpoints, texts, self._checkpoint)
            with gr.Column(scale=7, min_width=300, elem_id=f"{task.name}-answer"):
                self.outcome = Outcome(task, list(self.question.inputs), self.question.first, texts, wall, others)
                self.question.picker.build_card()
        self._connect()

    def _connect(self) -> None:
        question, outcome = self.question, self.outcome
        self.runs = Runs(question.run, question.stop, outcome.status)
        asked: Any = question.asked | outcome.asked  # a set: then the function gets the values by component
        self.asked = sorted(asked, key=lambda component: component._id)  # the order in which Gradio sends a set
        shown = {question.run, question.stop, *outcome.outputs, *self.current.all}
        for events, run in (
            ([question.run.click, question.seed.submit], self._run),
            (outcome.edited, self._run_edited),
        ):
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
                js=outcome.provenance.keep,
            )
            done.then(None, outcome.query, None, js=WRITE_ADDRESS, api_visibility="private")
            done.then(None, outcome.query, None, js=remember(self.task.name), **QUIET)
            done.then(None, self.asked, None, js=outcome.provenance.compare, **QUIET)
        outcome.provenance.watch(self.asked)
        # Not Gradio's own `cancels`: news of the run that are on their way when it is cancelled arrive after the word
        # "Stopped", and stay. Here the run itself has the last word.
        question.stop.click(self.runs.halt, None, question.stop, **QUIET)
        dropdown, chosen = question.picker.dropdown, self._chosen
        # `input`, not `change`: restoring sets the drop-down itself, and must not have its work undone
        dropdown.input(self._choose, [dropdown, question.modality], chosen, **QUIET)
        picked = outcome.preview.select(self._pick, question.modality, [dropdown, *chosen], **QUIET)
        picked.success(None, None, None, js=f"() => document.getElementById('{self.task.name}-run').click()", **QUIET)
        question.connect()
        outcome.connect()
        if question.restore is not None:
            question.restore.upload(self._restore, question.restore, [*self._filled, question.restored], **QUIET)

    # ---- a run ----

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
        request = self.question.request(data)
        checkpoint = self.runtime.checkpoint(request.checkpoint)
        if edited:
            changes = self.outcome.edits(checkpoint, data)
            request = replace(request, parameters={**request.parameters, **changes})
        inputs = self.question.given(request, checkpoint, data)
        yield {**self.runs.busy, **self.current.remember(checkpoint, inputs)}
        async with contextlib.aclosing(follow(self.runtime, request, inputs, stop)) as events:
            async for event in events:
                if isinstance(event, Progress):
                    yield self.outcome.progress(event, checkpoint.modality)
                elif isinstance(event, Result):
                    made_by = self.runtime.checkpoint(event.request.checkpoint)
                    counting = self._counting(made_by)
                    show = self.outcome.show  # writes files
                    shown = await asyncio.to_thread(show, event, made_by, data, counting)
                    yield {**self.runs.ready, **shown}
                else:
                    yield {self.outcome.status: gr.skip()}  # lets Gradio notice a closed page

    def _counting(self, checkpoint: Checkpoint) -> list[int]:
        """Return the places in `asked` of the components upon which a result depends."""
        places = self.question.deciding(checkpoint)
        return [i for i, component in enumerate(self.asked) if any(component is place for place in places)]

    # ---- another checkpoint ----

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

    @property
    def _chosen(self) -> list[Any]:
        """What `_choose` updates."""
        return [*self.question.shown, *self.outcome.cleared]

    def _choose(self, name: str, shown: str) -> dict[Any, Any]:
        """Show another checkpoint. `shown`: the modality of the page so far."""
        checkpoint = self._checkpoint(name)
        if checkpoint.modality == shown:
            return self.question.show(checkpoint, turn=False)
        return {**self.question.show(checkpoint), **self.outcome.clear(checkpoint.modality)}

    def _pick(self, shown: str, event: gr.EventData) -> dict[Any, Any]:
        """Choose the checkpoint whose samples on the wall were pressed. `shown`: as of `_choose`."""
        data = event._data
        name = data.get("checkpoint") if isinstance(data, dict) else None
        try:
            return {self.question.picker.dropdown: self._checkpoint(name).name, **self._choose(str(name), shown)}
        except GenariumError as error:
            raise said(error) from error

    @property
    def taken(self) -> list[Any]:
        """What `take` updates."""
        return [self.question.picker.dropdown, *self._chosen]

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
        return {self.question.picker.dropdown: checkpoint.name, **self._choose(checkpoint.name, shown)}

    @property
    def offered(self) -> list[Any]:
        """What `offer` updates."""
        return [self.note, self.workbench, self.question.picker.dropdown, *self._chosen]

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
            **self.question.show(chosen),
            **self.question.picker.offer([c for c in brought if self.task.name in c.tasks], chosen),
            **self.outcome.clear(chosen.modality),
        }

    def add(self, brought: Sequence[Checkpoint]) -> dict[Any, Any]:
        """Return updates of one visitor's page that list what this visitor brought. What is chosen stays so, if there is any."""
        able = [checkpoint for checkpoint in brought if self.task.name in checkpoint.tasks]
        if not able:
            return {}
        return self.question.picker.add(able) if self.checkpoints else self.offer(able, able[-1])

    # ---- a request from elsewhere ----

    def _restore(self, path: str | None) -> dict[Any, Any]:
        """Bring back what a result's PNG remembers, or say beside the file why not."""
        restored = self.question.restored
        try:
            if path is None:
                raise InputError("There is no file. Drop a PNG saved by this app.")
            request = Request.from_dict(read_request(path))
            if request.task != self.task.name:
                raise InputError(f"This picture comes from {quoted(request.task)}; drop one that was generated.")
            updates = self._fill(request)
        except GenariumError as error:
            return {restored: problem_html(error)}
        return {**updates, restored: status_html(Texts.both("restored", name=Path(path).name))}

    @property
    def linked(self) -> list[Any]:
        """What `open_link` updates."""
        return [*self._filled, self.outcome.status]

    def open_link(self, request: Request) -> dict[Any, Any]:
        """Return updates that set the tab to the request of a link.

        Raises:
            GenariumError: it does not fit this tab.
        """
        return {**self._fill(request), self.outcome.status: status_html(Texts.both("linked"))}

    @property
    def _filled(self) -> list[Any]:
        """What `_fill` updates."""
        return [*self.question.filled, *self.outcome.cleared]

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
        return {**self.question.fill(request, checkpoint), **self.outcome.clear(checkpoint.modality)}
