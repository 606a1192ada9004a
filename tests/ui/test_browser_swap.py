"""Swapping voices in a real browser: two uploads, a result that plays, examples, what is refused, and a phone."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny_styles
from browsing import PATIENCE, open_settings, open_tab, serving, visiting

from genarium.media import sounds

expect = pytest.importorskip("playwright.sync_api").expect


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The app with two tiny families, one of voices and one of pictures; it generates nothing."""
    home = tmp_path_factory.mktemp("swap")
    for name in ("plugins", "checkpoints"):
        (home / name).mkdir()
    tiny_styles.plugins(home / "plugins")
    tiny_styles.checkpoints(home / "checkpoints")
    environment = {
        **os.environ,
        "GENARIUM_PLUGINS": str(home / "plugins"),
        "GENARIUM_CHECKPOINTS": str(home / "checkpoints"),
        "PYTHONPATH": str(Path(tiny_styles.__file__).parent),
    }
    with serving(environment, home) as url:
        yield url


@pytest.fixture
def page(browser, address):
    """A fresh visitor's swap tab, with the voices chosen. Errors of its scripts fail the test."""
    with visiting(browser) as page:
        page.goto(address)
        open_tab(page, "Swap style")
        expect(page.locator("#swap_style-content")).to_be_visible(timeout=PATIENCE)
        page.get_by_label("Checkpoint").locator("visible=true").click()
        page.get_by_role("option", name="voices").click()
        expect(page.locator("#swap_style-sound-content")).to_be_visible(timeout=PATIENCE)
        yield page


def upload(page, name, path) -> None:
    place = page.locator(f"#swap_style-sound-{name}")
    place.locator("input[type=file]").set_input_files(path)
    expect(place.get_by_label("Play", exact=True)).to_be_visible(timeout=PATIENCE)


def test_two_uploads_become_a_result_that_plays(page, tmp_path):
    expect(page.locator("#swap_style-content")).to_be_hidden()
    expect(page.locator("#swap_style-consent")).to_contain_text("Use only voices that you may use")
    for name, pitch, rate in (("content", 110, 44100), ("style", 220, 16000)):
        soundfile.write(tmp_path / f"{name}.wav", tiny_styles.speech(2, rate, pitch), rate)
        upload(page, name, tmp_path / f"{name}.wav")
    page.locator("#swap_style-run").click()
    expect(page.locator("#swap_style-status")).to_contain_text("Done in", timeout=PATIENCE)
    made = page.locator("#swap_style-made")
    # Gradio's player forgets a press that comes before its sound is loaded, which is when the length appears
    expect(made.get_by_text("0:02", exact=True)).to_be_visible(timeout=PATIENCE)
    made.get_by_label("Play", exact=True).click()
    expect(made.get_by_label("Pause", exact=True)).to_be_visible(timeout=PATIENCE)
    answer = page.locator("#swap_style-answer")
    expect(answer.locator("img.mel:visible")).to_have_count(3)
    expect(answer.locator("img.codes:visible")).to_have_count(1)
    expect(answer.locator(".style-map > svg")).to_be_visible()
    assert answer.locator(".style-map > svg path.result").count() == 1
    with page.expect_download() as download:
        made.get_by_label("Download").click()
    assert sounds.read_request(download.value.path())["checkpoint"] == "voices"


def test_examples_a_trained_voice_and_what_is_refused(page):
    run, status = page.locator("#swap_style-run"), page.locator("#swap_style-status")
    run.click()
    expect(status).to_contain_text("There is no recording yet", timeout=PATIENCE)
    page.locator("#swap_style-sound-content-examples .gallery-item").first.click()
    expect(page.locator("#swap_style-sound-content").get_by_label("Play", exact=True)).to_be_visible(timeout=PATIENCE)
    open_settings(page, "swap_style")
    page.get_by_label("Speaker").locator("visible=true").click()
    page.get_by_role("option", name="tiny/high").click()
    run.click()
    expect(status).to_contain_text("Done in", timeout=PATIENCE)
    expect(page.locator("#swap_style-answer img.mel:visible")).to_have_count(2)
    silence = io.BytesIO()
    soundfile.write(silence, np.zeros(16000), 16000, format="WAV")
    silent = {"name": "silent.wav", "mimeType": "audio/wav", "buffer": silence.getvalue()}
    page.locator("#swap_style-sound-content").get_by_label("Clear").click()
    page.locator("#swap_style-sound-content input[type=file]").set_input_files(silent)
    problem = page.locator("#swap_style-sound-content-problem")
    expect(problem).to_contain_text("Check that the microphone is on", timeout=PATIENCE)  # before anything is run
    run.click()
    expect(status).to_contain_text("There is no recording yet", timeout=PATIENCE)


def test_seven_tabs_and_the_players_fit_a_phone(page):
    page.set_viewport_size({"width": 390, "height": 900})
    page.wait_for_timeout(300)
    assert page.locator(".overflow-menu").is_hidden()
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
