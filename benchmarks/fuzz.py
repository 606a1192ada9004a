"""Send hostile inputs over HTTP to the real app, and look whether each answer is a clear error or a result.

    python benchmarks/fuzz.py
    python benchmarks/fuzz.py --inputs 200 --checkpoints checkpoints

The app runs as `python app.py` in a process of its own. Each input is drawn from a seed: calls of the endpoints, events of
the first page with arguments that no page sends, the pages with an address under any query and their events, requests of any
route with any body, damaged files that are uploaded and then used, and results whose entry is made up. What is no clear error, no result, a 5xx, a secret, or a traceback through this
repository's code is printed with the input. Memory and temporary files are measured as it goes.

Without --checkpoints, tiny random ones of all families are made.
"""

import argparse
import contextlib
import functools
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote

import httpx
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/helpers")]

import hostile_inputs as inputs
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from real_app import RealApp

from genarium.hardware import describe_hardware

PATIENCE = 10.0  # seconds; then the visitor leaves, as one who closes the page
MAX_TEXT = 4000  # characters of an error
CANARY = "genarium-" + secrets.token_hex(8)  # in files that nobody may read
READ = 2**18  # bytes of an answer that is not looked at further


class Visitor:
    """One who sends hostile inputs, and looks at each answer.

    Args:
        app: a running app, of tiny checkpoints or others.
        secret: a file of this machine that the app must not show; its content holds `CANARY`.

    `answers` counts the kinds of answers; `faults` are sentences, each with the input.
    """

    def __init__(self, app: RealApp, secret: Path):
        self.app, self.secret = app, secret
        self.http = httpx.Client(base_url=app.url, timeout=60, trust_env=False)
        self.config = self.http.get("/config").json()
        self.components = {component["id"]: component for component in self.config["components"]}
        self.events = [event for event in self.config["dependencies"] if event["backend_fn"]]
        self.restore = next(e for e in self.events if self._is(e["inputs"], "generate-restore"))
        self.pages = self._pages()
        self.answers: Counter[str] = Counter()
        self.faults: dict[str, str] = {}
        self.session, self.sent, self.inputs = "", 0, 0
        self.listener = Listener()
        self.trap = f"http://127.0.0.1:{self.listener.port}/a.png"

    def _pages(self) -> dict[str, dict]:
        """Return the event that shows the contents of each page with an address, by the address."""
        shown = [e for e in self.config["dependencies"] if e["render_id"] is not None]
        parts = {name: set(page["components"]) for name, page in self.config["page"].items()}
        return {name: e for name, ids in parts.items() for e in shown if ids.issuperset(e["inputs"])}

    def _is(self, identities: list[int], name: str, components: dict[int, dict] | None = None) -> bool:
        known = components or self.components
        return any(known[i]["props"].get("elem_id") == name for i in identities)

    # ---- what is sent ----

    def call(self, drawn: tuple) -> None:
        name, arguments = drawn
        self._api(name, inputs.encoded({"data": list(arguments)}))

    def tool(self, drawn: tuple) -> None:
        """Call a tool of the MCP server, where the app has one; else the endpoint itself."""
        name, arguments = drawn
        if not self.config.get("mcp_server"):
            return self.call(drawn)
        tool = self.tools[name]
        named = dict(zip(tool["inputSchema"]["properties"], arguments))
        given = {key: value for key, value in named.items() if value is not None}  # else its default
        what = f"tool {tool['name']} {inputs.encoded(given)[:300]!r}"
        answer = self._mcp("tools/call", {"name": tool["name"], "arguments": given})
        result = answer.get("result", {})
        error = answer.get("error", {}).get("message") or (result.get("content") or [{}])[0].get("text")
        self._ended("result" in answer and not result.get("isError"), error, json.dumps(answer), what)

    @functools.cached_property
    def tools(self) -> dict[str, dict]:
        """The tools of the MCP server, by the names of the endpoints."""
        found = self._mcp("tools/list", {})["result"]["tools"]
        return {name: next(t for t in found if t["name"] == name) for name in inputs.CALLS}

    def _mcp(self, method: str, params: dict) -> dict:
        body = inputs.encoded({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        headers = {"content-type": "application/json", "accept": "application/json, text/event-stream"}
        answer = self.http.post("/gradio_api/mcp/", content=body, headers=headers)
        if answer.status_code >= 400:
            self._refused(answer.status_code, answer.text, f"{method} {body[:300]!r}")
            return {"error": {"message": answer.text}}
        lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: ")]
        return json.loads(lines[-1] if lines else answer.text)

    def event(self, drawn: tuple) -> None:
        """Send an event of the page, with the values that the page has, but for some."""
        place, changes = drawn
        self._event(self.events, self.components, place, changes)

    def page(self, drawn: tuple) -> None:
        """Open a page with an address under any query, drop a sheet there, and send events of it."""
        place, query, current, sheet, sent, said = drawn
        self.session, event = secrets.token_hex(5), list(self.pages.values())[int(place * len(self.pages))]
        shown = (self._page(event, list(current), query) or {}).get("render_config")
        if shown is None:
            return
        components = self.components | {one["id"]: one for one in shown["components"]}
        events = [one for one in shown["dependencies"] if one["backend_fn"]]
        for restore in (e for e in events if self._is(e["inputs"], "compare-restore", components)):
            if argument := self._upload(inputs.with_entry(inputs.encoded(sheet[0]), sheet[1])):
                self._page(restore, [argument])
        for at, changes in sent:
            if events and self.session:  # else the last event was left, and the page with it
                self._event(events, components, at, changes)
        for one in shown["components"]:
            for function in one["props"].get("server_fns", ()):
                self._talk(one["id"], function, said)

    def _talk(self, component: int, function: str, said: list) -> None:
        """Call a component's function on the server with each message, as the page's script does."""
        ticket = ""
        for message in [*said, {"what": "leave", "ticket": inputs.TICKET}]:
            if isinstance(message, dict) and message.get("ticket") == inputs.TICKET:
                message = {**message, "ticket": ticket}
            given = {"data": message, "component_id": component, "fn_name": function, "session_hash": self.session}
            body, what = inputs.encoded(given), f"{function} {inputs.encoded(message)[:300]!r}"
            answer = self.http.post(
                "/gradio_api/component_server", content=body, headers={"content-type": "application/json"}
            )
            if answer.status_code != 200:
                self._refused(answer.status_code, answer.text, what)
                continue
            found = answer.json()
            ticket = found.get("ticket", ticket)
            problem = found.get("problem", "")
            if isinstance(problem, list):  # in English and Chinese
                problem = " / ".join(problem) if all(problem) else None
            self._ended(problem == "", problem, answer.text, what)
            self._secrets(answer.text, what)

    def _event(self, events: list[dict], components: dict[int, dict], place: float, changes: list) -> None:
        """Send one of the events, with a picture and the values that its page has, but for some."""
        event = events[int(place * len(events))]
        values = [self._value(components[i]) for i in event["inputs"]]
        for at, value in changes:
            if values:
                values[min(int(at * len(values)), len(values) - 1)] = value
        self._page(event, values)

    def _value(self, component: dict) -> object:
        value = component["props"].get("value")
        return self._upload(inputs.PICTURES[0]) if component["type"] == "image" and value is None else value

    def route(self, drawn: tuple) -> None:
        """Send a request of one of Gradio's routes."""
        method, template, fill, body = drawn
        words = [str(self.secret), self.trap, str(ROOT / "app.py"), *fill]
        path = template
        for i in range(template.count("{}")):
            path = path.replace(
                "{}", quote(words[(len(fill) + i + len(body)) % len(words)].encode(errors="replace")), 1
            )
        if method != "POST":
            return self._look(method, path)
        kind = "application/json" if not body.startswith(b"--") else "multipart/form-data; boundary=x"
        self._look("POST", path, content=body, headers={"content-type": kind})

    def file(self, drawn: tuple) -> None:
        """Upload a damaged picture or sound, then use it."""
        whole, changes, keep, task = drawn
        argument = self._upload(inputs.damaged(whole, changes, keep))
        if argument is None:
            return
        files = [argument] * (2 if task in ("interpolate", "swap_style") else 1)
        if task == "compare":
            values = ["tiny-vae", ["tiny-vqgan"], "reconstruct", *files, None, "seed", [], 1, "", 0, {}]
        else:
            checkpoint = "tiny-style-ae" if task == "swap_style" else "tiny-vae"
            classes = [None] if task in ("reconstruct", "anomaly_score", "encode") else []
            values = [checkpoint, *files, *classes, 0, {}]
        self._api(task, inputs.encoded({"data": values}))

    def result(self, drawn: tuple) -> None:
        """Drop a result's PNG with a made-up entry on Restore."""
        values, kind, changes, keep = drawn
        argument = self._upload(
            inputs.damaged(inputs.with_entry(inputs.encoded(values), kind), changes if keep < 1 else [], keep)
        )
        if argument is not None:
            self._page(self.restore, [argument])

    # ---- how it is answered ----

    def _upload(self, data: bytes) -> dict | None:
        answer = self.http.post("/gradio_api/upload", files={"files": ("a.png", data)})
        if answer.status_code != 200:
            self._refused(answer.status_code, answer.text, "upload")
            return None
        return {"path": answer.json()[0], "meta": {"_type": "gradio.FileData"}}

    def _api(self, name: str, body: bytes) -> None:
        answer = self.http.post(f"/gradio_api/call/{name}", content=body, headers={"content-type": "application/json"})
        if answer.status_code != 200:
            return self._refused(answer.status_code, answer.text, f"{name} {body[:300]!r}")
        event = answer.json()["event_id"]
        kind = ""
        for line in self._lines(f"/gradio_api/call/{name}/{event}"):
            if line.startswith("event: "):
                kind = line.removeprefix("event: ")
            elif line.startswith("data: ") and kind in ("complete", "error"):
                found = json.loads(line.removeprefix("data: "))
                error = None if kind == "complete" else (found or {}).get("error")
                return self._ended(kind == "complete", error, line, f"{name} {body[:300]!r}")
        self.answers["left while it ran"] += 1

    def _page(self, event: dict, values: list, query: dict[str, str] | None = None) -> dict | None:
        """Send an event as a page does, one whose address has a query; return what came of it."""
        self.sent += 1
        if not self.session or self.sent % 40 == 0:  # a page stays open for some events
            self.session = secrets.token_hex(5)
        body = inputs.encoded(
            {"data": values, "fn_index": event["id"], "session_hash": self.session, "trigger_id": None}
        )
        what = f"event {event['id']} ({event['api_name']}) {body[-300:]!r}"
        join = "/gradio_api/queue/join" + (f"?{inputs.address(query)}" if query else "")
        try:
            answer = self.http.post(join, content=body, headers={"content-type": "application/json"})
        except httpx.InvalidURL:  # longer than this client sends
            self.answers["not sent"] += 1
            return None
        if answer.status_code != 200:
            self._refused(answer.status_code, answer.text, what)
            return None
        for line in self._lines(f"/gradio_api/queue/data?session_hash={self.session}"):
            if not line.startswith("data: "):
                continue
            message = json.loads(line.removeprefix("data: "))
            if message["msg"] == "process_completed":
                output = message.get("output") or {}
                self._ended(message["success"], output.get("error"), line, what)
                return output
        self.session = ""
        self.answers["left while it ran"] += 1
        return None

    def _lines(self, path: str):
        """Yield the lines of a stream, until it ends or patience does."""
        deadline = time.monotonic() + PATIENCE
        with self.http.stream("GET", path) as answer:
            for line in answer.iter_lines():
                self._secrets(line, path)
                yield line
                if time.monotonic() > deadline:
                    return

    def _look(self, method: str, path: str, **options) -> None:
        """Send a request, and read the beginning of its answer."""
        what = f"{method} {path[:200]} {options.get('content', b'')[:200]!r}"
        try:
            with self.http.stream(method, f"/{path}", timeout=2, **options) as answer:
                text = ""
                try:
                    for chunk in answer.iter_bytes():
                        text += chunk.decode(errors="replace")
                        if len(text) > READ or "text/event-stream" in answer.headers.get("content-type", ""):
                            break
                except httpx.ReadTimeout:
                    pass
                if answer.status_code >= 400:
                    self._refused(answer.status_code, text, what)
                else:
                    self.answers["a page or a file"] += 1
                    self._secrets(text, what)
        except (httpx.InvalidURL, UnicodeError, httpx.LocalProtocolError):
            self.answers["not sent"] += 1
        except httpx.ReadTimeout:
            self.answers["no answer in 2 s"] += 1
        except httpx.TransportError as error:
            self._fault(f"a cut connection, {type(error).__name__}", what)

    def _refused(self, status: int, text: str, what: str) -> None:
        self.answers[f"refused with {status}"] += 1
        self._secrets(text, what)
        if status >= 500:
            self._fault(f"status {status}", f"{what}: {text[:300]}")

    def _ended(self, success: bool, error: object, text: str, what: str) -> None:
        self.answers["a result" if success else "an error in words"] += 1
        if success:
            return
        if not isinstance(error, str) or not error or error == "None":
            self._fault("an empty error", what)
        elif len(error) > MAX_TEXT + 100:
            self._fault("a long error", what)

    def _secrets(self, text: str, what: str) -> None:
        for kind, secret in (
            ("the content of a file", CANARY),
            ("a folder", str(ROOT)),
            ("a traceback", "Traceback ("),
        ):
            if secret in text and secret not in what:
                self._fault(f"shows {kind}", f"{what}: {text[:300]}")

    def _fault(self, kind: str, what: str) -> None:
        self.answers[f"FAULT: {kind}"] += 1
        key = f"{kind}: {' '.join(what.split(' ')[:2])[:80]}"
        if key not in self.faults:
            self.faults[key] = what
            print(f"FAULT {key}\n      {what[:700]}", flush=True)

    def close(self) -> None:
        self.http.close()
        self.listener.close()


class Listener:
    """A port of this machine at which nobody of the app has any business; `asked` counts who came."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.asked = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.asked += 1
            connection.close()

    def close(self) -> None:
        self.socket.close()


fills = st.lists(inputs.texts, min_size=1, max_size=4)
KINDS = {  # how to draw an input, and how often it comes
    "call": (inputs.calls, 8),
    "tool": (inputs.calls, 4),
    "event": (inputs.events, 12),
    "page": (
        st.tuples(
            st.floats(0, 1, exclude_max=True),
            inputs.queries,
            st.tuples(inputs.checkpoints, st.none() | inputs.texts | inputs.values),
            st.tuples(inputs.comparisons | inputs.values, st.sampled_from([b"tEXt", b"zTXt", b"iTXt"])),
            st.lists(inputs.events, min_size=1, max_size=5),
            st.lists(inputs.sayings, max_size=8),
        ),
        1,  # each opens a page, and sends several events or messages
    ),
    "file": (
        st.tuples(
            st.sampled_from(inputs.PICTURES + inputs.SOUNDS),
            inputs.changes,
            inputs.shares,
            st.sampled_from(["reconstruct", "interpolate", "swap_style", "anomaly_score", "encode", "compare"]),
        ),
        6,
    ),
    "result": (
        st.tuples(
            inputs.requests | inputs.values, st.sampled_from([b"tEXt", b"zTXt", b"iTXt"]), inputs.changes, inputs.shares
        ),
        4,
    ),
    "route": (
        st.one_of(
            st.tuples(st.sampled_from(["GET", "HEAD"]), st.sampled_from(inputs.GETS), fills, st.just(b"")),
            st.tuples(st.just("POST"), st.sampled_from(inputs.POSTS), fills, inputs.bodies),
        ),
        6,
    ),
}


def anything(kinds: Sequence[str] = tuple(KINDS)) -> st.SearchStrategy:
    """Draw an input of these kinds, as often as `KINDS` says."""
    return st.one_of([st.tuples(st.just(name), KINDS[name][0]) for name in kinds for _ in range(KINDS[name][1])])


def send(
    visitor: Visitor,
    number: int,
    start: int = 0,
    after: Callable[[int], None] = lambda done: None,
    kinds: Sequence[str] = tuple(KINDS),
) -> None:
    """Send so many inputs of these kinds, the same ones for the same `start`; call `after` with how many are sent."""

    @seed(start)
    @settings(
        max_examples=number,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(anything(kinds))
    def one(drawn):
        if visitor.inputs >= number:
            return
        kind, values = drawn
        getattr(visitor, kind)(values)
        visitor.inputs += 1
        after(visitor.inputs)

    one()


def ours(tracebacks: list[str]) -> list[str]:
    """Return the tracebacks that go through this repository's code, beyond the call of the app itself."""
    return [text for text in tracebacks if f"{ROOT}/genarium/" in text and "genarium/ui/gate.py" not in last_file(text)]


def last_file(text: str) -> str:
    return [line for line in text.splitlines() if line.lstrip(" |").startswith("File ")][-1]


def make_checkpoints(folder: Path) -> Path:
    """Write a tiny random checkpoint of each family of pictures."""
    from conftest import build_tiny, picture_families

    from genarium.families import discover

    for family in picture_families(discover(installed=False)):
        build_tiny(family).save_pretrained(folder / f"tiny-{family.name}")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoints", type=Path)
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does: with what was found until then
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "checkpoints").mkdir()
        checkpoints = arguments.checkpoints or make_checkpoints(place / "checkpoints")
        secret = place / "secret.txt"
        secret.write_text(CANARY)
        environment = {"GENARIUM_CHECKPOINTS": str(checkpoints), "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"}
        with RealApp(place, environment) as app:
            visitor = Visitor(app, secret)
            rows, began = [], time.monotonic()

            def measure(done: int) -> None:
                if done in (1, arguments.inputs) or done % max(1, arguments.inputs // 40) == 0:
                    rows.append((done, time.monotonic() - began, app.memory() / 2**20, app.files() / 2**20))
                    print(
                        "{:6} inputs {:6.0f} s {:6.0f} MiB of memory {:6.1f} MiB of files".format(*rows[-1]), flush=True
                    )

            with contextlib.suppress(KeyboardInterrupt):  # what was found until then is said
                send(visitor, arguments.inputs, arguments.seed, measure, arguments.kinds)
            visitor.close()
            tracebacks = app.tracebacks()
        print(
            f"\n{visitor.inputs} inputs of seed {arguments.seed}, {time.monotonic() - began:.0f} s, {describe_hardware(torch.device('cpu'), torch.float32)}"
        )
        for answer, number in visitor.answers.most_common():
            print(f"  {number:6} {answer}")
        print(f"requests that the app made of a port of this machine: {visitor.listener.asked}")
        found = ours(tracebacks)
        print(f"tracebacks in the log: {len(tracebacks)}, of which through this repository's code: {len(found)}")
        for line, number in Counter(text.splitlines()[-1][:150] for text in tracebacks).most_common(20):
            print(f"  {number:6} {line}")
        for text in dict.fromkeys(found):
            print(text[-1500:])
        print(f"faults: {len(visitor.faults)}; log: {os.path.getsize(app.log) / 2**20:.1f} MiB")
    sys.exit(bool(visitor.faults or found or visitor.listener.asked))


if __name__ == "__main__":
    main()
