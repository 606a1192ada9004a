"""Sound files from people, whatever they are; and files that say that they were synthesised."""

import io

import numpy as np
import PIL.Image
import pytest
import soundfile
from tiny_styles import speech

from genarium.errors import InputError
from genarium.media.sounds import (
    KINDS,
    LEVEL,
    active_level,
    find_sounds,
    fit_sound,
    read_request,
    read_sound,
    save_sound,
)
from genarium.media.spectrogram import BANDS, COLUMNS, mel_filters, mel_picture, mel_spectrogram
from genarium.ui.inputs import example_sounds

RATE = 16000


def likeness(a, b):
    """The correlation of two sounds of about one length."""
    length = min(len(a), len(b))
    return np.corrcoef(a[:length], b[:length])[0, 1]


@pytest.mark.parametrize(
    ("rate", "options"),
    [
        (16000, {"subtype": "PCM_16"}),
        (96000, {"subtype": "PCM_24"}),
        (44100, {"subtype": "FLOAT"}),
        (8000, {"subtype": "PCM_U8"}),
        (22050, {"format": "FLAC"}),
        (48000, {"format": "OGG"}),
        (44100, {"format": "MP3"}),
    ],
)
def test_any_rate_depth_and_format(tmp_path, rate, options):
    """Also when the file is called something else than it is."""
    pitch = 200
    x = speech(2, rate, pitch)
    path = tmp_path / "a.wav"
    soundfile.write(path, x, rate, **{"format": "WAV", **options})
    y = read_sound(path, RATE)
    assert y.dtype == np.float32 and y.ndim == 1 and len(y) == pytest.approx(2 * RATE, abs=0.15 * RATE)
    spectrum = np.abs(np.fft.rfft(y * np.hanning(len(y))))
    peak = spectrum.argmax() * RATE / len(y)
    assert peak == pytest.approx(pitch, abs=5)
    assert np.array_equal(y, read_sound(path.read_bytes(), RATE))


def test_channels_are_mixed_and_other_rates_become_the_same_sound(tmp_path):
    x = speech(2, 48000)
    soundfile.write(tmp_path / "stereo.wav", np.stack([1.5 * x, 0.5 * x], axis=1), 48000)
    soundfile.write(tmp_path / "mono.wav", speech(2), RATE)
    y, z = read_sound(tmp_path / "stereo.wav", RATE), read_sound(tmp_path / "mono.wav", RATE)
    assert len(y) == len(z) and likeness(y, z) > 0.99


def test_reading_in_pieces_leaves_no_seams(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", speech(2, 44100), 44100)
    whole = read_sound(tmp_path / "a.wav", RATE)
    monkeypatch.setattr("genarium.media.sounds.BLOCK", 1000)
    assert np.abs(whole - read_sound(tmp_path / "a.wav", RATE)).max() < 1e-6


@pytest.mark.parametrize("gain", [0.02, 0.3, 20.0])
def test_the_level_is_the_training_data_s_however_loud_it_was_and_pauses_do_not_count(tmp_path, gain):
    x = gain * speech(2)
    soundfile.write(tmp_path / "a.wav", x + 0.001, RATE, subtype="PCM_16")  # loud ones clip
    quiet = np.zeros(3 * RATE, np.float32)
    soundfile.write(tmp_path / "b.wav", np.concatenate([quiet, x, quiet]), RATE, subtype="PCM_16")
    for name in ("a.wav", "b.wav"):
        y = fit_sound(read_sound(tmp_path / name, RATE), RATE)
        assert y.dtype == np.float32 and np.abs(y).max() <= 1
        assert active_level(y, RATE) == pytest.approx(LEVEL, rel=0.02)


def write(path, samples, rate=RATE, **options):
    soundfile.write(path, samples, rate, **options)
    return path


def damaged(folder):
    path = write(folder / "damaged.flac", speech(1))
    path.write_bytes(path.read_bytes()[:60])
    return path


def put(folder, content, name="a.wav"):
    (folder / name).write_bytes(content)
    return folder / name


def picture(folder):
    PIL.Image.new("L", (8, 8)).save(folder / "picture.wav", format="PNG")
    return folder / "picture.wav"


MP4 = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(400)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda f: None, "no recording"),
        (lambda f: "", "no recording"),
        (lambda f: b"", "no recording"),
        (lambda f: f / "nowhere.wav", "no file .*nowhere.wav"),
        (lambda f: f, "cannot be read"),
        (lambda f: put(f, b""), "without a byte"),
        (lambda f: write(f / "empty.wav", np.zeros(0)), "is empty. Record again"),
        (lambda f: write(f / "silent.wav", np.zeros(RATE)), "silent. Check that the microphone"),
        (lambda f: write(f / "offset.wav", np.full(RATE, 0.5)), "silent"),
        (lambda f: write(f / "hiss.wav", np.random.default_rng(0).normal(size=RATE) * 1e-5), "silent"),
        (lambda f: write(f / "short.wav", speech(0.1)), "lasts 0.10 s; give at least"),
        (lambda f: write(f / "nan.wav", np.full(RATE, np.nan), subtype="FLOAT"), "no numbers"),
        (lambda f: write(f / "slow.wav", speech(1), 100), "claims 100 samples a second"),
        (lambda f: put(f, MP4, "film.mp4"), "MP4, MOV or M4A file: save its sound as WAV"),
        (lambda f: put(f, b"\x1aE\xdf\xa3" + bytes(99), "film.webm"), "WebM or Matroska"),
        (lambda f: put(f, b"RIFF\0\0\0\0AVI LIST" + bytes(99)), "AVI video"),
        (lambda f: put(f, b"some words " * 9, "words.raw"), "no sound that can be read; use a WAV"),
        (picture, "no sound that can be read"),
        (damaged, "cut off or damaged: nothing can be read of it"),
    ],
)
def test_what_cannot_be_used_is_refused_with_words(tmp_path, make, says):
    with pytest.raises(InputError, match=says):
        read_sound(make(tmp_path), RATE)


