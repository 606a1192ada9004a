"""How soon a visitor with a slow line sees the first page and can use it, in a browser, and how much is sent for it.

    python benchmarks/first_view.py --times 5

The app runs as `python app.py` in a process of its own. Chromium slows the line to the given speed and round trip, has an empty
cache, and opens the first page. The peer is a Gradio app with one button and nothing else, opened in turn with ours over the same
line: what it needs is Gradio's own. Four moments are measured: when something is painted, when the picture wall is
there, when Run can be pressed, and when nothing is sent any more. Bytes are those on the wire, by kind.

The table goes to the screen and to docs/benchmarks/first_view.md.
"""

import argparse
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import torch
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]

from bare_app import bare_app
from real_app import RealApp

from genarium.hardware import describe_hardware

PATIENCE = 120_000  # milliseconds
QUIET_SECONDS = 1.5  # without a request under way: all that the first view needs has come
BARE = """
import sys
import gradio as gr
with gr.Blocks() as app:
    gr.Button("Run", elem_id="run").click(lambda: None)
app.launch(server_name="127.0.0.1", server_port=int(sys.argv[1]), quiet=True)
"""
KINDS = {"Document": "page", "Script": "scripts", "Stylesheet": "styles", "Font": "fonts", "Image": "pictures"}


class Seen(NamedTuple):
    """Seconds from the beginning, NaN for what a page has not, and bytes on the wire by kind."""

    painted: float
    wall: float
    usable: float
    whole: float
    sent: Counter


def visit(browser, url, run, wall, line):
    """Open a page over a slow line with an empty cache -> `Seen`.

    Args:
        run: selector of what can be pressed.
        wall: selector of the pictures that are there at once; "" for none.
        line: megabits a second, and the round trip in seconds.
    """
    speed, trip = line
    context = browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-US")
    page = context.new_page()
    cdp = context.new_cdp_session(page)
    kinds, sent, open_now, last = {}, Counter(), set(), [time.monotonic()]

    def began(event):
        kinds[event["requestId"]] = KINDS.get(event.get("type"), "other")
        if event.get("type") != "EventSource" and "heartbeat" not in event["request"]["url"]:
            open_now.add(event["requestId"])

    def ended(event):
        sent[kinds.get(event["requestId"], "other")] += int(event.get("encodedDataLength", 0))
        open_now.discard(event["requestId"])
        last[0] = time.monotonic()

    cdp.on("Network.requestWillBeSent", began)
    cdp.on("Network.loadingFinished", ended)
    cdp.on("Network.loadingFailed", ended)
    cdp.send("Network.enable")
    cdp.send("Network.setCacheDisabled", {"cacheDisabled": True})
    rate = speed * 1e6 / 8
    cdp.send(
        "Network.emulateNetworkConditions",
        {"offline": False, "latency": trip * 1000, "downloadThroughput": rate, "uploadThroughput": rate},
    )
    start = time.monotonic()
    page.goto(url, wait_until="commit", timeout=PATIENCE)
    seen = {"wall": float("nan")}
    waits = {"usable": run, **({"wall": wall} if wall else {})}
    while waits and time.monotonic() - start < PATIENCE / 1000:
        for name, selector in list(waits.items()):
            if page.evaluate(READY, selector):
                seen[name] = time.monotonic() - start
                del waits[name]
        page.wait_for_timeout(20)
    assert not waits, f"{url} never showed {waits}"
    while (open_now and time.monotonic() - start < PATIENCE / 1000) or time.monotonic() - last[0] < QUIET_SECONDS:
        page.wait_for_timeout(50)
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000")
    context.close()
    return Seen(painted, seen["wall"], seen["usable"], last[0] - start, sent)


READY = """selector => {
  const all = [...document.querySelectorAll(selector)];
  return all.length > 0 && all.every(one => one.offsetParent && !one.disabled && (one.tagName !== 'IMG' || one.naturalWidth));
}"""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=5)
    parser.add_argument("--line", type=float, nargs=2, default=(1.6, 0.1), metavar=("MBIT", "SECONDS"))
    parser.add_argument("--browser", default=next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None))
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/first_view.md")
    options = parser.parse_args()
    found = {"Genarium": [], "a Gradio app with one button": []}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.browser, args=["--no-sandbox", "--disable-gpu"])
        with RealApp(Path(folder)) as app, bare_app(BARE) as (bare, _):
            for k in range(options.times + 1):  # the first one warms both servers up
                pairs = (app.url, "#generate-run", ".wall img"), (bare, "#run", "")
                for seen, (url, run, wall) in zip(found.values(), pairs, strict=True):
                    one = visit(browser, url, run, wall, options.line)
                    print(k, url, one, flush=True)
                    if k:
                        seen.append(one)
        browser.close()
    text = report(found, options)
    print("\n" + text)
    options.out.write_text(text)


def report(found, options):
    rows = []
    for name, visits in found.items():
        cells = [statistics.median(getattr(one, moment) for one in visits) for moment in Seen._fields[:4]]
        sent = [statistics.median(one.sent[kind] for one in visits) / 1000 for kind in ("page", "scripts", "styles")]
        every = statistics.median(sum(one.sent.values()) for one in visits) / 1000
        numbers = ["–" if cell != cell else f"{cell:.1f}" for cell in cells]
        rows.append(f"| {name} | {' | '.join(numbers)} | {' | '.join(f'{cell:.0f}' for cell in (*sent, every))} |")
    head = ("", "painted, s", "wall, s", "Run, s", "all sent, s", "page, kB", "scripts, kB", "styles, kB", "all, kB")
    speed, trip = options.line
    return f"""# The first view over a slow line

| {" | ".join(head)} |
|{"---|" * len(head)}
{chr(10).join(rows)}

`python benchmarks/first_view.py --times {options.times}` on {describe_hardware(torch.device("cpu"), torch.float32)}. Medians of
{options.times} visits of each in turn, with an empty cache, over {speed:g} Mbit/s and {1000 * trip:.0f} ms of round trip. The load of the
machine was {os.getloadavg()[0]:.0f}.
"""


if __name__ == "__main__":
    main()
