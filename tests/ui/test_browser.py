"""The app in a real browser: each task on a bundled example, a checkpoint from the Hub, Stop, reload, a damaged file, no overflow."""

import os
import re

import PIL.Image
import pytest
from browsing import PATIENCE, open_settings, open_tab, serving, visiting
from hub_server import HubServer
from playwright.sync_api import expect

from genarium.media.pictures import save_picture
from genarium.runtime.request import Request


@pytest.fixture(scope="module")
def shared_hub(tiny_checkpoints):
    """A Hub with someone/vae, which the app asks without a token."""
    with HubServer() as hub:
        hub.add_folder("someone/vae", tiny_checkpoints / "tiny-vae")
        yield hub


@pytest.fixture(scope="module")
def address(tiny_checkpoints, shared_hub, tmp_path_factory):
    environment = {**os.environ, **shared_hub.environment(tmp_path_factory.mktemp("hf-home"), token=None)}
    with serving(environment, tmp_path_factory.mktemp("app")) as url:
        yield url


@pytest.fixture
def page(browser, address):
    """A fresh visitor's page. Errors of its scripts fail the test."""
    with visiting(browser) as page:
        visit(page, address)
        yield page


def visit(page, address: str) -> None:
    page.goto(address)
    expect(page.locator("#generate-run")).to_be_visible(timeout=PATIENCE)


def choose(page, task: str, checkpoint: str) -> None:
    """Take a checkpoint in a tab, and wait until its family is shown."""
    panel = page.get_by_role("tabpanel").filter(has=page.locator(f"#{task}-run"))
    panel.get_by_label("Checkpoint").click()
    page.get_by_role("option", name=checkpoint).click()
    expect(panel.locator(".facts")).to_contain_text("VAE" if "vae" in checkpoint else "DDPM", timeout=PATIENCE)


def take_example(page, place: str, number: int) -> None:
    page.locator(f"#{place}-grey .gallery-item").nth(number).click()
    expect(page.locator(f"#{place} img")).to_be_visible(timeout=PATIENCE)


def run(page, task: str) -> None:
    page.locator(f"#{task}-run").click()
    expect(page.locator(f"#{task}-status")).to_contain_text("Done in", timeout=PATIENCE)


def answers(page, task: str, number: int | None = None):
    """The pictures that the visitor sees in a tab's answer, decoded; so many, once they are there."""
    images = page.locator(f"#{task}-answer img:visible")
    expect(images.first).to_be_visible(timeout=PATIENCE)
    if number is not None:
        expect(images).to_have_count(number, timeout=PATIENCE)
    page.wait_for_function(
        "images => images.every(image => image.complete && image.naturalWidth > 0)", arg=images.element_handles()
    )
    return images


def test_generate_with_each_family(page):
    run(page, "generate")
    answers(page, "generate", 16)
    choose(page, "generate", "tiny-vae")
    run(page, "generate")
    answers(page, "generate", 16)
    page.get_by_text("The same in Python").locator("visible=true").click()
    expect(page.locator("#generate-answer")).to_contain_text('genarium.load("tiny-vae")', timeout=PATIENCE)


def test_a_link_shows_the_same_picture_in_a_fresh_browser(page, browser, address):
    choose(page, "generate", "tiny-vae")
    panel = page.get_by_role("tabpanel").filter(has=page.locator("#generate-run"))
    panel.get_by_label("Seed").fill("11")
    panel.get_by_label("Chosen").check()
    panel.get_by_label("Which").click()
    page.get_by_role("option", name="class 3").click()
    run(page, "generate")
    page.wait_for_url("**seed=11**")
    sources = "images => images.map(image => new URL(image.src).pathname.split('/').slice(-2).join('/'))"
    made = answers(page, "generate").evaluate_all(sources)
    link = page.url
    other = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    try:
        stranger = other.new_page()
        stranger.set_default_timeout(PATIENCE)
        stranger.goto(link)
        expect(stranger.locator("#generate-status")).to_contain_text("Done in", timeout=PATIENCE)
        assert answers(stranger, "generate").evaluate_all(sources) == made
        stranger.goto(f"{address}/?task=reconstruct&checkpoint=tiny-vae&seed=5")
        expect(stranger.locator("#reconstruct-status")).to_contain_text("those of the link", timeout=PATIENCE)
        expect(stranger.locator("#reconstruct-run")).to_be_visible()
        stranger.goto(f"{address}/?task=generate&checkpoint=nothing-here")
        expect(stranger.locator("#generate-status")).to_contain_text("no checkpoint", timeout=PATIENCE)
    finally:
        other.close()


