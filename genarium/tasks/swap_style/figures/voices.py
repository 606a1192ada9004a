"""Figures of converted voices: whose voice is it, are the words still there, how far is it from the speaker's own reading."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterable

import numpy as np
import torch
from tqdm.auto import tqdm

from genarium.data.audio import AudioData
from genarium.errors import NotMeasurableError
from genarium.evaluation.audio import AudioEvaluation
from genarium.evaluation.figure import Column, Figure, Metric, Part
from genarium.evaluation.speech import Recogniser, SpeakerEncoder, mel_cepstra, plain, warped_distance
from genarium.hardware import describe_hardware

TIMED_SECONDS, TIMED_RUNS = 10, 3


def convert(evaluation: AudioEvaluation, data: AudioData, content: int, style: int) -> np.ndarray:
    """Convert one clip into the voice of another, both given by number, float32 [T]."""
    generator = torch.Generator().manual_seed(evaluation.seed)
    return evaluation.pipeline.swap_style(data.clip(content), data.clip(style), generator=generator).audios[0]


SPEAKERS = "{speakers} speakers"
PAIRS = (
    "{n} pairs of different speakers of {data}, {speakers} in training, one style clip each; cosine of Resemblyzer "
    "embeddings with the mean of each speaker's other clips"
)
CLOSER = Figure(
    "target_beats_source", "Conversions closer to the target voice than to the source", PAIRS, variant=SPEAKERS
)
TO_TARGET = Figure("similarity_to_target", "Cosine similarity to the target voice", PAIRS, variant=SPEAKERS)
TO_SOURCE = Figure("similarity_to_source", "Cosine similarity to the source voice", PAIRS, variant=SPEAKERS)

SENTENCES = (
    "share of {n} clips of {data}, speakers {speakers} in training, in which PocketSphinx recognises the sentence among "
    "{sentences}"
)
RECOGNISED = {
    "original": Figure("sentences_original", "Sentences recognised in originals", SENTENCES, variant=SPEAKERS),
    "vocoded": Figure("sentences_vocoded", "Sentences recognised in vocoded originals", SENTENCES, variant=SPEAKERS),
    "converted": Figure("sentences_converted", "Sentences recognised in conversions", SENTENCES, variant=SPEAKERS),
}
KEPT = Figure(
    "content_kept",
    "Sentences recognised in conversions, relative to vocoded originals",
    "sentences recognised in conversions, divided by those recognised in the vocoded originals; " + SENTENCES,
    variant=SPEAKERS,
)

PARALLEL = (
    "{n} pairs of {test} in which two speakers say the same sentence, voice taken from another clip; 13 coefficients of "
    "log-mel without loudness, aligned by dynamic time warping"
)
DISTORTION = Figure("mel_cepstral_distortion", "Mel-cepstral distortion of conversions", PARALLEL, unit="dB")
DISTORTION_OF_SOURCE = Figure(
    "distortion_of_source",
    "Mel-cepstral distortion of the unchanged source",
    "the source unchanged; " + PARALLEL,
    unit="dB",
)
REAL_TIME_FACTOR = Figure(
    "real_time_factor",
    "Real-time factor of a conversion",
    f"{TIMED_SECONDS} s in the voice of a clip of 5 s, warm, median of {TIMED_RUNS}; {{machine}}",
)


def measure_similarity(evaluation: AudioEvaluation) -> list[Metric]:
    """Measure whether a conversion is closer to the requested voice than to the voice of its source.

    Raises:
        NotMeasurableError: Resemblyzer is not installed, or only one person speaks.
    """
    encoder, found = SpeakerEncoder(), []
    for kind, data in evaluation.splits().items():
        voices = SpeakerMeans(encoder, data, evaluation.speakers(data), f"voices, {kind}")
        target, source = [], []
        pairs = evaluation.pairs(data, evaluation.num_samples)
        for content, style in tqdm(pairs, desc=f"conversions, {kind}", leave=False):
            voice = encoder.embed(convert(evaluation, data, content, style))
            target.append(float(voice @ voices.without(style)))
            source.append(float(voice @ voices.without(content)))
        facts, number = {"data": evaluation.spec.name, "speakers": kind}, len(pairs)
        closer = np.mean(np.array(target) > np.array(source))
        for figure, value in ((CLOSER, closer), (TO_TARGET, np.mean(target)), (TO_SOURCE, np.mean(source))):
            found.append(evaluation.metric(figure, value, number, facts, speakers=kind))
    return found


class SpeakerMeans:
    """Mean embeddings of speakers.

    Args:
        encoder: embeds the clips.
        data: the clips.
        speakers: number of each clip's speaker.
        description: of the progress bar.
    """

    def __init__(self, encoder: SpeakerEncoder, data: AudioData, speakers: list[int], description: str):
        self.voices = [encoder.embed(data.clip(i)) for i in tqdm(range(len(data)), desc=description, leave=False)]
        self.speakers = speakers
        self.clips = defaultdict(list)  # of each speaker
        for clip, speaker in enumerate(speakers):
            self.clips[speaker].append(clip)

    def without(self, clip: int) -> np.ndarray:
        """Return the mean voice of a clip's speaker, of length 1, over the speaker's other clips if there are any."""
        rest = [self.voices[i] for i in self.clips[self.speakers[clip]] if i != clip] or [self.voices[clip]]
        mean = np.mean(rest, axis=0)
        return mean / np.linalg.norm(mean)


def measure_content(evaluation: AudioEvaluation) -> list[Metric]:
    """Count sentences that are recognised in originals, in vocoded originals and in conversions.

    Raises:
        NotMeasurableError: PocketSphinx is not installed, or only one person speaks.
    """
    found = []
    for kind, data in evaluation.splits().items():
        recogniser = Recogniser(data.texts)
        pairs = evaluation.pairs(data, 4 * evaluation.num_test)
        pairs = [(c, s) for c, s in pairs if recogniser.knows(data.texts[c])][: evaluation.num_test]
        if not pairs:
            continue
        number, right = len(pairs), dict.fromkeys(RECOGNISED, 0)
        for content, style in tqdm(pairs, desc=f"sentences, {kind}", leave=False):
            sounds = {
                "original": data.clip(content),
                "vocoded": evaluation.pipeline.vocode(data.clip(content))[0],
                "converted": convert(evaluation, data, content, style),
            }
            for name, sound in sounds.items():
                right[name] += recogniser.recognise(sound) == plain(data.texts[content])
        facts = {"data": evaluation.spec.name, "speakers": kind, "sentences": len(recogniser.sentences)}
        for name, figure in RECOGNISED.items():
            found.append(evaluation.metric(figure, right[name] / number, number, facts, speakers=kind))
        if right["vocoded"]:
            kept = right["converted"] / right["vocoded"]
            found.append(evaluation.metric(KEPT, kept, number, facts, speakers=kind))
    return found


def measure_distortion(evaluation: AudioEvaluation) -> list[Metric]:
    """Measure the mel-cepstral distortion of conversions and of unchanged sources, where speakers share sentences.

    Raises:
        NotMeasurableError: no two speakers say the same sentence.
    """
    data, of = evaluation.test, evaluation.speakers(evaluation.test)
    parallel = parallel_clips(data.texts, of)
    if not parallel:
        raise NotMeasurableError(f"{evaluation.spec.name}: no two speakers say the same sentence.")
    order = np.random.default_rng(evaluation.seed).permutation(len(parallel))[: evaluation.num_test]
    converted, unchanged = [], []
    for k in tqdm(order, desc="distortion", leave=False):
        a, b = parallel[k]
        styles = [i for i in range(len(data)) if of[i] == of[b] and i != b]
        style = max(styles or [b], key=lambda i: len(data.waveforms[i]))
        truth = mel_cepstra(evaluation.log_mel(data.clip(b)))
        conversion = mel_cepstra(evaluation.log_mel(convert(evaluation, data, a, style)))
        converted.append(warped_distance(conversion, truth))
        unchanged.append(warped_distance(mel_cepstra(evaluation.log_mel(data.clip(a))), truth))
    facts, number = {"test": evaluation.test_name}, len(order)
    return [
        evaluation.metric(DISTORTION, np.mean(converted), number, facts),
        evaluation.metric(DISTORTION_OF_SOURCE, np.mean(unchanged), number, facts),
    ]


def parallel_clips(texts: Iterable[str], speakers: list[int]) -> list[tuple[int, int]]:
    """Return all pairs of clips in which two different speakers say the same sentence."""
    same: dict[str, dict[int, int]] = defaultdict(dict)  # sentence -> speaker -> first clip
    for i, text in enumerate(texts):
        same[plain(text)].setdefault(speakers[i], i)
    return [(a, b) for said in same.values() for a in said.values() for b in said.values() if a != b]


def measure_speed(evaluation: AudioEvaluation) -> list[Metric]:
    """Measure seconds of computing for each second of sound: both encoders, decoder and vocoder."""
    rate, data = evaluation.spec.sampling_rate, evaluation.test
    clips = [data.clip(i) for i in evaluation.some(data, 20)]
    sound = np.resize(np.concatenate(clips), TIMED_SECONDS * rate)
    times = []
    for _ in range(1 + TIMED_RUNS):  # the first warms up
        started = time.perf_counter()
        evaluation.pipeline.swap_style(sound, sound[: 5 * rate])
        times.append(time.perf_counter() - started)
    machine = describe_hardware(evaluation.pipeline.device, evaluation.pipeline.dtype)
    factor = statistics.median(times[1:]) / TIMED_SECONDS
    return [evaluation.metric(REAL_TIME_FACTOR, factor, 1, {"machine": machine}, hardware=machine)]


PARTS = (
    Part(
        "similarity",
        "audio",
        "swap_style",
        (CLOSER, TO_TARGET, TO_SOURCE),
        measure_similarity,
        columns=(
            Column(
                "target nearer than source",
                lambda measured: measured.show("{:.0%}", "target_beats_source", speakers="known"),
                "conversions whose voice is more similar to the target speaker than to the source speaker. *Unseen "
                "speakers* were not in the training data.",
            ),
            Column(
                "unseen speakers",
                lambda measured: measured.show("{:.0%}", "target_beats_source", speakers="unseen"),
            ),
        ),
        rank=lambda measured: -measured.find("target_beats_source", speakers="known").get("value", 0.0),
    ),
    Part(
        "content",
        "audio",
        "swap_style",
        (*RECOGNISED.values(), KEPT),
        measure_content,
        columns=(
            Column(
                "content kept",
                lambda measured: measured.show("{:.2f}", "content_kept", speakers="known"),
                "sentences recognised in conversions, divided by those recognised in vocoded originals.",
            ),
            Column(
                "unseen speakers",
                lambda measured: measured.show("{:.2f}", "content_kept", speakers="unseen"),
            ),
        ),
    ),
    Part(
        "distortion",
        "audio",
        "swap_style",
        (DISTORTION, DISTORTION_OF_SOURCE),
        measure_distortion,
        columns=(
            Column(
                "mel-cepstral distortion",
                lambda measured: measured.show("{:.1f} dB", "mel_cepstral_distortion"),
                "from the target speaker's own recording of the same sentence. *Of the source*: of the unchanged source.",
            ),
            Column("of the source", lambda measured: measured.show("{:.1f} dB", "distortion_of_source")),
        ),
    ),
    Part(
        "speed",
        "audio",
        "swap_style",
        (REAL_TIME_FACTOR,),
        measure_speed,
        columns=(
            Column(
                "real-time factor",
                lambda measured: measured.show("{:.2g}", "real_time_factor"),
                "seconds of computing for one second of converted sound.",
            ),
        ),
    ),
)
