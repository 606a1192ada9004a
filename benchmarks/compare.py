"""Compare all checkpoints of one data set on the page, and measure when the first preview, the first row and the whole are there.

    python benchmarks/compare.py
    python benchmarks/compare.py --times 5 --out docs/benchmarks/compare.md

The app runs as `python app.py` in a process of its own. A client opens the page Compare and presses Run with what the page
begins with, as a browser does: all checkpoints of the commonest data set. It reads the stream of the page's updates. The first
run is cold, as the app has loaded no weights; the others are warm.

The peer is what a person would write without the page: the same pictures by the pipelines' own calls, one checkpoint after
another, in this process, with no previews and no page. Its first row is there when the first call returns. Page and peer take
turns. Seconds of the clock depend on what else the machine does. Processor seconds, of both cores together, do so less.
"""

import argparse
import json
import os
import re
import secrets
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]

from real_app import RealApp

from genarium.catalogue import find_checkpoints
from genarium.checkpoints import load_pipeline
from genarium.families import discover
from genarium.hardware import describe_hardware
from genarium.runtime import Request, pick_dtype

# isort: split
import torch  # after genarium, whose threads wait without spinning, as those of the app

FIRST, WHOLE = 1.5, 15.0  # seconds on two idle cores: what is asked of the page
PATIENCE = 900  # seconds
DONE = re.compile(r'<tr class=\\*"done')  # a finished row, in a table inside JSON


@dataclass
class Seen:
    """When a comparison showed what, in seconds after Run.

    Args:
        first: the first preview.
        row: the first finished row.
        whole: all rows.
        processor: seconds that all threads computed together.
    """

    first: float
    row: float
    whole: float
    processor: float


class Visitor:
    """A page Compare that is open, as its client sees it; a context manager.

    Args:
        app: that shows it.
    """

    def __init__(self, app: RealApp):
        self.app = app
        self.http = httpx.Client(base_url=app.url, timeout=PATIENCE, trust_env=False)
        self.session = secrets.token_hex(6)
        config = self.http.get("/config").raise_for_status().json()
        self.parts = {part["id"]: part for part in config["components"]}
        self.events = config["dependencies"]

    def __enter__(self) -> "Visitor":
        for event in [event for event in self.events if event["render_id"] is not None and event["backend_fn"]]:
            shown = self._send(event, [""] * len(event["inputs"]))[-1].get("output", {}).get("render_config") or {}
            parts = self.parts | {part["id"]: part for part in shown.get("components", ())}
            for found in shown.get("dependencies", ()):
                if any(parts.get(i, {}).get("props", {}).get("elem_id") == "compare-run" for i, _ in found["targets"]):
                    self.parts, self.run = parts, found
                    return self
        raise RuntimeError("The app shows no page Compare.")

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def part(self, name: str) -> dict:
        """Return the component of an element id."""
        return next(part for part in self.parts.values() if part["props"].get("elem_id") == name)

    @property
    def checkpoints(self) -> list[str]:
        """What the page begins with, in the order of its rows."""
        return self.part("compare-rows")["props"]["value"]

    @property
    def number(self) -> int:
        """Pictures of each row."""
        return self._value(self.part("compare-number"))

    def compare(self) -> Seen:
        """Press Run, and read until the last row is there."""
        values = [self._value(self.parts[i]) for i in self.run["inputs"]]
        process = psutil.Process(self.app.process.pid)
        began, before = time.monotonic(), sum(process.cpu_times()[:2])
        first = row = 0.0
        for news in self._send(self.run, values, whole=False):
            now = time.monotonic() - began
            text = json.dumps(news.get("output", {}).get("data"))
            if not first and "<img" in text:
                first = now
            if not row and DONE.search(text):
                row = now
            if news["msg"] == "process_completed" and not news["success"]:
                raise RuntimeError(str(news)[:500])
        return Seen(first, row, time.monotonic() - began, sum(process.cpu_times()[:2]) - before)

    @staticmethod
    def _value(part: dict) -> object:
        return part["props"].get("value")

    def _send(self, event: dict, values: list, whole: bool = True):
        """Send an event of the page; yield the messages that answer it, or return them all."""
        body = {"data": values, "fn_index": event["id"], "session_hash": self.session}
        self.http.post("/gradio_api/queue/join", json=body).raise_for_status()
        messages = self._messages()
        return list(messages) if whole else messages

    def _messages(self):
        with self.http.stream("GET", f"/gradio_api/queue/data?session_hash={self.session}") as stream:
            for line in stream.iter_lines():
                if "process_generating" in line or "process_completed" in line:
                    yield json.loads(line.removeprefix("data: "))
                if "process_completed" in line:
                    return


