"""Interpolate: walk from one image or voice to another through a model."""

from genarium.tasks import Task

TASK = Task(
    "interpolate",
    method="interpolate",
    inputs=("a", "b"),
    endpoint="/interpolate",
    command="interpolate",
    order=30,
)
