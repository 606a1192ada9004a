"""A code by hand on the Explore page: sliders, switches, choices, words or a palette, as the kind of the code asks for."""

from __future__ import annotations

import asyncio
from typing import Any

import gradio as gr
import numpy as np
import torch

from genarium.errors import GenariumError, InputError
from genarium.tasks.explore import codes as coding
from genarium.tasks.explore.directions import MAX_AXES, REACH, STEPS, Directions
from genarium.tasks.explore.drawing import tight
from genarium.tasks.explore.explorer import Explorer, Held, held_by
from genarium.tasks.explore.mapping import CodeMap
from genarium.tasks.explore.panel_grid import GridPainter
from genarium.tasks.explore.panel_place import PicturePlace, strip_of
from genarium.tasks.explore.panel_plane import picture_html
from genarium.tasks.explore.panel_units import UnitSwitches
from genarium.ui.answers import said
from genarium.ui.events import LATEST
from genarium.ui.pages import Page
from genarium.ui.texts import markup
from genarium.ui.words import gloss_html

MAX_BITS = 128  # switches
MAX_LEVELS = 8  # choices of a path
FIRST = {"grey": "pullover-1", "digits": "digit-3", "emoji": "cookie-twemoji"}


class CodeSection:
    """The section: a picture, its code in the form of controls, and what the decoder draws of it at once."""

    def __init__(self, page: Page, explorer: Explorer, checkpoint: gr.Dropdown):
        self.page, self.explorer, self.texts, self.checkpoint = page, explorer, page.texts, checkpoint
        first = explorer.checkpoint(page.checkpoint)
        self.strip = gr.State(strip_of(first))
        self.code = gr.State(None)  # `Held`
        self.asked = gr.State(None)  # what was encoded last: [checkpoint, picture]
        with gr.Row(elem_classes="explore-code"):
            with gr.Column(scale=7, min_width=300):
                with gr.Row(elem_classes="explore-live"):
                    self.place = PicturePlace(self.texts, "picture", first, page.picture, FIRST)
                    with gr.Column(min_width=130):
                        self.live = markup("", elem_id="explore-live")
                        self.reset = gr.Button(self.texts("reset"), size="sm", elem_id="explore-reset")
                with gr.Column(elem_id="explore-controls"):
                    self._build_controls()
            with gr.Column(scale=5, min_width=300, visible=False) as self.side:
                self.sheet = markup("", elem_id="explore-traversal")

    def _build_controls(self) -> None:
        texts = self.texts
        with gr.Column(visible=False, elem_classes="explore-directions") as self.axes_group:
            self.axes = [
                gr.Slider(-REACH, REACH, 0, step=0.05, label=texts(f"direction_{i + 1}"), interactive=True, buttons=[])
                for i in range(MAX_AXES)
            ]
        with gr.Row(visible=False) as self.number_group:
            self.which = gr.Slider(
                1, 2, 1, step=1, label=texts("which"), interactive=True, buttons=[], elem_id="explore-which"
            )
            self.value = gr.Slider(
                -REACH, REACH, 0, step=0.05, label=texts("value"), interactive=True, buttons=[], elem_id="explore-value"
            )
        self.bits = gr.CheckboxGroup(
            [], label=texts("bits"), visible=False, interactive=True, elem_classes="bits", elem_id="explore-bits"
        )
        self.units = UnitSwitches(texts, self.explorer)
        self.one = gr.Radio([], label=texts("one"), visible=False, interactive=True, elem_id="explore-one")
        with gr.Column(visible=False) as self.path_group:
            self.path = [
                gr.Radio([], label=texts(f"level_{i + 1}"), visible=False, interactive=True) for i in range(MAX_LEVELS)
            ]
        self.words = gr.Textbox(
            label=texts("words"), visible=False, interactive=True, elem_id="explore-words", info=texts("words_info")
        )
        self.painter = GridPainter(texts, self.explorer)
        self.note = markup("", elem_id="explore-note")

    def connect(self, opened: Any, chosen: Any) -> None:
        """Connect the events; arguments as of `MapSection.connect`."""
        self.place.connect()
        name, code = self.checkpoint, self.code
        encoded = [code, self.live, self.side, self.sheet, self.note, *self._controls]
        fitted = chosen.then(self._choose, [name, self.strip], [self.strip, *self.place.shown], **LATEST)
        # A page that opens fires several of these at once. `_follow` answers the first and finds the same question in the
        # others, whose answers would come late and undo what the visitor has changed meanwhile.
        question, followed = [self.asked, name, self.place.image], [self.asked, *encoded]
        in_turn = {**LATEST, "concurrency_id": f"explore-follow-{id(self)}"}
        for event in (opened.then, fitted.then, self.place.image.change):
            event(self._follow, question, followed, **in_turn)
        self.reset.click(self._encode, [name, self.place.image], encoded, **LATEST)
        moved = [code, self.live, self.which, self.value]
        for slider in self.axes:
            slider.input(self._turn, [name, code, self.which, *self.axes], moved, **LATEST)
            slider.release(self._sheet, [name, code], self.sheet, **LATEST)
        self.which.input(self._look, [name, code, self.which], self.value, **LATEST)
        self.value.input(self._set, [name, code, self.which, self.value], [code, self.live, *self.axes], **LATEST)
        self.value.release(self._sheet, [name, code], self.sheet, **LATEST)
        for component, kind, change in (
            (self.bits, "binary", lambda code, on: coding.switched(code, on, MAX_BITS)),
            (self.one, "one_hot", lambda code, one: torch.tensor(int(one))),
            (self.words, "words", lambda code, words: str(words)),
        ):
            component.input(
                self._changing(kind, change), [name, code, component], [code, self.live, self.sheet], **LATEST
            )
        for radio in self.path:
            radio.input(
                self._changing("path", self._along), [name, code, *self.path], [code, self.live, self.sheet], **LATEST
            )
        self.painter.connect(name, code, self.live)
        self.units.connect(code, self._changed, [code, self.live, self.sheet], name)

    # ---- a picture's code ----

    def _choose(self, name: str, strip: str) -> list[Any]:
        checkpoint = self.explorer.checkpoint(name)
        return [strip_of(checkpoint), *self.place.show(checkpoint, strip)]

    async def _follow(self, asked: Any, name: str, picture: Any) -> list[Any]:
        """Encode the picture unless that was done last. `asked` is the question that was answered last."""
        question = [name, picture]
        if question == asked:
            return [gr.skip()] * (6 + len(self._controls))
        return [question, *await self._encode(name, picture)]

    async def _encode(self, name: str, picture: Any) -> list[Any]:
        """Encode the picture; return its code, its reconstruction, and the controls as they stand for it."""
        if not picture:
            return [gr.skip()] * (5 + len(self._controls))
        try:
            _, codes = await self.explorer.encode(name, [picture])
            code = codes[0]
            live = await self._live(name, code)
            sheet = await self._traverse(name, code)
            pipeline = await asyncio.to_thread(self.explorer.runtime.pipeline, name)
            controls, note = await self._show(name, code, pipeline)
        except GenariumError as error:
            raise said(error) from error
        return [Held(name, code), live, gr.update(visible=bool(sheet)), sheet, note, *controls]

    async def _live(self, name: str, code: Any) -> str:
        drawn = (await self.explorer.decode(name, coding.stack([code])))[0]
        said = gloss_html(self.explorer.checkpoint(name), self.texts, code) if isinstance(code, str) else ""
        return f'<div class="picked">{picture_html(drawn, self.texts.both("live") + said)}</div>'

    @property
    def _controls(self) -> list[Any]:
        """What `_show` updates, in its order."""
        single = [
            self.axes_group,
            *self.axes,
            self.number_group,
            self.which,
            self.value,
            self.bits,
            self.units.html,
            self.one,
        ]
        return [*single, self.path_group, *self.path, self.words, *self.painter.shown]

    async def _show(self, name: str, code: Any, pipeline: Any) -> tuple[list[Any], str]:
        """Return updates of the controls for a code of this kind, and a note below them."""
        kind, found = pipeline.code_kind, self.explorer.map_of(name)
        by_axes = kind in ("vector", "noise") and found is not None and found.is_continuous
        note = "" if by_axes or kind not in ("vector", "noise") else self.texts.both(f"no_{kind}_controls", name=name)
        directions = await self.explorer.directions_of(name) if by_axes else None
        updates = [gr.update(visible=by_axes), *self._axes_at(directions, code)]
        by_number = bool(by_axes and found is not None and found.spreads is not None and len(found.spreads) > 2)
        updates += [gr.update(visible=by_number)]
        length = len(found.spreads) if by_number and found is not None and found.spreads is not None else 2
        updates += [gr.update(maximum=length, value=1), self._value_of(found, code, 1) if by_number else gr.skip()]
        by_bits = kind == "binary" and not self.units.suit(pipeline)
        on = [i + 1 for i, bit in enumerate(code[:MAX_BITS]) if bit > 0.5] if by_bits else []
        bits = list(range(1, min(len(code), MAX_BITS) + 1)) if by_bits else []
        updates += [gr.update(visible=by_bits, choices=bits, value=on), await self.units.show(code, pipeline)]
        values = [(str(v + 1), v) for v in range(int(pipeline.code_values or 0))]  # people count from 1
        is_one = kind == "one_hot"
        updates.append(gr.update(visible=is_one, choices=values if is_one else [], value=int(code) if is_one else None))
        levels = [int(v) for v in code[:MAX_LEVELS]] if kind == "path" else []
        updates.append(gr.update(visible=bool(levels)))
        for i in range(MAX_LEVELS):
            there = i < len(levels)
            updates.append(
                gr.update(visible=there, choices=values if there else [], value=levels[i] if there else None)
            )
        updates.append(gr.update(visible=kind == "words", value=code if kind == "words" else ""))
        updates += await self.painter.show(name, code if kind == "grid" else None, pipeline)
        return updates, f'<p class="note">{note}</p>' if note else ""

    # ---- along directions, and number by number ----

    def _axes_at(self, directions: Directions | None, code: Any) -> list[Any]:
        if directions is None:
            return [gr.skip()] * MAX_AXES
        at = directions.coordinates(code)
        return [
            gr.update(visible=i < len(at), value=round(float(np.clip(at[i], -REACH, REACH)), 2) if i < len(at) else 0)
            for i in range(MAX_AXES)
        ]

    async def _turn(self, name: str, held: Held | None, which: int, *values: float) -> list[Any]:
        code, found = held_by(held, name), self.explorer.map_of(name)
        directions = None if code is None else await self.explorer.directions_of(name)
        if code is None or found is None or directions is None:
            return [gr.skip()] * 4
        _check(which, *values)
        at = directions.coordinates(code)
        # a coordinate beyond the slider stays what it is until the slider is moved
        wanted = [at[i] if abs(at[i]) > REACH and abs(values[i]) >= REACH - 1e-6 else values[i] for i in range(len(at))]
        try:
            code = directions.moved(code, wanted)
            value = self._value_of(found, code, which) if found.spreads is not None else gr.skip()
            return [Held(name, code), await self._live(name, code), gr.skip(), value]
        except GenariumError as error:
            raise said(error) from error

    def _value_of(self, found: CodeMap | None, code: Any, which: int) -> Any:
        """Return the slider of one number of the code: from -REACH to REACH deviations around the mean of all codes."""
        assert found is not None and found.mean is not None and found.spreads is not None
        j = min(max(int(which), 1), len(found.spreads)) - 1
        low, high = (float(found.mean[j] + sign * REACH * found.spreads[j]) for sign in (-1, 1))
        value = float(code.flatten()[j])
        low, high = min(low, value), max(high, value)
        return gr.update(minimum=round(low, 2), maximum=round(high, 2), value=round(value, 2), step=0.01)

    def _look(self, name: str, held: Held | None, which: int) -> Any:
        code, found = held_by(held, name), self.explorer.map_of(name)
        if code is None or found is None or found.spreads is None:
            return gr.skip()
        _check(which)
        return self._value_of(found, code, which)

    async def _set(self, name: str, held: Held | None, which: int, value: float) -> list[Any]:
        code, found = held_by(held, name), self.explorer.map_of(name)
        if code is None or found is None or not found.is_continuous:
            return [gr.skip()] * (2 + MAX_AXES)
        _check(which, value)
        changed = code.clone().flatten()
        changed[min(max(int(which), 1), len(changed)) - 1] = float(value)
        changed = changed.reshape(code.shape)
        try:
            directions = await self.explorer.directions_of(name)
            return [Held(name, changed), await self._live(name, changed), *self._axes_at(directions, changed)]
        except GenariumError as error:
            raise said(error) from error

    # ---- discrete codes ----

    @staticmethod
    def _along(code: Any, *choices: Any) -> torch.Tensor:
        return torch.tensor([int(code[i]) if choices[i] is None else int(choices[i]) for i in range(len(code))])

    async def _changed(self, name: str, code: Any) -> list[Any]:
        """Return the code, what it decodes to, and the sheet around it."""
        return [Held(name, code), await self._live(name, code), await self._traverse(name, code)]

    def _changing(self, kind: str, change: Any) -> Any:
        async def changed(name: str, held: Held | None, *values: Any) -> list[Any]:
            """Decode the code as the controls of its kind say it."""
            code = held_by(held, name)
            if code is None:
                return [gr.skip()] * 3
            try:
                if (await asyncio.to_thread(self.explorer.runtime.pipeline, name)).code_kind != kind:
                    raise InputError("That is no code of this model.")
                return await self._changed(name, change(code, *values))
            except GenariumError as error:
                raise said(error) from error
            except (TypeError, ValueError) as error:
                raise said(InputError("That is no code of this model.")) from error

        return changed

    # ---- the sheet ----

    async def _sheet(self, name: str, held: Held | None) -> str:
        """Return the sheet of the code that the page shows."""
        return await self._traverse(name, held_by(held, name))

    async def _traverse(self, name: str, code: Any) -> str:
        """Return a sheet as HTML: each direction from -REACH to REACH, or each entry changed."""
        if code is None:
            return ""
        pipeline = await asyncio.to_thread(self.explorer.runtime.pipeline, name)
        kind = pipeline.code_kind
        words = f"sheet_{kind}"
        if kind in ("vector", "noise"):
            directions = await self.explorer.directions_of(name)
            if directions is None:
                return ""
            several, columns, words = directions.traversal(code), STEPS, "sheet_axes"
        else:
            several, columns = coding.vary(kind, code, pipeline.code_values)
            if not len(several):
                return ""
        sheet = tight(await self.explorer.decode(name, several), columns)
        return f'<div class="lots">{picture_html(sheet, self.texts.both(words))}</div>'


def _check(*numbers: Any) -> None:
    """Check that a browser sent finite numbers.

    Raises:
        InputError: it sent something else.
    """
    if not all(isinstance(value, (int, float)) and np.isfinite(value) for value in numbers):
        raise InputError("The sliders give numbers; these are none.")
