"""What Gradio remembers of a session: little, and still all that events of the page change."""

from types import SimpleNamespace

from gradio.state_holder import SessionState
from stranger import call

from genarium.ui.sessions import spare_sessions


def test_a_call_describes_no_component_that_it_does_not_change(served):
    sessions = served.blocks.app.state_holder.session_data
    sessions.clear()
    assert call(served.http, "generate", "tiny-vae", 1, "any", 0, {})[0] == "complete"
    (session,) = sessions.values()
    assert len(served.blocks.blocks) > 500 and len(session.config_values) <= 10
    assert session.blocks_config.blocks == served.blocks.default_config.blocks


def test_what_an_event_changes_is_remembered(served):
    session = SessionState(served.blocks)
    name, box = next((key, one) for key, one in served.blocks.blocks.items() if type(one).__name__ == "Textbox")
    session._update_value_in_config(name, "changed")
    assert session.config_values[name]["props"]["value"] == "changed"
    assert session[name] is box and list(session.components) == [session.config_values[name]]


def test_gradio_s_own_way_is_replaced_once():
    before = SessionState.__init__
    spare_sessions()
    spare_sessions()
    assert SessionState.__init__ is before
    config = SimpleNamespace(blocks={}, fns={}, fn_id=0)
    assert SessionState(SimpleNamespace(default_config=config)).config_values == {}
