"""In a Space with sign-in: its owner puts a checkpoint of the app, or one that they trained here, on the Hub, under their own account."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.errors import GenariumError, HubError, InputError
from genarium.runtime import Runtime
from genarium.ui.picker import hub_link
from genarium.ui.runs import problem_html, status_html
from genarium.ui.texts import TEXTS, Texts, markup


def can_sign_in() -> bool:
    """Return whether visitors of this Space can sign in: its README has `hf_oauth: true`, and gradio[oauth] is installed."""
    return bool(os.environ.get("OAUTH_CLIENT_ID")) and all(map(importlib.util.find_spec, ("authlib", "itsdangerous")))


class PublishPanel:
    """A panel to sign in, choose a checkpoint and a name, and publish. Build it only if visitors can sign in.

    Args:
        brought: names of the checkpoints that this visitor brought; those trained here are offered too.
    """

    def __init__(self, runtime: Runtime, texts: Texts, brought: gr.State):
        self.runtime = runtime
        self.names = [name for name, c in runtime.catalogue.checkpoints.items() if c.card is not None]
        names = self.names
        with gr.Accordion(texts("publish"), open=False, elem_classes="settings"):
            markup(f'<div class="intro">{Texts.both("publish_intro")}</div>')
            # In both languages at once: Gradio's script compares the label with this text to know whether one is signed in,
            # and would take a translated label for a name, so that nobody could ever sign in.
            gr.LoginButton(" · ".join(TEXTS["sign_in"]), logout_value="✓ {}", elem_id="sign-in")
            self.checkpoint = gr.Dropdown(
                names, value=next(iter(names), None), label=texts("checkpoint"), filterable=False
            )
            self.name = gr.Textbox(
                label=texts("publish_name"), info=texts("publish_name_info"), max_lines=1, max_length=96
            )
            self.private = gr.Checkbox(False, label=texts("publish_private"))
            self.publish = gr.Button(texts("publish_now"), elem_id="hub-publish")
            self.status = markup("", elem_id="hub-publish-status")
        self.publish.click(
            self._publish,
            [self.checkpoint, self.name, self.private, brought],
            self.status,
            show_progress="hidden",
            trigger_mode="once",
            concurrency_limit=1,
            api_visibility="private",
        )

    async def _publish(
        self,
        checkpoint: str,
        name: str,
        private: bool,
        brought: list[str],
        profile: gr.OAuthProfile | None,
        token: gr.OAuthToken | None,
    ) -> AsyncIterator[str]:
        """Handle Publish: check, export, prove, upload. It cannot be stopped: a commit is whole or not at all."""
        yield status_html(Texts.both("publishing"), waiting=True)
        try:
            if profile is None or token is None:
                raise InputError("Sign in first, so that it is known whose account it goes to.")
            check_owner(profile)
            found = self._chosen(checkpoint, brought)
            repo_id = f"{profile.username}/{(name or '').strip() or found.stem}"
            commit = await asyncio.to_thread(self._send, found, repo_id, private, token.token)
        except GenariumError as error:
            yield problem_html(error)
            return
        except Exception:  # ours; Gradio logs it and keeps the details from the visitor
            yield status_html(Texts.both("failed"), bad=True)
            raise
        yield status_html(f"{Texts.both('published')} {hub_link(repo_id, commit)}")

    def offer(self, own: Sequence[Checkpoint]) -> dict[Any, Any]:
        """Return the update that offers what a visitor trained here, after the app's own checkpoints."""
        trained = [(f"{one.stem} ✓", one.name) for one in own if one.is_private and one.card is not None]
        choices = [*((name, name) for name in self.names), *trained]
        return {self.checkpoint: gr.update(choices=choices)}

    def _chosen(self, name: str, brought: Sequence[str]) -> Checkpoint:
        """Return a checkpoint of the app, or one that this visitor trained here.

        Raises:
            InputError: it is neither.
        """
        found = self.runtime.catalogue.checkpoints.get(name)
        if found is None and name in brought:
            guest = self.runtime.guest(name)
            found = guest if guest is not None and guest.is_private else None
        if found is None:
            raise InputError("There is no checkpoint to publish. Choose one.")
        return found

    def _send(self, found: Checkpoint, repo_id: str, private: bool, token: str) -> str:
        from genarium.hub.publish import export, upload  # here, because it imports torch and diffusers

        with tempfile.TemporaryDirectory(prefix="genarium-export-") as folder:
            exported = export(found, Path(folder) / found.stem, self.runtime.catalogue.families, repo_id)
            return upload(exported, private, token=token)


def check_owner(profile: Any) -> None:
    """Check that a visitor may publish from this Space, since that takes minutes of its owner's machine.

    Raises:
        HubError: the Space is somebody else's.
    """
    owner = os.environ.get("SPACE_AUTHOR_NAME")
    organisations = [o.get("preferred_username") for o in profile.get("orgs") or []]
    if owner and owner not in (profile.username, *organisations):
        raise HubError(
            f"This Space belongs to {owner}, who alone can publish from it. Duplicate the Space to have your own."
        )
