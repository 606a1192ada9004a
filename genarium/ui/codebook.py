"""A codebook as HTML: a tree of pictures to climb, a sheet of classes, or bits at 0 and at 1; the code of one picture is marked."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genarium.checkpoints import Checkpoint
from genarium.media.codebook import GAP, SHEET, Codebook
from genarium.ui.texts import TaskTexts

ZOOM = 2  # of the pictures on the screen


def codebook_html(checkpoint: Checkpoint, texts: TaskTexts, codes: np.ndarray | None) -> str:
    """Return a checkpoint's codebook as HTML; "" if none is stored.

    Args:
        checkpoint: whose codebook it is.
        texts: of a task that has the texts of codebooks.
        codes: int64 [h, w], the code that is marked; None: none is.
    """
    book = Codebook.load(checkpoint.folder)
    if book is None:
        return ""
    code = [] if codes is None else codes.flatten().tolist()
    draw = {"binary": _bits, "one_hot": _classes, "path": _tree}[book.kind]
    data = base64.b64encode(Path(checkpoint.folder / SHEET).read_bytes()).decode()
    zoomed = ZOOM * (book.side + GAP)
    style = f"--sheet:url(data:image/png;base64,{data});--side:{ZOOM * book.side}px;--wide:{zoomed * book.columns - ZOOM * GAP}px"
    about = texts.both(f"codebook_{book.kind}", number=book.size, leaves=book.size**book.depth, images=book.images)
    return f'<div class="codebook" style="{style}"><p class="note">{about}</p>{draw(book, texts, code)}</div>'


def _sprite(book: Codebook, level: int, node: int) -> str:
    column, row = book.place(level, node)
    step = ZOOM * (book.side + GAP)
    return f'<i style="background-position:{-column * step}px {-row * step}px"></i>'


def _caption(book: Codebook, path: Sequence[int]) -> str:
    """Return the number of test pictures below a node and, where they have labels, the most frequent one with its share."""
    labels = book.labels_below(path)
    total = sum(labels.values())
    name, number = next(iter(labels.most_common(1)), ("", 0))
    most = f"<span>{html.escape(name)} {100 * number / total:.0f} %</span>" if name else ""
    return f"<b>{total:,}</b>{most}"


def _tree(book: Codebook, texts: TaskTexts, code: list[int]) -> str:
    """Return the path from coarse to fine, and below it the tree, opened along the path."""
    strip = ""
    if len(code) == book.depth:
        numbers = [
            sum(c * book.size ** (level - 1 - i) for i, c in enumerate(code[:level])) for level in range(len(code) + 1)
        ]
        steps = "".join(
            f"<figure>{_sprite(book, level, node)}<figcaption>{_caption(book, code[:level])}</figcaption></figure>"
            for level, node in enumerate(numbers)
        )
        words = texts.both("codebook_way", path=" ".join(str(choice + 1) for choice in code))
        strip = f'<p class="note">{words}</p><div class="way">{steps}</div>'
    return f"{strip}{_node(book, code, [], 0, 0)}"


def _node(book: Codebook, code: list[int], path: list[int], level: int, node: int) -> str:
    on_way = code[:level] == path and len(code) > 0
    inside = f"{_sprite(book, level, node)}<small>{_caption(book, path)}</small>"
    mark = " on-way" if on_way else ""
    if level == book.depth:
        return f'<div class="leaf{mark}">{inside}</div>'
    children = "".join(
        _node(book, code, [*path, child], level + 1, node * book.size + child) for child in range(book.size)
    )
    opened = " open" if on_way or level == 0 else ""
    return f'<details class="branch{mark}"{opened}><summary>{inside}</summary><div class="children">{children}</div></details>'


def _classes(book: Codebook, texts: TaskTexts, code: list[int]) -> str:
    cards = []
    for number in range(book.size):
        labels = book.labels_below([number])
        total = max(sum(labels.values()), 1)
        rows = "".join(
            f'<li><span style="width:{100 * count / total:.0f}%"></span>{html.escape(name)} {count:,}</li>'
            for name, count in labels.most_common(4)
            if name
        )
        mark = " on-way" if code == [number] else ""
        head = f"<b>{number + 1}</b><small>{sum(labels.values()):,}</small>"
        cards.append(
            f'<figure class="class{mark}">{_sprite(book, 1, number)}<figcaption>{head}<ul>{rows}</ul></figcaption></figure>'
        )
    return f'<div class="classes">{"".join(cards)}</div>'


def _bits(book: Codebook, texts: TaskTexts, code: list[int]) -> str:
    cards = []
    for bit in range(book.size):
        share = book.members.get(str(bit), {}).get("1", 0) / max(book.images, 1)
        at = code[bit] if bit < len(code) else None
        pictures = "".join(
            f'<span class="{"on-way" if at == value else ""}">{_sprite(book, 1 + value, bit)}</span>'
            for value in (0, 1)
        )
        cards.append(
            f'<figure class="bit">{pictures}<figcaption><b>{bit + 1}</b><small>{100 * share:.0f} %</small></figcaption></figure>'
        )
    return f'<div class="bits-sheet">{"".join(cards)}</div>'
