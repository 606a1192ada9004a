"""How good a checkpoint of voices is, in figures: the parts of an evaluation of sound.

Whose voice a conversion has is judged by Resemblyzer, what it says by PocketSphinx; neither had a part in the training.
"""

from __future__ import annotations

import os
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from tqdm.auto import tqdm

from genarium.checkpoints import MODEL_INDEX, Checkpoint
from genarium.data.audio import AudioData, load_audio
from genarium.errors import CheckpointError, DataError, GenariumError, RecipeError
from genarium.evaluation.measures import area_under_roc
from genarium.evaluation.voice_measures import Listener, Recogniser, chords, mel_cepstra, plain, warped_distance
from genarium.pictures import enlarge, heat_map
from genarium.recipe import AudioSpec, Recipe
from genarium.records import EVALUATION, hardware, report, write_json, write_quantiles
from genarium.runtime import Runtime

# part -> the method that the pipeline needs for it
PARTS = {
    "similarity": "swap_style",
    "content": "swap_style",
    "distortion": "swap_style",
    "reconstruction": "reconstruct",
    "anomaly": "anomaly_score",
    "speed": "swap_style",
}
TIMED_SECONDS, TIMED_RUNS = 10, 3
STYLE_SECONDS = 2, 10  # of the clips that voices are taken from, where there are such
NUM_SAMPLES = 3


