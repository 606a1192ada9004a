"""Training of the families of voices: the vocoder, the auto-encoder of speech, and what is kept of each speaker.

The vocoder is trained first, by spectral distances and discriminators. Then the auto-encoder learns from two halves of a
clip: it says the first half in the voice of the second, and the other way round. The content encoder hears a disguised
clip, all frequencies shifted at random, so that neither pitch nor formants help the decoder (Choi et al., Neural Analysis
and Synthesis, 2021, https://arxiv.org/abs/2110.14513).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
import torch.nn.functional as F
from torch import nn

from pipelines.adversarial import feature_distance, ramp, with_detached_weights, zero_gradients
from pipelines.sounds import AudiosOutput
from pipelines.speech import band_statistics, bring_to_level, median_pitch, transpose_pitch
from pipelines.vocoder_losses import (
    VocoderDiscriminator,
    all_features,
    discriminators_loss,
    generator_loss,
    spectral_distance,
)
from pipelines.voices import VARIANTS, VoiceFamilyMixin

STAGES = ("vocoder", "autoencoder")
DISGUISES = tuple(round(0.75 * 1.8 ** (i / 24), 3) for i in range(25))  # shifts of what the content encoder hears


class VoiceTrainingMixin(VoiceFamilyMixin):
    """The training of voice families. A family adds `loss`, with the terms of its content."""

    _helpers: dict[str, nn.Module]  # modules that only training needs
    swap_style: Callable[..., AudiosOutput]

    # ---- the vocoder ----

    def _vocoder_helpers(self) -> dict[str, nn.Module]:
        """Return the vocoder's discriminators. They are made when first needed; no components, so never saved."""
        if "discriminator" not in self._helpers:
            self._helpers["discriminator"] = VocoderDiscriminator(self.config.discriminator_width).float()
        return {"discriminator": self._helpers["discriminator"]}

    def _vocoder_loss(
        self, batch: dict, generator: torch.Generator | None, progress: float
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of vocoder and discriminators in one scalar, and its parts.

        The discriminators see detached sound. The vocoder's loss asks them with detached weights.
        """
        config, hop = self.config, self.vocoder.config.hop_length
        x, device = batch["audio"], batch["audio"].device
        size = min(config.vocoder_frames, x.shape[-1] // hop) * hop
        start = int(torch.randint(x.shape[-1] - size + 1, (1,), generator=generator, device=device))
        louder = torch.exp(1.4 * _uniform(x, generator, len(x), 1) - 0.7)
        x = (bring_to_level(x) * louder)[:, start : start + size]
        mel = self.vocoder.analyse(x)
        x_hat = self.vocoder(mel)
        distance = (self.vocoder.analyse(x_hat) - mel).abs().mean()
        spectral = spectral_distance(x, x_hat)
        loss = distance + spectral
        parts = {"mel": distance, "spectral": spectral}
        discriminator = self._vocoder_helpers()["discriminator"]
        if progress < config.discriminator_start:
            loss = loss + zero_gradients(discriminator)
        else:
            share = ramp(progress, config.discriminator_start, 0.1)
            real = discriminator(x)
            critic = discriminators_loss(real, discriminator(x_hat.detach()))
            fake = with_detached_weights(discriminator, x_hat)
            opinion, features = generator_loss(fake), feature_distance(all_features(real), all_features(fake))
            loss = loss + share * (config.adversarial_weight * opinion + config.feature_weight * features) + critic
            parts |= {"critic": critic, "opinion": opinion, "features": features}
        return loss, {name: value.detach() for name, value in parts.items()}

    # ---- the auto-encoder ----

    def _example(
        self, batch: dict, generator: torch.Generator | None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return both halves of each clip: as the decoder is to say it, and as the content encoder hears it.

        A clip is one voice, perhaps shifted, which then counts as another. The content encoder hears it shifted once more, at
        random, and with some noise. All have a slightly different tempo.

        Args:
            batch: "audio" [B, T], "conditions" {"speaker": int64 [B]}.

        Returns:
            mel [2B, bands, n], disguised mel [2B, bands, n], class int64 [2B], pitch, log2 Hz [2B, n]; rows i and i + B are
            of one clip.
        """
        x, n = bring_to_level(batch["audio"]), len(batch["audio"])

        def draw(*shape: int) -> torch.Tensor:
            return _uniform(x, generator, *shape)

        magnitude = self.vocoder.magnitudes(x)  # [B, F, T]
        size = int(magnitude.shape[-1] * (0.9 + 0.2 * draw(1)))
        magnitude = F.interpolate(magnitude, size=size, mode="linear")[..., : size // 4 * 4]
        side = (len(VARIANTS) - 1) // 2
        variant = torch.where(draw(n) < 0.5, side, (draw(n) * len(VARIANTS)).long())
        shift = torch.tensor(VARIANTS, device=x.device, dtype=torch.float32)[variant]
        mel = self.vocoder.to_mel(magnitude, shift)
        strength = 10 ** (-(15 + 25 * draw(n)) / 20) * (draw(n) < 0.5)  # of noise, relative to speech
        noise = -2 * torch.log(draw(*magnitude.shape).clamp(min=1e-6))  # a Gaussian's power in each bin, about 2
        level = magnitude.square().mean((1, 2)).sqrt() * strength
        noisy = (magnitude.square() + noise * (level.square() / 2)[:, None, None]).sqrt()
        disguise = torch.tensor(DISGUISES, device=x.device, dtype=torch.float32)[(draw(n) * len(DISGUISES)).long()]
        heard = self.vocoder.to_mel(noisy, disguise)
        melody = F.interpolate(self.vocoder.pitch(x)[:, None], size=size, mode="nearest")[:, 0, : mel.shape[-1]]
        melody = torch.where(melody > 0, melody + shift.log2()[:, None], melody)
        mel, heard, melody = (torch.cat(whole.chunk(2, dim=-1)) for whole in (mel, heard, melody))
        speaker = batch["conditions"]["speaker"] * len(VARIANTS) + variant
        return mel, heard, speaker.repeat(2), melody

    def _autoencoder_loss(
        self,
        mel: torch.Tensor,
        latents: torch.Tensor,
        mean: torch.Tensor,
        speaker: torch.Tensor,
        pitch: torch.Tensor,
        bottleneck: tuple[str, torch.Tensor, float],
        progress: float,
        generator: torch.Generator | None,
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of the auto-encoder and its parts.

        loss = |m - m_hat| / 3 + weight bottleneck + speaker_weight L_speaker + ramp conversion_weight L_conversion

        Args:
            mel: spectrograms [2B, bands, n], halves of clips as `_example` gives them.
            latents: contents that the decoder says [2B, D, n / 2].
            mean: output of the content encoder [2B, D, n / 2].
            speaker: classes int64 [2B].
            pitch: log2 Hz [2B, n].
            bottleneck: name, value and weight of the family's term of the contents.
            progress: part of the stage that is done. Conversions count once the speaker encoder can judge them.
        """
        name, penalty, weight = bottleneck
        voices, known, accuracy = self._speaker_terms(mel, speaker)
        error = (self.decoder(latents, voices, pitch) - mel).abs().mean() / 3  # on the networks' scale
        other, content = self._conversion_terms(latents, mean, voices, speaker, pitch, generator)
        loss = error + weight * penalty + self.config.speaker_weight * known
        loss = loss + ramp(progress, 0.1, 0.2) * self.config.conversion_weight * (other + content)
        parts = {"error": error, name: penalty, "speaker": known, "accuracy": accuracy}
        parts |= {"conversion": other, "content": content}
        return loss, {key: value.detach() for key, value in parts.items()}

    def _speaker_terms(
        self, mel: torch.Tensor, speaker: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Classify the voices of clips by scaled cosines with a margin (Wang et al. 2018, https://arxiv.org/abs/1801.05599).

        Args:
            mel: [2B, bands, n].
            speaker: int64 [2B].

        Returns:
            The embedding of the other half of each clip [2B, speaker_dim], the cross-entropy, the accuracy.
        """
        embedding = self.speaker_encoder(mel)  # [2B, speaker_dim]
        logits = self.speaker_encoder.logits(embedding)
        margin = 2.0 * F.one_hot(speaker, logits.shape[1]).to(logits.dtype)
        known = F.cross_entropy(logits - margin, speaker)
        accuracy = (logits.argmax(1) == speaker).float().mean()
        return embedding.roll(len(embedding) // 2, 0), known, accuracy

    def _conversion_terms(
        self,
        latents: torch.Tensor,
        content: torch.Tensor,
        voices: torch.Tensor,
        speaker: torch.Tensor,
        pitch: torch.Tensor,
        generator: torch.Generator | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Judge conversions to the voices of other clips, which have no true answer.

        A conversion must be classified as the other voice, and its content must be the same. The encoders judge with detached
        weights, so that only the decoder learns from it.

        Args:
            latents: contents that the decoder says [2B, D, T].
            content: the content encoder's mean for them [2B, D, T].
            voices, speaker: embeddings [2B, speaker_dim] and their classes [2B].
            pitch: of the clips, log2 Hz [2B, n].

        Returns:
            The cross-entropy of the other voice's class; the squared distance of the contents relative to their size.
        """
        order = torch.randperm(len(voices), generator=generator, device=voices.device)
        mel = self.decoder(latents.detach(), voices[order].detach(), transpose_pitch(pitch, median_pitch(pitch)[order]))
        embedding = with_detached_weights(self.speaker_encoder, mel)
        voice = F.cross_entropy(self.speaker_encoder.logits(embedding, frozen=True), speaker[order])
        content = content.detach()
        distance = F.mse_loss(with_detached_weights(self.content_encoder, mel)[0], content)
        return voice, distance / content.square().mean().clamp(min=1e-6)

    # ---- after training, and during it ----

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Measure each trained voice: its mean embedding, median pitch, and mean band statistics.

        The speaker encoder keeps them, for `speaker` of `swap_style` and for `style_map`. A speaker without a voiced frame has
        the pitch NaN, so that melodies stay as they are in that voice.

        Args:
            batches: of `{"audio" [B, T], "conditions" {"speaker": int64 [B]}}`, one pass over clips of the training.
        """
        known, names = self.speaker_encoder, self._condition_names("speaker")
        if not names:
            return
        measured = ("voices", "means", "deviations")
        sums = {name: torch.zeros_like(getattr(known, name), device="cpu", dtype=torch.float32) for name in measured}
        counts = torch.zeros(len(names), dtype=torch.float32)
        melodies: list[list[torch.Tensor]] = [[] for _ in names]
        for batch in batches:
            x = bring_to_level(batch["audio"].to(self._execution_device))
            mel, speakers = self.vocoder.analyse(x), batch["conditions"]["speaker"].cpu()
            means, deviations = (
                torch.cat(rows) for rows in zip(*(band_statistics(row[None]) for row in mel), strict=True)
            )
            for name, rows in zip(measured, (known(mel), means, deviations), strict=True):
                sums[name].index_add_(0, speakers, rows.float().cpu())
            counts += torch.bincount(speakers, minlength=len(names))
            for speaker, melody in zip(speakers.tolist(), self.vocoder.pitch(x).cpu(), strict=True):
                melodies[speaker].append(melody)
        known.voices.copy_(F.normalize(sums["voices"], dim=1))
        known.means.copy_(sums["means"] / counts.clamp(min=1)[:, None])
        known.deviations.copy_(sums["deviations"] / counts.clamp(min=1)[:, None])
        unknown = torch.full((1,), math.nan, dtype=torch.float32)
        known.pitches.copy_(torch.cat([median_pitch(torch.cat(m)[None]) if m else unknown for m in melodies]))

    @torch.no_grad()
    def samples(self, batch: dict, stage: str) -> dict[str, torch.Tensor]:
        """Return sounds to listen to while a stage is trained: {name of a file: waveform [T]}.

        They are of the first three clips of a batch. For the vocoder, clips before and after it; otherwise clips in the voice
        of the next clip.
        """
        sounds = list(batch["audio"][:3])
        found = {f"{i}-original": sound for i, sound in enumerate(sounds)}
        if stage == "vocoder":
            return found | {f"{i}-vocoded": torch.from_numpy(sound) for i, sound in enumerate(self.vocode(sounds))}
        spoken = self.swap_style(sounds, sounds[1:] + sounds[:1], output_type="pt").audios
        number = len(sounds)
        return found | {f"{i}-in-voice-of-{(i + 1) % number}": sound for i, sound in enumerate(spoken)}


def _uniform(like: torch.Tensor, generator: torch.Generator | None, *shape: int) -> torch.Tensor:
    """Return uniform numbers of a shape, float32, on the device of a tensor."""
    return torch.rand(shape, generator=generator, device=like.device, dtype=torch.float32)
