"""Sound from people: read it safely, bring it into a model's form; and results that remember how they were made."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr

from genarium import __version__
from genarium.errors import InputError
from genarium.files import write_bytes
from genarium.pictures import METADATA_KEY

MAX_SECONDS = 600  # of a recording; the command line has the same limit
MIN_SECONDS = 0.25
RATES = (4_000, 768_000)  # Hz; what lies outside is a damaged header
SILENT = 1e-3  # the loudest sample of what counts as silence: -60 dB
LEVEL = 1000 / 32768  # of active speech, as in the voice families' training data
ACTIVE = 10**-3.5  # power of a frame, against the loudest, from which on it counts as active: -35 dB
FRAME_SECONDS = 0.025
BLOCK = 2**16  # samples read or written at once
KINDS = {  # of files that can be written: libsndfile's format and subtype
    ".wav": ("WAV", "PCM_16"),
    ".flac": ("FLAC", "PCM_16"),
    ".ogg": ("OGG", "VORBIS"),
    ".mp3": ("MP3", "MPEG_LAYER_III"),
}
HOW_TO_CONVERT = "save its sound as WAV, FLAC, OGG or MP3 first, for example with: ffmpeg -i FILE sound.wav"
CONTAINERS = (  # offset and bytes by which a file tells that it is none of these
    (4, b"ftyp", "an MP4, MOV or M4A file"),
    (0, b"\x1aE\xdf\xa3", "a WebM or Matroska video"),
    (8, b"AVI ", "an AVI video"),
    (0, b"FLV", "a Flash video"),
    (0, b"\x30\x26\xb2\x75", "a Windows Media file"),
    (0, b"#!AMR", "an AMR recording"),
)


def read_sound(source: str | Path | bytes, rate: int) -> np.ndarray:
    """Decode a sound file of any rate, depth and number of channels: the mean of its channels, at another rate.

    Args:
        source: a path, or the file's bytes. What it holds decides, not what it is called.
        rate: wanted, in Hz.

    Returns:
        float32 [T], about [-1, 1].

    Raises:
        InputError: nothing given, not sound, damaged, empty, silent, too short or too long; each with what to do.
    """
    if source is None or (isinstance(source, (str, bytes)) and not source):
        raise InputError("There is no recording. Record or upload one, or take an example.")
    head = source[:16] if isinstance(source, bytes) else _head(source)
    if not head:
        raise InputError("The recording is empty: a file without a byte. Record or upload it again.")
    try:
        with soundfile.SoundFile(io.BytesIO(source) if isinstance(source, bytes) else source) as file:
            samples = _decode(file, rate)
    except (OSError, TypeError, ValueError, soundfile.SoundFileError) as error:
        for offset, mark, name in CONTAINERS:
            if head[offset:].startswith(mark):
                raise InputError(f"This is {name}: {HOW_TO_CONVERT}") from error
        raise InputError("This file is no sound that can be read; use a WAV, FLAC, OGG or MP3.") from error
    seconds = len(samples) / rate
    if not len(samples):
        raise InputError("The recording is empty. Record again, and speak before you stop.")
    if not np.isfinite(samples).all():
        raise InputError("The recording holds values that are no numbers; export it again, as 16-bit WAV.")
    if np.abs(samples - samples.mean()).max() < SILENT:
        raise InputError("The recording is silent. Check that the microphone is on and chosen, and record again.")
    if seconds < MIN_SECONDS:
        raise InputError(f"The recording lasts {seconds:.2f} s; give at least {MIN_SECONDS} s, better a sentence.")
    return samples


def _head(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(16)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error


def _decode(file: soundfile.SoundFile, rate: int) -> np.ndarray:
    if not RATES[0] <= file.samplerate <= RATES[1]:
        raise InputError(f"The recording claims {file.samplerate} samples a second; export it again at {rate} Hz.")
    longest = MAX_SECONDS * file.samplerate
    stream = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32") if file.samplerate != rate else None
    parts, frames = [], file.frames
    read = 0
    while read <= longest >= frames and len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
        read += len(block)
        mono = block.mean(axis=1)
        parts.append(stream.resample_chunk(mono) if stream else mono)
    if max(read, frames) > longest:
        length = max(read, frames) / file.samplerate / 60
        raise InputError(
            f"The recording lasts {length:.1f} minutes; at most {MAX_SECONDS // 60} are taken. Cut it, for example with: "
            f"ffmpeg -i FILE -t {MAX_SECONDS} part.wav"
        )
    if stream and read:
        parts.append(stream.resample_chunk(np.empty(0, np.float32), last=True))
    return np.concatenate([*parts, np.empty(0, np.float32)])


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
    """The RMS of those frames that are at most 35 dB below the loudest."""
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
    """The parameters that `save_sound` wrote into a file.

    Raises:
        InputError: the file is none of ours.
    """
    try:
        with soundfile.SoundFile(path) as file:
            request = json.loads(file.comment)[METADATA_KEY]
    except (OSError, KeyError, TypeError, ValueError, soundfile.SoundFileError) as error:
        raise InputError("This recording carries no parameters; take one that this app made.") from error
    if not isinstance(request, dict):
        raise InputError("This recording carries no parameters; take one that this app made.")
    return request


def find_sounds(source: str | Path) -> list[Path]:
    """The sound files of a folder in order of their names, or the one file.

    Raises:
        InputError: none there.
    """
    source = Path(source)
    if not source.is_dir():
        return [source]
    files = sorted(path for path in source.iterdir() if path.suffix.lower() in KINDS)
    if not files:
        raise InputError(f"{source}: no sound files here ({', '.join(sorted(KINDS))}).")
    return files
