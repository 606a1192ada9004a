"""The blind vote, as a part of the page."""

from __future__ import annotations

import html
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.errors import GenariumError
from genarium.media.decoding import open_picture
from genarium.tasks.compare.bundled import points
from genarium.tasks.compare.offer import Offer
from genarium.tasks.compare.running import pictures_of
from genarium.tasks.compare.vote import CHOICES, REAL, Ballot, Tally, draw_ballot
from genarium.ui.answers import said
from genarium.ui.inputs import example_pictures
from genarium.ui.pages import Page
from genarium.ui.panels import keep_large, picture
from genarium.ui.streaming import finish
from genarium.ui.texts import class_name, in_both, markup


class VotePanel:
    """Two pictures, three buttons, and this visitor's tally.

    Args:
        page: of the comparison.
        offer: the checkpoints that may take part.
        rows: the component with the names of those that do.
    """

    def __init__(self, page: Page, offer: Offer, rows: gr.Dropdown):
        self.page, self.texts, self.offer = page, page.texts, offer
        texts = self.texts
        with gr.Accordion(texts("vote"), open=False, elem_id="compare-vote"):
            markup(f'<div class="intro">{texts.both("vote_intro")}</div>')
            self.ballot = gr.State(None)
            self.tally = gr.State(Tally())
            self.asking = markup("", elem_id="compare-vote-question")
            with gr.Row(elem_classes=["side-by-side", "vote-pair"]):
                self.a, self.b = picture(texts("vote_a")), picture(texts("vote_b"))
            pair = gr.Button(
                texts("vote_pair"), variant="primary", elem_id="compare-vote-pair", elem_classes="vote-pair"
            )
            with gr.Row(elem_classes="vote-pair vote-answers"):
                answers = {
                    choice: gr.Button(texts(f"vote_{choice}"), elem_id=f"compare-vote-{choice}") for choice in CHOICES
                }
            self.result = markup("", elem_id="compare-vote-result")
        hidden: dict[str, Any] = {"show_progress": "minimal", "api_visibility": "private"}
        pair.click(self.draw, rows, [self.ballot, self.asking, self.a, self.b], **hidden)
        for choice, button in answers.items():

            def answer(ballot: Any, tally: Any, choice: str = choice) -> tuple[Any, Tally, str]:
                return self.answer(ballot, tally, choice)

            button.click(answer, [self.ballot, self.tally], [self.ballot, self.tally, self.result], **hidden)

    async def draw(self, names: Sequence[str]) -> tuple[Ballot, str, Any, Any]:
        """Draw a pair: who made it is known to the server only."""
        runtime = self.page.runtime
        try:
            checkpoints = list(self.offer.checkpoints(names).values())
            able = [one for one in checkpoints if "generate" in one.tasks]
            ballot = draw_ballot(able, real_classes(able), random.SystemRandom())
            pictures = []
            for source in (ballot.a, ballot.b):
                if source == REAL:
                    shown = open_picture(real_pictures(ballot.class_name)[ballot.seed % 2])
                else:
                    shown = pictures_of(await finish(runtime, ballot.request(runtime.checkpoint(source))))[0]
                pictures.append(keep_large(shown))
        except GenariumError as error:
            raise said(error) from error
        key = "vote_class" if ballot.class_name else "vote_any"
        question = self.texts.both(key, name="{name}").replace("{name}", class_name(ballot.class_name))
        return ballot, f"<p>{question}</p>", pictures[0], pictures[1]

    def answer(self, ballot: Ballot | None, tally: Tally, choice: str) -> tuple[None, Tally, str]:
        """Count an answer once, and say who made the pictures."""
        if ballot is None:
            return None, tally, f"<p>{self.texts.both('vote_first')}</p>{self._table(tally)}"
        tally = tally.counted(ballot, choice)
        a, b = (name_of(source, self.page) for source in (ballot.a, ballot.b))
        english, chinese = (
            self.texts.plain("vote_was", language).format(a=a[language], b=b[language]) for language in ("en", "zh")
        )
        return None, tally, f"<p>{in_both(english, chinese)}</p>{self._table(tally)}"

    def _table(self, tally: Tally) -> str:
        """Return the visitor's answers beside what was measured."""
        if not tally.shown:
            return ""
        measured = {point.name: point.frechet for point in points(self.page.runtime.catalogue.checkpoints)}
        head = "".join(f"<th>{self.texts.both(f'vote_{key}')}</th>" for key in ("source", "won", "pairs", "frechet"))
        rows = []
        for source, share in tally.shares().items():
            name = in_both(*name_of(source, self.page).values())
            distance = f"{measured[source]:.0f}" if source in measured else "–"
            rows.append(
                f"<tr><td>{name}</td><td>{share:.0%}</td><td>{tally.shown[source]}</td><td>{distance}</td></tr>"
            )
        return f'<table class="vote-table"><tr>{head}</tr>{"".join(rows)}</table>'


def name_of(source: str, page: Page) -> dict[str, str]:
    """Return the name of a source in English and in Chinese, as HTML."""
    if source == REAL:
        return {"en": page.texts.plain("vote_real"), "zh": page.texts.plain("vote_real", "zh")}
    title = page.runtime.catalogue.checkpoints[source].title
    return {language: html.escape(title[language]) for language in ("en", "zh")}


def real_pictures(class_name: str) -> list[Path]:
    """Return the bundled real pictures of a class, two of each kind of clothes."""
    stem = re.sub(r"[^a-z]+", "-", class_name.split("/")[0].lower()).strip("-")
    return [path for path in example_pictures("grey") if re.fullmatch(rf"{re.escape(stem)}(-top)?-\d", path.stem)]


def real_classes(checkpoints: Sequence[Checkpoint]) -> list[str]:
    """Return the classes of which there are real pictures that look like the checkpoints' own data: grey, 28 x 28."""
    if any((one.index.get("channels"), one.index.get("sample_size")) != (1, 28) for one in checkpoints):
        return []
    names = {name for one in checkpoints for name in one.class_names}
    return sorted(name for name in names if len(real_pictures(name)) >= 2)
