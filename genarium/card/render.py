"""The text of a card, from the recipe, the figures in evaluation.json and the pictures that are there."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import EvalResult, ModelCard, ModelCardData

from genarium import paths
from genarium.card.facts import data_in_words, data_names, needs_remote_code, recipe_yaml, training_time
from genarium.card.part import Example, HubTask, card_parts
from genarium.checkpoints import Checkpoint
from genarium.errors import CheckpointError
from genarium.evaluation.figure import figure_of, protocol_in_words
from genarium.recipe import Recipe
from genarium.tasks import Modality

TEMPLATE = "card_template.md"
LIMITATIONS = (
    "The model was trained on one small data set and generates nothing else. Its pictures have a low resolution, and some are "
    "malformed. An anomaly score compares an input with that data set only. The model is made for study and play, not for "
    "decisions."
)


def render_card(checkpoint: Checkpoint, recipe: Recipe, pipeline: Any) -> ModelCard:
    """Render the card from what is known: the recipe, the figures in evaluation.json, the pictures that are there.

    Args:
        checkpoint: whose card it is.
        recipe: the checkpoint's.
        pipeline: the loaded checkpoint, whose parameters are counted.

    Raises:
        CheckpointError: none of the checkpoint's tasks says how to use it.
    """
    modules = [c for c in pipeline.components.values() if isinstance(c, torch.nn.Module)]
    evaluation = checkpoint.evaluation
    metrics = [in_words(checkpoint.modality, metric) for metric in evaluation.get("metrics", [])]
    example = example_of(checkpoint)
    shown = [(part.heading, part.show(checkpoint.folder)) for part in card_parts(checkpoint)]
    return ModelCard.from_template(
        card_data(checkpoint, recipe, metrics, example.hub_task),
        template_path=str(_template()),
        name=checkpoint.name,
        summary=recipe.card.summary or f"A {checkpoint.family.title} trained on {recipe.data.name}.",
        top=[text for heading, text in shown if text and not heading],
        sections=[(heading, text) for heading, text in shown if text and heading],
        family_title=checkpoint.family.title,
        family_description=checkpoint.family.description["en"],
        data=data_in_words(checkpoint.modality, recipe),
        classes=", ".join(checkpoint.class_names),
        conditions=[(name.capitalize(), ", ".join(names)) for name, names in checkpoint.condition_names.items()],
        parameters=f"{sum(p.numel() for m in modules for p in m.parameters()):,}",
        megabytes=f"{checkpoint.size / 1e6:.1f}",
        tasks=", ".join(task.replace("_", " ") for task in checkpoint.tasks),
        license=recipe.card.license,
        code=example.code(checkpoint, recipe),
        command=example.command(checkpoint),
        caution=example.caution,
        remote_code=needs_remote_code(checkpoint),
        metrics=metrics,
        hardware=evaluation.get("hardware", ""),
        date=evaluation.get("date", ""),
        skipped=sorted(evaluation.get("skipped", {}).items()),
        hardware_trained=recipe.card.hardware,
        time=recipe.card.time or training_time(recipe),
        recipe=recipe_yaml(recipe),
        limitations=recipe.card.limitations or LIMITATIONS,
        papers=checkpoint.family.papers,
    )


def card_data(
    checkpoint: Checkpoint, recipe: Recipe, metrics: list[dict[str, Any]], hub_task: HubTask
) -> ModelCardData:
    """Return the metadata that the Hub reads: what the checkpoint does, and its figures as measured.

    Args:
        checkpoint: whose card it is.
        recipe: the checkpoint's.
        metrics: its figures, `in_words`.
        hub_task: what it does.
    """
    names = data_names(recipe)
    results = [
        EvalResult(
            task_type=hub_task.pipeline_tag,
            task_name=hub_task.title,
            dataset_type=names[0],
            dataset_name=", ".join(name.split("/")[-1] for name in names),
            dataset_config=getattr(recipe.data, "config", None),
            dataset_split=recipe.data.test_split,
            metric_type=m["name"],
            metric_name=m["title"],
            metric_value=m["value"],
            metric_args={"n": m["n"], "seed": m["seed"], "protocol": m["protocol"]},
        )
        for m in metrics
    ]
    return ModelCardData(
        license=recipe.card.license,
        library_name="diffusers",
        pipeline_tag=hub_task.pipeline_tag,
        tags=["genarium", checkpoint.family.name, hub_task.tag],
        datasets=list(names),
        model_name=checkpoint.name,
        eval_results=results or None,
    )


def example_of(checkpoint: Checkpoint) -> Example:
    """Return how to use a checkpoint: the example of its first task that has one.

    Raises:
        CheckpointError: none of its tasks has one.
    """
    for part in card_parts(checkpoint):
        if part.example is not None:
            return part.example
    raise CheckpointError(
        f"{checkpoint.name}: none of its tasks ({', '.join(checkpoint.tasks) or 'it has none'}) declares an example for the "
        "card. Add one to the part `card` of a task."
    )


def in_words(modality: Modality, metric: Mapping[str, Any]) -> dict[str, Any]:
    """Return a metric with its `title`, its value and unit as `shown`, and its protocol, as a person reads them."""
    unit = f" {metric['unit']}" if metric.get("unit") else ""
    return {
        **metric,
        "title": figure_of(modality, metric).title_of(metric),
        "shown": f"{metric['value']:.4g}{unit}",
        "protocol": protocol_in_words(metric["protocol"]).replace("|", "/"),
    }


def _template() -> Path:
    """Return the template beside the recipes, or else the one that comes with Genarium."""
    *others, last = (folder / TEMPLATE for folder in paths.card_templates())
    return next((own for own in others if own.exists()), last)
