"""What the events of tabs and pages have in common: options for Gradio."""

from __future__ import annotations

from typing import Any

VISITORS = 64  # runs of one tab that are under way at the same time; the runtime lets them take turns, step by step
# of an event that answers at once, and that no program is to call
QUIET: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
# of an event that follows the hand. While it is answered it may happen again: the last time is answered too, the others are not.
#
# A component's event takes one listener with these options. Gradio repeats an event for all its listeners when one of them was
# busy, so two of them would keep each other busy for ever. What else is to happen comes by `then` of a first listener.
LATEST: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private", "trigger_mode": "always_last"}
