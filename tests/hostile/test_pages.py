"""Events of the pages with an address, with values that no page sends: each ends in a sentence, or changes nothing."""

import asyncio
from types import SimpleNamespace

import gradio as gr
import pytest
import torch

from genarium.catalogue import find_checkpoints
from genarium.errors import CheckpointError, InputError
from genarium.families import discover
from genarium.runtime import Runtime
from genarium.tasks import find_tasks
from genarium.tasks.compare.comparison import Comparison
from genarium.tasks.compare.offer import Offer
from genarium.tasks.compare.panel import ComparePage
from genarium.tasks.compare.panel_question import Question
from genarium.tasks.explore.explorer import Explorer, Held
from genarium.tasks.explore.panel_code import MAX_AXES, CodeSection
from genarium.tasks.explore.panel_place import PicturePlace
from genarium.ui.pages import Current, Page
from genarium.ui.texts import Texts


@pytest.fixture(scope="module")
def runtime(tiny_checkpoints):
    return Runtime(find_checkpoints(discover(installed=False)), device="cpu")


@pytest.fixture(scope="module")
def page(runtime):
    def build(name, checkpoint=""):
        task = find_tasks()[name]
        return Page(task, runtime, Texts().of(task), Current(), checkpoint)

    with gr.Blocks():
        yield build


@pytest.fixture(scope="module")
def question(page, runtime):
    question = Question(page("compare"), Offer(runtime.catalogue))
    question.build(Comparison(("tiny-vae",)))
    return question


def test_a_sheet_that_is_none(page):
    compared = ComparePage(page("compare"))
    (said,) = compared._restore(None).values()
    assert "There is no file" in said


@pytest.mark.parametrize("name", [None, 3, ["tiny-vae"], {}, "", "none", "\ud800"])
def test_a_checkpoint_that_is_none(runtime, name):
    with pytest.raises(CheckpointError, match=r"by its name|There is no checkpoint"):
        Explorer(runtime).partner_of(name)


def test_an_example_that_is_none():
    assert PicturePlace._take(None) == PicturePlace._take([]) == gr.skip()
    assert PicturePlace._take(["a.png"]) == "a.png"


@pytest.mark.parametrize("task", [None, "swap_style", "none", 3, ["generate"]])
def test_what_is_compared_is_no_such_task(question, task):
    for change in (
        lambda: question._change_task(task, None),
        lambda: question._change_rows(task, None),
        lambda: question._choose_data(task, "a/b"),
        lambda: question._suggest(task, None, "eta"),
    ):
        with pytest.raises(InputError, match="Choose what to compare"):
            change()


def test_no_checkpoints_are_chosen(question):
    assert question._change_task("anomaly", None)[question.rows]["value"]
    assert question._suggest("generate", None, "num_inference_steps") == ""


@pytest.mark.parametrize("part, value", [("what", None), ("columns", None), ("columns", 3), ("class_name", ["x"])])
def test_a_comparison_of_values_that_no_page_sends(question, part, value):
    sent = {component: component.value for component in question.asked} | {getattr(question, part): value}
    with pytest.raises(InputError):
        question.offer.checked(question.comparison(sent))


@pytest.fixture(scope="module")
def section(runtime, page):
    def build(name):
        return CodeSection(page("explore", name), Explorer.of(runtime), gr.Dropdown())

    return build


def test_a_code_belongs_to_its_checkpoint(section):
    """A page says another name than that whose code it holds: nothing is decoded."""
    explored = section("tiny-vae")
    held = Held("tiny-vqgan", torch.zeros(2, 2, dtype=torch.long))
    skipped = gr.skip()
    assert asyncio.run(explored._turn("tiny-vae", held, 1, *[0.0] * MAX_AXES)) == [skipped] * 4
    assert asyncio.run(explored._set("tiny-vae", held, 1, 0.0)) == [skipped] * (2 + MAX_AXES)
    assert explored._look("tiny-vae", held, 1) == skipped
    assert asyncio.run(explored._sheet("tiny-vae", held)) == ""
    assert asyncio.run(explored._changing("binary", lambda code, on: code)("tiny-vae", held, [1])) == [skipped] * 3


def test_a_control_of_another_kind_of_code(section):
    explored = section("tiny-vae")
    held = Held("tiny-vae", torch.zeros(8))
    with pytest.raises(gr.Error, match="no code of this model"):
        asyncio.run(explored._changing("binary", lambda code, on: code)("tiny-vae", held, [1]))


def test_units_of_another_checkpoint_or_another_kind_of_code(section):
    explored = section("tiny-vae")
    calls = []
    with gr.Blocks(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(explored.units.html, "select", lambda function, *arguments, **options: calls.append(function))
        explored.units.connect(gr.State(), explored._changed, [gr.State()] * 3, gr.Dropdown())
    (turned,) = calls
    event = SimpleNamespace(_data={"unit": 0, "on": True})
    for code in (torch.tensor(3), torch.zeros(2, 2), "red cat"):
        assert asyncio.run(turned("tiny-vae", Held("tiny-vae", code), event)) == [gr.skip()] * 3
    assert asyncio.run(turned("tiny-vae", Held("tiny-rbm", torch.zeros(16)), event)) == [gr.skip()] * 3
