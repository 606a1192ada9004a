"""Messages in Chinese: each belongs to a message that the code has, and what a visitor can come upon has one."""

import ast
import re
from pathlib import Path

import pytest
import yaml

import genarium
from genarium.errors import RecipeError
from genarium.recipe import read_recipe
from genarium.ui import problems

ROOT = Path(genarium.__file__).parent
# what visitors of the pages read; the other modules speak to programs and to the command line, too
SHOWN = [
    "media/decoding.py",
    "ui/controls.py",
    "ui/links.py",
    "ui/sending.py",
    "ui/tab.py",
    "tasks/check/looking.py",
    "tasks/check/panel.py",
    "tasks/compare/panel.py",
    "tasks/compare/panel_question.py",
    "tasks/explore/panel_code.py",
    "tasks/explore/panel_sum.py",
    "fitting/draft.py",
]
CALLERS = ("InputError", "RecipeError", "HubError")


def texts_of(node):
    """The text of a literal, with {} for each value; None for anything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def literals(path: Path) -> set[str]:
    return {text for node in ast.walk(ast.parse(path.read_text("utf-8"))) if (text := texts_of(node))}


def raised(path: Path) -> set[str]:
    calls = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
    named = [call for call in calls if getattr(call.func, "id", "") in CALLERS and call.args]
    return {text for call in named if (text := texts_of(call.args[0]))}


def plain(english: str) -> str:
    return problems.VALUE.sub("{}", english)


def test_each_chinese_message_belongs_to_one_in_the_code():
    known = set().union(*(literals(path) for path in ROOT.rglob("*.py")))
    assert {english for english in problems.messages() if plain(english) not in known} == set()


@pytest.mark.parametrize("module", SHOWN)
def test_what_a_page_can_say_has_its_chinese(module):
    found, known = raised(ROOT / module), {plain(english) for english in problems.messages()}
    assert found and found - known == set()


@pytest.mark.parametrize("name", ["problems", "phrases", "recipe_problems"])
def test_a_chinese_message_has_no_value_that_the_english_lacks(name):
    for english, chinese in problems.messages(name).items():
        assert set(problems.VALUE.findall(chinese)) <= set(problems.VALUE.findall(english)), english
        assert re.search("[\u4e00-\u9fff]", chinese)


def test_values_are_put_in_and_markup_in_them_is_text():
    words = problems.problem_words("No class '<b>'; there are 0 boot.")
    assert "没有类别 &#x27;&lt;b&gt;&#x27;；there are 0 boot。" in words and "<b>" not in words
    assert problems.problem_words("Nobody <knows> this.") == "Nobody &lt;knows&gt; this."


def test_a_recipe_s_fields_have_their_chinese():
    """Every kind of mistake, as the recipe's reader says it: a library that says it otherwise is noticed here."""
    text = (ROOT.parent / "hub_configs/vae-fashion-mnist.yaml").read_text("utf-8")
    recipe = yaml.safe_load(text)
    training = recipe["training"]
    wrong = [
        {**recipe, "familly": "vae"},
        {**recipe, "qqq": 1},
        {key: value for key, value in recipe.items() if key != "family"},
        {**recipe, "name": 3},
        {**recipe, "data": {**recipe["data"], "sample_size": "large"}},
        {**recipe, "data": {**recipe["data"], "sample_size": 2.5}},
        {**recipe, "data": {**recipe["data"], "sample_size": 0}},
        {**recipe, "data": {**recipe["data"], "channels": 2}},
        {**recipe, "training": {**training, "learning_rate": "fast"}},
        {**recipe, "training": {**training, "warmup_steps": -1}},
        {**recipe, "training": {**training, "ema_decay": 1.0}},
        {**recipe, "training": {**training, "precision": "int4"}},
        {**recipe, "training": {**training, "stages": [{"name": "a", "images": 5}], "images": 5}},
        {**recipe, "training": 5},
        {**recipe, "architecture": 5},
    ]
    for values in wrong:
        with pytest.raises(RecipeError) as error:
            read_recipe(yaml.safe_dump(values), "mine")
        first, *lines = problems.in_chinese(str(error.value)).split("\n")
        assert first == "mine:" and lines
        assert all(re.search("[\u4e00-\u9fff]", line) for line in lines), lines


def test_each_phrase_of_cards_stands_in_a_card():
    cards = "".join(path.read_text("utf-8") for path in (ROOT.parent / "checkpoints").glob("*/README.md"))
    cards = re.sub(r"\s+", " ", cards)
    text = (ROOT / "ui/phrases.yaml").read_text("utf-8")
    lines = text[text.index("# the fixed parts of cards") :].splitlines()
    fixed = [line.split('"')[1] for line in lines if line.startswith('"')]
    parts = {english: [part for part in re.split(r"\{\d+\}", english) if part.strip()] for english in fixed}
    assert len(fixed) > 20
    assert [english for english in fixed if any(part not in cards for part in parts[english])] == []
