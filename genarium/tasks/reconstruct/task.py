"""Reconstruct: take an image or a recording through a model and back."""

from genarium.tasks import Task

TASK = Task(
    "reconstruct",
    method="reconstruct",
    inputs=("images",),
    endpoint="/reconstruct",
    command="reconstruct",
    order=20,
)
