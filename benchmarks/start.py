"""Measure how long a start takes: the first page, the first picture, `list` and `--help`, beside what other programs need.

    python benchmarks/start.py
    python benchmarks/start.py --times 5 --out docs/benchmarks/start.md

Every start is a fresh process. "Cold" has an empty folder of outlines, as the first start after an installation or after a
change of a source file; "warm" finds the outlines of an earlier start. The files of the packages are in the system's cache
in both cases. Each round starts every program once, so that all share what else the machine does meanwhile.

The peers of the same run are a Gradio app with one button, which shows its page, and `import torch, gradio, diffusers`.
The seconds of a core are those that the process and its threads computed; they depend less on other programs than the
seconds of the clock.
"""

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.hardware import describe_hardware

CHECKPOINT = "vae-fashion-mnist"
PICTURES = 4
REST_SECONDS = 3  # after the page, in which the app imports the rest
PATIENCE = 600  # seconds
BARE = """
import sys
import gradio as gr
with gr.Blocks() as app:
    gr.Button("Run").click(lambda: None)
app.launch(server_port=int(sys.argv[1]), quiet=True)
"""
IMPORTS = "import torch, gradio, diffusers"


@dataclass
class Start:
    """One start of a program.

    Args:
        seconds: from its start to its page, or to its end.
        core: seconds that it computed until then.
        picture: seconds from its start to the first picture that is asked for when the page is there.
        shown: bytes of memory when the page is there.
        rest: bytes of memory some seconds later, when nothing is asked.
    """

    seconds: float
    core: float
    picture: float | None = None
    shown: int | None = None
    rest: int | None = None


def port() -> int:
    """Return a port that is free."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str]) -> Iterator[psutil.Process]:
    """Run a program, which is ended with the block."""
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=quiet, stderr=quiet) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.kill()


def core_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def first_page(url: str, process: psutil.Process) -> None:
    """Wait until the page is there."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and process.is_running():
        try:
            with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
                answer.read()
                return
        except OSError:
            time.sleep(0.01)
    raise SystemExit(f"no page at {url}")


