"""A comparison asks every checkpoint the same, gives what each gives alone, and says clearly what does not fit."""

import io
import itertools
import json
import random
import re
import zipfile
from dataclasses import replace

import numpy as np
import PIL.Image
import pytest
import torch
from conftest import pictures
from typer.testing import CliRunner

from genarium.catalogue import find_checkpoints
from genarium.checkpoints import Checkpoint
from genarium.cli import app
from genarium.errors import GenariumError, InputError
from genarium.media.pictures import read_request, to_pictures
from genarium.runtime import Progress, Request, Runtime
from genarium.runtime.links import MAX_LINK
from genarium.tasks.compare.agreement import consensus, disagreement, most_disputed, rank_agreement, together
from genarium.tasks.compare.bundled import Point, minutes_of, points
from genarium.tasks.compare.chart import chart_html
from genarium.tasks.compare.comparison import MAX_COLUMNS, MAX_JUDGED, Comparison, parse_values
from genarium.tasks.compare.offer import FEWEST, MOST, PICTURES, Offer, suggested
from genarium.tasks.compare.quality import EXACT, psnr, ssim
from genarium.tasks.compare.running import Board, Cell, Row, compare
from genarium.tasks.compare.sheet import report, save_sheet, to_python, zip_of
from genarium.tasks.compare.table import Table, notes_html
from genarium.tasks.compare.vote import REAL, Ballot, Tally, draw_ballot
from genarium.tasks.controls import Control
from genarium.tasks.discovery import find_tasks
from genarium.ui.texts import Texts

PAIR = ("tiny-vae", "tiny-ddpm")


@pytest.fixture(scope="module")
def runtime(families, tiny_checkpoints):
    return Runtime(find_checkpoints(families), device="cpu")


