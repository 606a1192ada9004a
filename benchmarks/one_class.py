"""One class is ordinary and all others are strange: the families that need few pictures against PyOD's detectors.

    pip install --no-deps -r benchmarks/requirements-pyod.txt
    python benchmarks/one_class.py --data FOLDER --limit 100 --test 500

The protocol of Ruff et al. 2018 (https://proceedings.mlr.press/v80/ruff18a.html, sec. 4.2): each class of Fashion-MNIST in turn is
ordinary, a detector sees training images of that class alone, and its figure is the AUROC on test images of all classes. The table
has the mean over the ten classes. `--limit` is the number of training images of a class, `--test` that of test images; the
whole protocol is `--limit 6000 --test 10000`. PyOD's detectors (Zhao, Nasrullah, Li 2019) see pixels, with their default settings.

Then pictures in colour, for the feature memory: faces among emoji, monsters against items of a game, one typeface of
Chinese characters against the others.

The tables go to the screen and to docs/benchmarks/one_class.md.
"""

import argparse
import importlib
import statistics
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from tqdm.auto import tqdm

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from genarium.data.images import local_copy
from genarium.hardware import describe_hardware
from genarium.media.pictures import fit_picture, to_pixels
from genarium.recipe import DataSpec, find_recipe
from genarium.training.steps import batch_indices, learning_rate
from pipelines.feature_densities import DENSITIES
from pipelines.pipeline_autoencoder import AutoencoderPipeline
from pipelines.pipeline_feature_memory import FeatureMemoryPipeline

TITLES = {"memory": "memory (PatchCore)", "gaussian": "Gaussians (PaDiM)", "subspace": "subspace (DFM)"}
SCORES = ("both", "patches", "picture")


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


# ---- data ----


