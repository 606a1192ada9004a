"""What the events of tabs and pages have in common: options for Gradio."""

from __future__ import annotations

from typing import Any

VISITORS = 64  # runs of one tab that are under way at the same time; the runtime lets them take turns, step by step
# of an event that answers at once, and that no program is to call
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
