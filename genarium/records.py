"""The machine in words, and JSON files that are whole at every moment."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from genarium.errors import GenariumError
from genarium.files import write_text

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
