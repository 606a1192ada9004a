"""Check: verdicts on many pictures at once, and the threshold that decides them, on a page of its own."""

from genarium.tasks import Task, has_method, modality_of


def scores_pictures(pipeline_class: type) -> bool:
    """Return whether pipelines of this class measure how strange a picture is."""
    return modality_of(pipeline_class) == "image" and has_method(pipeline_class, "anomaly_score")


TASK = Task("check", command="calibrate", address="check", order=55, fits=scores_pictures)
