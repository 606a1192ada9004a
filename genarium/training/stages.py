"""The parts of a training: its stages in order, or the one piece it is trained in."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

from genarium.errors import RecipeError
from genarium.recipe import Recipe, StageSpec, TrainingSpec
from genarium.training.samples import sampled_task


@dataclass(frozen=True)
class Part:
    """One stage, or the whole of a training in one piece.

    `spec` is the training section as it is for this part; `first` is the step of the run at which it begins.
    """

    index: int
    stage: StageSpec | None
    spec: TrainingSpec
    first: int

    @property
    def name(self) -> str | None:
        return None if self.stage is None else self.stage.name

    @property
    def num_steps(self) -> int:
        assert self.spec.images is not None  # a part is one piece
        return math.ceil(self.spec.images / self.spec.batch_size)

    @property
    def end(self) -> int:
        """The step of the run at which the part is done."""
        return self.first + self.num_steps

    def without_compiling(self) -> Part:
        return dataclasses.replace(self, spec=dataclasses.replace(self.spec, compile=False))


def plan(recipe: Recipe, pipeline, num_processes: int = 1) -> list[Part]:
    """Return the parts of a training in order; none for a family without a loss, which is fitted only.

    Raises:
        RecipeError: stages for a family that has none, an unknown one, none for a family that needs them, or a batch that
            does not divide among the processes.
    """
    parts, first = [], 0
    for index, (stage, spec) in enumerate(_sections(recipe, pipeline)):
        if spec.batch_size % num_processes:
            raise RecipeError(f"training.batch_size {spec.batch_size} does not divide among {num_processes} processes.")
        parts.append(Part(index, stage, spec, first))
        first = parts[-1].end
    return parts


def _sections(recipe: Recipe, pipeline) -> list[tuple[StageSpec | None, TrainingSpec]]:
    spec, staged = recipe.training, hasattr(pipeline, "trainable")
    if not hasattr(pipeline, "loss"):
        if spec.stages:
            raise RecipeError(f"{recipe.name}: training.stages: the family {recipe.family} is fitted and has no steps.")
        return []
    if not spec.stages and not staged:
        return [(None, spec)]
    if not staged:
        raise RecipeError(f"{recipe.name}: training.stages: the family {recipe.family} is trained in one piece.")
    if not spec.stages:
        raise RecipeError(
            f"{recipe.name}: the family {recipe.family} is trained in stages; name them, training.stages."
        )
    for stage in spec.stages:
        try:
            pipeline.trainable(stage.name)
            sampled_task(type(pipeline), stage.samples)
        except (ValueError, RecipeError) as error:
            raise RecipeError(f"{recipe.name}: training.stages: {error}") from error
    return [(stage, spec.of_stage(stage)) for stage in spec.stages]
