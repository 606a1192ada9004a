"""Arithmetic on the Explore page: the code of A minus the code of B plus the code of C, decoded."""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr

from genarium.errors import GenariumError, InputError
from genarium.tasks.explore import codes as coding
from genarium.tasks.explore.explorer import Explorer
from genarium.tasks.explore.panel_place import PicturePlace, strip_of
from genarium.tasks.explore.panel_plane import picture_html
from genarium.ui.answers import said
from genarium.ui.events import LATEST
from genarium.ui.pages import Page
from genarium.ui.panels import large
from genarium.ui.texts import markup
from genarium.ui.words import words_html

FIRST = {
    "a": {"grey": "pullover-1", "digits": "digit-8", "emoji": "grinning-face-with-sweat-fluent-3d"},
    "b": {"grey": "t-shirt-1", "digits": "digit-3", "emoji": "grinning-face-with-sweat-twemoji"},
    "c": {"grey": "dress-1", "digits": "digit-5", "emoji": "cookie-twemoji"},
}


class SumSection:
    """The section: three pictures, and what their codes make together."""

    def __init__(self, page: Page, explorer: Explorer, checkpoint: gr.Dropdown):
        self.page, self.explorer, self.texts, self.checkpoint = page, explorer, page.texts, checkpoint
        first = explorer.checkpoint(page.checkpoint)
        self.strip = gr.State(strip_of(first))
        self.asked = gr.State(None)  # what the answer on the page is of
        with gr.Row(elem_classes="explore-sums"):
            self.places = [PicturePlace(self.texts, f"sum_{k}", first, "", FIRST[k]) for k in FIRST]
        self.run = gr.Button(self.texts("sum_run"), variant="primary", elem_id="explore-sum-run")
        self.answer = markup("", elem_id="explore-sum-answer")

    def connect(self, opened: Any, chosen: Any) -> None:
        """Connect the events; arguments as of `MapSection.connect`."""
        shown = [self.strip]
        for place in self.places:
            place.connect()
            shown += place.shown
        fitted = chosen.then(self._choose, [self.checkpoint, self.strip], shown, **LATEST)
        images = [place.image for place in self.places]
        self.run.click(self._add, [self.checkpoint, *images], self.answer, **LATEST)
        # a page that opens fires all of these at once: `_follow` answers the first, and finds the same question in the others
        asking, answered = [self.asked, self.checkpoint, *images], [self.asked, self.answer]
        in_turn = {**LATEST, "concurrency_id": f"explore-add-{id(self)}"}
        gr.on([image.change for image in images], self._follow, asking, answered, **in_turn)
        for event in (opened, fitted):
            event.then(self._follow, asking, answered, **in_turn)

    def _choose(self, name: str, strip: str) -> list[Any]:
        checkpoint = self.explorer.checkpoint(name)
        updates: list[Any] = [strip_of(checkpoint)]
        for place in self.places:
            updates += place.show(checkpoint, strip)
        return updates

    async def _follow(self, asked: Any, name: str, *sources: Any) -> list[Any]:
        """Return what is asked now, and the answer; as they were for the same question, or while a picture is missing."""
        if not all(sources) or asked == [name, *sources]:
            return [gr.skip(), gr.skip()]
        return [[name, *sources], await self._add(name, *sources)]

    async def _add(self, name: str, *sources: Any) -> str:
        """Return the three pictures as the model gives them back, and the answer, as HTML."""
        try:
            if not all(sources):
                raise InputError("There is no picture yet in one of the three places. Choose one, or take an example.")
            _, codes = await self.explorer.encode(name, sources)
            pipeline = await asyncio.to_thread(self.explorer.runtime.pipeline, name)
            kind = pipeline.code_kind
            a, b, c = codes
            answer = coding.combine(kind, a, b, c, getattr(pipeline, "code_vectors", None), coding.most_words(pipeline))
            every = [*codes, answer]
            drawn = await self.explorer.decode(name, coding.stack(every))
        except GenariumError as error:
            raise said(error) from error
        captions = [self.texts.both(f"sum_{k}") for k in "abc"] + [self.texts.both("sum_answer")]
        if kind == "words":
            checkpoint = self.explorer.checkpoint(name)
            captions = [
                f"{caption}: {words_html(checkpoint, words)}" for caption, words in zip(captions, every, strict=True)
            ]
        figures = [picture_html(large(p), words) for p, words in zip(drawn, captions, strict=True)]
        a, b, c, result = figures
        return f'<div class="sum">{a}<b>−</b>{b}<b>+</b>{c}<b>=</b>{result}</div>'
