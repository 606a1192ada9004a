"""Use the real app as visitors do, for ten minutes, and look whether its memory stays what it was.

    python benchmarks/soak.py
    python benchmarks/soak.py --seconds 60 --checkpoints checkpoints

The app runs as `python app.py` in a process of its own. Visitors come one after the other, several at a time, and each does
a few things at random: run a task on a checkpoint with parameters, stop it, close the page in the middle, upload a picture,
choose checkpoints and unfold their cards, open the pages that compare and explore and use them, encode and decode, compare,
fetch a result, ask for what is not there. The time begins when every checkpoint
was loaded and as many sessions were seen as are remembered. The memory in the last fifth may be 5 % above that in the
second, which begins after two minutes; medians are compared.

Without --checkpoints, tiny random ones of all families of pictures are made.
"""

import argparse
import io
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import PIL.Image
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/helpers")]

from real_app import RealApp

from benchmarks.fuzz import make_checkpoints, ours
from genarium.hardware import describe_hardware

SESSIONS = 300  # more than the app remembers, before memory is measured
ALLOWED = 1.05  # of the memory after the first fifth


class Crowd:
    """Visitors in threads, until `end` is set; `did` counts what they did and how it ended."""

    def __init__(self, app: RealApp, seed: int):
        self.app, self.seed = app, seed
        self.end = threading.Event()
        self.did: Counter[str] = Counter()
        with httpx.Client(base_url=app.url, timeout=60, trust_env=False) as http:
            config = http.get("/config").json()
        self.parts = {part["id"]: part for part in config["components"]}
        self.events = [event for event in config["dependencies"] if event["backend_fn"]]
        self.runs = {}  # task -> the event of its Run
        for event in self.events:
            for target, _ in event["targets"]:
                name = str(self.parts.get(target, {}).get("props", {}).get("elem_id"))
                if name.endswith("-run"):
                    self.runs[name.removesuffix("-run")] = event
        self.pages = [event for event in config["dependencies"] if event["render_id"] is not None]
        self.names = sorted({name for event in self.runs.values() for name in self._choices(event)})

    def _choices(self, event: dict) -> list[str]:
        return [value for _, value in self._dropdown(event)["props"]["choices"]]

    def _dropdown(self, event: dict) -> dict:
        boxes = [self.parts[i] for i in event["inputs"] if self.parts[i]["type"] == "dropdown"]
        return next(box for box in boxes if "checkpoint" in json.dumps(box["props"]["label"]).lower())

    def visit(self, number: int) -> None:
        """Be visitors, one after the other."""
        chance = random.Random(f"{self.seed} {number}")
        with httpx.Client(base_url=self.app.url, timeout=120, trust_env=False) as http:
            while not self.end.is_set():
                session = f"{chance.getrandbits(40):x}"
                for _ in range(chance.randint(1, 4)):
                    action = chance.choice(
                        [self._api, self._api, self._api, self._page, self._page, self._open, self._look, self._wrong]
                    )
                    try:
                        self.did[f"{action.__name__[1:]}: {action(http, chance, session)}"] += 1
                    except httpx.HTTPError as error:
                        self.did[f"{action.__name__[1:]}: {type(error).__name__}"] += 1

    def _upload(self, http: httpx.Client, chance: random.Random) -> dict:
        side = chance.choice([28, 64, 300, 800])
        pixels = np.random.default_rng(chance.getrandbits(32)).integers(0, 255, (side, side, 3), np.uint8)
        data = io.BytesIO()
        PIL.Image.fromarray(pixels).save(data, "PNG")
        path = http.post("/gradio_api/upload", files={"files": ("a.png", data.getvalue())}).json()[0]
        return {"path": path, "meta": {"_type": "gradio.FileData"}}

    def _api(self, http: httpx.Client, chance: random.Random, session: str) -> str:
        """Call an endpoint with a file or a number, and fetch what it made."""
        tasks = ["generate", "generate", "reconstruct", "anomaly_score", "interpolate", "encode", "decode", "compare"]
        task = chance.choice(tasks)
        if task == "decode":
            picture = self._upload(http, chance)
            name = chance.choice(self.names)
            kind, made = self._call(http, chance, "encode", [name, picture, "any", chance.getrandbits(30), {}])
            if kind != "complete":
                return f"encode {kind}"
            data = [name, made[1]["codes"], "any", 0, {}]
        elif task == "compare":
            several = chance.sample(self.names, min(3, len(self.names)))
            pictures = [self._upload(http, chance), None]
            what = chance.choice(["generate", "reconstruct", "anomaly"])
            data = [several[0], several[1:], what, *pictures, "seed", [], 2, "", chance.getrandbits(30), {}]
        else:
            files = [self._upload(http, chance) for _ in range({"generate": 0, "interpolate": 2}.get(task, 1))]
            number = {"generate": [chance.randint(1, 8), "any"], "interpolate": []}.get(task, ["any"])
            data = [chance.choice(self.names), *files, *number, chance.getrandbits(30), {}]
        kind, made = self._call(http, chance, task, data)
        if kind == "complete" and made:
            http.get(f"/gradio_api/file={made[0][0]['path']}").raise_for_status()
        return kind

    def _call(self, http: httpx.Client, chance: random.Random, endpoint: str, data: list) -> tuple[str, Any]:
        """Call an endpoint; return how it ended, and its answer. Some callers leave before that."""
        answer = http.post(f"/gradio_api/call/{endpoint}", json={"data": data})
        if answer.status_code != 200:
            return f"status {answer.status_code}", None
        kind = ""
        with http.stream("GET", f"/gradio_api/call/{endpoint}/{answer.json()['event_id']}") as stream:
            for line in stream.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                    if chance.random() < 0.05:
                        return "left", None
                elif line.startswith("data: ") and kind in ("complete", "error"):
                    return kind, json.loads(line.removeprefix("data: "))
        return "nothing", None

    def _open(self, http: httpx.Client, chance: random.Random, session: str) -> str:
        """Open a page with an address, and use a few things on it, with the values that it has."""
        http.get(chance.choice(["/compare", "/explore"])).raise_for_status()
        page = chance.choice(self.pages)
        with http.stream("GET", f"/gradio_api/heartbeat/{session}"):
            shown = self._send(http, session, page, [chance.choice(self.names), ""]).get("render_config")
            if shown is None:
                return "error"
            parts = self.parts | {part["id"]: part for part in shown["components"]}
            events = [event for event in shown["dependencies"] if event["backend_fn"]]
            for event in chance.sample(events, min(3, len(events))):
                values = [parts[i]["props"].get("value") for i in event["inputs"]]
                self._send(http, session, event, values)
            for part in shown["components"]:
                for function in part["props"].get("server_fns", ()):
                    self._learn(http, chance, session, part["id"], function)
        return "result"

    def _learn(self, http: httpx.Client, chance: random.Random, session: str, part: int, function: str) -> None:
        """Start a training of the Lab, watch it for a moment, and leave; some visitors just close the page."""

        def say(**message: Any) -> dict:
            body = {"data": message, "component_id": part, "fn_name": function, "session_hash": session}
            return http.post("/gradio_api/component_server", json=body).raise_for_status().json()

        data = chance.choice(["moons", "pinwheel", "gaussians"])
        begun = say(what="start", experiment={"data": data, "seed": chance.randint(0, 9)})
        self.did["training: refused" if begun.get("problem") else "training: begun"] += 1
        last = 0
        for _ in range(chance.randint(1, 4) if "ticket" in begun else 0):
            news = say(what="frames", ticket=begun["ticket"], after=last)
            last = max([last, *(frame["number"] for frame in news["frames"])])
        if "ticket" in begun and chance.random() < 0.7:
            say(what="leave", ticket=begun["ticket"])

    def _send(self, http: httpx.Client, session: str, event: dict, values: list) -> dict:
        """Send an event of a page, and return its output; {} without one."""
        body = {"data": values, "fn_index": event["id"], "session_hash": session}
        http.post("/gradio_api/queue/join", json=body).raise_for_status()
        with http.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as stream:
            for line in stream.iter_lines():
                if "process_completed" in line:
                    return json.loads(line.removeprefix("data: ")).get("output") or {}
        return {}

    def _page(self, http: httpx.Client, chance: random.Random, session: str) -> str:
        """Press Run with the page open; then wait, press Stop, or close the page."""
        task, event = chance.choice(list(self.runs.items()))
        values = []
        for i in event["inputs"]:
            part = self.parts[i]
            value = part["props"].get("value")
            if part["type"] == "image":
                value = self._upload(http, chance)
            elif part is self._dropdown(event):
                value = chance.choice(self._choices(event))
            values.append(value)
        end = chance.choice(["wait", "wait", "stop", "close"])
        body = {"data": values, "fn_index": event["id"], "session_hash": session}
        with http.stream("GET", f"/gradio_api/heartbeat/{session}"):
            answer = http.post("/gradio_api/queue/join", json=body)
            if answer.status_code != 200:
                return f"status {answer.status_code}"
            with http.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as stream:
                for line in stream.iter_lines():
                    if "process_completed" in line:
                        return "result" if '"success":true' in line else "error"
                    if "process_generating" in line and end == "close":
                        return "closed"
                    if "process_generating" in line and end == "stop":
                        self._press_stop(http, task, session)
                        end = "stopped"
        return "nothing"

    def _press_stop(self, http: httpx.Client, task: str, session: str) -> None:
        for event in self.events:
            names = [self.parts.get(target, {}).get("props", {}).get("elem_id") for target, _ in event["targets"]]
            if f"{task}-stop" in names:
                http.post("/gradio_api/queue/join", json={"data": [], "fn_index": event["id"], "session_hash": session})

    def _look(self, http: httpx.Client, chance: random.Random, session: str) -> str:
        """Open the page, and send an event that costs nothing: choose a checkpoint, unfold a card, take an example."""
        http.get(chance.choice(["/", "/config", "/gradio_api/info"])).raise_for_status()
        event = chance.choice(self.events)
        if event in self.runs.values():
            return "page"
        values = [self.parts[i]["props"].get("value") for i in event["inputs"]]
        output = self._send(http, session, event, values)
        return "error" if "error" in output else "result" if output else "nothing"

    def _wrong(self, http: httpx.Client, chance: random.Random, session: str) -> str:
        answer = http.post("/gradio_api/call/generate", json={"data": [chance.choice(["", None, "none"])]})
        if answer.status_code != 200:
            return f"status {answer.status_code}"
        return http.get(f"/gradio_api/call/generate/{answer.json()['event_id']}").text.split("\n")[0][:30]


