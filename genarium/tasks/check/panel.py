"""The page Check: many pictures at once, the histogram with the threshold, and what a visitor knows of single pictures."""

from __future__ import annotations

import asyncio
import contextlib
import html
import math
import threading
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import gradio as gr

from genarium.environment import KEEPING, is_allowed
from genarium.errors import GenariumError, InputError
from genarium.messages import quoted
from genarium.runtime import Progress, Result
from genarium.runtime.request import Request
from genarium.tasks.anomaly.calibration import write_calibration
from genarium.tasks.anomaly.checking import Checked
from genarium.tasks.anomaly.decision import Costs
from genarium.tasks.check import camera
from genarium.tasks.check.consequences import Consequences, consequences
from genarium.tasks.check.histogram import histogram_svg, scale_of
from genarium.tasks.check.looking import Look, judge_for, look, read
from genarium.ui.answers import said
from genarium.ui.events import QUIET, VISITORS
from genarium.ui.files import keep, keep_shown
from genarium.ui.pages import Page
from genarium.ui.panels import gallery, picture
from genarium.ui.picker import choices_of
from genarium.ui.runs import Runs, progress_html, seconds, status_html
from genarium.ui.streaming import follow
from genarium.ui.texts import Texts, markup

Updates = dict[Any, Any]
MARKS = {"strange": "⚠", "ordinary": "✓"}


def build(page: Page) -> None:
    """Build the contents of the page."""
    CheckPage(page)


