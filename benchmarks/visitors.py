"""Let many visitors use the real app at once, and measure how long each waits, beside a Gradio app that computes nothing.

    python benchmarks/visitors.py
    python benchmarks/visitors.py --visitors 1 5 --pictures 1 4 --out docs/benchmarks/visitors.md

The app runs as `python app.py` in a process of its own. Each visitor is a client with an address of its own (127.0.x.y, which
Linux gives to whoever asks). It presses Run on the first page with the defaults of a checkpoint, and reads the events until
the result. Three things are measured:

1.  so many visitors at once ask for so many pictures each: pictures a second, times of the first preview and of the result,
    errors, memory, and the slowest visitor beside the fair share (what all computed, one after another). The same visitors
    also come one by one, each after the result of the one before: the peer of the batches that the app makes of equal requests.
    The bare Gradio app sends the same pictures as a preview and as a result to as many visitors;
2.  short requests, each of a new visitor, beside long diffusion runs of other visitors, and alone;
3.  what a call of the web API takes beside computing, and the same call of the bare app, in turn.

Ratios within one run count: the times depend on the machine, and on what else it does.
"""

import argparse
import json
import math
import secrets
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx
import psutil
import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/helpers")]

from real_app import RealApp

from benchmarks.soak import Crowd
from genarium.hardware import describe_hardware

DIFFUSION, STUDENT, VAE = "ddpm-fashion-mnist", "flow-matching-fashion-mnist-2step", "vae-fashion-mnist"
PATIENCE = 3600  # seconds
IN_TURN = 20  # visitors at most that come one by one: more say nothing new


@dataclass
class Visit:
    """What a visitor saw.

    Args:
        first: seconds to the first preview, or to the result where there was none.
        result: seconds to the result.
        problem: why there was none.
    """

    first: float = 0.0
    result: float = 0.0
    problem: str = ""


class Site:
    """An app as its clients see it.

    Args:
        url: of the app.
        memory: returns the bytes that it has.
    """

    visitors = 0  # addresses are not used twice in one measurement

    def __init__(self, url: str, memory: Callable[[], int]):
        self.url, self.memory = url, memory

    def client(self) -> httpx.Client:
        """Return a client with an address that no other has."""
        Site.visitors += 1
        address = f"127.1.{Site.visitors // 250}.{Site.visitors % 250 + 1}"
        transport = httpx.HTTPTransport(local_address=address)
        return httpx.Client(base_url=self.url, timeout=PATIENCE, transport=transport, trust_env=False)

    def press(self, event: int, values: list) -> Visit:
        """Send an event of the page, and read until its result."""
        visit, session, began = Visit(), secrets.token_hex(6), time.monotonic()
        body = {"data": values, "fn_index": event, "session_hash": session}
        with self.client() as http:
            answer = http.post("/gradio_api/queue/join", json=body)
            if answer.status_code != 200:
                return Visit(problem=f"status {answer.status_code}: {answer.text[:200]}")
            with http.stream("GET", f"/gradio_api/queue/data?session_hash={session}") as stream:
                for line in stream.iter_lines():
                    if "process_generating" in line and "<img" in line and not visit.first:
                        visit.first = time.monotonic() - began
                    elif "process_completed" in line:
                        visit.result = time.monotonic() - began
                        visit.first = visit.first or visit.result
                        visit.problem = "" if '"success":true' in line else line[:300]
                        return visit
        return Visit(problem="no result")

    def call(self, http: httpx.Client, name: str, number: int, parameters: dict | None = None) -> tuple[float, dict]:
        """Call the endpoint that generates; return the seconds that it took, and its report."""
        began = time.monotonic()
        data = [name, number, "any", 0, parameters or {}]
        event = http.post("/gradio_api/call/generate", json={"data": data}).raise_for_status().json()["event_id"]
        text = http.get(f"/gradio_api/call/generate/{event}").raise_for_status().text
        took = time.monotonic() - began
        _, complete, data = text.partition("event: complete\ndata: ")  # heartbeats may come before
        if not complete:
            raise RuntimeError(text[:500])
        files, report = json.loads(data.splitlines()[0])
        return took, {**report, "files": files}


class Genarium(Site):
    """The app: `press` with the values of `values`."""

    def __init__(self, app: RealApp):
        super().__init__(app.url, app.memory)
        self.crowd, self.app = Crowd(app, 0), psutil.Process(app.process.pid)
        self.event = self.crowd.runs["generate"]

    def processor(self) -> float:
        """Return the seconds that the app has kept processors busy: other programs do not change them much."""
        spent = self.app.cpu_times()
        return spent.user + spent.system

    def values(self, checkpoint: str, number: int) -> list:
        """Return what the page sends when Run is pressed, with the defaults of the page."""
        parts = [self.crowd.parts[i] for i in self.event["inputs"]]
        values = [part["props"].get("value") for part in parts]
        values[parts.index(self.crowd._dropdown(self.event))] = checkpoint
        images = next(
            i for i, part in enumerate(parts) if part["type"] == "slider"
        )  # the first is the number of pictures
        values[images] = number
        return values


