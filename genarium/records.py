"""What evaluations leave behind: the machine in words, and JSON files that are whole at every moment."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from genarium.checkpoints import MODEL_INDEX, Checkpoint
from genarium.errors import GenariumError
from genarium.files import write_text
from genarium.recipe import Recipe

EVALUATION = "evaluation.json"


def hardware(device: torch.device, dtype: torch.dtype) -> str:
    """The machine in words: "AMD EPYC, 2 cores, bfloat16"."""
    precision = str(dtype).removeprefix("torch.")
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {precision}"
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model)
    except OSError:  # not Linux: the generic name will do
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, {torch.get_num_threads()} threads, {precision}"


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Write a JSON file as `files.write_file` does.

    Raises:
        GenariumError: a number is not finite.
        FileError: it cannot be written; the old file is whole.
    """
    try:
        text = json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise GenariumError(f"{path.name}: a figure is not a finite number; nothing was written.") from error
    write_text(path, text + "\n")


def write_quantiles(folder: Path, quantiles: Mapping[str, list[float]]) -> None:
    """Put {score: [201 quantiles]} into the folder's model_index.json; all else in it stays."""
    path = folder / MODEL_INDEX
    index = json.loads(path.read_text(encoding="utf-8"))
    index["anomaly_quantiles"] = dict(quantiles)
    write_json(path, dict(sorted(index.items())))


def report(
    checkpoint: Checkpoint,
    recipe: Recipe,
    metrics: Mapping[str, list[dict[str, Any]]],
    skipped: Mapping[str, str],
    machine: str,
    started: float,
) -> dict[str, Any]:
    """What evaluation.json holds.

    Args:
        metrics: of each part.
        skipped: part -> why it was not measured.
        machine: in words.
        started: `time.monotonic()` at the beginning.
    """
    return {
        "checkpoint": checkpoint.name,
        "family": checkpoint.family.name,
        "data": recipe.data.name,
        "metrics": [m for measured in metrics.values() for m in measured],
        "skipped": skipped,
        "hardware": machine,
        "seconds": round(time.monotonic() - started, 1),
        "date": datetime.now(UTC).date().isoformat(),
    }


def told(parameters: Mapping[str, Any]) -> str:
    """Parameters as a protocol names them."""
    return ", ".join(f"{name} {value}" for name, value in parameters.items()) or "no parameters"
