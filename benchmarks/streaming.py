"""Data beyond memory: resident memory on a set of 20 GB, and the speed of a mapped set against one in memory.

    python benchmarks/streaming.py memory                                   # a made-up set, streamed: some minutes
    python benchmarks/streaming.py speed --data path/to/fashion_mnist       # the same recipe both ways, in turns

`memory` makes up pictures as they are asked for, by a generator behind the `datasets` interface, and trains a small VAE on
them as a stream. The training runs in a process of its own. Ten times a second its memory and that of its workers is read
from /proc: PSS is resident memory, in which a page that several processes share counts once. The second row is the same recipe on
1000 pictures in memory: what the libraries and the network take by themselves.

`speed` trains one recipe on the same set, decoded in memory and mapped from the disk, in turns. A rate is that of the steps
between the first few of a turn and its last one. Nothing is compiled, which each turn would do anew. CPU time is that of the training and of its workers together. It says what decoding
costs, also where other work on the machine changes the clock's time.
"""

import argparse
import dataclasses
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import psutil

from genarium.hardware import describe_hardware
from genarium.recipe import Recipe, find_recipe

SIZE, GIGABYTES, SHARDS = 64, 20, 64
NUMBER = -(-GIGABYTES * 10**9 // (SIZE * SIZE * 3))  # of pictures
FITTED = 1000  # pictures that the VAE is fitted to, and that the run in memory has
FITTING = "fitting"  # a file that says that the steps are done
WARM_UP = 4  # steps of a turn that are not counted

# ---- memory ----


def small_recipe(steps: int) -> Recipe:
    """Return the recipe of a VAE with few channels for the made-up set."""
    recipe = find_recipe("vae-fashion-mnist")
    data = dataclasses.replace(
        recipe.data,
        name="made-up",
        sample_size=SIZE,
        channels=3,
        dark_background=False,
        streaming=True,
        fit_images=FITTED,
    )
    architecture = {
        "latent_dim": 16,
        "block_out_channels": [16, 32, 64],
        "layers_per_block": 1,
        "mixture_components": 1,
    }
    settings = {"images": steps * 64, "batch_size": 64, "save_every": 100, "sample_every": 100, "compile": False}
    training = dataclasses.replace(recipe.training, **settings)
    return dataclasses.replace(recipe, name="made-up", data=data, architecture=architecture, training=training)


def made_up(shards: list[int]) -> Iterator[dict]:
    """Yield a part of the set: PNG files of two colours that run into each other, with a little noise."""
    from PIL import Image

    way = np.linspace(0, 1, SIZE)[None, :, None]
    for shard in shards:
        random = np.random.default_rng(shard)
        for i in range(NUMBER // SHARDS):
            a, b = random.uniform(0, 255, (2, 1, 1, 3))
            pixels = a + (b - a) * way + random.normal(0, 4, (SIZE, SIZE, 1))
            file = io.BytesIO()
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "PNG", compress_level=1)
            yield {"image": {"bytes": file.getvalue(), "path": None}, "label": i % 2}


def train_here(kind: str, steps: int, folder: Path) -> None:
    """Train in this process, on the stream or on a few of its pictures."""
    import datasets

    from genarium.data.stream import stream_of
    from genarium.families import discover
    from genarium.training.loop import train

    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["even", "odd"])})
    rows = datasets.IterableDataset.from_generator(
        made_up, features=features, gen_kwargs={"shards": list(range(SHARDS))}
    )
    recipe = small_recipe(steps)
    data = stream = stream_of(rows, recipe.data, "train", [f"made up, {NUMBER} pictures"])
    if kind == "few":
        few = rows.cast_column("image", datasets.Image(decode=False)).take(FITTED)
        data = stream.decode(list(few))

    def on_step(step: int, loss: float) -> None:
        if step == steps:
            (folder / FITTING).touch()

    train(
        recipe, discover()["vae"], data=data, run_folder=folder / "run", output=folder / "checkpoint", on_step=on_step
    )


