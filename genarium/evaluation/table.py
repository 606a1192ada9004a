"""The known-answer table: all evaluated checkpoints side by side, a table for each data set, from what `evaluate` wrote.

Nothing is measured here. What the files do not say is read off the checkpoint: the number of parameters, and for old
evaluations how often an image passes through the network.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from genarium.card import training_time
from genarium.checkpoints import Checkpoint
from genarium.evaluation.evaluate import measurable
from genarium.evaluation.images import TIMED_IMAGES
from genarium.evaluation.voices import PARTS as VOICE_PARTS
from genarium.recipe import Recipe
from genarium.requests import Request, choose_labels
from genarium.runtime import Runtime
from genarium.tasks import has_method

COMMAND = "python -m genarium evaluate --all --table"
NOTHING = "–"
COLUMNS = (
    "checkpoint",
    "family",
    "parameters",
    "training time",
    "images seen",
    "Fréchet distance",
    "precision",
    "recall",
    "reconstruction",
    "bits/dim",
    "AUROC, other data",
    "AUROC, noise",
    f"{TIMED_IMAGES} images",
    "network evaluations",
)


def lacking(checkpoint: Checkpoint) -> list[str]:
    """The parts of an evaluation that this checkpoint's family can do and that its evaluation.json has no figure of."""
    measured = {metric["part"] for metric in checkpoint.evaluation.get("metrics", [])}
    pipeline_class = checkpoint.family.pipeline_class()
    if checkpoint.modality == "audio":
        known = [part for part, method in VOICE_PARTS.items() if has_method(pipeline_class, method)]
    else:
        known = measurable(pipeline_class, checkpoint.recipe)
    return [part for part in known if part not in measured]


def images_seen(recipe: Recipe) -> int:
    """Images that the training looked at, over all stages, each as often as it was seen."""
    training = recipe.training
    return training.images or sum(stage.images for stage in training.stages)


@dataclass(frozen=True)
class Row:
    """One checkpoint: `cells` as COLUMNS have them, and the words on how it was measured."""

    data: str
    distance: float
    cells: tuple[str, ...]
    protocols: tuple[str, ...]


def make_row(checkpoint: Checkpoint, recipe: Recipe, parameters: int, evaluations: float) -> Row:
    """A row from the checkpoint's evaluation.json.

    Args:
        parameters: of its networks.
        evaluations: passes through the network for an image at the default setting, 0 if they cannot be counted.
    """
    metrics = checkpoint.evaluation.get("metrics", [])

    def find(name: str, **wanted: Any) -> Mapping[str, Any]:
        found = [m for m in metrics if m["name"] == name and all(m.get(k) == v for k, v in wanted.items())]
        return found[0] if found else {}

    def shown(metric: Mapping[str, Any], form: str, factor: float = 1.0) -> str:
        return form.format(metric["value"] * factor) if metric else NOTHING

    distance = find("frechet_distance") or find("fid")
    controls = checkpoint.controls("anomaly") if "anomaly" in checkpoint.tasks else {}
    score = str(controls["score"].default) if "score" in controls else "default"
    cells = (
        f"`{checkpoint.name}`",
        checkpoint.family.title,
        f"{parameters / 1e6:.2f} M",
        (recipe.card.time or training_time(recipe)).split(",")[0] or NOTHING,
        f"{images_seen(recipe) / 1e3:.0f} k",
        shown(distance, "{:.0f}") + (" (FID)" if distance.get("name") == "fid" else ""),
        shown(find("precision", features=distance.get("features")), "{:.2f}"),
        shown(find("recall", features=distance.get("features")), "{:.2f}"),
        shown(find("psnr"), "{:.1f} dB"),
        shown(find("bits_per_dim"), "{:.2f}"),
        shown(find("auroc_other_data", score=score), "{:.3f}"),
        shown(find("auroc_noise", score=score), "{:.3f}"),
        shown(find("seconds_per_image"), "{:.2g} s", TIMED_IMAGES),
        f"{evaluations:.4g}" if evaluations else NOTHING,
    )
    told = (
        distance,
        find("psnr"),
        find("bits_per_dim"),
        find("auroc_other_data", score=score),
        find("seconds_per_image"),
    )
    protocols = tuple(f"{metric['name']}: {metric['protocol']}" for metric in told if metric)
    return Row(recipe.data.name, distance.get("value", float("inf")), cells, protocols)


