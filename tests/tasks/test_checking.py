"""Many pictures at once: boxes, overlays, tables, a watched folder, and the commands that make them."""

import csv
import json
import os
import shutil

import numpy as np
import PIL.Image
import pytest
from conftest import pictures
from typer.testing import CliRunner

from genarium.cli import app
from genarium.media.pictures import fit_picture, to_pictures
from genarium.tasks.anomaly.calibration import Calibration, Judge
from genarium.tasks.anomaly.checking import (
    Checked,
    cropped,
    fitted_area,
    hottest_box,
    overlay,
    sheet,
    strangest_first,
    to_csv,
)
from genarium.tasks.anomaly.watching import Watched, watch

# ---- places ----


@pytest.mark.parametrize("size", [(60, 20), (20, 60), (28, 28), (1, 900), (640, 480)])
def test_the_area_of_a_picture_is_where_fit_picture_puts_it(size):
    marked = PIL.Image.new("L", size, 255)
    left, top, right, bottom = fitted_area(size, 28)
    place = np.zeros((28, 28), bool)
    place[top:bottom, left:right] = True
    marked.putpixel((0, 0), 255)
    dark = PIL.Image.new("L", (size[0] + 2, size[1] + 2), 0)
    dark.paste(marked, (1, 1))
    fitted = np.asarray(fit_picture(marked, 28, 1))
    assert fitted[place].min() == 255 and place.sum() == (right - left) * (bottom - top)
    assert max(right - left, bottom - top) == 28


def test_the_box_is_that_of_the_hottest_region_in_pixels_of_the_picture():
    heat = np.zeros((32, 32))
    heat[10:14, 20:26] = 1.0
    heat[2, 2] = 0.9  # another hot place, apart from it
    assert hottest_box(heat, (320, 320)) == (200, 100, 260, 140)
    wide = np.zeros((32, 32))
    wide[12:16, 4:8] = 1.0  # of a picture twice as wide as high: rows 8 to 24 of the square
    assert hottest_box(wide, (64, 32)) == (8, 8, 16, 16)
    assert cropped(wide, (64, 32)).shape == (16, 32)


def test_a_flat_map_gives_the_whole_picture():
    assert hottest_box(np.ones((8, 8)), (80, 80)) == (0, 0, 80, 80)


def test_an_overlay_has_the_resolution_of_the_picture_and_shows_the_box():
    heat = np.zeros((28, 28))
    heat[20:24, 4:8] = 3.0
    picture = PIL.Image.new("RGB", (300, 150), (90, 90, 90))
    drawn = np.asarray(overlay(picture, heat, 3.0, (40, 100, 90, 140)))
    assert drawn.shape == (150, 300, 3)
    assert tuple(drawn[100, 60]) == (217, 119, 6) and tuple(drawn[50, 200]) != (217, 119, 6)


# ---- tables and sheets ----

ROWS = [
    Checked("b.png", 1.0, 40.0, "ordinary", (0, 0, 5, 5)),
    Checked("a.png", 3.0, 99.0, "strange", (1, 2, 3, 4)),
    Checked("=cmd()", 2.0, None, None, None),
]


def test_a_table_has_a_row_for_each_picture_and_nothing_that_a_spreadsheet_runs():
    rows = list(csv.DictReader(to_csv(ROWS).splitlines()))
    assert [row["name"] for row in rows] == ["b.png", "a.png", "'=cmd()"]
    assert rows[1]["verdict"] == "strange" and [rows[1][k] for k in ("left", "top", "right", "bottom")] == list("1234")
    assert rows[2]["percentile"] == rows[2]["verdict"] == rows[2]["left"] == ""


def test_a_sheet_shows_the_strangest_first_with_a_frame_in_the_colour_of_the_verdict():
    assert [row.name for row in strangest_first(ROWS)] == ["a.png", "=cmd()", "b.png"]
    made = sheet(strangest_first(ROWS), {row.name: PIL.Image.new("L", (28, 28), 30) for row in ROWS})
    pixels = np.asarray(made)
    assert tuple(pixels[6, 8]) == (217, 119, 6) and made.width > 3 * 160


