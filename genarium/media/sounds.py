"""Sound from people: read it safely, bring it into a model's form; and results that remember how they were made."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from genarium import __version__
from genarium.errors import InputError
from genarium.files import write_bytes
from genarium.media.decoding import SOUNDS, UNREADABLE_SOUNDS, decode_sound
from genarium.media.metadata import KEY as METADATA_KEY
from genarium.media.metadata import parse_request
from genarium.notices import fail, note

MAX_SECONDS = 600  # of a recording; the command line has the same limit
MIN_SECONDS = 0.25
SILENT = 1e-3  # the loudest sample of what counts as silence: -60 dB
PROBED_RATE = 16_000  # Hz, at which the files of a folder are tried
LEVEL = 1000 / 32768  # of active speech, as in the voice families' training data
ACTIVE = 10**-3.5  # power of a frame, against the loudest, from which on it counts as active: -35 dB
FRAME_SECONDS = 0.025
BLOCK = 2**16  # samples written at once
KINDS = {  # of files that can be written: libsndfile's format and subtype
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}


def read_sound(source: str | Path | bytes, rate: int, say: Callable[[str], object] = note) -> np.ndarray:
    """Decode a person's sound as `decode_sound` does, and refuse what is too long, too short or silent.

    Args:
        source: a path, or the file's bytes. What it holds decides, not what it is called.
        rate: wanted, in Hz.
        say: takes the notes about how it was understood.

    Returns:
        float32 [T], about [-1, 1].

    Raises:
        InputError: nothing given, not sound, damaged, empty, silent, too short or too long; each with what to do.
    """
    if source is None or (isinstance(source, (str, bytes)) and not source):
        raise InputError("There is no recording. Record or upload one, or take an example.")
    samples = decode_sound(source, rate, MAX_SECONDS, say=say)
    seconds = len(samples) / rate
    if seconds < MIN_SECONDS:
        raise InputError(
            f"The recording is too short: it lasts {seconds:.2f} s; give at least {MIN_SECONDS} s, better a sentence."
        )
    if np.abs(samples - samples.mean()).max() < SILENT:
        raise InputError("The recording is silent. Check that the microphone is on and chosen, and record again.")
    return samples


def fit_sound(samples: np.ndarray, rate: int) -> np.ndarray:
    """Bring a recording to the level of the training data: its active part to an RMS of `LEVEL`, pauses not counted.

    Args:
        samples: float [T], not silent.

    Returns:
        float32 [T] in [-1, 1], without a constant offset.
    """
    centred = samples - samples.mean()
    return np.clip(centred * (LEVEL / active_level(centred, rate)), -1, 1).astype(np.float32)


def active_level(samples: np.ndarray, rate: int) -> float:
    """Return the RMS of those frames that are at most 35 dB below the loudest."""
    size = min(len(samples), round(FRAME_SECONDS * rate))
    frames = samples[: len(samples) // size * size].reshape(-1, size).astype(np.float64)
    power = (frames**2).mean(axis=1)
    return float(np.sqrt(power[power >= ACTIVE * power.max()].mean()))


def save_sound(
    samples: np.ndarray, rate: int, path: str | Path, request: dict[str, Any] | None = None, kind: str | None = None
) -> Path:
    """Write a sound file. With a request, it says that it was synthesised, by which checkpoint, and how.

    Args:
        samples: float [T] in [-1, 1].
        request: kept as JSON in the file's comment; None for sound that no model made.
        kind: ".wav", ".flac", ".ogg" or ".mp3"; by default the path's ending.

    Raises:
        FileError: it cannot be written; the old file is whole.
    """
    format_, subtype = KINDS[(kind or Path(path).suffix).lower()]
    samples = np.clip(samples, -1, 1)
    encoded = io.BytesIO()  # libsndfile reports no full disk; writing bytes does
    with soundfile.SoundFile(encoded, "w", rate, 1, subtype, format=format_) as file:
        if request is not None:
            file.title = f"Synthesised by Genarium with {request['checkpoint']}"
            file.software = f"Genarium {__version__}"
            file.comment = json.dumps({METADATA_KEY: request}, ensure_ascii=True)
        for start in range(0, len(samples), BLOCK):  # the Vorbis encoder takes all it is given onto its stack
            file.write(samples[start : start + BLOCK])
    return write_bytes(path, encoded.getvalue())


def read_request(path: str | Path) -> dict[str, Any]:
    """Return the parameters that `save_sound` wrote into a file.

    Raises:
        InputError: the file is none of ours.
    """
    try:
        with soundfile.SoundFile(path) as file:
            request = parse_request(file.comment)[METADATA_KEY]
    except (OSError, KeyError, TypeError, ValueError, soundfile.SoundFileError) as error:
        raise InputError("This recording carries no parameters; take one that this app made.") from error
    if not isinstance(request, dict):
        raise InputError("This recording carries no parameters; take one that this app made.")
    return request


def find_sounds(source: str | Path) -> list[Path]:
    """Return the sound files of a folder in order of their names, or the one file.

    In a folder a sound that cannot be used is reported by `notices.fail` and left out. Hidden files, such as the "._*" that
    macOS leaves on other disks, are not looked at.

    Raises:
        InputError: none there that can be used.
    """
    source = Path(source)
    if not source.is_dir():
        return [source]
    seen = sorted(path for path in source.iterdir() if not path.name.startswith(".") and path.is_file())
    for path in seen:
        if path.suffix.lower() in UNREADABLE_SOUNDS:
            note(f"{path.name} is skipped: {UNREADABLE_SOUNDS[path.suffix.lower()]}")
    files = [path for path in seen if path.suffix.lower() in SOUNDS]
    if not files:
        raise InputError(f"{source}: no sound files here ({', '.join(sorted(SOUNDS))}).")
    usable = []
    for path in files:
        try:
            read_sound(path, PROBED_RATE, say=lambda text: None)
            usable.append(path)
        except InputError as error:
            fail(path.name, str(error))
    if not usable:
        raise InputError(f"{source}: none of its {len(files)} sound files can be used.")
    return usable
