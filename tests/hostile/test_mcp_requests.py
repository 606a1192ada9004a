"""What the clients of MCP may send: the library behind the gate reads without bounds, and repeats what it refuses."""

import asyncio
import json

import pytest

from genarium.ui import tools
from genarium.ui.answers import MAX_REPEATED
from genarium.ui.gate import MAX_BODY, Gate


def ask(body: bytes, answer: dict | None = None, parts: int = 1) -> tuple[int, bytes, bytes]:
    """Post a body to a gate before a server of MCP that gives an answer.

    Returns the status, the body of the answer, and what the server has read.
    """
    size = -(-len(body) // parts)
    chunks = [body[i : i + size] for i in range(0, len(body), size)]
    received = iter([{"type": "http.request", "body": c, "more_body": c is not chunks[-1]} for c in chunks])
    over = {"type": "http.disconnect"}
    sent, read = [], []

    async def server(scope, receive, send):
        message = await receive()
        read.append(message["body"])
        assert not message.get("more_body")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        event = b"event: message\r\ndata: " + json.dumps(answer, separators=(",", ":")).encode() + b"\r\n\r\n"
        await send({"type": "http.response.body", "body": event})

    async def receive():
        return next(received, over)

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "path": "/gradio_api/mcp/", "method": "POST", "headers": [], "client": ("a", 1)}
    asyncio.run(Gate(server, None)(scope, receive, send))
    return sent[0]["status"], b"".join(m.get("body", b"") for m in sent), b"".join(read)


@pytest.mark.parametrize("parts", [1, 3])
def test_a_request_passes_unchanged(parts):
    body = json.dumps({"method": "tools/call", "params": {"name": "generate", "arguments": {"seed": 1}}}).encode()
    status, answer, read = ask(body, {"result": {"content": [{"text": "a" * 9000}]}}, parts)
    assert (status, read) == (200, body) and b"a" * 9000 in answer


@pytest.mark.parametrize("argument", ["9" * 5000, "[" * 100_000, '"\\ud800"', "1,", '"' + "\xe9" + '"'])
def test_what_is_no_json_is_refused_in_words(argument):
    status, answer, read = ask(f'{{"arguments": {{"seed": {argument}}}}}'.encode("latin-1"))
    assert status == 400 and not read
    assert json.loads(answer)["detail"].startswith("This is no JSON that this app reads") and len(answer) < 300


def test_a_request_has_an_end():
    status, _, read = ask(b'"' + b"a" * MAX_BODY + b'"', parts=5)
    assert status == 413 and not read


@pytest.mark.parametrize(
    "answer",
    [
        {"result": {"isError": True, "content": [{"type": "text", "text": "Input validation error: '" + "é" * 9000}]}},
        {"error": {"code": -1, "message": "'" + "é" * 9000}},
    ],
)
def test_an_error_that_repeats_its_argument_is_short(answer):
    status, body, _ = ask(b"{}", answer)
    event, data, end, _ = body.split(b"\r\n")
    assert status == 200 and event == b"event: message" and not end
    said = json.loads(data.removeprefix(tools.DATA))
    assert len(said["error"]["message"] if "error" in said else said["result"]["content"][0]["text"]) == MAX_REPEATED


@pytest.mark.parametrize("event", [b": ping\r\n\r\n", b'data: {"error": "' + b"a" * 9000, b'data: ["error":' * 100])
def test_other_events_pass_unchanged(event):
    assert tools.shorten_errors(event) == event
