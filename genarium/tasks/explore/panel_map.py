"""The map on the Explore page: where test pictures lie, what the decoder draws there, and two models side by side."""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr
import numpy as np
import torch

from genarium.errors import GenariumError
from genarium.runtime.request import parse_seed
from genarium.tasks.explore.drawing import tight
from genarium.tasks.explore.explorer import Explorer, pick
from genarium.tasks.explore.mapping import NESTED, CodeMap
from genarium.tasks.explore.panel_plane import build_plane, map_svg, picture_html, sheet_svg
from genarium.ui.answers import said
from genarium.ui.events import LATEST
from genarium.ui.pages import Page
from genarium.ui.picker import title, title_html
from genarium.ui.texts import class_name, markup
from genarium.ui.words import words_html

BOX_SIDE = 8  # pictures on a side of a box's sheet
DRAWS = 32
SIDES = ("a", "b")


class Side:
    """One model's part of the section: its map, its manifold, what was picked, and a sheet of many."""

    def __init__(self, letter: str, visible: bool):
        self.letter = letter
        with gr.Column(visible=visible, elem_classes="explore-side", elem_id=f"explore-side-{letter}") as self.group:
            self.name = markup("")
            with gr.Row(elem_classes="explore-planes"):
                self.map = build_plane("", elem_id=f"explore-map-{letter}")
                self.manifold = build_plane("", elem_id=f"explore-manifold-{letter}", elem_classes="explore-manifold")
                self.picked = markup("", elem_id=f"explore-picked-{letter}", elem_classes="explore-picked")
            self.lots = markup("", elem_id=f"explore-lots-{letter}")

    @property
    def all(self) -> list[Any]:
        return [self.group, self.name, self.map, self.manifold, self.picked, self.lots]


