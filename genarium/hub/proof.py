"""Proof that a folder is complete: where only diffusers is, it loads and computes the same as here, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch

from genarium.checkpoints import Checkpoint, load_pipeline
from genarium.errors import CheckpointError
from genarium.hub import bare
from genarium.sounds import LEVEL

SEEDS = (3, 5)
FEW = {"num_inference_steps": 4, "num_frames": 3}  # at most: the proof is of code and weights, not of quality
SECONDS = 600
SOUND_SECONDS = 2


def prove(checkpoint: Checkpoint) -> list[str]:
    """Load the checkpoint's folder in a bare diffusers and do each of its tasks once; compare with the class installed here.

    Both on the CPU in float32, with the same number of threads, which matters to the last bits of sums. A checkpoint all of whose parts are diffusers' own names a stock pipeline: that one is proved then, without
    trust_remote_code, and it only generates.

    Returns:
        The names of the tasks that were compared.

    Raises:
        CheckpointError: it does not load or work there, or computes something else; with the reason.
    """
    class_name = checkpoint.index["_class_name"]
    remote_code = isinstance(class_name, list)
    if remote_code and not (checkpoint.folder / f"{class_name[0]}.py").exists():
        raise CheckpointError(
            f"{checkpoint.name}: {checkpoint.folder} lacks {class_name[0]}.py, without which no other program can load it. "
            "save_pretrained puts it there, and `publish` exports so."
        )
    pipeline = load_pipeline(checkpoint)
    absent = {"genarium", "pipelines", "plugins", type(pipeline).__module__.partition(".")[0]} - {"diffusers"}
    tasks = [_task(checkpoint, name) for name in checkpoint.tasks]
    material = _material(checkpoint, pipeline)
    if not remote_code:
        stock = getattr(diffusers, class_name)
        pipeline = stock(**{name: pipeline.components[name] for name in stock._get_signature_keys(stock)[0]})
        parameters = {"batch_size": len(SEEDS), "output_type": "np", "num_inference_steps": FEW["num_inference_steps"]}
        tasks = [{"name": "generate", "method": "__call__", "inputs": (), "parameters": parameters}]
    request = {
        "absent": sorted(absent),
        "threads": torch.get_num_threads(),
        "remote_code": remote_code,
        "folder": str(checkpoint.folder.resolve()),
        "seeds": SEEDS,
        "tasks": tasks,
    }
    expected = bare.compute(pipeline, request, material)
    with tempfile.TemporaryDirectory(prefix="genarium-proof-") as home:
        np.save(Path(home) / "material.npy", material)
        module = _run_bare(checkpoint.name, request, Path(home))
        with np.load(Path(home) / "results.npz") as file:
            results = dict(file)
    if not module.startswith("diffusers_modules." if remote_code else "diffusers."):
        raise CheckpointError(
            f"{checkpoint.name}: the bare diffusers took its class from {module}, not from the folder."
        )
    different = [name for name, values in expected.items() if not np.array_equal(values, results[name])]
    if different:
        raise CheckpointError(
            f"{checkpoint.name}: in a bare diffusers its {', '.join(different)} gives other numbers than here. Its files and "
            "the classes installed here differ: export it again with save_pretrained."
        )
    return list(expected)


def _material(checkpoint: Checkpoint, pipeline) -> np.ndarray:
    """As many inputs as there are seeds: pictures of noise, uint8 [N, H, W, C], or noise that swells, float32 [N, T]."""
    random = np.random.default_rng(0)
    if checkpoint.modality == "audio":
        time = np.arange(SOUND_SECONDS * pipeline.config.sampling_rate) / pipeline.config.sampling_rate
        noise = random.normal(size=(len(SEEDS), len(time)))
        return (LEVEL * noise * np.abs(np.sin(2 * np.pi * 2 * time))).astype(np.float32)
    size, channels = pipeline.config.sample_size, pipeline.config.channels
    return random.integers(0, 256, (len(SEEDS), size, size, channels), np.uint8)


def _task(checkpoint: Checkpoint, name: str) -> dict[str, Any]:
    """How to do a task: with this checkpoint's own defaults, few steps, and classes where it has any."""
    task = checkpoint.tasks[name]
    parameters = {key: control.default for key, control in checkpoint.controls(name).items()}
    parameters |= {key: min(parameters[key], most) for key, most in FEW.items() if key in parameters}
    if name == "generate":
        parameters["batch_size"] = len(SEEDS)
    if checkpoint.takes_classes(name):
        parameters["class_labels"] = [seed % len(checkpoint.class_names) for seed in SEEDS]
    if name != "anomaly":
        parameters["output_type"] = "np"
    return {"name": name, "method": task.method, "inputs": task.inputs, "parameters": parameters}


def _run_bare(name: str, request: dict[str, Any], home: Path) -> str:
    """Run the bare process, which leaves results.npz in `home` -> the module it took the pipeline's class from.

    Raises:
        CheckpointError: it failed; with the last line it said.
    """
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "HF_", "GENARIUM_"))}
    environment = kept | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(home), "HF_MODULES_CACHE": str(home / "modules")}
    try:
        run = subprocess.run(
            [sys.executable, "-P", bare.__file__],
            cwd=home,
            env=environment,
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise CheckpointError(f"{name}: a bare diffusers took more than {SECONDS} s over it.") from error
    if run.returncode != 0:
        said = run.stderr.strip().splitlines() or [f"it ended with code {run.returncode}"]
        raise CheckpointError(
            f"{name} does not work in a bare diffusers: {said[-1].strip()} (Each of its Python files must stand alone: "
            "docs/contract.md.)"
        )
    return run.stdout.strip().splitlines()[-1]
