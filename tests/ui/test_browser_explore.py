"""The Explore page in a real browser, on a desktop and on a phone: map, box, side by side, sliders, painting, arithmetic."""

import os
import re
import shutil

import numpy as np
import pytest
import torch
from browsing import PATIENCE, serving
from playwright.sync_api import expect

from genarium.tasks.explore.making import make_map


@pytest.fixture(scope="module")
def address(tiny_checkpoints, tmp_path_factory):
    """The app with two VAEs that have maps of the same pictures, and a VQGAN and an RBM without a map."""
    folder = tmp_path_factory.mktemp("explored")
    images = np.random.default_rng(0).integers(0, 256, (60, 28, 28, 1), np.uint8)
    for seed, name in enumerate(("a-vae", "b-vae")):
        shutil.copytree(tiny_checkpoints / "tiny-vae", folder / name)
        codes = torch.randn(60, 8, generator=torch.Generator().manual_seed(seed))
        made = make_map("vector", codes, images, np.arange(60) % 2, ["Trouser", "right"])
        made.save(folder / name / "explore.npz")
    shutil.copytree(tiny_checkpoints / "tiny-vqgan", folder / "c-vqgan")
    shutil.copytree(tiny_checkpoints / "tiny-rbm", folder / "d-rbm")
    environment = {**os.environ, "GENARIUM_CHECKPOINTS": str(folder)}
    with serving(environment, tmp_path_factory.mktemp("app")) as url:
        yield url


@pytest.fixture
def visit(browser, address):
    """Open the page at a width and in a language; errors of its scripts fail the test."""
    contexts, errors = [], []

    def open_page(width, locale, query=""):
        context = browser.new_context(viewport={"width": width, "height": 900}, locale=locale)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}/explore{query}")
        expect(page.locator("#explore-map-a svg.plane")).to_be_visible(timeout=PATIENCE)
        expect(page.locator("#explore-live img")).to_be_visible(timeout=PATIENCE)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors


def sources(page, place):
    return page.locator(f"{place} img").evaluate_all("images => images.map(image => image.src)")


def changes(page, place, act):
    """Do something; wait until the pictures at a place are others."""
    before = sources(page, place)
    act()
    page.wait_for_function(
        "([place, before]) => { const now = [...document.querySelectorAll(place + ' img')].map(i => i.src);"
        " return now.length && now.join() !== before.join(); }",
        arg=[place, before],
        timeout=PATIENCE,
    )


def spot(page, place, x, y):
    """Scroll to a plane, and return a point on it."""
    plane = page.locator(f"{place} svg.plane")
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    return box["x"] + x * box["width"], box["y"] + y * box["height"]


def drag(page, place, start, stop):
    page.mouse.move(*spot(page, place, *start))
    page.mouse.down()
    page.mouse.move(*spot(page, place, *stop), steps=6)
    page.mouse.up()


def choose(page, box, name):
    page.locator(f"#{box} input").click()
    page.get_by_role("option", name=name, exact=True).click()


