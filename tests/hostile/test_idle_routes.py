"""Routes and arguments that Gradio brings along and this app has no use for: closed, bounded, or answered in words."""

import asyncio
import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from gradio.route_utils import delete_files_created_by_app
from starlette.exceptions import HTTPException
from stranger import API, call, post, upload

from genarium.errors import InputError
from genarium.ui import addresses, storage
from genarium.ui.addresses import fetch_addresses, files_by_address
from genarium.ui.answers import WRONG_ARGUMENT, answer_in_words
from genarium.ui.gate import Gate
from genarium.ui.storage import STORAGE
from genarium.ui.texts import TEXTS


@pytest.mark.parametrize(
    "path",
    [
        f"{API}/file=http://127.0.0.1:1/a.png",
        f"{API}/file=https://example.org/a.png",
        f"{API}/file/http://example.org/a.png",
        f"{API}/proxy=http://127.0.0.1:1/a.png",
        f"{API}/deep_link?session_hash=x",
        f"{API}/vibe-code",
        f"{API}/dev/reload",
        f"{API}/run-history/buckets",
    ],
)
def test_what_nobody_needs_is_not_read(served, path):
    assert served.http.get(path).status_code == 404 and served.http.head(path).status_code == 404


@pytest.mark.parametrize(
    "path", ["process_recording", "vibe-edit", "run-history/connect", "stream/x", "profiling/clear"]
)
def test_what_nobody_needs_is_not_posted(served, path):
    assert served.http.post(f"{API}/{path}", content=b"x" * 100_000).status_code == 404
    assert served.http.put(f"{API}/upload", content=b"x").status_code == 405


def test_names_have_an_end(served):
    for path in ("svelte", "static", f"{API}/file="):
        assert served.http.get(f"{path}/{'a' * 300}").status_code == 414


@pytest.mark.parametrize("body", [{"session_hash": "\ud800"}, {"component_id": 10**9, "data": 1}, [], "x"])
def test_what_gradio_fails_over_is_a_refusal(served, body):
    for name in ("cancel", "reset", "component_server", "queue/join"):
        data = json.dumps({"fn_name": "x", "session_hash": "x", **body} if isinstance(body, dict) else body).encode()
        answer = served.http.post(f"{API}/{name}", content=data, headers={"content-type": "application/json"})
        assert answer.status_code < 500, (name, answer.text)


def test_a_call_that_is_not_there_is_said(served):
    for event in ("x", "0" * 32):
        answer = served.http.get(f"{API}/call/generate/{event}")
        assert answer.status_code == 404 and "no such call" in answer.json()["detail"]


# ---- events ----


def event_of(error: Exception | None, module: str = "ours"):
    """An app whose one event fails so, and the event."""

    def fail(value):
        if error is not None:
            raise error
        return value

    fail.__module__ = module
    with gr.Blocks() as app:
        place = gr.Dropdown(["a"], value="a")
        place.change(fail, place, place)
    answer_in_words(app)
    return app, next(iter(app.fns.values()))


def ask(app, event, value) -> gr.Error:
    with pytest.raises(gr.Error) as caught:
        asyncio.run(app.process_api(event, [value]))
    return caught.value


@pytest.mark.parametrize(
    ("error", "module", "says", "logged"),
    [
        (InputError("Give a number."), "ours", "Give a number.", False),
        (ZeroDivisionError("secret"), "ours", TEXTS["failed"][0], True),
        (TypeError("secret"), "gradio.helpers", WRONG_ARGUMENT[:40], False),
    ],
)
def test_an_event_that_fails_says_so(error, module, says, logged):
    said = ask(*event_of(error, module), "a")
    assert says in said.message and "secret" not in said.message and said.print_exception is logged


def test_a_click_that_says_not_on_what_is_the_callers_fault():
    """Gradio makes the click of what came with the event before our function runs; a page always sends it."""
    with gr.Blocks() as app:
        gallery, place = gr.Gallery(), gr.Number()

        def take(click: gr.SelectData):
            return 1 / click.index

        gallery.select(take, None, place)
    answer_in_words(app)
    event = next(iter(app.fns.values()))

    def send(data) -> gr.Error:
        with pytest.raises(gr.Error) as caught:
            asyncio.run(app.process_api(event, [], event_data=gr.EventData(None, data)))
        return caught.value

    for data in (None, {}, {"index": 0}):
        said = send(data)
        assert (said.message == WRONG_ARGUMENT, said.print_exception) == (True, False), data
    said = send({"index": 0, "value": None})  # it was a click, and what fails now is ours
    assert (said.message, said.print_exception) == (TEXTS["failed"][0], True)


def test_what_gradio_repeats_of_an_argument_has_an_end():
    said = ask(*event_of(None), "b" * 10_000)
    assert len(said.message) == 400 and said.message.startswith("Value: bbb") and not said.print_exception


def test_what_gradio_repeats_of_an_argument_can_be_sent():
    """A half of a UTF-16 pair in an error broke off the stream of the session's events."""
    said = ask(*event_of(None), "\ud800")
    assert said.message.startswith("Value: \\ud800") and said.message.encode()


# ---- files by an address ----


