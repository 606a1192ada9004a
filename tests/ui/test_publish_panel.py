"""Publishing from a Space: only where one can sign in, only by its owner, with the visitor's own token."""

import asyncio

import gradio as gr
import pytest
from furnishing import furnish

from genarium.catalogue import find_checkpoints
from genarium.families import discover
from genarium.runtime import Runtime
from genarium.ui import build_app, publishing
from genarium.ui.publishing import PublishPanel
from genarium.ui.texts import Texts


def profile(name, *orgs):
    values = {"name": name, "preferred_username": name, "profile": "", "picture": ""}
    return gr.OAuthProfile({**values, "orgs": [{"preferred_username": o} for o in orgs]})


def token(value):
    return gr.OAuthToken(token=value, scope="write-repos", expires_at=0)


@pytest.fixture
def runtime(hub, house, tiny_checkpoints):
    furnish(house, tiny_checkpoints / "tiny-vae", "vae")
    return Runtime(find_checkpoints(discover(installed=False)), device="cpu")


@pytest.fixture
def signing_in(monkeypatch):
    """As in a Space with sign-in: a stand-in for the button, which needs gradio[oauth]."""
    monkeypatch.setenv("OAUTH_CLIENT_ID", "of this Space")
    monkeypatch.setattr(publishing.importlib.util, "find_spec", lambda name: name)
    monkeypatch.setattr(gr, "LoginButton", lambda value, logout_value, elem_id: gr.Button(value, elem_id=elem_id))


def press(runtime, *arguments):
    with gr.Blocks():
        panel = PublishPanel(runtime, Texts())

    async def run():
        return [step async for step in panel._publish(*arguments)]

    return asyncio.run(run())[-1]


def sign_in_buttons(runtime):
    blocks, _ = build_app(runtime)
    return [b for b in blocks.blocks.values() if b.elem_id == "sign-in"]


def test_without_sign_in_it_is_not_shown(runtime, signing_in, monkeypatch):
    monkeypatch.delenv("OAUTH_CLIENT_ID")
    assert not sign_in_buttons(runtime)


def test_without_gradios_extra_it_is_not_shown(runtime, signing_in, monkeypatch):
    monkeypatch.setattr(publishing.importlib.util, "find_spec", lambda name: None)
    assert not sign_in_buttons(runtime)


def test_with_both_it_is(runtime, signing_in):
    assert len(sign_in_buttons(runtime)) == 1


def test_the_owner_publishes_to_the_own_account(hub, runtime, signing_in, monkeypatch):
    monkeypatch.setenv("SPACE_AUTHOR_NAME", "genarium")
    monkeypatch.setenv("HF_TOKEN", "hf_other")  # of the machine: it could not write there
    shown = press(runtime, "tiny-vae", " mine ", True, profile("user", "genarium"), token("hf_user"))
    assert "Published" in shown and f"user/mine@{hub.repo('user/mine').sha[:7]}" in shown
    assert hub.repo("user/mine").private and "model_index.json" in hub.repo("user/mine").files


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("tiny-vae", "", False, None, None), "Sign in first"),
        (("tiny-vae", "", False, profile("stranger"), token("hf_other")), "belongs to user"),
        ((None, "x", False, profile("user"), token("hf_user")), "no checkpoint to publish"),
        (("tiny-vae", "a b", False, profile("user"), token("hf_user")), "user/name"),
        (("tiny-vae", "", False, profile("user"), token("hf_read")), "right to write"),
    ],
)
def test_what_is_wrong_is_said(hub, runtime, signing_in, monkeypatch, arguments, says):
    monkeypatch.setenv("SPACE_AUTHOR_NAME", "user")
    assert says in press(runtime, *arguments)
    assert ("model", "user/tiny-vae") not in hub.repos
