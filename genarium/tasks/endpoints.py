"""How an endpoint.py describes its endpoint of the web API, without Gradio.

An endpoint.py sets INPUTS, in the order of the function's parameters between `checkpoint` and `seed`, and defines one
function `call`. Its signature and its docstring are what programs and language models see as documentation. It returns a
`Call`: what the host puts into the request.

    INPUTS = (File("picture"), Classes("any"))

    def call(checkpoint, image, class_labels, seed, parameters):
        '''Take an image apart and put it together again. ...'''
        return Call(files=(image,), class_labels=class_labels)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class File:
    """A file of a picture or of sound."""

    label: str


@dataclass(frozen=True)
class Number:
    """A whole number."""

    label: str
    default: int


@dataclass(frozen=True)
class Classes:
    """Classes of samples: "cycle", "any", a class's name or number, or a list of these."""

    default: str


Input = File | Number | Classes


@dataclass(frozen=True)
class Call:
    """What a program asked for, beside checkpoint, seed and parameters.

    Args:
        files: paths of the task's inputs, in order.
        class_labels: as `Classes` describes them.
        num_images: samples to draw; None for a task that draws none.
    """

    files: tuple[str | None, ...] = ()
    class_labels: Any = None
    num_images: Any = None
