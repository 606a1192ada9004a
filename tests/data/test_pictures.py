"""Pictures from people: whatever they drop works or is refused with words."""

import io

import numpy as np
import PIL.Image
import pytest

from genarium.errors import InputError
from genarium.media.pictures import (
    enlarge,
    fit_picture,
    grid,
    heat_map,
    load_folder,
    open_picture,
    read_request,
    save_picture,
    to_pictures,
    to_pixels,
)


def as_bytes(image, kind="PNG", **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I", "I;16", "F"])
def test_every_mode_becomes_grey_or_colour(mode):
    values = (np.arange(64 * 48).reshape(48, 64) % 256).astype(np.uint8)
    image = (
        PIL.Image.fromarray(values).convert(mode)
        if mode != "I;16"
        else PIL.Image.fromarray(values.astype(np.uint16) * 257)
    )
    opened = open_picture(image)
    assert opened.mode in ("L", "RGB") and opened.size == (64, 48)
    assert np.asarray(opened).std() > 10


def test_transparency_becomes_white_and_rotation_is_undone():
    clear = PIL.Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    assert np.asarray(open_picture(as_bytes(clear))).min() == 255
    turned = PIL.Image.new("RGB", (10, 20))
    exif = turned.getexif()
    exif[0x0112] = 6
    assert open_picture(as_bytes(turned, "JPEG", exif=exif)).size == (20, 10)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (None, "no picture"),
        (b"", "no picture"),
        ("", "no picture"),
        (b"not a picture at all", "no picture that can be read"),
        (as_bytes(PIL.Image.new("L", (50, 50)))[:60], "is cut off"),
        ("/no/such/file.png", "no file"),
    ],
)
def test_what_is_no_picture_is_refused(source, says):
    with pytest.raises(InputError, match=says):
        open_picture(source)


def test_a_hundred_megapixels_are_refused_before_they_are_decoded():
    huge = as_bytes(PIL.Image.new("1", (10_000, 10_000)))
    with pytest.raises(InputError, match="100 megapixels"):
        open_picture(huge)
    with pytest.raises(InputError, match="megapixels"):
        open_picture(as_bytes(PIL.Image.new("1", (20_000, 20_000))))


def test_fitting_pads_with_the_border_and_inverts_where_the_data_are_dark():
    white = PIL.Image.new("RGB", (100, 50), "white")
    white.paste((0, 0, 0), (40, 15, 60, 35))
    plain = np.asarray(fit_picture(white, 28, 1))
    assert plain.shape == (28, 28) and plain[0, 0] == 255 and plain[14, 14] < 20
    inverted = np.asarray(fit_picture(white, 28, 1, dark_background=True))
    assert inverted[0, 0] == 0 and inverted[14, 14] > 235
    assert np.array_equal(np.asarray(fit_picture(white, 28, 1, True, "no")), plain)
    assert np.asarray(fit_picture(white, 28, 3)).shape == (28, 28, 3)
    ready = PIL.Image.fromarray(inverted)
    assert np.array_equal(np.asarray(fit_picture(ready, 28, 1, True)), inverted), "what fits is left as it is"


def test_pixels_round_trip_and_sheets():
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 5, 3), np.uint8)
    pictures = to_pictures(pixels)
    assert np.array_equal(to_pixels(pictures), pixels)
    assert grid(pictures, columns=3, gap=1).size == (17, 11)
    big = enlarge(pictures[0], 50)
    assert big.size == (50, 50) and np.array_equal(np.asarray(big)[::10, ::10], pixels[0])
    assert to_pictures(pixels[..., :1])[0].mode == "L"


def test_a_heat_map_is_hottest_where_the_score_is():
    score = np.zeros((28, 28))
    score[5, 7] = 1
    heat = np.asarray(heat_map(score, PIL.Image.new("L", (28, 28)))).sum(axis=-1)
    assert np.unravel_index(heat.argmax(), heat.shape) == (5, 7)


@pytest.mark.parametrize("ground", [0, 255])
def test_a_heat_map_is_readable_on_black_and_on_white(ground):
    """The hottest pixel stands out from the ground, and a stroke of the drawing from the ground where nothing is strange."""
    picture, score = PIL.Image.new("L", (28, 28), ground), np.zeros((28, 28))
    picture.paste(255 - ground, (3, 3, 9, 6))
    score[20, 20] = 2.0
    heat = np.asarray(heat_map(score, picture), float)
    assert np.linalg.norm(heat[20, 20] - heat[15, 15]) > 150
    assert np.linalg.norm(heat[4, 5] - heat[15, 15]) > 100


def test_the_scale_of_a_heat_map_ends_in_its_colours():
    share = np.array([[0.0, 0.5, 1.0]])
    colours = np.asarray(heat_map(share, PIL.Image.new("L", (3, 1), 128)), int)[0]
    assert colours[0].max() - colours[0].min() < 10, "grey where nothing is strange"
    assert colours[1, 0] - colours[1, 1] > 40, "red in the middle"
    assert colours[2, :2].min() > 220 > colours[2, 2], "yellow where it is strangest"


def test_a_png_remembers_its_request(tmp_path):
    path = save_picture(PIL.Image.new("L", (4, 4)), tmp_path / "a.png", {"seed": 3, "name": "é中"})
    assert read_request(path) == {"seed": 3, "name": "é中"}
    PIL.Image.new("L", (4, 4)).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"junk")
    for name in ("b.png", "c.png"):
        with pytest.raises(InputError, match="parameters"):
            read_request(tmp_path / name)


def test_folders_files_and_arrays(tmp_path):
    for name in ("b.png", "a.jpg"):
        PIL.Image.new("RGB", (8, 8)).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    assert load_folder(tmp_path)[1] == ["a.jpg", "b.png"]
    assert len(load_folder(tmp_path / "b.png")[0]) == 1
    np.save(tmp_path / "x.npy", np.zeros((3, 4, 4, 1), np.uint8))
    assert load_folder(tmp_path / "x.npy")[1][2] == "x.npy[2]"
    np.save(tmp_path / "y.npy", np.zeros((3, 4, 4), np.float32))
    (tmp_path / "z.npy").write_bytes(b"junk")
    (tmp_path / "empty").mkdir()
    for bad in ("y.npy", "z.npy", "empty", "nothing.npy"):
        with pytest.raises(InputError):
            load_folder(tmp_path / bad)


@pytest.mark.parametrize("size", [(30_000, 30), (30, 30_000)])
def test_a_long_picture_is_made_small_before_it_is_made_square(size, monkeypatch):
    """30000 x 30 pixels are few; 30000 x 30000 would be gigabytes."""
    picture = PIL.Image.new("L", size, 200)
    new = PIL.Image.new

    def small(mode, size, *color):
        assert size[0] * size[1] <= 28 * 28
        return new(mode, size, *color)

    monkeypatch.setattr(PIL.Image, "new", small)
    assert np.asarray(fit_picture(picture, 28, 1)).tolist() == [[200] * 28] * 28
