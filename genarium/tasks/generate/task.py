"""Generate: draw new samples from a model."""

from genarium.tasks import Task

TASK = Task("generate", method="__call__", endpoint="/generate", command="generate", order=10, draws=True)
