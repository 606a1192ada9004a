"""The command `lab`: animations of a training, and what it refuses."""

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from genarium.tasks.lab.frame import Frame, Layer
from genarium.tasks.lab.pictures import COLOURS, draw
from genarium.tasks.lab.question import planes


@pytest.fixture
def lab(monkeypatch, tmp_path):
    from genarium.cli import app

    monkeypatch.setattr(planes()["vae"].plane, "steps", 12)
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["lab", *map(str, arguments)])


@pytest.mark.parametrize("ending", ["gif", "webp"])
def test_a_training_becomes_an_animation(lab, tmp_path, ending):
    out = tmp_path / f"lab.{ending}"
    run = lab("gaussians", "vae", "--out", out, "--size", 64, "--setting", "hidden=16")
    assert run.exit_code == 0, run.output
    with Image.open(out) as animation:
        assert animation.size == (64, 64) and animation.n_frames == 13


def test_a_view_after_the_training(lab, tmp_path):
    run = lab("moons", "vae", "--out", tmp_path / "code.gif", "--view", "code", "--after", "--size", 64)
    assert run.exit_code == 0, run.output
    assert "1 pictures" in run.output


def test_points_of_a_file(lab, tmp_path):
    rows = np.random.default_rng(0).uniform(-2, 2, (50, 2))
    (tmp_path / "mine.csv").write_text("x,y\n" + "\n".join(f"{x},{y}" for x, y in rows))
    run = lab("mine.csv", "vae", "--size", 64)
    assert run.exit_code == 0 and (tmp_path / "lab.gif").is_file(), run.output


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("sun", "vae"), "moons"),
        (("moons", "dit"), "flow-matching"),
        (("moons", "vae", "--out", "lab.mp4"), ".gif"),
        (("moons", "vae", "--setting", "beta"), "NAME=VALUE"),
        (("moons", "vae", "--setting", "beta=many"), "beta"),
        (("moons", "vae", "--view", "critic"), "view"),
        (("none.csv", "vae"), "no file"),
    ],
)
def test_what_the_command_refuses(lab, arguments, message):
    run = lab(*arguments)
    assert run.exit_code == 2 and message in run.output and "Traceback" not in run.output


def test_a_picture_shows_points_where_they_are():
    frame = Frame(1, 1, 0.0, 0.0, {}, None, np.array([[3.0, 3.0]], dtype=np.float32))
    pixels = np.asarray(draw(frame, np.empty((0, 2)), 80)).astype(int)
    red = np.abs(pixels - COLOURS["model"]).sum(2) < 120
    rows, columns = np.nonzero(red)
    assert len(rows) and rows.mean() == pytest.approx(10, abs=1.5) and columns.mean() == pytest.approx(70, abs=1.5)


def test_every_kind_of_layer_is_drawn():
    def picture(*layers):
        frame = Frame(1, 1, 0.0, 0.0, {}, 0.5, np.empty((0, 2), dtype=np.float32), layers)
        return np.asarray(draw(frame, np.empty((0, 2)), 80))

    field = np.fromfunction(lambda i, j: i + 0.0 * j, (9, 9))
    plain = picture()
    for layer in (
        Layer("a", "points", np.zeros((1, 2))),
        Layer("a", "paths", np.array([[[-1.0, -1.0], [1.0, 1.0]]])),
        Layer("a", "curve", np.array([[-1.0, -1.0], [1.0, 1.0]])),
        Layer("a", "arrows", np.ones((1, 2)), at=np.zeros((1, 2))),
        Layer("a", "field", field),
        Layer("a", "field", field, contours=(4.0,)),
    ):
        assert not np.array_equal(picture(layer), plain)
    heat = picture(Layer("a", "field", field)).astype(int)
    assert heat[4].sum() < heat[60].sum()  # row 0 of a field lies at the bottom, and the paper is white