@pytest.fixture(scope="module")
def images():
    return to_pictures(((pictures(3) + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).numpy())


def same(a: PIL.Image.Image, b: PIL.Image.Image) -> bool:
    return np.array_equal(np.asarray(a), np.asarray(b))


# ---- what is asked ----


def test_a_row_is_what_the_checkpoint_gives_alone(runtime):
    compared = compare(runtime, Comparison(PAIR, number=3, seed=5, class_name="class 2"))
    assert compared.titles == ("seed 5", "seed 6", "seed 7") and [r.checkpoint.name for r in compared.rows] == list(
        PAIR
    )
    for row in compared.rows:
        alone = runtime.run(Request(row.checkpoint.name, "generate", 5, 3, (2, 2, 2)))
        assert all(same(cell.picture, picture) for cell, picture in zip(row.cells, alone.pictures, strict=True))
    assert compared.first <= compared.seconds


def test_columns_are_classes_or_values_of_a_parameter(runtime):
    by_class = compare(runtime, Comparison(PAIR, columns="class"))
    assert by_class.titles == tuple(f"class {i}" for i in range(10))
    assert by_class.rows[0].cells[0].request.class_labels == tuple(range(10))
    by_value = compare(runtime, Comparison(PAIR, columns="num_inference_steps", values=(1, 2), seed=4))
    assert [len(row.cells) for row in by_value.rows] == [1, 2]  # a VAE has no steps
    alone = runtime.run(Request("tiny-ddpm", "generate", 4, 1, None, {"num_inference_steps": 2}))
    assert same(by_value.rows[1].cells[1].picture, alone.pictures[0])
    assert not same(*(cell.picture for cell in by_value.rows[1].cells))


def test_pictures_go_through_every_checkpoint(runtime, images):
    restored = compare(runtime, Comparison(PAIR, "reconstruct"), images)
    alone = runtime.run(Request("tiny-vae", "reconstruct"), {"images": images})
    assert all(same(c.picture, p) for c, p in zip(restored.rows[0].cells, alone.pictures, strict=True))
    figures = restored.rows[0].cells[1].figures
    assert figures["psnr"] == psnr(alone.pictures[1], alone.inputs[1]) and -1 <= figures["ssim"] <= 1
    walk = compare(runtime, Comparison(PAIR, "interpolate", number=4), images[:2])
    assert [len(row.cells) for row in walk.rows] == [4, 4] and len(walk.titles) == 4
    judged = compare(runtime, Comparison(PAIR, "anomaly"), images)
    assert all(0 <= cell.figures["percentile"] <= 100 for row in judged.rows for cell in row.cells)


@pytest.mark.parametrize(
    ("wrong", "number", "message"),
    [
        (Comparison(()), 0, "checkpoints"),
        (Comparison(("tiny-vae", "tiny-vae")), 0, "once"),
        (Comparison(("nobody",)), 0, "no checkpoint"),
        (Comparison(PAIR, "swap_style"), 0, "Choose what to compare"),
        (Comparison(PAIR, number=0), 0, "between 1 and"),
        (Comparison(PAIR, number=999), 0, "between 1 and"),
        (Comparison(PAIR, seed=-1), 0, "seed"),
        (Comparison(PAIR, columns="nonsense", values=(1,)), 0, "not a parameter"),
        (Comparison(PAIR, columns="num_inference_steps"), 0, "Give 1 to"),
        (Comparison(PAIR, columns="num_inference_steps", values=("many",)), 0, "takes a whole number"),
        (Comparison(PAIR, values=(1,)), 0, "belong to a parameter"),
        (Comparison(PAIR, class_name="unicorn"), 0, "no class"),
        (Comparison(PAIR, parameters={"nonsense": 1}), 0, "not a parameter"),
        (Comparison(PAIR), 1, "give no pictures"),
        (Comparison(PAIR, "interpolate"), 1, "give 2"),
        (Comparison(PAIR, "reconstruct"), 0, "Give 1 to"),
        (Comparison(PAIR, "reconstruct", columns="class"), 1, "for generating"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_is_computed(runtime, images, wrong, number, message):
    with pytest.raises(GenariumError, match=message):
        Board(runtime, wrong, images[:number])


def test_a_link_and_a_file_carry_the_comparison():
    whole = Comparison(
        PAIR, "generate", "guidance_scale", (1.5, 2), 3, 7, "Bag", {"sampler": "ddim", "eta": 0.5}, "yes"
    )
    assert Comparison.from_query(whole.to_query()) == whole
    assert Comparison.from_dict(json.loads(json.dumps(whole.to_dict()))) == whole
    assert Comparison(PAIR).to_query() == {"checkpoints": "tiny-vae,tiny-ddpm"}


@pytest.mark.parametrize(
    "query",
    [
        {"seed": "x"},
        {"seed": "[" * 3000},
        {"number": "1e400"},
        {"unknown": "1"},
        {"values": '{"a": 1}'},
        {"class_name": "x" * (MAX_LINK + 1)},
    ],
)
def test_a_damaged_link_is_a_clear_error(query):
    with pytest.raises(InputError):
        Comparison.from_query(query)


def test_values_are_read_as_a_person_writes_them():
    assert parse_values(" 1, 2.5,True ,euler,") == (1, 2.5, True, "euler")
    assert suggested(Control("steps", "integer", 12, minimum=1, maximum=1000, step=1)) == [3, 6, 12, 24, 48]
    assert suggested(Control("eta", "number", 0.0, minimum=0.0, maximum=1.0, step=0.05)) == [0.0, 0.5, 1.0]
    assert suggested(Control("mode", "choice", "a", choices=("a", "b"))) == ["a", "b"]


def test_the_page_begins_with_the_fast_ones(runtime, monkeypatch):
    seconds = {name: 1.0 / (i + 1) for i, name in enumerate(runtime.catalogue.checkpoints)}
    monkeypatch.setattr(
        "genarium.tasks.compare.offer.figures_of",
        lambda one: {} if one.name == PAIR[0] else {"seconds_per_image": seconds[one.name]},
    )
    offer = Offer(runtime.catalogue)
    start = offer.usual(PAIR[0])
    assert start.checkpoints[-1] == PAIR[0], "what was not measured comes last"
    measured = [seconds[name] for name in start.checkpoints[:-1]]
    assert measured == sorted(measured) and len(measured) > 1
    assert FEWEST <= start.number <= MOST and start.number * len(start.checkpoints) <= PICTURES


def test_a_choice_of_all_checkpoints_of_a_data_set_is_known_as_that(runtime, monkeypatch):
    monkeypatch.setattr(Checkpoint, "data", property(lambda one: "user/clothes" if one.name in PAIR else None))
    offer = Offer(runtime.catalogue)
    assert offer.common_data("generate", PAIR[::-1]) == "user/clothes"
    assert offer.common_data("generate", PAIR[:1]) is None and offer.common_data("generate", None) is None


def test_the_table_brings_news_of_rows_at_once_and_of_previews_now_and_then(runtime, monkeypatch):
    monkeypatch.setattr("genarium.tasks.compare.table.PAUSE", float("inf"))
    board = Board(runtime, Comparison(PAIR, number=1))
    table = Table(board, Texts().of(find_tasks()["compare"]))
    assert "<img" not in table.html() and table.news() is None
    for request in board.jobs():
        first, second = (Progress(i, 9, 0.0, [PIL.Image.new("L", (4, 4), i)]) for i in (1, 2))
        board.take(first)
        assert table.news() == table.html(), "the first preview of a row is not late"
        board.take(second)
        assert table.news() is None, "the next one waits"
        board.take(runtime.run(request))
        assert table.news().count('class="done"') == len(board.rows)


# ---- figures ----


def test_quality_agrees_with_torchmetrics():
    from torchmetrics.functional.image import structural_similarity_index_measure

    noise = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    noise[1] = noise[0] // 2 + noise[1] // 2
    a, b = to_pictures(noise)
    error = np.square(noise[0].astype(float) - noise[1]).mean() / 255**2
    assert psnr(a, b) == pytest.approx(-10 * np.log10(error)) and psnr(a, a) == EXACT
    x, y = torch.from_numpy(noise).permute(0, 3, 1, 2).double()[:, None] / 255
    assert ssim(a, b) == pytest.approx(structural_similarity_index_measure(x, y, data_range=1.0).item(), abs=1e-6)
    assert ssim(a, a) == pytest.approx(1)


def row(runtime, name, *figures):
    picture = PIL.Image.new("L", (4, 4))
    request = Request(name, "anomaly")
    return Row(runtime.checkpoint(name), tuple(Cell(picture, request, figure) for figure in figures), 0.0, 0.0)


def test_models_agree_or_not(runtime):
    rows = [
        row(runtime, "tiny-vae", {"score": 1, "percentile": 99}, {"score": 0, "percentile": 10}),
        row(runtime, "tiny-ddpm", {"score": 9, "percentile": 97}, {"score": 5, "percentile": 96}),
        row(runtime, "tiny-dit", {"score": 2, "percentile": 20}, {"score": 3, "percentile": 30}),
        row(runtime, "tiny-vqgan", {"score": 2}, {"score": 3}),
    ]
    first, second = consensus(rows, 0), consensus(rows, 1)
    assert first.verdict == "strange" and first.strange == PAIR and first.unknown == ("tiny-vqgan",)
    assert second.verdict == "ordinary" and second.ordinary == ("tiny-vae", "tiny-dit")
    assert consensus(rows[:3:2], 0).verdict == "divided" and consensus(rows[3:], 0).verdict == "unknown"
    ranks = rank_agreement(rows)
    assert ranks[0, 1] == pytest.approx(1) and ranks[0, 2] == pytest.approx(-1)
    assert disagreement(rows) == [79, 86] and most_disputed(rows) == [(1, 86), (0, 79)]
    said = together(rows)
    assert [one["verdict"] for one in said["consensus"]] == ["strange", "ordinary"]
    assert said["spearman"][0][2] == pytest.approx(-1) and said["most_disputed"][0] == {"picture": 2, "span": 86}
    assert together([row(runtime, "tiny-vae", {"score": 1})])["most_disputed"] == []


def test_a_folder_is_judged_whole_though_the_table_shows_its_first_pictures(runtime, images, tmp_path):
    number = MAX_COLUMNS + 2
    board = Board(runtime, Comparison(PAIR, "anomaly"), [images[i % 3] for i in range(number)])
    for request in board.jobs():
        board.take(runtime.run(request, board.inputs))
    texts = Texts().of(find_tasks()["compare"])
    assert Table(board, texts).html().count("<img") == 2 * MAX_COLUMNS
    compared = board.compared()
    assert f"{number} pictures" in notes_html(compared, texts)
    reported = report(compared)
    assert len(reported["together"]["consensus"]) == len(reported["rows"][0]["figures"]) == number
    assert len(reported["together"]["spearman"]) == 2
    with PIL.Image.open(save_sheet(compared, tmp_path / "sheet.png")) as sheet:
        assert sheet.width < 130 * MAX_COLUMNS + 230
    with pytest.raises(InputError, match="Give 1 to"):
        Board(runtime, Comparison(PAIR, "anomaly"), images[:1] * (MAX_JUDGED + 1))


def test_the_chart_shows_each_point_and_the_floor():
    found = [
        Point(
            f"model-{i}",
            {"en": f"Model {i}", "zh": f"模型 {i}"},
            f"family {i}",
            "a/b",
            frechet=50.0 + i,
            of_real=40.0,
            seconds=0.1 * (i + 1),
            parameters=1.0,
            images=1,
        )
        for i in range(5)
    ]
    svg = chart_html(found, "seconds", "seconds", "?checkpoints={name}")
    assert svg.count("<circle") == 5 and 'class="floor"' in svg and 'href="?checkpoints=model-3"' in svg
    assert ">Model 3<" in svg and ">模型 3<" in svg
    assert chart_html([replace(p, seconds=None) for p in found], "seconds", "", "") == ""
    hostile = replace(found[0], name='<script>"', title={"en": "<script>", "zh": "<script>"})
    assert "<script>" not in chart_html([hostile], "seconds", "", "?{name}")


def test_names_in_the_chart_cover_nothing_even_where_points_are_close():
    names = [f"A model with a long name {i}" for i in range(12)]
    found = [
        Point(name, {"en": name, "zh": name}, name, "a/b", 100.0 + i % 3, None, 1 + 0.01 * i, 1.0, 1)
        for i, name in enumerate(names)
    ]
    svg = chart_html(found, "seconds", "seconds", "?checkpoints={name}")
    spots = re.findall(r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(start|end)"><tspan class="in-en">A model', svg)
    assert len(spots) == 12 and 'class="lead"' in svg
    heights = {side: sorted(float(y) for _, y, anchor in spots if anchor == side) for side in ("start", "end")}
    gaps = [b - a for side in heights.values() for a, b in itertools.pairwise(side)]
    assert min(gaps) > 6, "points lie at one place nearly, so names on one side stand under one another"


def test_the_length_of_a_training_is_read_from_its_card():
    assert minutes_of("72 minutes beside other work, 448 thousand images") == 72
    assert minutes_of("30 seconds, one pass") == 0.5 and minutes_of("1.5 hours") == 90
    assert minutes_of("") is None and minutes_of("all night") is None


def test_only_measured_checkpoints_are_points(runtime):
    assert points(runtime.catalogue.checkpoints) == []


# ---- files ----


def test_the_sheet_and_the_zip_remember_everything(runtime, tmp_path):
    compared = compare(runtime, Comparison(PAIR, number=2))
    sheet = save_sheet(compared, tmp_path / "sheet.png")
    assert Comparison.from_dict(read_request(sheet)["comparison"]) == compared.comparison
    with zipfile.ZipFile(io.BytesIO(zip_of(compared))) as archive:
        names = set(archive.namelist())
        assert {"comparison.json", "sheet.png", "tiny-vae/00.png", "tiny-ddpm/01.png"} <= names
        report = json.loads(archive.read("comparison.json"))
        picture = PIL.Image.open(io.BytesIO(archive.read("tiny-ddpm/01.png")))
    assert [r["checkpoint"] for r in report["rows"]] == list(PAIR)
    assert same(picture, compared.rows[1].cells[1].picture)
    program = to_python(compared)
    compile(program, "program", "exec")
    assert "number=2" in program


def test_the_command_writes_a_sheet(tiny_checkpoints, tmp_path):
    out = tmp_path / "out.json"
    result = CliRunner().invoke(app, ["compare", *PAIR, "-n", "2", "--seed", "3", "--out", str(out)])
    assert result.exit_code == 0, result.output
    report = json.loads(out.read_text())
    assert report["columns"] == ["seed 3", "seed 4"] and "2 checkpoints" in result.output


# ---- the vote ----


def test_a_vote_is_between_two_sources_of_one_class(runtime):
    checkpoints = [runtime.checkpoint(name) for name in PAIR]
    ballots = [draw_ballot(checkpoints, ["class 1"], random.Random(i)) for i in range(60)]
    assert all(b.a != b.b and {b.a, b.b} <= {*PAIR, REAL} for b in ballots)
    assert all(b.class_name == "class 1" for b in ballots if REAL in (b.a, b.b))
    assert any(REAL in (b.a, b.b) for b in ballots)
    assert ballots[0].request(checkpoints[1]).class_labels == (int(ballots[0].class_name[-1]),)
    with pytest.raises(InputError, match="two checkpoints"):
        draw_ballot(checkpoints[:1], [], random.Random(0))


def test_a_vote_says_a_class_only_where_both_were_asked_for_it(runtime, monkeypatch):
    names = ("tiny-vae", "tiny-ddpm", "tiny-dit", "tiny-vqgan")
    checkpoints, free = [runtime.checkpoint(name) for name in names], names[2:]
    monkeypatch.setattr(
        type(checkpoints[0]), "takes_classes", lambda one, task: bool(one.class_names) and one.name not in free
    )
    ballots = [draw_ballot(checkpoints, ["class 1"], random.Random(i)) for i in range(80)]
    asked, any_class = {"tiny-vae", "tiny-ddpm", REAL}, set(free)
    assert all({b.a, b.b} <= (asked if b.class_name else any_class) for b in ballots)
    assert {source for b in ballots for source in (b.a, b.b)} == asked | any_class
    mixed = draw_ballot(checkpoints[1:3], ["class 1"], random.Random(0))
    assert {mixed.a, mixed.b} <= {"tiny-ddpm", "tiny-dit", REAL}


def test_the_tally_counts_each_source():
    ballot = Ballot("x", "y", "", 0)
    tally = Tally().counted(ballot, "a").counted(ballot, "neither").counted(replace(ballot, a="y", b=REAL), "b")
    assert tally.shares() == {REAL: 1.0, "x": 0.75, "y": pytest.approx(1 / 6)}
    with pytest.raises(InputError):
        tally.counted(ballot, "c")
