"""What a model makes while it is trained, to look at and to listen to."""

from __future__ import annotations

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import send_to_device

from genarium.data.audio import AudioData
from genarium.data.images import ImageData
from genarium.files import file_errors, write_file
from genarium.media.pictures import grid, to_pictures, to_pixels
from genarium.media.sounds import save_sound
from genarium.tasks import find_tasks
from genarium.training.run_folder import RunFolder


@torch.no_grad()
def sample_grid(accelerator: Accelerator, pipeline, run: RunFolder, step: int, task: str, data: ImageData) -> None:
    """What the pipeline makes at this step, as a PNG and for TensorBoard.

    "generate": twenty samples, a class after another; "reconstruct": ten images of `data` and below them what comes back;
    "swap_style": ten contents, the styles asked for, the results, and the true drawings. Families without the task are left
    out.
    """
    if not callable(getattr(pipeline, find_tasks()[task].method, None)) or (
        task == "swap_style" and data.pairs is None
    ):
        return
    defaults = (pipeline.config.get("defaults") or {}).get(task, {})
    generators = [torch.Generator().manual_seed(i) for i in range(20)]

    def pixels(rows: torch.Tensor) -> np.ndarray:
        return data.images[rows].permute(0, 2, 3, 1).numpy()  # uint8 [10, H, W, C]

    if task == "generate":
        num_classes = len(pipeline.config.id2label or ())
        labels = [i % num_classes for i in range(20)] if num_classes else None
        images = pipeline(20, generator=generators, class_labels=labels, **defaults).images
    elif task == "reconstruct":
        inputs = pixels(torch.arange(min(10, len(data))))
        restored = pipeline.reconstruct(inputs, generator=generators[: len(inputs)], **defaults).images
        images = to_pictures(inputs) + restored
    else:
        rows = torch.linspace(0, len(data) - 1, 10).long()
        assert data.pairs is not None  # a recipe without pairs has no such samples
        partners, examples = data.pairs.draw(rows, torch.Generator().manual_seed(0))
        swapped = pipeline.swap_style(pixels(rows), pixels(examples), **defaults).images
        images = to_pictures(pixels(rows)) + to_pictures(pixels(examples)) + swapped + to_pictures(pixels(partners))
    sheet = grid(images, columns=10)
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
    """What the pipeline has to be heard at this stage, of the first clips of the data: WAV files, and for TensorBoard."""
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
