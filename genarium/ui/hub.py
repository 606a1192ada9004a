"""The Hub tab: what a repository holds, and its weights for the other tabs of this visitor.

A checkpoint that was loaded is one for the whole app, a guest of the runtime, so that two visitors share its memory. But a
page's drop-downs list only what its own visitor loaded.
"""

from __future__ import annotations

import asyncio
import html
import os
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import gradio as gr

from genarium import paths, trust
from genarium.checkpoints import Checkpoint, open_checkpoint
from genarium.environment import gigabytes
from genarium.errors import CheckpointError, GenariumError, InputError, Stopped
from genarium.hub.fetch import fetch, make_room, own_cache
from genarium.hub.offer import Offer, look, max_download
from genarium.runtime import Runtime
from genarium.ui.events import QUIET
from genarium.ui.picker import hub_link, list_html, megabytes, short
from genarium.ui.publishing import PublishPanel, can_sign_in
from genarium.ui.runs import problem_html, status_html
from genarium.ui.tab import TaskTab
from genarium.ui.texts import Texts, in_both, markup

LOOKS = 8  # questions to the Hub at the same time
DOWNLOADS = 2  # at the same time; other visitors wait for their turn
BEAT = 0.2  # seconds between two signs of a download
CACHE_IN_DOWNLOADS = (
    8  # the largest that is allowed fits so often into the app's cache, unless GENARIUM_HUB_CACHE_GB is set
)


class HubTab:
    """The contents of the Hub tab.

    Args:
        tabs: of the tasks, where a checkpoint is offered once it is here.
    """

    def __init__(self, runtime: Runtime, tabs: Sequence[TaskTab], texts: Texts):
        self.runtime, self.texts = runtime, texts
        self.tabs = [tab for tab in tabs if tab.families]
        self.token = os.environ.get("GENARIUM_HUB_TOKEN") or False
        self.cache, self.budget = paths.visitors_cache(), _cache_budget()
        self._stops: dict[str, threading.Event] = {}  # by page
        self._lock = threading.Lock()  # of the next
        self._coming: list[str] = []  # commits that are being fetched
        markup(f'<div class="intro">{Texts.both("intro_hub")}</div>')
        with gr.Column(elem_classes="question hub"):
            self.address = gr.Textbox(
                label=texts("hub_address"),
                info=texts("hub_address_info"),
                placeholder="google/ddpm-cifar10-32",
                max_lines=1,
                max_length=300,
                elem_id="hub-address",
            )
            with gr.Row(elem_classes="run-row"):
                self.look = gr.Button(texts("look"), elem_id="hub-look", scale=2)
                self.load = gr.Button(texts("load"), variant="primary", elem_id="hub-load", scale=2)
                self.stop = gr.Button(texts("stop"), interactive=False, elem_id="hub-stop", scale=1)
            self.status = markup("", elem_id="hub-status")
            self.facts = markup("", elem_id="hub-facts")
        self.brought = gr.State([])  # names, in the order in which this visitor loaded them
        known = runtime.catalogue.families.known_classes()
        markup(f'<p class="note">{Texts.both("hub_about", limit=megabytes(max_download()), classes=known)}</p>')
        self.publish = PublishPanel(runtime, texts, self.brought) if can_sign_in() else None
        self.seen = gr.State(("", ""))  # what was typed, and the commit that it meant when the visitor looked
        self._connect()

    def _connect(self) -> None:
        shown = [self.status, self.facts, self.seen]
        options: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "once", "api_visibility": "private"}
        gr.on(
            [self.look.click, self.address.submit],
            self._look,
            self.address,
            shown,
            concurrency_limit=LOOKS,
            concurrency_id="hub-look",
            **options,
        )
        offered = [component for tab in self.tabs for component in tab.offered]
        self.load.click(
            self._load,
            [self.address, self.seen, self.brought],
            list({*shown, self.load, self.stop, self.brought, *offered}),
            concurrency_limit=DOWNLOADS,
            concurrency_id="hub-load",
            **options,
        )
        self.stop.click(self._stop, None, self.stop, **QUIET)

    # ---- looking ----

    def _ask(self, address: str) -> Offer:
        if not (address or "").strip():
            raise InputError("Write the name of a repository first, as user/name.")
        runtime = self.runtime
        return look(
            address, runtime.catalogue.families, self.token, own_cache(self.cache), trust_remote_code=trust.trusted()
        )

    async def _look(self, address: str) -> AsyncIterator[dict[Any, Any]]:
        """Handle Look."""
        yield {self.status: status_html(Texts.both("hub_asking"), waiting=True), self.facts: ""}
        try:
            offer = await asyncio.to_thread(self._ask, address)
        except GenariumError as error:
            yield {self.status: problem_html(error), self.seen: ("", "")}
            return
        except Exception:  # ours; Gradio logs it and keeps the details from the visitor
            yield {self.status: status_html(Texts.both("failed"), bad=True)}
            raise
        words = html.escape(offer.problem) or Texts.both("hub_can", size=megabytes(offer.size))
        if not offer.problem and offer.family is None:
            words = f"{Texts.both('hub_foreign')} {words}"
        yield {
            self.status: status_html(words, bad=bool(offer.problem)),
            self.facts: offer_html(offer),
            self.seen: (address.strip(), offer.name),
        }

    # ---- loading ----

    async def _load(
        self, address: str, seen: tuple[str, str], brought: list[str], visit: gr.Request
    ) -> AsyncIterator[dict[Any, Any]]:
        """Handle Load: fetch with progress, load, and offer the checkpoint on this page's tabs."""
        stop = self._stops[visit.session_hash or ""] = threading.Event()
        ready = {self.load: gr.update(interactive=True), self.stop: gr.update(interactive=False)}
        yield {
            self.load: gr.update(interactive=False),
            self.stop: gr.update(interactive=True),
            self.status: status_html(Texts.both("hub_asking"), waiting=True),
        }
        progress: list[Any] = []
        if seen[0] == (address or "").strip():
            address = seen[1] or address  # what was looked at is what is loaded, even if the branch moved since
        try:
            work = asyncio.ensure_future(asyncio.to_thread(self._bring, address, progress, stop))
            # Where nobody waits for it any more, what it raises has no reader: asyncio would log it.
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
            while not work.done():
                await asyncio.wait({work}, timeout=BEAT)
                if stop.is_set() and not work.done():  # the library may first finish its file, unseen
                    raise Stopped("Stopped.")
                yield self._progress(progress)
            offer, checkpoint = work.result()
        except Stopped:
            yield {**ready, self.status: status_html(Texts.both("stopped"))}
            return
        except GenariumError as error:
            yield {**ready, self.status: problem_html(error)}
            return
        except Exception:  # ours, or of code that the operator trusts
            yield {**ready, self.status: status_html(Texts.both("failed"), bad=True)}
            raise
        finally:
            stop.set()
            self._stops.pop(visit.session_hash or "", None)
        brought = [*(name for name in brought if name != checkpoint.name), checkpoint.name]
        here = [guest for guest in map(self.runtime.guest, brought) if guest is not None]
        updates = {key: value for tab in self.tabs for key, value in tab.offer(here, checkpoint).items()}
        yield {
            **ready,
            **updates,
            self.status: status_html(loaded_html(checkpoint, self.texts)),
            self.facts: offer_html(offer),
            self.brought: [guest.name for guest in here],
        }

    def _bring(self, address: str, progress: list[Any], stop: threading.Event) -> tuple[Offer, Checkpoint]:
        """Fetch the checkpoint at an address and make it a guest of the runtime. The last entry of `progress` says what goes on."""
        offer = self._ask(address)
        guest = self.runtime.guest(offer.name)
        if guest is not None:
            return offer, guest
        if offer.problem:
            raise CheckpointError(offer.problem)
        with self._lock:
            self._coming.append(offer.commit)
        try:
            with self._lock:
                keep = {*self._coming, *(guest.name.partition("@")[2] for guest in self.runtime.guests())}
                make_room(self.cache, offer.size, self.budget, keep)
            folder = fetch(offer, lambda done, total: progress.append((done, total)), stop, self.cache)
            progress.append("hub_loading")
            checkpoint = open_checkpoint(folder, self.runtime.catalogue.families, name=offer.name)
            if stop.is_set():
                raise Stopped("Stopped.")
            self.runtime.welcome(checkpoint, stop)
        finally:
            with self._lock:
                self._coming.remove(offer.commit)
        return offer, checkpoint

    def _progress(self, progress: list[Any]) -> dict[Any, Any]:
        latest = progress[-1] if progress else "hub_asking"
        if isinstance(latest, str):
            return {self.status: status_html(Texts.both(latest), waiting=True)}
        done, total = latest
        words = Texts.both("hub_downloading", done=megabytes(done), total=megabytes(total))
        return {self.status: status_html(words, share=done / max(total, 1))}

    def _stop(self, visit: gr.Request) -> dict[str, Any]:
        if stop := self._stops.get(visit.session_hash or ""):
            stop.set()
        return gr.update(interactive=False)


