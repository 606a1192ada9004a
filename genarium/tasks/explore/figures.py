"""The map of the codes, which `evaluate` stores with the checkpoint, and how much of the codes' variance it shows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from genarium.errors import NotMeasurableError
from genarium.evaluation.figure import Figure, Metric, Part
from genarium.evaluation.images import ImageEvaluation
from genarium.parallel import join
from genarium.tasks.explore.making import NUM_PICTURES, make_map
from genarium.tasks.explore.mapping import FILE, CodeMap

SLOW_PICTURES = 400  # on the map of a code that is found step by step

MAP_SHARE = Figure(
    "map_share",
    "Variance shown by the map of codes",
    "share of the variance of the codes of {n} images of {test} that lies in the plane of the map, kind of code {kind}, 1 is all",
)


def measure(evaluation: ImageEvaluation) -> list[Metric]:
    """Store the map of the codes of test images as explore.npz, and measure the share of their variance that it shows."""
    code_map = map_of(evaluation)
    if join().is_main_process:
        code_map.save(evaluation.checkpoint.folder / FILE)
    facts = {"test": evaluation.test_name, "kind": code_map.kind}
    return [evaluation.metric(MAP_SHARE, code_map.share, len(code_map), facts)]


def map_of(evaluation: ImageEvaluation, number: int = NUM_PICTURES) -> CodeMap:
    """Return the map of the codes of test images.

    Raises:
        NotMeasurableError: the code is found step by step along an ODE, as noise that generates the picture.
    """
    pipeline = evaluation.pipeline
    images = evaluation.test_images(number)
    steps = _takes_steps(pipeline, images[:1])
    if steps and pipeline.code_kind != "noise":  # such as an inversion by gradients
        images = images[:SLOW_PICTURES]
    if steps and pipeline.code_kind == "noise":
        raise NotMeasurableError(
            "its codes are white noise by construction, in which no direction shows more than another; there is no map"
        )
    batches = evaluation.map_images("encode", images, {}, "codes of test images")
    codes = [code for batch in batches for code in batch] if isinstance(batches[0], list) else torch.cat(batches)
    labels, names = _labels(evaluation, len(images))
    vectors = getattr(pipeline, "code_vectors", None)
    pixels = images.permute(0, 2, 3, 1).numpy()
    vectors = None if vectors is None else vectors.float().cpu().numpy()
    return make_map(pipeline.code_kind, codes, pixels, labels, names, vectors)


def _takes_steps(pipeline: Any, images: torch.Tensor) -> bool:
    """Return whether encoding reports steps."""
    steps: list[int] = []
    try:
        pipeline.encode(images.permute(0, 2, 3, 1).numpy(), callback_on_step_end=lambda *step: steps.append(1))
    except TypeError:  # it takes no callback
        return False
    return bool(steps)


def _labels(evaluation: ImageEvaluation, number: int) -> tuple[np.ndarray | None, list[str]]:
    """Return what the map is coloured by: the classes, or else the first condition that the data have."""
    test, rows = evaluation.test, evaluation.order[:number]
    if test.labels is not None and test.id2label:
        return test.labels[rows].numpy(), [test.id2label[key] for key in sorted(test.id2label, key=int)]
    for name, values in test.conditions.items():
        names = test.condition_names[name]
        return values[rows].numpy(), [names[key] for key in sorted(names, key=int)]
    return None, []


PARTS = (Part("explore", "image", "encode", (MAP_SHARE,), measure),)
