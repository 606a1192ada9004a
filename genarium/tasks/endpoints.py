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

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genarium.checkpoints import Checkpoint
    from genarium.runtime import Runtime


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


@dataclass(frozen=True)
class Values:
    """Plain values: numbers, texts, or lists of them, as JSON. `schema` is their JSON schema."""

    label: str
    default: Any
    schema: dict[str, Any]


Input = File | Number | Classes | Values


@dataclass(frozen=True)
class Call:
    """The arguments of a program's call beside checkpoint, seed and parameters.

    Args:
        files: paths of the task's inputs, in order.
        class_labels: as `Classes` describes them.
        num_images: samples to draw; None for a task that draws none.
    """

    files: tuple[str | None, ...] = ()
    class_labels: Any = None
    num_images: Any = None


Work = Callable[["Runtime", "Checkpoint", Path], tuple[list[Path], dict[str, Any]]]


@dataclass(frozen=True)
class Endpoint:
    """An endpoint of a task whose answer is no result of a request. A module endpoints.py has `ENDPOINTS`, a tuple of these.

    Args:
        address: with the slash.
        inputs: in the order of the parameters of `call` between `checkpoint` and `seed`.
        call: its signature and its docstring are the documentation. It returns a function that does the work: it takes the
            runtime, the checkpoint and an empty folder, and returns paths of files in the folder and a report of plain
            values. It may raise GenariumError.
    """

    address: str
    inputs: tuple[Input, ...]
    call: Callable[..., Work]
