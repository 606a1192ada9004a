"""Classes chosen by name: names with commas, names that differ in case alone, names that are numbers."""

import pytest

from genarium.errors import InputError
from genarium.runtime.classes import labels_of

FISH = ("tench, Tinca tinca", "goldfish", "great white shark, white shark, man-eater", "white shark")
LETTERS = ("A", "B", "a", "b", "Ç")


@pytest.mark.parametrize(
    ("choices", "labels"),
    [
        (["tench, Tinca tinca"], [0]),
        (["tench, Tinca tinca,goldfish"], [0, 1]),
        (["tench", "Tinca tinca", "goldfish"], [0, 1]),  # as a command line that cuts at commas gives it
        (["GOLDFISH, Tench,  tinca tinca"], [1, 0]),
        (["great white shark, white shark, man-eater", "white shark"], [2, 3]),
        (["white shark, goldfish"], [3, 1]),
        (["1,0", 3, 2.0], [1, 0, 3, 2]),
    ],
)
def test_names_with_commas(choices, labels):
    assert labels_of(choices, FISH) == labels


def test_case_decides_only_where_it_must():
    assert labels_of(["A", "a", "b", "B"], LETTERS) == [0, 2, 3, 1]
    assert labels_of(["ç"], LETTERS) == [4]
    with pytest.raises(InputError, match="Several classes are called 'CAT': 0 Cat, 1 cat"):
        labels_of(["CAT"], ("Cat", "cat"))


def test_a_whole_number_is_a_label_and_a_text_first_a_name():
    names = ("1", "2", "10")
    assert labels_of(["1", "10", "2"], names) == [0, 2, 1]
    assert labels_of([0, 1, 2], names) == [0, 1, 2]
    assert labels_of(["0"], names) == [0], "no class is called 0, so it is the label"


@pytest.mark.parametrize("choice", ["carp", 4, -1, 1.5, True, None, float("inf")])
def test_what_is_no_class_is_refused_with_those_that_there_are(choice):
    with pytest.raises(InputError, match=r"No class.*there are 0 tench"):
        labels_of([choice], FISH)
