"""Results in sound as files, for the commands of tasks that work on sound too."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from genarium.cli import options
from genarium.cli.batches import is_main, run_batches, say

if TYPE_CHECKING:
    import numpy as np

    from genarium.runtime import Request, Runtime, Sounds


def find_sounds(source: Path) -> list[Path]:
    """Return the sound files of a folder, or the one file."""
    from genarium.media import sounds

    return sounds.find_sounds(source)


def make_each(runtime: Runtime, request: Request, number: int, files: list[Path] | None, out: Path) -> None:
    """Make sounds that do not depend on each other, one for each file or drawn anew, shared among processes."""
    request, results, seconds = run_batches(runtime, request, number, 1, files)
    if is_main():
        audios = [audio for result in results for audio in result.audios]
        name = runtime.catalogue[request.checkpoint].name
        _write(audios, results[0].sampling_rate, request, name, out)
        say(f"{len(audios)} sounds", seconds, runtime, out)


def write(runtime: Runtime, result: Sounds, name: str, out: Path) -> None:
    """Write the sounds of one result, each into a file that says that it was synthesised, by which checkpoint, and how."""
    _write(result.audios, result.sampling_rate, result.request, name, out)
    length = sum(map(len, result.audios)) / result.sampling_rate
    say(f"{length:.1f} s of sound at {result.sampling_rate} Hz", result.seconds, runtime, out)


def _write(audios: list[np.ndarray], rate: int, request: Request, name: str, out: Path) -> None:
    """Write one sound to the path itself. Of several, each name gets a number."""
    from genarium.media.sounds import save_sound

    asked = {**request.to_dict(), "checkpoint": name}
    for i, audio in enumerate(audios):
        path = out if len(audios) == 1 else out.with_name(f"{out.stem}-{i:02d}{out.suffix}")

        def put(part: Path, audio: np.ndarray = audio) -> None:
            save_sound(audio, rate, part, asked, kind=out.suffix)

        options.write(path, put)
