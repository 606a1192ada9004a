"""A note about a visitor's file appears on that visitor's page; elsewhere it is printed."""

import contextvars
from types import SimpleNamespace

import pytest
from gradio.context import LocalContext

from genarium import notices
from genarium.ui.notices import PageNotes, show_notes


@pytest.fixture
def shown():
    before = list(notices.LOGGER.handlers)
    show_notes()
    show_notes()
    yield [handler for handler in notices.LOGGER.handlers if isinstance(handler, PageNotes)]
    notices.LOGGER.handlers[:] = before


def test_a_note_goes_to_the_page_of_the_event(shown, capsys):
    assert len(shown) == 1
    messages = []
    queue = SimpleNamespace(log_message=lambda **options: messages.append((options["event_id"], options["log"])))

    def visit():
        LocalContext.blocks.set(SimpleNamespace(_queue=queue))
        LocalContext.event_id.set("seven")
        notices.note("channel 2 is used alone")

    contextvars.copy_context().run(visit)
    assert messages == [("seven", "channel 2 is used alone")]
    notices.note("nobody is there")
    assert "nobody is there" in capsys.readouterr().err and len(messages) == 1
