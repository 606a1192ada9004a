"""The About tab: the families that were found, and what could not be used, with reasons."""

from __future__ import annotations

import html
from collections.abc import Sequence

from genarium.catalogue import Catalogue
from genarium.errors import Broken
from genarium.families import Family
from genarium.ui.picker import family_html, named_html
from genarium.ui.texts import Texts, in_both_of, markup


def build_about(catalogue: Catalogue, texts: Texts, broken_tasks: Sequence[Broken] = ()) -> None:
    """Build the contents of the tab.

    Args:
        catalogue: of the app.
        texts: of the app.
        broken_tasks: that could not be used.
    """
    families = catalogue.families
    markup(f'<p class="about">{Texts.both("about")}</p>', elem_id="about-app")
    cards = "".join(_family(catalogue, family, texts) for family in families)
    markup(f'<div class="families">{cards}</div>', elem_id="about-families")
    broken = [*broken_tasks, *families.broken, *catalogue.broken]
    if not broken:
        markup(f'<p class="note">{Texts.both("broken_none")}</p>', elem_id="about-broken")
        return
    items = "".join(f"<li><code>{html.escape(b.origin)}</code>: {html.escape(b.reason)}</li>" for b in broken)
    markup(f'<div class="family"><h2>{Texts.both("broken")}</h2><ul>{items}</ul></div>', elem_id="about-broken")


def _family(catalogue: Catalogue, family: Family, texts: Texts) -> str:
    papers = "".join(
        f'<li><a href="{html.escape(p.url)}" target="_blank" rel="noopener">{html.escape(p.title)}</a></li>'
        for p in family.papers
    )
    can = ", ".join(texts.of(task).both("tab") for task in family.outline.tasks)
    has = " · ".join(named_html(c) for c in catalogue.checkpoints.values() if c.family.name == family.name) or "–"
    origin = html.escape(catalogue.families.origins[family.name])
    return (
        f'<section class="family"><h2>{family_html(family)}</h2><p>{in_both_of(family.description)}</p>'
        f"<ul>{papers}</ul>"
        f'<p class="small">{Texts.both("can")}: {can}</p><p class="small">{Texts.both("checkpoints")}: {has}</p>'
        f'<p class="small"><code>{origin}</code></p>'
        "</section>"
    )