def test_long_recordings_are_taken_up_to_a_limit(tmp_path, monkeypatch):
    monkeypatch.setattr("genarium.media.sounds.MAX_SECONDS", 2)
    assert len(read_sound(write(tmp_path / "a.wav", speech(2)), RATE)) == 2 * RATE
    for name in ("b.wav", "b.mp3"):
        with pytest.raises(InputError, match=r"lasts 0.1 minutes; at most 0 are taken. Cut it"):
            read_sound(write(tmp_path / name, speech(6)), RATE)


@pytest.mark.parametrize("kind", KINDS)
def test_results_say_that_they_are_synthetic_and_how_they_were_made(tmp_path, kind):
    request = {"checkpoint": "voices", "task": "swap_style", "seed": 2**62 + 1, "parameters": {"speaker": "é" * 300}}
    x = speech(2)
    path = save_sound(x, RATE, tmp_path / f"result{kind}", request)
    assert read_request(path) == request
    with soundfile.SoundFile(path) as file:
        assert file.title == "Synthesised by Genarium with voices" and file.samplerate == RATE
    y = read_sound(path, RATE)
    assert likeness(np.abs(np.fft.rfft(x)), np.abs(np.fft.rfft(y, len(x)))) > 0.95
    if kind in (".wav", ".flac"):
        assert np.abs(x - y).max() <= 1 / 32767


def test_other_sounds_carry_no_request(tmp_path):
    for path in (save_sound(speech(1), RATE, tmp_path / "mine.wav"), put(tmp_path, b"words"), tmp_path / "nowhere.wav"):
        with pytest.raises(InputError, match="carries no parameters"):
            read_request(path)
    with soundfile.SoundFile(tmp_path / "other.wav", "w", RATE, 1) as file:
        file.comment = '{"genarium": 3}'
        file.write(speech(1))
    with pytest.raises(InputError, match="carries no parameters"):
        read_request(tmp_path / "other.wav")


def test_samples_beyond_the_range_do_not_wrap_around(tmp_path):
    path = save_sound(np.array([2.0, -2.0] * RATE), RATE, tmp_path / "loud.wav")
    x, _ = soundfile.read(path)
    assert x[0] > 0.99 and x[1] < -0.99


def test_a_long_result_becomes_an_ogg_too(tmp_path):
    """Given minutes at once, libvorbis overruns its stack."""
    assert soundfile.info(save_sound(np.zeros(200 * RATE), RATE, tmp_path / "long.ogg")).duration == 200


def test_folders_of_sounds(tmp_path):
    for name in ("b.wav", "a.mp3"):
        write(tmp_path / name, speech(1))
    put(tmp_path, b"x", "words.txt")
    assert [path.name for path in find_sounds(tmp_path)] == ["a.mp3", "b.wav"]
    assert find_sounds(tmp_path / "b.wav") == [tmp_path / "b.wav"]
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="no sound files here"):
        find_sounds(tmp_path / "none")


# ---- what sound looks like ----


def test_a_spectrogram_shows_the_pitch_when_it_sounds():
    time = np.arange(2 * RATE) / RATE
    tone = np.where(time < 1, np.sin(2 * np.pi * 1000 * time), 0)
    levels = mel_spectrogram(tone, RATE)
    centres = (mel_filters(RATE, 1024) * np.fft.rfftfreq(1024, 1 / RATE)).sum(axis=1)
    centres /= mel_filters(RATE, 1024).sum(axis=1)
    columns = levels.shape[1]
    loudest = levels[:, columns // 4].argmax()
    assert centres[loudest] == pytest.approx(1000, rel=0.05)
    assert levels.max() == 0 and levels[:, -columns // 4].max() < -100


@pytest.mark.parametrize("times", [0.01, 0.1, 1, 200])
def test_a_picture_has_a_bounded_width_however_long_the_sound(times):
    x = speech(2)
    picture = mel_picture(np.tile(x, times) if times > 1 else x[: round(times * len(x))], RATE)
    assert picture.height == BANDS and 1 <= picture.width <= COLUMNS
    assert picture.mode == "RGB" and np.asarray(picture).std() > 5


def test_silence_can_be_drawn():
    assert np.isfinite(mel_spectrogram(np.zeros(RATE), RATE)).all()


# ---- examples ----


def test_example_recordings_are_there_small_and_fit_to_use():
    paths = example_sounds()
    assert len({path.stem.split("-")[0] for path in paths[:4]}) == 4, "each voice first"
    for path in paths:
        assert path.stat().st_size < 65_000 and soundfile.info(path).samplerate == RATE
        x = fit_sound(read_sound(io.BytesIO(path.read_bytes()).getvalue(), RATE), RATE)
        assert 2 < len(x) / RATE < 6
