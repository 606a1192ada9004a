"""Voice conversion by a vector-quantised auto-encoder: a clip as a row of codes, read in the voice of another clip.

    z = E(m),   k_t = argmin_j |z_t - e_j|,   s = S(m'),   m_hat = D(e_k, s, f)
    loss = |m - m_hat|_1 + w |z - sg(e_k)|^2  +  terms of the speaker                     VQ-VAE eq. 1-3

with m and m' two halves of one clip. Few codes each second leave no room for a voice; and what the content encoder hears is
disguised: all frequencies shifted at random, so that neither pitch nor formants pass. The codebook follows the averages of
its latents. The melody f, the pitch of each frame, goes to the decoder by itself; in another voice it is moved to that
voice's middle pitch. A speaker never heard in training is a point s like any other.

This file stands alone beside its components: with diffusers installed it needs nothing else. Sound comes as it is: float
[T] in [-1, 1] at `config.sampling_rate`. To read a file: x, rate = soundfile.read(path, dtype="float32"); of two channels,
x.mean(1); at another rate, soxr.resample(x, rate, pipe.config.sampling_rate).

Papers:
    van den Oord, Vinyals, Kavukcuoglu: Neural Discrete Representation Learning, 2017, https://arxiv.org/abs/1711.00937
        (VQ-VAE; voices: sec. 4.3)
    Chou, Yeh, Lee: One-shot Voice Conversion by Separately Representing Speaker and Content Representations with Instance
        Normalization, 2019, https://arxiv.org/abs/1904.05742
    Siuzdak: Vocos: Closing the gap between time-domain and Fourier-based neural vocoders, 2023,
        https://arxiv.org/abs/2306.00814
    Choi et al.: Neural Analysis and Synthesis: Reconstructing Speech from Self-Supervised Representations, 2021,
        https://arxiv.org/abs/2110.14513 (the disguises)
    Qian et al.: F0-consistent Many-to-many Non-parallel Voice Conversion via Conditional Autoencoder, 2020,
        https://arxiv.org/abs/2004.07370 (the melody)
    Boersma: Accurate Short-term Analysis of the Fundamental Frequency, 1993 (how it is found)
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import math
import numbers
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.utils import BaseOutput
from torch import nn

Sound = np.ndarray | torch.Tensor
Sounds = Sound | list[Sound]
Generators = torch.Generator | list[torch.Generator] | None
Vocoder = Literal["neural", "griffin_lim"]
Share = Annotated[float, {"minimum": 0.0, "maximum": 1.0, "step": 0.05}]


# --- shared voice block: the same in every pipeline file for voices (tests/test_voice.py); each must stand alone ---
@dataclass
class AudiosOutput(BaseOutput):
    """`audios`: list of float32 arrays or tensors [T] in [-1, 1]; `sampling_rate`: of all of them, Hz."""

    audios: list[np.ndarray] | list[torch.Tensor]
    sampling_rate: int


@dataclass
class AnomalyOutput(BaseOutput):
    """`scores`: float tensor [N], higher = stranger. `maps`: float tensor [frames] >= 0 for each clip. `unit`: of both."""

    scores: torch.Tensor
    maps: list[torch.Tensor]
    unit: str


@dataclass
class StyleMapOutput(BaseOutput):
    """`names`: of the trained voices, then "" for each given clip; `points`: float tensor [N, 2], one for each name."""

    names: list[str]
    points: torch.Tensor


@dataclass
class Heard:
    """One clip as the networks take it: `mel` [1, bands, frames] at the training's level; `gain` undoes that; `length`: T;
    `pitch`: log2 Hz [1, frames], 0 where nothing is voiced."""

    mel: torch.Tensor
    gain: float
    length: int
    pitch: torch.Tensor


@dataclass
class Voice:
    """Who speaks: `place` [1, speaker_dim] on the sphere of voices; `pitch` [1] the middle one, log2 Hz, NaN if unknown;
    `mean` and `deviation` [1, bands] of the log-mel spectrogram where it is loud."""

    place: torch.Tensor
    pitch: torch.Tensor
    mean: torch.Tensor
    deviation: torch.Tensor


LEVEL = 1000 / 32768  # root mean square of the active parts of a clip, which all clips are brought to
SHORTEST = 0.25  # seconds
SILENCE = math.log(1e-5)  # the least of a log-mel spectrogram
CHUNK, FADE = 400, 8  # frames that are made sound of at once, and over which two such pieces are cross-faded
# Voices of which the speaker encoder learns that they are others (Yamamoto et al. 2019, speed perturbation): all
# frequencies times these, the middle one being the voice itself.
VARIANTS = (0.87, 1.0, 1.15)
SUMMED = ("voices", "means", "deviations")  # what `fit` keeps of a voice as a mean
# What the content encoder hears: the same words in a voice shifted by any of these, so that pitch and formants are no
# help to the decoder (Choi et al., Neural Analysis and Synthesis, 2021, https://arxiv.org/abs/2110.14513).
DISGUISES = tuple(round(0.75 * 1.8 ** (i / 24), 3) for i in range(25))


def checked(method):
    """A task's method that refuses what its annotations do not allow.

    Raises:
        TypeError: no number where one belongs.
        ValueError: another choice than a `Literal`'s, or than "any" and the names of the condition that an `Annotated`
            string names under "choices_from"; or a number below the minimum of an `Annotated` one. Above its maximum,
            where the slider ends, a program may go.
    """

    @functools.wraps(method)
    def call(self, *args, **kwargs):
        hints = typing.get_type_hints(method, include_extras=True)
        for name, value in inspect.signature(method).bind(self, *args, **kwargs).arguments.items():
            hint, bounds = hints.get(name), {}
            if typing.get_origin(hint) is Annotated:
                hint, bounds = hint.__origin__, hint.__metadata__[0]
            if typing.get_origin(hint) is Literal and value not in typing.get_args(hint):
                raise ValueError(f"{name}: choose {', '.join(map(repr, typing.get_args(hint)))}, not {value!r}.")
            if "choices_from" in bounds:
                known = ("any", *self._condition_names(bounds["choices_from"]))
                if value not in known:
                    raise ValueError(f"{name}: choose {', '.join(map(repr, known))}, not {value!r}.")
            if hint in (int, float):
                kind = numbers.Integral if hint is int else numbers.Real
                if isinstance(value, bool) or not isinstance(value, kind):
                    raise TypeError(f"{name}: takes a{' whole' if hint is int else ''} number, not {value!r}.")
                if not value >= bounds.get("minimum", -math.inf):
                    raise ValueError(f"{name}: must be at least {bounds.get('minimum')}, not {value}.")
        return method(self, *args, **kwargs)

    return call


def active_level(x: torch.Tensor) -> torch.Tensor:
    """Root mean square of the 25 ms (at 16 kHz) that are within 26 dB of the loudest: [..., T] -> [...]."""
    power = F.pad(x.float(), (0, -x.shape[-1] % 400)).unflatten(-1, (-1, 400)).square().mean(-1)
    active = power > power.amax(-1, keepdim=True) / 400
    return ((power * active).sum(-1) / active.sum(-1).clamp(min=1)).sqrt()


def cross_fade(a: torch.Tensor, b: torch.Tensor, overlap: int) -> torch.Tensor:
    """Join [T], [S], whose last and first `overlap` samples are the same time -> [T + S - overlap]."""
    if not overlap:
        return torch.cat([a, b])
    weights = torch.linspace(0, 1, overlap + 2, device=a.device)[1:-1]
    return torch.cat([a[:-overlap], torch.lerp(a[-overlap:], b[:overlap], weights), b[overlap:]])


def slerp(a: torch.Tensor, b: torch.Tensor, weight: float) -> torch.Tensor:
    """From a to b along the sphere of radius 1 (Shoemake 1985): [1, d], [1, d] -> [1, d]. Opposite ends: by a straight line."""
    omega = torch.arccos((a * b).sum().clamp(-1, 1))
    if omega.sin() < 1e-4:
        return F.normalize(torch.lerp(a, b, weight), dim=1)
    return (torch.sin((1 - weight) * omega) * a + torch.sin(weight * omega) * b) / torch.sin(omega)


def middle(pitch: torch.Tensor) -> torch.Tensor:
    """Median of each row's voiced frames: log2 Hz [B, T] -> [B], NaN where nothing is voiced."""
    return torch.where(pitch > 0, pitch, math.nan).nanmedian(-1).values