def test_tasks_on_examples(page):
    for task, name, places, number in (
        ("reconstruct", "Reconstruct", ["images"], 3),
        ("interpolate", "Interpolate", ["a", "b"], 3 + 8),
        ("anomaly", "Anomaly", ["images"], 2),
    ):
        open_tab(page, name)
        choose(page, task, "tiny-vae")
        for i, place in enumerate(places):
            take_example(page, f"{task}-{place}", 2 * i)
        run(page, task)
        answers(page, task, number)
    expect(page.locator("#anomaly-answer")).to_contain_text("ordinary test sample")
    panel = page.get_by_role("tabpanel").filter(has=page.locator("#anomaly-run"))
    panel.get_by_label("Chosen").check()
    page.locator("#anomaly-run").click()
    expect(page.locator("#anomaly-status")).to_contain_text("No class is chosen", timeout=PATIENCE)
    panel.get_by_label("Which").click()
    page.get_by_role("option", name="class 3").click()
    run(page, "anomaly")
    page.get_by_text("The same in Python").locator("visible=true").click()
    expect(page.locator("#anomaly-answer")).to_contain_text("class_labels=[3]", timeout=PATIENCE)
    open_tab(page, "About")
    expect(page.get_by_text("Denoising Diffusion Probabilistic Models")).to_be_visible()


def test_a_checkpoint_from_the_hub(page, browser, address, shared_hub):
    open_tab(page, "Hub")
    field, status = page.locator("#hub-address textarea, #hub-address input"), page.locator("#hub-status")
    field.fill("someone/nothing")
    field.press("Enter")
    expect(status).to_contain_text("not on the Hub, or is private", timeout=PATIENCE)
    field.fill("someone/vae")
    page.locator("#hub-look").click()
    expect(page.locator("#hub-facts")).to_contain_text("VAEPipeline", timeout=PATIENCE)
    assert not shared_hub.asked("GET", "/resolve/.*safetensors")
    page.locator("#hub-load").click()
    expect(status).to_contain_text("is ready", timeout=PATIENCE)
    assert shared_hub.asked("GET", "/resolve/.*safetensors") == 1 and not shared_hub.asked("GET", r"\.py$")
    open_tab(page, "Generate")
    name = f"someone/vae@{shared_hub.repo('someone/vae').sha[:7]}"
    panel = page.get_by_role("tabpanel").filter(has=page.locator("#generate-run"))
    expect(panel.get_by_label("Checkpoint")).to_have_value(name)
    open_settings(page, "generate")
    expect(panel.get_by_label("number input for Temperature").locator("visible=true")).to_be_visible()
    run(page, "generate")
    answers(page, "generate", 16)
    stranger = browser.new_context(locale="en-US").new_page()
    visit(stranger, address)
    stranger.get_by_role("tabpanel").filter(has=stranger.locator("#generate-run")).get_by_label("Checkpoint").click()
    expect(stranger.get_by_role("option", name="tiny-vae")).to_be_visible()
    assert not stranger.get_by_role("option", name="someone").count()
    stranger.context.close()


def test_stop_and_reload(page, address):
    choose(page, "generate", "tiny-ddpm")
    images = page.get_by_label("number input for Images")
    images.fill("64")  # long enough for a browser that waits for the cores
    images.press("Tab")
    open_settings(page, "generate")
    steps = page.get_by_label("number input for Inference steps").locator("visible=true")
    steps.fill("250")
    steps.press("Tab")
    page.locator("#generate-run").click()
    expect(page.locator("#generate-status")).to_contain_text("of 250", timeout=PATIENCE)
    expect(page.locator("#generate-preview img").first).to_be_visible()
    page.locator("#generate-stop").press("Enter")  # a click would wait for two equal frames, which are rare meanwhile
    expect(page.locator("#generate-status")).to_contain_text("Stopped", timeout=PATIENCE)
    # the machine is free again: were the first run still going on, this one would wait for its turn
    steps.fill("250")
    steps.press("Tab")
    page.locator("#generate-run").click()
    expect(page.locator("#generate-status")).to_contain_text("of 250", timeout=PATIENCE)
    visit(page, address)  # leaves in the middle of a run
    expect(page.locator("#generate-status")).not_to_contain_text("of 250")
    run(page, "generate")