def offer_html(offer: Offer) -> str:
    """Return what a repository holds, as a line of facts, and the files that would be fetched, folded."""
    family = html.escape(offer.family.title) if offer.family else Texts.both("hub_no_family")
    facts = [
        ("hub", hub_link(offer.repo_id)),
        ("hub_class", html.escape(offer.class_name) or "–"),
        ("family", family),
        ("license", html.escape(offer.license) or Texts.both("hub_no_license")),
        ("revision", hub_link(offer.repo_id, offer.commit)),
    ]
    if not offer.files:
        return list_html(facts)
    facts.append(("size", megabytes(offer.size)))
    rows = "".join(f"<li><code>{html.escape(f.path)}</code> {megabytes(f.size)}</li>" for f in offer.files)
    files = f"<details><summary>{Texts.both('hub_files')}: {len(offer.files)}</summary><ul>{rows}</ul></details>"
    return list_html(facts) + files


def loaded_html(checkpoint: Checkpoint, texts: Texts) -> str:
    """Return the note that a checkpoint is loaded, and in which tabs."""
    tabs = ", ".join(texts.of(task).both("tab") for task in checkpoint.tasks.values()) or in_both("none", "无")
    return f"{Texts.both('hub_loaded', name=short(checkpoint.name))} {tabs}"


def _cache_budget() -> int:
    """Return the bytes of disk for what visitors bring.

    Raises:
        InputError: GENARIUM_HUB_CACHE_GB is no number.
    """
    value = os.environ.get("GENARIUM_HUB_CACHE_GB")
    if not value:
        return CACHE_IN_DOWNLOADS * max_download()
    return round(gigabytes("GENARIUM_HUB_CACHE_GB", value) * 10**9)
