"""The runs that a page starts: how a visitor stops them, and what the page says when they do not end well."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from typing import Any

import gradio as gr

from genarium.errors import GenariumError, Stopped
from genarium.runtime import Progress
from genarium.ui.answers import said, without_folders
from genarium.ui.problems import problem_words
from genarium.ui.texts import Texts

Updates = dict[Any, Any]


class Runs:
    """The runs under way of all visitors of one tab or page. Only the means to stop them are kept here.

    Args:
        run, stop: the buttons.
        status: the line that says how far a run is.
    """

    def __init__(self, run: gr.Button, stop: gr.Button, status: gr.HTML):
        self.run, self.stop, self.status = run, stop, status
        self._stops: dict[str, threading.Event] = {}  # by visit

    @property
    def busy(self) -> Updates:
        """Updates for the beginning of a run."""
        return {
            self.run: gr.update(interactive=False),
            self.stop: gr.update(interactive=True),
            self.status: status_html(Texts.both("preparing"), waiting=True),
        }

    @property
    def ready(self) -> Updates:
        """Updates for the end of a run."""
        return {self.run: gr.update(interactive=True), self.stop: gr.update(interactive=False)}

    async def answer(
        self, visit: gr.Request, work: Callable[[threading.Event], AsyncGenerator[Updates, None]]
    ) -> AsyncIterator[Updates]:
        """Pass on the updates of a run, and say how it ended where it did not end well.

        Args:
            visit: whose run it is.
            work: the run; it ends soon after the event is set that it gets.

        Raises:
            gr.Error: what was asked cannot be done; the message says why.
            Exception: of a plugin or of ours; Gradio logs it and keeps the details from the visitor.
        """
        stop = self._stops[visit.session_hash or ""] = threading.Event()
        try:
            async with contextlib.aclosing(work(stop)) as updates:
                async for update in updates:
                    yield update
        except Stopped:
            yield {**self.ready, self.status: status_html(Texts.both("stopped"))}
        except GenariumError as error:
            yield {**self.ready, self.status: problem_html(error)}
            raise said(error) from error
        except Exception:
            yield {**self.ready, self.status: status_html(Texts.both("failed"), bad=True)}
            raise
        finally:
            self._stops.pop(visit.session_hash or "", None)

    def halt(self, visit: gr.Request) -> Any:
        """Handle Stop. The run ends at its next step, and says so."""
        if stop := self._stops.get(visit.session_hash or ""):
            stop.set()
        return gr.update(interactive=False)


def seconds(value: float) -> str:
    """Return a time in words."""
    return f"{value:.2f} s" if value < 10 else f"{value:.0f} s"


def progress_html(event: Progress) -> str:
    """Return the status line of a run: its place and its wait before it begins, then its steps, and with whom it shares."""
    before, others, left = event.outlook.before, event.outlook.others, event.outlook.seconds
    time = "" if left is None else f"{left:.0f} s" if left < 100 else f"{left / 60:.0f} min"
    if event.step == 0 and not before:  # it loads
        return status_html(Texts.both("preparing"), waiting=True)
    if event.step == 0:
        words = [Texts.both("waits_one" if before == 1 else "waits", before=before)]
        words += [Texts.both("waits_time", time=time)] if left is not None and left >= 1 else []
        return status_html(" · ".join(words), waiting=True)
    words, together = [Texts.both("running", step=event.step, total=event.total)], event.outlook.together
    if together:
        words.append(Texts.both("together_one" if together == 1 else "together", together=together))
    if others:
        words.append(Texts.both("shares_one" if others == 1 else "shares", others=others))
    if (others or together) and left is not None and left >= 1:
        words.append(Texts.both("shares_time", time=time))
    return status_html(" · ".join(words), event.seconds, share=event.step / max(event.total, 1))


def problem_html(error: Exception | str) -> str:
    """Return the status line of something that cannot be done."""
    return status_html(problem_words(without_folders(str(error))), bad=True)


def status_html(words: str, elapsed: float | None = None, share: float | None = None, waiting=False, bad=False) -> str:
    """Return a line of words, the time so far, and below it a bar."""
    if not words:
        return ""
    bar = ""
    if waiting or share is not None:
        width = "" if share is None else f' style="width:{100 * share:.1f}%"'
        bar = f'<div class="bar{" wait" if waiting else ""}"><i{width}></i></div>'
    time = "" if elapsed is None else f"<span>{seconds(elapsed)}</span>"
    role = ' role="status" aria-live="polite"'
    return f'<div class="status{" bad" if bad else ""}"{role}><div class="line"><span>{words}</span>{time}</div>{bar}</div>'
