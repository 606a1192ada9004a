"""The endpoints /encode and /decode of the web API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from genarium.tasks import Task, controls_of
from genarium.tasks.endpoints import Classes, Endpoint, File, Values, Work

if TYPE_CHECKING:
    from genarium.checkpoints import Checkpoint
    from genarium.runtime import Runtime

MAX_CODES = 64  # in one call
NUMBERS = {"type": "array", "items": {"type": "number"}}  # of a code grid, rows of these
SCHEMA = {"type": "array", "items": {"anyOf": [{"type": "number"}, {"type": "string"}, NUMBERS]}}


def encode(checkpoint, image, class_labels, seed, parameters) -> Work:
    """Turn an image into its code.

    Args:
        checkpoint: Name of the checkpoint.
        image: Picture file of any size.
        class_labels: The name or number of its class for models whose code depends on it, or "any".
        seed: Of the randomness, where the encoder has any.
        parameters: Further parameters of the model's method `encode`, such as {"num_inference_steps": 20}.

    Returns:
        The code as a .npz file with the array "codes", and {"kind", "shape", "codes"}: one code as nested lists, or as a text
        of words. `decode` takes it.
    """

    def work(runtime: Runtime, found: Checkpoint, folder: Path) -> tuple[list[Path], dict[str, Any]]:
        import numpy as np

        from genarium.errors import InputError
        from genarium.runtime.request import parse_seed
        from genarium.tasks.explore.codes import encode_with

        if not isinstance(image, str) or not image:
            raise InputError("There is no picture. Give a file.")
        picture = runtime.prepare(found.name, image)
        labels = _labels(found, class_labels, 1)
        given = _given(found, "encode", "images", parameters)
        codes = runtime.call(found.name, encode_with, [picture], parse_seed(seed), labels, given)
        kind = runtime.pipeline(found.name).code_kind
        array = np.array(codes, dtype=np.str_) if isinstance(codes, list) else codes.numpy()
        path = folder / f"{found.stem}-codes.npz"
        np.savez_compressed(path, codes=array, kind=kind)
        code = codes[0] if isinstance(codes, list) else codes[0].tolist()
        return [path], {"checkpoint": found.name, "kind": kind, "shape": list(array.shape[1:]), "codes": [code]}

    return work


def decode(checkpoint, codes, class_labels, seed, parameters) -> Work:
    """Turn codes into images.

    Args:
        checkpoint: Name of the checkpoint.
        codes: A list of at most 64 codes of the checkpoint's kind, as `encode` gives them: numbers in nested lists, or texts of
            words. Codes may be edited.
        class_labels: As it was given to `encode`.
        seed: Not used: decoding is deterministic.
        parameters: Further parameters of the model's method `decode`.

    Returns:
        A PNG file for each code, and {"kind", "number"}.
    """

    def work(runtime: Runtime, found: Checkpoint, folder: Path) -> tuple[list[Path], dict[str, Any]]:
        from genarium.errors import InputError
        from genarium.tasks.explore.codes import decode_with

        if not isinstance(codes, list) or not 1 <= len(codes) <= MAX_CODES:
            raise InputError(f"codes: give a list of 1 to {MAX_CODES} codes.")
        labels = _labels(found, class_labels, len(codes))
        given = _given(found, "decode", "codes", parameters)
        pictures = runtime.call(found.name, decode_with, codes, labels, given)
        paths = []
        for i, picture in enumerate(pictures):
            paths.append(folder / f"{found.stem}-decoded-{i:02d}.png")
            picture.save(paths[-1])
        report = {"checkpoint": found.name, "kind": runtime.pipeline(found.name).code_kind, "number": len(pictures)}
        return paths, report

    return work


def _labels(found: Checkpoint, chosen: Any, number: int) -> list[int] | None:
    from genarium.runtime.request import choose_labels

    labels = choose_labels(found, chosen, number)
    return None if labels is None else list(labels)


def _given(found: Checkpoint, method: str, first: str, parameters: Any) -> dict[str, Any]:
    """Return the parameters of a method, checked as those of a task are.

    Raises:
        InputError: no mapping, an unknown parameter, or a value out of range.
    """
    from genarium.errors import InputError
    from genarium.messages import quoted

    if not isinstance(parameters, (dict, type(None))):
        raise InputError('parameters: give a mapping such as {"num_inference_steps": 20}.')
    controls = controls_of(found.family.pipeline_class(), Task(method, method=method, inputs=(first,)))
    for name in parameters or ():
        if name not in controls:
            raise InputError(f"{quoted(name)}: not a parameter here; there are {', '.join(controls) or 'none'}.")
    return {name: controls[name].check(value) for name, value in (parameters or {}).items()}


ENDPOINTS = (
    Endpoint("/encode", (File("picture"), Classes("any")), encode),
    Endpoint("/decode", (Values("codes", [], SCHEMA), Classes("any")), decode),
)
