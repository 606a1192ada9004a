"""A data set of the Hub on the train page in a real browser, in both languages and on a phone."""

import os
import re

import pytest
from browsing import PATIENCE, serving
from hub_server import HubServer
from playwright.sync_api import expect
from tables import drawing, parquet

LONG = 5 * PATIENCE


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    house = tmp_path_factory.mktemp("house")
    with HubServer() as hub:
        files = {"data/train-0.parquet": parquet([drawing(i) for i in range(40)], [0, 1] * 20, ("lying", "standing"))}
        hub.add_repo("someone/bars", {**files, "README.md": b"---\nlicense: mit\n---\n"}, type="dataset")
        environment = {
            **os.environ,
            **hub.environment(house / "hf-home"),
            "GENARIUM_CHECKPOINTS": str(house / "checkpoints"),
            "GENARIUM_VISITORS": str(house / "visitors"),
            "GENARIUM_ALLOW_TRAINING": "pictures=30",
        }
        with serving(environment, tmp_path_factory.mktemp("app")) as url:
            yield url
        assert hub.shown == set(), "the operator's token was sent for a stranger"


@pytest.mark.parametrize(("language", "width"), [("en-US", 1440), ("zh-CN", 390)])
def test_a_data_set_is_shown_before_anything_is_trained(browser, address, language, width, tmp_path):
    context = browser.new_context(viewport={"width": width, "height": 900}, locale=language)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(f"{address}/train")
    page.locator("#train-hub").fill("http://127.0.0.1/secret")
    page.locator("#train-hub-look").click()
    expect(page.locator("#train-problem")).to_contain_text("user/name")
    page.locator("#train-hub").fill("someone/bars")
    page.locator("#train-hub").press("Enter")
    expect(page.locator("#train-choice")).to_be_visible(timeout=LONG)
    expect(page.locator("#train-problem")).to_be_empty()
    found = page.locator("#train-found")
    expect(found).to_contain_text(re.compile(r"someone/bars@[0-9a-f]{8}"))
    expect(found).to_contain_text(re.compile(r"lying \d+, standing \d+"))
    expect(found).to_contain_text("10 rows more" if language == "en-US" else "多出 10 行")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.screenshot(path=os.environ.get("SHOTS", str(tmp_path)) + f"/train-hub-{language}-{width}.png", full_page=True)
    assert not page.errors
    context.close()
