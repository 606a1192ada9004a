"""What can be seen of a model in the plane: while it learns, and afterwards over a clock of the view's own.

A view is offered for a family whose plane has the methods that the view needs; see `genarium.tasks.lab.plane`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from genarium.tasks.lab.distance import POINTS
from genarium.tasks.lab.frame import Frame
from genarium.tasks.lab.views.samples import Samples
from genarium.tasks.lab.views.scene import Drawing, Moment, Scene, View
from genarium.tasks.lab.views.scores import Error, Langevin, Score
from genarium.tasks.lab.views.shapes import Code, Critic, Density
from genarium.tasks.lab.views.ways import Flow, Paths

if TYPE_CHECKING:
    import threading

    from genarium.tasks.lab.question import Question
    from genarium.tasks.lab.training import Trained

__all__ = ["VIEWS", "Drawing", "Moment", "Scene", "View", "show"]
VIEWS: tuple[View, ...] = (Samples(), Score(), Langevin(), Paths(), Flow(), Density(), Critic(), Code(), Error())


def show(trained: Trained, question: Question, stop: threading.Event | None = None) -> Iterator[Frame]:
    """Return the frames of a view after the training, or of the model as it was at a moment of it.

    Args:
        trained: the model, from `Training.trained`.
        question: its `view` and `options` say what to show; all else is the trained model's.
        stop: set it to end the frames.

    Raises:
        InputError: a view that the family does not have, or options that it does not take.
    """
    asked = question.checked_view(trained.info)
    view = trained.info.view(asked.view)
    samples = trained.scene.plane.sample(POINTS, trained.scene.generator()).detach().numpy()
    for moment in view.shown(trained.scene, samples, asked.options):
        if stop is not None and stop.is_set():
            return
        yield Frame(
            trained.step,
            trained.steps,
            trained.seconds,
            trained.loss,
            trained.parts,
            trained.w1,
            samples if moment.samples is None else moment.samples,
            moment.drawing.layers,
            view.name,
            moment.place,
            moment.label,
            moment.drawing.figures,
            trained.finished,
            moment.drawing.side,
        )
