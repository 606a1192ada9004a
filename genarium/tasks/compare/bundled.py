"""The measured figures of checkpoints: how good, how fast, how large, how long in training."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from genarium.checkpoints import Checkpoint
from genarium.tasks.generate.figures import TIMED_IMAGES

AXES = ("seconds", "parameters", "minutes", "images")  # what the Fréchet distance can be drawn against


@dataclass(frozen=True)
class Point:
    """What is known of one checkpoint.

    Args:
        name: of the checkpoint.
        family: its title.
        data: Hub id of its training data.
        frechet: Fréchet distance of its samples.
        of_real: Fréchet distance of other real pictures, the floor; None if not measured.
        seconds: for 16 pictures; None if not measured.
        parameters: in millions.
        images: that the training saw, in thousands, of all stages; None without a recipe.
        minutes: of training, as the recipe tells them; None where it does not.
    """

    name: str
    title: Mapping[str, str]
    family: str
    data: str
    frechet: float
    of_real: float | None
    seconds: float | None
    parameters: float
    images: float | None
    minutes: float | None = None


def points(checkpoints: Mapping[str, Checkpoint]) -> list[Point]:
    """Return what was measured of the checkpoints whose samples were measured."""
    found = []
    for name, checkpoint in checkpoints.items():
        figures = figures_of(checkpoint)
        if "frechet_distance" not in figures or not checkpoint.recipe:
            continue
        each = figures.get("seconds_per_image")
        found.append(
            Point(
                name=name,
                title=checkpoint.title,
                family=checkpoint.family.title,
                data=checkpoint.recipe.data.name,
                frechet=figures["frechet_distance"],
                of_real=figures.get("frechet_distance_of_real"),
                seconds=None if each is None else TIMED_IMAGES * each,
                parameters=checkpoint.size / 2e6,  # weights are stored in two bytes each
                images=_images(checkpoint),
                minutes=minutes_of(checkpoint.recipe.card.time),
            )
        )
    return found


def figures_of(checkpoint: Checkpoint) -> dict[str, float]:
    """Return what was measured of a checkpoint, by the name of the figure; nothing where it was not evaluated."""
    return {metric["name"]: metric["value"] for metric in checkpoint.evaluation.get("metrics", ())}


def _images(checkpoint: Checkpoint) -> float | None:
    """Return how many pictures the training saw, in thousands; of all stages."""
    training = checkpoint.recipe.training if checkpoint.recipe else None
    if training is None:
        return None
    stages = [training.of_stage(stage) for stage in training.stages] or [training]
    return sum(stage.images or 0 for stage in stages) / 1000


def minutes_of(words: str) -> float | None:
    """Return the minutes of a training whose length a card tells, such as "72 minutes beside other work"; None without them."""
    found = re.match(r"([0-9.]+) (second|minute|hour)", words)
    if found is None:
        return None
    return float(found[1]) * {"second": 1 / 60, "minute": 1, "hour": 60}[found[2]]