# ---- a watched folder ----


def test_a_file_is_handed_over_once_and_only_when_it_is_finished(tmp_path):
    watched = Watched(tmp_path, frozenset({".png"}))
    (tmp_path / "a.png").write_bytes(b"half")
    assert watched.look() == [], "it may still grow"
    (tmp_path / "a.png").write_bytes(b"half and the rest")
    assert watched.look() == [], "it has grown"
    assert watched.look() == [tmp_path / "a.png"]
    assert watched.look() == [], "once"
    (tmp_path / ".b.png").write_bytes(b"hidden")
    (tmp_path / "c.txt").write_bytes(b"no picture")
    (tmp_path / "d.png").mkdir()
    (tmp_path / "e.png").touch()
    assert watched.look() == watched.look() == []
    os.utime(tmp_path / "a.png", ns=(1, 2))
    (tmp_path / "a.png").write_bytes(b"another picture")
    assert [watched.look(), watched.look()] == [[], [tmp_path / "a.png"]], "written anew, it is another picture"
    (tmp_path / "a.png").unlink()
    assert watched.look() == []


def test_watching_hands_over_in_the_order_of_time(tmp_path):
    for i, name in enumerate(("z.png", "a.png", "m.png")):
        (tmp_path / name).write_bytes(b"x")
        os.utime(tmp_path / name, ns=(i, i))
    seen = []
    watch(Watched(tmp_path, frozenset({".png"})), lambda files: seen.extend(f.name for f in files), 0.0, looks=3)
    assert seen == ["z.png", "a.png", "m.png"]


# ---- the commands ----


