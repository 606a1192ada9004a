"""Train: a family on a visitor's own pictures, on a page of its own."""

from genarium.tasks import Task

TASK = Task("train", address="train", order=85, fits=lambda pipeline_class: False)
