"""Notes of the host on the page of the visitor whose run they are about."""

from __future__ import annotations

import logging
import sys

import gradio as gr
from gradio.context import LocalContext

from genarium.notices import LOGGER


class PageNotes(logging.Handler):
    """A handler that shows a note as a warning on the page during a visitor's event, and else prints it to standard error."""

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if LocalContext.blocks.get(None) is None or LocalContext.event_id.get(None) is None:
            print(text, file=sys.stderr)
        else:
            gr.Warning(text)


def show_notes() -> None:
    """Show notes on the page from now on."""
    if not any(isinstance(handler, PageNotes) for handler in LOGGER.handlers):
        LOGGER.addHandler(PageNotes(logging.WARNING))
