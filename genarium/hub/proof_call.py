"""What a task declares for the proof before publishing: how to call its method, and which outputs to compare.

A task's folder declares it in its part `proof`, a module with `PROOF`. A task without that part is compared by `DEFAULT`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


def _no_parameters(number: int) -> Mapping[str, Any]:
    return {}


@dataclass(frozen=True)
class Proof:
    """A task's declaration for the proof: how its method is called.

    Args:
        outputs: names of outputs. The first that the method returns is compared.
        parameters: number of samples -> parameters of the method, beside the checkpoint's defaults.
    """

    outputs: tuple[str, ...]
    parameters: Callable[[int], Mapping[str, Any]] = _no_parameters


# The method is called with the checkpoint's defaults. Nothing is compared if it returns none of these.
DEFAULT = Proof(("images", "audios", "scores"))
