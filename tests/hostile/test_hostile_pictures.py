"""What a stranger may send as a picture, and in the metadata of a result. The bounds are made small and tried."""

import contextlib
import io
import json
import struct
import threading
import zlib

import numpy as np
import PIL.Image
import pytest

from genarium.errors import InputError
from genarium.media import decoding, metadata
from genarium.media.decoding import open_picture
from genarium.media.pictures import read_request


def encoded(image: PIL.Image.Image, form: str = "PNG", **options) -> bytes:
    data = io.BytesIO()
    image.save(data, form, **options)
    return data.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(*chunks: bytes, size: tuple[int, int] = (1, 1)) -> bytes:
    header = struct.pack(">IIBBBBB", *size, 8, 0, 0, 0, 0)
    return metadata.PNG + chunk(b"IHDR", header) + b"".join(chunks) + chunk(b"IEND", b"")


def text_chunks(text: bytes) -> dict[str, bytes]:
    """The same entry in the three kinds of text chunk, and in both forms of the last."""
    return {
        "tEXt": chunk(b"tEXt", b"genarium\0" + text),
        "zTXt": chunk(b"zTXt", b"genarium\0\0" + zlib.compress(text)),
        "iTXt": chunk(b"iTXt", b"genarium\0\0\0en\0word\0" + text),
        "packed iTXt": chunk(b"iTXt", b"genarium\0\1\0en\0word\0" + zlib.compress(text)),
    }


# ---- metadata ----


@pytest.mark.parametrize("kind", text_chunks(b""))
def test_an_entry_is_read_in_every_form_without_a_pixel(kind, tmp_path):
    """The picture claims a gigapixel and has no pixels: whoever decodes it fails."""
    file = tmp_path / "a.png"
    other = chunk(b"tEXt", b"genarium-other\0no")
    file.write_bytes(png(other, text_chunks(b'{"seed": 3}')[kind], size=(30_000, 30_000)))
    assert read_request(file) == {"seed": 3}


@pytest.mark.parametrize("kind", text_chunks(b""))
def test_an_entry_has_an_end(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(metadata, "MAX_TEXT", 50)
    file = tmp_path / "a.png"
    long = json.dumps({"class_labels": [0] * 5000}).encode()
    file.write_bytes(png(text_chunks(long)[kind]))
    with pytest.raises(InputError, match="no parameters that can be read"):
        read_request(file)
    with pytest.raises(ValueError, match="too much text"):
        metadata.parse_request(long)


def test_the_walk_over_a_file_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr(metadata, "MAX_CHUNKS", 10)
    file = tmp_path / "a.png"
    entry = text_chunks(b'{"seed": 3}')["tEXt"]
    file.write_bytes(png(*[chunk(b"tEXt", b"a\0b")] * 8, entry))
    assert read_request(file) == {"seed": 3}
    file.write_bytes(png(*[chunk(b"tEXt", b"a\0b")] * 9, entry))
    with pytest.raises(InputError, match="no parameters that can be read"):
        read_request(file)


@pytest.mark.parametrize(
    "text",
    [b"[" * 200_000, b'{"a":' * 20_000, b"9" * 5000, b"\xff\xfe", b"{", b"[]", b"null"],
    ids=lambda t: str(t[:6]),
)
def test_an_entry_that_is_none(text, tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(png(text_chunks(text)["tEXt"]))
    with pytest.raises(InputError, match="carries no parameters"):
        read_request(file)


@pytest.mark.parametrize("data", [b"", metadata.PNG, metadata.PNG + b"\0\0", png()[:-6], metadata.PNG + b"\xff" * 50])
def test_a_file_that_breaks_off(data, tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(data)
    with pytest.raises(InputError, match="carries no parameters"):
        read_request(file)


# ---- pixels ----


@pytest.mark.parametrize(("form", "most"), [("PNG", 24), ("JPEG", 50)])
def test_pixels_are_counted_before_they_are_decoded(form, most, monkeypatch):
    monkeypatch.setattr(decoding, "MAX_MEGAPIXELS", 0.01)
    monkeypatch.setattr(decoding, "MAX_MEGAPIXELS_JPEG", 0.02)
    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(InputError, match="megapixels"):
        open_picture(encoded(PIL.Image.new("L", (201, 100)), form))


def test_a_long_side_is_refused(monkeypatch):
    monkeypatch.setattr(decoding, "MAX_SIDE", 100)
    assert open_picture(encoded(PIL.Image.new("L", (100, 2)))).size == (100, 2)
    with pytest.raises(InputError, match="101 x 2 pixels"):
        open_picture(encoded(PIL.Image.new("L", (101, 2))))


@pytest.mark.parametrize(("form", "size"), [("PNG", (30, 20)), ("JPEG", (23, 15))])  # a JPEG first by a half
def test_large_pictures_become_smaller_one_at_a_time(form, size, monkeypatch):
    monkeypatch.setattr(decoding, "LARGE", 1000)
    together, most, lock = 0, 0, threading.Lock()
    load = PIL.ImageFile.ImageFile.load

    def counted(self):
        nonlocal together, most
        with lock:
            together += 1
            most = max(most, together)
        with contextlib.suppress(threading.BrokenBarrierError):
            barrier.wait()
        try:
            return load(self)
        finally:
            with lock:
                together -= 1

    barrier = threading.Barrier(2, timeout=0.2)  # if two were let in, they would meet here
    monkeypatch.setattr(PIL.ImageFile.ImageFile, "load", counted)
    data = encoded(PIL.Image.new("RGB", (90, 60), (200, 30, 40)), form)
    results = []
    threads = [threading.Thread(target=lambda: results.append(open_picture(data))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert [image.size for image in results] == [size] * 2
    assert np.abs(np.asarray(results[0]).astype(int) - [200, 30, 40]).max() < 5


def test_only_named_formats_are_tried(tmp_path):
    for form in ("PCX", "SGI", "IM", "EPS", "QOI"):
        if form not in PIL.Image.SAVE:
            continue
        with pytest.raises(InputError, match="no picture that can be read"):
            open_picture(encoded(PIL.Image.new("RGB", (8, 8)), form))
    assert not {"EPS", "QOI", "PSD", "FITS", "ICNS", "WMF", "GRIB", "HDF5"} & set(decoding.FORMATS)
    assert {"PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"} <= set(decoding.FORMATS)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "JPEG2000", "PPM", "TGA"])
def test_damage_anywhere_is_an_error_or_a_picture(form):
    """Bytes are overwritten, cut and doubled; no decoder's own exception may come through."""
    if form not in PIL.Image.SAVE:
        pytest.skip(f"this Pillow writes no {form}")
    rng = np.random.default_rng(1)
    whole = encoded(PIL.Image.fromarray(rng.integers(0, 255, (24, 20, 3), np.uint8)), form)
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            at = int(rng.integers(0, min(len(data), 120) if rng.random() < 0.7 else len(data)))
            data[at] = int(rng.integers(0, 256))
        if rng.random() < 0.3:
            data = data[: rng.integers(0, len(data))]
        try:
            assert open_picture(bytes(data) or b"x").mode in ("L", "RGB")
        except InputError as error:
            assert len(str(error)) < 300


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_floats_that_are_no_numbers(value):
    pixels = np.zeros((6, 5), np.float32)
    pixels[2, 3] = value
    with pytest.raises(InputError, match="no numbers"):
        open_picture(encoded(PIL.Image.fromarray(pixels), "TIFF"))
