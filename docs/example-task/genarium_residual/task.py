"""Residual: the difference between a picture and its reconstruction."""

from genarium.tasks import Task

TASK = Task(
    "residual",
    method="reconstruct",
    inputs=("images",),
    endpoint="/residual",
    command="residual",
    order=60,
)
