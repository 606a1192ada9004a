"""The known-answer table: all evaluated checkpoints side by side, a table for each data set, from what `evaluate` wrote.

Nothing is measured here. What the files do not say is read off the checkpoint: the number of parameters, and for old
evaluations how often an image passes through the network.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import nn

from genarium.card import training_time
from genarium.checkpoints import Checkpoint
from genarium.evaluation.evaluate import measurable
from genarium.evaluation.images import TIMED_IMAGES
from genarium.evaluation.voices import PARTS as VOICE_PARTS
from genarium.recipe import Recipe
from genarium.runtime import Runtime
from genarium.runtime.request import Request, choose_labels
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
    "AUROC, one class",
    "AUROC, other data",
    "AUROC, noise",
    f"{TIMED_IMAGES} images",
    "network evaluations",
)
SWAP_COLUMNS = (
    "checkpoint",
    "style by",
    "style told right",
    "of the source",
    "of real drawings",
    "content, first of 100",
    "content, in first 5",
    "feature distance",
    "of the source",
)
VOICE_COLUMNS = (
    "checkpoint",
    "family",
    "parameters",
    "training time",
    "clips heard",
    "target nearer than source",
    "unseen speakers",
    "content kept",
    "unseen speakers",
    "mel-cepstral distortion",
    "of the source",
    "spectrogram, vocoder alone",
    "whole",
    "AUROC, noise",
    "AUROC, music",
    "real-time factor",
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
    """A line of a table: `order` sorts it, `cells` are as the table's columns, `protocols` say how it was measured."""

    data: str
    order: float
    cells: tuple[str, ...]
    protocols: tuple[str, ...]


@dataclass(frozen=True)
class _Figures:
    """The metrics of a checkpoint, to find and to show; remembers what was shown, for the protocols."""

    metrics: Iterable[Mapping[str, Any]]
    shown: list[Mapping[str, Any]] = field(default_factory=list)

    def find(self, name: str, **wanted: Any) -> Mapping[str, Any]:
        found = [m for m in self.metrics if m["name"] == name and all(m.get(k) == v for k, v in wanted.items())]
        return found[0] if found else {}

    def show(self, form: str, name: str, factor: float = 1.0, **wanted: Any) -> str:
        metric = self.find(name, **wanted)
        if not metric:
            return NOTHING
        self.shown.append(metric)
        return form.format(metric["value"] * factor)

    def protocols(self, *names: str) -> tuple[str, ...]:
        """How those of the shown figures were measured that have one of these names; all unless told."""
        wanted = [m for m in self.shown if not names or m["name"] in names]
        return tuple(dict.fromkeys(f"{m['name']}: {m['protocol']}" for m in wanted))


def _introduction(checkpoint: Checkpoint, recipe: Recipe, parameters: int) -> tuple[str, ...]:
    """The first five cells: name, family, parameters, training time, and what the training saw."""
    time = (recipe.card.time or training_time(recipe)).split(",")[0] or NOTHING
    seen = f"{images_seen(recipe) / 1e3:.0f} k"
    return f"`{checkpoint.name}`", checkpoint.family.title, f"{parameters / 1e6:.2f} M", time, seen


def make_row(checkpoint: Checkpoint, recipe: Recipe, parameters: int, evaluations: float) -> Row:
    """A row of pictures from the checkpoint's evaluation.json.

    Args:
        parameters: of its networks.
        evaluations: passes through the network for an image at the default setting, 0 if they cannot be counted.
    """
    figures = _Figures(checkpoint.evaluation.get("metrics", []))
    distance = figures.find("frechet_distance") or figures.find("fid")
    name, features = distance.get("name", "fid"), distance.get("features")
    controls = checkpoint.controls("anomaly") if "anomaly" in checkpoint.tasks else {}
    score = str(controls["score"].default) if "score" in controls else "default"
    cells = (
        *_introduction(checkpoint, recipe, parameters),
        figures.show("{:.0f}", name) + (" (FID)" if distance and name == "fid" else ""),
        figures.show("{:.2f}", "precision", features=features),
        figures.show("{:.2f}", "recall", features=features),
        figures.show("{:.1f} dB", "psnr"),
        figures.show("{:.2f}", "bits_per_dim"),
        figures.show("{:.3f}", "auroc_one_class", score=score),
        figures.show("{:.3f}", "auroc_other_data", score=score),
        figures.show("{:.3f}", "auroc_noise", score=score),
        figures.show("{:.2g} s", "seconds_per_image", TIMED_IMAGES),
        f"{evaluations:.4g}" if evaluations else NOTHING,
    )
    protocols = figures.protocols(
        name, "psnr", "bits_per_dim", "auroc_one_class", "auroc_other_data", "seconds_per_image"
    )
    return Row(recipe.data.name, distance.get("value", float("inf")), cells, protocols)


def make_swap_rows(checkpoint: Checkpoint, recipe: Recipe) -> list[Row]:
    """Rows of swapped styles, one for each way in which the style was told; none where swaps were not measured."""
    metrics = [m for m in checkpoint.evaluation.get("metrics", []) if m["part"] == "swap_style"]
    rows = []
    for how in dict.fromkeys(m["how"] for m in metrics if m["name"] == "style_accuracy"):
        figures = _Figures(metrics)
        cells = (
            f"`{checkpoint.name}`",
            how,
            figures.show("{:.0%}", "style_accuracy", how=how),
            figures.show("{:.0%}", "style_accuracy_of_source"),
            figures.show("{:.0%}", "style_accuracy_of_real"),
            figures.show("{:.0%}", "content_top1", how=how),
            figures.show("{:.0%}", "content_top5", how=how),
            figures.show("{:.2f}", "feature_distance", how=how),
            figures.show("{:.2f}", "feature_distance_of_source"),
        )
        rows.append(
            Row(recipe.data.name, -figures.find("style_accuracy", how=how)["value"], cells, figures.protocols())
        )
    return rows


