"""What a visitor can set: the family's own controls, the classes, the seed. All of it follows from signatures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.errors import InputError
from genarium.families import Family
from genarium.runtime.classes import shortest_cycle
from genarium.runtime.request import Request, choose_labels
from genarium.tasks import Control, Task
from genarium.ui.texts import TaskTexts

DICE = "() => String(Math.floor(Math.random() * 2 ** 32))"


class FamilyControls:
    """The controls of every family in a tab, one group for each; only the chosen family's group is shown.

    They are built once for the page, not anew for each choice: so a visitor's settings survive a look at another family,
    and the page never waits for the server to draw them. Checkpoints of one family may differ in defaults, in choices and
    in which controls they have; where they do, choosing one sets the control as it is for that checkpoint.
    """

    def __init__(self, task: Task, families: Sequence[Family], checkpoints: Mapping[str, Checkpoint], texts: TaskTexts):
        """Build the controls.

        Args:
            task: of the tab.
            families: all that can do the task. A visitor may bring a checkpoint of each.
            checkpoints: that are there from the start.
            texts: of the task.
        """
        self.task = task.name
        self.groups: dict[str, gr.Column] = {}
        self.components: dict[str, dict[str, Any]] = {}
        self.built: dict[str, dict[str, Control]] = {}
        # family -> names of the controls that its checkpoints differ in; a visitor's checkpoint may add to them
        self.varying: dict[str, set[str]] = {}
        first = next(iter(checkpoints.values()), None)
        for family in families:
            name, every = family.name, family.outline.controls(task.name, family.controls)
            each = [self.shown(c) for c in checkpoints.values() if c.family.name == name]
            each = each or [{n: control for n, control in every.items() if not control.choices_from}]
            built = {n: next((own[n] for own in each if n in own), every[n]) for n in every if not every[n].hidden}
            self.built[name] = built
            self.varying[name] = {n for n, control in built.items() if any(own.get(n) != control for own in each)}
            usual = {n: control.default for n, control in built.items()}
            visible = first is not None and first.family.name == name
            with gr.Column(visible=visible, elem_classes="controls") as group:
                where, chinese = f"{name}_{self.task}", family.translations.get("zh", {})
                self.components[name] = {
                    n: _component(control, where, chinese, texts, n in each[0] and control.is_used(usual))
                    for n, control in built.items()
                }
            self.groups[name] = group

    def shown(self, checkpoint: Checkpoint) -> dict[str, Control]:
        """Return what a visitor can set of a checkpoint."""
        return {name: control for name, control in checkpoint.controls(self.task).items() if not control.hidden}

    @property
    def all(self) -> list[Any]:
        return [component for group in self.components.values() for component in group.values()]

    @property
    def outputs(self) -> list[Any]:
        """All that `show` may update."""
        return [*self.groups.values(), *self.all]

    def values(self, checkpoint: Checkpoint, data: Mapping[Any, Any]) -> dict[str, Any]:
        """Return the parameters of a request, from what the page sent for all components."""
        components = self.components.get(checkpoint.family.name)
        if components is None:  # of a class that no plugin knows: it keeps its defaults
            return {}
        return {name: data[components[name]] for name in self.shown(checkpoint)}

    def show(self, checkpoint: Checkpoint) -> dict[Any, Any]:
        """Return updates that show the group of a checkpoint's family, with the values that are this checkpoint's own."""
        family, own = checkpoint.family.name, self.shown(checkpoint)
        updates = {group: gr.update(visible=name == family) for name, group in self.groups.items()}
        if family not in self.built:
            return updates
        built, varying = self.built[family], self.varying[family]
        varying |= {n for n, control in built.items() if own.get(n) != control}
        # what decides whether one of these is used becomes as it is, too, so that the answer is known here
        varying |= {other for n in varying for other in built[n].used_with if other in built}
        usual = {n: control.default for n, control in own.items()}
        for name in sorted(varying):
            component = self.components[family][name]
            updates[component] = _as_it_is(own[name], usual) if name in own else gr.update(visible=False)
        return updates

    def connect(self, dropdown: gr.Dropdown, find: Callable[[Any], Checkpoint]) -> None:
        """Show each control only while the settings beside it are such that the task uses it.

        Args:
            dropdown: with the name of the checkpoint.
            find: a checkpoint by the name that the page sent.
        """
        for family, built in self.built.items():
            deciding = sorted({other for control in built.values() for other in control.used_with if other in built})
            if deciding:
                self._follow(family, deciding, dropdown, find)

    def _follow(
        self, family: str, deciding: Sequence[str], dropdown: gr.Dropdown, find: Callable[[Any], Checkpoint]
    ) -> None:
        """Let the controls of a family follow those that decide whether they are used."""
        components = self.components[family]
        following = [n for n, control in self.built[family].items() if control.used_with]

        def follow(name: Any, *values: Any) -> dict[Any, Any]:
            checkpoint = find(name)
            if checkpoint.family.name != family:
                return {components[n]: gr.skip() for n in following}
            own, now = self.shown(checkpoint), dict(zip(deciding, values, strict=True))
            now = {n: value for n, value in now.items() if n in own}
            return {components[n]: gr.update(visible=n in own and own[n].is_used(now)) for n in following}

        gr.on(
            [components[n].input for n in deciding],
            follow,
            [dropdown, *(components[n] for n in deciding)],
            [components[n] for n in following],
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

    def fill(self, checkpoint: Checkpoint, parameters: Mapping[str, Any]) -> dict[Any, Any]:
        """Return the updates of `show`, and set the controls to `parameters`, the others to their defaults."""
        updates, components = self.show(checkpoint), self.components.get(checkpoint.family.name, {})
        own = self.shown(checkpoint)
        values = {name: parameters.get(name, control.default) for name, control in own.items()}
        for name, control in own.items():
            if name in components:
                before = updates.get(components[name], gr.update())
                updates[components[name]] = {**before, "value": values[name], "visible": control.is_used(values)}
        return updates


def _as_it_is(control: Control, usual: Mapping[str, Any]) -> dict[str, Any]:
    """Return the update that makes a component of this kind show this control, beside others at their `usual` values."""
    choices: dict[str, Any] = {"choices": list(control.choices)} if control.kind == "choice" else {}
    return gr.update(visible=control.is_used(usual), value=control.default, **choices)


def _component(control: Control, where: str, chinese: Mapping[str, str], texts: TaskTexts, visible: bool):
    """Build the Gradio component of a control, in both languages if the plugin translates its texts."""
    label, help_ = control.label, control.help
    options: dict[str, Any] = {
        "label": texts.add(f"{where}_{control.name}", label, chinese.get(label)),
        "info": texts.add(f"{where}_{control.name}_help", help_, chinese.get(help_)) if help_ else None,
        "value": control.default,
        "visible": visible,
    }
    if control.kind == "choice":
        # the values of a condition may be hundreds, such as speakers: there a visitor types a part of the name
        return gr.Dropdown(list(control.choices), filterable=bool(control.choices_from), **options)
    if control.kind == "checkbox":
        return gr.Checkbox(**options)
    if control.kind == "text":
        return gr.Textbox(**options)
    whole = control.kind == "integer"
    if control.minimum is not None and control.maximum is not None:
        step = control.step or (1 if whole else (control.maximum - control.minimum) / 100)
        return gr.Slider(control.minimum, control.maximum, step=step, buttons=[], **options)
    return gr.Number(minimum=control.minimum, maximum=control.maximum, precision=0 if whole else None, **options)


class ClassChooser:
    """Each class in turn, any, or chosen ones; for a task with inputs: unknown, or the class that the input shows."""

    def __init__(self, task: Task, checkpoint: Checkpoint | None, texts: TaskTexts):
        self.task, self.many = task.name, task.draws
        modes = ["cycle", "any", "chosen"] if self.many else ["unknown", "chosen"]
        self.default = modes[0]
        offered = checkpoint is not None and checkpoint.takes_classes(task.name)
        with gr.Column(visible=offered, elem_classes="classes") as self.group:
            self.mode = gr.Radio([(texts(f"class_{m}"), m) for m in modes], value=modes[0], label=texts("class_choice"))
            self.names = gr.Dropdown(
                _choices(checkpoint) if checkpoint else [],
                multiselect=self.many,
                value=None,
                visible=False,
                label=texts("class_names"),
            )
        self.mode.change(
            lambda mode: gr.update(visible=mode == "chosen"),
            self.mode,
            self.names,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

    @property
    def all(self) -> list[Any]:
        return [self.mode, self.names]

    @property
    def shown(self) -> list[Any]:
        """What `show` updates."""
        return [self.group, self.mode, self.names]

    def labels(self, checkpoint: Checkpoint, data: Mapping[Any, Any], number: int) -> tuple[int, ...] | None:
        """Return what goes into the request."""
        if not checkpoint.takes_classes(self.task):
            return None
        mode, chosen = data[self.mode], data[self.names]
        if mode != "chosen":
            return choose_labels(checkpoint, "cycle" if mode == "cycle" else "any", number)
        if chosen is None or chosen == []:
            raise InputError("No class is chosen. Choose one, or leave the classes to the model.")
        return choose_labels(checkpoint, chosen, number)

    def show(self, checkpoint: Checkpoint) -> dict[Any, Any]:
        """Return updates for another checkpoint: its classes, nothing chosen."""
        return {
            self.group: gr.update(visible=checkpoint.takes_classes(self.task)),
            self.mode: gr.update(value=self.default),
            self.names: gr.update(choices=_choices(checkpoint), value=[] if self.many else None, visible=False),
        }

    def fill(self, checkpoint: Checkpoint, request: Request) -> dict[Any, Any]:
        """Return updates that bring back a request's labels."""
        updates = self.show(checkpoint)
        labels = request.class_labels
        if not checkpoint.takes_classes(self.task):
            return updates
        if labels == (choose_labels(checkpoint, "cycle", request.batch_size) if self.many else None):
            return updates
        if labels is None:
            return {**updates, self.mode: gr.update(value="any")}
        names = shortest_cycle(labels)
        updates[self.mode] = gr.update(value="chosen")
        updates[self.names] = gr.update(
            choices=_choices(checkpoint), value=names if self.many else names[0], visible=True
        )
        return updates


def _choices(checkpoint: Checkpoint) -> list[tuple[str, int]]:
    return [(name, label) for label, name in enumerate(checkpoint.class_names)]


def seed_row(texts: TaskTexts) -> gr.Textbox:
    """Return the seed, as text because a browser's numbers end at 2^53, and its dice."""
    with gr.Row(elem_classes="seed-row"):
        seed = gr.Textbox("0", label=texts("seed"), max_lines=1, min_width=80, scale=4)
        dice = gr.Button(texts("new_seed"), elem_classes="dice", scale=0)  # the style sheet shows a die
    dice.click(None, None, seed, js=DICE, api_visibility="private")
    return seed