def memory_of(kind: str, steps: int) -> dict[str, float]:
    """Train in a process of its own, and return the peaks of memory in MB: of all its processes, in the steps and after them."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "train", "--kind", kind, "--steps", str(steps), "--folder", folder]
        began = time.monotonic()
        training = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        peaks, most = {"steps": 0, "fit": 0}, 0
        while training.poll() is None:
            sizes = [_proportional(process) for process in _family_of(training.pid)]
            part = "fit" if (Path(folder) / FITTING).exists() else "steps"
            peaks[part], most = max(peaks[part], sum(sizes)), max(most, len(sizes))
            time.sleep(0.1)
        if training.returncode:
            raise SystemExit(f"the training of {kind} failed with code {training.returncode}")
        log = [json.loads(line) for line in (Path(folder) / "run/log.jsonl").read_text().splitlines()]
    return {
        "steps": peaks["steps"] / 1e6,
        "fit": peaks["fit"] / 1e6,
        "processes": most,
        "seconds": time.monotonic() - began,
        "loss": log[-1]["loss"],
        "first": log[0]["loss"],
    }


def _family_of(process: int) -> list[psutil.Process]:
    try:
        parent = psutil.Process(process)
        return [parent, *parent.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _proportional(process: psutil.Process) -> int:
    """Return the PSS of a process in bytes."""
    try:
        return process.memory_full_info().pss
    except psutil.Error:  # it has ended
        return 0


def measure_memory(steps: int) -> None:
    """Print the table of memory."""
    decoded = NUMBER * SIZE * SIZE * 3 / 1e9
    rows = {
        f"streamed, {NUMBER / 1e6:.2f} M pictures, {decoded:.1f} GB decoded": memory_of("stream", steps),
        f"{FITTED} pictures in memory": memory_of("few", min(steps, 50)),
    }
    print("| data | peak in the steps | peak in the fit after them | processes | loss, first and last |")
    print("|---|---|---|---|---|")
    for name, row in rows.items():
        print(
            f"| {name} | {row['steps']:.0f} MB | {row['fit']:.0f} MB | {row['processes']:.0f} | "
            f"{row['first']:.3f}, {row['loss']:.3f} |"
        )
    seconds = next(iter(rows.values()))["seconds"]
    print(f"\n{steps} steps of 64 pictures, {SIZE} x {SIZE} RGB, in {seconds:.0f} s with the start and the fit.")


# ---- speed ----


class Meter:
    """The moments of a training's steps, by the clock and in CPU seconds of the training with its workers."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float]] = []
        self._process = psutil.Process()

    def __call__(self, step: int, loss: float) -> None:
        spent = time.process_time()
        for child in self._process.children():
            times = child.cpu_times()
            spent += times.user + times.system
        self.marks.append((time.monotonic(), spent))

    def rates(self, batch_size: int) -> tuple[float, float]:
        """Return pictures a second, and CPU milliseconds for each picture."""
        (begin, cpu_begin), (end, cpu_end) = self.marks[WARM_UP - 1], self.marks[-1]
        pictures = (len(self.marks) - WARM_UP) * batch_size
        return pictures / (end - begin), 1000 * (cpu_end - cpu_begin) / pictures


def measure_speed(name: str, data: Path | None, turns: int, steps: int) -> None:
    """Print the table of speed."""
    from genarium.data.images import load_images
    from genarium.data.mapped import MappedImages
    from genarium.families import discover
    from genarium.training.loop import train

    recipe = find_recipe(name)
    batch_size = recipe.training.batch_size
    settings = {"images": steps * batch_size, "save_every": 10**9, "sample_every": 10**9, "compile": False}
    recipe = dataclasses.replace(recipe, training=dataclasses.replace(recipe.training, **settings))
    family = discover()[recipe.family]

    def load(gigabytes: str):
        os.environ["GENARIUM_DATA_MEMORY_GB"] = gigabytes
        return load_images(recipe.data, recipe.data.train_split, data)

    sets = {"in memory": load("100"), "mapped": load("1e-6")}
    assert (
        isinstance(sets["mapped"].images, MappedImages)
        and sets["mapped"].fingerprint() == sets["in memory"].fingerprint()
    )
    found: dict[str, list[tuple[float, float]]] = {way: [] for way in sets}
    for turn in range(turns):
        for way in list(sets)[:: 1 if turn % 2 == 0 else -1]:
            meter = Meter()
            with tempfile.TemporaryDirectory() as folder:
                place = {"run_folder": Path(folder) / "run", "output": Path(folder) / "checkpoint"}
                train(recipe, family, data=sets[way], on_step=meter, max_steps=steps - 1, **place)
            found[way].append(meter.rates(batch_size))
            print(turn, way, found[way][-1], file=sys.stderr, flush=True)
    print("| data | pictures a second | CPU ms a picture |\n|---|---|---|")
    for way, rates in found.items():
        print(f"| {way} | {_spread([r[0] for r in rates])} | {_spread([r[1] for r in rates], '.2f')} |")
    pairs = list(zip(found["mapped"], found["in memory"], strict=True))
    speed, cpu = ([a[i] / b[i] for a, b in pairs] for i in (0, 1))
    print(f"| ratio | {_spread(speed, '.3f')} | {_spread(cpu, '.3f')} |")
    print(
        f"\n{recipe.name}: {turns} turns of {steps - 1} steps of {batch_size} pictures each, median (least ... most)."
    )


def _spread(values: list[float], form: str = ".0f") -> str:
    """Return the median with the least and the most."""
    return f"{statistics.median(values):{form}} ({min(values):{form}} ... {max(values):{form}})"


def main() -> None:
    """Measure what was asked for, and print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["memory", "speed", "train"])
    parser.add_argument("--steps", type=int, help="of a training; by default 300 for memory, 24 for speed")
    parser.add_argument("--data", type=Path, help="speed: a local copy of the recipe's set")
    parser.add_argument("--recipe", default="ddpm-fashion-mnist", help="speed: what is trained")
    parser.add_argument("--turns", type=int, default=5, help="speed: of each way")
    parser.add_argument("--kind", choices=["stream", "few"], help="train: on what; for `memory` itself")
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    if given.what == "train":
        train_here(given.kind, given.steps, given.folder)
    elif given.what == "memory":
        measure_memory(given.steps or 300)
    else:
        measure_speed(given.recipe, given.data, given.turns, given.steps or 24)
    if given.what != "train":
        import torch  # after genarium, whose threads wait without spinning, as those of `python -m genarium train`

        print(f"Measured on {describe_hardware(torch.device('cpu'), torch.float32)}.")


if __name__ == "__main__":
    main()