def render(rows: list[Row], floors: Mapping[str, float]) -> str:
    """The document.

    Args:
        floors: data set -> Fréchet distance of other real images, where one was measured.
    """
    lines = [
        "# All families side by side",
        "",
        f"Made by `{COMMAND}`, never typed: every figure is the one in the",
        "checkpoint's `evaluation.json`, which holds its n, seed and protocol. The best by Fréchet distance comes first.",
        "Figures measured with another n or on another machine are not comparable to the last digit; what",
        f"is not defined for a family, or not measured, shows {NOTHING}.",
        "",
        "- *Fréchet distance*, precision and recall: of the default setting's samples against test images; between",
        "  EfficientNet-Lite0 features, so no FID, unless it says FID.",
        "- *Reconstruction*: PSNR of test images taken through the model. A family that inverts a flow in pixels comes back",
        "  almost exactly; one that goes through a small latent space cannot.",
        "- *bits/dim*: where the family has a likelihood of pixels, exact or a bound.",
        "- *AUROC*: the chance that a strange image scores higher than an ordinary test image, by the default score.",
        f"- *{TIMED_IMAGES} images*: seconds at the default setting, warm.",
        "- *Network evaluations*: samples sent through the network for an image; guidance counts twice.",
    ]
    sets = sorted({row.data for row in rows}, key=lambda data: (-sum(row.data == data for row in rows), data))
    for data in sets:
        of_data = sorted((row for row in rows if row.data == data), key=lambda row: (row.distance, row.cells))
        lines += ["", f"## {data}", ""]
        if data in floors:
            lines += [f"Other real images get a Fréchet distance of {floors[data]:.0f}.", ""]
        lines += ["| " + " | ".join(COLUMNS) + " |", "|---" * len(COLUMNS) + "|"]
        lines += ["| " + " | ".join(cell.replace("|", "/") for cell in row.cells) + " |" for row in of_data]
        lines += ["", "How it was measured:", ""]
        for row in of_data:
            lines += [f"- {row.cells[0]}", *(f"  - {protocol}" for protocol in row.protocols)]
    return "\n".join(lines) + "\n"


def write_table(runtime: Runtime, path: Path) -> int:
    """Write the document of all checkpoints that have figures and a recipe.

    Args:
        runtime: its catalogue is what is told; it loads each to count its parameters.
        path: of the document.

    Returns:
        The number of checkpoints in it.

    Raises:
        GenariumError: a checkpoint cannot be loaded; nothing is written.
    """
    rows, floors = [], {}
    for name, checkpoint in runtime.catalogue.checkpoints.items():
        metrics = checkpoint.evaluation.get("metrics", [])
        if not metrics or checkpoint.recipe is None or checkpoint.modality == "audio":
            continue  # the columns are of pictures
        modules = [m for m in runtime.pipeline(name).components.values() if isinstance(m, nn.Module)]
        parameters = sum(p.numel() for module in modules for p in module.parameters())
        known = [m["value"] for m in metrics if m["name"] == "network_evaluations"]
        rows.append(make_row(checkpoint, checkpoint.recipe, parameters, known[0] if known else _count(runtime, name)))
        for metric in metrics:
            if metric["name"] == "frechet_distance_of_real":
                floors[checkpoint.recipe.data.name] = metric["value"]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.part{os.getpid()}")
    temporary.write_text(render(rows, floors), encoding="utf-8")
    os.replace(temporary, path)
    return len(rows)


def _count(runtime: Runtime, name: str) -> float:
    """Passes through the network of one image, drawn for this; the number depends on nothing but the setting."""
    checkpoint = runtime.catalogue[name]
    if "generate" not in checkpoint.tasks:
        return 0.0
    return runtime.run(Request(name, "generate", class_labels=choose_labels(checkpoint, "cycle", 1))).evaluations
