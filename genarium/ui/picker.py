"""The choice of a checkpoint, with what there is to know about it."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from typing import Any

import gradio as gr

from genarium.checkpoints import Checkpoint
from genarium.ui.texts import Texts, markup


class Picker:
    """A drop-down of the checkpoints that can do a task; below it family, data and size, and the model card."""

    def __init__(self, checkpoints: Mapping[str, Checkpoint], texts: Texts):
        first = next(iter(checkpoints.values()))
        self.dropdown = gr.Dropdown(list(checkpoints), value=first.name, label=texts("checkpoint"), filterable=False)
        self.facts = markup(facts_html(first))
        with gr.Accordion(texts("card"), open=False, visible=first.card is not None) as self.accordion:
            self.card = gr.Markdown(card_text(first), elem_classes="card")

    def show(self, checkpoint: Checkpoint) -> dict[Any, Any]:
        """Updates of what stands below the drop-down."""
        return {
            self.facts: facts_html(checkpoint),
            self.accordion: gr.update(visible=checkpoint.card is not None),
            self.card: card_text(checkpoint),
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
    """The card without its YAML header and without pictures beside it, which the page cannot reach."""
    if checkpoint.card is None:
        return ""
    text = checkpoint.card.read_text(encoding="utf-8")
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    return re.sub(r"!\[[^\]]*\]\((?!https?://)[^)]*\)", "", text)
