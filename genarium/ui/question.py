"""The left column of a task's tab: what a visitor sets, from the checkpoint to the seed, and the request that it makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.errors import InputError
from genarium.families import Family
from genarium.runtime.request import Request, parse_number, parse_seed
from genarium.tasks import Modality, Task
from genarium.ui.controls import ClassChooser, FamilyControls, seed_row
from genarium.ui.inputs import INPUTS
from genarium.ui.picker import Picker
from genarium.ui.texts import TaskTexts, Texts, markup

MAX_SHOWN = 64  # pictures in one run of the page; the command line takes more


class Question:
    """The components that say what is asked, and the buttons that run it.

    `modality` is the kind of material that the page shows. `inputs`: by modality. `number`, `invert` and `restore` are None
    where the task has no use for them.
    """

    def __init__(
        self,
        task: Task,
        families: Sequence[Family],
        checkpoints: Mapping[str, Checkpoint],
        texts: TaskTexts,
        find: Callable[[Any], Checkpoint],
    ):
        """Build the components.

        Args:
            task: of the tab.
            families: all that can do the task.
            checkpoints: offered to everybody; may be none.
            texts: of the task.
            find: a checkpoint by the name that the page sent, also one that this visitor brought.
        """
        self.task, self.texts, self.find = task, texts, find
        first = next(iter(checkpoints.values()), None)
        # what the families work on: each kind has inputs and an answer of its own, of which the page shows one
        able = {f.outline.modality for f in families}
        modalities = [modality for modality in INPUTS if modality in able]
        self.first: Modality = first.modality if first is not None else modalities[0]  # shown when the page is opened
        self.picker = Picker(checkpoints, texts, find)
        self.modality = gr.State(self.first)  # of this visitor's page
        self.inputs = {m: INPUTS[m](task.on(m), texts, visible=m == self.first, first=first) for m in modalities}
        self.number = None
        if task.draws:
            self.number = gr.Slider(1, MAX_SHOWN, 16, step=1, label=texts("num_images"), buttons=[])
        self.classes = ClassChooser(task, first, texts)
        self.seed = seed_row(texts)
        with gr.Row(elem_classes="run-row"):
            self.run = gr.Button(texts("run"), variant="primary", elem_id=f"{task.name}-run", scale=3)
            self.stop = gr.Button(texts("stop"), interactive=False, elem_id=f"{task.name}-stop", scale=1)
        with gr.Accordion(texts("controls"), open=False, elem_classes="settings", elem_id=f"{task.name}-settings"):
            self.controls = FamilyControls(task, families, checkpoints, texts)
            self.invert = self._build_invert()
        self.restore = None
        if task.draws:
            with gr.Accordion(texts("restore"), open=False, elem_classes="settings"):
                markup(f'<div class="intro">{Texts.both("restore_info")}</div>')
                self.restore = gr.File(
                    file_types=[".png"], show_label=False, height=140, elem_id=f"{task.name}-restore"
                )
                self.restored = markup("", elem_id=f"{task.name}-restored")

    def _build_invert(self) -> gr.Radio | None:
        if not self.task.inputs or not any(inputs.invertible for inputs in self.inputs.values()):
            return None
        texts = self.texts
        choices = [(texts(f"invert_{key}"), key) for key in ("auto", "yes", "no")]
        visible = self.inputs[self.first].invertible
        return gr.Radio(choices, value="auto", label=texts("invert"), info=texts("invert_info"), visible=visible)

    def connect(self) -> None:
        """Let the components follow each other."""
        self.controls.connect(self.picker.dropdown, self.find)

    # ---- what is asked ----

    @property
    def asked(self) -> set[Any]:
        """Components whose values `request` and `given` need."""
        return {
            self.picker.dropdown,
            self.seed,
            *self.classes.all,
            *self.controls.all,
            *(component for inputs in self.inputs.values() for component in inputs.components.values()),
            *self._own,
        }

    @property
    def _own(self) -> list[Any]:
        """Components that the tabs of some tasks lack."""
        return [component for component in (self.number, self.invert) if component is not None]

    def request(self, data: Mapping[Any, Any]) -> Request:
        """Return the request that the page asks for.

        Args:
            data: the page's values, by component.

        Raises:
            InputError: the checkpoint is not offered, or a value is none that the page sends.
        """
        checkpoint = self.find(data[self.picker.dropdown])
        number = parse_number(data[self.number]) if self.number is not None else 1
        return Request(
            checkpoint=checkpoint.name,
            task=self.task.name,
            seed=parse_seed(str(data[self.seed]).strip()),
            batch_size=number,
            class_labels=self.classes.labels(checkpoint, data, number),
            parameters=self.controls.values(checkpoint, data),
            invert=data[self.invert] if self.invert is not None else "auto",
        )

    def given(self, request: Request, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the material on the page for a request, by parameter.

        Raises:
            InputError: some that the request needs is missing.
        """
        inputs = self.inputs[checkpoint.modality]
        given = {name: data[place] for name, place in inputs.components.items()}
        if not all(given[name] for name in request.inputs(checkpoint)):
            raise InputError(inputs.missing)
        return given

    def deciding(self, checkpoint: Checkpoint) -> list[Any]:
        """Return the components upon which a result of a checkpoint depends."""
        family = self.controls.components.get(checkpoint.family.name, {})
        places: list[Any] = [self.picker.dropdown, self.seed, *self._own]
        places += [component for name, component in family.items() if name in self.controls.shown(checkpoint)]
        places += self.inputs[checkpoint.modality].components.values()
        if checkpoint.takes_classes(self.task.name):
            places += self.classes.all
        return places

    # ---- what is shown ----

    @property
    def shown(self) -> list[Any]:
        """What `show` updates."""
        return [
            *self.controls.outputs,
            *self.classes.shown,
            *(component for inputs in self.inputs.values() for component in inputs.shown),
            *self._turned,
            *self.picker.shown,
        ]

    def show(self, checkpoint: Checkpoint, turn: bool = True) -> dict[Any, Any]:
        """Return updates for another checkpoint.

        Args:
            checkpoint: which is chosen now.
            turn: whether the page may show the inputs of another modality so far.
        """
        return {
            **self.picker.show(checkpoint),
            **self.controls.show(checkpoint),
            **self.classes.show(checkpoint),
            **self.inputs[checkpoint.modality].show(checkpoint),
            **(self._turn_to(checkpoint.modality) if turn else {}),
        }

    @property
    def filled(self) -> list[Any]:
        """What `fill` updates."""
        return list({*self.shown, self.picker.dropdown, self.seed, *self._own})

    def fill(self, request: Request, checkpoint: Checkpoint) -> dict[Any, Any]:
        """Return updates that set what a visitor can set to a request, which was checked."""
        updates = {
            self.picker.dropdown: checkpoint.name,
            **self.picker.show(checkpoint),
            **self.controls.fill(checkpoint, request.parameters),
            **self.classes.fill(checkpoint, request),
            **self.inputs[checkpoint.modality].show(checkpoint),
            **self._turn_to(checkpoint.modality),
            self.seed: str(request.seed),
        }
        if self.number is not None:
            updates[self.number] = request.batch_size
        if self.invert is not None:
            before = updates.get(self.invert, gr.update())
            updates[self.invert] = {**before, "value": request.invert}
        return updates

    @property
    def _turned(self) -> list[Any]:
        """What `_turn_to` updates."""
        if len(self.inputs) < 2:
            return []
        groups = [part for own in self.inputs.values() for part in (*own.components.values(), own.group)]
        return [self.modality, *groups, *([self.invert] if self.invert is not None else [])]

    def _turn_to(self, modality: Modality) -> dict[Any, Any]:
        """Return updates that show the inputs of a modality; none where there is one only."""
        if len(self.inputs) < 2:
            return {}
        updates: dict[Any, Any] = {own.group: gr.update(visible=m == modality) for m, own in self.inputs.items()}
        updates |= {place: gr.update(visible=True) for place in self.inputs[modality].components.values()}
        if self.invert is not None:
            updates[self.invert] = gr.update(visible=self.inputs[modality].invertible)
        return {**updates, self.modality: modality}
