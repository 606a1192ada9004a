"""Conversion of voices: it splits clips into content, melody and voice, and makes sound from any three of these.

A family says what the content of a clip is, by `_content`. What follows is the same for all of them: the analysis of clips,
the voices of the training and those of given clips, the synthesis, the path between two voices, and the score.

A voice is an embedding on the unit sphere, a median pitch, and the mean and standard deviation of each band. Every clip has
one; those of the training are kept in the speaker encoder, measured by `fit`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from pipelines.family import Generators, Report, to_generators
from pipelines.interpolation import slerp_unit
from pipelines.modeling_voice import ContentEncoder, SpeakerEncoder, VoiceDecoder
from pipelines.modeling_voice_vocoder import VoiceVocoder
from pipelines.sounds import SoundFamilyMixin, Sounds, task
from pipelines.speech import (
    LEVEL,
    active_level,
    band_statistics,
    cross_fade,
    match_band_statistics,
    median_pitch,
    transpose_pitch,
)
from pipelines.style_map import StyleMapOutput, in_plane_of

CHUNK, FADE = 400, 8  # frames that are synthesised at once, and over which two such chunks are cross-faded
# All frequencies of a training clip times one of these. The speaker encoder counts each as another voice (speed
# perturbation, Yamamoto et al. 2019); the middle one is the voice itself.
VARIANTS = (0.87, 1.0, 1.15)


@dataclass
class Clip:
    """A clip as the networks take it.

    Args:
        mel: log-mel spectrogram [1, bands, frames] at the level of the training.
        gain: factor that restores the clip's own level.
        length: T, samples.
        pitch: log2 Hz [1, frames], 0 where nothing is voiced.
    """

    mel: torch.Tensor
    gain: float
    length: int
    pitch: torch.Tensor


@dataclass
class Voice:
    """A speaker.

    Args:
        embedding: [1, speaker_dim] of norm 1.
        pitch: median, log2 Hz [1]; NaN if it is unknown.
        mean, deviation: of each band of the log-mel spectrogram [1, bands], over its loud frames.
    """

    embedding: torch.Tensor
    pitch: torch.Tensor
    mean: torch.Tensor
    deviation: torch.Tensor

    def towards(self, other: Voice, weight: float) -> Voice:
        """Return a voice on the way to another: this one at weight 0, the other at 1."""
        pitch = torch.lerp(self.pitch, other.pitch, weight)
        mean = torch.lerp(self.mean, other.mean, weight)
        deviation = torch.lerp(self.deviation, other.deviation, weight)
        return Voice(slerp_unit(self.embedding, other.embedding, weight), pitch, mean, deviation)


class VoiceFamilyMixin(SoundFamilyMixin):
    """The common part of voice families. A family adds `_content`, its training loss, and tasks with own parameters."""

    content_encoder: ContentEncoder
    speaker_encoder: SpeakerEncoder
    decoder: VoiceDecoder
    vocoder: VoiceVocoder

    _arguments = {  # noqa: RUF012  # never changed
        "speaker_encoder": "`SpeakerEncoder`.",
        "decoder": "`VoiceDecoder`.",
        "vocoder": "`VoiceVocoder`, which also computes the spectrograms.",
        "sampling_rate": "of all sound, Hz.",
        "speaker_weight": "weight of the classification of the trained voices.",
        "conversion_weight": "weight of the terms of a conversion, which has no true answer.",
        "vocoder_frames": "length of the clips that the vocoder is trained on.",
        "adversarial_weight": "weight of the discriminators' judgement in the vocoder's loss.",
        "feature_weight": "weight of the distance of the discriminators' features in the vocoder's loss.",
        "discriminator_start": "part of the vocoder's training after which the discriminators take part.",
        "discriminator_width": "width of the discriminators' first layers.",
        "conditions": '{"speaker": {"0": name, ...}}, the trained voices.',
    }

    # The method of the family that returns the content of a clip, float32 [1, D, ceil(frames / 2)]
    _content: Callable[[Clip], torch.Tensor]

    # ---- analysis ----

    def analyse(self, sound: torch.Tensor) -> Clip:
        """Return the spectrogram and the melody of a waveform [T] on the device, at the level of the training."""
        gain = float(active_level(sound)) / LEVEL
        levelled = sound[None] / gain
        return Clip(self.vocoder.analyse(levelled), gain, len(sound), self.vocoder.pitch(levelled))

    def _voice(self, clip: Clip) -> Voice:
        """Return the voice of a clip."""
        return Voice(self.speaker_encoder(clip.mel), median_pitch(clip.pitch), *band_statistics(clip.mel))

    def _voices(
        self, style: list[torch.Tensor] | None, speaker: str, strength: float, clips: list[Clip]
    ) -> list[Voice]:
        """Return the voices in which contents are said, one for each: of the training, or of the style clips.

        Args:
            style: waveforms [T], one for all contents or one for each.
            speaker: name of a voice of the training, or "any" for those of the style clips.
            strength: 0 for the content's own voice, 1 for the other.
            clips: the contents.

        Raises:
            ValueError: no voice, or a number of style clips that does not fit.
        """
        if speaker != "any":
            voices = [self._trained_voice(self._condition_names("speaker").index(speaker))]
        elif style is None:
            raise ValueError("style: give a clip of the voice to speak in, or name a trained voice by `speaker`.")
        else:
            voices = [self._voice(self.analyse(sound)) for sound in style]
        if len(voices) not in (1, len(clips)):
            raise ValueError(f"style: give one clip or {len(clips)}, one for each content, not {len(voices)}.")
        voices = voices * (len(clips) // len(voices))
        if strength >= 1:
            return voices
        return [self._voice(clip).towards(voice, strength) for clip, voice in zip(clips, voices, strict=True)]

    def _trained_voice(self, index: int) -> Voice:
        """Return the mean voice of a speaker of the training."""
        known = self.speaker_encoder
        embedding, *rest = (
            kept[index : index + 1].to(self._execution_device, torch.float32)
            for kept in (known.voices, known.pitches, known.means, known.deviations)
        )
        return Voice(F.normalize(embedding, dim=1), *rest)

    # ---- synthesis ----

    def _speak(
        self,
        clips: list[Clip],
        contents: list[torch.Tensor],
        voices: list[Voice],
        vocoder: str,
        generator: Generators,
        report: Report,
    ) -> list[torch.Tensor]:
        """Say contents in voices, one after another, so that none depends on its batch.

        Args:
            clips: whose melody, level and length each has.
            contents: [1, D, ceil(frames / 2)] each.
            voices: one for each content.
            vocoder: "neural" or "griffin_lim".
            generator: of the first phases of the latter.
            report: called after each chunk.

        Returns:
            Waveforms [T], each as long as its clip.
        """
        total, done = sum(math.ceil(clip.mel.shape[-1] / CHUNK) for clip in clips), 0
        sounds = []
        for i, (clip, content, voice) in enumerate(zip(clips, contents, voices, strict=True)):
            mel = self.decoder(content, voice.embedding, transpose_pitch(clip.pitch, voice.pitch))
            mel = match_band_statistics(mel, voice.mean, voice.deviation)
            one = generator[i] if isinstance(generator, list) else generator
            for sound in self._synthesise(mel, vocoder, one):
                report(done, done, total, (sound[None, : clip.length] * clip.gain).clamp(-1, 1))
                done += 1
            sounds.append(sound[: clip.length] * clip.gain)
        return sounds

    def _synthesise(self, mel: torch.Tensor, vocoder: str, generator: torch.Generator | None) -> Iterable[torch.Tensor]:
        """Yield the waveform so far after each chunk of a spectrogram; the last one is whole.

        A chunk is synthesised with as many frames around it as its sound depends on. So the network's sound is that of the
        whole spectrogram at once. Chunks are cross-faded.

        Args:
            mel: log-mel [1, bands, frames].

        Yields:
            [up to frames * hop].
        """
        frames, hop, context = mel.shape[-1], self.vocoder.config.hop_length, self.vocoder.context
        phase = None
        if vocoder == "griffin_lim":
            shape = (1, self.vocoder.config.n_fft // 2 + 1, frames)
            device = self._execution_device if generator is None else generator.device
            phase = torch.rand(shape, generator=generator, device=device, dtype=torch.float32)
            phase = 2 * math.pi * phase.to(self._execution_device)
        sound = torch.zeros(0, device=mel.device, dtype=torch.float32)
        for start in range(0, frames, CHUNK):
            stop, begin = min(start + CHUNK, frames), max(0, start - FADE)
            low, high = max(0, begin - context), min(frames, stop + context)
            chunk = mel[..., low:high]
            chunk = self.vocoder(chunk) if phase is None else self.vocoder.griffin_lim(chunk, phase[..., low:high])
            sound = cross_fade(sound, chunk[0, (begin - low) * hop : (stop - low) * hop], (start - begin) * hop)
            yield sound

    # ---- what all families of voices do ----

    @task
    def interpolate(self, a, b, num_frames, generator, report, vocoder):
        """Say what one clip says in voices from its own to another's, along the sphere of voices.

        Args:
            generator: of the first phases (with "griffin_lim").
        """
        clip = self.analyse(a)
        content = self._content(clip)
        first, last = self._voice(clip), self._voice(self.analyse(b))
        voices = [first.towards(last, i / (num_frames - 1)) for i in range(num_frames)]
        return self._speak([clip] * num_frames, [content] * num_frames, voices, vocoder, generator, report)

    @task
    def anomaly_score(self, x, report):
        """Measure how strange a clip is to the model: the distance of its spectrogram from what comes back in its own voice.

        Speech comes back nearly as it was. Noise and music do not. The score is the mean absolute difference of log-mel
        spectrograms, in decibels.

        Args:
            generator: not used: the score is deterministic.
            callback_on_step_end: called after each clip as (pipe, step, timestep, {"pred_original_sample": the clip [1, T], "num_timesteps"}).
        """
        curves = []
        for i, sound in enumerate(x):
            clip = self.analyse(sound)
            spoken = self.decoder(self._content(clip), self.speaker_encoder(clip.mel), clip.pitch)
            curves.append((spoken - clip.mel)[0].abs().mean(0).cpu() * 20 / math.log(10))  # [frames]
            report(i, i, len(x), sound[None])
        return curves, "dB"

    @torch.no_grad()
    def vocode(self, audio: Sounds, vocoder: str = "neural", generator: Generators = None) -> list[np.ndarray]:
        """Return clips after spectrogram and vocoder alone: an upper bound on the quality of a conversion.

        Args:
            audio: float [T] in [-1, 1] at `config.sampling_rate`, or a list of such.
            vocoder: "neural" or "griffin_lim".
            generator: one `torch.Generator`, or a list with one for each clip (with "griffin_lim").

        Returns:
            Float32 arrays, each as long as its clip.

        Raises:
            ValueError: no mono sound at the right rate.
        """
        sounds = self._to_sounds(audio, "audio")
        generators, results = to_generators(generator, len(sounds)), []
        for i, sound in enumerate(sounds):
            clip = self.analyse(sound)
            one = generators[i] if isinstance(generators, list) else generators
            *_, spoken = self._synthesise(clip.mel, vocoder, one)
            results.append((spoken[: clip.length] * clip.gain).clamp(-1, 1).float().cpu().numpy())
        return results

    @torch.no_grad()
    def style_map(self, styles: Sounds | None = None) -> StyleMapOutput:
        """Project the voices of the training, and given clips, onto the first two principal components of the former.

        Args:
            styles: float [T] in [-1, 1] at `config.sampling_rate`, a list of such, or None.

        Returns:
            `StyleMapOutput`: names of the trained voices, then "" for each clip, and a point for each.

        Raises:
            ValueError: no mono sound at the right rate, or a checkpoint without trained voices.
        """
        names = self._condition_names("speaker")
        known = self.speaker_encoder.voices.to(self._execution_device, torch.float32)
        if not names or not known.any():
            raise ValueError("style_map: this checkpoint keeps no trained voices to draw a map by.")
        sounds = [] if styles is None else self._to_sounds(styles, "styles")
        given = [self._voice(self.analyse(sound)).embedding for sound in sounds]
        points = in_plane_of(known, torch.cat([known, *given]))
        return StyleMapOutput(names=[*names, *[""] * len(given)], points=points.cpu())


def build_shared_components(
    sampling_rate: int,
    conditions: dict[str, dict[str, str]] | None,
    bands: int,
    latent_dim: int,
    speaker_width: int,
    speaker_dim: int,
    decoder_width: int,
    decoder_layers: int,
    vocoder: Mapping[str, Any] | None,
) -> tuple[SpeakerEncoder, VoiceDecoder, VoiceVocoder]:
    """Return the components with fresh weights that do not depend on what the content is.

    Args:
        sampling_rate: of the sound, Hz.
        conditions: {"speaker": {"0": name, ...}}: the speakers of the training data.
        bands: of the spectrograms.
        latent_dim: of the content.
        speaker_width, speaker_dim: of `SpeakerEncoder`.
        decoder_width, decoder_layers: of `VoiceDecoder`.
        vocoder: arguments of `VoiceVocoder`.

    Raises:
        ValueError: other conditions than "speaker", or no speakers.
    """
    if conditions is None or set(conditions) != {"speaker"}:
        raise ValueError("conditions: this family learns from data that say who speaks, data.conditions.speaker.")
    names = conditions["speaker"]
    return (
        SpeakerEncoder(
            tuple(names[key] for key in sorted(names, key=int)), bands, speaker_width, speaker_dim, len(VARIANTS)
        ),
        VoiceDecoder(bands, decoder_width, latent_dim, speaker_dim, decoder_layers),
        VoiceVocoder(**{"sampling_rate": sampling_rate, "bands": bands, **(vocoder or {})}),
    )
