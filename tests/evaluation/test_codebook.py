"""Codebooks: measured on a model whose codes are known, stored, drawn, and not taken from files that are wrong."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import ID2LABEL, pictures
from PIL import Image

from genarium.data.images import ImageData
from genarium.evaluation.evaluate import evaluate
from genarium.evaluation.measures import matched_accuracy, normalised_information
from genarium.media.codebook import COLUMNS, Codebook, members_of
from genarium.recipe import DataSpec, EvaluationSpec, Recipe, TrainingSpec
from genarium.runtime import Runtime
from genarium.tasks import find_tasks
from genarium.tasks.reconstruct.codebook import _means
from genarium.ui.codebook import codebook_html
from genarium.ui.texts import Texts
from pipelines.pipeline_discrete_ae import DiscreteAutoencoderPipeline


def test_accuracy_after_the_best_matching():
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2])
    assert matched_accuracy((labels + 1) % 3, labels) == 1.0
    # greedy would match class 0 with label 0 (3 of 5), and lose
    codes = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    truth = torch.tensor([0, 0, 0, 1, 1, 0, 0, 0])
    assert matched_accuracy(codes, truth) == pytest.approx(5 / 8)
    assert matched_accuracy(torch.arange(8), torch.zeros(8, dtype=torch.int64)) == pytest.approx(1 / 8)


def test_normalised_information():
    labels = torch.arange(40) % 4
    assert normalised_information((labels * 3) % 4, labels) == pytest.approx(1)
    assert normalised_information(torch.arange(40) // 20, torch.arange(40) % 2) == pytest.approx(0, abs=1e-9)
    assert normalised_information(labels % 2, labels) == pytest.approx(np.log(2) / (1.5 * np.log(2)))


def squares(number):
    return [Image.new("L", (6, 6), 10 * i) for i in range(number)]


def book(kind="path", size=2, depth=2, **changes):
    members = {"0-1": {"shoe": 3, "bag": 1}, "1-0": {"bag": 2}}
    return Codebook(
        **{"kind": kind, "size": size, "depth": depth, "side": 6, "images": 6, "members": members, **changes}
    )


def test_a_codebook_is_read_as_it_was_written(tmp_path):
    levels = [squares(1), squares(2), squares(4)]
    book().save(tmp_path, levels)
    found = Codebook.load(tmp_path)
    assert found == book() and found.nodes == 7
    sheet = np.asarray(Image.open(tmp_path / "codebook.png"))
    for level, pictures_ in enumerate(levels):
        for node, picture in enumerate(pictures_):
            column, row = found.place(level, node)
            assert sheet[8 * row, 8 * column] == np.asarray(picture)[0, 0]
    assert found.labels_below([0]) == {"shoe": 3, "bag": 1} and found.labels_below([]) == {"bag": 3, "shoe": 3}
    assert found.labels_below([1, 1]) == {}
    many = book(size=10, depth=1)
    assert many.place(1, 5) == (6, 0) and book(size=40, depth=1).place(1, 39) == (40 % COLUMNS, 1)
    assert Codebook("binary", 5, 1, 6, 9).place(2, 0) == (6, 0)
    assert (many.columns, book(size=40, depth=1).columns) == (11, COLUMNS)


def test_members_are_counted_by_prefix():
    members = members_of([[1, 12], [1, 1], [1, 12]], ["a", "a", "b"])
    assert members == {"1-1": {"a": 1}, "1-12": {"a": 1, "b": 1}}
    assert book(size=20, members=members).labels_below([1, 1]) == {"a": 1}, "12 does not begin with 1"


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "words"},
        {"size": 10**9},
        {"depth": -3},
        {"size": 100},
        {"side": 60},
        {"members": {"0": {"<b>": "many"}}},
        {"members": 7},
        {"more": 1},
    ],
)
def test_files_that_are_wrong_are_no_codebook(tmp_path, changes):
    book().save(tmp_path, [squares(1), squares(2), squares(4)])
    facts = json.loads((tmp_path / "codebook.json").read_text())
    (tmp_path / "codebook.json").write_text(json.dumps({**facts, **changes}))
    assert Codebook.load(tmp_path) is None


@pytest.fixture(scope="module")
def texts():
    return Texts().of(find_tasks()["reconstruct"])


def test_the_tree_is_opened_along_the_path(tmp_path, texts):
    book(members={"0-1": {"<shoe>": 3}, "1-0": {"bag": 2}}).save(tmp_path, [squares(1), squares(2), squares(4)])
    html = codebook_html(SimpleNamespace(folder=tmp_path), texts, np.array([[0, 1]]))
    assert html.count("<details") == 3 and html.count(" open>") == 2 and html.count("on-way") == 3
    assert "&lt;shoe&gt; 100 %" in html and "<shoe>" not in html
    assert html.count("<i style") == 7 + 3  # the tree and the path
    other = codebook_html(SimpleNamespace(folder=tmp_path), texts, None)
    assert other.count(" open>") == 1 and "on-way" not in other


def test_classes_and_bits_are_sheets(tmp_path, texts):
    book("one_hot", 3, 1, members={"1": {"bag": 4, "shoe": 1}}).save(tmp_path, [squares(1), squares(3)])
    html = codebook_html(SimpleNamespace(folder=tmp_path), texts, np.array([[1]]))
    assert html.count("<i style") == 3 and html.count("on-way") == 1 and "width:80%" in html
    book("binary", 4, 1, members={"2": {"1": 3}}).save(tmp_path, [squares(1), squares(4), squares(4)])
    html = codebook_html(SimpleNamespace(folder=tmp_path), texts, np.array([[0, 1], [1, 0]]))
    assert html.count("<i style") == 8 and html.count("on-way") == 4 and "50 %" in html
    assert codebook_html(SimpleNamespace(folder=tmp_path / "nothing"), texts, None) == ""


def test_evaluate_measures_and_stores_the_codebook(tmp_path):
    torch.manual_seed(0)
    small = {"network": "fully_connected", "hidden_sizes": [16]}
    pipeline = DiscreteAutoencoderPipeline.build(28, 1, code="one_hot", code_size=4, encoder=small, decoder=small)
    last = pipeline.encoder.layers[-1]
    torch.nn.init.normal_(last.weight, std=3.0)
    pipeline.save_pretrained(tmp_path / "mine")
    data = DataSpec(name="someone/pictures", sample_size=28, channels=1)
    evaluation = EvaluationSpec(num_samples=4, num_test_images=4, seed=3)
    recipe = Recipe("mine", "discrete-ae", "someone/mine", data, {}, TrainingSpec(images=10), evaluation)
    images = ((pictures(30) / 2 + 0.5) * 255).round().to(torch.uint8)
    codes = pipeline.encode(images.permute(0, 2, 3, 1).numpy())
    labels = 9 - codes  # the labels are the classes under other numbers
    test = ImageData(images, labels, ID2LABEL)
    result = evaluate(str(tmp_path / "mine"), Runtime(), recipe, parts=["codebook"], test=test, card=False)
    found = {m["name"]: (m["value"], m["n"]) for m in result["metrics"]}
    assert found["matched_accuracy"] == (1.0, 30) and found["normalised_information"] == (1.0, 30)
    assert found["codes_used"][0] == len(codes.unique()) / 4
    stored = Codebook.load(tmp_path / "mine")
    assert stored.members == {
        str(code): {ID2LABEL[str(9 - code)]: int((codes == code).sum())} for code in sorted(codes.unique().tolist())
    }


def test_bits_show_the_means_of_the_pictures_that_have_them():
    images = torch.tensor([10, 20, 60], dtype=torch.uint8)[:, None, None, None].expand(3, 1, 4, 4)
    codes = torch.tensor([[0.0, 1.0], [0.0, 1.0], [1.0, 1.0]])
    mean, zero, one = _means(images, codes)
    assert [np.asarray(p)[0, 0] for p in (*mean, *zero, *one)] == [30, 15, 30, 60, 30]