@dataclass
class _Evaluation:
    """One evaluation in progress: what is measured, on what."""

    pipeline: Any
    checkpoint: Checkpoint
    recipe: Recipe
    data_override: str | Path | None
    num_pairs: int
    num_clips: int

    @property
    def spec(self) -> AudioSpec:
        return self.recipe.data

    @property
    def seed(self) -> int:
        return self.recipe.evaluation.seed

    @cached_property
    def test(self) -> AudioData:
        return load_audio(self.spec, self.spec.test_split, self.data_override)

    @cached_property
    def listener(self) -> Listener:
        return Listener()

    def splits(self) -> dict[str, AudioData]:
        """Speakers of the training, and where the recipe names such a split, speakers that were never heard."""
        found = {"known": self.test}
        if self.spec.unseen_split:
            found["unseen"] = load_audio(self.spec, self.spec.unseen_split, self.data_override)
        return found

    def some(self, data: AudioData, number: int) -> list[int]:
        """Clips in an order of their own: splits are sorted by speaker."""
        return np.random.default_rng(self.seed).permutation(len(data))[:number].tolist()

    def pairs(self, data: AudioData, number: int) -> list[tuple[int, int]]:
        """Clips of two different speakers each: whose words, whose voice."""
        rng, of = np.random.default_rng(self.seed), self.speakers(data)
        low, high = (seconds * data.sampling_rate for seconds in STYLE_SECONDS)
        styles = [i for i, clip in enumerate(data.waveforms) if low <= len(clip) <= high] or list(range(len(data)))
        found = []
        for _ in range(number):
            content = int(rng.integers(len(data)))
            others = [i for i in styles if of[i] != of[content]]
            if others:
                found.append((content, others[rng.integers(len(others))]))
        if not found:
            raise DataError(f"{self.spec.name}: a voice cannot be exchanged for another where only one person speaks.")
        return found

    @staticmethod
    def speakers(data: AudioData) -> list[int]:
        return data.conditions["speaker"].tolist()

    def convert(self, data: AudioData, content: int, style: int) -> np.ndarray:
        generator = torch.Generator().manual_seed(self.seed)
        return self.pipeline.swap_style(data.clip(content), data.clip(style), generator=generator).audios[0]

    def metric(self, part: str, name: str, value: float, n: int, protocol: str, **more) -> dict[str, Any]:
        facts = {"part": part, "name": name, "value": float(f"{value:.6g}"), "n": n, "seed": self.seed}
        return {**facts, "protocol": " ".join(protocol.split()), **more}

    # ---- the parts ----

    def similarity(self) -> list[dict[str, Any]]:
        """Is a conversion nearer to the voice asked for than to the voice it was made of?"""
        found = []
        for kind, data in self.splits().items():
            voices = [
                self.listener.voice(data.clip(i)) for i in tqdm(range(len(data)), desc=f"voices, {kind}", leave=False)
            ]
            of = self.speakers(data)
            clips = defaultdict(list)
            for i, speaker in enumerate(of):
                clips[speaker].append(i)

            def reference(speaker: int, without: int, clips=clips, voices=voices) -> np.ndarray:
                """Mean voice of a speaker's clips, not of the one that the conversion was made with."""
                rest = [voices[i] for i in clips[speaker] if i != without] or [voices[without]]
                mean = np.mean(rest, axis=0)
                return mean / np.linalg.norm(mean)

            target, source = [], []
            pairs = self.pairs(data, self.num_pairs)
            for content, style in tqdm(pairs, desc=f"conversions, {kind}", leave=False):
                voice = self.listener.voice(self.convert(data, content, style))
                target.append(float(voice @ reference(of[style], style)))
                source.append(float(voice @ reference(of[content], content)))
            how = f"""{len(pairs)} pairs of different speakers of {self.spec.name}, {kind} in training, one style clip each;
                cosine of Resemblyzer embeddings with the mean of each speaker's other clips"""
            closer = np.mean(np.array(target) > np.array(source))
            found += [
                self.metric("similarity", "target_beats_source", closer, len(pairs), how, speakers=kind),
                self.metric("similarity", "similarity_to_target", np.mean(target), len(pairs), how, speakers=kind),
                self.metric("similarity", "similarity_to_source", np.mean(source), len(pairs), how, speakers=kind),
            ]
        return found

    def content(self) -> list[dict[str, Any]]:
        """Are the words still there? Sentences recognised in originals, in these vocoded, and in conversions."""
        found = []
        for kind, data in self.splits().items():
            recogniser = Recogniser(data.texts)
            pairs = [(c, s) for c, s in self.pairs(data, 4 * self.num_clips) if recogniser.knows(data.texts[c])]
            pairs = pairs[: self.num_clips]
            if not pairs:
                continue
            right = defaultdict(int)
            for content, style in tqdm(pairs, desc=f"sentences, {kind}", leave=False):
                sounds = {
                    "original": data.clip(content),
                    "vocoded": self.pipeline.vocode(data.clip(content))[0],
                    "converted": self.convert(data, content, style),
                }
                for name, sound in sounds.items():
                    right[name] += recogniser.hear(sound) == plain(data.texts[content])
            how = f"""share of {len(pairs)} clips of {self.spec.name}, speakers {kind} in training, in which PocketSphinx finds
                the sentence among {len(recogniser.sentences)}"""
            found += [
                self.metric("content", f"sentences_{name}", right[name] / len(pairs), len(pairs), how, speakers=kind)
                for name in ("original", "vocoded", "converted")
            ]
            if right["vocoded"]:
                kept = right["converted"] / right["vocoded"]
                how = f"sentences found in conversions to those found in the vocoded originals; {how}"
                found.append(self.metric("content", "content_kept", kept, len(pairs), how, speakers=kind))
        return found

    def distortion(self) -> list[dict[str, Any]]:
        """Mel-cepstral distortion where several speakers say the same sentences: of conversions, and of doing nothing."""
        data, of = self.test, self.speakers(self.test)
        same = defaultdict(dict)
        for i, text in enumerate(data.texts):
            same[plain(text)].setdefault(of[i], i)
        parallel = [(a, b) for said in same.values() for a in said.values() for b in said.values() if a != b]
        if not parallel:
            raise DataError(f"{self.spec.name}: no two speakers say the same sentence.")
        order = np.random.default_rng(self.seed).permutation(len(parallel))[: self.num_clips]
        converted, untouched = [], []
        for k in tqdm(order, desc="distortion", leave=False):
            a, b = parallel[k]
            styles = [i for i in range(len(data)) if of[i] == of[b] and i != b]
            style = max(styles or [b], key=lambda i: len(data.waveforms[i]))
            truth = self.cepstra(data.clip(b))
            converted.append(warped_distance(self.cepstra(self.convert(data, a, style)), truth))
            untouched.append(warped_distance(self.cepstra(data.clip(a)), truth))
        how = f"""{len(order)} pairs of {self.spec.name} {self.spec.test_split} in which two speakers say the same sentence,
            voice taken from another clip; 13 coefficients of log-mel without loudness, aligned by dynamic time warping"""
        note = "the source as it is, against the target's own: what a conversion must beat"
        return [
            self.metric("distortion", "mel_cepstral_distortion", np.mean(converted), len(order), how, unit="dB"),
            self.metric(
                "distortion", "distortion_of_source", np.mean(untouched), len(order), f"{note}; {how}", unit="dB"
            ),
        ]

    def mel(self, sound: np.ndarray) -> np.ndarray:
        """Float [T] -> log-mel [bands, frames] at one level."""
        return self.pipeline._hear(torch.from_numpy(sound).to(self.pipeline.device)).mel[0].float().cpu().numpy()

    def cepstra(self, sound: np.ndarray) -> np.ndarray:
        return mel_cepstra(self.mel(sound))

    def reconstruction(self) -> list[dict[str, Any]]:
        """How far spectrograms are from the originals', through the vocoder alone and through the whole model."""
        indices = self.some(self.test, self.num_clips)
        distances = defaultdict(list)
        for i in tqdm(indices, desc="reconstruction", leave=False):
            sound = self.test.clip(i)
            sounds = {"vocoder": self.pipeline.vocode(sound)[0], "whole": self.pipeline.reconstruct(sound).audios[0]}
            for name, restored in sounds.items():
                difference = np.abs(self.mel(restored) - self.mel(sound)).mean()
                distances[name].append(20 / np.log(10) * difference)
        how = (
            f"mean absolute difference of log-mel over {len(indices)} clips of {self.spec.name} {self.spec.test_split}"
        )
        return [
            self.metric(
                "reconstruction", f"mel_distance_{name}", np.mean(distances[name]), len(indices), how, unit="dB"
            )
            for name in ("vocoder", "whole")
        ]

    def anomaly(self) -> list[dict[str, Any]]:
        """AUROC of speech against noise and against music-like chords; quantiles of speech into model_index.json."""
        rate, rng = self.spec.sampling_rate, np.random.default_rng(self.seed)
        ordinary = [self.test.clip(i) for i in self.some(self.test, self.num_clips)]
        number, length = len(ordinary), 2 * rate
        strange = {
            "noise": [rng.normal(0, 0.03, length).clip(-1, 1).astype(np.float32) for _ in range(number)],
            "music": chords(number, length, rate, self.seed),
        }
        normal = self.pipeline.anomaly_score(ordinary).scores.double()
        found = []
        for name, sounds in strange.items():
            value = area_under_roc(normal, self.pipeline.anomaly_score(sounds).scores.double())
            title = {"noise": "white noise", "music": "chords of decaying tones"}[name]
            how = f"""{number} clips of {self.spec.name} {self.spec.test_split} against {number} times 2 s of {title}; 1 is
                perfect, 0.5 chance"""
            found.append(
                self.metric("anomaly", f"auroc_{name}", value, 2 * number, how, against=title, score="default")
            )
        levels = np.quantile(normal.numpy(), np.linspace(0, 1, 201))
        write_quantiles(self.checkpoint.folder, {"default": [float(f"{q:.6g}") for q in levels]})
        return found

    def speed(self) -> list[dict[str, Any]]:
        """Seconds of computing for each second of sound: both encoders, decoder and vocoder."""
        rate = self.spec.sampling_rate
        clips = [self.test.clip(i) for i in self.some(self.test, 20)]
        sound = np.resize(np.concatenate(clips), TIMED_SECONDS * rate)
        times = []
        for _ in range(1 + TIMED_RUNS):  # the first warms up
            started = time.perf_counter()
            self.pipeline.swap_style(sound, sound[: 5 * rate])
            times.append(time.perf_counter() - started)
        value = statistics.median(times[1:]) / TIMED_SECONDS
        machine = hardware(self.pipeline.device, self.pipeline.dtype)
        how = f"{TIMED_SECONDS} s in the voice of a clip of 5 s, warm, median of {TIMED_RUNS}; {machine}"
        return [self.metric("speed", "real_time_factor", value, 1, how, hardware=machine)]

    # ---- for the card ----

    def write_samples(self) -> None:
        """samples.png, spectrograms of content, style and conversion in a row each; and the same as sound, samples/*.ogg.

        The clips are the last of the recipe's data sets': its licence is what the files are under, so put one there that
        permits it.
        """
        import soundfile

        folder = self.checkpoint.folder
        data = load_audio(self.spec, self.spec.test_split, self.data_override, names=self.spec.names[-1:])
        rows, temporary = [], folder / "samples.part"
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        for number, (content, style) in enumerate(self.pairs(data, NUM_SAMPLES), 1):
            sounds = {"content": data.clip(content), "style": data.clip(style)}
            sounds["converted"] = self.convert(data, content, style)
            for name, sound in sounds.items():
                path = temporary / f"{number}-{name}.ogg"
                with soundfile.SoundFile(path, "w", data.sampling_rate, 1, format="OGG", subtype="VORBIS") as file:
                    if name == "converted":
                        file.comment = f"Synthesised by Genarium, {self.checkpoint.name}."
                    file.write(sound[: 3 * data.sampling_rate])
            rows.append([heat_map_of(self.mel(sound)) for sound in sounds.values()])
        shutil.rmtree(folder / "samples", ignore_errors=True)
        temporary.rename(folder / "samples")
        width = max(picture.width for row in rows for picture in row)
        height = rows[0][0].height
        sheet = PIL.Image.new("RGB", (3 * width + 16, len(rows) * (height + 8) - 8), "white")
        for i, row in enumerate(rows):
            for j, picture in enumerate(row):
                sheet.paste(picture, (j * (width + 8), i * (height + 8)))
        part = folder / f"samples.png.part{os.getpid()}"
        enlarge(sheet, 2 * max(sheet.size)).save(part, format="PNG")
        os.replace(part, folder / "samples.png")


