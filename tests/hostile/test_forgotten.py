"""What the app keeps of visits, calls and files that are over: nothing, or a bounded number."""

import gc
import json
import secrets
import time
import weakref
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.components import Component
from stranger import call, post, read

from genarium.ui import forgetting, gate
from genarium.ui.forgetting import Unread, forget_functions

ONE = {"data": ["tiny-vae", 1, "any", 0, {}]}


class Visit:
    """A browser that opens a page with an address, as Gradio's script does."""

    def __init__(self, http):
        self.http, self.session = http, secrets.token_hex(5)

    def send(self, event: dict, *values: object) -> dict:
        """Send an event, and return its output."""
        body = {"data": values, "fn_index": event["id"], "session_hash": self.session, "trigger_id": None}
        assert self.http.post("/gradio_api/queue/join", json=body).status_code == 200
        with self.http.stream("GET", f"/gradio_api/queue/data?session_hash={self.session}") as answer:
            for line in answer.iter_lines():
                message = json.loads(line.removeprefix("data: ")) if line else {}
                if message.get("msg") == "process_completed":
                    output = message["output"]
        return output


@pytest.fixture(scope="module")
def page(served):
    """The event that shows the contents of the page Explore."""
    config = served.http.get("/config").json()
    parts = set(config["page"]["explore"]["components"])
    return next(e for e in config["dependencies"] if e["render_id"] is not None and parts.issuperset(e["inputs"]))


def components() -> int:
    """Return how many components there are in this process."""
    gc.collect()
    return sum(issubclass(type(one), Component) for one in gc.get_objects())


def test_contents_of_pages_go_with_their_visits(served, page, monkeypatch):
    """Gradio would keep each function that ever ran, for its mean time, and with it the page."""
    monkeypatch.setattr(served.blocks.app.state_holder, "capacity", 2)
    counts, files = [], len(served.blocks.temp_file_sets)
    for number in range(6):
        visit = Visit(served.http)
        shown = visit.send(page, "tiny-vae", "")["render_config"]
        values = {one["id"]: one["props"].get("value") for one in shown["components"]}
        event = next(e for e in shown["dependencies"] if e["backend_fn"] and e["queue"])
        assert "error" not in visit.send(event, *(values[i] for i in event["inputs"]))
        if number >= 2:  # from now on as many visits go as come
            counts.append(components())
    assert max(counts) < counts[0] + 50, "a page has more"
    assert len(served.blocks.temp_file_sets) == files


def test_files_of_a_visit_s_components_are_still_deleted_by_age(served, page):
    visit = Visit(served.http)
    visit.send(page, "tiny-vae", "")
    blocks = served.blocks.app.state_holder.session_data[visit.session].blocks_config.blocks
    own = [block for number, block in blocks.items() if number not in served.blocks.default_config.blocks]
    assert len(own) > 20 and all(block.temp_files is served.blocks.upload_file_set for block in own)


def test_a_call_that_was_read_leaves_no_messages(served):
    queue, calls = served.blocks._queue, []
    for _ in range(3):
        calls.append(post(served.http, "generate", ONE).json()["event_id"])
        assert read(served.http, "generate", calls[-1])[0] == "complete"
    deadline = time.monotonic() + 30
    while set(calls) & set(queue.pending_messages_per_session) and time.monotonic() < deadline:
        time.sleep(0.02)  # until the last answer has ended
    assert not set(calls) & (set(queue.pending_event_ids_session) | set(queue.pending_messages_per_session))