class Bare(Site):
    """A Gradio app that has pictures and sends them; a context manager that runs it in a process of its own.

    Args:
        folder: with the pictures, and report.json.
    """

    def __init__(self, folder: Path):
        command = [sys.executable, __file__, "--bare", str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self.process.stdout is not None
        url = self.process.stdout.readline().strip()
        super().__init__(url, lambda: psutil.Process(self.process.pid).memory_info().rss)
        with self.client() as http:
            events = http.get("/config").json()["dependencies"]
        self.event = next(event["id"] for event in events if event["api_name"] == "run")

    def __enter__(self) -> "Bare":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(30)


def serve_bare(folder: Path) -> None:
    """Run the bare app until the process is ended; print its address first."""
    import gradio as gr

    pictures = sorted(str(path) for path in folder.glob("*.png"))
    report = json.loads((folder / "report.json").read_text())
    with gr.Blocks(analytics_enabled=False) as app:
        button, name, number = gr.Button(), gr.Textbox(), gr.Number(16, precision=0)
        classes, seed, parameters = gr.JSON(), gr.Number(0, precision=0), gr.JSON()
        preview, gallery = gr.HTML(), gr.Gallery()
        files, said = gr.File(file_count="multiple"), gr.JSON()

        def run(number: int):
            yield "<img>", None
            yield "", pictures[:number]

        def generate(name, number, classes, seed, parameters):
            return pictures[:number], report

        button.click(run, number, [preview, gallery], concurrency_limit=64, api_name="run")
        asked = [name, number, classes, seed, parameters]
        button.click(generate, asked, [files, said], concurrency_limit=64, api_name="generate")
    app.queue(max_size=256)
    _, url, _ = app.launch(
        server_name="127.0.0.1", quiet=True, prevent_thread_lock=True, allowed_paths=[str(folder)], ssr_mode=False
    )
    print(url, flush=True)
    app.block_thread()


class Peak:
    """The most memory of an app while the block runs."""

    def __init__(self, site: Site):
        self.site, self.most = site, 0
        self._end = threading.Event()

    def __enter__(self) -> "Peak":
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        self.most = self.site.memory()
        while not self._end.wait(0.2):
            self.most = max(self.most, self.site.memory())


def percentile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that so large a share of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def seconds(values: Sequence[float]) -> str:
    """Return median and 95th percentile in words."""
    return f"{statistics.median(values):.2f} / {percentile(values, 0.95):.2f}" if values else "–"


def together(site: Site, number: int, press: Callable[[], Visit]) -> tuple[list[Visit], float, float]:
    """Let so many visitors press at once; return what they saw, the seconds to the last result, and the memory in MiB."""
    began = time.monotonic()
    with Peak(site) as peak, ThreadPoolExecutor(number) as visitors:
        visits = [future.result() for future in [visitors.submit(press) for _ in range(number)]]
    return visits, time.monotonic() - began, peak.most / 2**20


def crowds(app: Genarium, bare: Bare, checkpoints: list[str], visitors: list[int], pictures: list[int]) -> list[str]:
    """Measure visitors that come at once -> lines of a table."""
    lines = [
        "| checkpoint | visitors | pictures each | pictures a second | one by one | ratio | processor ms a picture, one by one / together | first preview, s | result, s "
        "| slowest / fair share | errors | memory, MiB | bare: result, s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for checkpoint in checkpoints:
        for each in pictures:
            values = app.values(checkpoint, each)
            alone = statistics.median(app.press(app.event["id"], values).result for _ in range(3))
            for number in visitors:
                before, spent = time.monotonic(), app.processor()
                in_turn = [app.press(app.event["id"], values) for _ in range(min(number, IN_TURN))]
                slowly = len(in_turn) * each / (time.monotonic() - before)
                cost_in_turn = (app.processor() - spent) / len(in_turn) / each
                spent = app.processor()
                seen, took, memory = together(app, number, partial(app.press, app.event["id"], values))
                cost = (app.processor() - spent) / number / each
                plain, _, _ = together(bare, number, partial(bare.press, bare.event, [each]))
                good = [visit for visit in seen if not visit.problem]
                for problem in sorted({visit.problem for visit in (*in_turn, *seen, *plain) if visit.problem}):
                    print(problem, file=sys.stderr)
                rate = len(good) * each / took
                lines.append(
                    f"| {checkpoint} | {number} | {each} | {rate:.1f} | {slowly:.1f} | {rate / slowly:.2f} "
                    f"| {1000 * cost_in_turn:.0f} / {1000 * cost:.0f} | {seconds([v.first for v in good])} "
                    f"| {seconds([v.result for v in good])} | {max(v.result for v in good) / (alone * number):.2f} "
                    f"| {len(seen) - len(good)} | {memory:.0f} | {seconds([v.result for v in plain if not v.problem])} |"
                )
                print(lines[-1], flush=True)
    return lines


def beside(app: Genarium, runs: int, pictures: int, steps: int, times: int) -> list[str]:
    """Measure short requests beside long runs, and alone -> lines of a table."""
    short = {f"{name}, {n} pictures": (name, n) for name in (VAE, STUDENT) for n in (1, 16)}

    def ask(name: str, number: int) -> list[float]:
        times_taken = []
        for _ in range(times):
            with app.client() as http:  # a new visitor each time
                times_taken.append(app.call(http, name, number)[0])
        return times_taken

    before = {title: ask(*one) for title, one in short.items()}
    ended, busy = threading.Event(), []

    def keep_computing() -> None:
        with app.client() as http:
            while not ended.is_set():
                answer = {"data": [DIFFUSION, pictures, "any", 0, {"num_inference_steps": steps}]}
                event = http.post("/gradio_api/call/generate", json=answer).json()["event_id"]
                with http.stream("GET", f"/gradio_api/call/generate/{event}") as stream:
                    for _ in stream.iter_lines():  # a heartbeat comes from time to time
                        if ended.is_set():
                            return  # and the run ends, as nobody reads it
                busy.append(time.monotonic())

    threads = [threading.Thread(target=keep_computing, daemon=True) for _ in range(runs)]
    for thread in threads:
        thread.start()
    time.sleep(3)
    during = {title: ask(*one) for title, one in short.items()}
    ended.set()
    lines = [f"| request | alone, s | beside {runs} runs of {pictures} pictures x {steps} steps, s |", "|---|---|---|"]
    lines += [f"| {title} | {seconds(before[title])} | {seconds(during[title])} |" for title in short]
    print(*lines, f"{len(busy)} of the long runs ended meanwhile", sep="\n", flush=True)
    for thread in threads:
        thread.join(60)
    return lines


def overhead(app: Genarium, bare: Bare, times: int) -> list[str]:
    """Measure what a call takes beside computing, in turn with the bare app -> lines of a table."""
    lines = ["| pictures | Genarium beside computing, s | bare Gradio app, s | ratio of medians |", "|---|---|---|---|"]
    for number in (1, 4, 16):
        ours, plain = [], []
        with app.client() as http, bare.client() as other:
            for _ in range(times):
                took, report = app.call(http, VAE, number)
                ours.append(took - report["seconds"])
                plain.append(bare.call(other, VAE, number)[0])
        ratio = statistics.median(ours) / statistics.median(plain)
        lines.append(f"| {number} | {seconds(ours)} | {seconds(plain)} | {ratio:.2f} |")
        print(lines[-1], flush=True)
    return lines


def prepare(app: Genarium, folder: Path) -> None:
    """Load the checkpoints, and lay down pictures and a report for the bare app."""
    with app.client() as http:
        for name in (DIFFUSION, STUDENT, VAE):
            for number in (1, 16):
                _, report = app.call(http, name, number)
        for i, file in enumerate(report.pop("files")):
            picture = http.get(f"/gradio_api/file={file['path']}").raise_for_status().content
            (folder / f"{i:02d}.png").write_bytes(picture)
    (folder / "report.json").write_text(json.dumps(report))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--visitors", type=int, nargs="+", default=[1, 5, 20, 50])
    parser.add_argument("--pictures", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--checkpoints", nargs="+", default=[DIFFUSION, STUDENT, VAE])
    parser.add_argument(
        "--times", type=int, default=20, help="how often the requests of the second and third part are made"
    )
    parser.add_argument("--long", type=int, nargs=3, default=[10, 16, 100], metavar=("RUNS", "PICTURES", "STEPS"))
    parser.add_argument("--parts", type=int, nargs="+", default=[1, 2, 3], help="of the measurement")
    parser.add_argument("--note", default="", help="what else the machine did, for the report")
    parser.add_argument("--out", type=Path, help="a Markdown file for the report")
    parser.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.bare:
        return serve_bare(arguments.bare)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        pictures = Path(place) / "pictures"
        pictures.mkdir()
        with RealApp(Path(place), {"HF_HUB_OFFLINE": "1", "OMP_WAIT_POLICY": "passive"}) as real:
            app = Genarium(real)
            prepare(app, pictures)
            with Bare(pictures) as bare:
                report = []
                if 3 in arguments.parts:
                    report += [
                        "",
                        "## A call of the web API, beside computing",
                        "",
                        *overhead(app, bare, arguments.times),
                    ]
                if 2 in arguments.parts:
                    report += [
                        "",
                        "## Short requests beside long runs",
                        "",
                        *beside(app, *arguments.long, arguments.times),
                    ]
                if 1 in arguments.parts:
                    made = crowds(app, bare, arguments.checkpoints, arguments.visitors, arguments.pictures)
                    report += ["", "## Visitors who come at once", "", *made]
            tracebacks = real.tracebacks()
    where = describe_hardware(torch.device("cpu"), torch.float32)
    asked = " ".join(word for word in sys.argv[1:] if word != arguments.note and word != "--note")
    facts = f"`python benchmarks/visitors.py {asked}` on {where}, {time.monotonic() - began:.0f} s. "
    facts += "Two figures are a median and a 95th percentile. " + arguments.note
    print(facts, f"{len(tracebacks)} tracebacks", *tracebacks[:3], sep="\n")
    if arguments.out:
        title = "# Many visitors at once"
        arguments.out.write_text("\n".join([title, *report, "", facts.strip(), ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
