"""What a browser makes of other people's text, and signing in to publish: in a real one, with stand-ins for the Hub."""

import pytest
from browsing import PATIENCE, open_tab
from hub_server import User
from playwright.sync_api import expect
from ports import free_port

from genarium.catalogue import find_checkpoints
from genarium.errors import InputError
from genarium.families import discover
from genarium.notices import note
from genarium.runtime import Runtime
from genarium.ui import build_app

TOKEN = "mock-oauth-token-for-local-dev"  # what Gradio's stand-in for the Hub's sign-in hands out
ATTACK = "<img src=x onerror=window.hit=1><script>window.hit=1</script>"


@pytest.fixture
def page(hub, vae, browser, monkeypatch, tmp_path):
    """The page of an app in this process, in which one can sign in as the machine's user; scripts of others set `hit`."""
    monkeypatch.setenv("OAUTH_CLIENT_ID", "of this Space")
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "files"))
    monkeypatch.setattr("genarium.hub.publish.prove", lambda checkpoint: list(checkpoint.tasks))
    hub.tokens[TOKEN] = User("user")
    blocks, look = build_app(Runtime(find_checkpoints(discover(installed=False)), device="cpu"))
    port = free_port()
    with pytest.warns(UserWarning, match="does not support OAuth features outside"):
        blocks.launch(
            server_name="127.0.0.1", server_port=port, prevent_thread_lock=True, quiet=True, inbrowser=False, **look
        )
    context = browser.new_context(viewport={"width": 1280, "height": 900}, locale="en-US")
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.goto(f"http://localhost:{port}")  # a name that browsers keep secure cookies of
    yield page
    context.close()
    blocks.close()


def test_sign_in_and_publish(page, hub):
    open_tab(page, "Hub")
    page.get_by_text("Publish a checkpoint of this app").click()
    expect(page.locator("#hub-publish")).to_be_visible(timeout=PATIENCE)
    page.locator("#hub-publish").click()
    expect(page.locator("#hub-publish-status")).to_contain_text("Sign in first", timeout=PATIENCE)
    with page.expect_navigation(timeout=PATIENCE):
        page.locator("#sign-in").click()
    open_tab(page, "Hub")
    page.get_by_text("Publish a checkpoint of this app").click()
    expect(page.locator("#sign-in")).to_have_text("✓ user", timeout=PATIENCE)
    page.locator("#hub-publish").click()
    expect(page.locator("#hub-publish-status")).to_contain_text("Published", timeout=PATIENCE)
    assert "model_index.json" in hub.repo("user/tiny-vae").files


def test_text_of_strangers_is_text(page, monkeypatch):
    """In the messages that pop up, in the status below, and in the name of a file; it is shown, and nothing of it runs."""
    seed = page.get_by_label("Seed").locator("visible=true")
    seed.fill(ATTACK)
    page.locator("#generate-run").click()
    toast = page.get_by_test_id("toast-body").first
    expect(toast).to_contain_text("The seed must be a whole number", timeout=PATIENCE)
    expect(page.locator("#generate-status")).to_contain_text("<img src=x", timeout=PATIENCE)

    def open_picture(source):
        note(f"{ATTACK} is cut off.")
        raise InputError(f"{ATTACK} is no picture.")

    monkeypatch.setattr("genarium.runtime.modalities.open_picture", open_picture)
    open_tab(page, "Reconstruct")
    page.locator("#reconstruct-images-grey .gallery-item").first.click()
    expect(page.locator("#reconstruct-images img")).to_be_visible(timeout=PATIENCE)
    page.locator("#reconstruct-run").click()
    expect(page.locator("#reconstruct-status")).to_contain_text("onerror=window.hit=1", timeout=PATIENCE)
    for words in ("is cut off", "is no picture"):
        expect(page.get_by_test_id("toast-body").filter(has_text=words)).to_be_visible(timeout=PATIENCE)
    expect(page.get_by_test_id("toast-body").locator("script, img[onerror]")).to_have_count(0)
    assert page.evaluate("window.hit") is None
