"""Measures of a clip of speech: its level, its melody, and the statistics of its spectrogram's bands.

Pitch is the binary logarithm of the frequency in Hz, 0 where nothing is voiced. A log-mel spectrogram is the natural logarithm
of magnitudes.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

LEVEL = 1000 / 32768  # root mean square of the active parts to which all clips are brought
SILENCE = math.log(1e-5)  # the lowest value of a log-mel spectrogram


def active_level(x: torch.Tensor) -> torch.Tensor:
    """Return the root mean square of clips [..., T] over the windows within 26 dB of the loudest, [...].

    A window has 400 samples, 25 ms at 16 kHz.
    """
    power = F.pad(x.float(), (0, -x.shape[-1] % 400)).unflatten(-1, (-1, 400)).square().mean(-1)
    active = power > power.amax(-1, keepdim=True) / 400
    return ((power * active).sum(-1) / active.sum(-1).clamp(min=1)).sqrt()


def bring_to_level(x: torch.Tensor) -> torch.Tensor:
    """Return clips [B, T] at the level of all training, `LEVEL`."""
    return x * (LEVEL / active_level(x).clamp(min=1e-4))[:, None]


def cross_fade(a: torch.Tensor, b: torch.Tensor, overlap: int) -> torch.Tensor:
    """Join two waveforms [T] and [S] that overlap in time, [T + S - overlap].

    Args:
        a, b: the last `overlap` samples of `a` are at the same time as the first of `b`.
        overlap: samples.
    """
    if not overlap:
        return torch.cat([a, b])
    weights = torch.linspace(0, 1, overlap + 2, device=a.device, dtype=a.dtype)[1:-1]
    return torch.cat([a[:-overlap], torch.lerp(a[-overlap:], b[:overlap], weights), b[overlap:]])


def median_pitch(pitch: torch.Tensor) -> torch.Tensor:
    """Return the median over the voiced frames of each row [B, T], [B]. It is NaN for a row with no voiced frame."""
    return torch.where(pitch > 0, pitch, math.nan).nanmedian(-1).values


def transpose_pitch(pitch: torch.Tensor, median: torch.Tensor) -> torch.Tensor:
    """Move each melody [B, T] to another median pitch [B].

    A melody stays as it is where either median is NaN.
    """
    return torch.where(pitch > 0, pitch + (median - median_pitch(pitch)).nan_to_num(0.0)[:, None], pitch)


def band_statistics(mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation of each band over the frames within 26 dB of the loudest.

    Args:
        mel: log-mel spectrogram [1, bands, T].

    Returns:
        Two tensors [1, bands].
    """
    power = mel.exp().mean(1)  # [1, T]
    loud = mel[:, :, (power > power.amax(-1, keepdim=True) / 20)[0]]
    return loud.mean(-1), (loud.var(-1, correction=0) + 0.01).sqrt()


def match_band_statistics(mel: torch.Tensor, mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """Give each band of a spectrogram [1, bands, T] another mean and standard deviation, each [1, bands].

    A decoder trained by an absolute difference draws the spectrum of an unknown voice towards those of the training, and
    smooths it. The statistics of a clip correct both (AdaIN-VC eq. 4, on the output; Toda, Black and Tokuda 2007, sec. 4,
    on the deviation).
    """
    own_mean, own_deviation = band_statistics(mel)
    gain = (deviation / own_deviation).clamp(0.25, 4)  # the deviation is not reliable in a clip of one vowel
    return ((mel - own_mean[..., None]) * gain[..., None] + mean[..., None]).clamp(min=SILENCE)
