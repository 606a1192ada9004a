"""Words as a code on the page: a visitor reads them, edits them, and the picture follows."""

import asyncio
import dataclasses
from types import SimpleNamespace

import gradio as gr
import pytest
from tabs import build_tab

from genarium.catalogue import Catalogue, find_checkpoints
from genarium.errors import InputError
from genarium.families import discover
from genarium.runtime import Runtime
from genarium.runtime.request import Request
from genarium.ui.inputs import EXAMPLES

SNEAKER = str(EXAMPLES / "grey" / "sneaker-1.png")


@pytest.fixture(scope="module")
def runtime(tiny_checkpoints):
    found = find_checkpoints(discover(installed=False))
    return Runtime(dataclasses.replace(found, checkpoints={"tiny-word-ae": found["tiny-word-ae"]}), device="cpu")


@pytest.fixture
def tab(runtime):
    with gr.Blocks():
        return build_tab("reconstruct", runtime)


def last(updates):
    """Return the updates of a run, the later ones over the earlier."""

    async def collect():
        found = {}
        async for update in updates:
            found |= update
        return found

    return asyncio.run(collect())


def values(tab, panel, words):
    question = tab.question
    shown = (question.picker.dropdown, question.seed, question.invert, *question.classes.all, *question.controls.all)
    data = {component: component.value for component in shown}
    data |= {place: SNEAKER for inputs in question.inputs.values() for place in inputs.components.values()}
    return data | {panel.words: words}


def test_a_visitor_edits_the_words_and_the_picture_follows(runtime, tab):
    assert isinstance(runtime.catalogue, Catalogue)
    panel, visit = tab.outcome.panels["image"], SimpleNamespace(session_hash="a page")
    read = last(tab._run(values(tab, panel, "what stood there before"), visit))  # Run reads the picture anew
    assert read[panel.language]["visible"]
    words = read[panel.words]
    assert words and "中文" in read[panel.gloss]

    other = next(word for word in ("fish", "dog") if word != words)
    edited = last(tab._run_edited(values(tab, panel, other.upper()), visit))
    assert edited[panel.words] == other and {"fish": "鱼", "dog": "狗"}[other] in edited[panel.gloss]
    assert edited[panel.made] != read[panel.made]

    with pytest.raises(gr.Error, match="near it are fish"):
        last(tab._run_edited(values(tab, panel, "fishh"), visit))


def test_programs_get_the_words(runtime):
    request = Request("tiny-word-ae", "generate", batch_size=2, parameters={"prompt": "blue fish"})
    result = runtime.run(request)
    assert result.words == ["blue fish"] * 2
    assert result.report(runtime.catalogue["tiny-word-ae"])["words"] == result.words
    with pytest.raises(InputError, match="'whale' is not among"):
        runtime.run(dataclasses.replace(request, parameters={"prompt": "whale"}))


def test_a_gallery_has_the_words_below_the_pictures(runtime):
    with gr.Blocks():
        tab = build_tab("generate", runtime)
    panel = tab.outcome.panels["image"]
    result = runtime.run(Request("tiny-word-ae", "generate", batch_size=3))
    shown = panel.fill(result, runtime.catalogue["tiny-word-ae"], {})[panel.gallery]["value"]
    assert [caption for _, caption in shown] == [
        f"{words} #{result.request.seed + i}" for i, words in enumerate(result.words)
    ]
