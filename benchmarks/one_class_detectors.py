"""The detectors and the data of one_class.py: what sees ordinary pictures, and then says how strange others are."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from genarium.checkpoints import load_pipeline, open_checkpoint
from genarium.data.images import ImageData, local_copy
from genarium.data.own.found import Found, Proposal
from genarium.families import Families
from genarium.fitting.draft import draft, timed
from genarium.media.pictures import fit_picture, to_pixels
from genarium.recipe import DataSpec
from genarium.training.loop import train
from pipelines.pipeline_feature_memory import FeatureMemoryPipeline

# isort: split
import torch  # after genarium, whose threads wait without spinning
from tqdm.auto import tqdm

TITLES = {"memory": "memory (PatchCore)", "gaussian": "Gaussians (PaDiM)", "subspace": "subspace (DFM)"}
SCORES = ("both", "patches", "picture")
NOISE = ["gaussian", "masking", "salt_and_pepper"]  # of the denoising auto-encoder, as in the recipe dae-fashion-mnist


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
        self.model = pipeline.feature_memory
        self.known: dict[bytes, tuple[torch.Tensor, ...]] = {}

    def of(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        key = self._key(x)
        if key not in self.known:
            parts = [self.model.features(part) for part in tqdm(x.split(50), desc="features", leave=False)]
            self.known[key] = tuple(torch.cat(column) for column in zip(*parts, strict=True))
        return self.known[key]

    def forget(self, x: torch.Tensor) -> None:
        self.known.pop(self._key(x), None)

    @staticmethod
    def _key(x: torch.Tensor) -> bytes:
        return hashlib.sha256(x.numpy().tobytes()).digest()


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


class Trained:
    """A family trained on the ordinary pictures from its starter, as the page /train does it.

    Args:
        families: of this installation.
        name: of the family, whose default score is taken.
        steps: of the training, all stages together.
        seed: of the training.
        architecture: keys in place of the starter's.
    """

    def __init__(self, families: Families, name: str, steps: int, seed: int, **architecture: Any):
        self.families, self.family = families, families[name]
        self.steps, self.seed, self.architecture = steps, seed, architecture

    def fit(self, x: torch.Tensor) -> None:
        names = tuple(map(str, range(len(x))))
        form = Proposal(x.shape[-1], x.shape[1], False, "")
        found = Found(names, (), (None,) * len(x), (), {}, {}, {}, form, PIL.Image.new("L", (1, 1)))
        recipe = draft("one-class", self.family, found)
        architecture = {**recipe.architecture, **self.architecture}
        quiet = replace(recipe.training, seed=self.seed, save_every=10**9, sample_every=10**9)
        recipe = replace(recipe, architecture=architecture, training=quiet)
        recipe = timed(recipe, [1.0] * max(1, len(quiet.stages)), self.steps * quiet.batch_size)
        data = ImageData(((x + 1) * 127.5).round().to(torch.uint8), None, None)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stderr(io.StringIO()):
            place = Path(folder)
            with contextlib.redirect_stdout(io.StringIO()):
                target = train(recipe, self.family, data=data, run_folder=place / "run", output=place / "one-class")
            self.pipeline = load_pipeline(open_checkpoint(target, self.families))
        self.pipeline.set_progress_bar_config(disable=True)

    @torch.no_grad()
    def score(self, x: torch.Tensor) -> dict[str, np.ndarray]:
        return {"": torch.cat([self.pipeline.anomaly_score(part).scores for part in x.split(50)]).numpy()}


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


def trained(families: Families, steps: int, seed: int) -> dict[str, Trained]:
    """Return the detectors that are trained, by title."""

    def of(name: str, **architecture: Any) -> Trained:
        return Trained(families, name, steps, seed, **architecture)

    return {
        "auto-encoder": of("autoencoder"),
        "denoising auto-encoder": of("autoencoder", noise=NOISE, noise_levels=[0.05, 0.6]),
        "sparse coding": of("sparse-coding"),
        "VAE": of("vae"),
        "DDPM": of("ddpm"),
        "flow matching": of("flow-matching"),
        "score-SDE": of("score-sde"),
    }
