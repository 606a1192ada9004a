"""The command `reconstruct`: take pictures or recordings from files through a model and back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genarium.cli import audio_files, options
from genarium.cli.batches import choose_out, is_main, run_batches, say
from genarium.cli.options import BatchSize, Device, Dtype, Images, Invert, Name, Seed, Set

if TYPE_CHECKING:
    from genarium.runtime import Request, Runtime


def run(
    checkpoint: Name,
    images: Images,
    seed: Seed = "0",
    out: Annotated[
        Path | None,
        typer.Option(
            help=".png: inputs above, results below; .npy: uint8 [N, H, W, C]; sound: .wav, .flac, .ogg, .mp3. "
            "By default reconstructions.png or .wav."
        ),
    ] = None,
    classes: Annotated[str, typer.Option(help="Classes of the inputs, if known: names or numbers, in order.")] = "any",
    set_: Set = None,
    invert: Invert = "auto",
    batch_size: BatchSize = 64,
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Encode pictures, or recordings, with a model and decode them again."""
    from genarium.runtime.request import Request, parse_seed

    runtime = options.make_runtime(device, dtype)
    found = runtime.catalogue[checkpoint]
    out = choose_out(out, "reconstructions", found, (".png", ".npy"))
    request = Request(checkpoint, "reconstruct", parse_seed(seed), parameters=options.parameters(set_), invert=invert)
    take = {"image": _pictures, "audio": _sounds}[found.modality]
    take(runtime, request, images, out, classes, batch_size)


def _pictures(runtime: Runtime, request: Request, source: Path, out: Path, classes: str, batch_size: int) -> None:
    from dataclasses import replace

    from genarium.media.pictures import grid, load_folder, save_picture, to_pixels
    from genarium.runtime.request import choose_labels

    found = runtime.catalogue[request.checkpoint]
    pictures, _ = load_folder(source)
    request = replace(request, class_labels=choose_labels(found, options.classes(classes), len(pictures)))
    request, results, seconds = run_batches(runtime, request, len(pictures), batch_size, pictures)
    if not is_main():
        return
    inputs = [p for result in results for p in result.inputs]
    outputs = [p for result in results for p in result.pictures]
    if out.suffix.lower() == ".npy":
        options.write_array(out, to_pixels(outputs))
    else:
        columns = min(len(inputs), 16)
        rows = []
        for start in range(0, len(inputs), columns):
            blank = [inputs[0].point(lambda _: 255)] * max(0, columns - len(inputs[start : start + columns]))
            rows += inputs[start : start + columns] + blank + outputs[start : start + columns] + blank
        asked = {**request.to_dict(), "checkpoint": found.name}
        options.write(out, lambda path: save_picture(grid(rows, columns), path, asked))
    say(f"{len(outputs)} reconstructions", seconds, runtime, out)


def _sounds(runtime: Runtime, request: Request, source: Path, out: Path, classes: str, batch_size: int) -> None:
    files = audio_files.find_sounds(source)
    audio_files.make_each(runtime, request, len(files), files, out)
