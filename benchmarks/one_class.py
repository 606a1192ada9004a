"""One class is ordinary and all others are strange: the families of the app against PyOD's detectors.

    pip install --no-deps -r benchmarks/requirements-pyod.txt
    python benchmarks/one_class.py --data FOLDER --limit 300 --test 300 --minutes 9      # again and again until it is done

The protocol of Ruff et al. 2018 (https://proceedings.mlr.press/v80/ruff18a.html, sec. 4.2): each class of Fashion-MNIST in turn is
ordinary, a detector sees training images of that class alone, and its figure is the AUROC on test images of all classes. The table
has the mean over the ten classes. `--limit` is the number of training images of a class, `--test` that of test images; the
whole protocol is `--limit 6000 --test 10000`. PyOD's detectors (Zhao, Nasrullah, Li 2019) see pixels, with their default settings.

Then pictures in colour, for the feature memory: faces among emoji, monsters against items of a game, one typeface of
Chinese characters against the others.

Each figure is kept in a file beside `--out` as soon as it is there, and the same command goes on from it until nothing is missing. The
tables go to the screen and to docs/benchmarks/one_class.md. A figure that is missing yet is "–".
"""

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.families import discover  # before torch, whose threads then wait without spinning

# isort: split
import torch
from one_class_detectors import SCORES, TITLES, Memory, Pictures, peers, trained
from sklearn.metrics import roc_auc_score
from tqdm.auto import tqdm

from genarium.files import write_json
from genarium.hardware import describe_hardware
from genarium.recipe import DataSpec, find_recipe
from pipelines.feature_densities import DENSITIES


@dataclass(frozen=True)
class Case:
    """Pictures of which some are ordinary: a data set, its column of labels, the ordinary label, and the strange ones."""

    title: str
    data: DataSpec
    column: str
    normal: str
    strange: tuple[str, ...] = ()  # all others where it is empty


COLOUR = (
    Case("emoji: smileys against all others", DataSpec("genarium/emoji", 56, 3), "group", "Smileys & Emotion"),
    Case("tiles: monsters against items", DataSpec("genarium/tiles", 32, 3), "kind", "monster", ("item",)),
    Case("hanzi: sans against nine other typefaces", DataSpec("genarium/hanzi", 56, 1), "style", "sans"),
)


HEAVY = ("DDPM", "flow matching", "score-SDE")  # which compute longest


class Enough(Exception):
    """The time that was given is over."""


class Figures:
    """The AUROC of each detector on each class, kept as soon as it is known.

    Args:
        path: of the file.
        facts: what the figures depend on.
        minutes: after which no more are measured.

    Raises:
        SystemExit: the file holds figures of other facts.
    """

    def __init__(self, path: Path, facts: dict[str, Any], minutes: float):
        self.path, self.facts, self.end = path, facts, time.monotonic() + 60 * minutes
        held = json.loads(path.read_text()) if path.exists() else {"facts": facts, "found": {}}
        if held["facts"] != facts:
            raise SystemExit(f"{path} holds figures of {held['facts']}. Delete it, or give these options.")
        self.found: dict[str, dict[str, float]] = held["found"]

    def measure(
        self, where: str, title: str, detector: Any, ordinary: torch.Tensor, x: torch.Tensor, strange: Any
    ) -> None:
        """Let a detector learn what is ordinary, and measure it, unless that is done."""
        kept = self.found.setdefault(where, {})
        if any(name == title or name.startswith(f"{title}, ") for name in kept):
            return
        if time.monotonic() > self.end:
            raise Enough
        detector.fit(ordinary)
        for score, values in detector.score(x).items():
            name = f"{title}, {score}" if score else title
            kept[name] = float(roc_auc_score(strange, values))
            tqdm.write(f"{where}: {name}: {kept[name]:.3f}")
        write_json(self.path, {"facts": self.facts, "found": self.found})


# ---- protocols ----


def class_names(options: argparse.Namespace) -> list[str]:
    """Return the names of the classes of Fashion-MNIST."""
    spec = find_recipe("ae-fashion-mnist").data
    assert isinstance(spec, DataSpec)
    return list(Pictures(spec, "label", spec.test_split, options.data).names)


def one_class(options: argparse.Namespace, figures: Figures) -> None:
    """Measure each detector for each class."""
    spec = find_recipe("ae-fashion-mnist").data
    assert isinstance(spec, DataSpec)
    train = Pictures(spec, "label", spec.train_split, options.data)
    test, labels = Pictures(spec, "label", spec.test_split, options.data).choose(options.test, options.seed)
    first = Memory("memory", 28, 1, None)
    light: dict[str, Any] = {f"feature memory, {TITLES[m]}": Memory(m, 28, 1, first.features) for m in DENSITIES}
    learnt = trained(discover(), options.steps, options.seed)
    heavy = {title: learnt.pop(title) for title in HEAVY}
    groups = [{**peers(options.seed), **light, **learnt}, heavy]
    for group in groups:  # the cheap ones first, for all classes
        for number, name in enumerate(train.names):
            ordinary, _ = train.choose(options.limit, options.seed, (number,))
            for title, detector in group.items():
                if title not in options.without:
                    figures.measure(name, title, detector, ordinary, test, labels != number)
            first.features.forget(ordinary)


