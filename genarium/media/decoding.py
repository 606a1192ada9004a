"""Files into pixels and samples: the one decoder, of uploads and of training data.

Pillow decodes pictures and libsndfile sounds. What differs from their own defaults is decided here once: depth, transparency,
orientation, channels, rate, and what is refused.
"""

from __future__ import annotations

import contextlib
import io
import math
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import PIL.features
import PIL.Image
import PIL.ImageOps
import soundfile
import soxr
from PIL import PngImagePlugin

from genarium.errors import InputError
from genarium.notices import note

with contextlib.suppress(ImportError):  # optional: pictures of iPhones
    import pillow_heif  # not installed everywhere

    pillow_heif.register_heif_opener()

MAX_MEGAPIXELS = 24  # as cameras have
MAX_MEGAPIXELS_JPEG = 50  # a JPEG is decoded at a fraction of its size
MAX_SIDE = 32_768  # pixels
LARGE = 4_000_000  # pixels: no picture leaves here larger, and larger ones are decoded one at a time
DECODING = threading.Lock()  # of large pictures: of how many there are in memory at once
PngImagePlugin.MAX_TEXT_CHUNK = (
    PngImagePlugin.MAX_TEXT_MEMORY
)  # 64 MB: some programs keep a whole project in a text chunk
PICTURES = frozenset(
    suffix
    for suffix in [
        ".png",
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".webp",
        ".gif",
        ".bmp",
        ".tif",
        ".tiff",
        ".avif",
        ".heic",
        ".heif",
        ".jp2",
        ".tga",
        ".ppm",
        ".pgm",
        ".pbm",
    ]
    if PIL.Image.registered_extensions().get(suffix) in PIL.Image.OPEN
)
# What Pillow may try: those of the endings above. It knows twice as many, some of which hardly anybody has tested.
FORMATS = tuple(sorted({PIL.Image.registered_extensions()[suffix] for suffix in PICTURES}))
UNREADABLE_PICTURES = {
    ".heic": "install pillow-heif, or save it as JPEG",
    ".heif": "install pillow-heif, or save it as JPEG",
    ".avif": "save it as PNG or JPEG",
    ".jxl": "save it as PNG or JPEG",
    ".svg": "save it as PNG",
    ".psd": "save it as PNG",
    ".raw": "save it as PNG or JPEG",
    ".dng": "save it as PNG or JPEG",
}
SOUNDS = frozenset(
    [".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff", ".aifc", ".au", ".caf", ".w64", ".rf64"]
)
HOW_TO_CONVERT = "save its sound as WAV, FLAC, OGG or MP3 first, for example with: ffmpeg -i FILE sound.wav"
UNREADABLE_SOUNDS = dict.fromkeys((".m4a", ".aac", ".wma", ".amr", ".mp4", ".webm", ".mka", ".mov"), HOW_TO_CONVERT)
CONTAINERS = (  # offset and bytes by which a file shows that libsndfile cannot read it
    (4, b"ftyp", "an MP4, MOV or M4A file"),
    (0, b"\x1aE\xdf\xa3", "a WebM or Matroska video"),
    (8, b"AVI ", "an AVI video"),
    (0, b"FLV", "a Flash video"),
    (0, b"\x30\x26\xb2\x75", "a Windows Media file"),
    (0, b"#!AMR", "an AMR recording"),
)
RATES = (4_000, 768_000)  # Hz; what lies outside is a damaged header
BLOCK = 4096  # samples read at once: what a cut file can lose
UNKNOWN = 2**62  # frames; libsndfile's word for a length that the file does not say
CANCELLED = 0.01  # power of the mean of the channels against the loudest channel: below it they cancel each other


# ---- pictures ----