def make_voice_row(checkpoint: Checkpoint, recipe: Recipe, parameters: int) -> Row:
    """A row of voices from the checkpoint's evaluation.json; `parameters` of its networks."""
    figures = _Figures(checkpoint.evaluation.get("metrics", []))
    cells = (
        *_introduction(checkpoint, recipe, parameters),
        figures.show("{:.0%}", "target_beats_source", speakers="known"),
        figures.show("{:.0%}", "target_beats_source", speakers="unseen"),
        figures.show("{:.2f}", "content_kept", speakers="known"),
        figures.show("{:.2f}", "content_kept", speakers="unseen"),
        figures.show("{:.1f} dB", "mel_cepstral_distortion"),
        figures.show("{:.1f} dB", "distortion_of_source"),
        figures.show("{:.1f} dB", "mel_distance_vocoder"),
        figures.show("{:.1f} dB", "mel_distance_whole"),
        figures.show("{:.3f}", "auroc_noise"),
        figures.show("{:.3f}", "auroc_music"),
        figures.show("{:.2g}", "real_time_factor"),
    )
    best = figures.find("target_beats_source", speakers="known")
    return Row(recipe.data.name, -best.get("value", 0.0), cells, figures.protocols())


def render(rows: list[Row], floors: Mapping[str, float], swaps: Iterable[Row] = (), voices: Iterable[Row] = ()) -> str:
    """The document.

    Args:
        rows: of pictures.
        floors: data set -> Fréchet distance of other real images, where one was measured.
        swaps: of styles of pictures.
        voices: of checkpoints of sound.
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
        "- *AUROC*: the chance that a strange image scores higher than an ordinary test image, by the default score. *One",
        "  class*: the model is told to expect a class, and images of the other classes are the strange ones; the mean over",
        "  the classes. *Other data*: digits for clothes, clothes for emoji.",
        f"- *{TIMED_IMAGES} images*: seconds at the default setting, warm.",
        "- *Network evaluations*: samples sent through the network for an image; guidance counts twice.",
    ]
    sets = sorted({row.data for row in rows}, key=lambda data: (-sum(row.data == data for row in rows), data))
    for data in sets:
        about = f"Other real images get a Fréchet distance of {floors[data]:.0f}." if data in floors else ""
        lines += _section(data, about, COLUMNS, [row for row in rows if row.data == data])
    about = (
        "Test images in another style, whose contents were not in the training, beside the true drawings in that style."
    )
    lines += _section("Swapped styles", about, SWAP_COLUMNS, swaps)
    about = "Clips said in other speakers' voices. The vocoder alone is the best that a conversion could sound like."
    lines += _section("Voices", about, VOICE_COLUMNS, voices)
    return "\n".join(lines) + "\n"


def _section(title: str, about: str, columns: tuple[str, ...], rows: Iterable[Row]) -> list[str]:
    rows = sorted(rows, key=lambda row: (row.order, row.cells))
    if not rows:
        return []
    lines = ["", f"## {title}", "", *([about, ""] if about else [])]
    lines += ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    lines += ["| " + " | ".join(cell.replace("|", "/") for cell in row.cells) + " |" for row in rows]
    lines += ["", "How it was measured:", ""]
    for row in rows:
        lines += [f"- {row.cells[0]}", *(f"  - {protocol}" for protocol in row.protocols)]
    return lines


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
    rows, swaps, voices, floors = [], [], [], {}
    for name, checkpoint in runtime.catalogue.checkpoints.items():
        metrics = checkpoint.evaluation.get("metrics", [])
        if not metrics or checkpoint.recipe is None:
            continue
        modules = [m for m in runtime.pipeline(name).components.values() if isinstance(m, nn.Module)]
        parameters = sum(p.numel() for module in modules for p in module.parameters())
        if checkpoint.modality == "audio":
            voices.append(make_voice_row(checkpoint, checkpoint.recipe, parameters))
            continue
        swaps += make_swap_rows(checkpoint, checkpoint.recipe)
        known = [m["value"] for m in metrics if m["name"] == "network_evaluations"]
        rows.append(make_row(checkpoint, checkpoint.recipe, parameters, known[0] if known else _count(runtime, name)))
        for metric in metrics:
            if metric["name"] == "frechet_distance_of_real":
                floors[checkpoint.recipe.data.name] = metric["value"]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.part{os.getpid()}")
    temporary.write_text(render(rows, floors, swaps, voices), encoding="utf-8")
    os.replace(temporary, path)
    return len(rows) + len(voices)


def _count(runtime: Runtime, name: str) -> float:
    """Passes through the network of one image, drawn for this; the number depends on nothing but the setting."""
    checkpoint = runtime.catalogue[name]
    if "generate" not in checkpoint.tasks:
        return 0.0
    return runtime.run(Request(name, "generate", class_labels=choose_labels(checkpoint, "cycle", 1))).evaluations
