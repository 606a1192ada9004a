"""Listeners of a component's event: Gradio repeats an event for all of them when one was busy, so one at most may wait."""

from collections import Counter

import gradio as gr
import pytest

from genarium.catalogue import find_checkpoints
from genarium.families import discover
from genarium.runtime import Runtime
from genarium.tasks import find_tasks
from genarium.ui.layout import build_app
from genarium.ui.pages import Current, build_contents, open_page
from genarium.ui.texts import Texts


@pytest.fixture(scope="module")
def runtime(tiny_checkpoints):
    return Runtime(find_checkpoints(discover(installed=False)), device="cpu")


def crowded(blocks: gr.Blocks) -> list[tuple[int, str]]:
    """Return the events that have several listeners of which each is called again after it was busy."""
    counts: Counter[tuple[int, str]] = Counter()
    for function in blocks.fns.values():
        if function.fn is not None and function.trigger_mode == "always_last":
            counts.update(target for target in function.targets if target[1] not in ("load", "then", "success"))
    return [target for target, number in counts.items() if number > 1]


def test_of_the_first_page(runtime):
    assert not crowded(build_app(runtime)[0])


@pytest.mark.parametrize("name", [task.name for task in find_tasks().values() if task.address])
def test_of_the_other_pages(runtime, name):
    task = find_tasks()[name]
    with gr.Blocks() as blocks:
        build_contents(open_page(task, runtime, Texts().of(task), Current(), "", ""))
    assert not crowded(blocks)


def test_two_listeners_that_wait_are_found():
    with gr.Blocks() as blocks:
        box = gr.Textbox()
        box.change(lambda text: None, box)
        assert not crowded(blocks)
        box.change(lambda text: None, box)
    assert crowded(blocks) == [(box._id, "change")]
