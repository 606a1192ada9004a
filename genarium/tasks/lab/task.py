"""Lab: watch a family learn data in the plane, on a page of its own."""

from genarium.tasks import Task

TASK = Task("lab", command="lab", address="lab", order=80, fits=lambda pipeline_class: False)
