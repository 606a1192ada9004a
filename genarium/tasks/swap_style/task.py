"""Swap style: keep the content of one input, take the style or voice of another."""

from genarium.tasks import Task

TASK = Task(
    "swap_style",
    method="swap_style",
    inputs=("content", "style"),
    endpoint="/swap_style",
    command="swap",
    order=40,
    learns_from_pairs=True,
)
