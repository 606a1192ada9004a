"""The choice of a checkpoint, with what there is to know about it."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import gradio as gr
from huggingface_hub import constants

from genarium.checkpoints import Checkpoint
from genarium.errors import InputError
from genarium.families import Family
from genarium.files import read_text
from genarium.media.decoding import open_picture
from genarium.ui.files import data_url
from genarium.ui.texts import TaskTexts, Texts, in_both, markup


class Picker:
    """A drop-down of the checkpoints that can do a task; below it family, data and size. The card has a place of its own.

    The list shows the names that people use. What the page sends are the checkpoints' own names.

    Args:
        checkpoints: offered to everybody; may be none.
        find: a checkpoint by the name that the page sent, also one that this visitor brought.
    """

    def __init__(self, checkpoints: Mapping[str, Checkpoint], texts: TaskTexts, find: Callable[[str], Checkpoint]):
        self.checkpoints, self.texts, self.find = checkpoints, texts, find
        self.first = next(iter(checkpoints.values()), None)
        self.choices = choices_of(checkpoints.values(), texts)
        self.dropdown = gr.Dropdown(
            self.choices,
            value=None if self.first is None else self.first.name,
            label=texts("checkpoint"),
            filterable=False,
            elem_classes="picker",
        )
        self.facts = markup(facts_html(self.first) if self.first else "")

    def build_card(self) -> None:
        """Build the folded model card. The page fetches its text and pictures when a visitor unfolds it."""
        visible = self.first is not None and self.first.card is not None
        with gr.Accordion(self.texts("card"), open=False, visible=visible) as self.accordion:
            self.card = gr.Markdown(elem_classes="card")
        self.accordion.expand(
            lambda name: card_text(self.find(name)),
            self.dropdown,
            self.card,
            queue=False,
            show_progress="hidden",
            api_visibility="private",
        )

    @property
    def shown(self) -> list[Any]:
        """What `show` updates."""
        return [self.facts, self.accordion, self.card]

    def show(self, checkpoint: Checkpoint) -> dict[Any, Any]:
        """Return updates that introduce another checkpoint."""
        return {
            self.facts: facts_html(checkpoint),
            self.accordion: gr.update(visible=checkpoint.card is not None, open=False),
            self.card: "",
        }

    def offer(self, brought: Sequence[Checkpoint], chosen: Checkpoint) -> dict[Any, Any]:
        """Return updates of this visitor's drop-down: what everybody has, then what this one brought."""
        return {self.dropdown: gr.update(choices=self._choices(brought), value=chosen.name), **self.show(chosen)}

    def add(self, brought: Sequence[Checkpoint]) -> dict[Any, Any]:
        """Return updates of this visitor's drop-down that leave what is chosen."""
        return {self.dropdown: gr.update(choices=self._choices(brought))}

    def _choices(self, brought: Sequence[Checkpoint]) -> list[tuple[Any, str]]:
        return [*self.choices, *((short(c.name), c.name) for c in brought)]


def choices_of(checkpoints: Iterable[Checkpoint], texts: Texts | TaskTexts) -> list[tuple[Any, str]]:
    """Return the choices of a drop-down of checkpoints: the names that people use, and the checkpoints' own."""
    return [(title(checkpoint, texts), checkpoint.name) for checkpoint in checkpoints]


def title(checkpoint: Checkpoint, texts: Texts | TaskTexts) -> Any:
    """Return the name that people use, for a component: in the browser's language where there are two."""
    english, chinese = checkpoint.title["en"], checkpoint.title["zh"]
    return short(english) if english == chinese else texts.add(f"checkpoint_{checkpoint.name}", english, chinese)


def title_html(checkpoint: Checkpoint) -> str:
    """Return the name that people use, as HTML in both languages."""
    english, chinese = (html.escape(short(checkpoint.title[language])) for language in ("en", "zh"))
    return english if english == chinese else in_both(english, chinese)


def named_html(checkpoint: Checkpoint) -> str:
    """Return the name that people use, and beside it, where it is another, the one that commands take."""
    if checkpoint.title["en"] == checkpoint.name:
        return f"<code>{html.escape(short(checkpoint.name))}</code>"
    return f"{title_html(checkpoint)} <code>{html.escape(checkpoint.name)}</code>"


def short(name: str) -> str:
    """Return a checkpoint's name with a commit as people write it: seven digits."""
    repo_id, _, commit = name.partition("@")
    return f"{repo_id}@{commit[:7]}" if commit else name


def family_html(family: Family) -> str:
    """Return the title of a family, as HTML in both languages."""
    english = html.escape(family.title)
    chinese = family.translations.get("zh", {}).get(family.title)
    return english if chinese is None else in_both(english, html.escape(chinese))


def megabytes(size: int) -> str:
    if size >= 1e9:
        return f"{size / 1e9:.2f} GB"
    if size < 1e3:
        return f"{size} B"
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.0f} kB"


def facts_html(checkpoint: Checkpoint) -> str:
    """Return name, family, data, size and the address on the Hub, as a line of facts."""
    facts = [("family", family_html(checkpoint.family))]
    if checkpoint.title["en"] != checkpoint.name:
        facts.append(("name", f"<code>{html.escape(checkpoint.name)}</code>"))
    if checkpoint.data and not checkpoint.is_private:
        facts.append(("data", html.escape(checkpoint.data)))
    facts.append(("size", megabytes(checkpoint.size)))
    if checkpoint.is_private:
        return list_html(facts)
    if checkpoint.recipe and checkpoint.recipe.revision:  # written by `publish`: the page is there
        facts.append(("hub", hub_link(checkpoint.recipe.repo_id)))
    elif "@" in checkpoint.name:  # brought by a visitor
        facts.append(("hub", hub_link(*checkpoint.name.split("@"))))
    return list_html(facts)


def list_html(facts: Sequence[tuple[str, str]]) -> str:
    """Return a line of facts, each with the key of its heading and its HTML."""
    items = "".join(f"<div><dt>{Texts.both(key)}</dt><dd>{value}</dd></div>" for key, value in facts)
    return f'<dl class="facts">{items}</dl>'


def hub_link(repo_id: str, commit: str = "") -> str:
    """Return a link to a repository's page, at a commit where one is given."""
    place = html.escape(f"{constants.ENDPOINT}/{repo_id}" + (f"/tree/{commit}" if commit else ""))
    words = html.escape(short(f"{repo_id}@{commit}") if commit else repo_id)
    return f'<a href="{place}" target="_blank" rel="noopener">{words}</a>'


def card_text(checkpoint: Checkpoint) -> str:
    """Return the card without its YAML header, and with the pictures beside it inside, because the page cannot reach them."""
    if checkpoint.card is None:
        return ""
    folder = checkpoint.card.parent.resolve()

    def inside(match: re.Match) -> str:
        alt, name = match.groups()
        path = (folder / name).resolve()
        # a card comes from whoever made the checkpoint: it shall not show other files of this machine
        if path.parent != folder or path.suffix != ".png" or not path.is_file():
            return ""
        try:
            return f"![{alt}]({data_url(open_picture(path))})"
        except InputError:  # a damaged picture hides no text
            return ""

    text = read_text(checkpoint.card).replace("\r\n", "\n")
    text = re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.DOTALL)
    return re.sub(r"!\[([^\]]*)\]\((?!https?://)([^)]*)\)", inside, text)
