"""Anomaly: measure how strange a model finds an image or a recording."""

from genarium.tasks import Task

TASK = Task(
    "anomaly",
    method="anomaly_score",
    inputs=("images",),
    endpoint="/anomaly_score",
    command="anomaly",
    order=50,
)