def first_picture(url: str) -> None:
    """Ask for pictures by the web API, and wait until they are there."""
    data = json.dumps({"checkpoint": CHECKPOINT, "num_images": PICTURES}).encode()
    asked = urllib.request.Request(f"{url}gradio_api/call/v2/generate", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
        event = json.load(answer)["event_id"]
    with urllib.request.urlopen(f"{url}gradio_api/call/generate/{event}", timeout=PATIENCE) as answer:
        said = answer.read().decode()
    if "event: complete" not in said:
        raise SystemExit(f"no picture: {said[-500:]}")


def start_site(command: Callable[[int], list[str]], environment: dict[str, str], draws: bool) -> Start:
    """Start an app, look at its page, and either ask for pictures at once or let it rest."""
    number = port()
    url = f"http://127.0.0.1:{number}/"
    began = time.perf_counter()
    with running(command(number), environment) as process:
        first_page(url, process)
        start = Start(time.perf_counter() - began, core_seconds(process), shown=process.memory_info().rss)
        if draws:
            first_picture(url)
            start.picture = time.perf_counter() - began
            return start
        time.sleep(REST_SECONDS)
        before = core_seconds(process)
        while True:  # until the process computes nothing
            time.sleep(1)
            now = core_seconds(process)
            if now - before < 0.1:
                break
            before = now
        start.rest = process.memory_info().rss
        return start


def start_command(command: list[str], environment: dict[str, str]) -> Start:
    """Run a program to its end."""
    began, before = time.perf_counter(), os.times()
    subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = os.times()
    core = after.children_user + after.children_system - before.children_user - before.children_system
    return Start(time.perf_counter() - began, core)


def rounds(times: int, folder: Path) -> Iterator[tuple[str, Start]]:
    """Start everything so many times; yield what was started, and how it went."""
    python = sys.executable
    usual = {key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"}
    usual["GRADIO_ANALYTICS_ENABLED"] = "False"
    warm = usual | {"GENARIUM_CACHE": str(folder / "warm")}

    def app(number: int) -> list[str]:
        return [python, "app.py", "--port", str(number)]

    def bare(number: int) -> list[str]:
        return [python, "-c", BARE, str(number)]

    listing = [python, "-m", "genarium", "list"]
    start_command(listing, warm)  # which fills the cache
    for number in range(times):
        cold = [usual | {"GENARIUM_CACHE": str(folder / f"cold{number}-{which}")} for which in ("app", "list")]
        plan: list[tuple[str, Callable[[], Start]]] = [
            ("page, cold", partial(start_site, app, cold[0], False)),
            ("page", partial(start_site, app, warm, False)),
            ("picture", partial(start_site, app, warm, True)),
            ("bare", partial(start_site, bare, usual, False)),
            ("imports", partial(start_command, [python, "-c", IMPORTS], usual)),
            ("list, cold", partial(start_command, listing, cold[1])),
            ("list", partial(start_command, listing, warm)),
            ("help", partial(start_command, [python, "-m", "genarium", "--help"], warm)),
        ]
        for what, run in plan:
            start = run()
            print(f"{what:<10} {start.seconds:6.2f} s, {start.core:5.2f} s of a core", file=sys.stderr)
            yield what, start


def report(found: dict[str, list[Start]], times: int, load: tuple[float, float], seconds: float) -> str:
    """Return the page of results in Markdown."""

    def middle(values: list[float]) -> str:
        return f"{statistics.median(values):.2f} ({min(values):.2f})"

    names = {
        "page": "`python app.py`, first page",
        "page, cold": "the same without outlines",
        "picture": f"`python app.py`, first {PICTURES} pictures of {CHECKPOINT}",
        "bare": "a Gradio app with one button, first page",
        "imports": f'`python -c "{IMPORTS}"`',
        "list": "`python -m genarium list`",
        "list, cold": "the same without outlines",
        "help": "`python -m genarium --help`",
    }
    peer = statistics.median(start.core for start in found["bare"])
    lines = [
        "# How long a start takes",
        "",
        "Medians of fresh processes, and in brackets the shortest. The last column is the median of the seconds of a core, divided",
        "by that of the bare Gradio app.",
        "",
        "| start | s | s of a core | of the bare app's |",
        "|---|---|---|---|",
    ]
    for what, name in names.items():
        starts = found[what]
        core = [start.core for start in starts]
        clock = [start.picture or start.seconds for start in starts]
        shown = middle(core) if what != "picture" else "–"
        share = f"{statistics.median(core) / peer:.2f}" if what != "picture" else "–"
        lines.append(f"| {name} | {middle(clock)} | {shown} | {share} |")
    lines += ["", "| memory, MB | when the page is there | at rest |", "|---|---|---|"]
    for what in ("page", "page, cold", "bare"):
        sizes = [[start.shown or 0, start.rest or 0] for start in found[what]]
        first, rest = (statistics.median(column) / 1e6 for column in zip(*sizes, strict=True))
        lines.append(f"| {names[what]} | {first:.0f} | {rest:.0f} |")
    import torch

    machine = describe_hardware(torch.device("cpu"), torch.float32)
    lines += [
        "",
        f"`python benchmarks/start.py --times {times}` on {machine}, {seconds:.0f} s. The load of the machine was "
        f"{load[0]:.1f} before and {load[1]:.1f} after.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure how long a start takes.")
    parser.add_argument("--times", type=int, default=3, help="rounds")
    parser.add_argument("--out", type=Path, help="a Markdown file for the results; else they are printed")
    arguments = parser.parse_args()
    began, load = time.perf_counter(), os.getloadavg()[0]
    found: dict[str, list[Start]] = {}
    with tempfile.TemporaryDirectory(prefix="genarium-start-") as folder:
        for what, start in rounds(arguments.times, Path(folder)):
            found.setdefault(what, []).append(start)
    text = report(found, arguments.times, (load, os.getloadavg()[0]), time.perf_counter() - began)
    if arguments.out:
        arguments.out.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
