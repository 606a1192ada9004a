"""The view of the samples alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from genarium.tasks.lab.distance import POINTS
from genarium.tasks.lab.views.scene import Drawing, Moment, Scene, View

MOST_MOMENTS = 60


class Samples(View):
    """Samples over data; afterwards, how they come about: the estimate of the clean samples at each step of the sampler."""

    name = "samples"

    def moments(self, scene: Scene, samples: np.ndarray) -> Iterator[Moment]:
        """Return the estimates that the pipeline reports on its way, and then the samples."""
        estimates: list[tuple[str, np.ndarray]] = []

        def keep(pipeline: Any, step: int, timestep: Any, values: dict[str, Any]) -> None:
            points = scene.plane.to_points(values["pred_original_sample"]).numpy()
            estimates.append((f"{step + 1} / {values['num_timesteps']}", points))

        scene.plane.sample(POINTS, scene.generator(), keep)
        chosen = np.unique(np.linspace(0, len(estimates) - 1, min(len(estimates), MOST_MOMENTS)).round().astype(int))
        several = [estimates[i] for i in chosen] if len(estimates) > 1 else []
        for i, (label, points) in enumerate(several):
            yield Moment(Drawing(), i / len(several), label, points)
        yield Moment(Drawing(), 1.0, several[-1][0] if several else "", samples)
