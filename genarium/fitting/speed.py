"""How fast a recipe trains on this machine, measured on its first steps."""

from __future__ import annotations

import contextlib
import dataclasses
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from genarium.data.images import ImageData
from genarium.families import Family
from genarium.recipe import Recipe
from genarium.training.loop import train

WARM_UP = 2  # steps that are not counted: memory is taken and kernels are chosen
STEPS = 6  # that are counted of each stage
MOST_STEPS = 200  # of a training in one piece, within ...
SECONDS = 4.0


class _Enough(Exception):
    """The trial has seen enough."""


def measure(recipe: Recipe, family: Family, data: ImageData, folder: Path, seconds: float = SECONDS) -> list[float]:
    """Return how many images per second each stage learns, or the whole training, by a trial of its first steps.

    What the trial writes is deleted.

    Args:
        recipe: whose number of images does not matter here.
        family: brings the pipeline class.
        data: of the training split.
        folder: of the trial's files, which is there.
        seconds: for a training in one piece; of each stage a few steps are done, however long they take.

    Raises:
        RecipeError: the recipe cannot be trained.
        GenariumError: the loss is not finite.
    """
    spec = recipe.training
    quiet: dict[str, Any] = {"save_every": 10**9, "sample_every": 10**9}
    number = WARM_UP + STEPS
    if spec.stages:
        own = [spec.of_stage(stage) for stage in spec.stages]
        stages = [
            dataclasses.replace(stage, images=number * one.batch_size, **quiet)
            for stage, one in zip(spec.stages, own, strict=True)
        ]
        trial, sizes = dataclasses.replace(spec, stages=tuple(stages)), [one.batch_size for one in own]
    else:
        number = MOST_STEPS
        trial, sizes = dataclasses.replace(spec, images=number * spec.batch_size, **quiet), [spec.batch_size]
    moments: dict[int, float] = {}
    began = time.monotonic()

    def on_step(step: int, loss: float) -> None:
        moments[step] = time.monotonic()
        late = not spec.stages and step >= WARM_UP + 2 and moments[step] - began > seconds
        if late or step == number * len(sizes):
            raise _Enough

    with tempfile.TemporaryDirectory(prefix="trial-", dir=folder) as place, contextlib.suppress(_Enough):
        train(
            dataclasses.replace(recipe, training=trial),
            family,
            data=data,
            run_folder=Path(place) / "run",
            output=Path(place) / "checkpoint",
            on_step=on_step,
        )
    speeds = []
    for stage, size in enumerate(sizes):
        first = stage * number
        steps = [n for n in moments if first + WARM_UP < n <= first + number]
        speeds.append(size / statistics.median(moments[n] - moments[n - 1] for n in steps))
    return speeds