def colour(options: argparse.Namespace, figures: Figures) -> list[str]:
    """Measure the feature memory on pictures in colour, and return the rows of the table."""
    rows = []
    for case in COLOUR:
        train = Pictures(case.data, case.column, "train", options.data)
        test = Pictures(case.data, case.column, "test", options.data)
        normal = train.names.index(case.normal)
        ordinary, _ = train.choose(options.limit, options.seed, (normal,))
        wanted = (normal, *(train.names.index(name) for name in case.strange)) if case.strange else ()
        x, labels = test.choose(options.test, options.seed, wanted)
        counts = f"{len(ordinary)} / {int((labels == normal).sum())} / {int((labels != normal).sum())}"
        features = None
        for method in DENSITIES:
            detector = Memory(method, case.data.sample_size, case.data.channels, features)
            features = detector.features
            figures.measure(case.title, TITLES[method], detector, ordinary, x, labels != normal)
            cells = " | ".join(f"{figures.found[case.title][f'{TITLES[method]}, {name}']:.3f}" for name in SCORES)
            rows.append(f"| {case.title} | {counts} | {TITLES[method]} | {cells} |")
    return rows


def table(names: list[str], figures: Figures) -> list[str]:
    """Return the table of the ten classes, the best detector first, and last those that lack some classes."""
    known = {name for one in names for name in figures.found.get(one, {})}
    rows = {name: [figures.found.get(one, {}).get(name) for one in names] for name in known}
    means = {name: statistics.fmean(value for value in values if value is not None) for name, values in rows.items()}
    lines = ["| detector | mean AUROC | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    for name in sorted(rows, key=lambda name: (None in rows[name], -means[name])):
        cells = " | ".join("–" if value is None else f"{value:.3f}" for value in rows[name])
        number = sum(value is not None for value in rows[name])
        mean = f"**{means[name]:.3f}**" if number == len(names) else f"{means[name]:.3f} over {number}"
        lines.append(f"| {name} | {mean} | {cells} |")
    return lines


def main() -> None:
    """Measure what is missing, and write the tables once nothing is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder with local copies of the data sets, in place of the Hub's")
    parser.add_argument("--limit", type=int, default=300, help="ordinary training images of a class")
    parser.add_argument("--test", type=int, default=300, help="test images")
    parser.add_argument("--steps", type=int, default=150, help="of each training")
    parser.add_argument("--without", nargs="*", default=[], help="titles of detectors that are left out")
    parser.add_argument("--minutes", type=float, default=1e9, help="after which nothing more is begun")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/one_class.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    facts = {name: getattr(options, name) for name in ("limit", "test", "steps", "seed")}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    figures = Figures(options.out.with_suffix(".partial.json"), facts, options.minutes)
    in_colour: list[str] = []
    names = list(class_names(options))
    try:
        in_colour = colour(options, figures)
        one_class(options, figures)
        is_whole = True
    except Enough:
        print("The time is over. The same command goes on.")
        is_whole = False
    without = "".join(f" --without {' '.join(map(repr, options.without))}" if options.without else "")
    text = f"""# One class is ordinary, all others are strange

{chr(10).join(table(names, figures))}

Each class of Fashion-MNIST in turn is ordinary (Ruff et al. 2018, sec. 4.2). A detector sees {options.limit} training images of that
class, and is judged by the AUROC on {options.test} test images of all classes. With `--limit 6000 --test 10000` it is the whole
protocol. The auto-encoders, sparse coding, the VAE, DDPM, flow matching and the score-SDE begin as on the page /train, from the
starters of their plugins, and learn for {options.steps} steps of 32 images. The denoising auto-encoder is the first with the noise of the recipe
dae-fashion-mnist. Each is judged by its default score. The feature memory has its default settings, 96 pixels, and trains
nothing. PyOD's detectors see pixels, with their defaults.

## Colour, and typefaces

| pictures | ordinary to learn / ordinary / strange to judge | method | both | patches | picture |
|---|---|---|---|---|---|
{chr(10).join(in_colour)}

The feature memory alone, by its three methods and its three scores.

`python benchmarks/one_class.py --limit {options.limit} --test {options.test} --steps {options.steps} --seed {options.seed}{without}` on
{describe_hardware(torch.device("cpu"), torch.float32)}.
"""
    print("\n" + text)
    options.out.write_text(text)
    if is_whole:
        figures.path.unlink()


if __name__ == "__main__":
    main()
