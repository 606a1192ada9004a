"""The Lab in a real browser: a training to good samples, a lesson, a link, data drawn by hand, a phone."""

import math
import os

import pytest
from browsing import PATIENCE, serving
from playwright.sync_api import expect

BOUND = 0.6  # of W1 in units of the plane; fresh weights are above 1.5, two sets of data are 0.2 apart
WIDTHS = {"desktop": 1440, "phone": 390}


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The app without any checkpoint: the Lab needs none."""
    environment = {**os.environ, "GENARIUM_CHECKPOINTS": str(tmp_path_factory.mktemp("none"))}
    with serving(environment, tmp_path_factory.mktemp("app")) as url:
        yield url


@pytest.fixture
def visit(browser, address):
    """Open the page at a width and in a language; errors of its scripts fail the test."""
    contexts, errors = [], []

    def open_page(query="", width="desktop", locale="en-US"):
        context = browser.new_context(viewport={"width": WIDTHS[width], "height": 900}, locale=locale)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{address}/lab{query}")
        expect(page.locator("#lab .lab-side").first).to_be_visible(timeout=PATIENCE)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not errors


def wait_until(page, condition, argument=None):
    page.wait_for_function(condition, arg=argument, timeout=3 * PATIENCE)


def wait_for_samples(page, bound):
    """Wait until the distance that the page shows is below a bound."""
    wait_until(page, "bound => Number(document.querySelector('[data-w1]').dataset.w1 || 99) < bound", bound)


def step_of(page):
    return int(page.locator("#lab-status").get_attribute("data-step"))


INK = (
    "() => { const canvas = document.querySelector('.lab-plane canvas');"
    " const d = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data; let n = 0;"
    " for (let i = 0; i < d.length; i += 4) if (d[i + 3] > 40 && d[i + 1] > d[i] + 25) n++; return n; }"
)


def ink(page):
    """How many dots of the plane are drawn in the colour of the model."""
    return page.evaluate(INK)


def wait_for_ink(page, least):
    """Wait until more dots than these are drawn: a frame follows the answer that it draws."""
    page.wait_for_function(f"({INK})() > {least}", timeout=PATIENCE)


@pytest.mark.slow
def test_a_training_from_start_to_good_samples_and_back_in_time(visit):
    page = visit("?data=gaussians&family=autoencoder&speed=5&settings=" + '{"code_dim":2}')
    assert ink(page) == 0
    page.locator("#lab-start").click()
    wait_until(page, "() => Number(document.querySelector('#lab-status').dataset.step) > 0")
    page.locator("#lab-start").click()  # Pause
    expect(page.locator("#lab-status")).to_contain_text("Paused", timeout=PATIENCE)
    stopped = step_of(page)
    page.locator("#lab-step").click()
    expect(page.locator("#lab-status")).to_have_attribute("data-step", str(stopped + 1), timeout=PATIENCE)
    page.get_by_label("Steps in a frame").press("End")  # as fast as it can
    page.locator("#lab-start").click()  # Go on
    wait_until(page, "() => document.querySelector('#lab-status').textContent.includes('Done')")
    wait_for_samples(page, BOUND)
    wait_for_ink(page, 200)  # samples are drawn over the data
    page.locator("#lab-time").press("Home")
    expect(page.locator("#lab-clock")).to_have_text("0", timeout=PATIENCE)
    page.locator(".lab-side select").nth(1).select_option("code")
    expect(page.locator(".lab-legend")).to_contain_text("Point to reconstruction", timeout=PATIENCE)
    page.locator("#lab-reset").click()
    expect(page.locator("#lab-status")).to_contain_text("Ready")


@pytest.mark.slow
def test_a_lesson_walked_to_its_end(visit):
    page = visit()
    page.locator("[data-lesson=gradient-through-a-choice]").click()
    seen = []
    for step in range(5):
        expect(page.locator("#lab-lesson .lab-count")).to_have_text(f"{step + 1} / 5")
        wait_until(
            page,
            "seen => { const now = document.querySelector('#lab-clock').textContent; return now && !seen.includes(now); }",
            seen,
        )
        seen.append(page.locator("#lab-clock").inner_text())
        page.locator("#lab-lesson-next").click()
    assert len(set(seen)) == 5
    expect(page.locator("#lab-lesson")).to_be_hidden()
    # steps that share a model go on with it
    page.locator("[data-lesson=optimal-transport]").click()
    wait_until(page, "() => Number(document.querySelector('#lab-status').dataset.step) > 0")
    expect(page.locator(".lab-side select").nth(1)).to_have_value("flow")
    before = step_of(page)
    page.locator("#lab-lesson-next").click()
    expect(page.locator(".lab-legend")).to_contain_text("Flow lines", timeout=PATIENCE)
    assert step_of(page) >= before


@pytest.mark.slow
def test_a_link_opened_in_a_fresh_browser_asks_the_same(visit):
    page = visit()
    page.locator("[data-name=rings]").click()
    page.locator("#lab-seed").fill("17")
    page.locator("#lab-seed").press("Enter")
    page.locator("#lab-beside").check()
    page.locator(".lab-side-1 select").first.select_option("vae")
    page.locator(".lab-side-1 .lab-settings input[type=range]").first.press("ArrowRight")
    address, query = page.url, page.url.partition("?")[2]
    assert "seed=17" in query and "family2=vae" in query and "settings2" in query
    again = visit(f"?{query}", locale="zh-CN")
    assert again.url == address
    expect(again.locator("#lab-seed")).to_have_value("17")
    expect(again.locator("[data-name=rings]")).to_have_attribute("aria-checked", "true")
    states = [
        one.locator(".lab-side-1 .lab-settings input[type=range]").evaluate_all("all => all.map(r => r.value)")
        for one in (page, again)
    ]
    assert states[0] == states[1]
    wrong = visit("?family=magic")
    expect(wrong.locator(".lab-problem")).to_contain_text("magic")


@pytest.mark.slow
def test_data_drawn_by_hand_on_a_phone_in_chinese(visit):
    page = visit("?data=drawn&family=autoencoder&speed=50", "phone", "zh-CN")
    plane = page.locator(".lab-plane canvas")
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    page.mouse.move(box["x"] + 0.2 * box["width"], box["y"] + 0.5 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 0.4 * box["height"], steps=12)
    page.mouse.up()
    plane.focus()
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Enter")
    page.locator("#lab-start").click()
    wait_until(page, "() => Number(document.querySelector('#lab-status').dataset.step) > 0")
    wait_for_ink(page, 0)
    expect(page.locator("#lab-status")).to_contain_text("步")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390, "nothing sticks out"


@pytest.mark.slow
def test_points_of_a_file_are_learned_and_a_wrong_file_is_refused_in_words(visit, tmp_path):
    good, wrong = tmp_path / "ring.csv", tmp_path / "names.csv"
    angles = [i / 40 for i in range(251)]
    good.write_text("x,y\n" + "".join(f"{100 + 3 * math.cos(a):.3f},{math.sin(a):.3f}\n" for a in angles))
    wrong.write_text("name,colour\nshirt,red\n")
    page = visit("?data=drawn&family=autoencoder&speed=50")
    page.locator(".lab-file input").set_input_files(wrong)
    expect(page.locator(".lab-problem")).to_contain_text("Line 2 of the file has no two numbers: 'shirt,red'")
    page.locator(".lab-file input").set_input_files(good)
    page.wait_for_url("**points=*", timeout=PATIENCE)
    expect(page.locator(".lab-problem")).to_be_hidden()
    page.locator("#lab-start").click()
    wait_until(page, "() => Number(document.querySelector('#lab-status').dataset.step) > 0")
    wait_for_ink(page, 0)
