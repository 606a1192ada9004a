"""The command `swap`: keep the content of one file, take the style or voice of another."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genarium.cli import audio_files, options
from genarium.cli.batches import choose_out, is_main, run_one, say
from genarium.cli.options import Device, Dtype, Invert, Name, Seed, Set

if TYPE_CHECKING:
    from genarium.runtime import Pictures, Runtime


def run(
    checkpoint: Name,
    content: Annotated[Path, typer.Option(help="The picture whose content, or the recording whose words, stay.")],
    style: Annotated[
        Path | None,
        typer.Option(help="The picture or recording whose style is taken over; not with a trained voice (--set)."),
    ] = None,
    seed: Seed = "0",
    out: Annotated[
        Path | None,
        typer.Option(help="A .png; sound: .wav, .flac, .ogg or .mp3. By default swapped.png or .wav."),
    ] = None,
    set_: Set = None,
    invert: Invert = "auto",
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Keep the content of one picture or recording, and take the style or voice of another. Use only voices that you may use."""
    from genarium.runtime.request import Request, parse_seed

    runtime = options.make_runtime(device, dtype)
    found = runtime.catalogue[checkpoint]
    out = choose_out(out, "swapped", found, options.PICTURES)
    request = Request(checkpoint, "swap_style", parse_seed(seed), parameters=options.parameters(set_), invert=invert)
    result = run_one(runtime, request, {"content": content, "style": style})
    if not is_main():
        return
    write: dict[str, Callable[..., None]] = {"image": _write_pictures, "audio": audio_files.write}
    write[found.modality](runtime, result, found.name, out)


def _write_pictures(runtime: Runtime, result: Pictures, name: str, out: Path) -> None:
    from genarium.media.pictures import grid, save_picture

    asked = {**result.request.to_dict(), "checkpoint": name}
    options.write(out, lambda path: save_picture(grid(result.pictures), path, asked))
    say("style swapped", result.seconds, runtime, out)
