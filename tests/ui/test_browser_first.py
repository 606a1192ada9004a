"""What a newcomer sees first, in a real browser: samples that are there at once, what to try, names in place of file names."""

import os
import re
import shutil

import pytest
from browsing import open_settings, serving, visiting
from playwright.sync_api import expect
from stored import store_samples

STALE = re.compile("stale")


@pytest.fixture(scope="module")
def address(tiny_checkpoints, tmp_path_factory):
    folder = tmp_path_factory.mktemp("with-samples")
    for name in ("tiny-ddpm", "tiny-vae"):
        shutil.copytree(tiny_checkpoints / name, folder / name)
        store_samples(folder / name)
    environment = {**os.environ, "GENARIUM_CHECKPOINTS": str(folder)}
    with serving(environment, tmp_path_factory.mktemp("app")) as url:
        yield url


@pytest.fixture(scope="module")
def page(browser, address):
    """One visitor's page for the tests of this module, in their order. Errors of its scripts fail the last of them."""
    with visiting(browser) as page:
        page.asked = []
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(address)
        expect(page.locator("#generate-run")).to_be_visible()
        yield page


def take(page, checkpoint: str) -> None:
    page.get_by_label("Checkpoint").locator("visible=true").click()
    page.get_by_role("option", name=checkpoint).click()


def test_stored_samples_are_there_before_anything_was_run(page):
    expect(page.locator(".wall img")).to_have_count(2)
    page.wait_for_function("() => [...document.querySelectorAll('.wall img')].every(image => image.naturalWidth > 28)")
    expect(page.locator("#history").get_by_role("link")).to_have_count(0)
    heavy = re.compile(r"/assets/(hls|Gallery|StaticAudio|Video|python)-")
    assert page.asked and not list(filter(heavy.search, page.asked)), "players and editors come when they are needed"


def test_the_picker_shows_a_sample_before_each_name(page):
    page.get_by_label("Checkpoint").locator("visible=true").click()
    option = page.get_by_role("option", name="tiny-ddpm")
    image = option.evaluate("option => getComputedStyle(option, '::before').backgroundImage")
    assert "tiny-ddpm.webp" in image
    option.click()


def test_settings_are_folded_and_samplers_show_those_that_they_use(page):
    eta = page.get_by_label("number input for Eta").locator("visible=true")
    sampler = page.get_by_label("Sampler").locator("visible=true")
    expect(sampler).to_have_count(0)
    open_settings(page, "generate")
    expect(sampler).to_be_visible()
    expect(eta).to_have_count(0)
    sampler.click()
    page.get_by_role("option", name="ddim").click()
    expect(eta).to_be_visible()


def test_a_picture_on_the_wall_lets_its_model_draw(page):
    page.locator(".wall").get_by_role("button", name="tiny-vae").click()
    expect(page.locator("#generate-status")).to_contain_text("Done in")
    expect(page.get_by_label("Checkpoint").locator("visible=true")).to_have_value("tiny-vae")
    expect(page.locator(".wall")).to_be_hidden()


def test_a_result_says_what_made_it_and_each_picture_its_class_and_seed(page):
    expected = "tiny-vae · seeds #0 to #15 · prior mixture · temperature 1 · "
    expect(page.locator("#generate-made")).to_contain_text(expected, use_inner_text=True)
    expect(page.locator("#generate-answer img[alt='class 3 #3']")).to_be_visible()
    caption = page.locator("#generate-answer").get_by_text("class 3 #3")
    picture = page.locator("#generate-answer img[alt='class 3 #3']")
    assert caption.bounding_box()["y"] >= picture.bounding_box()["y"] + picture.bounding_box()["height"] - 1


def test_a_result_grows_dim_when_what_made_it_is_changed(page):
    answer, seed = page.locator("#generate-answer"), page.get_by_label("Seed").locator("visible=true")
    expect(answer).not_to_have_class(STALE)
    seed.fill("7")
    expect(answer).to_have_class(STALE)
    expect(page.locator("#generate-made").get_by_text("have changed since")).to_be_visible()
    seed.fill("0")
    expect(answer).not_to_have_class(STALE)
    take(page, "tiny-ddpm")
    expect(answer).to_have_class(STALE)
    take(page, "tiny-vae")
    expect(answer).not_to_have_class(STALE)


def test_a_picture_is_downloaded_in_eight_times_its_size(page):
    with page.expect_download() as download:
        page.locator("#generate-times-8").click()
    assert download.value.suggested_filename == "tiny-vae-generate-seed0-00-x8.png"


def test_a_picture_goes_on_to_another_tab(page):
    page.locator("#generate-answer .thumbnail-item").nth(2).click()
    page.locator("#generate-to-reconstruct").click()
    expect(page.locator("#reconstruct-images img")).to_be_visible()
    expect(page.get_by_label("Checkpoint").locator("visible=true")).to_have_value("tiny-vae")
    page.locator("#reconstruct-run").click()
    expect(page.locator("#reconstruct-made")).to_contain_text("tiny-vae")


def test_what_was_made_is_kept_in_the_browser(page):
    links = page.locator("#history").get_by_role("link")
    expect(links).to_have_count(2)
    page.wait_for_function("() => document.querySelector('#history li:not([hidden]) img').naturalWidth > 28")
    page.locator("#history li:visible").last.get_by_role("button", name="Pin").click()
    page.locator("#history").get_by_role("button", name="Forget").click()
    expect(links).to_have_text("tiny-vae #0", use_inner_text=True)
    assert "task=generate" in links.get_attribute("href")


def test_starts_lead_to_a_tab_and_to_a_page(page):
    starts = page.locator(".starts")
    expect(starts.get_by_role("link", name="One seed")).to_have_attribute("href", "compare")
    starts.get_by_role("button", name="strange").click()
    expect(page.locator("#anomaly-run")).to_be_visible()


def test_a_phone_shows_pictures_before_questions(browser, address):
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale="zh-CN")
    page = context.new_page()
    page.goto(address)
    expect(page.locator("#generate-run")).to_be_visible()
    assert page.locator(".wall img").first.bounding_box()["y"] < page.locator("#generate-run").bounding_box()["y"]
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    context.close()