class CheckPage:
    """The components of one visitor's page, and what happens when they are used. What was found is in the page's state."""

    def __init__(self, page: Page):
        self.page, self.runtime, self.texts = page, page.runtime, page.texts
        markup(f'<div class="intro">{self.texts.both("intro")}</div>')
        if not page.checkpoint:
            markup(f'<p class="about">{Texts.both("no_checkpoint")}</p>')
            return
        with gr.Row(elem_classes="workbench"):
            with gr.Column(scale=4, min_width=300, elem_classes="question"):
                self._build_question()
            with gr.Column(scale=8, min_width=300, elem_id="check-answer"):
                self._build_answer()
        self._connect()

    # ---- building ----

    def _build_question(self) -> None:
        texts = self.texts
        names = list(self.runtime.catalogue.offering("check"))
        if self.page.checkpoint not in names:  # one that this visitor brought
            names.append(self.page.checkpoint)
        self.checkpoint = gr.Dropdown(
            choices_of(map(self.runtime.checkpoint, names), texts),
            value=self.page.checkpoint,
            label=texts("checkpoint"),
            filterable=False,
            interactive=True,
            elem_id="check-checkpoint",
        )
        self.files = gr.File(
            label=texts("files"), file_count="multiple", interactive=True, height=170, elem_id="check-files"
        )
        with gr.Row(elem_classes="run-row"):
            self.run = gr.Button(texts("run"), variant="primary", elem_id="check-run", scale=3)
            self.stop = gr.Button(texts("stop"), interactive=False, elem_id="check-stop", scale=1)
        self.per_hour = gr.Number(3600, label=texts("per_hour"), minimum=0, interactive=True, elem_id="check-per-hour")
        with gr.Accordion(texts("costs"), open=False, elem_classes="settings"):
            usual = Costs()
            self.alarm = gr.Number(usual.false_alarm, label=texts("cost_alarm"), interactive=True)
            self.miss = gr.Number(usual.miss, label=texts("cost_miss"), interactive=True, elem_id="check-miss")
            self.share = gr.Number(usual.share, label=texts("share"), interactive=True)
            self.take_best = gr.Button(texts("take_best"), size="sm", elem_id="check-best")
        with gr.Accordion(texts("camera"), open=False, elem_classes="settings", elem_id="check-camera-part"):
            self.camera = camera.build(self.page.task, self.runtime, self.page.checkpoint)

    def _build_answer(self) -> None:
        texts = self.texts
        self.found = gr.State()  # a Look of this visitor
        self.status = markup("", elem_id="check-status")
        self.blank = markup(f'<div class="compare-empty">{texts.both("empty")}</div>', elem_id="check-blank")
        with gr.Column(visible=False) as self.answer:
            self.histogram = markup("", elem_id="check-histogram")
            self.threshold = gr.Slider(
                0, 1, 0.5, step=0.001, label=texts("threshold"), buttons=[], interactive=True, elem_id="check-threshold"
            )
            self.numbers = markup("", elem_id="check-numbers")
            self.sheet = gallery(texts("sheet"))
            self.sheet.elem_id = "check-sheet"
            self.sheet.allow_preview = False  # a chosen picture is shown below, larger and with its heat map
            self.picked = gr.State("")  # the name of a picture
            self.about = markup("", elem_id="check-about")
            with gr.Row(visible=False) as self.marks:
                self.normal = gr.Button(texts("mark_normal"), size="sm", elem_id="check-normal")
                self.strange = gr.Button(texts("mark_strange"), size="sm", elem_id="check-strange")
            self.overlay = picture(texts("overlay"), visible=False, elem_id="check-overlay")
            with gr.Row():
                self.take = {
                    name: gr.DownloadButton(cast(str, texts(name)), size="sm", elem_id=f"check-{name}")
                    for name in ("csv", "json", "overlays", "thresholds")
                }
            markup(f'<p class="note">{texts.both("take_along")}</p>')
            self.keep = gr.Button(texts("keep"), size="sm", visible=is_allowed(KEEPING), elem_id="check-keep")
            self.kept = markup("", elem_id="check-kept")

    # ---- behaviour ----

    def _connect(self) -> None:
        self.runs = Runs(self.run, self.stop, self.status)
        asked = [self.per_hour, self.alarm, self.miss, self.share]
        shown = [self.found, self.histogram, self.numbers, self.sheet, self.about, self.kept]
        run: Any = {self.checkpoint, self.files, *asked}
        outputs = [*shown, self.run, self.stop, self.status, self.blank, self.answer, self.threshold, self.picked]
        outputs += [self.marks, self.overlay, *self.take.values()]
        self.run.click(
            self._run,
            run,
            outputs,
            show_progress="hidden",
            trigger_mode="once",
            concurrency_limit=VISITORS,
            concurrency_id="run-check",
            api_visibility="private",
        )
        self.stop.click(self.runs.halt, None, self.stop, **QUIET)
        taken = list(self.take.values())
        moved: Any = {self.found, self.threshold, self.picked, *asked}
        self.threshold.input(self._move, moved, [*shown, *taken], **QUIET, trigger_mode="always_last")
        gr.on([one.change for one in asked], self._weigh, {self.found, *asked}, [self.numbers], **QUIET)
        gr.on(
            [self.checkpoint.change, self.histogram.change],
            self._watch,
            [self.checkpoint, self.found],
            self.camera,
            **QUIET,
        )
        self.take_best.click(self._best, {self.found, *asked}, [*shown, self.threshold, *taken], **QUIET)
        self.sheet.select(self._pick, self.found, [self.picked, self.about, self.marks, self.overlay], **QUIET)
        for button, kind in ((self.normal, "normal"), (self.strange, "strange")):
            button.click(self._marking(kind), moved, [*shown, self.threshold, *taken], **QUIET)
        if is_allowed(KEEPING):
            self.keep.click(self._keep, self.found, self.kept, **QUIET)

    async def _run(self, data: dict[Any, Any], visit: gr.Request) -> AsyncIterator[Updates]:
        """Handle Check."""
        async for updates in self.runs.answer(visit, lambda stop: self._answer(data, stop)):
            yield updates

    async def _answer(self, data: dict[Any, Any], stop: threading.Event) -> AsyncGenerator[Updates, None]:
        name = data[self.checkpoint]
        checkpoint = self.runtime.checkpoint(name)
        if "check" not in checkpoint.tasks:
            raise InputError(f"{checkpoint.name} cannot score pictures.")
        costs = self._costs(data)
        yield {**self.runs.busy, self.status: status_html(self.texts.both("looking"), waiting=True)}
        files = [str(path) for path in data[self.files] or ()]
        names, given, fitted, unread = await asyncio.to_thread(read, self.runtime, name, files)
        key, judge, parameters = judge_for(checkpoint)
        request = Request(name, "anomaly", parameters=parameters, invert="no")
        async with contextlib.aclosing(follow(self.runtime, request, {"images": fitted}, stop)) as events:
            async for event in events:
                if isinstance(event, Progress):
                    yield {self.status: progress_html(event)}
                elif isinstance(event, Result):
                    found = await asyncio.to_thread(
                        look, Look(name, key, judge), names, given, cast(Any, event), keep_shown
                    )
                    yield {**self.runs.ready, **self._first(found, event.seconds, unread, data, costs)}
                else:
                    yield {self.status: gr.skip()}  # lets Gradio notice a closed page

    def _costs(self, data: dict[Any, Any]) -> Costs:
        """Return what a visitor says of costs.

        Raises:
            InputError: a number is missing or out of range.
        """
        numbers = [data[self.alarm], data[self.miss], data[self.share]]
        if any(number is None for number in numbers):
            raise InputError("Give the costs of a false alarm and of a miss, and the share of strange pictures.")
        return Costs(*map(_number, numbers))

    # ---- showing ----

    def _first(self, found: Look, elapsed: float, unread: list[str], data: dict[Any, Any], costs: Costs) -> Updates:
        """Return updates that show a new check."""
        words = self.texts.both("done", number=len(found.names), seconds=seconds(elapsed), strange=found.strange)
        if unread:
            words += " · " + self.texts.both("unread", reasons=html.escape("; ".join(unread[:5])))
        return {
            self.status: status_html(words),
            self.blank: gr.update(visible=False),
            self.answer: gr.update(visible=True),
            self.picked: "",
            self.marks: gr.update(visible=False),
            self.overlay: gr.update(visible=False),
            self.threshold: self._slider(found),
            self.take["overlays"]: keep(found.archive(), f"{_stem(found)}-heat-maps.zip"),
            **self._show(found, data, costs),
            self.about: f'<p class="note">{self.texts.both("pick")}</p>',
        }

    def _slider(self, found: Look) -> Any:
        """Return an update of the slider to the scores that there are; hidden where no ordinary picture is known."""
        if found.judge.threshold is None:
            return gr.update(visible=False)
        low, high = scale_of(found.judge.normal, found.judge.strange, found.scores, [found.judge.threshold])
        digits = -math.floor(math.log10((high - low) / 1000))
        low, high = round(low, digits), round(high, digits)
        value = min(
            max(round(found.judge.threshold, digits), low), high
        )  # what is shown; the threshold itself stays exact
        return gr.update(visible=True, minimum=low, maximum=high, step=10.0**-digits, value=value)

    def _show(self, found: Look, data: dict[Any, Any], costs: Costs) -> Updates:
        """Return updates that show a check by its threshold."""
        rows = found.rows
        files = [(found.picture_of(row.name), self._caption(row)) for row in rows]
        made = {
            "csv": keep(found.csv(), f"{_stem(found)}.csv"),
            "json": keep(found.json(), f"{_stem(found)}.json"),
            "thresholds": keep(found.thresholds(), "thresholds.json"),
        }
        return {
            self.found: found,
            self.sheet: gr.update(value=files, columns=6, selected_index=None),
            self.kept: "",
            **{self.take[name]: path for name, path in made.items()},
            **self._drawn(found, data, costs),
        }

    @staticmethod
    def _caption(row: Checked) -> str:
        """Return the score with a mark for the verdict, which needs no language."""
        mark = MARKS.get(row.verdict or "", "")
        return f"{mark} {row.score:.4g}".strip()

    def _drawn(self, found: Look, data: dict[Any, Any], costs: Costs) -> Updates:
        """Return updates of the histogram and of the numbers below it."""
        judge = found.judge
        if judge.threshold is None:
            none = f'<div class="consequences"><p>{self.texts.both("none_known")}</p></div>'
            return {self.histogram: "", self.numbers: none}
        words = {
            "normal": self.texts.both("legend_normal", number=len(judge.normal)),
            "strange": self.texts.both("legend_strange", number=len(judge.strange)),
            "seen": self.texts.both("legend_seen", number=len(found.scores)),
        }
        label = self.texts.plain("histogram")
        drawn = histogram_svg(judge.normal, judge.strange, found.scores, judge.threshold, label, words)
        return {self.histogram: drawn, **self._numbers(found, data, costs)}

    def _numbers(self, found: Look, data: dict[Any, Any], costs: Costs) -> Updates:
        return {self.numbers: self._words(consequences(found.judge, _number(data[self.per_hour] or 0), costs))}

    def _words(self, found: Consequences) -> str:
        """Return what the threshold does, as HTML."""
        hour = found.alarms_per_hour
        lines = [
            self.texts.both(
                "alarms",
                number=f"{hour.value:.3g}",
                low=f"{hour.low:.3g}",
                high=f"{hour.high:.3g}",
                share=f"{100 * found.alarms.value:.3g}",
            )
        ]
        if found.recall and found.precision:
            numbers: dict[str, str] = {}
            for name, one in (("recall", found.recall), ("precision", found.precision)):
                numbers |= {name: f"{100 * one.value:.3g}", f"{name}_low": f"{100 * one.low:.3g}"}
                numbers[f"{name}_high"] = f"{100 * one.high:.3g}"
            lines.append(self.texts.both("found", **numbers))
        if found.best and found.cost:
            best = {"best": f"{found.best.value:.4g}", "low": f"{found.best.low:.4g}", "high": f"{found.best.high:.4g}"}
            lines.append(self.texts.both("best", cost=f"{found.cost.value:.3g}", **best))
        text = "".join(f"<p>{line}</p>" for line in lines)
        return f'<div class="consequences">{text}<p class="note">{self.texts.both("intervals")}</p></div>'

    # ---- events ----

    def _move(self, data: dict[Any, Any]) -> Updates:
        """Handle the slider."""
        found = data[self.found]
        if found is None:
            return {self.numbers: gr.skip()}
        return self._safely(lambda: self._show(found.at(_number(data[self.threshold])), data, self._costs(data)))

    def _weigh(self, data: dict[Any, Any]) -> Updates:
        """Handle a change of the pictures an hour or of the costs."""
        found = data[self.found]
        if found is None or found.judge.threshold is None:
            return {self.numbers: gr.skip()}
        return self._safely(lambda: self._numbers(found, data, self._costs(data)))

    def _best(self, data: dict[Any, Any]) -> Updates:
        """Handle the button that takes the threshold of least cost."""
        found = data[self.found]
        if found is None:
            return {self.numbers: gr.skip()}

        def chosen() -> Updates:
            costs = self._costs(data)
            best = replace(found, judge=found.judge.choose(None, None, costs))
            return {**self._show(best, data, costs), self.threshold: self._slider(best)}

        return self._safely(chosen)

    @staticmethod
    def _watch(checkpoint: str, found: Look | None) -> Any:
        """Let the camera go by the chosen checkpoint, and by the threshold of a check with it."""
        threshold = found.judge.threshold if found is not None and found.checkpoint == checkpoint else None
        return gr.update(asked=camera.asked_of(checkpoint, threshold))

    def _pick(self, found: Look | None, event: gr.SelectData) -> Updates:
        """Show where a picture of the sheet is strange."""
        index = event.index
        if found is None or not isinstance(index, int) or not 0 <= index < len(found.names):
            return {self.picked: gr.skip()}
        row = found.rows[index]
        verdict = "" if row.verdict is None else self.texts.both(f"verdict_{row.verdict}")
        words = self.texts.both("picked", name=html.escape(row.name), score=f"{row.score:.4g}", verdict=verdict)
        return {
            self.picked: row.name,
            self.about: f"<p>{words}</p>",
            self.marks: gr.update(visible=True),
            self.overlay: gr.update(visible=True, value=found.overlay_of(row.name)),
        }

    def _marking(self, kind: str) -> Any:
        def mark(data: dict[Any, Any]) -> Updates:
            """Let a picture join the calibration."""
            found, name = data[self.found], data[self.picked]
            if found is None or name not in found.names:
                return {self.numbers: gr.skip()}
            marked = found.marked(name, kind)
            known = marked.judge.calibration.normal if kind == "normal" else marked.judge.calibration.strange
            words = self.texts.both(f"marked_{kind}", name=html.escape(name), number=len(known))
            return self._safely(
                lambda: {
                    **self._show(marked, data, self._costs(data)),
                    self.threshold: self._slider(marked),
                    self.about: f"<p>{words}</p>",
                }
            )

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

    @staticmethod
    def _safely(work: Any) -> Updates:
        try:
            return work()
        except GenariumError as error:
            raise said(error) from error


def _number(value: Any) -> float:
    """Return a number of the page, which a program may send as anything.

    Raises:
        InputError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e30:
        raise InputError(f"Give a number, not {quoted(value)}.")
    return float(value)


def _stem(found: Look) -> str:
    """Return the beginning of the names of files."""
    return f"{Path(found.checkpoint).name}-check"
