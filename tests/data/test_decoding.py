"""One decoder: what it makes of depth, range, transparency, channels and cut files; and training data go through it too."""

import dataclasses
import io
import struct

import numpy as np
import PIL.Image
import pytest
import soundfile
from PIL.PngImagePlugin import PngInfo
from typer.testing import CliRunner

from genarium import notices
from genarium.cli import app
from genarium.data.audio import load_audio
from genarium.data.images import load_images
from genarium.errors import DataError, InputError
from genarium.media import decoding
from genarium.media.decoding import decode_sound, open_picture
from genarium.media.pictures import fit_picture, load_folder
from genarium.media.sounds import find_sounds, read_sound
from genarium.recipe import AudioSpec, DataSpec

RATE = 16000


@pytest.fixture(autouse=True)
def forget_failures():
    notices.take_failures()
    yield
    notices.take_failures()


@pytest.fixture
def grey16():
    """A dark picture of 16 bits, uint16 [12, 16], that does not use its range."""
    return (np.arange(12 * 16).reshape(12, 16) * 70 + 300).astype(np.uint16)


def as_file(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def png16(values: np.ndarray, colour_type: int, extra: bytes = b"") -> bytes:
    """A PNG of 16 bits of any colour type, which Pillow does not write: uint16 [H, W, C]."""
    import zlib

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tone(seconds=1.5, rate=RATE):
    return (0.3 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def encoded(samples, format_="WAV", subtype="PCM_16", rate=RATE):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=format_, subtype=subtype)
    return file.getvalue()


# ---- depth and finiteness ----


def test_sixteen_bits_are_the_same_picture_in_every_form(grey16):
    expected = (grey16 >> 8).astype(np.uint8)
    pixels = grey16[:, :, None]
    white = np.full_like(pixels, 65535)
    forms = {
        "grey": as_file(PIL.Image.fromarray(grey16)),
        "TIFF": as_file(PIL.Image.fromarray(grey16), "TIFF"),
        "colour": png16(np.repeat(pixels, 3, 2), 2),
        "grey and alpha": png16(np.concatenate([pixels, white], 2), 4),
        "colour and alpha": png16(np.concatenate([pixels] * 3 + [white], 2), 6),
    }
    for form, data in forms.items():
        assert np.array_equal(np.asarray(open_picture(data).convert("L")), expected), form


def test_one_transparent_grey_of_sixteen_bits_becomes_white_and_the_rest_stays(grey16):
    hidden = int(grey16[3, 4])
    import zlib

    body = b"tRNS" + struct.pack(">H", hidden)
    chunk = struct.pack(">I", 2) + body + struct.pack(">I", zlib.crc32(body))
    opened = np.asarray(open_picture(png16(grey16[:, :, None], 0, chunk)).convert("L"))
    expected = np.where(grey16 == hidden, 255, grey16 >> 8)
    assert np.array_equal(opened, expected)


@pytest.mark.parametrize("white", [1.0, 255.0, 65535.0])
def test_floats_are_read_by_the_usual_ranges_and_not_by_their_own(white):
    values = np.linspace(0.2, 0.6, 64).reshape(8, 8)
    opened = open_picture(PIL.Image.fromarray((values * white).astype(np.float32)))
    assert np.abs(np.asarray(opened).astype(float) - values * 255).max() <= 0.51


def test_another_range_is_stretched_and_said(caplog):
    opened = np.asarray(open_picture(PIL.Image.fromarray(np.linspace(-500, 900, 64, dtype=np.float32).reshape(8, 8))))
    assert opened.min() == 0 and opened.max() == 255
    assert "between -500 and 900" in caplog.text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_picture_with_a_value_that_is_no_number_is_refused(value):
    values = np.full((8, 8), 0.5, np.float32)
    values[2, 3] = value
    with pytest.raises(InputError, match="no numbers"):
        open_picture(as_file(PIL.Image.fromarray(values), "TIFF"))


def test_what_was_right_stays_right():
    palette = PIL.Image.new("RGB", (4, 4), (200, 30, 40)).quantize(4)
    assert open_picture(as_file(palette)).getpixel((0, 0)) == (200, 30, 40)
    half = PIL.Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert open_picture(as_file(half)).getpixel((0, 0)) == pytest.approx((127, 127, 127), abs=1)
    cmyk = PIL.Image.new("CMYK", (4, 4), (0, 0, 0, 255))
    assert max(open_picture(as_file(cmyk, "JPEG")).getpixel((0, 0))) < 10


def test_a_large_text_chunk_is_no_reason_to_refuse():
    info = PngInfo()
    info.add_text("workflow", "x" * 3_000_000, zip=True)
    assert open_picture(as_file(PIL.Image.new("L", (4, 4), 9), pnginfo=info)).getpixel((0, 0)) == 9


def test_a_cut_picture_is_called_cut():
    data = as_file(PIL.Image.effect_noise((64, 64), 50))
    with pytest.raises(InputError, match="cut off"):
        open_picture(data[: len(data) // 2])


# ---- channels and cut sounds ----


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_depth_is_the_same_sound(subtype):
    assert np.abs(decode_sound(encoded(tone(), subtype=subtype), RATE) - tone()).max() < 0.01


def test_opposite_phase_takes_the_louder_channel_and_says_so(caplog):
    both = np.stack([tone(), -0.9 * tone()], 1)
    assert np.abs(read_sound(encoded(both), RATE) - tone()).max() < 1e-3
    assert "channel 1, the loudest" in caplog.text
    caplog.clear()
    alike = np.stack([tone(), 0.5 * tone()], 1)
    assert np.abs(read_sound(encoded(alike), RATE) - 0.75 * tone()).max() < 1e-3 and not caplog.text


def test_flac_of_unknown_length_is_read_to_its_end():
    data = bytearray(encoded(tone(), "FLAC"))
    data[21] &= 0xF0  # the 36 bits of the number of samples, in STREAMINFO
    data[22:26] = bytes(4)
    assert np.abs(read_sound(bytes(data), RATE) - tone()).max() < 1e-3
    with pytest.raises(InputError, match="at most"):
        decode_sound(bytes(data), RATE, max_seconds=1)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_wav_whose_recorder_left_its_length_open_is_read_to_its_end(size, tmp_path):
    data = bytearray(encoded(tone()))
    data[4:8], data[40:44] = struct.pack("<I", size), struct.pack("<I", size)
    assert np.abs(read_sound(bytes(data), RATE) - tone()).max() < 1e-3
    (tmp_path / "a.wav").write_bytes(data)
    assert np.abs(read_sound(tmp_path / "a.wav", RATE) - tone()).max() < 1e-3


@pytest.mark.parametrize(("format_", "subtype"), [("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("OGG", "OPUS")])
def test_of_a_cut_file_what_is_there_is_used(format_, subtype, caplog):
    noise = np.random.default_rng(0).normal(0, 0.1, 20 * RATE).astype(np.float32)
    data = encoded(noise, format_, subtype)
    samples = read_sound(data[: len(data) * 6 // 10], RATE)
    assert 6 * RATE < len(samples) < 14 * RATE
    with pytest.raises(InputError, match="cut off or damaged"):
        read_sound(data[:100], RATE)


def test_too_short_is_not_called_silent():
    with pytest.raises(InputError, match="too short"):
        read_sound(encoded(np.zeros(1, np.float32)), RATE)


# ---- folders: one bad file stops nobody ----


def test_a_folder_of_pictures_keeps_what_can_be_read(tmp_path, caplog):
    for name in ("a.png", "c.jpg", "d.avif"):
        PIL.Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "b.png").write_bytes(b"damaged")
    for name in ("._a.png", ".hidden.png", "e.psd"):
        (tmp_path / name).write_bytes(b"x")
    expected = ["a.png", "c.jpg"] + ["d.avif"] * (".avif" in decoding.PICTURES)
    pictures, names = load_folder(tmp_path)
    assert names == expected and len(pictures) == len(names)
    assert "b.png is left out" in caplog.text and "e.psd is skipped" in caplog.text and "._a" not in caplog.text
    assert notices.take_failures() == ["b.png"]


def test_a_folder_of_sounds_keeps_what_can_be_read(tmp_path, caplog):
    for name, format_, subtype in (("a.opus", "OGG", "OPUS"), ("b.aiff", "AIFF", "PCM_16"), ("c.wav", "WAV", "FLOAT")):
        (tmp_path / name).write_bytes(encoded(tone(), format_, subtype))
    (tmp_path / "d.wav").write_bytes(b"damaged")
    (tmp_path / "._c.wav").write_bytes(b"x")
    (tmp_path / "e.m4a").write_bytes(b"\0\0\0\x20ftypM4A ")
    assert [path.name for path in find_sounds(tmp_path)] == ["a.opus", "b.aiff", "c.wav"]
    assert "d.wav is left out" in caplog.text and "e.m4a is skipped" in caplog.text
    assert notices.take_failures() == ["d.wav"]


def test_the_command_ends_with_a_code_and_the_other_results(house, tiny_checkpoints, tmp_path):
    (house / "checkpoints/tiny-vae").symlink_to(tiny_checkpoints / "tiny-vae")
    PIL.Image.effect_noise((28, 28), 60).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes(b"damaged")
    out = tmp_path / "scores.json"
    result = CliRunner().invoke(app, ["anomaly", "tiny-vae", "--images", str(tmp_path), "--out", str(out)])
    assert result.exit_code == 1 and "bad.png" in result.output
    assert '"good.png"' in out.read_text() and "bad.png" not in out.read_text()


# ---- training data ----

SPEC = DataSpec(name="me/little", sample_size=12, channels=1, label_column=None)


def image_folder(folder, **files):
    place = folder / "little/train"
    place.mkdir(parents=True)
    for name, data in files.items():
        (place / f"{name}.png").write_bytes(data)
    return folder / "little"


def test_training_pictures_are_what_uploads_are(tmp_path, grey16):
    wide = PIL.Image.fromarray((grey16 >> 8).astype(np.uint8))
    clear = PIL.Image.new("RGBA", (9, 12), (0, 0, 0, 0))
    files = {"a": as_file(PIL.Image.fromarray(grey16)), "b": as_file(wide), "c": as_file(clear)}
    data = load_images(SPEC, "train", image_folder(tmp_path, **files))
    for row, file in enumerate(files.values()):
        expected = fit_picture(open_picture(file), 12, 1, invert="no")
        assert np.array_equal(data.images[row, 0].numpy(), np.asarray(expected))
    assert np.array_equal(data.images[0], data.images[1]), "16 bits and 8 bits of one picture"


def test_a_damaged_picture_is_named_by_row_and_file(tmp_path):
    good = as_file(PIL.Image.new("L", (12, 12)))
    folder = image_folder(tmp_path, a=good, b=good, c=b"damaged")
    with pytest.raises(DataError, match=r"row 2 \(.*c\.png\)"):
        load_images(SPEC, "train", folder)


@pytest.mark.parametrize("cell", [None, {"bytes": b"", "path": None}])
def test_a_missing_picture_is_named_by_row(tmp_path, cell):
    import datasets

    good = {"bytes": as_file(PIL.Image.new("L", (12, 12))), "path": None}
    (tmp_path / "little/data").mkdir(parents=True)
    features = datasets.Features({"image": datasets.Image(decode=False)})
    table = datasets.Dataset.from_dict({"image": [good, cell]}, features=features)
    table.to_parquet(tmp_path / "little/data/train-00000-of-00001.parquet")
    with pytest.raises(DataError, match="row 1: there is no picture"):
        load_images(SPEC, "train", tmp_path / "little")


def test_training_clips_are_what_uploads_are(tmp_path):
    import datasets

    clips = {
        "float": encoded(tone(), subtype="FLOAT"),
        "double": encoded(tone(), subtype="DOUBLE"),
        "opposite": encoded(np.stack([tone(), -tone()], 1)),
        "rate": encoded(tone(rate=32000), rate=32000),
    }
    (tmp_path / "clips/data").mkdir(parents=True)
    features = datasets.Features({"audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")}})
    rows = {"audio": [{"bytes": data, "path": f"{name}.wav"} for name, data in clips.items()]}
    table = datasets.Dataset.from_dict(rows, features=features)
    table.to_parquet(tmp_path / "clips/data/train-00000-of-00001.parquet")
    spec = AudioSpec(kind="audio", names=("me/clips",), sampling_rate=RATE, crop_seconds=1)
    data = load_audio(spec, "train", tmp_path / "clips")
    for row, clip in enumerate(clips.values()):
        assert np.abs(data.clip(row) - decode_sound(clip, RATE)).max() < 1e-4
        assert np.abs(data.clip(row)).max() == pytest.approx(0.3, abs=0.02), list(clips)[row]

    broken = datasets.Dataset.from_dict({"audio": [rows["audio"][0], {"bytes": b"x", "path": None}]}, features=features)
    broken.to_parquet(tmp_path / "clips/data/train-00000-of-00001.parquet")
    with pytest.raises(DataError, match="row 1"):
        load_audio(dataclasses.replace(spec), "train", tmp_path / "clips")