@pytest.mark.slow
def test_on_a_desktop(visit):
    page = visit(1440, "en-US")
    expect(page.locator("#explore-side-a")).to_contain_text("60 test pictures", timeout=PATIENCE)
    changes(page, "#explore-picked-a", lambda: page.mouse.click(*spot(page, "#explore-map-a", 0.2, 0.3)))
    expect(page.locator("#explore-picked-a")).to_contain_text("Nearest test picture")
    changes(page, "#explore-lots-a", lambda: drag(page, "#explore-map-a", (0.2, 0.2), (0.8, 0.8)))
    expect(page.locator("#explore-lots-a figure")).to_have_count(2)

    page.locator("#explore-partner").click()  # two models side by side, by one click
    expect(page.locator("#explore-map-b svg.plane")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#explore-side-b")).to_contain_text("b-vae", timeout=PATIENCE)
    changes(page, "#explore-picked-b", lambda: page.mouse.click(*spot(page, "#explore-map-a", 0.7, 0.6)))
    names = [page.locator(f"#explore-picked-{side} figcaption").last.inner_text() for side in "ab"]
    assert names[0] == names[1], "the same test picture on both"
    changes(page, "#explore-lots-b", lambda: page.locator("#explore-draw").click())

    slider = page.locator(".explore-directions input[type=range]").first
    changes(page, "#explore-live", lambda: slider.press("Home"))
    expect(page.locator("#explore-traversal img")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#explore-sum-answer figure")).to_have_count(4, timeout=PATIENCE)
    changes(page, "#explore-sum-answer", lambda: page.locator("#explore-place-sum_b .gallery-item").first.click())


@pytest.mark.slow
def test_on_a_phone_with_the_keyboard_and_in_chinese(visit):
    page = visit(390, "zh-CN")
    expect(page.locator("#explore-side-a")).to_contain_text("张测试图像", timeout=PATIENCE)
    page.locator("#explore-map-a svg.plane").focus()
    changes(page, "#explore-picked-a", lambda: page.keyboard.press("Shift+ArrowLeft"))
    changes(page, "#explore-lots-a", lambda: page.keyboard.press("Enter"))
    choose(page, "explore-checkpoint", "c-vqgan")
    expect(page.locator("#explore-side-a")).to_contain_text("evaluate c-vqgan --only explore", timeout=PATIENCE)
    expect(page.locator("#explore-grid svg.plane")).to_be_visible(timeout=PATIENCE)
    page.locator("#explore-palette .thumbnail-item").last.click()
    expect(page.locator("#explore-palette .thumbnail-item").last).to_have_class(re.compile("selected"))
    changes(page, "#explore-live", lambda: drag(page, "#explore-grid", (0.1, 0.5), (0.9, 0.5)))
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing sticks out"


@pytest.mark.slow
def test_a_link_opens_the_page_with_its_checkpoints_in_the_visitors_language(visit):
    page = visit(1440, "zh-CN", "?checkpoint=b-vae&beside=a-vae")
    expect(page.locator("#explore-side-a .explore-name b")).to_have_text("b-vae")
    expect(page.locator("#explore-side-b .explore-name b")).to_have_text("a-vae")
    legend = page.locator("#explore-map-a .legend button")
    expect(legend).to_have_text(["长裤", "right"], use_inner_text=True)
    caption = page.locator("#explore-picked-a figcaption").last
    expect(caption).to_have_text(re.compile("最近的测试图像: (长裤|right)"), use_inner_text=True)
    choose(page, "explore-checkpoint", "c-vqgan")  # the address follows
    page.wait_for_url("**/explore?checkpoint=c-vqgan&beside=a-vae", timeout=PATIENCE)
    page = visit(1440, "en-US", "?checkpoint=nobody")
    expect(page.locator("#explore-problem")).to_contain_text("'nobody', which this page does not offer")
    expect(page.locator("#explore-side-a .explore-name b")).to_have_text("a-vae")
    expect(page.locator("#explore-map-a .legend button").first).to_have_text("Trouser", use_inner_text=True)


@pytest.mark.slow
@pytest.mark.parametrize(("width", "locale"), [(1440, "en-US"), (390, "zh-CN")])
def test_hidden_units_are_switches(visit, width, locale):
    page = visit(width, locale)
    choose(page, "explore-checkpoint", "d-rbm")
    switches = page.locator("#explore-units button[role=switch]")
    expect(switches).to_have_count(16, timeout=PATIENCE)
    expect(page.locator("#explore-bits")).to_be_hidden()
    count = page.locator("#explore-units output")
    before = int(count.inner_text())
    state = switches.nth(3).get_attribute("aria-checked")
    changes(page, "#explore-live", lambda: switches.nth(3).click())
    expect(switches.nth(3)).to_have_attribute("aria-checked", "false" if state == "true" else "true")
    expect(count).to_have_text(str(before + (-1 if state == "true" else 1)))
    page.keyboard.press("ArrowRight")
    expect(switches.nth(4)).to_be_focused()
    changes(page, "#explore-live", lambda: page.keyboard.press("Space"))
    changes(page, "#explore-live", lambda: page.locator("#explore-reset").click())
    expect(count).to_have_text(str(before), timeout=PATIENCE)  # the picture's own code again
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing sticks out"