def heat_map_of(mel: np.ndarray) -> PIL.Image.Image:
    """Log-mel [bands, frames] -> a picture, low frequencies at the bottom."""
    share = np.clip(mel[::-1] - mel.max() + 8, 0, None) / 8  # 70 dB below the loudest is black
    return heat_map(share, PIL.Image.new("L", (1, 1)), high=1.0, alpha=1.0)


def evaluate_voices(
    checkpoint: str,
    runtime: Runtime,
    recipe: Recipe | None = None,
    data_override: str | Path | None = None,
    num_samples: int | None = None,
    num_test_images: int | None = None,
    parts: Iterable[str] | None = None,
    card: bool = True,
) -> dict[str, Any]:
    """Measure a checkpoint of voices and write the figures into its folder; as `evaluate.evaluate` for pictures.

    Args:
        checkpoint: its name, or its folder.
        runtime: loads it.
        recipe: the checkpoint's own unless told.
        data_override: local data in place of the recipe's Hub ids.
        num_samples: pairs of clips whose voices are judged; the recipe's unless told.
        num_test_images: clips of the other parts; the recipe's unless told.
        parts: of `PARTS`, all unless told; figures of other parts stay as they were.
        card: also write README.md, its picture and its sounds.

    Returns:
        What evaluation.json holds; `skipped` says what could not be measured, and why.

    Raises:
        CheckpointError, RecipeError, DataError, GenariumError: each says what is missing.
    """
    started = time.monotonic()
    found = runtime.catalogue[checkpoint]
    recipe = recipe or found.recipe
    if recipe is None or not isinstance(recipe.data, AudioSpec):
        raise RecipeError(f"{found.name}: has no recipe with data of kind audio, which says on what to measure it.")
    if (found.folder / MODEL_INDEX).is_symlink():
        raise CheckpointError(f"{found.name} lies in the Hub's cache; copy it to a folder of its own to evaluate it.")
    wanted = list(parts or PARTS)
    for part in wanted:
        if part not in PARTS:
            raise GenariumError(f"{found.name} has no part {part!r} to measure; choose of {', '.join(PARTS)}.")
    evaluation = _Evaluation(
        runtime.pipeline(checkpoint),
        found,
        recipe,
        data_override,
        num_samples or recipe.evaluation.num_samples,
        num_test_images or recipe.evaluation.num_test_images,
    )
    before = found.evaluation
    skipped: dict[str, str] = {k: v for k, v in before.get("skipped", {}).items() if k not in wanted}
    metrics = {part: [m for m in before.get("metrics", []) if m["part"] == part] for part in PARTS}
    result: Mapping[str, Any] = {}
    with tqdm(wanted, desc=f"evaluate {found.name}") as bar:
        for part in bar:
            bar.set_postfix_str(part)
            try:
                metrics[part] = getattr(evaluation, part)()
            except GenariumError as error:  # a tool that is not installed: the other figures do not depend on it
                if isinstance(error, (CheckpointError, RecipeError)):
                    raise
                skipped[part] = str(error)
            result = report(found, recipe, metrics, skipped, hardware(runtime.device, runtime.dtype), started)
            write_json(found.folder / EVALUATION, result)  # after each part: a kill loses the part in progress only
    if card:
        from genarium.card import write_readme

        evaluation.write_samples()
        write_readme(checkpoint, runtime, recipe)
    return dict(result)
