"""What the HTML of a page says before any script runs: a title, a description, a preview picture and an icon.

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
    before = environment.loader
    changed = {name: described(before.get_source(environment, name)[0]) for name in TEMPLATES}
    environment.loader = ChoiceLoader([DictLoader(changed), before])


def described(template: str) -> str:
    """Return a template of Gradio's with our description of the page in place of its own."""
    return THEIRS.sub("", template).replace(FIRST, OURS, 1)


def picture_routes() -> list[Route]:
    """Return the route of the preview picture."""

    def preview(request: Request) -> FileResponse:
        return FileResponse(PREVIEW, headers={"cache-control": "public, max-age=86400"})

    return [Route("/preview.png", preview)]