def warm_up(crowd: Crowd) -> None:
    """Load every checkpoint, and open more sessions than are remembered."""
    with httpx.Client(base_url=crowd.app.url, timeout=120, trust_env=False) as http:
        for i in range(max(SESSIONS, 4 * len(crowd.names))):
            if i % 4 == 0:  # about as often as among the visits that follow: a page's session takes more memory
                crowd._open(http, random.Random(i), f"warm-{i}")
                continue
            task = "reconstruct" if i % 2 else "generate"
            name = crowd.names[i // 4] if i < 4 * len(crowd.names) else "none"
            file = [crowd._upload(http, random.Random(i))] if task == "reconstruct" else [1]
            answer = http.post(f"/gradio_api/call/{task}", json={"data": [name, *file, "any", 0, {}]})
            if answer.status_code == 200:
                http.get(f"/gradio_api/call/{task}/{answer.json()['event_id']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--visitors", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--checkpoints", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "checkpoints").mkdir()
        checkpoints = arguments.checkpoints or make_checkpoints(place / "checkpoints")
        environment = {"GENARIUM_CHECKPOINTS": str(checkpoints), "HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"}
        with RealApp(place, environment) as app:
            crowd = Crowd(app, arguments.seed)
            threads = [threading.Thread(target=crowd.visit, args=(i,), daemon=True) for i in range(arguments.visitors)]
            for thread in threads:
                thread.start()
            warm_up(crowd)
            began = time.monotonic()
            rows: list[tuple[float, float, float]] = []
            while (passed := time.monotonic() - began) < arguments.seconds:
                rows.append((passed, app.memory() / 2**20, app.files() / 2**20))
                crowd.end.wait(min(5.0, arguments.seconds / 20))
            crowd.end.set()
            for thread in threads:
                thread.join(60)
            tracebacks = ours(app.tracebacks())
    shown = rows[:: max(1, len(rows) // 20)]
    for passed, memory, files in shown:
        print(f"{passed:6.0f} s {memory:7.0f} MiB of memory {files:7.1f} MiB of files")
    for what, number in sorted(crowd.did.items()):
        print(f"  {number:6} {what}")
    start = arguments.seconds / 5
    before = [memory for passed, memory, _ in rows if start <= passed < 2 * start]
    after = [memory for passed, memory, _ in rows if passed >= 4 * start]
    change = statistics.median(after) / statistics.median(before)
    print(f"{arguments.seconds:g} s, {describe_hardware(torch.device('cpu'), torch.float32)}")
    print(
        f"memory: {statistics.median(before):.0f} MiB in the second fifth, {statistics.median(after):.0f} MiB in the last: {100 * (change - 1):+.1f} %"
    )
    print(f"tracebacks through this repository's code: {len(tracebacks)}", *tracebacks[:3], sep="\n")
    sys.exit(change > ALLOWED or bool(tracebacks))


if __name__ == "__main__":
    main()
