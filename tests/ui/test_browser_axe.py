"""Every tab and every page under the rules of axe-core, which finds what a keyboard or a screen reader cannot use.

The pages are those that the tasks declare, so a new task is looked at too.
"""

import pytest
from axe_playwright_python.sync_playwright import Axe
from browsing import open_tabs, unfold, visiting, wait_until_still
from playwright.sync_api import expect

from genarium.tasks import find_tasks

WIDTHS = (1440, 390)  # a desktop, and a phone
HEIGHT = 900
GRAVE = ("critical", "serious")
TASKS = list(find_tasks().values())
PAGES = [task for task in TASKS if task.address]


@pytest.fixture(params=["light", "dark"])
def page(browser, request):
    """A fresh visitor's page in one of the two schemes. Errors of its scripts fail the test."""
    with visiting(browser, WIDTHS[0], HEIGHT, color_scheme=request.param) as page:
        yield page


def findings(page, where: str) -> list[str]:
    """Return what axe finds on the page as it is: the place, the rule, the element, and what is wrong with it."""
    wait_until_still(page)
    found = set()
    for rule in Axe().run(page).response["violations"]:
        for node in rule["nodes"] if rule["impact"] in GRAVE else []:
            reasons = "; ".join(check["message"] for check in node["any"] + node["all"] + node["none"])
            found.add(f"{where}: {rule['id']}: {node['html'][:300]}: {reasons}")
    return sorted(found)


def findings_unfolded(page, where: str) -> list[str]:
    """Return what axe finds at both widths when all is unfolded; leave the page at the first width."""
    unfold(page)
    found = []
    for width in reversed(WIDTHS):
        page.set_viewport_size({"width": width, "height": HEIGHT})
        found += findings(page, f"{where} at {width} pixels")
    return found


def open_first_page(page, served) -> None:
    page.goto(served.url)
    expect(page.locator("#generate-run")).to_be_visible()


@pytest.mark.slow
def test_no_tab_has_a_grave_finding(served, page):
    open_first_page(page, served)
    names, found = [], []
    for name in open_tabs(page):
        found += findings_unfolded(page, name)
        names.append(name)
    assert not found, "\n".join(found)
    assert len(names) >= 3  # a task's, the Hub's, and About


@pytest.mark.slow
def test_no_result_has_a_grave_finding(served, page):
    open_first_page(page, served)
    seen, found = [], []
    for name in open_tabs(page):
        for task in TASKS:
            if not page.locator(f"#{task.name}-run").is_visible():
                continue
            for strip in page.locator(".example-strip:has(.gallery-item:visible)").all():
                strip.locator(".gallery-item").first.click()
            page.locator(f"#{task.name}-run").click()
            expect(page.locator(f"#{task.name}-status")).to_contain_text("Done in")
            found += findings_unfolded(page, f"{name}, with a result,")
            seen.append(task.name)
    assert not found, "\n".join(found)
    assert "generate" in seen and len(seen) >= 3


@pytest.mark.slow
@pytest.mark.parametrize("task", PAGES, ids=[task.name for task in PAGES])
def test_no_page_has_a_grave_finding(served, page, task):
    page.goto(f"{served.url}{task.address}")
    expect(page.locator(f'[id^="{task.name}-"]:visible, #{task.name}:visible').first).to_be_visible()
    found = findings_unfolded(page, f"/{task.address}")
    assert not found, "\n".join(found)


def test_what_has_no_name_is_found(browser):
    page = browser.new_page()
    page.set_content("<html lang=en><title>One</title><main><h1>One</h1><button></button></main></html>")
    assert any("button-name" in found for found in findings(page, "here"))
    page.close()
