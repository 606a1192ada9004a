"""The page Check in a real browser: a folder of pictures, the threshold that is dragged, and marks that join at once."""

import io
import re
import zipfile

import numpy as np
import PIL.Image
import pytest
from browsing import BROWSER, PATIENCE, SWITCHES, visiting
from conftest import pictures
from playwright.sync_api import expect

from genarium.media.pictures import to_pictures


@pytest.fixture
def visit(browser, request):
    """A fresh browser's page, in English or in a test's own language; script errors fail the test."""
    with visiting(browser, 1200, 1400, getattr(request, "param", "en-US")) as page:
        yield page


@pytest.fixture
def folder(tmp_path):
    """Four ordinary pictures, two of noise, and a file that is no picture."""
    pixels = ((pictures(4, seed=1) + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy()
    for i, one in enumerate(to_pictures(pixels)):
        one.resize((112, 84)).save(tmp_path / f"good-{i}.png")
    for i, one in enumerate(np.random.default_rng(0).integers(0, 256, (2, 84, 112), np.uint8)):
        PIL.Image.fromarray(one).save(tmp_path / f"noise-{i}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    return tmp_path


def check(page, served, folder):
    page.goto(f"{served.url}check")
    page.locator("#check-checkpoint input").click()
    page.get_by_role("option", name="tiny-feature-memory", exact=True).click()
    page.locator("#check-files input[type=file]").set_input_files(sorted(folder.glob("*.png")))
    expect(page.locator("#check-files")).to_contain_text("noise-1", timeout=PATIENCE)
    page.locator("#check-run").click()
    expect(page.locator("#check-threshold")).to_be_visible(timeout=PATIENCE)


def alarms(page) -> float:
    words = page.locator("#check-numbers .in-en").first.inner_text()
    return float(re.match(r"([\d.e+]+) false alarms", words).group(1))


@pytest.mark.slow
def test_a_folder_is_checked_the_threshold_dragged_and_a_false_alarm_marked(served, visit, folder, tmp_path):
    check(visit, served, folder)
    status = visit.locator("#check-status")
    expect(status).to_contain_text("6 pictures in")
    expect(status).to_contain_text("Not read: broken.png")
    expect(visit.locator("#check-histogram svg rect.normal").first).to_be_visible()
    expect(visit.locator("#check-histogram svg line.mark")).to_have_count(6)
    captions = visit.locator("#check-sheet .thumbnail-item")
    expect(captions).to_have_count(6)
    expect(captions.first).to_contain_text("⚠")
    expect(captions.last).to_contain_text("✓")

    # the slider: the lower the threshold, the more false alarms
    before, slider = alarms(visit), visit.locator("#check-threshold input[type=range]")
    slider.focus()
    for _ in range(3):
        slider.press("Home")
    expect(captions.last).to_contain_text("⚠")
    assert alarms(visit) > before
    slider.press("End")
    expect(captions.first).to_contain_text("✓")
    assert alarms(visit) == 0

    # what is known of single pictures
    captions.first.click()
    expect(visit.locator("#check-overlay img")).to_be_visible()
    expect(visit.locator("#check-about")).to_contain_text("noise-")
    visit.locator("#check-strange").click()
    expect(visit.locator("#check-numbers")).to_contain_text("of strange pictures found")
    expect(visit.locator("#check-about")).to_contain_text("counts as strange now")
    visit.locator("#check-answer").screenshot(path=tmp_path / "page.png")

    with visit.expect_download() as download:
        visit.locator("#check-csv").click()
    assert len(download.value.path().read_text().splitlines()) == 7
    with visit.expect_download() as download:
        visit.locator("#check-overlays").click()
    names = zipfile.ZipFile(io.BytesIO(download.value.path().read_bytes())).namelist()
    assert len(names) == 6 and names[0].startswith("001-noise-")


@pytest.mark.slow
@pytest.mark.parametrize("visit", ["zh-CN"], indirect=True)
def test_the_page_speaks_chinese_and_refuses_nothing_in_words(served, visit):
    visit.goto(f"{served.url}check")
    expect(visit.locator("#check-run")).to_have_text("检查")
    visit.locator("#check-run").click()
    expect(visit.locator("#check-status .bad .in-zh")).to_have_text(re.compile("还没有图片"), timeout=PATIENCE)
    expect(visit.locator(".toast-wrap")).to_contain_text("还没有图片")
    expect(visit.locator("#check-run")).to_be_enabled()


@pytest.mark.slow
def test_a_camera_is_scored_a_frame_a_second_until_it_is_stopped(served, browser):
    fake = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    with browser.browser_type.launch(executable_path=BROWSER, args=[*SWITCHES, *fake]) as own:
        page = own.new_page(locale="en-US", viewport={"width": 1200, "height": 1000})
        page.set_default_timeout(PATIENCE)
        page.goto(f"{served.url}check")
        page.locator("#check-checkpoint input").click()
        page.get_by_role("option", name="tiny-feature-memory", exact=True).click()
        page.locator("#check-camera-part").get_by_text("Camera", exact=True).click()
        button, shown = page.locator("#check-camera-button"), page.locator("#check-camera-shown")
        button.click()
        expect(shown).to_be_visible()
        expect(page.locator("#check-camera-said")).to_contain_text(re.compile("strange|ordinary"))
        expect(page.locator("#check-camera-facts")).to_contain_text("Score")
        first = shown.get_attribute("src")
        expect(shown).not_to_have_attribute("src", first)  # the picture of the fake camera moves
        expect(button).to_contain_text("Stop")
        button.click()
        expect(button).to_contain_text("Start")
        assert page.locator("#check-camera video").evaluate("video => video.srcObject === null")


@pytest.mark.slow
def test_without_a_camera_the_page_says_what_to_do(served, visit):
    visit.goto(f"{served.url}check")
    visit.locator("#check-camera-part").get_by_text("Camera", exact=True).click()
    visit.locator("#check-camera-button").click()
    expect(visit.locator("#check-camera-said")).to_contain_text("start again")
    expect(visit.locator("#check-camera-button")).to_contain_text("Start")
