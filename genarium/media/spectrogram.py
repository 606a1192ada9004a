"""Mel spectrograms of sounds as pictures, by NumPy alone."""

from __future__ import annotations

import math

import numpy as np
import PIL.Image

from genarium.media.pictures import in_inferno

WINDOW_SECONDS = 0.064
BANDS = 80
COLUMNS = 640  # of a picture at most: a long recording is sampled, not averaged
RANGE = 70.0  # dB between the brightest and the darkest colour
BLOCK = 512  # windows transformed at once


def mel_filters(rate: int, size: int, bands: int = BANDS) -> np.ndarray:
    """Return triangular filters that are evenly spaced on the mel scale, m = 2595 log10(1 + f / 700).

    Returns:
        float [bands, size / 2 + 1].
    """
    top = 2595 * math.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, bands + 2) / 2595) - 1)
    frequencies = np.fft.rfftfreq(size, 1 / rate)
    left, middle, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    rising, falling = (frequencies - left) / (middle - left), (right - frequencies) / (right - middle)
    return np.clip(np.minimum(rising, falling), 0, None)


def mel_spectrogram(samples: np.ndarray, rate: int) -> np.ndarray:
    """Return the energy in mel bands over time, in dB below its maximum: float [BANDS, at most COLUMNS], low frequencies first.

    Args:
        samples: float [T].
        rate: in Hz.
    """
    size = 2 ** round(math.log2(WINDOW_SECONDS * rate))
    hop = max(size // 8, -(-len(samples) // COLUMNS))
    padded = np.pad(np.asarray(samples, np.float32), size // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][:COLUMNS]
    hann, filters = np.hanning(size).astype(np.float32), mel_filters(rate, size)
    blocks = [windows[i : i + BLOCK] * hann for i in range(0, len(windows), BLOCK)]
    power = np.concatenate([np.abs(np.fft.rfft(block)) ** 2 @ filters.T for block in blocks]).T
    floor = max(float(power.max()), 1e-12)
    return 10 * np.log10(np.maximum(power / floor, 1e-12))


def mel_picture(samples: np.ndarray, rate: int) -> PIL.Image.Image:
    """Return a mel spectrogram as a picture, a pixel each: time to the right, high frequencies above, loud is bright."""
    share = np.clip(1 + mel_spectrogram(samples, rate) / RANGE, 0, 1)
    return in_inferno(share[::-1])
