"""Compare: one question to several checkpoints, on a page of its own."""

from genarium.tasks import Task

TASK = Task("compare", command="compare", address="compare", order=70)
