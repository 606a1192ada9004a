"""What the HTML of a page says before any script runs: a title, a description, a preview picture, an icon and the configuration.

A messenger that shows a link, or a search engine, reads no more than that. Gradio's own template describes Gradio there, and
what `launch(head=...)` takes is added by a script.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import Any

from gradio import routes
from jinja2 import ChoiceLoader, DictLoader
from starlette.requests import Request
from starlette.responses import FileResponse
from starlette.routing import Route

PICTURES = Path(__file__).parent / "pictures"
ICON = PICTURES / "icon.png"  # 256 x 256
PREVIEW = PICTURES / "preview.png"  # 1200 x 630, the size that messengers ask for
DESCRIPTION = (
    "A playground for generative models. Draw pictures with each family of models, reconstruct your own, walk between two, "
    "measure how strange one is, and compare the models side by side."
)
CONFIG = "window.gradio_config = {{ config | toorjson }};"
TWINS = ("zh-CN", "zh-TW")  # languages that have the words of "zh"
BRIEF_CONFIG = f"""window.gradio_config = {{{{ config | without_twins | toorjson }}}};
(words => {{ for (const name of {list(TWINS)}) if (words && words.zh && !words[name]) words[name] = words.zh; }})(window.gradio_config.i18n_translations);"""
TEMPLATES = ("frontend/index.html", "frontend/share.html")
THEIRS = re.compile(r'<meta\s+(?:property="og:|name="(?:twitter:|description"))[^>]*?/?>', re.DOTALL)
FIRST = '<meta charset="utf-8" />'
OURS = f"""{FIRST}
		<title>{{{{ config['title'] }}}}</title>
		<meta name="description" content="{DESCRIPTION}" />
		<meta property="og:type" content="website" />
		<meta property="og:title" content="{{{{ config['title'] }}}}" />
		<meta property="og:description" content="{DESCRIPTION}" />
		<meta property="og:image" content="{{{{ config['root'] }}}}/preview.png" />
		<meta name="twitter:card" content="summary_large_image" />"""


@functools.cache
def describe_pages() -> None:
    """Let Gradio's templates describe this app, for as long as this process lives."""
    environment: Any = routes.templates.env
    environment.filters["without_twins"] = without_twins
    before = environment.loader
    changed = {name: described(before.get_source(environment, name)[0]) for name in TEMPLATES}
    environment.loader = ChoiceLoader([DictLoader(changed), before])


def described(template: str) -> str:
    """Return a template of Gradio's with our description of the page in place of its own, and Chinese words sent once."""
    return THEIRS.sub("", template).replace(FIRST, OURS, 1).replace(CONFIG, BRIEF_CONFIG, 1)


def without_twins(config: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a page without words that are those of another language; the page copies them.

    They are a fifth of what is sent.
    """
    words = config.get("i18n_translations") or {}
    twins = [name for name in TWINS if name in words and words[name] == words.get("zh")]
    return (
        config | {"i18n_translations": {name: words[name] for name in words if name not in twins}} if twins else config
    )


def picture_routes() -> list[Route]:
    """Return the route of the preview picture."""

    def preview(request: Request) -> FileResponse:
        return FileResponse(PREVIEW, headers={"cache-control": "public, max-age=86400"})

    return [Route("/preview.png", preview)]
