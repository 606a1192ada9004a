"""What conversions of voices are measured by: a speaker encoder of others', a recogniser, and distances of spectra.

Papers:
    Wan et al.: Generalized End-to-End Loss for Speaker Verification, 2018, https://arxiv.org/abs/1710.10467 (Resemblyzer)
    Kubichek: Mel-cepstral distance measure for objective speech quality assessment, 1993
"""

from __future__ import annotations

import math

import numpy as np

from genarium.errors import GenariumError

INSTALL = "pip install -r requirements-voice.txt && pip install --no-deps Resemblyzer==0.1.4"
RATE = 16000  # what both Resemblyzer and PocketSphinx are made for
CEPSTRA = 13


class Listener:
    """Tells voices apart: Resemblyzer's encoder, which our training never saw.

    Raises:
        GenariumError: it is not installed.
    """

    def __init__(self):
        try:
            from resemblyzer import VoiceEncoder, preprocess_wav
        except ImportError as error:
            raise GenariumError(f"Resemblyzer is missing: {INSTALL}") from error
        self._encoder, self._preprocess = VoiceEncoder("cpu", verbose=False), preprocess_wav

    def voice(self, sound: np.ndarray) -> np.ndarray:
        """Float [T] at 16 kHz -> float32 [256] of length 1."""
        prepared = self._preprocess(sound, source_sr=RATE)
        # what its voice activity detector takes for no speech at all is embedded as it is
        return self._encoder.embed_utterance(prepared if len(prepared) > RATE // 4 else sound)


class Recogniser:
    """Tells which of some sentences was said: PocketSphinx with these sentences for a grammar.

    Args:
        sentences: to choose from; those with words that its dictionary lacks are left out.

    Raises:
        GenariumError: it is not installed, or knows none of the sentences.
    """

    def __init__(self, sentences: list[str]):
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise GenariumError(f"PocketSphinx is missing: {INSTALL}") from error
        self._decoder = Decoder(samprate=RATE, loglevel="FATAL")
        wanted = sorted({plain(s) for s in sentences} - {""})
        self.sentences = [s for s in wanted if all(self._decoder.lookup_word(word) for word in s.split())]
        if not self.sentences:
            raise GenariumError("PocketSphinx knows the words of none of the sentences.")
        grammar = f"#JSGF V1.0; grammar known; public <known> = {' | '.join(self.sentences)};"
        self._decoder.add_jsgf_string("known", grammar)
        self._decoder.activate_search("known")

    def knows(self, text: str) -> bool:
        return plain(text) in self.sentences

    def hear(self, sound: np.ndarray) -> str:
        """Float [T] at 16 kHz -> the sentence, or "" if none fits."""
        quiet = np.zeros(RATE // 5, np.float32)  # the recogniser needs silence around a sentence
        samples = np.concatenate([quiet, sound * (0.5 / max(np.abs(sound).max(), 1e-6)), quiet])
        self._decoder.start_utt()
        self._decoder.process_raw((samples * 32767).astype(np.int16).tobytes(), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return found.hypstr if found is not None else ""


def plain(text: str) -> str:
    """Lower case, with letters and apostrophes only, as dictionaries have words."""
    return " ".join("".join(c if c.isalpha() or c == "'" else " " for c in text.lower()).split())


def mel_cepstra(log_mel: np.ndarray) -> np.ndarray:
    """Log-mel magnitudes [bands, T] -> coefficients 1 ... 13 of their cosine series, [T, 13]; loudness is left out."""
    bands = len(log_mel)
    k = np.arange(1, CEPSTRA + 1)[:, None]
    cosines = 2 / bands * np.cos(math.pi * k * (np.arange(bands) + 0.5) / bands)  # [13, bands]
    return (cosines @ log_mel).T


def warped_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Mel-cepstral distortion in dB of two utterances of one sentence, [T, D] and [S, D], along their best alignment.

    10 / ln 10 sqrt(2 sum_d (a_d - b_d)^2), mean over the path of dynamic time warping (Sakoe and Chiba 1978).
    """
    cost = 10 / math.log(10) * np.sqrt(2 * ((a[:, None] - b[None]) ** 2).sum(-1))
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    steps = np.zeros((rows + 1, columns + 1), np.int64)
    total[0, 0] = 0
    for i in range(1, rows + 1):
        for j in range(1, columns + 1):
            before = min(((i - 1, j - 1), (i - 1, j), (i, j - 1)), key=lambda place: total[place])
            total[i, j] = total[before] + cost[i - 1, j - 1]
            steps[i, j] = steps[before] + 1
    return float(total[-1, -1] / steps[-1, -1])


def chords(number: int, samples: int, rate: int, seed: int) -> list[np.ndarray]:
    """Music-like sounds that nobody says: struck chords of four notes with harmonics, float32 [samples] each."""
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