@pytest.fixture
def run(tiny_checkpoints, tmp_path, monkeypatch):
    """Run a command in a folder with `good/` of eight pictures and `bad/` of three, and a checkpoint "mine" -> its output."""
    shutil.copytree(tiny_checkpoints / "tiny-feature-memory", tmp_path / "checkpoints" / "mine")
    monkeypatch.setenv("GENARIUM_CHECKPOINTS", str(tmp_path / "checkpoints"))
    monkeypatch.chdir(tmp_path)
    pixels = ((pictures(8, seed=1) + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy()
    (tmp_path / "good").mkdir()
    (tmp_path / "bad").mkdir()
    for i, picture in enumerate(to_pictures(pixels)):
        picture.resize((112, 56)).save(tmp_path / f"good/{i}.png")
    noise = np.random.default_rng(0).integers(0, 256, (3, 56, 112), np.uint8)
    for i, picture in enumerate(noise):
        PIL.Image.fromarray(picture).save(tmp_path / f"bad/{i}.png")

    def call(*arguments, fails=False):
        result = CliRunner().invoke(app, [str(a) for a in arguments] + ["--device", "cpu", "--dtype", "float32"])
        assert (result.exit_code != 0) == fails, (result.output, result.exception)
        return result.output + (str(result.exception) if fails else "")

    return call


def test_a_folder_gives_verdicts_boxes_overlays_and_a_sheet(run, tmp_path):
    said = run("anomaly", "mine", "--images", "bad", "--out", "s.json", "--overlays", "heat", "--sheet", "sheet.png")
    found = json.loads((tmp_path / "s.json").read_text())
    assert "3 strange" in said and found["threshold"] > 0
    assert [one["verdict"] for one in found["images"]] == ["strange"] * 3
    for one in found["images"]:
        left, top, right, bottom = one["box"]
        assert 0 <= left < right <= 112 and 0 <= top < bottom <= 56
        assert PIL.Image.open(tmp_path / "heat" / f"{one['name']}.png").size == (112, 56)
    assert PIL.Image.open(tmp_path / "sheet.png").width > 400
    run("anomaly", "mine", "--images", "bad", "--out", "s.csv", "--threshold", "1e9")
    rows = list(csv.DictReader((tmp_path / "s.csv").read_text().splitlines()))
    assert [row["verdict"] for row in rows] == ["ordinary"] * 3


def test_calibrate_keeps_the_threshold_of_least_cost_and_anomaly_goes_by_it(run, tmp_path):
    said = run("calibrate", "mine", "--normal", "good", "--strange", "bad", "--miss", "100", "--per-hour", "100")
    assert "recall): 100" in said and "Kept in" in said
    kept = json.loads((tmp_path / "checkpoints/mine/thresholds.json").read_text())["scores"]["both"]
    assert len(kept["normal"]) == 8 and len(kept["strange"]) == 3, "files of one name in two folders stay apart"
    run("anomaly", "mine", "--images", "good", "--out", "g.json")
    assert json.loads((tmp_path / "g.json").read_text())["threshold"] == kept["threshold"]
    run("calibrate", "mine", "--threshold", "-5")
    run("anomaly", "mine", "--images", "good", "--out", "g.json")
    assert {one["verdict"] for one in json.loads((tmp_path / "g.json").read_text())["images"]} == {"strange"}
    assert "not both" in run("calibrate", "mine", "--threshold", "1", "--percent", "5", fails=True)


def test_marking_by_command_joins_the_calibration(run, tmp_path):
    run("anomaly", "mine", "--images", "bad", "--mark", "normal", "--out", "s.json")
    kept = json.loads((tmp_path / "checkpoints/mine/thresholds.json").read_text())["scores"]["both"]
    assert set(kept["normal"]) == {"bad/0.png", "bad/1.png", "bad/2.png"} and kept["threshold"] is None
    run("anomaly", "mine", "--images", "bad", "--mark", "strange", "--out", "s.json")
    kept = json.loads((tmp_path / "checkpoints/mine/thresholds.json").read_text())["scores"]["both"]
    assert not kept["normal"] and len(kept["strange"]) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "s.json"], "Give --images"),
        (["--images", "good", "--watch", "good"], "one of the two"),
        (["--watch", "good"], "ends in .csv"),
        (["--watch", "nowhere", "--out", "s.csv"], "no such folder"),
        (["--watch", "good", "--out", "s.csv", "--sheet", "a.png"], "neither"),
        (["--images", "good", "--mark", "odd"], "normal or strange"),
        (["--images", "good", "--sheet", "a.gif"], "ends in .png"),
    ],
)
def test_options_that_do_not_go_together_are_refused_before_any_work(run, arguments, words):
    assert words in run("anomaly", "mine", *arguments, fails=True)


def test_a_watched_folder_gets_a_verdict_for_each_picture_that_comes(run, tmp_path, monkeypatch, caplog):
    from genarium.tasks.anomaly import watching

    (tmp_path / "in").mkdir()
    shutil.copy(tmp_path / "bad/0.png", tmp_path / "in/first.png")
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 2:
            shutil.copy(tmp_path / "good/0.png", tmp_path / "in/second.png")
            (tmp_path / "in/broken.png").write_bytes(b"no picture")
        if len(looks) == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(watching.time, "sleep", sleep)
    result = CliRunner().invoke(
        app, ["anomaly", "mine", "--watch", "in", "--out", "w.csv", "--device", "cpu", "--dtype", "float32"]
    )
    assert "first.png" in result.output and "broken.png is left out" in caplog.text
    rows = list(csv.DictReader((tmp_path / "w.csv").read_text().splitlines()))
    assert [row["name"] for row in rows] == ["first.png", "second.png"] and rows[0]["verdict"] == "strange"


def test_a_judge_of_stored_quantiles_agrees_with_the_command():
    judge = Judge([0.0, 1.0, 2.0], Calibration())
    assert judge.verdict(1.95) == "strange" and judge.verdict(1.0) == "ordinary"
