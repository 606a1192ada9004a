"""What the scripts of pages have in common."""

from __future__ import annotations

import functools
from importlib.resources import files


@functools.cache
def elements() -> str:
    """Return the functions by which a page's script makes elements, with texts in two languages."""
    return (files(__package__) / "elements.js").read_text(encoding="utf-8")
