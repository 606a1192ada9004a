"""The command `interpolate`: write the steps from one picture or voice to another into files."""

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

FRAMES = {"image": 8}  # by default, where the family's own default would be too many to see in a strip


def run(
    checkpoint: Name,
    a: Annotated[Path, typer.Argument(help="The first picture, or the recording whose words are said.")],
    b: Annotated[Path, typer.Argument(help="The last picture, or a recording of the last voice.")],
    frames: Annotated[
        int | None, typer.Option(min=2, help="Pictures or sounds, with both ends; by default 8 pictures.")
    ] = None,
    seed: Seed = "0",
    out: Annotated[
        Path | None,
        typer.Option(
            help=".png: a strip; .gif: there and back; .npy: uint8 [N, H, W, C]; sound: .wav, .flac, .ogg or .mp3, "
            "numbered. By default interpolation.png or .wav."
        ),
    ] = None,
    set_: Set = None,
    invert: Invert = "auto",
    device: Device = None,
    dtype: Dtype = None,
) -> None:
    """Interpolate between two pictures, or two voices, with a model."""
    from genarium.runtime.request import Request, parse_seed

    runtime = options.make_runtime(device, dtype)
    found = runtime.catalogue[checkpoint]
    out = choose_out(out, "interpolation", found, (".png", ".npy", ".gif"))
    frames = frames or FRAMES.get(found.modality)
    parameters = ({} if frames is None else {"num_frames": frames}) | options.parameters(set_)
    request = Request(checkpoint, "interpolate", parse_seed(seed), parameters=parameters, invert=invert)
    result = run_one(runtime, request, {"a": a, "b": b})
    if not is_main():
        return
    write: dict[str, Callable[..., None]] = {"image": _write_pictures, "audio": audio_files.write}
    write[found.modality](runtime, result, found.name, out)


def _write_pictures(runtime: Runtime, result: Pictures, name: str, out: Path) -> None:
    from genarium.media.pictures import enlarge, grid, save_picture, to_pixels

    strip = result.pictures
    if out.suffix.lower() == ".npy":
        options.write_array(out, to_pixels(strip))
    elif out.suffix.lower() == ".gif":
        first, *rest = [enlarge(p) for p in strip + strip[-2:0:-1]]
        options.write(
            out, lambda path: first.save(path, "GIF", save_all=True, append_images=rest, duration=120, loop=0)
        )
    else:
        asked = {**result.request.to_dict(), "checkpoint": name}
        options.write(out, lambda path: save_picture(grid(strip, len(strip)), path, asked))
    say(f"{len(strip)} frames", result.seconds, runtime, out)
