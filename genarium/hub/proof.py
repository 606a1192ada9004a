"""Proof that a folder is complete: with diffusers alone it loads and computes the same as here, bit for bit."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch

from genarium.checkpoints import Checkpoint, load_pipeline
from genarium.errors import CheckpointError
from genarium.hub import bare
from genarium.hub.proof_call import DEFAULT, Proof
from genarium.media.sounds import LEVEL
from genarium.tasks import Modality

SEEDS = (3, 5)
FEW = {"num_inference_steps": 4, "num_frames": 3}  # at most: the proof is about code and weights, not about quality
SECONDS = 600
SOUND_SECONDS = 2


def prove(checkpoint: Checkpoint) -> list[str]:
    """Load the checkpoint's folder in a bare diffusers, do each of its tasks once, and compare with the installed class.

    Both run on the CPU in float32 with the same number of threads, because these change the last bits of sums. A checkpoint
    that consists of diffusers' own parts names a stock pipeline. That pipeline is proved then, without trust_remote_code,
    and it only generates.

    Args:
        checkpoint: a folder as it will be published.

    Returns:
        The names of the tasks that were compared.

    Raises:
        CheckpointError: it does not load or work there, or computes something else. The message says why.
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
    tasks = [call for name in checkpoint.tasks if (call := task_call(checkpoint, name))]
    material = MATERIAL[checkpoint.modality](pipeline)
    if not remote_code:
        stock = getattr(diffusers, class_name)
        pipeline = stock(**{name: pipeline.components[name] for name in stock._get_signature_keys(stock)[0]})
        tasks = [_stock_call(call) for call in tasks if call["method"] == "__call__"]
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
            f"{checkpoint.name}: the bare diffusers loaded its class from {module}, not from the folder."
        )
    different = [name for name, values in expected.items() if not np.array_equal(values, results[name])]
    if different:
        raise CheckpointError(
            f"{checkpoint.name}: in a bare diffusers its {', '.join(different)} gives other numbers than here. Its files and "
            "the classes installed here differ: export it again with save_pretrained."
        )
    return list(expected)


def _pictures(pipeline: Any) -> np.ndarray:
    """Return pictures of noise, one for each seed, uint8 [N, H, W, C]."""
    size, channels = pipeline.config.sample_size, pipeline.config.channels
    return np.random.default_rng(0).integers(0, 256, (len(SEEDS), size, size, channels), np.uint8)


def _sounds(pipeline: Any) -> np.ndarray:
    """Return noise of rising and falling loudness, one sound for each seed, float32 [N, T]."""
    time = np.arange(SOUND_SECONDS * pipeline.config.sampling_rate) / pipeline.config.sampling_rate
    noise = np.random.default_rng(0).normal(size=(len(SEEDS), len(time)))
    return (LEVEL * noise * np.abs(np.sin(2 * np.pi * 2 * time))).astype(np.float32)


# Modality -> pipeline -> inputs of its tasks
MATERIAL: dict[Modality, Callable[[Any], np.ndarray]] = {"image": _pictures, "audio": _sounds}


def task_call(checkpoint: Checkpoint, name: str) -> dict[str, Any] | None:
    """Return how to do a task: with this checkpoint's own defaults, few steps, and classes if it has any.

    Returns:
        For `bare.compute`: name, method, inputs, parameters and outputs. None if the task calls no method.
    """
    task = checkpoint.tasks[name]
    if not task.method:
        return None
    module = task.part("proof")
    proof: Proof = module.PROOF if module else DEFAULT
    parameters = {key: control.default for key, control in checkpoint.controls(name).items()}
    parameters |= {key: min(parameters[key], most) for key, most in FEW.items() if key in parameters}
    if checkpoint.takes_classes(name):
        parameters["class_labels"] = [seed % len(checkpoint.class_names) for seed in SEEDS]
    parameters |= proof.parameters(len(SEEDS))
    return {
        "name": name,
        "method": task.method,
        "inputs": task.inputs,
        "parameters": parameters,
        "outputs": proof.outputs,
    }


def _stock_call(call: dict[str, Any]) -> dict[str, Any]:
    """Return the same call without the parameters that a stock pipeline does not take."""
    known = {"batch_size": len(SEEDS), "output_type": "np", "num_inference_steps": FEW["num_inference_steps"]}
    return {**call, "parameters": known}


def _run_bare(name: str, request: dict[str, Any], home: Path) -> str:
    """Run the bare process, which writes results.npz into `home`.

    Args:
        name: of the checkpoint, for messages.
        request: for `bare.main`.
        home: an empty folder, the process's working folder and cache.

    Returns:
        The module that the pipeline's class was loaded from.

    Raises:
        CheckpointError: it failed. The message holds the last line of its stderr.
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
        raise CheckpointError(f"{name}: a bare diffusers took more than {SECONDS} s for its tasks.") from error
    if run.returncode != 0:
        said = run.stderr.strip().splitlines() or [f"it ended with code {run.returncode}"]
        raise CheckpointError(
            f"{name} does not work in a bare diffusers: {said[-1].strip()} (Each of its Python files must stand alone: "
            "docs/contract.md.)"
        )
    return run.stdout.strip().splitlines()[-1]
