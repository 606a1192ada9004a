"""Compare: one question to several checkpoints, on a page of its own."""

from genarium.tasks import Task, has_method, modality_of

METHODS = ("__call__", "reconstruct", "interpolate", "anomaly_score")


def is_comparable(pipeline_class: type) -> bool:
    """Return whether pipelines of this class work on pictures, in a way that others do too."""
    return modality_of(pipeline_class) == "image" and any(has_method(pipeline_class, name) for name in METHODS)


TASK = Task(
    "compare",
    command="compare",
    address="compare",
    starts_with_picture="task=reconstruct",
    order=70,
    fits=is_comparable,
)
