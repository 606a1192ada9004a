"""Publishing from a Space: only where one can sign in, only by its owner, with the visitor's own token."""

import asyncio
import dataclasses

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


def press(runtime, name, repo, private, profile, token, brought=()):
    with gr.Blocks():
        panel = PublishPanel(runtime, Texts(), gr.State([]))

    async def run():
        return [step async for step in panel._publish(name, repo, private, list(brought), profile, token)]

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


@pytest.fixture
def trained(runtime):
    """A checkpoint that a visitor trained here, as a guest."""
    found = runtime.catalogue.checkpoints["tiny-vae"]
    guest = dataclasses.replace(found, name="mine/bars@0123456789abcdef", is_private=True)
    runtime.admit(guest, 0)
    return guest


def test_what_a_visitor_trained_is_offered_to_them_and_published(hub, runtime, signing_in, monkeypatch, trained):
    monkeypatch.setenv("SPACE_AUTHOR_NAME", "user")
    with gr.Blocks():
        panel = PublishPanel(runtime, Texts(), gr.State([]))
    update = panel.offer([trained, dataclasses.replace(trained, is_private=False, name="someone/else@1")])
    assert [value for _, value in update[panel.checkpoint]["choices"]] == ["tiny-vae", trained.name]
    own = profile("user"), token("hf_user")
    shown = press(runtime, trained.name, "bars", False, *own, brought=[trained.name])
    assert "Published" in shown and "model_index.json" in hub.repo("user/bars").files


def test_nobody_publishes_what_another_visitor_trained_or_brought(hub, runtime, signing_in, monkeypatch, trained):
    monkeypatch.setenv("SPACE_AUTHOR_NAME", "user")
    own = profile("user"), token("hf_user")
    assert "no checkpoint to publish" in press(runtime, trained.name, "x", False, *own)
    fetched = dataclasses.replace(trained, is_private=False, name="someone/else@1")
    runtime.admit(fetched, 0)
    assert "no checkpoint to publish" in press(runtime, fetched.name, "x", False, *own, brought=[fetched.name])
    assert ("model", "user/x") not in hub.repos
