"""Voice conversion by a variational auto-encoder: the words of one clip in the voice of another.

    q(c | m) = N(mu(m), diag sigma(m)^2),   s = S(m'),   m_hat = D(c, s, f)
    loss = E_q |m - m_hat|_1 + w KL(q(c | m) || N(0, I))  +  terms of the speaker       AdaIN-VC eq. 1-3

Here m and m' are two halves of one clip. What the content encoder hears is disguised: all frequencies are shifted at random,
so that neither pitch nor formants pass through c. The melody f, the pitch of each frame, goes to the decoder by itself. In
another voice it is moved to the median pitch of that voice. A speaker of no training clip is a point s like any other.

Sound is float [T] in [-1, 1] at `config.sampling_rate`. To read a file: x, rate = soundfile.read(path, dtype="float32"); of two
channels, x.mean(1); at another rate, soxr.resample(x, rate, pipe.config.sampling_rate).

Papers:
    Chou, Yeh, Lee: One-shot Voice Conversion by Separately Representing Speaker and Content Representations with Instance
        Normalization, 2019, https://arxiv.org/abs/1904.05742 (AdaIN-VC)
    Kingma, Welling: Auto-Encoding Variational Bayes, 2013, https://arxiv.org/abs/1312.6114
    Siuzdak: Vocos: Closing the gap between time-domain and Fourier-based neural vocoders, 2023,
        https://arxiv.org/abs/2306.00814
    Choi et al.: Neural Analysis and Synthesis: Reconstructing Speech from Self-Supervised Representations, 2021,
        https://arxiv.org/abs/2110.14513 (the disguises)
    Qian et al.: F0-consistent Many-to-many Non-parallel Voice Conversion via Conditional Autoencoder, 2020,
        https://arxiv.org/abs/2004.07370 (the melody)
    Boersma: Accurate Short-term Analysis of the Fundamental Frequency, 1993 (the pitch)
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from diffusers import DiffusionPipeline, ModelMixin
from diffusers.utils.torch_utils import randn_tensor
from torch import nn

from pipelines.family import Generators, check_stage
from pipelines.modeling_voice import ContentEncoder
from pipelines.sounds import Share, task
from pipelines.voice_training import STAGES, VoiceTrainingMixin
from pipelines.voices import Clip, VoiceFamilyMixin, build_shared_components


class VoiceVAEPipeline(VoiceTrainingMixin, VoiceFamilyMixin, DiffusionPipeline):
    """Voice conversion through a Gaussian code of the content.

    Args:
        content_encoder: `ContentEncoder`, with a variance.
        kl_weight: weight of the KL divergence in the training loss.
    """

    model_cpu_offload_seq = "content_encoder->speaker_encoder->decoder->vocoder"

    def __init__(
        self,
        content_encoder: ModelMixin,
        speaker_encoder: ModelMixin,
        decoder: ModelMixin,
        vocoder: ModelMixin,
        sampling_rate: int = 16000,
        kl_weight: float = 0.03,
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
        latent_dim: int = 16,
        content_width: int = 128,
        content_layers: int = 2,
        speaker_width: int = 128,
        speaker_dim: int = 128,
        decoder_width: int = 192,
        decoder_layers: int = 3,
        vocoder: dict[str, int] | None = None,
        **options,
    ) -> VoiceVAEPipeline:
        """Make a pipeline with fresh weights.

        Args:
            sampling_rate: of the sound, Hz.
            conditions: {"speaker": {"0": name, ...}}: the speakers of the training data.
            bands: of the spectrograms.
            latent_dim, content_width, content_layers: of `ContentEncoder`.
            speaker_width, speaker_dim: of `SpeakerEncoder`.
            decoder_width, decoder_layers: of `VoiceDecoder`.
            vocoder: arguments of `VoiceVocoder`.
            options: the other arguments of the class.

        Raises:
            TypeError: an option that the class does not have.
            ValueError: other conditions than "speaker", or no speakers.
        """
        content_encoder = ContentEncoder(bands, content_width, latent_dim, content_layers)
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
        return cls(content_encoder, *shared, sampling_rate=sampling_rate, conditions=conditions, **options)

    # ---- training ----

    def trainable(self, stage: str) -> dict[str, nn.Module]:
        """Return the modules that a stage trains. Helpers are made when first needed.

        Raises:
            ValueError: an unknown stage.
        """
        check_stage(stage, STAGES)
        if stage == "vocoder":
            return {"vocoder": self.vocoder, **self._vocoder_helpers()}
        return {name: getattr(self, name) for name in ("content_encoder", "speaker_encoder", "decoder")}

    def loss(
        self,
        batch: dict,
        generator: torch.Generator | None = None,
        progress: float = 1.0,
        stage: Literal["vocoder", "autoencoder"] = "autoencoder",
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of a stage.

        "vocoder": spectral distances, and later the terms of the discriminators.

        "autoencoder": the error of one half of a clip, said in the voice of its other half, the KL divergence, the
        classification of the voices, and the terms of conversions to the voices of other clips.

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
        mean, log_variance = self.content_encoder(heard)
        noise = torch.randn(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        latents = mean + (0.5 * log_variance).exp() * noise
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        bottleneck = ("kl", kl, self.config.kl_weight)
        return self._autoencoder_loss(mel, latents, mean, speaker, pitch, bottleneck, progress, generator)

    # ---- the tasks ----

    def _content(self, clip: Clip, temperature: float = 0.0, generator: torch.Generator | None = None) -> torch.Tensor:
        """Return the mean of q(c | m), or a draw with a share of its deviation: float32 [1, D, T']."""
        mean, log_variance = self.content_encoder(clip.mel)
        if not temperature:
            return mean
        noise = randn_tensor(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        return mean + temperature * (0.5 * log_variance).exp() * noise

    def _contents(self, clips: list[Clip], temperature: float, generator: Generators) -> list[torch.Tensor]:
        """Return the content of each clip, drawn by its own generator."""
        generators = generator if isinstance(generator, list) else [generator] * len(clips)
        return [self._content(clip, temperature, one) for clip, one in zip(clips, generators, strict=True)]

    @task
    def swap_style(self, content, style, generator, report, speaker, strength, vocoder, temperature: Share = 0.0):
        """Convert a clip to the voice of another.

        Args:
            generator: one `torch.Generator`, or a list with one for each content (with `temperature` or "griffin_lim").
            temperature: Spread of the content's draw about its mean; 0 takes the mean, which is clearest.
        """
        clips = [self.analyse(sound) for sound in content]
        voices = self._voices(style, speaker, strength, clips)
        contents = self._contents(clips, temperature, generator)
        return self._speak(clips, contents, voices, vocoder, generator, report)

    @task
    def reconstruct(self, x, generator, report, vocoder, temperature: Share = 0.0):
        """Separate clips into content and voice, and say them again.

        Args:
            generator: one `torch.Generator`, or a list with one for each clip (with `temperature` or "griffin_lim").
            temperature: Spread of the content's draw about its mean; 0 takes the mean, which is clearest.
        """
        clips = [self.analyse(sound) for sound in x]
        voices = [self._voice(clip) for clip in clips]
        return self._speak(clips, self._contents(clips, temperature, generator), voices, vocoder, generator, report)
