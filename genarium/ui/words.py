"""Words that are a code, on the page: as the model says them, and in Chinese where the family knows how."""

from __future__ import annotations

import html

from genarium.checkpoints import Checkpoint
from genarium.ui.texts import TaskTexts


def in_chinese(checkpoint: Checkpoint, words: str) -> str:
    """Return words of a code in Chinese, with a dot between two; "" if the family does not say what they are.

    A word without a translation stays as it is.
    """
    chinese = checkpoint.family.words.get("zh", {})
    return " · ".join(chinese.get(word, word) for word in words.split()) if chinese else ""


def gloss_html(checkpoint: Checkpoint, texts: TaskTexts, words: str) -> str:
    """Return a line that says words of a code in Chinese, as HTML; "" if there is nothing to say.

    Args:
        checkpoint: whose code it is.
        texts: of a task that has the text "in_chinese".
        words: of the code, with a space between two.
    """
    said = in_chinese(checkpoint, words)
    return f'<p class="note">{texts.both("in_chinese", words=said)}</p>' if said else ""


def words_html(checkpoint: Checkpoint, words: str) -> str:
    """Return words of a code as escaped HTML, and beside them the Chinese ones."""
    said = in_chinese(checkpoint, words)
    return html.escape(words) + (f' <span lang="zh">{html.escape(said)}</span>' if said else "")