class MapSection:
    """The section of the map."""

    def __init__(self, page: Page, explorer: Explorer, checkpoint: gr.Dropdown, beside: gr.Dropdown):
        self.page, self.explorer, self.texts = page, explorer, page.texts
        self.checkpoint, self.beside = checkpoint, beside
        with gr.Row(elem_classes="explore-tools"):
            self.partner = gr.Button("", visible=False, size="sm", elem_id="explore-partner", scale=0, min_width=220)
            self.seed = gr.Textbox(
                "0",
                label=self.texts("seed"),
                max_lines=1,
                interactive=True,
                scale=0,
                min_width=110,
                elem_id="explore-seed",
            )
            self.draw = gr.Button(self.texts("draw"), size="sm", scale=0, min_width=220, elem_id="explore-draw")
        with gr.Column(elem_classes="explore-sides"):
            self.sides = {letter: Side(letter, visible=letter == "a") for letter in SIDES}
        self.names = [checkpoint, beside]

    def connect(self, opened: Any, chosen: Any) -> None:
        """Connect the events.

        Args:
            opened: event, when the page has been shown.
            chosen: event, when the visitor has chosen another checkpoint.
        """
        every = [component for side in self.sides.values() for component in side.all]
        shown = [self.partner, self.draw, self.seed, *every]
        in_turn = {**LATEST, "concurrency_id": f"explore-show-{id(self)}"}  # so that the newest answer comes last
        for event in (opened.then, chosen.then, self.beside.change):
            event(self._show, self.names, shown, **in_turn)
        self.partner.click(self._join, self.names, self.beside, **LATEST)
        self.draw.click(self._draw, [*self.names, self.seed], [side.lots for side in self.sides.values()], **LATEST)
        picked = [side.picked for side in self.sides.values()]
        for letter, side in self.sides.items():
            for plane in (side.map, side.manifold):
                plane.select(self._picking(letter), self.names, picked, **LATEST)
                plane.submit(self._boxing(letter), self.names, side.lots, **LATEST)

    # ---- showing ----

    async def _show(self, name: str, beside: str) -> list[Any]:
        """Return updates that show the map of a checkpoint, and of another beside it."""
        names = {"a": name, "b": "" if beside == name else beside}
        try:
            partner = await asyncio.to_thread(self.explorer.partner_of, name)
            updates: list[Any] = []
            for letter, one in names.items():
                updates += await self._show_side(letter, one)
        except GenariumError as error:
            raise said(error) from error
        has_axes = any(
            (found := self.explorer.map_of(one)) is not None and found.is_continuous for one in names.values() if one
        )
        other = names["b"] or partner
        label = other and f"{'✕' if names['b'] else '+'} {title(self.explorer.checkpoint(other), self.texts)}"
        return [
            gr.update(value=label, visible=bool(other)),
            gr.update(visible=has_axes),
            gr.update(visible=has_axes),
            *updates,
        ]

    async def _show_side(self, letter: str, name: str) -> list[Any]:
        if not name:
            return [gr.update(visible=False), "", "", "", "", ""]
        found, texts = self.explorer.map_of(name), self.texts
        named = f"<b>{title_html(self.explorer.checkpoint(name))}</b>"
        if found is None:
            pipeline = await asyncio.to_thread(self.explorer.runtime.pipeline, name)
            key = "map_none_noise" if pipeline.code_kind == "noise" else "map_none"
            words = f'<p class="explore-name">{named} · {texts.both(key, name=name)}</p>'
            return [gr.update(visible=True), words, "", "", "", ""]
        what = "map_plane" if found.is_plane else "map_axes" if found.is_continuous else "map_scaling"
        what = "map_nested" if found.kind in NESTED else what
        words = texts.both(what, number=len(found), share=100 * found.share)
        sheet = await self.explorer.manifold(name)
        below = texts.both("manifold_words" if found.is_continuous else "manifold_nearest")
        manifold = sheet_svg(sheet, letter, texts.plain("manifold_label")) + f'<p class="plane-words">{below}</p>'
        picked = await self._picked(name, found, found.nearest((0.5, 0.5)), (0.5, 0.5))
        return [
            gr.update(visible=True),
            f'<p class="explore-name">{named} · {words}</p>',
            map_svg(found, letter, texts),
            manifold,
            picked,
            "",
        ]

    def _join(self, name: str, beside: str) -> str:
        """Return the checkpoint to show beside the other; or none, if there is one already."""
        return "" if beside else self.explorer.partner_of(name)

    # ---- picking ----

    async def _picked(self, name: str, found: CodeMap, nearest: int, place: Any) -> str:
        """Return what the decoder draws at a place, and the nearest test picture, as HTML."""
        drawn = (await self.explorer.at(name, np.array([place])))[0]
        what = self.texts.both("drawn_here" if found.is_continuous else "drawn_nearest")
        if found.kind == "words":
            what += f": {words_html(self.explorer.checkpoint(name), found.codes[nearest])}"
        label = class_name(found.name_of(nearest))
        near = picture_html(found.thumbnail(nearest), self.texts.both("nearest") + (f": {label}" if label else ""))
        return f'<div class="picked">{picture_html(drawn, what)}{near}</div>'

    def _picking(self, letter: str) -> Any:
        async def picked(name: str, beside: str, event: gr.EventData) -> list[Any]:
            """Show what lies at a place of one map; on the other, where the same test picture lies."""
            names = dict(zip(SIDES, (name, beside), strict=True))
            place = numbers(event, "place", 2)
            found = self.explorer.map_of(names[letter])
            if place is None or found is None:
                return [gr.skip(), gr.skip()]
            nearest = found.nearest(place)
            try:
                updates = []
                for other, one in names.items():
                    there = self.explorer.map_of(one) if one else None
                    if there is None or there.pictures != found.pictures:
                        updates.append(gr.skip())
                    else:
                        at = place if other == letter else there.places()[nearest]
                        updates.append(await self._picked(one, there, nearest, at))
                return updates
            except GenariumError as error:
                raise said(error) from error

        return picked

    def _boxing(self, letter: str) -> Any:
        async def boxed(name: str, beside: str, event: gr.EventData) -> Any:
            """Show what lies in a box of the map: the decoder's sheet, and the test pictures."""
            one, box = (name if letter == "a" else beside), numbers(event, "box", 4)
            found = self.explorer.map_of(one) if one else None
            if box is None or found is None:
                return gr.skip()
            inside = found.inside(box)
            shown = inside[: BOX_SIDE**2]
            figures = []
            try:
                if found.is_continuous:
                    drawn = await self.explorer.at(one, found.lattice(BOX_SIDE, box))
                    figures.append(picture_html(tight(drawn, BOX_SIDE), self.texts.both("box_drawn")))
                elif len(shown):
                    drawn = await self.explorer.decode(one, pick(found, list(shown)))
                    figures.append(picture_html(_sheet(drawn), self.texts.both("box_decoded")))
            except GenariumError as error:
                raise said(error) from error
            words = self.texts.both("box_tests", number=len(inside), shown=len(shown))
            if len(shown):
                figures.append(picture_html(_sheet([found.thumbnail(i) for i in shown]), words))
            else:
                figures.append(f"<figure><figcaption>{words}</figcaption></figure>")
            return f'<div class="lots">{"".join(figures)}</div>'

        return boxed

    async def _draw(self, name: str, beside: str, seed: str) -> list[Any]:
        """Draw codes from the Gaussian around the codes of each model, from the same noise."""
        updates: list[Any] = []
        try:
            generator = torch.Generator().manual_seed(parse_seed(seed))
            noise = torch.randn(DRAWS, 64, generator=generator).double().numpy()
            for one in (name, beside):
                found = self.explorer.map_of(one) if one else None
                if found is None or found.axes is None or found.deviations is None:
                    updates.append(gr.skip())
                    continue
                values = noise[:, : len(found.axes)] * found.deviations
                drawn = await self.explorer.decode(one, found.from_axes(values + found.middle))
                words = self.texts.both("drawn_random", number=DRAWS)
                updates.append(f'<div class="lots">{picture_html(tight(drawn, 8), words)}</div>')
        except GenariumError as error:
            raise said(error) from error
        return updates


def _sheet(pictures: list[Any]) -> Any:
    """Return pictures in rows, BOX_SIDE in each."""
    return tight(pictures, min(BOX_SIDE, len(pictures)))


def numbers(event: gr.EventData, key: str, length: int) -> tuple[float, ...] | None:
    """Return numbers between 0 and 1 that the page sent with an event; None if it sent something else."""
    sent = (event._data or {}).get(key) if isinstance(event._data, dict) else None
    if not isinstance(sent, list) or len(sent) != length:
        return None
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and 0 <= v <= 1 for v in sent):
        return None
    return tuple(float(v) for v in sent)
