"""The page Compare in a real browser: a link fills the table, Stop ends a run, a saved sheet brings its settings back."""

import re
from urllib.parse import urlencode

import pytest
from browsing import PATIENCE, visiting
from playwright.sync_api import expect

FOUR = "tiny-vae,tiny-ddpm,tiny-flow-matching,tiny-vqgan"


WIDTHS = pytest.mark.parametrize("visit", [390, 1440], indirect=True)


@pytest.fixture
def visit(browser, request):
    """Open a fresh browser's page, as wide as asked for, or as a phone -> the page; script errors fail the test."""
    with visiting(browser, width=getattr(request, "param", 390)) as page:
        yield page


@pytest.mark.slow
@WIDTHS
def test_a_link_shows_the_same_pictures_and_a_sheet_restores_them(served, visit, tmp_path):
    visit.goto(f"{served.url}compare?checkpoints={FOUR}&number=2&seed=9")
    expect(visit.locator("#compare-table tr.done")).to_have_count(4, timeout=PATIENCE)
    expect(visit.locator("#compare-table tr.done img")).to_have_count(8)
    expect(visit.locator("#compare-status")).to_contain_text("4 models in", timeout=PATIENCE)
    first = visit.locator("#compare-table img").first.get_attribute("src")
    with visit.expect_download() as download:
        visit.locator("#compare-sheet").click()
    download.value.save_as(tmp_path / "sheet.png")

    visit.goto(f"{served.url}compare")
    visit.locator("#compare-restore button").first.wait_for(state="attached")
    visit.locator("#compare-restore input[type=file]").set_input_files(tmp_path / "sheet.png")
    expect(visit.locator("#compare-status")).to_contain_text("Settings restored", timeout=PATIENCE)
    visit.locator("#compare-run").click()
    expect(visit.locator("#compare-status")).to_contain_text("4 models in", timeout=PATIENCE)
    expect(visit.locator("#compare-table img").first).to_have_attribute("src", first)
    expect(visit).to_have_url(re.compile(r"/compare\?.*seed=9"), timeout=PATIENCE)  # written after the answer is shown


@pytest.mark.slow
@WIDTHS
def test_stop_ends_a_comparison(served, visit):
    visit.goto(
        f"{served.url}compare?checkpoints=tiny-ddpm,tiny-vae&columns=num_inference_steps&values=[250,249,248,247,246,245,244,243]"
    )
    expect(visit.locator("#compare-table img").first).to_be_visible(timeout=PATIENCE)
    visit.locator("#compare-stop").click()
    expect(visit.locator("#compare-status")).to_contain_text("Stopped", timeout=PATIENCE)
    expect(visit.locator("#compare-run")).to_be_enabled()
    expect(visit.locator("#compare-table tr.done")).to_have_count(0)
    assert visit.evaluate("document.documentElement.scrollWidth") <= visit.viewport_size["width"], "nothing sticks out"


@pytest.mark.slow
def test_a_wrong_link_says_what_is_wrong(served, visit):
    visit.goto(f"{served.url}compare?checkpoints=nobody&seed=1")
    expect(visit.locator("#compare-status")).to_contain_text("no checkpoint 'nobody'", timeout=PATIENCE)
    expect(visit.locator("#compare-run")).to_be_enabled()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["/etc", "someone/else", "../checkpoints/tiny-vae"])
def test_a_link_reads_no_folder_and_asks_no_hub(served, visit, name):
    visit.goto(f"{served.url}compare?checkpoints={name}")
    expect(visit.locator("#compare-status")).to_contain_text("no checkpoint", timeout=PATIENCE)
    expect(visit.locator("#compare-table img")).to_have_count(0)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["checkpoints", "task", "seed", "values", "class_name"])
def test_markup_in_a_link_is_text(served, visit, part):
    attack = "<img src=x onerror=window.hit=1><script>window.hit=1</script>"
    query = urlencode({"checkpoints": "tiny-vae", part: attack})
    visit.goto(f"{served.url}compare?{query}")
    expect(visit.locator("#compare-status .bad")).to_be_visible(timeout=PATIENCE)
    expect(visit.locator("#compare-status").locator("script, img")).to_have_count(0)
    expect(visit.locator("#compare-run")).to_be_enabled()
    assert visit.evaluate("window.hit") is None
