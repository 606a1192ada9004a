"""What a model makes while it is trained, to look at and to listen to."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device

from genarium.data.audio import AudioData
from genarium.data.images import ImageData
from genarium.errors import RecipeError
from genarium.files import file_errors, write_file
from genarium.media.pictures import grid, to_pixels
from genarium.media.sounds import save_sound
from genarium.tasks import Task, can_do, find_tasks
from genarium.training.run_folder import RunFolder


def sampled_task(pipeline_class: type, name: str | None) -> Task | None:
    """Return the task whose results the sample grids show.

    Args:
        pipeline_class: of what is trained.
        name: of the task; None takes the first that pipelines of this class can do.

    Returns:
        The task; None if there is none.

    Raises:
        RecipeError: there is no task of this name with a samples.py.
    """
    shown = {task.name: task for task in find_tasks().values() if task.part("samples")}
    if name is None:
        return next((task for task in shown.values() if can_do(pipeline_class, task)), None)
    if name not in shown:
        raise RecipeError(f"samples: {name!r} is none of {', '.join(shown)}.")
    return shown[name] if can_do(pipeline_class, shown[name]) else None


@torch.no_grad()
def sample_grid(
    accelerator: Accelerator, pipeline, run: RunFolder, step: int, task: str | None, data: ImageData
) -> None:
    """Write a sheet of what the pipeline makes at this step, as a PNG and for TensorBoard.

    Args:
        task: whose samples.py draws the pictures, as `sampled_task`.
    """
    found = sampled_task(type(pipeline), task)
    part = found.part("samples") if found else None
    if found is None or part is None:
        return
    pictures = part.draw(pipeline, data, (pipeline.config.get("defaults") or {}).get(found.name, {}))
    if not pictures:
        return
    sheet = grid(pictures, columns=10)
    path = run.samples / f"{step:07d}.png"
    with file_errors(path):
        path.parent.mkdir(exist_ok=True)
        write_file(path, lambda part: sheet.save(part, "PNG"))
    for tracker in accelerator.trackers:
        if tracker.name == "tensorboard":
            tracker.writer.add_image("samples", to_pixels([sheet])[0], step, dataformats="HWC")


@torch.no_grad()
def sample_sounds(
    accelerator: Accelerator, pipeline, run: RunFolder, step: int, data: AudioData, stage: str | None
) -> None:
    """Write what the pipeline makes of the first clips of the data at this stage, as WAV files and for TensorBoard."""
    batch = send_to_device(data.batch(torch.arange(min(4, len(data)))), accelerator.device)
    folder = run.samples / f"{step:07d}"
    with file_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    for name, sound in pipeline.samples(batch, stage).items():
        sound = sound.float().cpu().numpy()
        save_sound(sound, data.sampling_rate, folder / f"{name}.wav")
        for tracker in accelerator.trackers:
            if tracker.name == "tensorboard":
                tracker.writer.add_audio(name, sound, step, sample_rate=data.sampling_rate)
