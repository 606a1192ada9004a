"""What is compared, as the page asks for it: the components on the left, and how they follow each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr

from genarium.errors import InputError
from genarium.media.pictures import read_request
from genarium.runtime.request import parse_number, parse_seed
from genarium.tasks.compare.comparison import CLASS, COMPARED, MAX_COLUMNS, SEED, Comparison, parse_values
from genarium.tasks.compare.offer import Offer, suggested
from genarium.ui.controls import seed_row
from genarium.ui.events import QUIET
from genarium.ui.inputs import example_pictures, picture_input
from genarium.ui.pages import Page
from genarium.ui.picker import choices_of

VALUE = "value"  # columns are values of a setting
FEWER = 8  # example pictures offered


class Question:
    """The components that say what is compared.

    Args:
        page: of the comparison.
        offer: what can be compared.
    """

    def __init__(self, page: Page, offer: Offer):
        self.texts, self.picture, self.offer = page.texts, page.picture or None, offer

    # ---- building ----

    def build(self, start: Comparison) -> None:
        """Build the components.

        Args:
            start: what they stand at.
        """
        texts = self.texts
        self.what = gr.Radio(
            [(texts(task), task) for task in COMPARED if self.offer.by_task[task]],
            value=start.task,
            label=texts("what"),
            interactive=True,
            elem_id="compare-what",
        )
        self.data = gr.Radio(
            self._data_choices(start.task),
            value=self.offer.common_data(start.task, start.checkpoints),
            label=texts("data_set"),
            interactive=True,
            elem_id="compare-data",
        )
        self.rows = gr.Dropdown(
            choices_of(self.offer.able(start.task), texts),
            value=list(start.checkpoints),
            multiselect=True,
            label=texts("rows"),
            interactive=True,
            elem_id="compare-rows",
        )
        self._build_pictures(start)
        by_value = start.columns not in (SEED, CLASS)
        self.columns = gr.Radio(
            self._column_choices(start.task),
            value=VALUE if by_value else start.columns,
            label=texts("columns"),
            interactive=True,
            elem_id="compare-columns",
        )
        settings = self._settings(start.task, start.checkpoints)
        self.setting = gr.Dropdown(
            settings,
            value=start.columns if by_value else None,
            label=texts("setting"),
            interactive=True,
            visible=by_value,
            elem_id="compare-setting",
        )
        self.values = gr.Textbox(
            ", ".join(str(value) for value in start.values),
            label=texts("setting_values"),
            interactive=True,
            visible=by_value,
            elem_id="compare-values",
        )
        self.number = gr.Slider(
            1,
            MAX_COLUMNS,
            start.number,
            step=1,
            label=texts("number"),
            interactive=True,
            visible=_counts(start.task, start.columns),
            buttons=[],
            elem_id="compare-number",
        )
        self.class_name = gr.Dropdown(
            self._class_choices(start.checkpoints),
            value=start.class_name,
            label=texts("class_of_all"),
            interactive=True,
            visible=start.task == "generate" and start.columns != CLASS,
            elem_id="compare-class",
        )
        self.seed = seed_row(texts)
        self.seed.interactive, self.seed.value = True, str(start.seed)
        self.kept = gr.State({"parameters": dict(start.parameters), "invert": start.invert})  # of a link or a sheet

    def _build_pictures(self, start: Comparison) -> None:
        texts, given = self.texts, self.picture
        self.places: list[Any] = []
        with gr.Row(visible=start.task != "generate") as self.pictures:
            for name in ("a", "b"):
                with gr.Column(min_width=120, visible=name == "a" or start.task == "interpolate") as column:
                    place = picture_input(
                        value=given if name == "a" else None,
                        label=texts(f"picture_{name}"),
                        sources=["upload", "clipboard"],
                        height=160,
                        buttons=[],
                        interactive=True,
                        elem_classes="pixels",
                        elem_id=f"compare-picture-{name}",
                    )
                    self.places.append(place)
                    for strip in ("grey", "emoji"):
                        examples = gr.Examples(
                            [[str(path)] for path in example_pictures(strip)[:FEWER]],
                            place,
                            label=texts("examples"),
                            elem_id=f"compare-picture-{name}-{strip}",
                            api_visibility="private",
                        )
                        examples.dataset.elem_classes = ["example-strip"]
                if name == "b":
                    self.second = column
        self.more = gr.File(
            file_count="multiple",
            file_types=["image"],
            label=texts("more_pictures"),
            height=110,
            interactive=True,
            visible=start.task in ("reconstruct", "anomaly"),
            elem_id="compare-more",
        )

    def _column_choices(self, task: str) -> list[tuple[Any, str]]:
        texts = self.texts
        if task == "generate":
            return [(texts("columns_seed"), SEED), (texts("columns_class"), CLASS), (texts("columns_value"), VALUE)]
        if task == "interpolate":
            return [(texts("columns_picture"), SEED)]
        return [(texts("columns_picture"), SEED), (texts("columns_value"), VALUE)]

    def _data_choices(self, task: str) -> list[tuple[str, str]]:
        return [(name.rpartition("/")[2].replace("_", " "), name) for name in self.offer.data_sets(task)]

    def _settings(self, task: str, names: Sequence[str] | None) -> list[tuple[str, str]]:
        return [(control.label, name) for name, control in self.offer.controls(task, names).items()]

    def _class_choices(self, names: Sequence[str] | None) -> list[tuple[Any, str]]:
        return [(self.texts("any"), ""), *((name, name) for name in self.offer.classes(names))]

    # ---- behaviour ----

    @property
    def asked(self) -> set[Any]:
        """Components whose values `comparison` and `given` need."""
        chosen = (
            self.what,
            self.rows,
            self.columns,
            self.setting,
            self.values,
            self.number,
            self.class_name,
            self.seed,
        )
        return {*chosen, self.kept, self.more, *self.places}

    def connect(self) -> None:
        """Let the components follow each other."""
        places: list[Any] = [self.rows, self.columns, self.setting, self.values, self.number, self.class_name]
        places += [self.pictures, self.second, self.more, self.data]
        self.what.change(self._change_task, [self.what, self.rows], places, **QUIET)
        self.data.input(
            self._choose_data, [self.what, self.data], [self.rows, self.setting, self.class_name, self.data], **QUIET
        )
        self.rows.change(self._change_rows, [self.what, self.rows], [self.setting, self.class_name, self.data], **QUIET)
        self.columns.change(
            self._change_columns,
            [self.what, self.columns],
            [self.setting, self.values, self.number, self.class_name],
            **QUIET,
        )
        self.setting.input(self._suggest, [self.what, self.rows, self.setting], self.values, **QUIET)

    def _change_task(self, task: str, names: Sequence[str] | None) -> dict[Any, Any]:
        able = [c.name for c in self.offer.able(task)]
        kept = [name for name in names or () if name in able] or list(self.offer.alike(task, ""))
        return {
            self.rows: gr.update(choices=choices_of(self.offer.able(task), self.texts), value=kept),
            self.data: gr.update(choices=self._data_choices(task), value=self.offer.common_data(task, kept)),
            self.columns: gr.update(choices=self._column_choices(task), value=SEED),
            self.pictures: gr.update(visible=task != "generate"),
            self.second: gr.update(visible=task == "interpolate"),
            self.more: gr.update(visible=task in ("reconstruct", "anomaly"), value=None),
            self.setting: gr.update(choices=self._settings(task, kept), value=None, visible=False),
            self.values: gr.update(value="", visible=False),
            self.number: gr.update(visible=_counts(task, SEED)),
            self.class_name: gr.update(visible=task == "generate"),
        }

    def _choose_data(self, task: str, data: str) -> dict[Any, Any]:
        names = list(self.offer.of_data(task, data))
        return {self.rows: names, **self._change_rows(task, names)}

    def _change_rows(self, task: str, names: Sequence[str] | None) -> dict[Any, Any]:
        return {
            self.setting: gr.update(choices=self._settings(task, names)),
            self.class_name: gr.update(choices=self._class_choices(names)),
            self.data: self.offer.common_data(task, names),
        }

    def _change_columns(self, task: str, columns: str) -> dict[Any, Any]:
        by_value = columns == VALUE
        return {
            self.setting: gr.update(visible=by_value),
            self.values: gr.update(visible=by_value),
            self.number: gr.update(visible=_counts(task, columns)),
            self.class_name: gr.update(visible=task == "generate" and columns != CLASS),
        }

    def _suggest(self, task: str, names: Sequence[str] | None, setting: str) -> str:
        """Return values of a setting to begin with: its choices, or five from its least to its greatest."""
        control = self.offer.controls(task, names).get(setting)
        if control is None:
            return ""
        return ", ".join(map(str, suggested(control)))

    @property
    def restored(self) -> list[Any]:
        """Components that `restore` updates."""
        chosen = [self.what, self.rows, self.columns, self.setting, self.values, self.number, self.class_name]
        return [*chosen, self.seed, self.kept]

    def restore(self, path: str) -> dict[Any, Any]:
        """Return updates that bring back the comparison that a sheet remembers.

        Raises:
            GenariumError: it remembers none, or one that does not fit this app.
        """
        values = read_request(path).get("comparison")
        if not isinstance(values, dict):
            raise InputError("This picture holds no comparison; drop a sheet that was downloaded here.")
        wanted = self.offer.checked(Comparison.from_dict(values))
        by_value = wanted.columns not in (SEED, CLASS)
        columns = VALUE if by_value else wanted.columns
        task, names = wanted.task, wanted.checkpoints
        return {
            self.what: task,
            self.rows: gr.update(choices=choices_of(self.offer.able(task), self.texts), value=list(names)),
            self.columns: gr.update(choices=self._column_choices(task), value=columns),
            self.setting: gr.update(
                choices=self._settings(task, names), value=wanted.columns if by_value else None, visible=by_value
            ),
            self.values: gr.update(value=", ".join(map(str, wanted.values)), visible=by_value),
            self.number: gr.update(value=wanted.number, visible=_counts(task, columns)),
            self.class_name: gr.update(
                choices=self._class_choices(names),
                value=wanted.class_name,
                visible=task == "generate" and columns != CLASS,
            ),
            self.seed: str(wanted.seed),
            self.kept: {"parameters": dict(wanted.parameters), "invert": wanted.invert},
        }

    def comparison(self, data: Mapping[Any, Any]) -> Comparison:
        """Return what the page asks for.

        Raises:
            InputError: a value that no page sends, or a missing one.
        """
        task, columns = data[self.what], data[self.columns]
        values: tuple[Any, ...] = ()
        if columns == VALUE:
            if not data[self.setting]:
                raise InputError("Choose the setting whose values are the columns.")
            columns, values = data[self.setting], parse_values(data[self.values])
        return Comparison.from_dict(
            {
                "checkpoints": tuple(data[self.rows] or ()),
                "task": task,
                "columns": columns,
                "values": values,
                "number": parse_number(data[self.number]),
                "seed": parse_seed(str(data[self.seed]).strip()),
                "class_name": (data[self.class_name] or "") if task == "generate" and columns != CLASS else "",
                **data[self.kept],
            }
        )

    def given(self, data: Mapping[Any, Any]) -> list[str]:
        """Return the pictures that the task takes, of those on the page."""
        task = data[self.what]
        if task == "generate":
            return []
        first, second = (data[place] for place in self.places)
        given = [first, second] if task == "interpolate" else [first, *(data[self.more] or ())]
        return [path for path in given if path]


def _counts(task: str, columns: str) -> bool:
    """Return whether the number of columns is the visitor's choice."""
    return task == "interpolate" or (task == "generate" and columns == SEED)
