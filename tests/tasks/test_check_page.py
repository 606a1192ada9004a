"""What the page Check holds and draws, without a browser."""

import io
import json
import re
import zipfile

import numpy as np
import PIL.Image
import pytest

from genarium.catalogue import find_checkpoints
from genarium.errors import InputError
from genarium.runtime import Runtime
from genarium.tasks.anomaly.calibration import Calibration, Judge, read_calibration
from genarium.tasks.check.histogram import WIDTH, histogram_svg, scale_of
from genarium.tasks.check.looking import MAX_PICTURES, MAX_SIDE, Look, read
from genarium.tasks.check.panel_question import number_of

WORDS = {"normal": "N", "strange": "S", "seen": "here"}


@pytest.fixture
def found(tmp_path):
    files = []
    for i in range(3):
        PIL.Image.new("RGB", (8, 8), (i, i, i)).save(tmp_path / f"{i}.png")
        files.append(str(tmp_path / f"{i}.png"))
    judge = Judge(np.linspace(0, 1, 201).tolist(), Calibration())
    boxes = ((0, 0, 4, 4), None, (1, 1, 2, 2))
    return Look(
        "tiny", "both", judge, ("a.png", "b.png", "c.png"), (0.2, 0.99, 0.97), boxes, tuple(files), tuple(files)
    )


def test_the_line_stands_where_the_threshold_is():
    normal = np.linspace(0, 1, 100)
    drawn = histogram_svg(normal, np.array([]), [0.5], 0.5, "scores", WORDS)
    (x,) = re.findall(r'class="limit" x1="([\d.]+)"', drawn)
    assert float(x) == pytest.approx(WIDTH / 2, abs=1)
    assert 'class="strange" x' not in drawn and drawn.count('class="mark" x1') == 1
    low, high = scale_of(normal, [5.0])
    assert low < 0 and high > 5, "there is room for a line beyond all scores"


def test_one_score_alone_can_be_drawn():
    drawn = histogram_svg(np.array([2.0]), np.array([]), [], 2.0, "scores", WORDS)
    assert "nan" not in drawn and "inf" not in drawn


def test_the_strangest_comes_first_and_verdicts_follow_the_threshold(found):
    assert [row.name for row in found.rows] == ["b.png", "c.png", "a.png"] and found.strange == 2
    moved = found.at(0.98)
    assert [row.verdict for row in moved.rows] == ["strange", "ordinary", "ordinary"]
    assert found.strange == 2, "the other is as it was"


def test_a_mark_joins_at_once_and_takes_back_the_other(found):
    marked = found.marked("c.png", "normal")
    assert marked.judge.calibration.normal == {"c.png": 0.97} and marked.judge.threshold > found.judge.threshold
    again = marked.marked("c.png", "strange")
    assert not again.judge.calibration.normal and again.judge.calibration.strange == {"c.png": 0.97}


def test_what_is_taken_along_agrees_with_the_page(found, tmp_path):
    found = found.at(0.98)
    values = json.loads(found.json())
    assert values["threshold"] == 0.98 and [one["name"] for one in values["images"]] == ["b.png", "c.png", "a.png"]
    assert values["images"][0]["box"] is None and values["images"][1]["box"] == [1, 1, 2, 2]
    assert found.csv().decode().splitlines()[1].startswith("b.png,0.99,")
    names = zipfile.ZipFile(io.BytesIO(found.archive())).namelist()
    assert names == ["001-b.png", "002-c.png", "003-a.png"]
    (tmp_path / "thresholds.json").write_bytes(found.thresholds())
    assert read_calibration(tmp_path, "both").threshold == 0.98, "the file that belongs beside the checkpoint"


def test_pictures_are_read_one_by_one_and_what_cannot_be_read_is_named(tiny_checkpoints, families, tmp_path):
    runtime = Runtime(find_checkpoints(families), device="cpu")
    (tmp_path / "x").mkdir()
    PIL.Image.new("RGB", (2000, 1000)).save(tmp_path / "a.png")
    PIL.Image.new("L", (10, 20)).save(tmp_path / "x/a.png")
    (tmp_path / "b.png").write_bytes(b"nothing")
    files = [str(tmp_path / name) for name in ("a.png", "b.png", "x/a.png")]
    names, given, fitted, unread = read(runtime, "tiny-feature-memory", files)
    assert names == ["a.png", "a.png (2)"] and [one.size for one in fitted] == [(28, 28)] * 2
    assert given[0].size == (MAX_SIDE, MAX_SIDE // 2) and len(unread) == 1 and unread[0].startswith("b.png: ")
    for wrong, words in (([], "no picture yet"), (files * MAX_PICTURES, "At most"), (files[1:2], "None of the 1")):
        with pytest.raises(InputError, match=words):
            read(runtime, "tiny-feature-memory", wrong)


@pytest.mark.parametrize("value", [{}, [1], "2", True, float("nan"), float("inf"), 10**400, None])
def test_what_is_no_number_of_the_page_is_refused_in_words(value):
    with pytest.raises(InputError, match="Give a number, not"):
        number_of(value)
