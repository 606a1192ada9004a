"""The command `generate`: draw samples into files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genarium.cli import audio_files, options
from genarium.cli.batches import choose_out, is_main, run_batches, say
from genarium.cli.options import BatchSize, Classes, Device, Dtype, Name, Seed, Set
from genarium.errors import InputError

if TYPE_CHECKING:
    from genarium.runtime import Request, Runtime


def run(
    checkpoint: Name,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="How many images.")] = 16,
    seed: Seed = "0",
    out: Annotated[
        Path | None,
        typer.Option(
            help=".npy: uint8 [N, H, W, C]; .png: a grid with the request in its metadata; sound: .wav, .flac, .ogg or .mp3, "
            "numbered. By default samples.npy or .wav."
        ),
    ] = None,
    classes: Classes = "cycle",
    labels: Annotated[bool, typer.Option("--labels", help="Also write the classes, as NAME.labels.npy.")] = False,
    set_: Set = None,
    batch_size: BatchSize = 64,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Generate images with a model. Processes that torchrun starts share the batches, and write the same file as one process."""
    from genarium.runtime.request import Request, choose_labels, parse_seed

    runtime = options.make_runtime(device, dtype)
    found = runtime.catalogue[checkpoint]
    out = choose_out(out, "samples", found, (".npy", ".png"))
    class_labels = choose_labels(found, options.classes(classes), n)
    if labels and class_labels is None:
        raise InputError("--labels: there are none to write; the model has no classes, or chooses them itself.")
    request = Request(checkpoint, "generate", parse_seed(seed), n, class_labels, options.parameters(set_))
    draw = {"image": _draw_pictures, "audio": _draw_sounds}[found.modality]
    draw(runtime, request, out, classes == "cycle", labels, batch_size)


def _draw_pictures(
    runtime: Runtime, request: Request, out: Path, each_class: bool, labels: bool, batch_size: int
) -> None:
    import numpy as np

    from genarium.media.pictures import grid, save_picture, to_pictures, to_pixels

    n, found, class_labels = request.batch_size, runtime.catalogue[request.checkpoint], request.class_labels
    request, parts, seconds = run_batches(
        runtime, request, n, batch_size, keep=lambda result: to_pixels(result.pictures)
    )
    if not is_main():
        return
    pixels = np.concatenate(parts)  # uint8 [N, H, W, C]
    if out.suffix.lower() == ".png":
        columns = len(found.class_names) if each_class and 1 < len(found.class_names) <= 20 else None
        sheet = grid(to_pictures(pixels), min(columns, n) if columns else None)
        asked = {**request.to_dict(), "checkpoint": found.name}
        options.write(out, lambda path: save_picture(sheet, path, asked))
    else:
        options.write_array(out, pixels)
    if labels:
        options.write_array(out.with_suffix(".labels.npy"), np.array(class_labels, np.int64))
    say(f"{n} images", seconds, runtime, out)


def _draw_sounds(
    runtime: Runtime, request: Request, out: Path, each_class: bool, labels: bool, batch_size: int
) -> None:
    audio_files.make_each(runtime, request, request.batch_size, None, out)
