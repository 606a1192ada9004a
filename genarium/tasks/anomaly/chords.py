"""Music-like sounds, which no model of speech has heard."""

from __future__ import annotations

import math

import numpy as np


def chords(number: int, samples: int, rate: int, seed: int) -> list[np.ndarray]:
    """Synthesise struck chords of four notes with harmonics, two a second.

    Args:
        number: of sounds.
        samples: length of each.
        rate: in Hz.
        seed: of the notes.

    Returns:
        float32 [samples] each, with a peak of 0.1.
    """
    rng, t = np.random.default_rng(seed), np.arange(samples) / rate
    found = []
    for _ in range(number):
        sound = np.zeros(samples)
        for start in np.arange(0, samples / rate, 0.5):
            since = np.clip(t - start, 0, None)
            for note in rng.integers(40, 80, 4):
                hz = 440 * 2 ** ((note - 69) / 12)
                tone = sum(np.sin(2 * math.pi * hz * h * since) / h for h in range(1, 6) if hz * h < rate / 2)
                sound += tone * np.exp(-4 * since) * (t >= start)
        found.append((0.1 * sound / np.abs(sound).max()).astype(np.float32))
    return found
