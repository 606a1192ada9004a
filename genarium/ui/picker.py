"""The choice of a checkpoint, with what there is to know about it."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.pictures import open_picture
from genarium.ui.files import data_url
from genarium.ui.texts import Texts, markup


class Picker:
    """A drop-down of the checkpoints that can do a task; below it family, data and size. The card has a place of its own."""

    def __init__(self, checkpoints: Mapping[str, Checkpoint], texts: Texts):
        self.checkpoints, self.texts = checkpoints, texts
        first = next(iter(checkpoints.values()))
        self.dropdown = gr.Dropdown(list(checkpoints), value=first.name, label=texts("checkpoint"), filterable=False)
        self.facts = markup(facts_html(first))

    def build_card(self) -> None:
        """The model card, folded. A page fetches it, with its pictures, only when a visitor unfolds it."""
        first = next(iter(self.checkpoints.values()))
        with gr.Accordion(self.texts("card"), open=False, visible=first.card is not None) as self.accordion:
            self.card = gr.Markdown(elem_classes="card")
        self.accordion.expand(
            lambda name: card_text(self.checkpoints[name]),
            self.dropdown,
            self.card,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

    def show(self, checkpoint: Checkpoint) -> dict[Any, Any]:
        """Updates that introduce another checkpoint."""
        return {
            self.facts: facts_html(checkpoint),
            self.accordion: gr.update(visible=checkpoint.card is not None, open=False),
            self.card: "",
        }


def megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"


def facts_html(checkpoint: Checkpoint) -> str:
    """Family, data, size, classes and the address on the Hub, as a line of facts."""
    facts = [("family", html.escape(checkpoint.family.title))]
    if checkpoint.data:
        facts.append(("data", html.escape(checkpoint.data)))
    facts.append(("size", megabytes(checkpoint.size)))
    if checkpoint.recipe:
        address = html.escape(checkpoint.recipe.repo_id)
        link = f'<a href="https://huggingface.co/{address}" target="_blank" rel="noopener">{address}</a>'
        facts.append(("hub", link))
    items = "".join(f"<div><dt>{Texts.both(key)}</dt><dd>{value}</dd></div>" for key, value in facts)
    return f'<dl class="facts">{items}</dl>'


def card_text(checkpoint: Checkpoint) -> str:
    """The card without its YAML header, and with the pictures beside it inside, because the page cannot reach them."""
    if checkpoint.card is None:
        return ""
    folder = checkpoint.card.parent.resolve()

    def inside(match: re.Match) -> str:
        alt, name = match.groups()
        path = (folder / name).resolve()
        # a card comes from whoever made the checkpoint: it shall not show other files of this machine
        if path.parent != folder or path.suffix != ".png" or not path.is_file():
            return ""
        return f"![{alt}]({data_url(open_picture(path))})"

    text = checkpoint.card.read_text(encoding="utf-8")
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    return re.sub(r"!\[([^\]]*)\]\((?!https?://)([^)]*)\)", inside, text)
