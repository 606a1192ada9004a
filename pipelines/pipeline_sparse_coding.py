"""Sparse coding: a picture is a sum of a few atoms out of a dictionary that has more of them than the picture has pixels.

    a* = argmin_{a >= 0} 1/2 |x - a D|^2 + lambda |a|_1            Olshausen and Field 1996; solved by FISTA
    L  = 1/2 |x - a* D|^2 + 1/2 |x - E(x) D|^2                     over D with |d_k| = 1, and the fast encoder E

The gradient of the first term by D needs none through a*, since a* is optimal (Mairal et al. 2009 sec. 3). While training, FISTA
starts from E(x), so a few steps do. Atoms that hardly any picture uses are replaced by what is left of badly coded ones.

Papers:
    Olshausen, Field: Emergence of Simple-Cell Receptive Field Properties by Learning a Sparse Code for Natural Images, 1996,
        https://doi.org/10.1038/381607a0
    Beck, Teboulle: A Fast Iterative Shrinkage-Thresholding Algorithm for Linear Inverse Problems, 2009,
        https://doi.org/10.1137/080716542
    Mairal, Bach, Ponce, Sapiro: Online Dictionary Learning for Sparse Coding, 2009, https://doi.org/10.1145/1553374.1553463
    Elad, Aharon: Image Denoising Via Sparse and Redundant Representations Over Learned Dictionaries, 2006,
        https://doi.org/10.1109/TIP.2006.881969
    Makhzani, Frey: k-Sparse Autoencoders, 2013, https://arxiv.org/abs/1312.5663 (the fast encoder)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from diffusers import DiffusionPipeline, ModelMixin

from pipelines.corruption import RestoredOutput, corrupt, known_pixels, shown
from pipelines.deviations import add_deviations, measure_terms
from pipelines.family import Report
from pipelines.fista import fista
from pipelines.images import ImageFamilyMixin, task
from pipelines.mixture import fit_mixtures
from pipelines.modeling_sparse_coding import SparseCodingModel
from pipelines.typicality import floored_log, reservoir

Level = Annotated[float, {"minimum": 0.0, "maximum": 1.0, "step": 0.05}]
Steps = Annotated[int, {"minimum": 1, "maximum": 300, "step": 1}]
Sparsity = Annotated[float, {"minimum": 0.0, "maximum": 5.0, "step": 0.1}]

TRAINING_STEPS = 10  # of FISTA for each batch
REPLACED_UNTIL = 0.8  # of the training; then the dictionary settles
FITTED_IMAGES, PENALTY_IMAGES = 10000, 300
FIT_STEPS = 60
NOISE_FACTOR = 0.25  # c, of the penalty that noise asks for
PARTS = 48  # atoms of a picture that `reconstruct` returns


@dataclass
class SparseOutput(RestoredOutput):
    """Restored images, and the atoms that each is made of.

    `atoms` float [N, M, C, H, W] have norm 1. `weights` float [N, M] fall; those that are 0 stand for no atom. The sum of the
    atoms with their weights is the image in [0, 1], but for what comes after the first M.
    """

    atoms: torch.Tensor | None = None
    weights: torch.Tensor | None = None


class SparseCodingPipeline(ImageFamilyMixin, DiffusionPipeline):
    """A dictionary, FISTA, and a fast encoder.

    Args:
        model: `SparseCodingModel`.
        id2label: names of the classes. The dictionary knows no class; the statistics of the codes do.
        calibration: {"error", "code": [mean, standard deviation]} of the anomaly terms of training images; written by `fit`.
    """

    model: SparseCodingModel
    code_kind = "vector"
    model_cpu_offload_seq = "model"

    def __init__(
        self,
        model: ModelMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        id2label: dict[str, str] | None = None,
        calibration: dict[str, Any] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        # of the last training step: its progress, how many images used each atom, and non-zeros of a code
        self._last: tuple[float, torch.Tensor | None, torch.Tensor | None] = (-1.0, None, None)
        self._register(
            locals(),
            sample_size=sample_size or model.config.sample_size,
            channels=channels or model.config.channels,
        )

    @classmethod
    def build(
        cls, sample_size: int, channels: int, id2label: dict[str, str] | None = None, **architecture
    ) -> SparseCodingPipeline:
        """Make a pipeline with fresh weights.

        Args:
            architecture: the other parameters of `SparseCodingModel`.

        Raises:
            TypeError: a parameter that `SparseCodingModel` does not have.
            ValueError: more non-zeros or principal components than atoms.
        """
        model = SparseCodingModel(sample_size, channels, num_classes=len(id2label or ()), **architecture)
        model.measure_lipschitz(20)
        return cls(model, id2label=id2label)

    # ---- training ----

    def loss(self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0):
        """Return the squared error of both codes, summed over pixels in [0, 1] and halved, and learn which atoms are used.

        The penalty moves until FISTA uses `num_nonzeros` atoms on average.

        Args:
            batch: "images" [B, C, S, S] in [-1, 1].
            generator: not used.
            progress: part of the training that is done, 0 ... 1.

        Returns:
            (scalar, {"fast", "fista": squared errors, "nonzeros": atoms that FISTA uses for an image, "replaced": atoms}).
        """
        model, x = self.model, self._signals(batch["images"])
        replaced = 0
        if model.training and progress > self._last[0]:  # a new step: the same step again must give the same loss
            replaced = model.keep_up(x, *self._last[1:], replace=progress < REPLACED_UNTIL)
        with torch.autocast(x.device.type, enabled=False):
            fast = model.encode(x)
            of_fast = (x - model.decode(fast)).square().sum(1).mean()
            with torch.no_grad():
                a = fista(x, model.atoms(), model.penalty, model.lipschitz, TRAINING_STEPS, fast.detach())
            of_fista = (x - model.decode(a)).square().sum(1).mean()
        nonzeros = (a > 0).sum(1).float().mean()
        self._last = (progress, ((fast > 0).float().mean(0) + (a > 0).float().mean(0)) / 2, nonzeros)
        parts = {"fast": of_fast, "fista": of_fista, "nonzeros": nonzeros, "replaced": torch.tensor(float(replaced))}
        return 0.5 * (of_fast + of_fista), {name: value.detach() for name, value in parts.items()}

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Set the penalty, and measure the codes of training images: statistics, prior, and what calibrates the anomaly score.

        Args:
            batches: of `{"images", "class_labels"}`, one pass over the training data; some images are chosen from it. Images
                of class -1 count for all codes and for no class.

        Raises:
            ImportError: scikit-learn is missing.
            ValueError: fewer than two images.
        """
        model, labelled = self.model, bool(self.config.id2label)
        chosen, classes = zip(*reservoir(batches, FITTED_IMAGES, labelled), strict=True)
        known = labelled and all(label is not None for label in classes)
        labels = torch.stack(classes).cpu() if known else torch.zeros(len(chosen), dtype=torch.int64)
        x = self._signals(torch.stack(chosen))
        model.measure_lipschitz_exactly()
        self._set_penalty(x[:PENALTY_IMAGES])
        a = torch.cat([self._codes(part, FIT_STEPS) for part in x.split(500)])
        model.set_statistics(-1, a)
        for y in range(len(model.frequencies) - 1):
            model.set_statistics(y, a[labels.to(a.device) == y])
        model.usage.copy_(model.frequencies[-1])
        if model.config.mixture_components:
            z = model.set_components(a).cpu()
            groups = len(model.mixture_weights)
            means = [z[labels == y].mean(0) if (labels == y).any() else z.mean(0) for y in range(groups)]
            fit_mixtures(model, z, labels, torch.stack(means))
        error = torch.cat([(b - model.decode(c)).square().mean(1) for b, c in zip(x.split(500), a.split(500))])
        terms = {"error": floored_log(error), "code": model.code_cost(a, self._rows(None, len(a)))}
        self.register_to_config(calibration=measure_terms(terms))

    def _set_penalty(self, x: torch.Tensor) -> None:
        """Set the penalty by bisection, so that signals [N, P] use `num_nonzeros` atoms on average."""
        model = self.model
        low, high = model.penalty.item() / 30, model.penalty.item() * 30
        for _ in range(9):
            model.penalty.fill_(math.sqrt(low * high))
            many = (self._codes(x, FIT_STEPS) > 0).sum(1).float().mean() > model.config.num_nonzeros
            low, high = (math.sqrt(low * high), high) if many else (low, math.sqrt(low * high))

    # ---- pictures, signals and codes ----

    def _signals(self, x: torch.Tensor) -> torch.Tensor:
        """Return images [N, C, S, S] in [-1, 1] as signals, float32 [N, P], [-1, 1] becoming [0, 1]."""
        return x.to(self.model.dictionary.device).float().flatten(1) / 2 + 0.5

    def _pictures(self, signals: torch.Tensor) -> torch.Tensor:
        """Return signals [N, P] as images [N, C, S, S], [0, 1] becoming [-1, 1]."""
        size = self.config.sample_size
        return signals.reshape(-1, self.config.channels, size, size) * 2 - 1

    def _rows(self, labels: torch.Tensor | None, number: int) -> torch.Tensor:
        """Return the row of the statistics for each of N images: its class, or the last one, int64 [N]."""
        last = len(self.model.frequencies) - 1
        return torch.full((number,), last, device=self.model.dictionary.device) if labels is None else labels

    def _codes(
        self,
        x: torch.Tensor,
        steps: int,
        penalty: torch.Tensor | float = 1.0,
        mask: torch.Tensor | None = None,
        on_step: Callable[[int, torch.Tensor], None] | None = None,
    ) -> torch.Tensor:
        """Return the codes of signals [N, P] by FISTA, which starts from the fast encoder's.

        Args:
            steps: of FISTA.
            penalty: factor on the checkpoint's.
            mask: [N, P], 1 where a pixel is known.
            on_step: called as (step, codes).
        """
        model = self.model
        penalty = penalty * model.penalty.float()
        return fista(
            x, model.atoms(), penalty, model.lipschitz.float(), steps, model.encode(x, mask), mask, on_step=on_step
        )

    def _refitted(
        self,
        x: torch.Tensor,
        a: torch.Tensor,
        steps: int,
        mask: torch.Tensor | None = None,
        on_step: Callable[[int, torch.Tensor], None] | None = None,
    ) -> torch.Tensor:
        """Return codes with the same atoms, whose weights no penalty makes smaller: least squares, by FISTA."""
        atoms, lipschitz = self.model.atoms(), self.model.lipschitz.float()
        return fista(x, atoms, 0.0, lipschitz, steps, a, mask, support=(a > 0).float(), on_step=on_step)

    @property
    def code_shape(self) -> tuple[int, ...]:
        """(K,)."""
        return (self.model.config.num_atoms,)

    @task
    def encode(self, x, num_inference_steps: Steps = 60):
        """Encode images as the weights of the atoms, float32 [N, K], at least 0 and nearly all 0.

        Args:
            generator: not used: nothing here is random.
            class_labels: not used: the dictionary knows no class.
            num_inference_steps: Steps of FISTA.
        """
        x = self._signals(x)
        return self._refitted(x, self._codes(x, num_inference_steps), num_inference_steps)

    @task
    def decode(self, codes):
        """Decode weights of the atoms [N, K] as images: the sum of the atoms.

        Args:
            class_labels: not used: the dictionary knows no class.
        """
        return self._pictures(self.model.decode(codes))

    def dictionary(self) -> torch.Tensor:
        """Return the atoms in the order of their use, the most used first: float32 [K, C, S, S] with norm 1."""
        order = self.model.usage.float().argsort(descending=True)
        size = self.config.sample_size
        return self.model.atoms()[order].detach().reshape(-1, self.config.channels, size, size).cpu()

    # ---- the tasks ----

    @task
    def __call__(
        self,
        batch_size,
        generator,
        labels,
        report,
        prior: Literal["mixture", "independent"] = "mixture",
        temperature: Annotated[float, {"minimum": 0.0, "maximum": 1.5, "step": 0.05}] = 0.8,
    ):
        """Generate images: draw which atoms are used and how strongly, and add them up.

        Args:
            class_labels: int, list or int64 tensor [N]; None: each sample's generator draws its class.
            prior: "mixture" knows which atoms go together, from a mixture of Gaussians over the principal components of the codes; "independent" draws each atom by itself, as often as the class uses it, which shows that atoms do not come alone.
            temperature: Spread of the codes; 0 gives the middle only, 1 the prior itself.
        """
        model, atoms = self.model, self.model.config.num_atoms
        noise = self._randn((batch_size, model.config.prior_dim + 2), generator).float()
        group = torch.special.ndtr(noise[:, -2]) * len(model.mixture_weights)
        group = group.long().clamp(max=len(model.mixture_weights) - 1) if labels is None else labels
        if prior == "independent" or not model.is_fitted:
            uniform = torch.stack([self._rand((batch_size, atoms), generator).float() for _ in range(2)])
            a = model.draw_independent(uniform, group, temperature)
        else:
            uniform = torch.special.ndtr(noise[:, -1:])
            a = model.from_components(model.draw_mixture(noise[:, :-2], uniform, group, temperature))
        x = self._pictures(model.decode(a))
        report(0, 0, 1, x)
        return x

    @task(output=SparseOutput)
    def reconstruct(
        self,
        x,
        generator,
        report,
        encoder: Literal["fista", "fast"] = "fista",
        num_inference_steps: Steps = 60,
        sparsity: Sparsity = 1.0,
        damage: Literal["none", "gaussian", "missing_pixels", "missing_block"] = "none",
        damage_level: Level = 0.3,
    ):
        """Find a few atoms whose sum is the image, after damage if wanted.

        Args:
            encoder: "fista" searches for the best atoms step by step; "fast" is a network that names them at once.
            num_inference_steps: Steps of FISTA, and as many again for the weights of the atoms that it chose.
            sparsity: Factor on the penalty of FISTA; more gives fewer atoms.
            damage: What happens to the picture first. "gaussian" noise is removed by fewer atoms; "missing_pixels" and "missing_block" are filled in from the pixels that are left.
            damage_level: Strength of the noise, or the part of the picture that goes missing.

        Returns:
            `SparseOutput` with N images, the atoms of each with their weights, and `noisy` where there is damage.
        """
        clean, mask, penalty = self._signals(x), None, torch.tensor(sparsity, device=x.device)
        x, normal = clean, self._randn(x.shape, generator).float()
        if damage == "gaussian":
            x = self._signals(corrupt(self._pictures(clean), "gaussian", damage_level, normal))
            # lambda grows by c sigma, where sigma sqrt(2 log K) would keep out all noise (Donoho and Johnstone 1994)
            penalty = penalty + NOISE_FACTOR * damage_level * math.sqrt(2 * math.log(self.model.config.num_atoms)) / (
                self.model.penalty.float()
            )
        elif damage != "none":
            mask = known_pixels(damage, damage_level, normal).flatten(1)
            x = clean * mask
        a = self._found(x, encoder, num_inference_steps, penalty, mask, report)
        weights, chosen = a.topk(min(PARTS, a.shape[1]), dim=1)  # [N, M]
        atoms = self.model.atoms()[chosen].unflatten(
            2, (self.config.channels, self.config.sample_size, self.config.sample_size)
        )
        parts = {"atoms": atoms.cpu(), "weights": weights.cpu()}
        noisy = shown(self._pictures(x)) if damage != "none" else None
        return self._pictures(self.model.decode(a)), {"noisy": noisy, **parts}

    def _found(
        self,
        x: torch.Tensor,
        encoder: str,
        steps: int,
        penalty: torch.Tensor,
        mask: torch.Tensor | None,
        report: Report,
    ) -> torch.Tensor:
        """Return the codes of signals [N, P] for `reconstruct`, with a report of each step."""
        if encoder == "fast":
            a = self.model.encode(x, mask)
            report(0, 0, 1, self._pictures(self.model.decode(a)))
            return a

        def reported(first: int) -> Callable[[int, torch.Tensor], None] | None:
            part = report.part(first, 2 * steps)
            return (lambda k, a: part(k, first + k, steps, self._pictures(self.model.decode(a)))) if report else None

        a = self._codes(x, steps, penalty, mask, reported(0))
        return self._refitted(x, a, steps, mask, reported(steps))

    @task
    def interpolate(self, a, b, num_frames, report, mode: Literal["one_by_one", "lerp"] = "one_by_one"):
        """Interpolate between two images through the codes; the ends are the two reconstructions.

        Args:
            generator: not used: this path is deterministic.
            mode: "one_by_one" takes the atoms of the first picture away, the weakest first, and adds those of the last one, the strongest first; "lerp" changes all weights at once, which is a cross-fade, because decoding is linear.
        """
        x = self._signals(torch.cat([a, b]))
        first, last = self._refitted(x, self._codes(x, FIT_STEPS), FIT_STEPS)  # 2 x [K]
        t = torch.linspace(0, 1, num_frames, device=first.device, dtype=first.dtype)[:, None]  # [M, 1]
        codes = torch.lerp(first[None], last[None], t)
        if mode == "one_by_one":
            leaves, comes = (_turn(-first, first), _turn(-last, last))  # when an atom goes and comes: [K] in [0, 1]
            codes = first * (1 - leaves >= t) * (t < 1) + last * ((comes < t) | (t == 1))
        frames = self._pictures(self.model.decode(codes))
        report(0, 0, 1, frames)
        return frames

    @task
    def anomaly_score(
        self,
        x,
        labels,
        report,
        score: Literal["both", "residual", "code"] = "both",
        num_inference_steps: Steps = 60,
        class_weight: Annotated[float, {"minimum": 0.0, "maximum": 10.0, "step": 0.1, "needs": "classes"}] = 1.0,
    ):
        """Measure how strange an image is to the model.

        "residual" is the mean squared error e of the image that FISTA's atoms give. Its map is that of each pixel, which all
        three scores show. "code" is the cost c of the code, -log p(a) in nats, where each atom is used as often as training
        images use it and independently. "both" is the sum of log e and c, each as deviation from the training images' mean in
        their standard deviations, which `fit` found (before `fit`: as they are).

        With a class y given, c becomes c + w (c_y - c), where c_y is the cost if atoms are used as the class uses them, and w
        is `class_weight`. "residual" does not depend on the class.

        Args:
            generator: not used: nothing here is random.
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "residual" is what the atoms cannot say of the image, "code" how unusual its atoms are, "both" the sum of the two in standard deviations.
            num_inference_steps: Steps of FISTA.
            class_weight: Weight of the class, where one is given; 0 ignores it, 1 is the cost for the class alone.
        """
        signals = self._signals(x)
        a = self._codes(signals, num_inference_steps)
        decoded = self.model.decode(a)
        report(0, 0, 1, self._pictures(decoded))
        errors = self._pictures((signals - decoded).square()).add(1).div(2).mean(1)  # [N, S, S]
        if score == "residual":
            return errors.mean((1, 2)), errors, "mean squared error"
        cost = self.model.code_cost(a, self._rows(None, len(a)))
        if labels is not None:
            cost = cost + class_weight * (self.model.code_cost(a, labels) - cost)
        if score == "code":
            return cost, errors, "nats"
        terms = {"error": floored_log(errors.mean((1, 2))), "code": cost}
        return add_deviations(terms, self.config.calibration), errors, "standard deviations"


def _turn(order: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
    """Return when each atom of a code [K] has its turn, from 0 to 1, in a given order; 1 for those that it does not use."""
    used = code > 0
    turn = torch.ones_like(code)
    turn[used] = order[used].argsort().argsort().float() / max(int(used.sum()), 1)
    return turn
