"""What a newcomer sees first, in a real browser: samples that are there at once, what to try, names in place of file names."""

import os
import re
import shutil

import pytest
from browsing import PATIENCE, open_settings, serving
from playwright.sync_api import expect
from stored import store_samples


@pytest.fixture(scope="module")
def address(tiny_checkpoints, tmp_path_factory):
    folder = tmp_path_factory.mktemp("with-samples")
    for name in ("tiny-ddpm", "tiny-vae"):
        shutil.copytree(tiny_checkpoints / name, folder / name)
        store_samples(folder / name)
    environment = {**os.environ, "GENARIUM_CHECKPOINTS": str(folder)}
    with serving(environment, tmp_path_factory.mktemp("app")) as url:
        yield url


@pytest.fixture
def page(browser, address):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(address)
    expect(page.locator("#generate-run")).to_be_visible()
    yield page
    context.close()
    assert not errors


def test_the_wall_is_there_at_once_and_a_picture_on_it_lets_its_model_draw(page):
    strips = page.locator(".wall img")
    expect(strips).to_have_count(2)
    page.wait_for_function("() => [...document.querySelectorAll('.wall img')].every(i => i.naturalWidth > 28)")
    page.locator(".wall").get_by_role("button", name="tiny-vae").click()
    expect(page.locator("#generate-status")).to_contain_text("Done in")
    expect(page.get_by_label("Checkpoint").locator("visible=true")).to_have_value("tiny-vae")
    expect(page.locator(".wall")).to_be_hidden()
    expect(page.locator("#generate-answer img:visible").first).to_be_visible()


def test_the_picker_shows_a_sample_before_each_name(page):
    page.get_by_label("Checkpoint").locator("visible=true").click()
    option = page.get_by_role("option", name="tiny-vae")
    expect(option).to_be_visible()
    image = option.evaluate("option => getComputedStyle(option, '::before').backgroundImage")
    assert "tiny-vae.webp" in image


def test_starts_lead_to_a_tab_and_to_a_page(page):
    starts = page.locator(".starts")
    starts.get_by_role("button", name="strange").click()
    expect(page.locator("#anomaly-run")).to_be_visible()
    starts.get_by_role("link", name="One seed").click()
    expect(page.locator("#compare-run")).to_be_visible()


def draw(page, checkpoint: str) -> None:
    page.locator(".wall").get_by_role("button", name=checkpoint).click()
    expect(page.locator("#generate-status")).to_contain_text("Done in")


def test_a_result_says_what_made_it_and_grows_dim_when_that_is_changed(page):
    draw(page, "tiny-vae")
    made, answer = page.locator("#generate-made"), page.locator("#generate-answer")
    expect(made).to_contain_text("tiny-vae · seeds #0 to #15 · prior mixture · temperature 1", use_inner_text=True)
    expect(answer).not_to_have_class(re.compile("stale"))
    seed = page.get_by_label("Seed").locator("visible=true")
    seed.fill("7")
    expect(answer).to_have_class(re.compile("stale"))
    expect(made).to_contain_text("have changed since")
    seed.fill("0")
    expect(answer).not_to_have_class(re.compile("stale"))
    page.get_by_label("Checkpoint").locator("visible=true").click()
    page.get_by_role("option", name="tiny-ddpm").click()
    expect(answer).to_have_class(re.compile("stale"))
    page.locator("#generate-run").click()
    expect(made).to_contain_text("tiny-ddpm")
    expect(answer).not_to_have_class(re.compile("stale"))


def test_pictures_carry_their_class_and_seed(page):
    draw(page, "tiny-vae")
    expect(page.locator("#generate-answer img[alt='class 3 #3']")).to_be_visible()
    expect(page.locator("#generate-answer").get_by_text("class 3 #3")).to_be_visible()


def test_a_picture_goes_on_to_another_tab_and_to_a_page(page):
    draw(page, "tiny-vae")
    page.locator("#generate-answer .thumbnail-item").nth(2).click()
    page.locator("#generate-to-reconstruct").click()
    expect(page.locator("#reconstruct-images img")).to_be_visible()
    expect(page.get_by_label("Checkpoint").locator("visible=true")).to_have_value("tiny-vae")
    page.locator("#reconstruct-run").click()
    expect(page.locator("#reconstruct-made")).to_contain_text("tiny-vae")
    page.locator("#reconstruct-to-compare").click()
    page.wait_for_url("**/compare")
    expect(page.locator("#compare-run")).to_be_visible()


def test_what_was_made_is_kept_in_the_browser_and_opens_again(page):
    history = page.locator("#history")
    expect(history.get_by_role("link")).to_have_count(0)
    draw(page, "tiny-vae")
    expect(history.get_by_role("link")).to_have_text("tiny-vae #0", use_inner_text=True)
    page.wait_for_function("() => document.querySelector('#history li:not([hidden]) img').naturalWidth > 28")
    history.get_by_role("button", name="Pin", exact=True).click()
    page.get_by_label("Seed").locator("visible=true").fill("5")
    page.locator("#generate-run").click()
    expect(history.get_by_role("link")).to_have_count(2)
    history.get_by_role("button", name="Forget").click()
    expect(history.get_by_role("link")).to_have_text("tiny-vae #0", use_inner_text=True)
    history.get_by_role("link").click()
    expect(page.locator("#generate-status")).to_contain_text("Done in")
    expect(page.locator("#generate-made")).to_contain_text("seeds #0 to #15", use_inner_text=True)


def test_samplers_show_the_settings_that_they_use(page):
    page.get_by_label("Checkpoint").locator("visible=true").click()
    page.get_by_role("option", name="tiny-ddpm").click()
    open_settings(page, "generate")
    eta = page.get_by_label("number input for Eta").locator("visible=true")
    sampler = page.get_by_label("Sampler").locator("visible=true")
    expect(sampler).to_be_visible()
    expect(eta).to_have_count(0)
    sampler.click()
    page.get_by_role("option", name="ddim").click()
    expect(eta).to_be_visible()


def test_settings_are_folded_until_somebody_wants_them(page):
    steps = page.get_by_label("number input for Inference steps").locator("visible=true")
    expect(steps).to_have_count(0)
    open_settings(page, "generate")
    expect(steps).to_be_visible()


@pytest.mark.parametrize("locale", ["en-US", "zh-CN"])
def test_a_phone_shows_pictures_before_questions(browser, address, locale):
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale=locale)
    page = context.new_page()
    page.goto(address)
    expect(page.locator("#generate-run")).to_be_visible()
    assert page.locator(".wall img").first.bounding_box()["y"] < page.locator("#generate-run").bounding_box()["y"]
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    context.close()
