"""Auto-encoders with a discrete code: bits, one class of K that the model makes for itself, or a path through a tree.

    c ~ q(c | x),   L = -log p(x | c) + beta KL(q(c | x) || uniform) + gamma KL(mean_x q(c | x) || uniform)

The draw of c is relaxed, with a temperature that falls (`pipelines.relaxation`), so that its gradient reaches the encoder.
The first KL term is that of a variational auto-encoder with a uniform prior (Jang et al. 2017 sec. 3.4). The second keeps
every class and every branch in use. On a path each step is a choice of its own, and each node on it is decoded: L is
the mean over the levels, so the pictures go from coarse to fine.

A class by reconstruction groups pictures of similar pixels. The other objective, "mutual_information", groups pictures that
random shifts, turns and shears lead to (`pipelines.invariance`). The decoder then learns the pictures of those classes.

No label is used in training. Only the prior of the bits may be conditional on the class.

Papers:
    Jang, Gu, Poole: Categorical Reparameterization with Gumbel-Softmax, 2017, https://arxiv.org/abs/1611.01144
    Maddison, Mnih, Teh: The Concrete Distribution, 2017, https://arxiv.org/abs/1611.00712
    Hu et al.: Learning Discrete Representations via Information Maximizing Self-Augmented Training, 2017,
        https://arxiv.org/abs/1702.08720
    Ji, Henriques, Vedaldi: Invariant Information Clustering, 2019, https://arxiv.org/abs/1807.06653
    Germain, Gregor, Murray, Larochelle: MADE, 2015, https://arxiv.org/abs/1502.03509 (the prior of the bits)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, ModelMixin
from torch import nn

from pipelines.decoding import draw
from pipelines.deviations import add_deviations, measure_terms
from pipelines.discrete_codes import DiscreteCodesMixin, DiscreteOutput
from pipelines.family import check_stage
from pipelines.images import ImageFamilyMixin, task
from pipelines.invariance import invariance_loss, random_affine
from pipelines.modeling_discrete_ae import BitPrior, DiscreteDecoder, DiscreteEncoder
from pipelines.relaxation import (
    bernoulli_kl_to_uniform,
    categorical_kl_to_uniform,
    relaxed_bernoulli,
    relaxed_categorical,
    temperature_at,
)
from pipelines.tree import inner_nodes, node_weights, nodes_of
from pipelines.typicality import floored_log

OBJECTIVES = ("reconstruction", "mutual_information")


class DiscreteAutoencoderPipeline(DiscreteCodesMixin, ImageFamilyMixin, DiffusionPipeline):
    """An auto-encoder with a discrete code.

    Args:
        encoder: `DiscreteEncoder`.
        decoder: `DiscreteDecoder` of the same code.
        prior: `BitPrior`, for bits. Classes and paths have the frequencies of the training images, `code_counts`.
        code: kind of the code: "binary", "one_hot" or "path".
        objective: of the encoder, "reconstruction", or for classes "mutual_information".
        straight_through: whether training decodes exact draws, with the gradient of relaxed ones.
        temperatures: of the relaxed draws, at the beginning and at the end of the training.
        kl_weight, balance_weight: beta and gamma.
        information_weight: lambda of `invariance_loss`.
        augmentation: options of `random_affine`.
        class_dropout: part of the training rows from which the prior of the bits learns without their class.
        id2label: names of the classes that the prior of the bits knows.
        code_counts: number of training images of each class or leaf, or with each bit at 1; the last number is that of all
            images. Written by `fit`.
        calibration: {"error", "code": [mean, standard deviation]} of the anomaly terms of training images; written by `fit`.
    """

    encoder: DiscreteEncoder
    decoder: DiscreteDecoder
    prior: BitPrior
    model_cpu_offload_seq = "encoder->prior->decoder"
    joins = {}  # noqa: RUF012  # never changed
    _optional_components: ClassVar[list[str]] = ["prior"]  # as diffusers has it

    def __init__(
        self,
        encoder: ModelMixin,
        decoder: ModelMixin,
        prior: ModelMixin | None = None,
        sample_size: int | None = None,
        channels: int | None = None,
        code: str | None = None,
        objective: str = "reconstruction",
        straight_through: bool = True,
        temperatures: list[float] | None = None,
        kl_weight: float = 1.0,
        balance_weight: float = 0.0,
        information_weight: float = 1.0,
        augmentation: dict[str, Any] | None = None,
        class_dropout: float = 0.1,
        id2label: dict[str, str] | None = None,
        code_counts: list[int] | None = None,
        calibration: dict[str, list[float]] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        if objective not in OBJECTIVES:
            raise ValueError(f"objective: choose {' or '.join(map(repr, OBJECTIVES))}, not {objective!r}.")
        if objective == "mutual_information" and encoder.config.code != "one_hot":
            raise ValueError("objective: 'mutual_information' makes classes; it needs the code 'one_hot'.")
        if min(temperatures or [1.0]) <= 0:
            raise ValueError("temperatures: must be above 0.")
        self._register(
            locals(),
            sample_size=sample_size or encoder.config.sample_size,
            channels=channels or encoder.config.channels,
            code=encoder.config.code,
            temperatures=list(temperatures or (1.0, 0.3)),
        )

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        code: str = "binary",
        code_size: int = 64,
        depth: int = 1,
        encoder: dict[str, Any] | None = None,
        decoder: dict[str, Any] | None = None,
        prior: dict[str, Any] | None = None,
        **options,
    ) -> DiscreteAutoencoderPipeline:
        """Make a pipeline with fresh weights.

        Args:
            code: "binary", "one_hot" or "path".
            code_size: bits, classes, or branches at each node of the tree.
            depth: steps of a path.
            encoder, decoder, prior: the other parameters of the networks.
            options: the other arguments of the class.

        Raises:
            TypeError: a parameter that a network does not have.
            ValueError: sizes that do not divide, or an unknown code, network or objective.
        """
        shape = (sample_size, channels, code, code_size, depth)
        networks = DiscreteEncoder(*shape, **(encoder or {})), DiscreteDecoder(*shape, **(decoder or {}))
        if code != "binary":
            return cls(*networks, **options)
        bits = BitPrior(code_size, num_classes=len(id2label or ()), **(prior or {}))
        return cls(*networks, bits, id2label=id2label, **options)

    # ---- training ----

    @property
    def stages(self) -> tuple[str, ...]:
        """The stages of the training, which depend on the code and on the objective."""
        if self.config.objective == "mutual_information":
            return ("encoder", "decoder")
        return ("autoencoder", "prior") if self.config.code == "binary" else ("autoencoder",)

    def trainable(self, stage: str) -> dict[str, nn.Module]:
        """Return the modules that a stage trains.

        Raises:
            ValueError: an unknown stage.
        """
        check_stage(stage, self.stages)
        return {name: self.components[name] for name in (["encoder", "decoder"] if stage == "autoencoder" else [stage])}

    @torch.no_grad()
    def prepare(self, stage: str, batches: Iterable[dict]) -> dict[str, torch.Tensor] | None:
        """Prepare a stage: return the training images' codes for "prior", choose the encoder's head for "decoder".

        The head is that of the lowest loss over the training images. No label is used.
        """
        device = self._execution_device
        if stage == "prior":
            codes = [self.encoder.encode(batch["images"].to(device)).to(torch.uint8).cpu() for batch in batches]
            return {"codes": torch.cat(codes)}
        if stage == "decoder":
            generator = torch.Generator(device).manual_seed(0)
            losses = [self._head_losses(batch["images"].to(device), generator)[0] for batch in batches]
            self.encoder.chosen_head.copy_(torch.stack(losses).mean(0).argmin())
        return None

    def loss(
        self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0, stage: str | None = None
    ):
        """Return the loss of a stage.

        "autoencoder": the loss of this module's documentation, in nats. "encoder": `invariance_loss`, the mean over the heads.
        "decoder": -log p(x | c) of the encoder's classes. "prior": -log p of the bits.

        Args:
            batch: "images" [B, C, S, S] in [-1, 1], or "codes" [B, K] for the prior; "class_labels" int64 [B] or None.
            generator: for all random numbers, on the images' device.
            progress: part of the stage that is done, 0 ... 1; the temperature depends on it.
            stage: of `stages`; None: the last one.

        Returns:
            (scalar, {name: scalar}).
        """
        stage = stage or self.stages[-1]
        self.trainable(stage)
        if stage == "prior":
            return self._prior_loss(batch, generator)
        x = batch["images"]
        if stage == "encoder":
            losses, over = self._head_losses(x, generator)
            return losses.mean() + over, {"best_head": losses.detach().min(), "over_clustering": over.detach()}
        if stage == "decoder":
            with torch.no_grad():
                path = self.encoder.encode(x)
            nats = self._nats_of_pixels(x, self.decoder.vectors_of(path))
            return nats.mean(), {"nats": nats.detach()[-1]}
        return self._autoencoder_loss(x, generator, progress)

    def _autoencoder_loss(self, x: torch.Tensor, generator: torch.Generator | None, progress: float):
        config, logits = self.config, self.encoder(x)
        temperature = temperature_at(progress, *config.temperatures)
        uniform = torch.rand(logits.shape, generator=generator, device=x.device)
        if config.code == "binary":
            bits = relaxed_bernoulli(logits, temperature, uniform, config.straight_through)
            nats = self._nats_of_pixels(x, bits[:, None])
            kl = bernoulli_kl_to_uniform(logits).sum(1).mean()
            mean = logits.sigmoid().mean(0)
            balance = categorical_kl_to_uniform(torch.stack([mean, 1 - mean], dim=-1)).sum()
        else:
            choices = relaxed_categorical(logits, temperature, uniform, config.straight_through)
            nats = self._nats_of_pixels(x, self.decoder.vectors(node_weights(choices)))
            reached = node_weights(logits.softmax(-1))  # q(node | x) of each level
            kl = categorical_kl_to_uniform(reached[-1]).mean()
            balance = torch.stack([categorical_kl_to_uniform(q.mean(0)) for q in reached[1:]]).sum()
        loss = nats.mean() + config.kl_weight * kl + config.balance_weight * balance
        named = {"nats": nats[-1], "kl": kl, "balance": balance}
        return loss, {name: value.detach() for name, value in named.items()}

    def _nats_of_pixels(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return -log p(x | c), the mean over images: [B, C, S, S] and vectors [B, levels, d] -> float32 [levels]."""
        logits = self.decoder(z.flatten(0, 1)).unflatten(0, z.shape[:2])
        target = (x.float() / 2 + 0.5).clamp(0, 1)[:, None].expand_as(logits)
        return F.binary_cross_entropy_with_logits(logits, target, reduction="none").sum((2, 3, 4)).mean(0)

    def _head_losses(self, x: torch.Tensor, generator: torch.Generator | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the `invariance_loss` of each head, float32 [heads], and of the over-clustering one, 0 without it."""
        changed = random_affine(x, generator, **(self.config.augmentation or {}))
        heads, over = self.encoder.all_heads(torch.cat([x, changed]))
        number, weight = len(x), self.config.information_weight
        heads = heads.flatten(1, 2)  # [2 B, heads, K]
        losses = invariance_loss(heads[:number], heads[number:], weight)
        if not over.shape[1]:
            return losses, losses.new_zeros(())
        return losses, invariance_loss(over[:number], over[number:], weight)

    def _prior_loss(self, batch: dict, generator: torch.Generator | None):
        bits = batch["codes"] if "codes" in batch else self.encoder.encode(batch["images"])
        labels = batch.get("class_labels") if self.config.id2label else None
        if labels is not None:
            dropped = torch.rand(len(labels), generator=generator, device=labels.device) < self.config.class_dropout
            labels = torch.where(dropped, -1, labels)
        nats = -self.prior.log_probability(bits, labels).mean()
        return nats, {"nats": nats.detach()}

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Count the codes of the training images and calibrate the anomaly score.

        Args:
            batches: of `{"images", "class_labels"}`, one pass over the training data.

        Raises:
            ValueError: fewer than two images.
        """
        rows = []
        for batch in batches:
            x = self._to_tensor(batch["images"])
            code = self.encoder.encode(x)
            rows.append((code.cpu(), (x.float() - self._decoded(code)).square().mean((1, 2, 3)).cpu()))
        codes, errors = (torch.cat(column) for column in zip(*rows, strict=True))
        if self.config.code == "binary":
            counts = codes.sum(0).long()
        else:
            leaves = nodes_of(codes, self.branching)[:, -1]
            counts = torch.bincount(leaves, minlength=self.branching ** codes.shape[1])
        self.register_to_config(code_counts=[*counts.tolist(), len(codes)])
        surprise = torch.cat([self._surprise(part.to(self._execution_device), None) for part in codes.split(1000)])
        self.register_to_config(calibration=measure_terms({"error": floored_log(errors), "code": surprise.cpu()}))

    # ---- the tasks ----

    @task(output=DiscreteOutput)
    def __call__(
        self,
        batch_size,
        generator,
        labels,
        report,
        temperature: Annotated[float, {"minimum": 0.0, "maximum": 2.0, "step": 0.05}] = 1.0,
    ):
        """Generate images: draw a code from the prior and decode it.

        Args:
            class_labels: int, list or int64 tensor [N]; None: the unconditional prior. Only bits have classes.
            temperature: Below 1 likelier codes are drawn, 0 takes the likeliest of each choice; above 1 choices are more even.
        """
        if self.config.code == "binary":
            size, each = self.branching, -(-self.branching // 8)
            steps = -(-size // each)

            def on_step(k: int, bits: torch.Tensor) -> None:
                if report and (k + 1 == size or (k + 1) % each == 0):
                    known = torch.arange(size, device=bits.device) <= k
                    report(k // each, k, steps, self._decoded(torch.where(known, bits, 0.5)))

            code = self.prior.draw(self._rand((batch_size, size), generator), labels, temperature, on_step)
            return self._with_codes(code)
        uniform = self._rand((batch_size, self.depth), generator)
        log_p = self._choice_log_p().to(uniform.device) / max(temperature, 1e-3)
        node, path, device = torch.zeros(batch_size, dtype=torch.int64, device=uniform.device), [], uniform.device
        for level in range(self.depth):
            path.append(draw(log_p[inner_nodes(self.branching, level) + node], uniform[:, level]))
            node = node * self.branching + path[-1]
            report(level, level, self.depth, self._decoded(torch.stack(path, dim=1)))
        return self._with_codes(torch.stack(path, dim=1).to(device))

    @task(output=DiscreteOutput)
    def reconstruct(self, x, generator, report, draw_code: bool = False):
        """Encode images and decode them again.

        Args:
            draw_code: Draw each choice of the code with the encoder's probability, in place of the likeliest.
        """
        logits = self.encoder(x)
        if draw_code:
            uniform = self._rand(logits.shape, generator)
            noise = uniform.log() - (-uniform).log1p() if self.config.code == "binary" else -(-uniform.log()).log()
            logits = logits + noise.to(logits.dtype)
        x_hat, more = self._with_codes(self.encoder.likeliest(logits))
        report(0, 0, 1, x_hat)
        return x_hat, more

    @task
    def interpolate(self, a, b, num_frames, report, mode: Literal["steps", "relaxed"] = "steps"):
        """Interpolate between two images through the codes; the ends are the two reconstructions.

        "steps" visits exact codes only. Bits that differ change one after another, each time the one that changes the
        picture least. Between paths it climbs to the node that both share and down again. Between classes it jumps.

        Args:
            generator: not used: this path is deterministic.
            mode: "steps" changes one choice of the code at a time; "relaxed" mixes the two codes, which the decoder knows from training only if it saw relaxed ones.
        """
        ca, cb = self.encoder.encode(a), self.encoder.encode(b)
        if mode == "relaxed":
            za, zb = (c if self.config.code == "binary" else self.decoder.vectors_of(c)[:, -1] for c in (ca, cb))
            x = self.decoder.decode(torch.lerp(za, zb, torch.linspace(0, 1, num_frames, device=za.device)[:, None]))
        else:
            stops = self._flips(ca[0], cb[0]) if self.config.code == "binary" else self._climb(ca[0], cb[0])
            x = stops[torch.linspace(0, len(stops) - 1, num_frames).round().long().to(stops.device)]
        report(0, 0, 1, x)
        return x

    @task
    def anomaly_score(
        self,
        x,
        labels,
        report,
        score: Literal["both", "reconstruction", "code"] = "both",
        class_weight: Annotated[float, {"minimum": 0.0, "maximum": 100.0, "step": 0.5, "needs": "classes"}] = 10.0,
    ):
        """Measure how strange an image is to the model.

        "reconstruction" is the mean squared error. Its map is that of each pixel, which all three scores show. "code" is
        -log p of the code under its prior. "both" is the sum of the two, the error's logarithm and the nats each as the
        deviation from the mean of the training images in their standard deviations. `fit` found these (before `fit`: the
        terms as they are).

        With a class given, the nats n of the bits become n + w (n_y - n), where n_y are those given the class and w is
        `class_weight`. "reconstruction" does not depend on the class.

        Args:
            generator: not used: nothing here is random.
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "reconstruction" is what the code cannot say of the image, "code" how unusual the code is, "both" the sum of the two in standard deviations.
            class_weight: Weight of the class, where one is given; 0 ignores it, 1 is the plain probability of codes of the class.
        """
        code = self.encoder.encode(x)
        x_hat = self._decoded(code)
        report(0, 0, 1, x_hat)
        errors = (x.float() - x_hat).square().mean(1)  # [N, S, S]
        if score == "reconstruction":
            return errors.mean((1, 2)), errors, "mean squared error"
        nats = self._surprise(code, None)
        if labels is not None:
            nats = nats + class_weight * (self._surprise(code, labels) - nats)
        if score == "code":
            return nats, errors, "nats"
        terms = {"error": floored_log(errors.mean((1, 2))), "code": nats}
        return add_deviations(terms, self.config.calibration), errors, "standard deviations"
