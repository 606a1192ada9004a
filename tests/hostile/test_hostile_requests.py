"""What a stranger may send in a request: each bound is tried at small sizes, and each refusal is a clear error."""

import json
import math
import sys

import numpy as np
import pytest

from genarium.catalogue import find_checkpoints
from genarium.errors import InputError
from genarium.families import discover
from genarium.messages import MAX_MESSAGE, MAX_QUOTED, listed, quoted
from genarium.runtime import classes
from genarium.runtime.classes import labels_of, shortest_cycle
from genarium.runtime.request import Request, parse_number, parse_seed
from genarium.tasks.controls import MAX_TEXT, Control

WRONG = [10**400, -(10**400), int("9" * 4000) ** 2, math.inf, -math.inf, math.nan, "9" * 5000, "1e400", "nan"]
WRONG += [None, [], {}, "x", "\ud800", ["1"] * 1000]


@pytest.fixture(scope="module")
def ddpm(tiny_checkpoints):
    return find_checkpoints(discover(installed=False)).checkpoints["tiny-ddpm"]


@pytest.mark.parametrize("value", WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_numbers_that_are_none(value):
    """Whatever stands for a number, the answer is one short sentence."""
    tried = [
        Control("steps", "integer", 1).check,
        Control("scale", "number", 1.0).check,
        parse_seed,
        lambda value: labels_of([value], ["a", "b"]),
    ]
    if not isinstance(value, int):  # how many images are too many depends on who asks
        tried.append(parse_number)
    for attempt in tried:
        with pytest.raises(InputError) as error:
            attempt(value)
        assert len(str(error.value)) < 300
        str(error.value).encode()


def test_a_parameter_s_text_has_an_end():
    control = Control("speaker", "text", "")
    assert control.check("a" * MAX_TEXT) == "a" * MAX_TEXT
    for wrong in ("a" * (MAX_TEXT + 1), ["a"], {"a": 1}, 3):
        with pytest.raises(InputError, match="takes a text"):
            control.check(wrong)


def test_what_is_quoted_is_short_and_can_be_printed():
    deep = []
    for _ in range(10_000):
        deep = [deep]
    for value in ("a" * 10**6, deep, {"b" * 10**5: "c" * 10**5}, 10**10_000, [0] * 10**6, "\ud800" * 500, *WRONG):
        assert len(quoted(value)) <= MAX_QUOTED
        quoted(value).encode()
    assert quoted("vae") == "'vae'" and quoted(7) == "7"
    assert listed(["a", "b"]) == "a, b"
    assert len(listed(f"name {i}" for i in range(10**6))) <= MAX_QUOTED
    text = str(InputError("\udc80" + "a" * 10**6))
    assert len(text) < MAX_MESSAGE + 10
    text.encode()


@pytest.mark.parametrize("labels", [(1, 2), (0,) * 5, ()])
def test_each_image_has_one_class(ddpm, labels):
    with pytest.raises(InputError, match=f"{len(labels)} class labels for 4 images"):
        Request("tiny-ddpm", "generate", batch_size=4, class_labels=labels).checked(ddpm)


def test_classes_are_counted_before_they_are_looked_up(monkeypatch):
    monkeypatch.setattr(classes, "MAX_CHOICES", 3)
    monkeypatch.setattr(classes, "MAX_TEXT", 20)
    assert labels_of(["a,b", 0], ["a", "b"]) == [0, 1, 0]
    for many in ([0] * 4, ["a,b,a,b"], ["a" * 21]):
        with pytest.raises(InputError, match="at most 3 are taken"):
            labels_of(many, ["a", "b"])


def test_labels_are_looked_at_a_few_times_only():
    """The shortest cycle takes linear time: counted in comparisons, not in seconds."""
    compared = 0

    class Label(int):
        def __eq__(self, other):
            nonlocal compared
            compared += 1
            return int(self) == int(other)

        __hash__ = int.__hash__

    number = 2000
    for labels in ([0] * (number - 1) + [1], [i % 2 for i in range(number)], list(range(number))):
        compared = 0
        cycle = shortest_cycle(tuple(Label(label) for label in labels))
        assert compared < 5 * number
        assert [int(cycle[i % len(cycle)]) for i in range(number)] == labels
    rng = np.random.default_rng(0)
    for _ in range(200):  # against the definition
        labels = tuple(rng.integers(0, 2, rng.integers(1, 9)).tolist())
        fits = (n for n in range(1, 10) if all(labels[i] == labels[i % n] for i in range(len(labels))))
        assert shortest_cycle(labels) == list(labels[: next(fits)])


def test_no_folder_of_this_machine_is_named(tmp_path):
    from gradio.utils import get_upload_folder

    from genarium import paths
    from genarium.ui.answers import said

    for folder in (get_upload_folder(), str(paths.ROOT)):
        text = said(InputError(f"There is no file {folder}/abc/cat.png.")).message
        assert text == "There is no file abc/cat.png."


def test_a_folder_within_another_is_not_named_either(tmp_path, monkeypatch):
    from genarium import paths
    from genarium.ui.answers import without_folders

    monkeypatch.setattr(paths, "ROOT", tmp_path / "suite")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert without_folders(f"There is no file {paths.ROOT}/abc/cat.png.") == "There is no file abc/cat.png."


def test_python_s_own_limit_of_digits_stands():
    """`quoted` relies on no setting: Python refuses to write such a number by itself."""
    assert sys.get_int_max_str_digits() == 4300
    with pytest.raises(ValueError):
        json.dumps(10**5000)
