"""The app in a process of its own and a real browser to visit it with; without a browser, the importing tests are skipped."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
import urllib.request

import pytest
from ports import free_port

from genarium import paths

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
SWITCHES = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000  # milliseconds; the cores may be busy with other tests
STILL = """() => new Promise(done => {
  const rest = () => { clearTimeout(timer); timer = setTimeout(finish, 600); };
  const finish = () => { observer.disconnect(); done(); };
  const observer = new MutationObserver(rest);
  let timer = setTimeout(finish, 600);
  observer.observe(document.body, { childList: true, subtree: true });
  setTimeout(finish, 8000);
})"""
UNFOLD = "() => document.querySelectorAll('.label-wrap:not(.open)').forEach(fold => fold.offsetParent && fold.click())"

if BROWSER is None and not os.environ.get("CI"):
    pytest.skip("no Chromium here (in CI this would fail)", allow_module_level=True)

from playwright.sync_api import expect, sync_playwright  # noqa: E402  where there is no browser this may be missing, too

expect.set_options(timeout=PATIENCE)


@contextlib.contextmanager
def launched():
    """Launch the browser -> playwright's object of it."""
    assert BROWSER, "CI is set, but there is no Chromium"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=SWITCHES)
        yield browser
        browser.close()


@contextlib.contextmanager
def serving(environment, folder):
    """The app as people start it, in a process of its own -> its address. What it says goes into the folder."""
    port = free_port()
    log = folder / "log.txt"
    command = [sys.executable, str(paths.ROOT / "app.py"), "--host", "127.0.0.1", "--port", str(port)]
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=paths.ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 300
        while True:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(20)


@contextlib.contextmanager
def visiting(browser, width: int = 1280, height: int = 900, locale: str = "en-US", **options):
    """A fresh visitor's page. Errors of its scripts fail the test, where that has not failed already."""
    context = browser.new_context(viewport={"width": width, "height": height}, locale=locale, **options)
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    try:
        yield page
    finally:
        context.close()
    assert not errors


def open_tab(page, name: str) -> None:
    page.get_by_role("tab", name=name, exact=True).click()


def open_settings(page, task: str) -> None:
    """Unfold the settings of a tab."""
    page.locator(f"#{task}-settings").get_by_text("Settings", exact=True).click()


def open_tabs(page):
    """Open each tab that a visitor sees -> the name of each while it is open."""
    for tab in page.get_by_role("tab").all():
        if tab.is_visible():
            tab.click()
            yield tab.inner_text()


def wait_until_still(page) -> None:
    """Wait until nothing is added to the page or taken from it for a moment; at most eight seconds, since films may run."""
    page.evaluate(STILL)


def unfold(page) -> None:
    """Open all that is folded and can be seen."""
    wait_until_still(page)
    page.evaluate(UNFOLD)
    wait_until_still(page)
