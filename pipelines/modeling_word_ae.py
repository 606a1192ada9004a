"""An auto-encoder whose code is a few words: a reader, a writer, and the critic of word sequences that trains them.

    w ~ q(w | x) = prod_l q(w_l | w_<l, x)            the reader, from picture to words
    x_hat = D(w, s)                                   the writer, from words and a style to a picture

Each word is drawn by the straight-through Gumbel-softmax estimator (Jang et al. 2017, https://arxiv.org/abs/1611.01144,
sec. 2.2). Without a picture the reader is a language model of the names, p(w).

Wang, Lee: Learning to Encode Text as Human-Readable Summaries using Generative Adversarial Networks, 2018,
    https://arxiv.org/abs/1810.02851 (words as a code; the critic of sequences, sec. 4.1)
Gulrajani et al.: Improved Training of Wasserstein GANs, 2017, https://arxiv.org/abs/1704.00028 (the critic's loss)
"""

from __future__ import annotations

import itertools
from typing import cast

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from pipelines.blocks import ResidualBlock, shrinking_layers, smallest_side
from pipelines.relaxation import exact_forward
from pipelines.words import NOTHING

BOTTLENECK = 64  # channels between the smallest feature map and a vector


class Reader(nn.Module):
    """Pictures to words: convolutions, then a recurrent cell that says one word after another."""

    def __init__(self, sample_size, channels, widths, layers, num_words, word_dim, hidden, num_styles):
        super().__init__()
        side = smallest_side(sample_size, len(widths))
        self.trunk = nn.Sequential(
            *shrinking_layers(channels, widths, layers),
            nn.Conv2d(widths[-1], BOTTLENECK, 1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(BOTTLENECK * side**2, hidden),
        )
        self.no_picture = nn.Parameter(torch.zeros(hidden))  # in place of what a picture shows
        self.embedding = nn.Embedding(num_words + 1, word_dim)
        self.cell = nn.GRUCell(word_dim, hidden)
        self.out = nn.Linear(hidden, word_dim)
        self.bias = nn.Parameter(torch.zeros(num_words + 1))
        self.style = nn.Linear(hidden, max(num_styles, 1))
        nn.init.normal_(self.embedding.weight, std=word_dim**-0.5)

    def see(self, x: torch.Tensor) -> torch.Tensor:
        """Return what a picture shows: [B, C, S, S] -> float32 [B, hidden]."""
        return F.silu(self.trunk(x).float())

    def start(self, seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the state before the first word and the embedding of no word: [B, hidden], [B, word_dim]."""
        weight = self.embedding.weight
        return seen.to(weight.dtype), weight[NOTHING].expand(len(seen), -1)

    def say(self, state: torch.Tensor, before: torch.Tensor, position: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the logits of the next word, float32 [B, V + 1], and the next state.

        Args:
            before: embedding of the word before, [B, word_dim].
            position: of the next word; a first word there always is.
        """
        state = self.cell(before, state)
        logits = self.out(state) @ self.embedding.weight.T + self.bias
        if position == 0:
            logits = logits.index_fill(1, torch.tensor([NOTHING], device=logits.device), -torch.inf)
        return logits.float(), state


class Writer(nn.Module):
    """Words, as one-hot vectors, and a style to pictures."""

    def __init__(self, sample_size, channels, widths, layers, num_words, word_dim, length, hidden, num_styles):
        super().__init__()
        self.side = smallest_side(sample_size, len(widths))
        self.embedding = nn.Parameter(torch.randn(num_words + 1, word_dim) / 4)
        self.style = nn.Parameter(torch.randn(max(num_styles, 1), word_dim))
        # each word at its place, and all of them whatever their order
        self.mix = nn.Sequential(nn.Linear((length + 2) * word_dim, hidden), nn.SiLU(), nn.Linear(hidden, hidden))
        self.activation = nn.SiLU()
        self.first = nn.Linear(hidden, BOTTLENECK * self.side**2)
        self.entry = nn.Conv2d(BOTTLENECK, widths[-1], 3, padding=1)
        following = (*reversed(widths[:-1]), channels)
        self.blocks = nn.ModuleList(nn.ModuleList(ResidualBlock(w) for _ in range(layers)) for w in reversed(widths))
        self.shifts = nn.ModuleList(nn.Linear(hidden, w) for w in reversed(widths))
        self.ups = nn.ModuleList(
            nn.Conv2d(a, 4 * b, 3, padding=1) for a, b in zip(reversed(widths), following, strict=True)
        )

    def forward(self, words: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
        """Draw words [B, L, V + 1] in styles [B, K], both one-hot or relaxed: float32 [B, C, S, S]."""
        embedded = words.to(self.embedding.dtype) @ self.embedding  # [B, L, word_dim]
        h = torch.cat([embedded.flatten(1), embedded.sum(1), styles.to(self.style.dtype) @ self.style], 1)
        h = self.activation(self.mix(h))  # [B, hidden]
        x = self.first(h).unflatten(1, (BOTTLENECK, self.side, self.side))
        x = self.entry(self.activation(x))  # [B, W, s, s]
        for blocks, shift, up in zip(self.blocks, self.shifts, self.ups, strict=True):
            x = x + shift(h)[:, :, None, None]
            for block in cast(nn.ModuleList, blocks):
                x = block(x)
            x = F.pixel_shuffle(up(self.activation(x)), 2)  # twice as large
        return x.float()


class WordAutoencoder(ModelMixin, ConfigMixin):
    """The reader and the writer, and the pile of names that they know.

    Images are [B, C, S, S] in [-1, 1]. Words are int64 [B, L] with NOTHING behind the last one, or one-hot [B, L, V + 1].

    Args:
        vocabulary: the V words in the order of their numbers, from 1.
        sample_size: S, side of the images.
        channels: C, 1 or 3.
        length: L, words of a code at most.
        num_names: size of the buffer `names`, int64 [num_names, L].
        num_styles: styles that the writer can draw in; 0: one.
        reader_widths, reader_layers: channels and residual blocks of each level of the reader.
        writer_widths, writer_layers: of the writer.
        word_dim: length of a word's embedding.
        hidden: length of the vector between pictures and words.
    """

    names: torch.Tensor

    @register_to_config
    def __init__(
        self,
        vocabulary: list[str],
        sample_size: int = 32,
        channels: int = 3,
        length: int = 4,
        num_names: int = 1,
        num_styles: int = 0,
        reader_widths: tuple[int, ...] = (32, 64, 128),
        reader_layers: int = 1,
        writer_widths: tuple[int, ...] = (48, 96, 160),
        writer_layers: int = 1,
        word_dim: int = 64,
        hidden: int = 256,
    ):
        super().__init__()
        self.reader = Reader(
            sample_size, channels, reader_widths, reader_layers, len(vocabulary), word_dim, hidden, num_styles
        )
        self.writer = Writer(
            sample_size, channels, writer_widths, writer_layers, len(vocabulary), word_dim, length, hidden, num_styles
        )
        self.register_buffer("names", torch.zeros(num_names, length, dtype=torch.int64))

    def one_hot(self, words: torch.Tensor) -> torch.Tensor:
        """Return words [B, L] as float32 [B, L, V + 1]."""
        return F.one_hot(words, len(self.config.vocabulary) + 1).float()

    def read(
        self, seen: torch.Tensor, noise: torch.Tensor | None = None, temperature: float = 1.0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Read words, one after another.

        Args:
            seen: of `Reader.see`, [B, hidden].
            noise: Gumbel noise [B, L, V + 1]; None: the likeliest word each time.
            temperature: of the relaxed words.

        Returns:
            Words one-hot [B, L, V + 1] with the gradient of the relaxed ones, and the relaxed ones.
        """
        state, before = self.reader.start(seen)
        over = torch.zeros(len(seen), dtype=torch.bool, device=seen.device)
        nothing = self.one_hot(torch.full((1,), NOTHING, device=seen.device))  # [1, V + 1]
        hard, relaxed = [], []
        for position in range(self.config.length):
            logits, state = self.reader.say(state, before, position)
            noisy = logits if noise is None else logits + noise[:, position]
            soft = (noisy / temperature).softmax(1)  # [B, V + 1]
            best = self.one_hot(noisy.argmax(1))
            word = exact_forward(best, soft)
            word, soft = (torch.where(over[:, None], nothing, kind) for kind in (word, soft))
            over = over | (best[:, NOTHING] > 0)
            before = word.to(state.dtype) @ self.reader.embedding.weight
            hard.append(word)
            relaxed.append(soft)
        return torch.stack(hard, 1), torch.stack(relaxed, 1)

    def log_probability(self, words: torch.Tensor, seen: torch.Tensor | None = None) -> torch.Tensor:
        """Return log q(w_l | w_<l, x) of each word, float32 [B, L]: 0 behind the end. Without x it is that of the names.

        Args:
            words: int64 [B, L].
            seen: of `Reader.see`, [B, hidden]; None: no picture.
        """
        seen = self.no_picture(len(words)) if seen is None else seen
        state, before = self.reader.start(seen)
        over = torch.zeros(len(words), dtype=torch.bool, device=words.device)
        found = []
        for position in range(words.shape[1]):
            logits, state = self.reader.say(state, before, position)
            log_p = logits.log_softmax(1).gather(1, words[:, position, None])[:, 0]
            found.append(log_p.masked_fill(over, 0.0))
            over = over | (words[:, position] == NOTHING)
            before = self.reader.embedding(words[:, position])
        return torch.stack(found, 1)

    def no_picture(self, number: int) -> torch.Tensor:
        """Return what stands for no picture, [number, hidden]."""
        return self.reader.no_picture.float().expand(number, -1)  # [number, hidden]

    def forward(self, x: torch.Tensor, styles: torch.Tensor) -> torch.Tensor:
        """Read pictures and write their likeliest words again: float32 [B, C, S, S]."""
        return self.writer(self.read(self.reader.see(x))[0], styles)


class WordCritic(nn.Module):
    """Rates sequences of words by how much they look like names. Only training needs it; it is not part of a checkpoint.

    Args:
        num_words: V.
        length: L.
    """

    def __init__(self, num_words: int, length: int, word_dim: int = 64, hidden: int = 256):
        super().__init__()
        self.embedding = nn.Linear(num_words + 1, word_dim, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.3)
        sizes = (length * word_dim, hidden, hidden)
        layers = [m for a, b in itertools.pairwise(sizes) for m in (nn.Linear(a, b), nn.LeakyReLU(0.2))]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, 1))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Rate words [B, L, V + 1], one-hot or relaxed: float32 [B], high for names."""
        return self.layers(self.embedding(words).flatten(1))[:, 0].float()


def gradient_penalty(
    critic: nn.Module, real: torch.Tensor, fake: torch.Tensor, generator: torch.Generator | None
) -> torch.Tensor:
    """Return E (|grad D(x)| - 1)^2 at points between real and made words (Gulrajani et al. 2017 eq. 3): scalar.

    Args:
        real, fake: [B, L, V + 1], without gradient.
    """
    share = torch.rand(len(real), 1, 1, generator=generator, device=real.device)
    between = torch.lerp(fake, real, share).requires_grad_()
    gradient = torch.autograd.grad(critic(between).sum(), between, create_graph=True)[0]
    return (gradient.flatten(1).norm(dim=1) - 1).square().mean()
