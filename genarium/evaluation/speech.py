"""Instruments for speech: a speaker encoder, a recogniser of sentences, and distances of spectra.

Resemblyzer judges whose voice it is, PocketSphinx what is said. Neither had a part in the training of our checkpoints.

Papers:
    Wan et al.: Generalized End-to-End Loss for Speaker Verification, 2018, https://arxiv.org/abs/1710.10467 (Resemblyzer)
    Kubichek: Mel-cepstral distance measure for objective speech quality assessment, 1993
"""

from __future__ import annotations

import math

import numpy as np

from genarium.errors import NotMeasurableError

INSTALL = "pip install -r requirements-voice.txt && pip install --no-deps Resemblyzer==0.1.4"
RATE = 16000  # what both Resemblyzer and PocketSphinx are made for
CEPSTRA = 13


class SpeakerEncoder:
    """Resemblyzer's encoder: a sound to a vector that is similar for sounds of the same voice.

    Raises:
        NotMeasurableError: Resemblyzer is not installed.
    """

    def __init__(self):
        try:
            from resemblyzer import VoiceEncoder, preprocess_wav
        except ImportError as error:
            raise NotMeasurableError(f"Resemblyzer is missing: {INSTALL}") from error
        self._encoder, self._preprocess = VoiceEncoder("cpu", verbose=False), preprocess_wav

    def embed(self, sound: np.ndarray) -> np.ndarray:
        """Return the embedding of a sound float [T] at 16 kHz, float32 [256] of length 1."""
        prepared = self._preprocess(sound, source_sr=RATE)
        # a sound in which its detector finds no speech is embedded as it is
        return self._encoder.embed_utterance(prepared if len(prepared) > RATE // 4 else sound)


class Recogniser:
    """PocketSphinx with a grammar of some sentences, to recognise which of them was said.

    Args:
        sentences: to choose from. Those with words that its dictionary lacks are left out.

    Raises:
        NotMeasurableError: PocketSphinx is not installed, or knows none of the sentences.
    """

    def __init__(self, sentences: list[str]):
        try:
            from pocketsphinx import Decoder
        except ImportError as error:
            raise NotMeasurableError(f"PocketSphinx is missing: {INSTALL}") from error
        self._decoder = Decoder(samprate=RATE, loglevel="FATAL")
        wanted = sorted({plain(s) for s in sentences} - {""})
        self.sentences = [s for s in wanted if all(self._decoder.lookup_word(word) for word in s.split())]
        if not self.sentences:
            raise NotMeasurableError("PocketSphinx knows the words of none of the sentences.")
        grammar = f"#JSGF V1.0; grammar known; public <known> = {' | '.join(self.sentences)};"
        self._decoder.add_jsgf_string("known", grammar)
        self._decoder.activate_search("known")

    def knows(self, text: str) -> bool:
        """Return whether a text is one of the sentences."""
        return plain(text) in self.sentences

    def recognise(self, sound: np.ndarray) -> str:
        """Return the sentence in a sound float [T] at 16 kHz, or "" if none fits."""
        quiet = np.zeros(RATE // 5, np.float32)  # the recogniser needs silence around a sentence
        samples = np.concatenate([quiet, sound * (0.5 / max(np.abs(sound).max(), 1e-6)), quiet])
        self._decoder.start_utt()
        self._decoder.process_raw((samples * 32767).astype(np.int16).tobytes(), full_utt=True)
        self._decoder.end_utt()
        found = self._decoder.hyp()
        return found.hypstr if found is not None else ""


def plain(text: str) -> str:
    """Return a text in lower case with letters and apostrophes only, as dictionaries have words."""
    return " ".join("".join(c if c.isalpha() or c == "'" else " " for c in text.lower()).split())


def mel_cepstra(log_mel: np.ndarray) -> np.ndarray:
    """Compute coefficients 1 ... 13 of the cosine series of log-mel magnitudes. Coefficient 0, the loudness, is left out.

    Args:
        log_mel: [bands, T].

    Returns:
        [T, 13].
    """
    bands = len(log_mel)
    k = np.arange(1, CEPSTRA + 1)[:, None]
    cosines = 2 / bands * np.cos(math.pi * k * (np.arange(bands) + 0.5) / bands)  # [13, bands]
    return (cosines @ log_mel).T


def warped_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the mel-cepstral distortion of two utterances of one sentence along their best alignment.

    10 / ln 10 sqrt(2 sum_d (a_d - b_d)^2) (Kubichek 1993), mean over the path of dynamic time warping (Sakoe and Chiba 1978).

    Args:
        a, b: mel cepstra [T, D] and [S, D].

    Returns:
        The distortion in dB.
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