class Pictures:
    """Some rows of a split, decoded when they are asked for.

    Args:
        data: which data set.
        column: of the labels.
        split: of the data set.
        folder: with a local copy; None: the Hub's.
    """

    def __init__(self, data: DataSpec, column: str, split: str, folder: str | None):
        import datasets

        place = local_copy(data) if folder is None else Path(folder) / data.name.split("/")[-1]
        self.spec, self.rows = data, datasets.load_dataset(str(place or data.name), split=split)
        self.names = self.rows.features[column].names
        self.labels = np.asarray(self.rows[column][:])

    def choose(self, number: int, seed: int, labels: tuple[int, ...] = ()) -> tuple[torch.Tensor, np.ndarray]:
        """Return random rows, of some labels if any are given: float [N, C, S, S] in [-1, 1] and labels [N]."""
        order = np.random.default_rng(seed).permutation(len(self.labels))
        chosen = [int(i) for i in order if not labels or self.labels[i] in labels][:number]
        pictures = [
            fit_picture(one.convert("RGB"), self.spec.sample_size, self.spec.channels, invert="no")
            for one in self.rows.select(chosen)["image"]
        ]
        x = torch.from_numpy(to_pixels(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
        return x, self.labels[chosen]


# ---- detectors: fit(x, row) sees ordinary pictures, score(x) returns how strange others are ----


class Features:
    """What the frozen network sees, computed once for each picture, whichever detector asks."""

    def __init__(self, pipeline: FeatureMemoryPipeline):
        self.model, self.known = pipeline.feature_memory, {}

    def of(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        key = x.data_ptr(), x.shape
        if key not in self.known:
            parts = [self.model.features(part) for part in tqdm(x.split(50), desc="features", leave=False)]
            self.known[key] = tuple(torch.cat(column) for column in zip(*parts, strict=True))
        return self.known[key]


class Memory:
    """The feature memory by one of its methods; its scores are measured in one go."""

    def __init__(self, method: str, size: int, channels: int, features: Features | None):
        self.pipeline = FeatureMemoryPipeline.build(size, channels, method=method)
        self.features = features or Features(self.pipeline)

    def fit(self, x: torch.Tensor) -> None:
        patches, picture = self.features.of(x)
        self.pipeline.fit_vectors(patches, picture, torch.arange(len(x)))

    @torch.no_grad()
    def score(self, x: torch.Tensor) -> dict[str, np.ndarray]:
        patches, picture = self.features.of(x)
        found = [self.pipeline.feature_memory.distances(*part) for part in zip(patches.split(100), picture.split(100))]
        distances = [torch.cat(column) for column in zip(*found, strict=True)]
        return {name: self.pipeline.score_of(*distances, name).numpy() for name in SCORES}


class Autoencoder:
    """The auto-encoder family by the recipe ae-fashion-mnist, trained for some steps on the ordinary pictures."""

    def __init__(self, steps: int, seed: int):
        self.steps, self.seed = steps, seed
        self.recipe = find_recipe("ae-fashion-mnist")

    def fit(self, x: torch.Tensor) -> None:
        torch.manual_seed(self.seed)
        self.pipeline = AutoencoderPipeline.build(28, 1, **{**self.recipe.architecture, "mixture_components": 0})
        network, spec = self.pipeline.autoencoder.train(), self.recipe.training
        optimizer = torch.optim.AdamW(network.parameters(), betas=spec.betas, weight_decay=spec.weight_decay)
        size = min(64, len(x))
        for step in range(self.steps):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(spec, step, self.steps)
            loss, _ = self.pipeline.loss({"images": x[batch_indices(self.seed, step, size, len(x))]})
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), spec.grad_clip)
            optimizer.step()
        network.eval()
        self.pipeline.fit([{"images": x}])

    def score(self, x: torch.Tensor) -> dict[str, np.ndarray]:
        output = [self.pipeline.anomaly_score(part, score="both").scores for part in x.split(100)]
        return {"both": torch.cat(output).numpy()}


class PyOD:
    """A detector of PyOD on pixels in [0, 1], with its default settings."""

    def __init__(self, module: str, name: str, **options):
        self.make = lambda: getattr(importlib.import_module(f"pyod.models.{module}"), name)(**options)

    def fit(self, x: torch.Tensor) -> None:
        self.detector = self.make()
        self.detector.fit(self._rows(x))

    def score(self, x: torch.Tensor) -> dict[str, np.ndarray]:
        return {"": self.detector.decision_function(self._rows(x))}

    @staticmethod
    def _rows(x: torch.Tensor) -> np.ndarray:
        return (x.flatten(1).double() / 2 + 0.5).numpy()


def peers(seed: int) -> dict[str, PyOD]:
    """Return PyOD's detectors, or none where it is not installed."""
    try:
        importlib.import_module("pyod.models.iforest")
    except ImportError as error:
        print(f"PyOD is left out: {error}. pip install --no-deps -r benchmarks/requirements-pyod.txt", file=sys.stderr)
        return {}
    return {
        "PyOD AutoEncoder": PyOD("auto_encoder", "AutoEncoder", random_state=seed, verbose=0),  # batches of 32
        "PyOD PCA": PyOD("pca", "PCA", random_state=seed),
        "PyOD IForest": PyOD("iforest", "IForest", random_state=seed),
    }


# ---- protocols ----


def one_class(options) -> tuple[list[str], dict[str, list[float]]]:
    """Return the names of the classes, and the AUROC of each detector for each class."""
    spec = find_recipe("ae-fashion-mnist").data
    train = Pictures(spec, "label", spec.train_split, options.data)
    test, labels = Pictures(spec, "label", spec.test_split, options.data).choose(options.test, options.seed)
    first = Memory("memory", 28, 1, None)
    detectors = {f"feature memory, {TITLES[m]}": Memory(m, 28, 1, first.features) for m in DENSITIES}
    detectors |= {"auto-encoder": Autoencoder(options.steps, options.seed), **peers(options.seed)}
    found: dict[str, list[float]] = {}
    with tqdm(total=len(train.names) * len(detectors), desc="one class") as bar:
        for number in range(len(train.names)):
            ordinary, _ = train.choose(options.limit, options.seed, (number,))
            first.features.of(ordinary)
            for title, detector in detectors.items():
                detector.fit(ordinary)
                for score, values in detector.score(test).items():
                    name = f"{title}, {score}" if score else title
                    found.setdefault(name, []).append(roc_auc_score(labels != number, values))
                bar.update()
            first.features.known.pop((ordinary.data_ptr(), ordinary.shape), None)
            for name, values in found.items():
                tqdm.write(f"{train.names[number]}: {name}: {values[-1]:.3f}")
    return train.names, found


def colour(options) -> list[str]:
    """Return the rows of the table of pictures in colour."""
    rows = []
    for case in COLOUR:
        train = Pictures(case.data, case.column, "train", options.data)
        test = Pictures(case.data, case.column, "test", options.data)
        normal = train.names.index(case.normal)
        ordinary, _ = train.choose(options.limit, options.seed, (normal,))
        wanted = (normal, *(train.names.index(name) for name in case.strange)) if case.strange else ()
        x, labels = test.choose(options.test, options.seed, wanted)
        features = None
        for method in DENSITIES:
            detector = Memory(method, case.data.sample_size, case.data.channels, features)
            features = detector.features
            detector.fit(ordinary)
            scores = {name: roc_auc_score(labels != normal, values) for name, values in detector.score(x).items()}
            cells = " | ".join(f"{scores[name]:.3f}" for name in SCORES)
            counts = f"{len(ordinary)} / {int((labels == normal).sum())} / {int((labels != normal).sum())}"
            rows.append(f"| {case.title} | {counts} | {TITLES[method]} | {cells} |")
            tqdm.write(rows[-1])
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="folder with local copies of the data sets, in place of the Hub's")
    parser.add_argument("--limit", type=int, default=100, help="ordinary training images of a class")
    parser.add_argument("--test", type=int, default=500, help="test images")
    parser.add_argument("--steps", type=int, default=150, help="of the auto-encoder's training on each class")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=ROOT / "docs/benchmarks/one_class.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names, found = one_class(options)
    ranked = sorted(found.items(), key=lambda item: -statistics.fmean(item[1]))
    head = "| detector | mean AUROC | " + " | ".join(names) + " |"
    lines = [head, "|---|---|" + "---|" * len(names)]
    for name, values in ranked:
        cells = " | ".join(f"{value:.3f}" for value in values)
        lines.append(f"| {name} | **{statistics.fmean(values):.3f}** | {cells} |")
    in_colour = ["| pictures | ordinary to learn / ordinary / strange to judge | method | both | patches | picture |"]
    in_colour += ["|---|---|---|---|---|---|", *colour(options)]
    text = f"""# One class is ordinary, all others are strange

{chr(10).join(lines)}

Each class of Fashion-MNIST in turn is ordinary (Ruff et al. 2018, sec. 4.2). A detector sees {options.limit} training images of that
class, and is judged by the AUROC on {options.test} test images of all classes. With `--limit 6000 --test 10000` it is the whole
protocol. The auto-encoder is the family's, by the recipe ae-fashion-mnist, with {options.steps} steps of up to 64 images for each
class. The feature memory has its default settings, 96 pixels. PyOD's detectors see pixels, with their defaults.

## Colour, and typefaces

{chr(10).join(in_colour)}

The feature memory alone, by its three methods and its three scores.

`python benchmarks/one_class.py --limit {options.limit} --test {options.test} --steps {options.steps} --seed {options.seed}` on
{describe_hardware(torch.device("cpu"), torch.float32)}.
"""
    print("\n" + text)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(text)


if __name__ == "__main__":
    main()
