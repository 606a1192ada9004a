"""Losses of a vocoder: spectral distances, and discriminators of waveforms. Only training needs them.

No module of this file is part of a checkpoint.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import nn

from pipelines.modeling_voice_vocoder import FLOOR, magnitudes

Opinion = tuple[
    torch.Tensor, list[torch.Tensor]
]  # logits of a discriminator, high for real; the features of its layers


class PeriodDiscriminator(nn.Module):
    """A discriminator of every p-th sample (Kong et al., HiFi-GAN, 2020, sec. 2.3, https://arxiv.org/abs/2010.05646)."""

    def __init__(self, period: int, width: int):
        super().__init__()
        self.period = period
        sizes = (1, width, 2 * width, 4 * width)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, (5, 1), (3, 1), (2, 0)) for a, b in itertools.pairwise(sizes))
        self.mix = nn.Conv2d(4 * width, 4 * width, (5, 1), padding=(2, 0))
        self.head = nn.Conv2d(4 * width, 1, (3, 1), padding=(1, 0))

    def forward(self, x: torch.Tensor) -> Opinion:
        """Return logits and features of waveforms [B, T]."""
        x = F.pad(x, (0, -x.shape[-1] % self.period)).unflatten(-1, (-1, self.period))[:, None]  # [B, 1, T / p, p]
        features = []
        for layer in (*self.layers, self.mix):
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.head(x).float(), features


class SpectrumDiscriminator(nn.Module):
    """A discriminator of a log-magnitude spectrogram (Jang et al., UnivNet, 2021, sec. 2.2).

    https://arxiv.org/abs/2106.07889
    """

    def __init__(self, n_fft: int, width: int):
        super().__init__()
        self.n_fft = n_fft
        sizes = (1, width, 2 * width, 2 * width)
        strides = ((1, 2), (2, 2), (2, 2))
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, (3, 5), stride, (1, 2)) for a, b, stride in zip(sizes[:-1], sizes[1:], strides, strict=True)
        )
        self.head = nn.Conv2d(2 * width, 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> Opinion:
        """Return logits and features of waveforms [B, T]."""
        x = F.pad(x, (0, -x.shape[-1] % (self.n_fft // 4)))
        x = (magnitudes(x, self.n_fft, self.n_fft // 4).clamp(min=FLOOR).log().mT[:, None] + 3) / 3  # [B, 1, t, f]
        features = []
        for layer in self.layers:
            x = F.leaky_relu(layer(x), 0.1)
            features.append(x)
        return self.head(x).float(), features


class VocoderDiscriminator(nn.Module):
    """Discriminators of several periods and of several resolutions, side by side.

    Args:
        width: of the first layer of each.
        periods: of the samples that a discriminator sees; none leaves this kind out.
        windows: of the spectrograms, samples; none leaves this kind out.
    """

    def __init__(self, width: int = 16, periods: tuple[int, ...] = (2, 5, 11), windows: tuple[int, ...] = (256, 768)):
        super().__init__()
        self.parts = nn.ModuleList(
            [PeriodDiscriminator(p, width) for p in periods] + [SpectrumDiscriminator(n, width) for n in windows]
        )

    def forward(self, x: torch.Tensor) -> list[Opinion]:
        """Return the logits and features of each discriminator for waveforms [B, T]."""
        return [part(x) for part in self.parts]


def discriminators_loss(real: list[Opinion], fake: list[Opinion]) -> torch.Tensor:
    """Return the hinge loss of the discriminators, mean over them (Vocos sec. 3.3): scalar."""
    terms = [F.relu(1 - a).mean() + F.relu(1 + b).mean() for (a, _), (b, _) in zip(real, fake, strict=True)]
    return torch.stack(terms).mean()


def generator_loss(fake: list[Opinion]) -> torch.Tensor:
    """Return the hinge loss of the vocoder that the discriminators judge, mean over them (Vocos sec. 3.3): scalar."""
    return torch.stack([F.relu(1 - logits).mean() for logits, _ in fake]).mean()


def all_features(opinions: list[Opinion]) -> list[torch.Tensor]:
    """Return the features of all layers of all discriminators."""
    return [feature for _, features in opinions for feature in features]


def spectral_distance(x: torch.Tensor, y: torch.Tensor, windows: tuple[int, ...] = (256, 512, 1024)) -> torch.Tensor:
    """Return spectral convergence and log-magnitude distance, averaged over resolutions: scalar.

    Yamamoto, Song, Kim: Parallel WaveGAN, 2020, eq. 4-6 (https://arxiv.org/abs/1910.11480).

    Args:
        x: the true waveforms [B, T].
        y: [B, T].
        windows: of the resolutions, samples.
    """
    total = x.new_zeros(())
    for n_fft in windows:
        rest = -x.shape[-1] % (n_fft // 4)
        a, b = (magnitudes(F.pad(w, (0, rest)), n_fft, n_fft // 4) for w in (x, y))
        convergence = (a - b).norm(dim=(1, 2)) / a.norm(dim=(1, 2)).clamp(min=1e-3)
        floor = 1e-3  # below, rounding noise of silent recordings would weigh as much as speech
        total = total + convergence.mean() + (a.clamp(min=floor).log() - b.clamp(min=floor).log()).abs().mean()
    return total / len(windows)
