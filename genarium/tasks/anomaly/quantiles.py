"""The scores of ordinary test images that a checkpoint keeps, so that a score can be read as a percentile."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genarium.checkpoints import Checkpoint

CLASS_GIVEN = ", class given"  # ends the key of quantiles of scores that are conditional on each image's own class
EARLIER_CLASS_GIVEN = ", class told"  # the same, as earlier versions wrote it into checkpoints


def stored_quantiles(
    checkpoint: Checkpoint, parameters: Mapping[str, Any], class_given: bool = False
) -> list[float] | None:
    """Return the 201 quantiles of ordinary test images' scores for these anomaly parameters, if they are stored.

    Args:
        checkpoint: whose scores they are.
        parameters: of the anomaly task.
        class_given: whether the scores are conditional on each image's own class.
    """
    if class_given and "class_weight" in parameters:
        usual = checkpoint.controls("anomaly")["class_weight"].default
        if parameters["class_weight"] != usual:  # another scale than that of what is stored
            return None
    stored = checkpoint.index.get("anomaly_quantiles") or {}
    key = quantiles_key(parameters.get("score", "default"), class_given)
    return stored.get(key) or stored.get(key.replace(CLASS_GIVEN, EARLIER_CLASS_GIVEN))


def quantiles_key(score: Any, class_given: bool = False) -> str:
    """Return the key under which `anomaly_quantiles` holds the quantiles of a score.

    Args:
        score: the value of the method's parameter `score`, "default" if it has none.
        class_given: whether the scores are conditional on each image's own class.
    """
    return f"{score}{CLASS_GIVEN}" if class_given else str(score)
