"""What the parts of an evaluation share: the checkpoint, its data, seeds, and how a figure is written down."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, SupportsFloat

import torch
from torch import nn

from genarium.checkpoints import Checkpoint
from genarium.evaluation.figure import Figure, Metric
from genarium.recipe import Recipe
from genarium.runtime import Runtime
from genarium.runtime.request import Request

Features = str | nn.Module


@dataclass
class Evaluation(ABC):
    """One evaluation in progress.

    Args:
        name: of the checkpoint, as the runtime knows it: a name or a folder.
        checkpoint: which is measured.
        runtime: loads it.
        recipe: says on what data, and with which seed.
        num_samples: to generate; of sound, pairs of clips to convert.
        num_test: images or clips of the test split to use, at most.
        data_override: local data in place of the recipe's.
        network: of the Fréchet distance: a name of `features.NETWORKS`, or a module with `num_features`.
        parameters: of `__call__`, in place of defaults.
        batch_size: samples computed at once.
        cache: keeps the features of reference images between evaluations in one program.
        skipped: what could not be measured -> why. Parts add to it.
    """

    name: str
    checkpoint: Checkpoint
    runtime: Runtime
    recipe: Recipe
    num_samples: int
    num_test: int
    data_override: str | Path | None = None
    network: Features = "efficientnet-lite0"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    batch_size: int = 64
    cache: dict[Any, torch.Tensor] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    takes_parameters: ClassVar[bool] = True

    @classmethod
    @abstractmethod
    def measures(cls, recipe: Recipe) -> bool:
        """Return whether the recipe's data are of the kind that this evaluation measures on."""

    @property
    def seed(self) -> int:
        return self.recipe.evaluation.seed

    @property
    def pipeline(self) -> Any:
        return self.runtime.pipeline(self.name)

    @property
    def data_loaded(self) -> bool:
        """Whether the test split is in memory. What only decorates the card does not load it."""
        return "test" in vars(self)

    def defaults(self, task: str, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the parameters of a task as the app would send them.

        Args:
            task: its name.
            changes: parameters in place of defaults.

        Raises:
            InputError: a parameter that the task does not take, or a value out of range.
        """
        request = Request(self.checkpoint.name, task, seed=self.seed, parameters=changes or {})
        return dict(request.checked(self.checkpoint).parameters)

    def generators(self, start: int, stop: int) -> list[torch.Generator]:
        """Return one generator for each of the samples start ... stop - 1. Sample i has the seed `seed` + i."""
        return Request("", "", seed=self.seed).generators(start, stop)

    def metric(
        self, figure: Figure, value: SupportsFloat, n: int, facts: Mapping[str, object] | None = None, **more: Any
    ) -> Metric:
        """Write a figure down: its value in six digits, with the protocol filled in.

        Args:
            figure: its declaration.
            value: as measured.
            n: number of samples, images, clips or pairs that it is a figure of.
            facts: what the protocol's format string names beside {n} and {seed}.
            more: keys of the metric, such as `score` or `features`.

        Raises:
            KeyError: the protocol names a fact that is not given.
        """
        protocol = figure.protocol.format(n=n, seed=self.seed, **(facts or {}))
        found = {
            "name": figure.name,
            "value": float(f"{float(value):.6g}"),
            "n": n,
            "seed": self.seed,
            "protocol": protocol,
        }
        unit = {"unit": figure.unit} if figure.unit else {}
        return {**found, **unit, **more}
