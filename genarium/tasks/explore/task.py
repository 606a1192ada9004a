"""Explore: look inside the code of a model, on a page of its own."""

from genarium.tasks import Task, has_method


def has_code(pipeline_class: type) -> bool:
    """Return whether pictures have a code in pipelines of this class, and codes a picture."""
    return has_method(pipeline_class, "encode") and has_method(pipeline_class, "decode")


TASK = Task("explore", command="explore", address="explore", starts_with_picture="", order=60, fits=has_code)