class Peer:
    """The pipelines' own calls, one after another.

    Args:
        names: of the checkpoints, in the order of the page.
        number: pictures of each.
    """

    def __init__(self, names: list[str], number: int):
        catalogue, device = find_checkpoints(discover()), torch.device("cpu")
        self.checkpoints = [catalogue[name] for name in names]
        self.number, self.device, self.dtype = number, device, pick_dtype(device)
        self.pipelines: dict[str, object] = {}

    def compare(self) -> Seen:
        """Load what is not loaded yet, and call each pipeline."""
        began, before, row = time.monotonic(), time.process_time(), 0.0
        for checkpoint in self.checkpoints:
            if checkpoint.name not in self.pipelines:
                self.pipelines[checkpoint.name] = load_pipeline(checkpoint, self.device, self.dtype)
            request = Request(checkpoint.name, "generate", 0, self.number).checked(checkpoint)
            generators = [torch.Generator().manual_seed(i) for i in range(self.number)]
            self.pipelines[checkpoint.name](batch_size=self.number, generator=generators, **request.parameters)
            row = row or time.monotonic() - began
        return Seen(row, row, time.monotonic() - began, time.process_time() - before)


def middle(runs: list[Seen], what: str) -> float:
    """Return the median of a time."""
    return statistics.median(getattr(run, what) for run in runs)


def report(page: list[Seen], peer: list[Seen], rows: int, number: int) -> str:
    """Return the table and what it says, as Markdown; the first run of each is cold."""
    lines = [
        "| | first preview, s | first row, s | whole, s | processor, s |",
        "|---|---|---|---|---|",
    ]
    for when, of in (("cold", slice(0, 1)), ("warm", slice(1, None))):
        for name, all_runs in (("page", page), ("pipelines alone", peer)):
            runs = all_runs[of]
            first = f"{middle(runs, 'first'):.2f}" if name == "page" else "–"
            figures = [first, *(f"{middle(runs, what):.2f}" for what in ("row", "whole", "processor"))]
            lines.append(f"| {name}, {when} | {' | '.join(figures)} |")
        ratios = [f"{middle(page[of], what) / middle(peer[of], what):.2f}" for what in ("row", "whole", "processor")]
        lines.append(f"| page / pipelines, {when} | – | {' | '.join(ratios)} |")
    return (
        "\n".join(lines)
        + f"\n\n{rows} checkpoints, {number} pictures each; {len(page) - 1} warm runs of each in turn, medians."
    )


def main() -> None:
    """Measure, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3, help="warm runs of page and peer each")
    parser.add_argument("--out", type=Path, help="a Markdown file, whose text before the first table is kept")
    given = parser.parse_args()
    page: list[Seen] = []
    peers: list[Seen] = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {"HF_HUB_OFFLINE": "1"}
        with RealApp(Path(folder), environment) as app, Visitor(app) as visitor:
            names, number = visitor.checkpoints, visitor.number
            peer = Peer(names, number)
            for i in range(given.times + 1):
                page.append(visitor.compare())
                peers.append(peer.compare())
                print(i, page[-1], peers[-1], file=sys.stderr, flush=True)
    load = os.getloadavg()[1]
    text = report(page, peers, len(names), number)
    text += (
        f"\n\n`python {' '.join(['benchmarks/compare.py', *sys.argv[1:]])}` on {describe_hardware(torch.device('cpu'), peer.dtype)}. "
        f"The load of the machine was {load:.0f} on {os.cpu_count()} cores. Asked for on two idle cores: first preview {FIRST} s, "
        f"whole {WHOLE:g} s.\n"
    )
    print(text)
    if given.out:
        kept = given.out.read_text().partition("| |")[0] if given.out.exists() else "# Comparing all checkpoints\n\n"
        given.out.write_text(kept + text)


if __name__ == "__main__":
    main()