@pytest.fixture
def website(monkeypatch):
    """A web server here that passes for a public one; `sent` counts the bytes of its endless answers."""

    class Handler(BaseHTTPRequestHandler):
        sent = 0

        def do_GET(self):
            if self.path == "/away":
                self.send_response(302)
                self.send_header("Location", "/a.png")
                self.end_headers()
                return
            self.send_response(200 if self.path != "/none" else 404)
            self.end_headers()
            try:
                for _ in range(1 if self.path != "/endless" else 10_000):
                    Handler.sent += self.wfile.write(b"a" * 10_000)
            except OSError:  # the reader left
                pass

        def log_message(self, *_):
            pass

    async def public(host):
        return "127.0.0.1"

    monkeypatch.setattr(addresses, "_public", public)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        Handler.address = f"http://public.example:{server.server_address[1]}"
        yield Handler
        server.shutdown()


def fetched(address: str) -> str:
    values = [1, {"in": [{"path": address, "meta": {"_type": "gradio.FileData"}}]}]
    asyncio.run(fetch_addresses(values))
    return values[1]["in"][0]["path"]


def test_a_file_of_the_public_network_is_fetched(website, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    for name in ("a.png", "away"):
        path = fetched(f"{website.address}/{name}")
        assert path.startswith(str(tmp_path)) and Path(path).read_bytes() == b"a" * 10_000
        assert path in STORAGE.files("nobody")


def test_a_file_without_an_end_is_not(website, tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    monkeypatch.setattr(addresses, "MAX_BYTES", 50_000)
    with pytest.raises(InputError, match="has more than"):
        fetched(f"{website.address}/endless")
    assert website.sent < 10**8 / 2 and not list(tmp_path.iterdir())
    with pytest.raises(InputError, match="cannot be fetched"):
        fetched(f"{website.address}/none")
    monkeypatch.setattr(addresses, "AT_ONCE", 0)
    with pytest.raises(InputError, match="Too many files"):
        fetched(f"{website.address}/a.png")
    assert addresses._fetching == 0


def test_a_private_address_is_never_asked(served):
    with trap() as address:
        file = {"path": address, "meta": {"_type": "gradio.FileData"}}
        kind, data = call(served.http, "reconstruct", "tiny-vae", file, None, 0, {})
        assert kind == "error" and "cannot be fetched. Only public addresses" in data["error"]
        kind, data = call(served.http, "generate", "tiny-vae", 1, "any", 0, {"x": file})
        assert kind == "error"


@contextlib.contextmanager
def trap():
    """An address of this machine that nobody may ask."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        yield f"http://127.0.0.1:{server.getsockname()[1]}/a.png"
        with pytest.raises(TimeoutError):
            server.accept()


def test_where_addresses_are_looked_for():
    deep = found = {"path": "HTTPS://a/b"}
    for _ in range(10_000):
        deep = {"x": [deep]}
    assert files_by_address(deep) == [found]
    assert not files_by_address([{"path": "/a/http:"}, {"url": "http://a"}, "http://a", {"path": 3}])


def test_a_stream_of_no_session_ends_without_an_error_of_the_server(served, capfd):
    for query in ("?session_hash=", "?session_hash=nobody", "?session_hash=a&session_hash=", ""):
        assert served.http.get(f"/gradio_api/queue/data{query}").status_code in (200, 422)
    assert "Traceback" not in "".join(capfd.readouterr())


# ---- the app's own examples ----


def test_a_flood_deletes_no_example(served, monkeypatch):
    """Neither by the budget of all, nor by that of one who uploads an example again, nor by age."""
    kept = {path for block in served.blocks.blocks.values() for path in block.keep_in_cache}
    examples = {path for path in map(str, served.folder.rglob("*.png")) if path in kept}
    assert len(examples) > 20
    one = sorted(examples)[0]
    again = upload(served.http, Path(one).read_bytes(), one.rsplit("/", 1)[1])["path"]
    assert again == one, "equal contents are one file"
    monkeypatch.setattr(STORAGE, "owner_bytes", 10)
    upload(served.http, b"a" * 1000)
    upload(served.http, b"b" * 1000)
    (served.folder / storage.LOCK).touch()
    monkeypatch.setattr(STORAGE, "all_bytes", 0)
    STORAGE.sweep()
    (served.folder / storage.LOCK).unlink()
    delete_files_created_by_app(served.blocks, -1)
    left = set(map(str, served.folder.rglob("*.*")))
    assert examples <= left
    assert post(served.http, "generate", {"data": ["tiny-vae", 1, "any", 0, {}]}).status_code == 200


# ---- events that nobody reads any more ----


def listen(app) -> list[dict]:
    """Read the events of a session through a gate before an app, and return what it sends."""
    sent = []

    async def send(message):
        sent.append(message)

    async def receive():
        return {"type": "http.disconnect"}

    scope = {"type": "http", "path": "/gradio_api/queue/data", "method": "GET", "headers": [], "client": ("a", 1)}
    queue = SimpleNamespace(pending_event_ids_session={}, pending_messages_per_session={})
    asyncio.run(Gate(app, SimpleNamespace(_queue=queue))(scope | {"query_string": b"session_hash=s"}, receive, send))
    return sent


def failing(cause: Exception):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("Caught handled exception, but response already started.") from cause

    return app


def test_a_visit_that_ends_in_the_middle_of_its_events_leaves_no_traceback():
    sent = listen(failing(HTTPException(404)))
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


def test_other_errors_in_the_middle_of_events_are_not_hidden():
    with pytest.raises(RuntimeError):
        listen(failing(ValueError("ours")))
