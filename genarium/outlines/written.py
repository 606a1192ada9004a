"""An outline as plain values for JSON, and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from typing import Any

from genarium.outlines.outline import Call, Outline
from genarium.tasks import Control


def write_outline(outline: Outline) -> Any:
    """Return the outline as values for JSON; None if they would not say all of it, such as a default that is an object."""
    values = {field.name: getattr(outline, field.name) for field in dataclasses.fields(outline)}
    values["calls"] = [[task, _written(call)] for task, call in outline.calls.items()]
    try:
        values = json.loads(json.dumps(values))
        # by their texts, which tell 1 from 1.0 and from True
        return values if repr(read_outline(values)) == repr(outline) else None
    except (TypeError, ValueError, KeyError, RecursionError):
        return None


def read_outline(values: Mapping[str, Any]) -> Outline:
    """Return the outline that `write_outline` wrote.

    Raises:
        TypeError, ValueError, KeyError, AttributeError: it did not write these values.
    """
    return Outline(
        class_name=_text(values["class_name"]),
        modality=_text(values["modality"]),  # type: ignore[arg-type]
        components=tuple(map(_text, values["components"])),
        optional_components=tuple(map(_text, values["optional_components"])),
        needs={_text(method): _text(component) for method, component in values["needs"].items()},
        calls={_text(task): _call(call) for task, call in values["calls"]},
    )


def _written(call: Call) -> dict[str, Any]:
    return {
        "controls": [_plain(control) for control in call.controls.values()],
        "optional": call.optional,
        "takes_classes": call.takes_classes,
    }


def _plain(control: Control) -> dict[str, Any]:
    """Return the fields of a control that differ from their defaults. Pairs stand for a mapping whose keys may be numbers."""
    values = {}
    for field in dataclasses.fields(control):
        value = getattr(control, field.name)
        usual = field.default_factory() if callable(field.default_factory) else field.default
        if repr(value) != repr(usual):
            values[field.name] = list(value.items()) if isinstance(value, Mapping) else value
    return values


def _call(values: Mapping[str, Any]) -> Call:
    controls = [_control(control) for control in values["controls"]]
    return Call(
        controls={control.name: control for control in controls},
        optional=tuple(map(_text, values["optional"])),
        takes_classes=bool(values["takes_classes"]),
    )


def _control(values: Mapping[str, Any]) -> Control:
    changed = dict(values)
    if "choices" in changed:
        changed["choices"] = tuple(changed["choices"])
    if isinstance(changed.get("needs"), list):
        changed["needs"] = {choice: _text(needed) for choice, needed in changed["needs"]}
    if "used_with" in changed:
        changed["used_with"] = {_text(name): tuple(used) for name, used in changed["used_with"]}
    return Control(**changed)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value
