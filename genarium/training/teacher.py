"""Images that a finished checkpoint draws for a student to learn from, each with the seed that drew it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genarium.catalogue import find_checkpoints
from genarium.data.images import ImageData
from genarium.errors import GenariumError, RecipeError
from genarium.families import discover
from genarium.files import write_array, write_json
from genarium.parallel import join, map_batches
from genarium.recipe import Recipe, TeacherSpec
from genarium.runtime import Runtime
from genarium.runtime.request import Request, choose_labels
from genarium.tasks import drawing_task

BATCHES_A_FILE = 16  # what a kill can cost


def load_teacher(spec: TeacherSpec, device: torch.device) -> Runtime:
    """Return a runtime that can load the teacher, in the device's best precision.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    runtime = Runtime(find_checkpoints(discover()), device=device)
    runtime.catalogue[spec.checkpoint]  # said at once, not after the data are loaded
    return runtime


def teacher_images(spec: TeacherSpec, runtime: Runtime, folder: Path) -> ImageData:
    """Return the teacher's images, from the folder as far as they are there; the rest is drawn by all processes together.

    Args:
        spec: which teacher, how many images, how they are drawn.
        runtime: loads the teacher.
        folder: of the finished parts; a killed run goes on with the next.

    Returns:
        The images with their labels (-1: drawn without class) and seeds.

    Raises:
        GenariumError: the folder holds images that were drawn otherwise.
        InputError: a parameter that the teacher does not take.
    """
    checkpoint = runtime.catalogue[spec.checkpoint]
    request = Request(checkpoint.name, drawing_task().name, spec.seed, parameters=spec.parameters).checked(checkpoint)
    facts = json.loads(json.dumps({**asdict(spec), "parameters": dict(request.parameters)}))
    described = folder / "teacher.json"
    if described.exists() and _read(described) != facts:
        raise GenariumError(
            f"{folder} holds images drawn otherwise than training.teacher says now. Put the recipe back, or begin anew "
            "with --fresh."
        )
    join().wait_for_everyone()  # nobody looks for the file after the main process wrote it
    if join().is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(described, facts)
    cycle = choose_labels(checkpoint, "cycle", spec.images)
    labels = None if cycle is None else torch.tensor(cycle)
    if labels is not None:
        batch = torch.arange(spec.images) // spec.batch_size
        unlabelled = ((batch + 1) * spec.unlabelled).floor() > (batch * spec.unlabelled).floor()
        labels = torch.where(unlabelled, -1, labels)  # [images], whole batches: a call is with classes or without

    images = []
    size = BATCHES_A_FILE * spec.batch_size
    for start in range(0, spec.images, size):
        path = folder / f"{start:07d}.npy"
        number = min(size, spec.images - start)
        if not path.exists():
            compute = _drawing(runtime, request, labels, start)
            about = f"{spec.checkpoint} draws {start} to {start + number} of {spec.images}"
            pixels = torch.cat(map_batches(compute, number, spec.batch_size, about))
            if join().is_main_process:
                write_array(path, pixels.numpy())
            join().wait_for_everyone()
        try:
            images.append(torch.from_numpy(np.load(path)))
        except (OSError, ValueError, EOFError) as error:
            raise GenariumError(
                f"{path}: the teacher's images are damaged. Delete this file, or begin anew with --fresh."
            ) from error
    names = {str(i): name for i, name in enumerate(checkpoint.class_names)} or None
    seeds = spec.seed + torch.arange(spec.images)
    return ImageData(torch.cat(images), labels, names, seeds=seeds)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:  # damaged, so nobody knows how they were drawn
        return None


def _drawing(runtime: Runtime, request: Request, labels: torch.Tensor | None, offset: int) -> Callable:
    def compute(start: int, stop: int, advance: Callable[[float], None]) -> torch.Tensor:
        start, stop = offset + start, offset + stop
        asked = None if labels is None or labels[start] < 0 else labels[start:stop].tolist()
        draw = getattr(runtime.pipeline(request.checkpoint), drawing_task().method)
        output = draw(
            batch_size=stop - start,
            generator=request.generators(start, stop),
            class_labels=asked,
            callback_on_step_end=lambda pipe, step, t, values: advance((step + 1) / values["num_timesteps"]),
            output_type="pt",
            **request.parameters,
        )
        return (output.images * 255).round().to(torch.uint8)  # [B, C, H, W]

    return compute


def take_from_teacher(recipe: Recipe, pipeline, teacher) -> None:
    """Give a student what it begins with, such as weights, from its teacher.

    Raises:
        RecipeError: the family has no students, or the two do not fit.
    """
    if not hasattr(pipeline, "learn_from"):
        raise RecipeError(f"{recipe.name}: training.teacher: the family {recipe.family} has no method learn_from.")
    try:
        pipeline.learn_from(teacher)
    except ValueError as error:
        raise RecipeError(f"{recipe.name}: training.teacher: {error}") from error
