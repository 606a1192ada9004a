"""The train page in a real browser: forty pictures, a training, a reload in the middle, and the checkpoint on the tabs."""

import io
import os
import re
import zipfile

import numpy as np
import PIL.Image
import pytest
from browsing import PATIENCE, serving
from playwright.sync_api import expect

LONG = 5 * PATIENCE  # a training on cores that may be busy with other tests


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    house = tmp_path_factory.mktemp("house")
    environment = {
        **os.environ,
        "GENARIUM_CHECKPOINTS": str(house / "checkpoints"),
        "GENARIUM_VISITORS": str(house / "visitors"),
    }
    for name in ("SPACE_ID", "GRADIO_SERVER_NAME", "GENARIUM_ALLOW_TRAINING"):
        environment.pop(name, None)
    with serving(environment, tmp_path_factory.mktemp("app")) as url:
        yield url


def pictures(number=40):
    """Forty pictures of bars, each as the bytes of a PNG."""
    generator, found = np.random.default_rng(0), []
    for i in range(number):
        values = generator.integers(0, 20, (28, 28)).astype(np.uint8)
        values[:, 3 + i % 20 : 8 + i % 20] = 200
        file = io.BytesIO()
        PIL.Image.fromarray(np.ascontiguousarray(values if i % 2 else values.T)).save(file, "PNG")
        found.append(file.getvalue())
    return found


def open_page(browser, address):
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-US")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(f"{address}/train")
    expect(page.locator("#train-drop")).to_be_visible(timeout=PATIENCE)
    return page


@pytest.mark.slow
def test_forty_pictures_become_a_checkpoint_on_the_tabs_of_this_visitor_alone(browser, address):
    page = open_page(browser, address)
    files = [{"name": f"{i}.png", "mimeType": "image/png", "buffer": data} for i, data in enumerate(pictures())]
    files.append({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"no picture"})
    page.set_input_files("#train-files", files)
    expect(page.locator("#train-choice")).to_be_visible(timeout=LONG)
    expect(page.locator("#train-found")).to_contain_text("40")
    expect(page.locator("#train-left-out")).to_contain_text("no picture, by its ending")
    assert page.locator("#train-sheet").evaluate("image => image.naturalWidth") > 100
    page.locator("#train-details summary").click()
    expect(page.locator("#train-recipe")).to_have_value(re.compile("family: autoencoder"), timeout=PATIENCE)
    recipe = page.locator("#train-recipe").input_value()
    assert "family: autoencoder" in recipe and "sample_size: 28" in recipe
    page.locator("#train-recipe").fill(recipe.replace("learning_rate", "learning_rat"))
    page.locator("#train-start").click()
    expect(page.locator("#train-start-problem")).to_contain_text("did you mean")
    small = recipe.replace("- 48\n  - 96", "- 4\n  - 8").replace("images: 32000", "images: 1920")
    page.locator("#train-recipe").fill(small)
    page.locator("#train-time").select_option("")
    page.locator("#train-start").click()
    run = page.locator(".train-run")
    expect(run).to_have_count(1, timeout=PATIENCE)

    page.reload()
    expect(run).to_have_count(1, timeout=PATIENCE)
    expect(run).to_have_attribute("data-state", "done", timeout=LONG)
    expect(run.locator(".train-samples")).to_be_visible()
    expect(run.locator(".train-facts")).to_contain_text("dB")
    run.locator(".train-logs summary").click()
    expect(run.locator(".train-log")).to_contain_text("loss")
    with page.expect_download() as packed:
        run.locator(".train-download").click()
    assert "my-model/model_index.json" in zipfile.ZipFile(packed.value.path()).namelist()

    page.locator(".train-open[data-task=generate]").click()
    expect(page.get_by_role("tab", name="Generate", exact=True)).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#generate-run")).to_be_visible(timeout=PATIENCE)
    page.locator("#generate-run").click()
    expect(page.locator("#generate-status")).to_contain_text("Done", timeout=LONG)
    assert not page.errors

    stranger = open_page(browser, address)
    expect(stranger.locator(".train-run")).to_have_count(0)
    stranger.goto(f"{address}/")
    expect(stranger.locator("#generate-none")).to_be_visible(timeout=PATIENCE)


def test_what_is_hostile_is_refused_in_words_on_the_page(browser, address):
    page = open_page(browser, address)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("../../climbed.png", pictures(1)[0])
    page.set_input_files("#train-files", {"name": "a.zip", "mimeType": "application/zip", "buffer": file.getvalue()})
    expect(page.locator(".train-set.failed")).to_contain_text("leads out of the archive", timeout=LONG)
    expect(page.locator("#train-choice")).to_be_hidden()
    page.locator(".train-set .train-small").click()
    expect(page.locator(".train-set")).to_have_count(0, timeout=PATIENCE)
    assert not page.errors
