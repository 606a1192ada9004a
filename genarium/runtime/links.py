"""Links: what decides a result, as the query of an address, so that who opens it sees the same.

    ?checkpoint=vae-fashion-mnist&task=generate&seed=3&batch_size=4&parameters={"temperature":0.8}

Texts stand as they are, everything else as JSON. A link comes from a stranger: it is short, and nothing in it is believed.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from genarium.checkpoints import Checkpoint
from genarium.errors import InputError
from genarium.messages import quoted
from genarium.runtime.classes import shortest_cycle
from genarium.runtime.request import MAX_IMAGES, Request

MAX_LINK = 4000  # characters of a query
TEXTS = ("checkpoint", "task", "invert")


def parts_of(values: Mapping[str, Any], usual: Mapping[str, Any]) -> dict[str, str]:
    """Return the parts of a query for plain values, without those that have their usual value."""
    changed = {name: value for name, value in values.items() if name not in usual or value != usual[name]}
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in changed.items()}


def values_of(parts: Mapping[str, str], texts: Collection[str]) -> dict[str, Any]:
    """Return the plain values of a query's parts.

    Args:
        parts: name -> what the address says.
        texts: the names of the values that are texts.

    Raises:
        InputError: the link is too long, or a part is no JSON.
    """
    if sum(len(name) + len(text) for name, text in parts.items()) > MAX_LINK:
        raise InputError(f"This link is longer than {MAX_LINK} characters; copy it again from the page.")
    values: dict[str, Any] = {}
    for name, text in parts.items():
        try:
            values[name] = text if name in texts else json.loads(text)
        except (ValueError, RecursionError):
            raise InputError(f"The link says {name}={quoted(text)}, which cannot be read.") from None
    return values


def request_to_parts(request: Request, checkpoint: Checkpoint) -> dict[str, str]:
    """Return the parts of a link to a request. What has its default is left out, and so are the visitor's own pictures.

    Args:
        request: one that names this checkpoint alone.
        checkpoint: whose defaults count.
    """
    values, usual = request.to_dict(), Request("", request.task).to_dict()
    defaults = {name: control.default for name, control in checkpoint.controls(request.task).items()}
    given = {name: value for name, value in request.parameters.items() if defaults.get(name) != value}
    labels = None if request.class_labels is None else shortest_cycle(request.class_labels)
    usual = {name: value for name, value in usual.items() if name not in ("checkpoint", "task")}
    return parts_of({**values, "parameters": given, "class_labels": labels}, usual)


def request_from_parts(parts: Mapping[str, str]) -> Request:
    """Return the request of a link, which still has to be checked against its checkpoint. Its class labels are repeated.

    Raises:
        InputError: the link is too long, or its parts are those of no request.
    """
    request = Request.from_dict({"checkpoint": "", "task": "", **values_of(parts, TEXTS)})
    labels, number = request.class_labels or None, request.batch_size
    if labels is None or not 1 <= number <= MAX_IMAGES:
        return replace(request, class_labels=labels)
    return replace(request, class_labels=tuple(labels[i % len(labels)] for i in range(number)))