def test_damaged_empty_and_wrong_input(page):
    open_tab(page, "Anomaly")
    page.locator("#anomaly-run").click()
    expect(page.locator("#anomaly-status")).to_contain_text("There is no picture yet", timeout=PATIENCE)
    damaged = {"name": "damaged.png", "mimeType": "image/png", "buffer": b"\x89PNG\r\n\x1a\nnot really"}
    page.locator("#anomaly-images input[type=file]").first.set_input_files(damaged)
    problem = page.locator("#anomaly-images-problem")
    expect(problem.get_by_text("no picture that can be read")).to_be_visible(timeout=PATIENCE)  # before anything is run
    expect(problem.locator(".in-zh")).to_have_text(re.compile("无法读取此文件为图片"))
    expect(page.locator("#anomaly-images img")).to_have_count(0)
    page.locator("#anomaly-run").click()
    expect(page.locator("#anomaly-status")).to_contain_text("There is no picture yet", timeout=PATIENCE)
    take_example(page, "anomaly-images", 0)
    expect(problem).to_be_empty()
    open_tab(page, "Generate")
    page.get_by_label("Seed").locator("visible=true").fill("forty-two")
    page.locator("#generate-run").click()
    expect(page.get_by_text("The seed must be a whole number").first).to_be_visible(timeout=PATIENCE)
    page.get_by_role("tabpanel").locator(".dice:visible").click()
    run(page, "generate")


def test_dropped_result_restores_the_page(page, tmp_path):
    request = Request("tiny-vae", "generate", 1234, 5, (3, 3, 3, 3, 3), {"temperature": 0.5})
    path = save_picture(PIL.Image.new("L", (28, 28)), tmp_path / "result.png", request.to_dict())
    page.get_by_text("Restore from a result").click()
    page.locator("#generate-restore input[type=file]").set_input_files(path)
    expect(page.locator("#generate-restored")).to_contain_text("Settings restored", timeout=PATIENCE)
    expect(page.get_by_label("Seed").locator("visible=true")).to_have_value("1234")
    open_settings(page, "generate")
    expect(page.get_by_label("number input for Temperature").locator("visible=true")).to_have_value("0.5")
    expect(page.locator(".facts").first).to_contain_text("VAE")
    run(page, "generate")
    answers(page, "generate", 5)
    other = {"name": "other.png", "mimeType": "image/png", "buffer": b"no picture"}
    page.locator("#generate-restore").get_by_label("Clear").click()
    page.locator("#generate-restore input[type=file]").set_input_files(other)
    expect(page.locator("#generate-restored")).to_contain_text("carries no parameters", timeout=PATIENCE)


def test_nothing_lies_on_the_pictures(page):
    """Captions and buttons stand above their picture, in the gallery too; small pictures are enlarged without blur."""
    open_tab(page, "Anomaly")
    choose(page, "anomaly", "tiny-vae")
    take_example(page, "anomaly-images", 0)
    run(page, "anomaly")
    open_tab(page, "Generate")
    run(page, "generate")
    for task, tab in (("generate", "Generate"), ("anomaly", "Anomaly")):
        open_tab(page, tab)
        images = answers(page, task)
        top = images.first.bounding_box()["y"]
        for button in page.locator(
            f"#{task}-answer .icon-button-wrapper:visible, #{task}-answer .pixels label:visible"
        ).all():
            box = button.bounding_box()
            assert box["y"] + box["height"] <= top + 1
        assert images.first.evaluate("image => getComputedStyle(image).imageRendering") == "pixelated"


@pytest.mark.parametrize(("locale", "run_label"), [("en-US", "Run"), ("zh-CN", "运行"), ("de", "Run")])
def test_fits_every_width_in_each_language(browser, address, locale, run_label):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale=locale)
    page = context.new_page()
    visit(page, address)
    expect(page.locator("#generate-run")).to_have_text(run_label)
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 900})
        page.wait_for_timeout(200)
        for tab in page.get_by_role("tab").all():
            if tab.is_visible():
                tab.click()
                page.wait_for_timeout(150)
                assert "__i18n__" not in page.inner_text("body")
            # Gradio puts tabs that do not fit into a menu; here all fit a phone
            assert page.locator(".overflow-menu").is_hidden()
            overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            assert page.evaluate(overflow) <= 0
    context.close()
