"""Every tab and every page on a phone: fields that it does not zoom into, and buttons that a finger can hit."""

import pytest
from browsing import PATIENCE, open_tabs, unfold
from playwright.sync_api import expect

from genarium.tasks import find_tasks

PAGES = [task for task in find_tasks().values() if task.address]
TEXT = 16  # pixels: below it a phone enlarges the page when a field is touched
FINGER = 40  # pixels
TOO_SMALL = """([text, finger]) => {
  const described = element => element.outerHTML.slice(0, 200);
  const shown = selector => [...document.querySelectorAll(selector)].filter(one => one.offsetParent && one.getBoundingClientRect().height > 0);
  const fields = 'input:not([type=range], [type=checkbox], [type=radio], [type=file]), textarea, select';
  const small = shown(fields).filter(one => parseFloat(getComputedStyle(one).fontSize) < text).map(one => `text: ${described(one)}`);
  const pressed = `button, [role=button], [role=tab], summary, ${fields}`;
  const low = shown(pressed).filter(one => one.getBoundingClientRect().height < finger - 0.5).map(one => `height: ${described(one)}`);
  const cut = shown(fields).filter(one => one.getBoundingClientRect().bottom > one.parentElement.getBoundingClientRect().bottom + 1).map(one => `cut: ${described(one)}`);
  return [shown(pressed).length, [...small, ...low, ...cut]];
}"""


@pytest.fixture
def phone(browser):
    """A fresh visitor's page on a phone."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, locale="en-US")
    context.set_default_timeout(PATIENCE)
    yield context.new_page()
    context.close()


def look(page) -> tuple[int, list[str]]:
    """Return how many things there are to press, and which are too small."""
    unfold(page)
    return tuple(page.evaluate(TOO_SMALL, [TEXT, FINGER]))


@pytest.mark.slow
def test_fields_and_buttons_of_the_tabs_suit_a_finger(served, phone):
    phone.goto(served.url)
    expect(phone.locator("#generate-run")).to_be_visible()
    for name in open_tabs(phone):
        pressed, small = look(phone)
        assert pressed and not small, f"{name}:\n" + "\n".join(small)


@pytest.mark.slow
@pytest.mark.parametrize("task", PAGES, ids=[task.name for task in PAGES])
def test_fields_and_buttons_of_the_pages_suit_a_finger(served, phone, task):
    phone.goto(f"{served.url}{task.address}")
    expect(phone.locator(f'[id^="{task.name}-"]:visible, #{task.name}:visible').first).to_be_visible()
    pressed, small = look(phone)
    assert pressed and not small, "\n".join(small)


@pytest.mark.slow
def test_buttons_of_a_result_stand_above_its_pictures(served, phone):
    phone.goto(f"{served.url}?task=anomaly&checkpoint=tiny-vae")
    expect(phone.locator("#anomaly-status")).to_contain_text("those of the link")
    phone.locator("#anomaly-images-grey .gallery-item").first.click()
    expect(phone.locator("#anomaly-images img")).to_be_visible()
    phone.locator("#anomaly-run").click()
    expect(phone.locator("#anomaly-status")).to_contain_text("Done in")
    expect(phone.locator("#anomaly-answer .heat-scale")).to_be_visible()
    top = phone.locator("#anomaly-answer img:visible").first.bounding_box()["y"]
    buttons = phone.locator("#anomaly-answer .shown .icon-button-wrapper:visible").all()
    assert len(buttons) == 2
    for box in (button.bounding_box() for button in buttons):
        assert box["y"] + box["height"] <= top + 1