def open_picture(source: str | Path | bytes | PIL.Image.Image) -> PIL.Image.Image:
    """Decode a picture, upright and without transparency, as RGB or L with 8 bits.

    16 bits become 8 by their upper half, whether grey or colour. Floats are taken as 0 ... 1, or as 0 ... 255 or 0 ... 65535 if
    they are larger; other ranges are stretched to black and white, with a note.

    A picture of more than `LARGE` pixels is made smaller by a whole number. Of these only one is decoded at a time.

    Raises:
        InputError: nothing given, not a picture, damaged, too large, or with values that are not finite.
    """
    if source is None or (isinstance(source, (str, bytes)) and not source):
        raise InputError("There is no picture. Choose one, or take an example.")
    if isinstance(source, PIL.Image.Image):
        return _opened_picture(source)
    try:
        image = PIL.Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)
    except PIL.Image.DecompressionBombError as error:
        raise InputError(f"The picture is too large; make it smaller than {MAX_MEGAPIXELS} megapixels.") from error
    except FileNotFoundError as error:
        raise InputError(f"There is no file {source!s}.") from error
    except Exception as error:  # the decoders of formats raise whatever a damaged file leads to
        raise InputError(_why_no_picture(error, opened=False)) from error
    with image:
        return _opened_picture(image)


