"""A task with an address, in a real browser: its page is built when it is opened, and knows what was used on the tabs."""

import os

import pytest
from browsing import PATIENCE, serving
from playwright.sync_api import expect

TASK = """
from genarium.tasks import Task

TASK = Task("line_up", method="__call__", draws=True, compares=True, address="line-up")
"""
PANEL = """

import gradio as gr

from genarium.runtime import Request
from genarium.ui.files import keep_results
from genarium.ui.streaming import finish

print("line_up.panel imported")


def build(page):
    names = list(page.runtime.catalogue.offering("line_up"))
    chosen = gr.CheckboxGroup(names, value=[page.checkpoint], label=page.texts("who"), interactive=True, elem_id="line-up-names")
    run = gr.Button(page.texts("run"), elem_id="line-up-run")
    shown = gr.Gallery(elem_id="line-up-shown")
    gr.Textbox(page.picture, elem_id="line-up-picture")

    async def draw(names):
        request = Request(names[0], "line_up", batch_size=2, others=tuple(names[1:]))
        return keep_results(await finish(page.runtime, request))

    run.click(draw, chosen, shown, api_visibility="private")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder on the path with an installed package: its modules, and what pip would write about its entry point."""
    root = tmp_path_factory.mktemp("site")
    (root / "line_up").mkdir()
    (root / "line_up/__init__.py").touch()
    (root / "line_up/task.py").write_text(TASK)
    (root / "line_up/panel.py").write_text(PANEL)
    (root / "line_up/texts.yaml").write_text(
        "tab: {en: Line up, zh: 并排}\nwho: {en: Who, zh: 选择}\n", encoding="utf-8"
    )
    about = root / "line_up-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: line-up\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[genarium.tasks]\nline_up = line_up\n")
    return root


@pytest.mark.slow
def test_a_page_knows_the_current_checkpoint_and_compares(browser, tiny_checkpoints, folder, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(folder), "GENARIUM_CHECKPOINTS": str(tiny_checkpoints)}
    with serving(environment, tmp_path) as address:
        assert "line_up.panel imported" not in (tmp_path / "log.txt").read_text()
        context = browser.new_context(locale="en-US")
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(address)
        page.get_by_role("tab", name="Reconstruct", exact=True).click()
        panel = page.get_by_role("tabpanel").filter(has=page.locator("#reconstruct-run"))
        panel.get_by_label("Checkpoint").click()
        page.get_by_role("option", name="tiny-vae").click()
        page.locator("#reconstruct-images-grey .gallery-item").first.click()
        expect(page.locator("#reconstruct-images img")).to_be_visible(timeout=PATIENCE)
        page.locator("#reconstruct-run").click()
        expect(page.locator("#reconstruct-status")).to_contain_text("Done", timeout=PATIENCE)

        page.get_by_role("link", name="Line up").click()
        expect(page.locator("#masthead")).to_be_visible(timeout=PATIENCE)
        expect(page.locator("#line-up-names label", has_text="tiny-vae").locator("input")).to_be_checked(
            timeout=PATIENCE
        )
        expect(page.locator("#line-up-names")).to_contain_text("Who")
        assert page.locator("#line-up-picture textarea, #line-up-picture input").input_value().endswith(".png")
        page.locator("#line-up-names label", has_text="tiny-ddpm").click()
        page.locator("#line-up-run").click()
        expect(page.locator("#line-up-shown .thumbnail-item")).to_have_count(4, timeout=PATIENCE)
        assert page.url.endswith("/line-up") and not errors
        context.close()

        chinese = browser.new_page(locale="zh-CN")  # reads the names of the pages in Chinese too
        chinese.goto(f"{address.rstrip('/')}/line-up")
        shown = "[...document.querySelectorAll('.nav-holder nav a')].map(a => getComputedStyle(a, '::after').content)"
        for name in ("首页", "并排"):
            chinese.wait_for_function(f"{shown}.includes('\"{name}\"')", timeout=PATIENCE)
        chinese.close()
