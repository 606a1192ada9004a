"""The tasks on the command line, where they are on sound: from sound files to sound files."""

from __future__ import annotations

from pathlib import Path

from genarium.cli import options
from genarium.cli.batches import is_main, run_batches, say


def find_sounds(source: Path) -> list[Path]:
    """The sound files of a folder, or the one file."""
    from genarium import sounds

    return sounds.find_sounds(source)


def make_each(runtime, request, number: int, files: list[Path] | None, out: Path) -> None:
    """Sounds that do not depend on each other, one for each file or drawn anew, shared among processes."""
    request, results, seconds = run_batches(runtime, request, number, 1, files)
    if is_main():
        audios = [audio for result in results for audio in result.audios]
        _write(audios, results[0].sampling_rate, request, runtime.catalogue[request.checkpoint].name, out)
        say(f"{len(audios)} sounds", seconds, runtime, out)


def write(runtime, result, name: str, out: Path) -> None:
    """The sounds of one result, each into a file that says that it was synthesised, by which checkpoint, and how."""
    _write(result.audios, result.sampling_rate, result.request, name, out)
    length = sum(map(len, result.audios)) / result.sampling_rate
    say(f"{length:.1f} s of sound at {result.sampling_rate} Hz", result.seconds, runtime, out)


def _write(audios, rate: int, request, name: str, out: Path) -> None:
    """One goes to the path itself; of several, each name gets a number."""
    from genarium.sounds import save_sound

    asked = {**request.to_dict(), "checkpoint": name}
    for i, audio in enumerate(audios):
        path = out if len(audios) == 1 else out.with_name(f"{out.stem}-{i:02d}{out.suffix}")
        options.write(path, lambda part, a=audio: save_sound(a, rate, part, asked, kind=out.suffix))