def _opened_picture(image: PIL.Image.Image) -> PIL.Image.Image:
    """Decode a picture whose header was read. Raises as `open_picture`."""
    width, height = image.size
    most = MAX_MEGAPIXELS_JPEG if image.format in ("JPEG", "MPO") else MAX_MEGAPIXELS
    if width * height > most * 1_000_000:
        raise InputError(
            f"The picture has {width * height / 1e6:.0f} megapixels ({width} x {height}); make it smaller than {most}."
        )
    if max(width, height) > MAX_SIDE:
        raise InputError(f"The picture is {width} x {height} pixels; at most {MAX_SIDE} are taken on a side. Cut it.")
    factor = _reduction(width, height)
    with DECODING if factor > 1 else contextlib.nullcontext():
        try:
            image.draft(None, (width // factor, height // factor))  # in a JPEG only; never smaller than this
            image.load()
            image = PIL.ImageOps.exif_transpose(image)
        except Exception as error:  # the decoders of formats raise whatever a damaged file leads to
            raise InputError(_why_no_picture(error, opened=True)) from error
        image = opaque(_eight_bits(image))
        image = image if image.mode in ("L", "RGB") else image.convert("RGB")
        return image.reduce(_reduction(*image.size))


def _reduction(width: int, height: int) -> int:
    """Return the whole number by which a picture is made smaller; 1 leaves it as it is."""
    return max(1, math.ceil(math.sqrt(width * height / LARGE)))


def _why_no_picture(error: Exception, opened: bool) -> str:
    """Return the sentence for an error; `opened` says that the header could be read."""
    if isinstance(error, PermissionError):
        return "This file cannot be read: permission denied."
    if isinstance(error, IsADirectoryError):
        return "This is a folder, not a picture."
    if opened and "truncated" in str(error).lower():
        return "The picture is cut off: the file ends too early. Copy or download it again."
    return "This file is no picture that can be read; use a PNG, JPEG, WebP or GIF."


def opaque(image: PIL.Image.Image) -> PIL.Image.Image:
    """Return a picture with transparency on white, others as they are; `convert("RGB")` would show what is hidden."""
    if not image.has_transparency_data:
        return image
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    return PIL.Image.alpha_composite(PIL.Image.new("RGBA", rgba.size, "white"), rgba)


def _eight_bits(image: PIL.Image.Image) -> PIL.Image.Image:
    """Bring a picture of 16 or 32 bits, whole numbers or floats, to L or LA; others stay as they are."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
        grey = (values.astype(np.int64).clip(0, 65535) >> 8).astype(np.uint8)
    else:
        grey = _scaled(values.astype(np.float64))
    result = PIL.Image.fromarray(grey)
    hidden = image.info.get("transparency")
    if isinstance(hidden, int):  # one grey value is transparent; only the 16 bits say which pixels have it
        result.putalpha(PIL.Image.fromarray(np.where(values == hidden, 0, 255).astype(np.uint8)))
    return result


def _scaled(values: np.ndarray) -> np.ndarray:
    """Return float [H, W] of the usual ranges as uint8. A little outside of a range, as resampling leaves it, is clipped."""
    if not np.isfinite(values).all():
        raise InputError(
            "The picture holds values that are no numbers (NaN or infinity). Replace them and save it again; nothing here can "
            "guess how bright they should be."
        )
    low, high = float(values.min()), float(values.max())
    for white in (1.0, 255.0, 65535.0):
        if low >= -0.1 * max(high, 0) and high <= 1.2 * white:
            return (values * (255 / white)).round().clip(0, 255).astype(np.uint8)
    note(f"A picture's values lie between {low:g} and {high:g}, which is no usual range: the lowest is taken as black.")
    return ((values - low) * (255 / max(high - low, 1e-12))).round().astype(np.uint8)


# ---- sounds ----


def decode_sound(
    source: str | Path | bytes,
    rate: int,
    max_seconds: float | None = None,
    name: str = "The recording",
    say: Callable[[str], object] = note,
) -> np.ndarray:
    """Decode a sound of any format, depth, rate and number of channels that libsndfile reads.

    Channels become one by their mean; where they cancel each other, as recordings in opposite phase do, the loudest channel
    is taken, with a note. Of a file that is cut off, what is there is taken, with a note.

    Args:
        source: a path, or the file's bytes. What it holds decides, not what it is called.
        rate: wanted, in Hz.
        max_seconds: longer sounds are refused; None takes any.
        name: of the sound, with which the sentences of errors begin. Notes name the file where there is one.
        say: takes the notes.

    Returns:
        float32 [T], about [-1, 1].

    Raises:
        InputError: no sound, damaged, empty, too long, or with samples that are not finite.
    """
    head = source[:16] if isinstance(source, bytes) else _head(source)
    file = name if isinstance(source, bytes) else Path(source).name
    if not head:
        raise InputError(f"{name} is empty: a file without a byte. Record or upload it again.")
    try:
        source = _mended(source, head)
        samples, powers, problem = _read(source, rate, None, max_seconds, name)
        if len(powers) > 2 and powers[-1] < CANCELLED * max(powers[:-1]):  # the last is that of the mean
            loudest = int(np.argmax(powers[:-1]))
            say(f"{file} has channels that cancel each other: channel {loudest + 1}, the loudest, is used alone.")
            samples, _, problem = _read(source, rate, loudest, max_seconds, name)
    except (OSError, TypeError, ValueError, soundfile.SoundFileError) as error:
        for offset, mark, kind in CONTAINERS:
            if head[offset:].startswith(mark):
                raise InputError(f"This is {kind}: {HOW_TO_CONVERT}") from error
        if head.startswith((b"OggS", b"fLaC", b"RIFF", b"FORM")):
            raise InputError(
                f"{name} is cut off or damaged: nothing can be read of it. Copy or record it again."
            ) from error
        raise InputError("This file is no sound that can be read; use a WAV, FLAC, OGG or MP3.") from error
    if problem and len(samples):
        say(f"{file} is cut off or damaged after {len(samples) / rate:.2f} s; what comes before is used.")
    elif problem:
        raise InputError(f"{name} is cut off or damaged: nothing can be read of it. Copy or record it again.")
    if not len(samples):
        raise InputError(f"{name} is empty. Record again, and speak before you stop.")
    if not np.isfinite(samples).all():
        raise InputError(f"{name} holds values that are no numbers (NaN or infinity); export it again, as 16-bit WAV.")
    return samples


class _Stream(soundfile.SoundFile):
    """A sound file read in order only: after each block soundfile would seek, which fails at the end of a cut file."""

    def seekable(self) -> bool:
        return False


@contextlib.contextmanager
def _opened(source: str | Path | bytes) -> Iterator[_Stream]:
    with _Stream(io.BytesIO(source) if isinstance(source, bytes) else str(source)) as file:
        yield file


def _read(
    source: str | Path | bytes, rate: int, channel: int | None, max_seconds: float | None, name: str
) -> tuple[np.ndarray, list[float], bool]:
    """Return the samples of one channel or of the mean, the power of each channel and of the mean, and whether it broke off."""
    with _opened(source) as file:
        if not RATES[0] <= file.samplerate <= RATES[1]:
            raise InputError(f"{name} claims {file.samplerate} samples a second; export it again at {rate} Hz.")
        known = file.frames < UNKNOWN
        longest = np.inf if max_seconds is None else max_seconds * file.samplerate
        if known and file.frames > longest:
            raise InputError(_too_long(name, file.frames / file.samplerate, max_seconds))
        stream = soxr.ResampleStream(file.samplerate, rate, 1, dtype="float32") if file.samplerate != rate else None
        parts, read, problem = [], 0, False
        sums, squares = np.zeros(file.channels + 1), np.zeros(file.channels + 1)
        while True:
            try:
                block = file.read(BLOCK, dtype="float32", always_2d=True)
            except soundfile.SoundFileError:
                problem = True
                break
            if not len(block):
                break
            read += len(block)
            if read > longest:
                raise InputError(_too_long(name, read / file.samplerate, max_seconds))
            mean = block.mean(axis=1)
            everything = np.column_stack([block, mean]).astype(np.float64)
            sums, squares = sums + everything.sum(0), squares + (everything**2).sum(0)
            mono = mean if channel is None else np.ascontiguousarray(block[:, channel])
            parts.append(stream.resample_chunk(mono) if stream else mono)
        if stream and read:
            parts.append(stream.resample_chunk(np.empty(0, np.float32), last=True))
        count = max(read, 1)
        powers = squares / count - (sums / count) ** 2  # without a constant offset
        return np.concatenate([*parts, np.empty(0, np.float32)]), powers.tolist(), problem


def _too_long(name: str, seconds: float, max_seconds: float | None) -> str:
    assert max_seconds is not None
    return (
        f"{name} lasts {seconds / 60:.1f} minutes; at most {max_seconds / 60:.0f} are taken. Cut it, for example with: "
        f"ffmpeg -i FILE -t {max_seconds:.0f} part.wav"
    )


def _head(path: str | Path) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(16)
    except FileNotFoundError as error:
        raise InputError(f"There is no file {path}.") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}.") from error


def _mended(source: str | Path | bytes, head: bytes) -> str | Path | bytes:
    """Return a file with its container's lengths put right where a recorder left them open; others as they are."""
    is_wav = head[:4] == b"RIFF" and head[8:12] == b"WAVE"
    if not is_wav and not head.startswith(b"OggS"):
        return source
    if is_wav:
        data = source if isinstance(source, bytes) else _beginning(source, 4096)
        start = data.find(b"data", 12)
        if start < 0 or struct.unpack_from("<I", data, start + 4)[0] not in (0, 0xFFFFFFFF):
            return source
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        size = min(len(data) - start - 8, 0xFFFFFFFF - start)
        return (
            data[:4]
            + struct.pack("<I", start + size)
            + data[8 : start + 4]
            + struct.pack("<I", size)
            + data[start + 8 :]
        )
    try:
        with _opened(source):
            return source
    except soundfile.SoundFileError:  # libsndfile opens no OGG whose last page is cut
        data = source if isinstance(source, bytes) else Path(source).read_bytes()
        return data[: _end_of_pages(data)]


def _beginning(path: str | Path, size: int) -> bytes:
    with open(path, "rb") as file:
        return file.read(size)


def _end_of_pages(data: bytes) -> int:
    """Return where the last whole page of an OGG file ends (RFC 3533 sec. 6)."""
    end = 0
    while data[end : end + 4] == b"OggS" and len(data) >= end + 27:
        segments = data[end + 26]
        lengths = data[end + 27 : end + 27 + segments]
        after = end + 27 + segments + sum(lengths)
        if len(lengths) < segments or after > len(data):
            break
        end = after
    return end
