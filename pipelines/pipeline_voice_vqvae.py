"""Voice conversion by a vector-quantised auto-encoder: a clip as a row of codes, said in the voice of another clip.

    z = E(m),   k_t = argmin_j |z_t - e_j|,   s = S(m'),   m_hat = D(e_k, s, f)
    loss = |m - m_hat|_1 + w |z - sg(e_k)|^2  +  terms of the speaker                     VQ-VAE eq. 1-3

Here m and m' are two halves of one clip. Few codes each second leave no room for a voice. What the content encoder hears is
disguised: all frequencies are shifted at random, so that neither pitch nor formants pass. The codebook follows the moving
averages of its latents. The melody f, the pitch of each frame, goes to the decoder by itself. In another voice it is moved to
the median pitch of that voice. A speaker of no training clip is a point s like any other.

Sound is float [T] in [-1, 1] at `config.sampling_rate`. To read a file: x, rate = soundfile.read(path, dtype="float32"); of two
channels, x.mean(1); at another rate, soxr.resample(x, rate, pipe.config.sampling_rate).

Papers:
    van den Oord, Vinyals, Kavukcuoglu: Neural Discrete Representation Learning, 2017, https://arxiv.org/abs/1711.00937
        (VQ-VAE; voices: sec. 4.3)
    Chou, Yeh, Lee: One-shot Voice Conversion by Separately Representing Speaker and Content Representations with Instance
        Normalization, 2019, https://arxiv.org/abs/1904.05742 (AdaIN-VC)
    Siuzdak: Vocos: Closing the gap between time-domain and Fourier-based neural vocoders, 2023,
        https://arxiv.org/abs/2306.00814
    Choi et al.: Neural Analysis and Synthesis: Reconstructing Speech from Self-Supervised Representations, 2021,
        https://arxiv.org/abs/2110.14513 (the disguises)
    Qian et al.: F0-consistent Many-to-many Non-parallel Voice Conversion via Conditional Autoencoder, 2020,
        https://arxiv.org/abs/2004.07370 (the melody)
    Boersma: Accurate Short-term Analysis of the Fundamental Frequency, 1993 (the pitch)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from diffusers import DiffusionPipeline, ModelMixin
from torch import nn

from pipelines.codebook import CodebookAverage
from pipelines.family import check_stage
from pipelines.modeling_voice import ContentEncoder, VoiceCodebook
from pipelines.sounds import AudiosOutput, task
from pipelines.voice_training import STAGES, VoiceTrainingMixin
from pipelines.voices import Clip, VoiceFamilyMixin, build_shared_components

RESTARTS_UNTIL = 0.8  # of the training: in the end the codebook settles


@dataclass
class SpokenCodesOutput(AudiosOutput):
    """Sounds, and `codes` of each, a list of int64 [frames], with their `frame_rate` in codes a second."""

    codes: list[torch.Tensor]
    frame_rate: float


class VoiceVQVAEPipeline(VoiceTrainingMixin, VoiceFamilyMixin, DiffusionPipeline):
    """Voice conversion through a sequence of codes.

    Args:
        content_encoder: `ContentEncoder`, without a variance.
        codebook: `VoiceCodebook`.
        commitment_weight: weight of the commitment to the codes in the training loss.
    """

    codebook: VoiceCodebook
    model_cpu_offload_seq = "content_encoder->codebook->speaker_encoder->decoder->vocoder"

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
        self._register(locals())
        self._helpers = {}

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
        """Make a pipeline with fresh weights.

        Args:
            sampling_rate: of the sound, Hz.
            conditions: {"speaker": {"0": name, ...}}: the speakers of the training data.
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
        content_encoder = ContentEncoder(bands, content_width, latent_dim, content_layers, gaussian=False)
        codebook = VoiceCodebook(codebook_size, latent_dim)
        shared = build_shared_components(
            sampling_rate,
            conditions,
            bands,
            latent_dim,
            speaker_width,
            speaker_dim,
            decoder_width,
            decoder_layers,
            vocoder,
        )
        return cls(content_encoder, codebook, *shared, sampling_rate=sampling_rate, conditions=conditions, **options)

    # ---- training ----

    def trainable(self, stage: str) -> dict[str, nn.Module]:
        """Return the modules that a stage trains. Helpers are made when first needed.

        Raises:
            ValueError: an unknown stage.
        """
        check_stage(stage, STAGES)
        if stage == "vocoder":
            return {"vocoder": self.vocoder, **self._vocoder_helpers()}
        names = ("content_encoder", "codebook", "speaker_encoder", "decoder")
        return {name: getattr(self, name) for name in names} | {"codebook_average": self._average()}

    def _average(self) -> CodebookAverage:
        """Return the moving averages of the codebook. They are made when first needed; no component, so never saved."""
        if "codebook_average" not in self._helpers:
            config = self.codebook.config
            self._helpers["codebook_average"] = CodebookAverage(config.codebook_size, config.latent_dim, decay=0.98)
        return cast(CodebookAverage, self._helpers["codebook_average"])

    def loss(
        self,
        batch: dict,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
        stage: Literal["vocoder", "autoencoder"] = "autoencoder",
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of a stage.

        "vocoder": spectral distances, and later the terms of the discriminators.

        "autoencoder": the error of one half of a clip, said in the voice of its other half, the commitment to the codes, the
        classification of the voices, and the terms of conversions to the voices of other clips. While the codebook is in
        training mode, each call also moves it.

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
        check_stage(stage, STAGES)
        if stage == "vocoder":
            return self._vocoder_loss(batch, generator, progress)
        mel, heard, speaker, pitch = self._example(batch, generator)
        z, _ = self.content_encoder(heard)
        codes, latents = self.codebook(z)
        commitment = F.mse_loss(z, self.codebook.embed(codes))  # the codebook is a buffer: |z - sg(e)|^2
        bottleneck = ("commitment", commitment, self.config.commitment_weight)
        loss, parts = self._autoencoder_loss(mel, latents, z, speaker, pitch, bottleneck, progress, generator)
        if self.codebook.training:
            average = self._average()
            parts |= average.update(self.codebook.codebook, z.detach(), codes, progress < RESTARTS_UNTIL, generator)
        return loss, parts

    # ---- the tasks ----

    def _codes(self, clip: Clip) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the codes of a clip, int64 [1, T'], and their vectors, float32 [1, D, T']."""
        return self.codebook(self.content_encoder(clip.mel)[0])

    def _content(self, clip: Clip) -> torch.Tensor:
        return self._codes(clip)[1]

    def _written(self, clips: list[Clip]) -> tuple[list[torch.Tensor], dict[str, Any]]:
        """Return the contents of clips, [1, D, T'] each, and the fields of the output that name their codes."""
        codes, contents = zip(*(self._codes(clip) for clip in clips), strict=True)
        frame_rate = self.config.sampling_rate / self.vocoder.config.hop_length / 2
        return list(contents), {"codes": [row[0].cpu() for row in codes], "frame_rate": frame_rate}

    @task(output=SpokenCodesOutput)
    def swap_style(self, content, style, generator, report, speaker, strength, vocoder):
        """Say what one clip says in the voice of another.

        Args:
            generator: one `torch.Generator`, or a list with one for each content (with "griffin_lim").
        """
        clips = [self.analyse(sound) for sound in content]
        voices = self._voices(style, speaker, strength, clips)
        contents, written = self._written(clips)
        return self._speak(clips, contents, voices, vocoder, generator, report), written

    @task(output=SpokenCodesOutput)
    def reconstruct(self, x, generator, report, vocoder):
        """Separate clips into content and voice, and say them again.

        Args:
            generator: one `torch.Generator`, or a list with one for each clip (with "griffin_lim").
        """
        clips = [self.analyse(sound) for sound in x]
        voices = [self._voice(clip) for clip in clips]
        contents, written = self._written(clips)
        return self._speak(clips, contents, voices, vocoder, generator, report), written
