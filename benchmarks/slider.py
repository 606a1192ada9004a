"""How soon a picture follows the hand on the Explore page: from the move of a slider to the new picture, in a browser.

    python benchmarks/slider.py --moves 60

The app runs as `python app.py` in a process of its own, and Chromium shows its Explore page. A move sets a slider to another
value and fires the event that a hand fires. Its time ends when the browser has decoded the picture that comes back. Beside
it runs a bare Gradio app in a process of its own: a slider whose event returns one of two pictures that the Explore page
showed, which it keeps ready. Moves of both pages alternate, so both meet the same machine. What the page does beyond the
bare event is the decoder, the picture's file, and the other sliders. The processor time of each server for a move is
measured too. Other programs on the machine make a move longer, and leave that about as it is.

The table goes to the screen and to docs/benchmarks/slider.md.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil
import torch
from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests/helpers")]

from bare_app import bare_app
from real_app import RealApp

import genarium
from genarium.hardware import describe_hardware

CHECKPOINTS = (
    "ae-fashion-mnist",
    "ae2-fashion-mnist",
    "dae-fashion-mnist",
    "deep-ae-mnist",
    "vae-fashion-mnist",
    "vae2-fashion-mnist",
    "gan-fashion-mnist",
    "style-emoji",
)
LIMIT = 0.15  # seconds
PATIENCE = 300_000  # milliseconds
SLIDER, LIVE = ".explore-directions input[type=range]", "#explore-live img"

MOVE = """async ([slider, picture, value]) => {
  const input = document.querySelector(slider), before = document.querySelector(picture).src;
  const start = performance.now();
  input.value = value;
  input.dispatchEvent(new Event('input', {bubbles: true}));
  return await new Promise((resolve, reject) => {
    const look = async () => {
      const image = document.querySelector(picture);
      if (!image || image.src === before) return;
      watch.disconnect();
      await image.decode().catch(() => {});
      resolve((performance.now() - start) / 1000);
    };
    const watch = new MutationObserver(look);
    watch.observe(document.body, {subtree: true, childList: true, attributes: true, attributeFilter: ['src']});
    setTimeout(() => { watch.disconnect(); reject(new Error('no picture came')); }, 60000);
  });
}"""

BARE = """
import json, sys
import gradio as gr
pictures = json.load(open(sys.argv[1]))
with gr.Blocks() as app:
    slider = gr.Slider(-3, 3, 0, step=0.05, elem_id="slider")
    picture = gr.HTML(f'<img src="{pictures[0]}">', elem_id="picture")
    def turn(value):
        return f'<img src="{pictures[value > 0]}">'
    slider.input(turn, slider, picture, show_progress="hidden", trigger_mode="always_last")
app.launch(server_name="127.0.0.1", server_port=int(sys.argv[2]), quiet=True)
"""


def show(page, url, name):
    """Open the Explore page with a checkpoint, and wait until its first answers are there."""
    page.goto(f"{url}/explore?checkpoint={name}", timeout=PATIENCE)
    page.wait_for_selector(SLIDER, timeout=PATIENCE)
    page.wait_for_selector("#explore-traversal img", timeout=PATIENCE)
    page.wait_for_selector("#explore-sum-answer img", timeout=PATIENCE)


def seconds_to_decode(name, runs=30):
    """Return the median seconds of processor time that the decoder alone takes for a picture, on one thread of this process."""
    torch.set_num_threads(1)
    pipeline = genarium.load(name)
    code = torch.zeros(1, *pipeline.code_shape)
    times = []
    for _ in range(runs + 3):
        start = time.process_time()
        pipeline.decode(code)
        times.append(time.process_time() - start)
    return statistics.median(times[3:])


def percentile(times):
    return sorted(times)[max(math.ceil(0.95 * len(times)) - 1, 0)]


def measure(browser, app, name, moves, folder):
    """Return the seconds of each move on the Explore page and on the bare page, and the processor time of a move of each."""
    ours, bare = browser.new_page(), browser.new_page()
    show(ours, app.url, name)
    shown = []
    for value in (-2.5, 2.5):
        ours.evaluate(MOVE, [SLIDER, LIVE, value])
        shown.append(ours.locator(LIVE).get_attribute("src"))
    pairs = []
    given = folder / "pictures.json"
    given.write_text(json.dumps(shown))
    with bare_app(BARE, given) as (url, server):
        process = psutil.Process(server.pid)
        bare.goto(url, timeout=PATIENCE)
        where = ["#slider input[type=range]", "#picture img"]
        bare.wait_for_selector(where[1], timeout=PATIENCE)
        servers, before = (psutil.Process(app.process.pid), process), [0.0, 0.0]
        for k in range(moves + 4):  # the first ones warm both up
            if k == 4:
                before = [busy(server) for server in servers]
            value = (-1) ** k * (0.5 + 2 * k / (moves + 4))
            ours.bring_to_front()
            mine = ours.evaluate(MOVE, [SLIDER, LIVE, value])
            bare.bring_to_front()
            pairs.append((mine, bare.evaluate(MOVE, [*where, (-1) ** k * 2.5])))
        spent = [(busy(server) - then) / moves for server, then in zip(servers, before, strict=True)]
    ours.close()
    bare.close()
    return *(list(times) for times in zip(*pairs[4:], strict=True)), spent


def busy(process):
    """Return the seconds of processor time that a process has had."""
    times = process.cpu_times()
    return times.user + times.system


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoints", nargs="+", default=list(CHECKPOINTS))
    parser.add_argument("--moves", type=int, default=60, help="of each slider")
    parser.add_argument("--browser", default=next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None))
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/slider.md")
    options = parser.parse_args()
    head = ("checkpoint", "decoder alone", "picture follows", "95th percentile", "bare Gradio event", "95th percentile")
    more = ("ratio of medians", "server, processor time", "bare server")
    lines = ["| " + " | ".join([*head, *more]) + " |", "|" + "---|" * (len(head) + len(more))]
    slow = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=options.browser, args=["--no-sandbox", "--disable-gpu"])
        with RealApp(Path(folder)) as app:
            for name in options.checkpoints:
                ours, bare, spent = measure(browser, app, name, options.moves, Path(folder))
                alone = seconds_to_decode(name)
                times = (alone, statistics.median(ours), percentile(ours), statistics.median(bare), percentile(bare))
                cells = [f"{1000 * t:.{1 if t is alone else 0}f} ms" for t in times]
                cells += [f"{times[1] / times[3]:.2f}", *(f"{1000 * t:.0f} ms" for t in spent)]
                lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
                print(lines[-1], flush=True)
                slow += [name] * (times[1] > LIMIT)
        browser.close()
    verdict = (
        f"Over {1000 * LIMIT:.0f} ms: {', '.join(slow)}." if slow else f"All medians are below {1000 * LIMIT:.0f} ms."
    )
    text = f"""# How soon a picture follows the slider of the Explore page

{chr(10).join(lines)}

`python benchmarks/slider.py --moves {options.moves} --checkpoints {" ".join(options.checkpoints)}` on
{describe_hardware(torch.device("cpu"), torch.float32)}.

A move sets a slider of a picture's code. Its time ends when Chromium has decoded the picture that the server sends back. The
bare event is a slider of a Gradio app with nothing else on its page, which returns the same picture, kept ready. Moves of both
alternate, {options.moves} of each. The browser, both apps and other programs shared the machine; the load was
{os.getloadavg()[0]:.0f}. *Decoder alone* and *processor time* are seconds of a core, which other programs lengthen much less: the decoder on one thread,
and all that the server does for a move. {verdict}
"""
    print("\n" + text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)


if __name__ == "__main__":
    main()
