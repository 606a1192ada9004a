"""What Gradio does at an event: what the event changes, and nothing for all the other components."""

import asyncio
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.state_holder import SessionState
from stranger import call

from genarium.ui.thrift import UNCHANGED, spare_outputs, spare_sessions


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
    spare_sessions()
    replaced = SessionState.__init__
    spare_sessions()
    assert SessionState.__init__ is replaced
    config = SimpleNamespace(blocks={}, fns={}, fn_id=0)
    assert SessionState(SimpleNamespace(default_config=config)).config_values == {}


@pytest.fixture
def page():
    """A page with one event, before anything is spared: the app, its outputs, and a function to answer the event."""
    with gr.Blocks() as app:
        outputs = [gr.HTML("a"), gr.State(1), gr.Textbox("b"), gr.Slider(1, 9, 3), gr.Button("run")]
        outputs[-1].click(lambda: None, None, outputs)
    (function,) = app.default_config.fns.values()

    def answer(given):
        session = SessionState(app)
        return asyncio.run(app.postprocess_data(function, given, session)), session

    return SimpleNamespace(app=app, outputs=outputs, answer=answer)


def test_an_event_answers_as_before_and_builds_only_what_it_changes(page):
    html, state, text, slider, button = page.outputs
    answers = (  # each made anew: Gradio changes what it is given
        lambda: {html: "<p>new</p>"},
        lambda: {html: "<p>new</p>", slider: gr.update(value=5, maximum=20), state: 7},
        lambda: {text: gr.update(visible=False), button: gr.skip()},
        lambda: ["<p>all</p>", 2, "c", 4, gr.update(interactive=False)],
    )
    before = [page.answer(make()) for make in answers]
    spare_outputs(page.app)
    for make, (old, old_session) in zip(answers, before):
        given = make()
        new, session = page.answer(make())
        spared = 0
        for output, was, now in zip(page.outputs, old, new):
            said = given.get(output, UNCHANGED) if isinstance(given, dict) else True
            if said != UNCHANGED:
                assert now == was
            elif output is not state:
                assert now == UNCHANGED
                assert old_session[output._id] is not output, "Gradio builds what is not changed, too"
                spared += session[output._id] is output
        assert spared >= (2 if isinstance(given, dict) else 0)
        assert session[state._id] == old_session[state._id]


def test_an_event_that_says_nothing_builds_nothing(page, monkeypatch):
    spare_outputs(page.app)
    monkeypatch.setattr(SessionState, "_update_config", lambda *_: pytest.fail("a component was built"))
    assert page.answer(gr.skip())[0] == [UNCHANGED, None, UNCHANGED, UNCHANGED, UNCHANGED]


def test_a_wrong_number_of_values_is_still_said(page):
    spare_outputs(page.app)
    with pytest.raises(ValueError, match="output values"):
        page.answer(["only one", 2])