def transposed(pitch: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    """The same melody about another middle: log2 Hz [B, T], [B] -> [B, T]; as it is where a middle is not known."""
    return torch.where(pitch > 0, pitch + (to - middle(pitch)).nan_to_num(0.0)[:, None], pitch)


def colour(mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation of each band over the frames within 26 dB of the loudest: log-mel [1, bands, T] -> [1, bands] each."""
    power = mel.exp().mean(1)  # [1, T]
    loud = mel[:, :, (power > power.amax(-1, keepdim=True) / 20)[0]]
    return loud.mean(-1), (loud.var(-1, correction=0) + 0.01).sqrt()


def coloured(mel: torch.Tensor, mean: torch.Tensor, deviation: torch.Tensor) -> torch.Tensor:
    """The same with this mean and deviation of each band: [1, bands, T], [1, bands] twice -> [1, bands, T].

    A decoder that learnt from an absolute difference says too little: the spectrum of a voice that it does not know is drawn
    towards those that it knows, and all is smoothed. What a clip tells of both is put back (AdaIN-VC eq. 4, on the output;
    Toda, Black and Tokuda 2007, sec. 4, on the deviation).
    """
    own_mean, own_deviation = colour(mel)
    gain = (deviation / own_deviation).clamp(0.25, 4)  # a clip of one vowel says little of the deviation
    return ((mel - own_mean[..., None]) * gain[..., None] + mean[..., None]).clamp(min=SILENCE)


def between(a: Voice, b: Voice, weight: float) -> Voice:
    """A voice on the way from a to b."""
    pitch, mean, deviation = (
        torch.lerp(*ends, weight) for ends in ((a.pitch, b.pitch), (a.mean, b.mean), (a.deviation, b.deviation))
    )
    return Voice(slerp(a.place, b.place, weight), pitch, mean, deviation)


class VoicePipeline(DiffusionPipeline):
    """What the families of voices share: checks, levels, the way from spectrograms to sound, and what trains it."""

    # ---- checks ----

    def _to_sounds(self, sounds, name: str) -> list[torch.Tensor]:
        """A clip or a list of clips -> list of float32 [T] on the device, checked.

        Raises:
            ValueError: what is no mono sound at our rate; says how to make it one.
        """
        rate = self.config.sampling_rate
        sounds = list(sounds) if isinstance(sounds, (list, tuple)) else [sounds]
        if not sounds:
            raise ValueError(f"{name}: give at least one clip.")
        return [self._to_sound(sound, name, rate) for sound in sounds]

    def _to_sound(self, sound, name: str, rate: int) -> torch.Tensor:
        if isinstance(sound, np.ndarray) and sound.dtype != object:
            sound = torch.from_numpy(np.ascontiguousarray(sound))
        if not isinstance(sound, torch.Tensor):
            raise ValueError(
                f"{name}: give a float array or tensor [T] in [-1, 1] at {rate} Hz, or a list of these, not "
                f"{type(sound).__name__}. A file: x, r = soundfile.read(path, dtype='float32'); another rate: "
                f"soxr.resample(x, r, {rate})."
            )
        if sound.ndim != 1:
            raise ValueError(
                f"{name}: takes mono sound [T], not {list(sound.shape)}; of two channels [T, 2], take x.mean(1)."
            )
        if not sound.is_floating_point():
            raise ValueError(f"{name}: takes floats in [-1, 1]; of 16-bit whole numbers, take x / 32768.")
        if len(sound) < SHORTEST * rate:
            raise ValueError(
                f"{name}: has {len(sound)} samples; give at least {SHORTEST} s, {round(SHORTEST * rate)} at {rate} Hz."
            )
        sound = sound.to(self.device, torch.float32)
        if not torch.isfinite(sound).all():
            raise ValueError(f"{name}: holds values that are no numbers (NaN or infinite); repair or cut them out.")
        if sound.abs().amax() > 2:
            raise ValueError(f"{name}: must lie in [-1, 1]; of 16-bit samples, take x / 32768.")
        if active_level(sound) < 1e-4:
            raise ValueError(f"{name}: is silent; give a clip in which somebody speaks.")
        return sound

    def _condition_names(self, condition: str) -> list[str]:
        """Names of a condition's values, in the order of their numbers; empty if the model was trained without it."""
        names = (self.config.get("conditions") or {}).get(condition) or {}
        return [names[key] for key in sorted(names, key=int)]

    @staticmethod
    def _to_generators(generator, batch_size: int):
        """None, one generator or a list -> the same, checked; a list must have one generator for each sample."""
        if batch_size < 1:
            raise ValueError(f"batch_size: needs at least 1, not {batch_size}.")
        given = generator if isinstance(generator, (list, tuple)) else [generator] * (generator is not None)
        if not all(isinstance(one, torch.Generator) for one in given):
            raise TypeError("generator: give a torch.Generator, or a list with one for each sample.")
        if isinstance(generator, (list, tuple)) and len(generator) != batch_size:
            raise ValueError(
                f"generator: give one generator or {batch_size}, one for each sample, not {len(generator)}."
            )
        return list(generator) if isinstance(generator, tuple) else generator

    @staticmethod
    def _check_output_type(output_type: str) -> None:
        if output_type not in ("np", "pt"):  # said before the work, not after it
            raise ValueError(f"output_type: choose 'np' or 'pt', not {output_type!r}.")

    # ---- hearing and speaking ----

    def _hear(self, sound: torch.Tensor) -> Heard:
        """Float [T] -> its spectrogram at the training's level."""
        gain = float(active_level(sound)) / LEVEL
        levelled = sound[None] / gain
        return Heard(self.vocoder.analyse(levelled), gain, len(sound), self.vocoder.pitch(levelled))

    def _voice(self, heard: Heard) -> Voice:
        """Whose voice is heard."""
        return Voice(self.speaker_encoder(heard.mel), middle(heard.pitch), *colour(heard.mel))

    def _say(self, latents: torch.Tensor, voice: Voice, heard: Heard) -> torch.Tensor:
        """Latents [1, D, T'] in a voice, with the melody of what was heard -> log-mel [1, bands, frames]."""
        mel = self.decoder(latents, voice.place, transposed(heard.pitch, voice.pitch))
        return coloured(mel, voice.mean, voice.deviation)

    def _voices(self, style, speaker: str, number: int) -> list[Voice]:
        """The voices to speak in, one for each of `number` contents: a trained one by name, or those of the style clips.

        Raises:
            ValueError: no voice, or a number of clips that does not fit.
        """
        if speaker != "any":
            index = self._condition_names("speaker").index(speaker)
            known = self.speaker_encoder
            place, *rest = (
                kept[index : index + 1].float() for kept in (known.voices, known.pitches, known.means, known.deviations)
            )
            return [Voice(F.normalize(place, dim=1), *rest)] * number
        if style is None:
            raise ValueError("style: give a clip of the voice to speak in, or name a trained voice by `speaker`.")
        voices = [self._voice(self._hear(sound)) for sound in self._to_sounds(style, "style")]
        if len(voices) not in (1, number):
            raise ValueError(f"style: give one clip or {number}, one for each content, not {len(voices)}.")
        return voices * (number // len(voices))

    def _num_chunks(self, mel: torch.Tensor) -> int:
        return math.ceil(mel.shape[-1] / CHUNK)

    def _synthesise(
        self, mel: torch.Tensor, vocoder: str, generator: torch.Generator | None, report: Callable | None = None
    ) -> torch.Tensor:
        """Log-mel [1, bands, frames] -> waveform [frames * hop], in pieces that are cross-faded.

        Each piece is made with as many frames around it as it depends on, so the network's sound is that of the whole.

        Args:
            report: called with the waveform so far after each piece.
        """
        frames, hop, context = mel.shape[-1], self.vocoder.config.hop_length, self.vocoder.context
        phase = None
        if vocoder == "griffin_lim":
            shape = (1, self.vocoder.config.n_fft // 2 + 1, frames)
            device = generator.device if generator is not None else self.device
            phase = 2 * math.pi * torch.rand(shape, generator=generator, device=device).to(self.device)
        sound = torch.zeros(0, device=mel.device)
        for start in range(0, frames, CHUNK):
            stop, begin = min(start + CHUNK, frames), max(0, start - FADE)
            low, high = max(0, begin - context), min(frames, stop + context)
            piece = mel[..., low:high]
            piece = self.vocoder(piece) if phase is None else self.vocoder.griffin_lim(piece, phase[..., low:high])
            sound = cross_fade(sound, piece[0, (begin - low) * hop : (stop - low) * hop], (start - begin) * hop)
            if report is not None:
                report(sound)
        return sound

    def _speak(
        self,
        pieces: list[tuple[Heard, torch.Tensor, Voice]],
        vocoder: str,
        generator,
        callback: Callable | None,
        output_type: str,
    ) -> list:
        """Say contents in voices, one after another, so that none depends on its company.

        Args:
            pieces: of what was heard, its latents [1, D, T'], and the voice.
            callback: `callback_on_step_end`, called after each chunk.

        Returns:
            Waveforms of the output type, each as long as what was heard.
        """
        total, done, audios = sum(self._num_chunks(heard.mel) for heard, _, _ in pieces), 0, []
        for i, (heard, latents, voice) in enumerate(pieces):
            mel = self._say(latents, voice, heard)

            def report(sound: torch.Tensor, heard: Heard = heard) -> None:
                nonlocal done
                if callback is not None:
                    sample = (sound[None, : heard.length] * heard.gain).clamp(-1, 1)
                    callback(self, done, done, {"pred_original_sample": sample, "num_timesteps": total})
                done += 1

            one = generator[i] if isinstance(generator, list) else generator
            sound = self._synthesise(mel, vocoder, one, report)[: heard.length]
            sound = (sound * heard.gain).clamp(-1, 1).float().cpu()
            audios.append(sound.numpy() if output_type == "np" else sound)
        return audios

    @torch.no_grad()
    def vocode(self, audio: Sounds, vocoder: str = "neural", generator: Generators = None) -> list[np.ndarray]:
        """Clips through spectrogram and vocoder alone: the best that a conversion could sound like.

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
        generator, results = self._to_generators(generator, len(sounds)), []
        for i, sound in enumerate(sounds):
            heard = self._hear(sound)
            one = generator[i] if isinstance(generator, list) else generator
            spoken = self._synthesise(heard.mel, vocoder, one)[: heard.length] * heard.gain
            results.append(spoken.clamp(-1, 1).float().cpu().numpy())
        return results

    @torch.no_grad()
    def style_map(self, styles: Sounds | None = None) -> StyleMapOutput:
        """Where voices lie: those of the training, and given clips, on the trained voices' first two principal components.

        Args:
            styles: float [T] in [-1, 1] at `config.sampling_rate`, a list of such, or None.

        Returns:
            `StyleMapOutput`: names of the trained voices, then "" for each clip, and a point for each.

        Raises:
            ValueError: no mono sound at the right rate, or a checkpoint without trained voices.
        """
        names = self._condition_names("speaker")
        if not names or not self.speaker_encoder.voices.any():
            raise ValueError("style_map: this checkpoint keeps no trained voices to draw a map by.")
        known = self.speaker_encoder.voices.float()
        sounds = [] if styles is None else self._to_sounds(styles, "styles")
        given = [self._voice(self._hear(sound)).place for sound in sounds]
        centre = known.mean(0)
        axes = torch.linalg.svd(known - centre).Vh[:2]  # [2, speaker_dim]
        # the sign of a principal component is open: its largest entry is taken positive
        axes = axes * axes.gather(1, axes.abs().argmax(1, keepdim=True)).sign()
        points = (torch.cat([known, *given]) - centre) @ axes.T
        return StyleMapOutput(names=[*names, *[""] * len(given)], points=points.cpu())

    # ---- training ----

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """What is kept of each trained voice, which `speaker` names, from one pass over clean crops: mean place, middle pitch,
        and the mean colour."""
        known, names = self.speaker_encoder, self._condition_names("speaker")
        if not names:
            return
        sums = {name: torch.zeros_like(getattr(known, name), device="cpu", dtype=torch.float32) for name in SUMMED}
        counts, melodies = torch.zeros(len(names)), [[] for _ in names]
        for batch in batches:
            x = self._levelled(batch["audio"].to(self.device))
            mel, speakers = self.vocoder.analyse(x), batch["conditions"]["speaker"].cpu()
            means, deviations = (torch.cat(rows) for rows in zip(*(colour(row[None]) for row in mel), strict=True))
            for name, rows in zip(SUMMED, (known(mel), means, deviations), strict=True):
                sums[name].index_add_(0, speakers, rows.float().cpu())
            counts += torch.bincount(speakers, minlength=len(names))
            for speaker, melody in zip(speakers.tolist(), self.vocoder.pitch(x).cpu(), strict=True):
                melodies[speaker].append(melody)
        known.voices.copy_(F.normalize(sums["voices"], dim=1))
        known.means.copy_(sums["means"] / counts.clamp(min=1)[:, None])
        known.deviations.copy_(sums["deviations"] / counts.clamp(min=1)[:, None])
        # of a speaker without a voiced frame NaN, so his melodies stay as they are
        middles = [middle(torch.cat(given)[None]) if given else torch.full((1,), math.nan) for given in melodies]
        known.pitches.copy_(torch.cat(middles))

    @torch.no_grad()
    def samples(self, batch: dict, stage: str) -> dict[str, torch.Tensor]:
        """What to listen to while a stage is trained: {name of a file: waveform [T]}, from the first clips of a batch.

        For the vocoder, clips before and after; else clips in the voice of the next clip.
        """
        sounds = list(batch["audio"][:3])
        found = {f"{i}-original": sound for i, sound in enumerate(sounds)}
        if stage == "vocoder":
            spoken = self.vocode(sounds)
            return found | {f"{i}-vocoded": torch.from_numpy(sound) for i, sound in enumerate(spoken)}
        spoken = self.swap_style(sounds, sounds[1:] + sounds[:1], output_type="pt").audios
        number = len(sounds)
        return found | {f"{i}-in-voice-of-{(i + 1) % number}": sound for i, sound in enumerate(spoken)}

    def _levelled(self, x: torch.Tensor) -> torch.Tensor:
        """Clips [B, T] at the level that `_hear` brings clips to."""
        return x * (LEVEL / active_level(x).clamp(min=1e-4))[:, None]

    def _vocoder_helpers(self) -> dict[str, nn.Module]:
        """The vocoder's discriminators, made when first asked for; no components, so never saved."""
        if "discriminator" not in self._helpers:
            module = inspect.getmodule(type(self.vocoder))
            self._helpers["discriminator"] = module.VocoderDiscriminator(self.config.discriminator_width)
        return {"discriminator": self._helpers["discriminator"]}

    def _vocoder_loss(self, batch: dict, generator: torch.Generator | None, progress: float):
        """Spectral distances, and, once there are discriminators, their opinion and their own loss, in one scalar: they see
        detached sound, and their opinion of the sound that carries gradients is asked with detached weights."""
        module, config, hop = inspect.getmodule(type(self.vocoder)), self.config, self.vocoder.config.hop_length
        x, device = batch["audio"], batch["audio"].device
        size = min(config.vocoder_frames, x.shape[-1] // hop) * hop
        start = int(torch.randint(x.shape[-1] - size + 1, (1,), generator=generator, device=device))
        louder = torch.exp(1.4 * torch.rand(len(x), 1, generator=generator, device=device) - 0.7)
        x = (self._levelled(x) * louder)[:, start : start + size]
        mel = self.vocoder.analyse(x)
        x_hat = self.vocoder(mel)
        distance = (self.vocoder.analyse(x_hat) - mel).abs().mean()
        spectral = module.spectral_distance(x, x_hat)
        loss = distance + spectral
        parts = {"mel": distance, "spectral": spectral}
        discriminator = self._vocoder_helpers()["discriminator"]
        if progress < config.discriminator_start:
            # no part in the loss, but gradients, of nothing: several processes wait for those of every weight
            loss = loss + 0.0 * sum(p.sum() for p in discriminator.parameters())
        else:
            share = min(1.0, (progress - config.discriminator_start) / 0.1)
            real = discriminator(x)
            critic = module.critic_loss(real, discriminator(x_hat.detach()))
            detached = {name: p.detach() for name, p in discriminator.named_parameters()}
            fake = torch.func.functional_call(discriminator, detached, (x_hat,))
            opinion, features = module.opinion(fake), module.feature_distance(real, fake)
            loss = loss + share * (config.adversarial_weight * opinion + config.feature_weight * features) + critic
            parts |= {"critic": critic, "opinion": opinion, "features": features}
        return loss, {name: value.detach() for name, value in parts.items()}

    def _lesson(self, batch: dict, generator: torch.Generator | None):
        """Both halves of each crop -> what the decoder is to say, what the content encoder hears of it, and whose it is.

        The crop is one voice, perhaps shifted, which then counts as another; the content encoder hears it shifted once
        more, at random, and with some noise; all at a somewhat other tempo.

        Returns:
            mel [2B, bands, n], disguised mel [2B, bands, n], class int64 [2B], pitch, log2 Hz [2B, n]; rows i and i + B are
            of one clip.
        """
        x, n = self._levelled(batch["audio"]), len(batch["audio"])

        def draw(*shape: int) -> torch.Tensor:
            return torch.rand(shape, generator=generator, device=x.device)

        magnitude = self.vocoder.magnitudes(x)  # [B, F, T]
        size = int(magnitude.shape[-1] * (0.9 + 0.2 * draw(1)))
        magnitude = F.interpolate(magnitude, size=size, mode="linear")[..., : size // 4 * 4]
        side = (len(VARIANTS) - 1) // 2
        variant = torch.where(draw(n) < 0.5, side, (draw(n) * len(VARIANTS)).long())
        shift = torch.tensor(VARIANTS, device=x.device)[variant]
        mel = self.vocoder.to_mel(magnitude, shift)
        strength = 10 ** (-(15 + 25 * draw(n)) / 20) * (draw(n) < 0.5)  # of noise, relative to speech
        noise = -2 * torch.log(draw(*magnitude.shape).clamp(min=1e-6))  # a Gaussian's power in each bin, about 2
        level = magnitude.square().mean((1, 2)).sqrt() * strength
        noisy = (magnitude.square() + noise * (level.square() / 2)[:, None, None]).sqrt()
        disguise = torch.tensor(DISGUISES, device=x.device)[(draw(n) * len(DISGUISES)).long()]
        heard = self.vocoder.to_mel(noisy, disguise)
        melody = F.interpolate(self.vocoder.pitch(x)[:, None], size=size, mode="nearest")[:, 0, : mel.shape[-1]]
        melody = torch.where(melody > 0, melody + shift.log2()[:, None], melody)
        halves = [torch.cat(m.chunk(2, dim=-1)) for m in (mel, heard, melody)]
        speaker = batch["conditions"]["speaker"] * len(VARIANTS) + variant
        return (*halves[:2], speaker.repeat(2), halves[2])

    def _voice_terms(self, mel: torch.Tensor, speaker: torch.Tensor):
        """Speaker terms of clips [2B, bands, n] -> the voice of each, taken from its clip's other half, and how well the
        classes are told apart (scaled cosines with a margin: Wang et al. 2018, https://arxiv.org/abs/1801.05599)."""
        place = self.speaker_encoder(mel)  # [2B, speaker_dim]
        logits = self.speaker_encoder.logits(place)
        margin = 2.0 * F.one_hot(speaker, logits.shape[1])
        known = F.cross_entropy(logits - margin, speaker)
        return place.roll(len(place) // 2, 0), known, (logits.argmax(1) == speaker).float().mean()

    def _conversion_terms(
        self,
        latents: torch.Tensor,
        content: torch.Tensor,
        voices: torch.Tensor,
        speaker: torch.Tensor,
        pitch: torch.Tensor,
        generator: torch.Generator | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What a conversion, which has no true answer, must still fulfil: it is heard as the other voice, and its content as
        the same. The encoders judge with detached weights, so that only the decoder can please them.

        Args:
            latents: that the decoder is to say [2B, D, T].
            content: the content encoder's mean for them [2B, D, T].
            voices, speaker: places [2B, speaker_dim] and their classes [2B].
            pitch: of the clips, log2 Hz [2B, n].

        Returns:
            cross-entropy of the other voice's class; squared distance of the contents relative to their size.
        """
        order = torch.randperm(len(voices), generator=generator, device=voices.device)
        mel = self.decoder(latents.detach(), voices[order].detach(), transposed(pitch, middle(pitch)[order]))

        def judge(module: nn.Module) -> Any:
            weights = {name: p.detach() for name, p in module.named_parameters()}
            return torch.func.functional_call(module, weights, (mel,))

        voice = F.cross_entropy(self.speaker_encoder.logits(judge(self.speaker_encoder), frozen=True), speaker[order])
        content = content.detach()
        distance = F.mse_loss(judge(self.content_encoder)[0], content) / content.square().mean().clamp(min=1e-6)
        return voice, distance

    # ---- export ----

    def save_config(self, save_directory, push_to_hub: bool = False, **kwargs) -> None:
        """Last step of `save_pretrained`: add the sources, so that a bare diffusers loads the folder.

        The pipeline's file goes beside model_index.json and each custom component's file into its own subfolder; the
        JSON names them in the list form that `DiffusionPipeline.from_pretrained(..., trust_remote_code=True)` follows.
        """
        super().save_config(save_directory, **kwargs)
        folder = Path(save_directory)
        index = json.loads((folder / self.config_name).read_text())
        for name, component in self.components.items():
            module = type(component).__module__
            if component is None or module.split(".")[0] in ("diffusers", "transformers"):
                continue
            stem = module.split(".")[-1]
            (folder / name).mkdir(exist_ok=True)
            (folder / name / f"{stem}.py").write_text(inspect.getsource(inspect.getmodule(type(component))))
            index[name] = [stem, type(component).__name__]
        stem = type(self).__module__.split(".")[-1]
        (folder / f"{stem}.py").write_text(inspect.getsource(inspect.getmodule(type(self))))
        index["_class_name"] = [stem, type(self).__name__]
        index.pop("_name_or_path", None)
        (folder / self.config_name).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


# --- end of the shared voice block ---

STAGES = ("vocoder", "autoencoder")
RESTARTS_UNTIL = 0.8  # of the training: in the end the codebook settles


@dataclass
class SpokenCodesOutput(AudiosOutput):
    """`codes`: list of int64 [frames], one for each sound; `frame_rate`: codes each second."""

    codes: list[torch.Tensor]
    frame_rate: float


class VoiceVQVAEPipeline(VoicePipeline):
    """Voices exchanged by an auto-encoder that writes down what is said as a row of codes.

    Args:
        content_encoder: `ContentEncoder`, without a variance.
        codebook: `VoiceCodebook`.
        speaker_encoder: `SpeakerEncoder`.
        decoder: `VoiceDecoder`.
        vocoder: `VoiceVocoder`, which also makes the spectrograms.
        sampling_rate: of all sound, Hz.
        commitment_weight: weight of the commitment to the codes in the training loss.
        speaker_weight: weight of telling the trained voices apart.
        conversion_weight: weight of what a conversion must fulfil, which has no true answer.
        vocoder_frames: length of the pieces that the vocoder is trained on.
        adversarial_weight, feature_weight: of the discriminators' opinion, and of the distance of their features.
        discriminator_start: part of the vocoder's training after which they take part.
        discriminator_width: of their first layers.
        conditions: {"speaker": {"0": name, ...}}, the trained voices.
        defaults: of the tasks' parameters, where they differ from the methods'.
        anomaly_quantiles: 201 quantiles of the scores of ordinary clips, under "default".
    """

    def __init__(
        self,
        content_encoder: ModelMixin,
        codebook: ModelMixin,
        speaker_encoder: ModelMixin,
        decoder: ModelMixin,
        vocoder: ModelMixin,
        sampling_rate: int = 16000,
        commitment_weight: float = 0.25,
        speaker_weight: float = 0.1,
        conversion_weight: float = 0.05,
        vocoder_frames: int = 48,
        adversarial_weight: float = 0.05,
        feature_weight: float = 0.2,
        discriminator_start: float = 0.4,
        discriminator_width: int = 16,
        conditions: dict[str, dict[str, str]] | None = None,
        defaults: dict[str, dict[str, Any]] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        self.register_modules(
            content_encoder=content_encoder,
            codebook=codebook,
            speaker_encoder=speaker_encoder,
            decoder=decoder,
            vocoder=vocoder,
        )
        self.register_to_config(
            sampling_rate=sampling_rate,
            commitment_weight=commitment_weight,
            speaker_weight=speaker_weight,
            conversion_weight=conversion_weight,
            vocoder_frames=vocoder_frames,
            adversarial_weight=adversarial_weight,
            feature_weight=feature_weight,
            discriminator_start=discriminator_start,
            discriminator_width=discriminator_width,
            conditions=conditions,
            defaults=defaults,
            anomaly_quantiles=anomaly_quantiles,
        )
        self._helpers: dict[str, nn.Module] = {}  # of the training; no components, so never saved

    @classmethod
    def build(
        cls,
        sampling_rate: int,
        conditions: dict[str, dict[str, str]] | None = None,
        bands: int = 80,
        latent_dim: int = 32,
        content_width: int = 128,
        content_layers: int = 2,
        codebook_size: int = 256,
        speaker_width: int = 128,
        speaker_dim: int = 128,
        decoder_width: int = 192,
        decoder_layers: int = 3,
        vocoder: dict[str, int] | None = None,
        **options,
    ) -> VoiceVQVAEPipeline:
        """Fresh weights.

        Args:
            sampling_rate: of the sound, Hz.
            conditions: {"speaker": {"0": name, ...}}: who speaks in the training data.
            bands: of the spectrograms.
            latent_dim, content_width, content_layers: of `ContentEncoder`.
            codebook_size: of `VoiceCodebook`.
            speaker_width, speaker_dim: of `SpeakerEncoder`.
            decoder_width, decoder_layers: of `VoiceDecoder`.
            vocoder: arguments of `VoiceVocoder`.
            options: the other arguments of the class.

        Raises:
            TypeError: an option that the class does not have.
            ValueError: other conditions than "speaker", or no speakers.
        """
        if set(conditions or ()) != {"speaker"}:
            raise ValueError("conditions: this family learns from data that say who speaks, data.conditions.speaker.")
        names = conditions["speaker"]
        module = _modeling("modeling_voice")
        return cls(
            module.ContentEncoder(bands, content_width, latent_dim, content_layers, gaussian=False),
            module.VoiceCodebook(codebook_size, latent_dim),
            module.SpeakerEncoder(
                tuple(names[key] for key in sorted(names, key=int)), bands, speaker_width, speaker_dim, len(VARIANTS)
            ),
            module.VoiceDecoder(bands, decoder_width, latent_dim, speaker_dim, decoder_layers),
            _modeling("modeling_voice_vocoder").VoiceVocoder(
                **{"sampling_rate": sampling_rate, "bands": bands, **(vocoder or {})}
            ),
            sampling_rate=sampling_rate,
            conditions=conditions,
            **options,
        )

    # ---- training ----

    def trainable(self, stage: str) -> dict[str, nn.Module]:
        """The modules that a stage trains; helpers are made when first asked for.

        Raises:
            ValueError: an unknown stage.
        """
        if stage not in STAGES:
            raise ValueError(f"stage: choose {' or '.join(map(repr, STAGES))}, not {stage!r}.")
        if stage == "vocoder":
            return {"vocoder": self.vocoder, **self._vocoder_helpers()}
        if "codebook_average" not in self._helpers:
            sizes = self.codebook.config.codebook_size, self.codebook.config.latent_dim
            self._helpers["codebook_average"] = inspect.getmodule(type(self.codebook)).CodebookAverage(*sizes)
        names = ("content_encoder", "codebook", "speaker_encoder", "decoder")
        return {name: getattr(self, name) for name in names} | {"codebook_average": self._helpers["codebook_average"]}

    def loss(
        self,
        batch: dict,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
        stage: Literal["vocoder", "autoencoder"] = "autoencoder",
    ):
        """The loss of a stage.

        "vocoder": spectral distances, and, once there are discriminators, their opinion and their own loss.

        "autoencoder": what the decoder says of one half of a clip in the voice of its other half, the commitment to the
        codes, telling the voices apart, and what conversions to the voices of other clips must fulfil. While the codebook is
        in training mode, each call also moves it.

        Args:
            batch: "audio" float [B, T] in [-1, 1], "conditions" {"speaker": int64 [B]}.
            generator: for all random numbers, on the sound's device.
            progress: part of the stage that is done, 0 ... 1.
            stage: which.

        Returns:
            (scalar, {name: scalar}).

        Raises:
            ValueError: an unknown stage.
        """
        if stage not in STAGES:
            raise ValueError(f"stage: choose {' or '.join(map(repr, STAGES))}, not {stage!r}.")
        if stage == "vocoder":
            return self._vocoder_loss(batch, generator, progress)
        config = self.config
        mel, heard, speaker, pitch = self._lesson(batch, generator)
        mean, _ = self.content_encoder(heard)
        codes, latents = self.codebook(mean)
        commitment = F.mse_loss(mean, self.codebook.embed(codes))  # the codebook is a buffer: |z - sg(e)|^2
        voices, known, accuracy = self._voice_terms(mel, speaker)
        spoken = self.decoder(latents, voices, pitch)
        error = (spoken - mel).abs().mean() / 3  # on the networks' scale
        share = min(1.0, max(0.0, (progress - 0.1) / 0.2))  # a conversion is judged when there is a judge
        other, content = self._conversion_terms(latents, mean, voices, speaker, pitch, generator)
        loss = error + config.commitment_weight * commitment + config.speaker_weight * known
        loss = loss + share * config.conversion_weight * (other + content)
        parts = {"error": error, "commitment": commitment, "speaker": known, "accuracy": accuracy}
        parts |= {"conversion": other, "content": content}
        if self.codebook.training:
            average = self.trainable("autoencoder")["codebook_average"]
            parts |= average.update(self.codebook.codebook, mean.detach(), codes, progress < RESTARTS_UNTIL, generator)
        return loss, {name: value.detach() for name, value in parts.items()}

    # ---- the tasks ----

    def _latents(self, heard: Heard) -> tuple[torch.Tensor, torch.Tensor]:
        """What is said: the codes' vectors [1, D, T'], and the codes int64 [1, T']."""
        codes, latents = self.codebook(self.content_encoder(heard.mel)[0])
        return latents, codes

    def _output(self, audios: list, codes: list[torch.Tensor], return_dict: bool) -> SpokenCodesOutput | tuple:
        rate = self.config.sampling_rate
        frame_rate = rate / self.vocoder.config.hop_length / 2
        if not return_dict:
            return audios, rate, codes, frame_rate
        return SpokenCodesOutput(audios=audios, sampling_rate=rate, codes=codes, frame_rate=frame_rate)

    @checked
    @torch.no_grad()
    def swap_style(
        self,
        content: Sounds,
        style: Sounds | None = None,
        generator: Generators = None,
        speaker: Annotated[str, {"choices_from": "speaker"}] = "any",
        strength: Share = 1.0,
        vocoder: Vocoder = "neural",
        callback_on_step_end: Callable | None = None,
        output_type: str = "np",
        return_dict: bool = True,
    ) -> SpokenCodesOutput | tuple:
        """What one clip says, in the voice of another.

        Args:
            content: the words: float [T] in [-1, 1] at `config.sampling_rate`, or a list of such of any lengths.
            style: the voice: one clip for all contents or one for each, best of 2 to 10 s; None with a named speaker.
            generator: one `torch.Generator`, or a list with one for each content (with "griffin_lim").
            speaker: A voice of the training data in place of the style clip; any: the style clip's.
            strength: How far to go from the content's own voice to the other; 0 stays, 1 arrives.
            vocoder: "neural" makes sound by a network; "griffin_lim" by an iteration without one, rougher.
            callback_on_step_end: called after each chunk as (pipe, step, timestep, {"pred_original_sample": float [1, T so far], "num_timesteps"}).
            output_type: "np" or "pt".
            return_dict: False: a tuple.

        Returns:
            `SpokenCodesOutput`, each sound as long as its content.

        Raises:
            ValueError: no mono sound at the right rate, silence, no voice to speak in, or an option that does not fit.
        """
        sounds = self._to_sounds(content, "content")
        generator = self._to_generators(generator, len(sounds))
        self._check_output_type(output_type)
        voices = self._voices(style, speaker, len(sounds))
        pieces, codes = [], []
        for sound, voice in zip(sounds, voices, strict=True):
            heard = self._hear(sound)
            if strength < 1:
                voice = between(self._voice(heard), voice, strength)
            latents, row = self._latents(heard)
            pieces.append((heard, latents, voice))
            codes.append(row[0].cpu())
        audios = self._speak(pieces, vocoder, generator, callback_on_step_end, output_type)
        return self._output(audios, codes, return_dict)

    @checked
    @torch.no_grad()
    def reconstruct(
        self,
        audio: Sounds,
        generator: Generators = None,
        vocoder: Vocoder = "neural",
        callback_on_step_end: Callable | None = None,
        output_type: str = "np",
        return_dict: bool = True,
    ) -> SpokenCodesOutput | tuple:
        """Clips taken apart into words and voice, and put together again.

        Args:
            audio: float [T] in [-1, 1] at `config.sampling_rate`, or a list of such of any lengths.
            generator: one `torch.Generator`, or a list with one for each clip (with "griffin_lim").
            vocoder: "neural" makes sound by a network; "griffin_lim" by an iteration without one, rougher.
            callback_on_step_end: called after each chunk as (pipe, step, timestep, {"pred_original_sample": float [1, T so far], "num_timesteps"}).
            output_type: "np" or "pt".
            return_dict: False: a tuple.

        Returns:
            `SpokenCodesOutput`, each sound as long as its clip.

        Raises:
            ValueError: no mono sound at the right rate, silence, or an option that does not fit.
        """
        sounds = self._to_sounds(audio, "audio")
        generator = self._to_generators(generator, len(sounds))
        self._check_output_type(output_type)
        pieces, codes = [], []
        for sound in sounds:
            heard = self._hear(sound)
            latents, row = self._latents(heard)
            pieces.append((heard, latents, self._voice(heard)))
            codes.append(row[0].cpu())
        audios = self._speak(pieces, vocoder, generator, callback_on_step_end, output_type)
        return self._output(audios, codes, return_dict)

    @checked
    @torch.no_grad()
    def interpolate(
        self,
        a: Sound,
        b: Sound,
        num_frames: int = 5,
        generator: torch.Generator | None = None,
        vocoder: Vocoder = "neural",
        callback_on_step_end: Callable | None = None,
        output_type: str = "np",
        return_dict: bool = True,
    ) -> AudiosOutput | tuple:
        """What one clip says, in voices from its own to another's, along the sphere of voices.

        Args:
            a: the words and the first voice, float [T] in [-1, 1] at `config.sampling_rate`.
            b: the last voice.
            num_frames: M, voices including both ends.
            generator: of the first phases (with "griffin_lim").
            vocoder: "neural" makes sound by a network; "griffin_lim" by an iteration without one, rougher.
            callback_on_step_end: called after each chunk as (pipe, step, timestep, {"pred_original_sample": float [1, T so far], "num_timesteps"}).
            output_type: "np" or "pt".
            return_dict: False: a tuple.

        Returns:
            `AudiosOutput` with M sounds, each as long as `a`.

        Raises:
            ValueError: no mono sound at the right rate, silence, or fewer than 2 voices.
        """
        if num_frames < 2:
            raise ValueError("num_frames: needs at least 2, the two ends.")
        (first,), (last,) = self._to_sounds([a], "a"), self._to_sounds([b], "b")
        generator = self._to_generators(generator, 1)
        generator = generator[0] if isinstance(generator, list) else generator
        self._check_output_type(output_type)
        heard = self._hear(first)
        latents = self._latents(heard)[0]
        ends = self._voice(heard), self._voice(self._hear(last))
        pieces = [(heard, latents, between(*ends, i / (num_frames - 1))) for i in range(num_frames)]
        audios = self._speak(pieces, vocoder, generator, callback_on_step_end, output_type)
        output = AudiosOutput(audios=audios, sampling_rate=self.config.sampling_rate)
        return output if return_dict else (audios, self.config.sampling_rate)

    @checked
    @torch.no_grad()
    def anomaly_score(
        self, audio: Sounds, generator: Generators = None, callback_on_step_end: Callable | None = None
    ) -> AnomalyOutput:
        """How strange a clip is to the model: how far its spectrogram is from what comes back in its own voice.

        Speech comes back nearly as it was; noise and music do not. The score is the mean absolute difference of log-mel
        spectrograms, in decibels.

        Args:
            audio: float [T] in [-1, 1] at `config.sampling_rate`, or a list of such of any lengths.
            generator: not used: nothing here is left to chance.
            callback_on_step_end: called after each clip as (pipe, step, timestep, {"pred_original_sample": the clip [1, T], "num_timesteps"}).

        Returns:
            `AnomalyOutput` with scores [N], their course over the frames of each clip, and the unit.

        Raises:
            ValueError: no mono sound at the right rate, or silence.
        """
        sounds = self._to_sounds(audio, "audio")
        self._to_generators(generator, len(sounds))
        curves = []
        for i, sound in enumerate(sounds):
            heard = self._hear(sound)
            spoken = self.decoder(self._latents(heard)[0], self.speaker_encoder(heard.mel), heard.pitch)
            curves.append((spoken - heard.mel)[0].abs().mean(0).cpu() * 20 / math.log(10))  # [frames]
            if callback_on_step_end is not None:
                values = {"pred_original_sample": sound[None], "num_timesteps": len(sounds)}
                callback_on_step_end(self, i, i, values)
        return AnomalyOutput(scores=torch.stack([curve.mean() for curve in curves]), maps=curves, unit="dB")


def _modeling(stem: str):
    """The file of a component, by name, beside this file: an import statement would make bare diffusers look for it on the
    Hub."""
    return importlib.import_module(__name__.replace("pipeline_voice_vqvae", stem))
