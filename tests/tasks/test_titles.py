"""Lists of checkpoints on the pages and on About: they show the names that people use, and send the checkpoints' own."""

import gradio as gr
import pytest
from furnishing import furnish

from genarium.catalogue import find_checkpoints
from genarium.runtime import Runtime
from genarium.tasks import find_tasks
from genarium.tasks.compare.comparison import Comparison
from genarium.tasks.compare.running import Board
from genarium.tasks.compare.table import Table
from genarium.ui.about import build_about
from genarium.ui.pages import Current, Page, build_contents
from genarium.ui.texts import Texts

NAME, TITLE = "tiny-vae", {"en": "VAE – <clothes>", "zh": "VAE – <服装>"}
IN_BOTH = (
    '<span class="in-en" lang="en">VAE – &lt;clothes&gt;</span><span class="in-zh" lang="zh">VAE – &lt;服装&gt;</span>'
)


@pytest.fixture
def runtime(house, tiny_checkpoints, families):
    """A runtime whose one checkpoint has a recipe with a title in both languages."""
    furnish(house, tiny_checkpoints / NAME, "vae", title=TITLE)
    return Runtime(find_checkpoints(families), device="cpu")


@pytest.mark.parametrize(("name", "lists"), [("explore", 2), ("check", 1), ("compare", 1)])
def test_a_page_shows_the_title_in_both_languages_and_sends_the_name(runtime, name, lists):
    task, texts = find_tasks()[name], Texts()
    with gr.Blocks() as blocks:
        build_contents(Page(task, runtime, texts.of(task), Current(), NAME))
    shown = [
        label
        for block in blocks.blocks.values()
        for label, value in (block.choices if isinstance(block, gr.Dropdown) else ())
        if value == NAME
    ]
    assert len(shown) == lists and all(label.key == f"checkpoint_{NAME}" for label in shown)
    sent = texts.i18n().translations_dict
    assert [sent[language][f"checkpoint_{NAME}"] for language in ("en", "zh")] == [TITLE["en"], TITLE["zh"]]


def test_about_and_a_comparison_have_the_name_for_commands_beside_the_title(runtime):
    with gr.Blocks() as blocks:
        build_about(runtime.catalogue, Texts())
    about = "".join(block.value for block in blocks.blocks.values() if isinstance(block, gr.HTML))
    assert f"{IN_BOTH} <code>{NAME}</code>" in about
    board = Board(runtime, Comparison((NAME,)))
    table = Table(board, Texts().of(find_tasks()["compare"])).html()
    assert f"<b>{IN_BOTH}</b><code>{NAME}</code>" in table
