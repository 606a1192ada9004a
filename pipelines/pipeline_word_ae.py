"""An auto-encoder whose code is a few words that a person can read and change: picture -> words -> picture.

    w ~ q(w | x),   x_hat = D(w, s)                                              s: the style, such as whose drawing it is
    L = d(x, x_hat) - a E C(w) - b E log p(w') - c E log q(w" | x")              and for the critic C: E C(w) - E C(w') + penalty

The words are those of the data's own names. With the reconstruction alone the reader would make a private code of them. So
a critic C learns to tell its sequences from real names w', and the reader has to please it (Wang and Lee 2018). The critic
never learns which picture a name belongs to: pictures and names are two unpaired piles. It can enforce that the code looks
like names, and not that a word means what people mean by it. A small share of pictures x" that come with their names w"
anchors the meaning. Where the data know pictures of the same thing in other styles, x_hat is held to one of these, so that the
words say what is shown and not how. p is the reader without a picture, a language model of the names.

Two relatives: BERT (Devlin et al. 2018) is a denoising auto-encoder on words, which restores words that are masked. MaskGIT
(Chang et al. 2022) is one on the codes of pictures, and generates with it.

Papers:
    Wang, Lee: Learning to Encode Text as Human-Readable Summaries using Generative Adversarial Networks, 2018,
        https://arxiv.org/abs/1810.02851
    Jang, Gu, Poole: Categorical Reparameterization with Gumbel-Softmax, 2017, https://arxiv.org/abs/1611.01144
    Gulrajani et al.: Improved Training of Wasserstein GANs, 2017, https://arxiv.org/abs/1704.00028
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, ModelMixin
from torch import nn

from pipelines.adversarial import adaptive_weight, pyramid_distance, with_detached_weights
from pipelines.deviations import add_deviations, measure_terms
from pipelines.family import Generators, check_stage
from pipelines.images import ImageFamilyMixin, ImagesOutput, task
from pipelines.invariance import random_affine
from pipelines.modeling_word_ae import WordAutoencoder, WordCritic, gradient_penalty
from pipelines.relaxation import gumbel_noise, temperature_at
from pipelines.typicality import floored_log
from pipelines.words import NOTHING, Vocabulary, vocabulary_of

CONDITION, STAGES = "style", ("words",)
MOST_ADVERSARIAL = 1.0  # of a: while the writer learns little from the words
Style = Annotated[str, {"choices_from": CONDITION}]


@dataclass
class WordsOutput(ImagesOutput):
    """Images, and the words that each was drawn from: a list of strings, or None."""

    words: list[str] | None = None


class WordAutoencoderPipeline(ImageFamilyMixin, DiffusionPipeline):
    """An auto-encoder with words as its code.

    Args:
        autoencoder: `WordAutoencoder`.
        temperature: of the Gumbel-softmax at the beginning and at the end of the training.
        critic_input: what the critic sees of the reader, "hard": the words drawn, with the straight-through gradient;
            "relaxed": their distributions, as Wang and Lee do.
        adversarial_weight, critic_penalty: of the critic's gradient at the words, relative to the reconstruction's, so that a
            follows from it (`adaptive_weight`); and of the gradient penalty beside the critic's loss.
        language_weight, pair_weight, style_weight: b, c, and the weight of the style's cross-entropy.
        id2label: names of the classes, which the networks do not use.
        conditions: {"style": {number: name}}.
        calibration: {"error", "words": [mean, standard deviation]} of the anomaly terms of training images, of `fit`.

    Raises:
        ValueError: an unknown `critic_input`, or another condition than "style".
    """

    autoencoder: WordAutoencoder
    code_kind = "words"
    learns_from_pairs = True
    model_cpu_offload_seq = "autoencoder"
    joins = {}  # noqa: RUF012  # never changed

    def __init__(
        self,
        autoencoder: ModelMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        temperature: list[float] | None = None,
        critic_input: str = "hard",
        adversarial_weight: float = 1.0,
        critic_penalty: float = 10.0,
        language_weight: float = 0.05,
        pair_weight: float = 0.2,
        style_weight: float = 0.02,
        id2label: dict[str, str] | None = None,
        conditions: dict[str, dict[str, str]] | None = None,
        calibration: dict[str, Any] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        if critic_input not in ("hard", "relaxed"):
            raise ValueError(f"critic_input: choose 'hard' or 'relaxed', not {critic_input!r}.")
        if set(conditions or ()) - {CONDITION}:
            raise ValueError(f"conditions: this family knows {CONDITION!r}, not {', '.join(conditions or ())}.")
        self._register(
            locals(),
            sample_size=sample_size or autoencoder.config.sample_size,
            channels=channels or autoencoder.config.channels,
            temperature=list(temperature or (1.0, 0.5)),
        )
        self._critic: WordCritic | None = None

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        conditions: dict[str, dict[str, str]] | None = None,
        texts: Sequence[str] = ("picture",),
        length: int = 4,
        reader_widths: Sequence[int] = (32, 64, 128),
        reader_layers: int = 1,
        writer_widths: Sequence[int] = (48, 96, 160),
        writer_layers: int = 1,
        word_dim: int = 64,
        hidden: int = 256,
        **options,
    ) -> WordAutoencoderPipeline:
        """Make a pipeline with fresh weights, whose vocabulary is that of the texts.

        Args:
            texts: the names, each once.
            length, reader_widths, reader_layers, writer_widths, writer_layers, word_dim, hidden: of `WordAutoencoder`.
            options: the other arguments of the class.

        Raises:
            TypeError: an option that the class does not have.
            ValueError: sizes that do not divide, texts without words, or what the class refuses.
        """
        words = vocabulary_of(texts)
        if not words:
            raise ValueError("texts: there is no word in them.")
        names = Vocabulary(words, length).encode(texts)
        model = WordAutoencoder(
            words,
            sample_size,
            channels,
            length,
            len(names),
            len((conditions or {}).get(CONDITION) or ()),
            tuple(reader_widths),
            reader_layers,
            tuple(writer_widths),
            writer_layers,
            word_dim,
            hidden,
        )
        model.names.copy_(names)
        counts = torch.bincount(names.flatten(), minlength=len(words) + 1).float()
        model.reader.bias.data.copy_((counts / counts.sum()).clamp(min=1e-6).log())  # begin with how common a word is
        return cls(model, id2label=id2label, conditions=conditions, **options)

    # ---- training ----

    def trainable(self, stage: str) -> dict[str, nn.Module]:
        """Return the modules that a stage trains: the auto-encoder and the critic, which is made when first needed.

        Raises:
            ValueError: an unknown stage.
        """
        check_stage(stage, STAGES)
        if self._critic is None:
            config = self.autoencoder.config
            self._critic = WordCritic(len(config.vocabulary), config.length, config.word_dim, config.hidden)
        return {"autoencoder": self.autoencoder, "critic": self._critic}

    def loss(
        self,
        batch: dict,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
        stage: Literal["words"] = "words",
    ):
        """Return the loss of the auto-encoder and that of the critic in one.

        Args:
            batch: "images" [B, C, S, S] in [-1, 1]; "texts" int64 [B], rows of `names` drawn apart from the images, by
                default with equal chances;
                "conditions" {"style": int64 [B]}; in "paired" the same keys for images that come with their own names; and from
                data with pairs "partners", the same things in other styles, with "partner_conditions". The words of an
                image then have to do for drawing its partner, so that they say what is drawn and not how.
            generator: for all random numbers, on the images' device.
            progress: part of the training that is done, 0 ... 1.
            stage: "words".

        Returns:
            (scalar, {name: scalar}).

        Raises:
            ValueError: an unknown stage.
        """
        critic, model, config = self.trainable(stage)["critic"], self.autoencoder, self.config
        x = batch["images"]  # [B, C, S, S]
        rows = batch.get("texts")
        if rows is None:
            rows = torch.randint(len(model.names), (len(x),), generator=generator, device=x.device)
        names = model.names[rows]  # [B, L]
        styles = self._styles_of(batch)  # int64 [B]
        seen = model.reader.see(x)  # [B, hidden]
        with torch.autocast(x.device.type, enabled=False):  # the penalty takes a gradient of a gradient
            real = model.one_hot(names)  # [B, L, V + 1]
            noise = gumbel_noise(torch.rand(real.shape, generator=generator, device=x.device))
            hard, relaxed = model.read(seen, noise, temperature_at(progress, *config.temperature))
            made = relaxed if config.critic_input == "relaxed" else hard
            truth, lie = critic(real).mean(), critic(made.detach()).mean()
            penalty = gradient_penalty(critic, real, made.detach(), generator)
            adversarial = -with_detached_weights(critic, made).mean()
            language = -model.log_probability(names).sum(1).mean()
            style = F.cross_entropy(model.reader.style(seen), styles)
        target = batch.get("partners", x)  # the same thing in another style, where the data know it
        drawn_in = self._one_hot(self._styles_of(batch, "partner_conditions" if "partners" in batch else "conditions"))
        distance = pyramid_distance(target, model.writer(hard, drawn_in))
        weight = adaptive_weight(distance, adversarial, hard, MOST_ADVERSARIAL, adversarial_at=made)
        loss = distance + config.adversarial_weight * weight * adversarial + config.language_weight * language
        loss = loss + config.style_weight * style + lie - truth + config.critic_penalty * penalty
        parts = {"distance": distance, "wasserstein": truth - lie, "language": language, "style": style}
        parts["adversarial_weight"] = weight
        if "paired" in batch:
            reading, drawing = self._paired_loss(batch["paired"], generator)
            loss = loss + config.pair_weight * reading + len(batch["paired"]["images"]) / len(x) * drawing
            parts |= {"paired_reading": reading, "paired_drawing": drawing}
        return loss, {name: value.detach() for name, value in parts.items()}

    def _paired_loss(self, batch: dict, generator: torch.Generator | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return -E log q(w | x) in nats and E d(x, D(w)) of images that come with their names: two scalars.

        The reader sees each image a little turned, shifted and stretched, since there are few of them.
        """
        x, words = batch["images"], self.autoencoder.names[batch["texts"]]
        changed = -random_affine(
            -x, generator, degrees=10, shift=0.06, scale=0.1, shear=0.1
        )  # white comes in from outside
        seen = self.autoencoder.reader.see(changed)
        with torch.autocast(x.device.type, enabled=False):
            reading = -self.autoencoder.log_probability(words, seen).sum(1).mean()
        drawn = self.autoencoder.writer(self.autoencoder.one_hot(words), self._one_hot(self._styles_of(batch)))
        return reading, pyramid_distance(x, drawn)

    def _styles_of(self, batch: dict, key: str = "conditions") -> torch.Tensor:
        """Return the styles of a batch, int64 [B], or of its partners; zeros where styles have no names."""
        if self._condition_names(CONDITION):
            return batch[key][CONDITION]
        return torch.zeros(len(batch["images"]), dtype=torch.int64, device=batch["images"].device)

    def _one_hot(self, styles: torch.Tensor) -> torch.Tensor:
        return F.one_hot(styles, max(len(self._condition_names(CONDITION)), 1)).float()

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Measure the mean and deviation of the anomaly terms over the training images.

        Args:
            batches: of `{"images"}`, one pass over the training data.

        Raises:
            ValueError: fewer than two images.
        """
        found = [torch.stack(self._terms(self._to_tensor(batch["images"]))[:2]) for batch in batches]
        error, surprise = torch.cat(found, 1).cpu()  # [N] each
        self.register_to_config(calibration=measure_terms({"error": error, "words": surprise}))

    # ---- the code ----

    @property
    def code_shape(self) -> tuple[int, ...]:
        """The words that a code has at most, (L,)."""
        return (self.autoencoder.config.length,)

    @property
    def vocabulary(self) -> Vocabulary:
        """The words that the model knows, and their numbers."""
        return Vocabulary(self.autoencoder.config.vocabulary, self.autoencoder.config.length)

    def _seen(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return what the reader sees of pictures, float32 [N, hidden], and their styles as it sees them, one-hot [N, K]."""
        seen = self.autoencoder.reader.see(x)
        return seen, self._one_hot(self.autoencoder.reader.style(seen.to(self.dtype)).argmax(1))

    def _read(self, seen: torch.Tensor, temperature: float = 0.0, generator: Generators = None) -> torch.Tensor:
        """Return words, int64 [N, L]: the likeliest for temperature 0, draws from the reader for 1."""
        noise = None
        if temperature > 0:
            config = self.autoencoder.config
            shape = (len(seen), config.length, len(config.vocabulary) + 1)
            noise = temperature * gumbel_noise(self._rand(shape, generator))
        return self.autoencoder.read(seen, noise)[0].argmax(2)

    def _typed(self, name: str, text: str | list[str], number: int) -> torch.Tensor:
        """Return the numbers of words given for a parameter, for all samples or for each: int64 [number, L]."""
        texts = [text] if isinstance(text, str) else list(text)
        if len(texts) not in (1, number):
            raise ValueError(f"{name}: give one string or {number}, not {len(texts)}.")
        return self.vocabulary.check(texts, name).to(self._execution_device).expand(number, -1)

    def _chosen(self, style: str, otherwise: torch.Tensor) -> torch.Tensor:
        """Return a named style one-hot, [N, K]; `otherwise` for "any"."""
        if style == "any":
            return otherwise
        names = self._condition_names(CONDITION)
        return self._one_hot(torch.full((len(otherwise),), names.index(style), device=otherwise.device))

    def _draw(self, words: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
        """Draw words int64 [N, L] in styles [N, K]: [N, C, S, S]."""
        return self.autoencoder.writer(self.autoencoder.one_hot(words), styles)

    @task
    def encode(self, x):
        """Read images: a list of strings, a few words each.

        Args:
            generator: not used: the likeliest words are read.
            class_labels: not used: the networks know no class.
        """
        return self.vocabulary.decode(self._read(self._seen(x)[0]))

    @task
    def decode(self, codes, style: Style = "any"):
        """Draw words.

        Args:
            codes: a string, or a list of N, of words from `vocabulary`.
            class_labels: not used: the networks know no class.
            style: Whose manner to draw in; "any" is the first.
        """
        numbers = self.vocabulary.check(codes).to(self._execution_device)
        first = self._one_hot(torch.zeros(len(numbers), dtype=torch.int64, device=numbers.device))
        return self._draw(numbers, self._chosen(style, first))

    # ---- the tasks ----

    @task(output=WordsOutput)
    def __call__(
        self,
        batch_size,
        generator,
        labels,
        report,
        prompt: str = "",
        style: Style = "any",
        temperature: Annotated[float, {"minimum": 0.0, "maximum": 1.5, "step": 0.05}] = 1.0,
    ):
        """Generate images from words.

        Args:
            class_labels: not used: the networks know no class.
            prompt: What to draw, in a few of the model's words; empty: the model draws words as they are in names.
            style: Whose manner to draw in; "any": another for each picture.
            temperature: How freely words are drawn where none are given; 0 always gives the likeliest ones.
        """
        drawn = self._to_condition(CONDITION, style, batch_size, generator)
        if drawn is None:
            drawn = torch.zeros(batch_size, dtype=torch.int64, device=self._execution_device)
        if not isinstance(prompt, str) or prompt.strip():
            numbers = self._typed("prompt", prompt, batch_size)
        else:
            numbers = self._read(self.autoencoder.no_picture(batch_size), temperature, generator)
        x = self._draw(numbers, self._one_hot(drawn))
        report(0, 0, 1, x)
        return x, {"words": self.vocabulary.decode(numbers)}

    @task(output=WordsOutput)
    def reconstruct(
        self,
        x,
        generator,
        report,
        words: str = "",
        style: Style = "any",
        temperature: Annotated[float, {"minimum": 0.0, "maximum": 1.0, "step": 0.05}] = 0.0,
    ):
        """Read an image and draw it again from the words, or from other words in the same style.

        Args:
            words: Words to draw in place of those that were read; empty: those that were read.
            style: Whose manner to draw in; "any": the one that the picture has.
            temperature: How freely the picture is read; 0 gives the likeliest words, 1 draws them.
        """
        seen, styles = self._seen(x)
        numbers = self._read(seen, temperature, generator) if words == "" else self._typed("words", words, len(x))
        drawn = self._draw(numbers, self._chosen(style, styles))
        report(0, 0, 1, drawn)
        return drawn, {"words": self.vocabulary.decode(numbers)}

    @task(output=WordsOutput)
    def interpolate(self, a, b, num_frames, report, mode: Literal["relaxed", "word by word"] = "relaxed"):
        """Interpolate between two images through their words; the ends are the two reconstructions.

        Args:
            generator: not used: this path is deterministic.
            mode: "relaxed" blends the words and the styles little by little; "word by word" exchanges one word after another, each picture being drawn from words that can be read.
        """
        (seen_a, style_a), (seen_b, style_b) = self._seen(a), self._seen(b)
        ends = self._read(torch.cat([seen_a, seen_b]))  # [2, L]
        share = torch.linspace(0, 1, num_frames, device=ends.device, dtype=torch.float32)[:, None]  # [M, 1]
        styles = torch.lerp(style_a, style_b, share)  # [M, K]
        if mode == "relaxed":
            first, last = self.autoencoder.one_hot(ends)  # 2 x [L, V + 1]
            x = self.autoencoder.writer(torch.lerp(first, last, share[:, :, None]), styles)
            texts = None
        else:
            places = max(int((ends != NOTHING).sum(1).max()), 1)
            numbers = torch.zeros(num_frames, ends.shape[1], dtype=torch.int64, device=ends.device)
            for row, taken in zip(numbers, (share[:, 0] * places).round().long().tolist(), strict=True):
                mixed = torch.cat([ends[1, :taken], ends[0, taken:]])
                mixed = mixed[mixed != NOTHING]
                row[: len(mixed)] = mixed
            x, texts = self._draw(numbers, styles), self.vocabulary.decode(numbers)
        report(0, 0, 1, x)
        return x, {"words": texts}

    def _terms(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return the log of the mean squared error, -log p(w) of the words read, both [N]; the drawings and the errors."""
        seen, styles = self._seen(x)
        numbers = self._read(seen)
        drawn = self._draw(numbers, styles)
        errors = (x.float() - drawn).square().mean(1)  # [N, S, S]
        surprise = -self.autoencoder.log_probability(numbers).sum(1)
        return floored_log(errors.mean((1, 2))), surprise, drawn, errors

    @task
    def anomaly_score(self, x, report, score: Literal["both", "reconstruction", "words"] = "both"):
        """Measure how strange an image is to the model.

        "reconstruction" is the mean squared error of the picture drawn again from its words. "words" is -log p(w), how
        improbable the words are as a name. "both" is the sum of the log of the one and of the other, each as deviation from the
        training images' mean in their standard deviations, which `fit` found.

        Args:
            generator: not used: nothing here is random.
            score: "reconstruction" is what the words cannot say of the image, "words" how improbable the words are, "both" the sum of the two in standard deviations.
        """
        error, surprise, drawn, errors = self._terms(x)
        report(0, 0, 1, drawn)
        if score == "reconstruction":
            return error.exp(), errors, "mean squared error"
        if score == "words":
            return surprise, errors, "nats"
        total = add_deviations({"error": error, "words": surprise}, self.config.calibration)
        return total, errors, "standard deviations"