def test_a_page_may_open_a_connection_after_all_its_results_were_read(served, page, monkeypatch):
    """A page sends events at once, and opens a connection for the last of them when it was answered with the first."""
    monkeypatch.setattr(forgetting, "READ_SECONDS", 3)
    visit, queue = Visit(served.http), served.blocks._queue
    visit.send(page, "tiny-vae", "")
    with served.http.stream("GET", f"/gradio_api/queue/data?session_hash={visit.session}") as answer:
        assert answer.status_code == 200
        body = {"data": ["tiny-vae", ""], "fn_index": page["id"], "session_hash": visit.session, "trigger_id": None}
        assert served.http.post("/gradio_api/queue/join", json=body).status_code == 200
        messages = (json.loads(line.removeprefix("data: ")) for line in answer.iter_lines() if line)
        said = [one.get("msg") for one in messages if one["msg"] not in ("heartbeat", "estimation")]
    assert said == ["process_starts", "process_completed", "close_stream"]
    deadline = time.monotonic() + 30
    while visit.session in queue.pending_messages_per_session and time.monotonic() < deadline:
        time.sleep(0.1)
    assert visit.session not in queue.pending_messages_per_session


def test_results_that_nobody_reads_are_few_and_go(served, monkeypatch):
    monkeypatch.setattr(gate, "CALLS_PER_CLIENT", 2)
    queue, calls = served.blocks._queue, []
    for _ in range(4):
        calls.append(post(served.http, "generate", ONE).json()["event_id"])
        deadline = time.monotonic() + 30
        while queue.event_ids_to_events and time.monotonic() < deadline:
            time.sleep(0.02)
    kept = [one for one in calls if one in queue.pending_messages_per_session]
    assert kept == calls[1:], "the oldest went when the fourth was asked for"
    assert served.http.get(f"/gradio_api/call/generate/{calls[0]}").status_code == 404
    assert read(served.http, "generate", calls[1])[0] == "complete", "the others wait for their reader"
    monkeypatch.setattr(forgetting, "SWEEP_SECONDS", 0)
    monkeypatch.setattr(forgetting, "UNREAD_SECONDS", -1)
    assert call(served.http, "generate", *ONE["data"])[0] == "complete"
    assert not set(calls) & set(queue.pending_messages_per_session)


def test_names_of_deleted_files_go(tmp_path, monkeypatch):
    monkeypatch.setattr(forgetting, "SWEEP_SECONDS", 0)
    there = tmp_path / "there.png"
    there.touch()
    names = {str(there), str(tmp_path / "gone.png")}
    server = SimpleNamespace(iterators_to_reset={"over", "runs"})
    queue = SimpleNamespace(
        server_app=server,
        event_ids_to_events={"runs": SimpleNamespace(session_hash="s")},
        pending_messages_per_session={},
    )
    Unread().sweep(SimpleNamespace(_queue=queue, temp_file_sets=[names]))
    assert names == {str(there)} and server.iterators_to_reset == {"runs"}


def test_queues_and_times_live_as_long_as_their_function():
    with gr.Blocks() as app:
        for _ in range(2):
            gr.Button().click(lambda: None, concurrency_id="shared", concurrency_limit=4)
        gr.Button().click(lambda: None)
    app.queue()
    forget_functions(app)
    queue, functions = app._queue, list(app.fns.values())
    for function in functions:
        queue.create_event_queue_for_fn(function)
        queue.process_time_per_fn[function].add(2.0)
        assert queue.process_time_per_fn[function].avg_time == 2.0 and function in queue.process_time_per_fn
    first, second, third = (queue.event_queue_per_concurrency_id[one.concurrency_id] for one in functions)
    assert first is second and (first.concurrency_limit, third.concurrency_limit) == (4, 1)
    seen = weakref.ref(first)
    del first, second, third, function, functions
    app.default_config.fns.clear()
    app.fns.clear()
    gc.collect()
    assert seen() is None and not queue.event_queue_per_concurrency_id and not queue.process_time_per_fn


def test_no_statistics_are_computed(served, monkeypatch):
    monkeypatch.setattr(
        type(served.blocks._queue), "_get_df", lambda records: pytest.fail("a table of events was made")
    )
    assert call(served.http, "generate", *ONE["data"])[0] == "complete"
    assert len(served.blocks._queue.event_analytics) <= 1
