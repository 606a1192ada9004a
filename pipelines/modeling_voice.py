"""Networks of voice conversion: a content encoder, a codebook, a speaker encoder, and a decoder of content and speaker.

    c = E_c(m),   s = E_s(m'),   m_hat = D(c, s, f)

E_c takes the statistics of every channel away (instance normalisation) and is narrow; E_s keeps nothing but statistics
over time; D puts them back in (adaptive instance normalisation): Chou, Yeh, Lee, One-shot Voice Conversion by Separately
Representing Speaker and Content Representations with Instance Normalization, Interspeech 2019
(https://arxiv.org/abs/1904.05742), written AdaIN-VC. f is the melody, which neither
keeps: the pitch of each frame, as Qian et al. 2020 give it to their decoder (F0-consistent Many-to-many Non-parallel Voice
Conversion via Conditional Autoencoder, https://arxiv.org/abs/2004.07370). The codebook is that of van den Oord, Vinyals, Kavukcuoglu, Neural
Discrete Representation Learning, 2017 (https://arxiv.org/abs/1711.00937), written VQ-VAE.

Spectrograms are log-mel [B, bands, T]; latents [B, D, ceil(T / 2)].
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from pipelines.codebook import CodebookMixin


def instance_norm(x: torch.Tensor) -> torch.Tensor:
    """Normalise each channel of each row to mean 0 and deviation 1 over time [B, C, T], in float32."""
    h = x.float()
    h = h - h.mean(-1, keepdim=True)
    return (h * (h.square().mean(-1, keepdim=True) + 1e-5).rsqrt()).to(x.dtype)


def scaled(mel: torch.Tensor) -> torch.Tensor:
    """Scale a log-mel spectrogram to about mean 0 and deviation 1, with one scale for all bands and voices."""
    return (mel + 6) / 3


class NormalisedBlock(nn.Module):
    """Residual block of the content encoder, with instance normalisation before the convolution."""

    def __init__(self, width: int, dilation: int = 1):
        super().__init__()
        self.conv = nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv(F.gelu(instance_norm(x)))


class ContentEncoder(ModelMixin, ConfigMixin):
    """Encoder of what is said, at half the frame rate, without the statistics of the speaker.

    Args:
        bands: of the spectrogram.
        width: of its layers.
        latent_dim: D, the bottleneck.
        num_layers: residual blocks at each of the two rates.
        gaussian: whether there is a variance beside the mean.
    """

    @register_to_config
    def __init__(
        self, bands: int = 80, width: int = 160, latent_dim: int = 16, num_layers: int = 2, gaussian: bool = True
    ):
        super().__init__()
        self.embed = nn.Conv1d(bands, width, 5, padding=2)
        self.fine = nn.Sequential(*(NormalisedBlock(width) for _ in range(num_layers)))
        self.down = nn.Conv1d(width, width, 4, stride=2, padding=1)
        self.coarse = nn.Sequential(*(NormalisedBlock(width, 1 + i % 2) for i in range(num_layers)))
        self.head = nn.Conv1d(width, (1 + gaussian) * latent_dim, 1)

    def forward(self, mel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return mean and log-variance of q(c | m).

        The bands are normalised first. A gain or a fixed filter adds a constant to each band's logarithm, so it changes
        nothing.

        Args:
            mel: log-mel [B, bands, T].

        Returns:
            Two tensors float32 [B, D, ceil(T / 2)]; the second is None without `gaussian`.
        """
        x = instance_norm(mel.float())
        if x.shape[-1] % 2:
            x = torch.cat([x, x[..., -1:]], -1)
        x = self.fine(self.embed(x.to(self.head.weight.dtype)))  # [B, width, T]
        x = self.coarse(self.down(x))  # [B, width, T / 2]
        out = self.head(instance_norm(x)).float()
        if not self.config.gaussian:
            return out, None
        mean, log_variance = out.chunk(2, dim=1)
        return mean, log_variance.clamp(-10, 4)


class VoiceCodebook(CodebookMixin, ModelMixin, ConfigMixin):
    """A codebook for contents: each latent becomes the nearest of K vectors (VQ-VAE eq. 1, 2).

    Args:
        codebook_size: K.
        latent_dim: D.
    """

    @register_to_config
    def __init__(self, codebook_size: int = 256, latent_dim: int = 32):
        super().__init__()
        # learned by averages of the latents, not by gradients: a buffer, which is saved with the weights
        self.register_buffer("codebook", torch.randn(codebook_size, latent_dim))

    def forward(self, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the codes of latents and their vectors, with the gradient of the latents (VQ-VAE sec. 3.1).

        Args:
            z: [B, D, T].

        Returns:
            int64 [B, T]; float32 [B, D, T].
        """
        vectors, codes = self.quantize(z.float())
        return codes, vectors


class SpeakerEncoder(ModelMixin, ConfigMixin):
    """Encoder of the speaker: a unit vector, from the mean and deviation of features over a clip of any length.

    Args:
        names: of the voices it was trained with, in the order of their numbers.
        bands: of the spectrogram.
        width: of its layers.
        speaker_dim: of the sphere's space.
        variants: classes for each voice: its own, and those of its shifted copies, which count as other voices.
    """

    @register_to_config
    def __init__(
        self,
        names: tuple[str, ...] = (),
        bands: int = 80,
        width: int = 128,
        speaker_dim: int = 128,
        variants: int = 3,
    ):
        super().__init__()
        self.embed = nn.Conv1d(bands, width, 5, padding=2)
        self.layers = nn.ModuleList(nn.Conv1d(width, width, 5, stride=s, padding=2) for s in (1, 2, 1, 2))
        self.head = nn.Linear(2 * width, speaker_dim)
        self.classes = nn.Parameter(torch.randn(variants * len(names), speaker_dim))
        # of each trained voice the mean place, the middle pitch, log2 Hz, and mean and deviation of each band, found after
        # training
        self.register_buffer("voices", torch.zeros(len(names), speaker_dim))
        self.register_buffer("pitches", torch.zeros(len(names)))
        self.register_buffer("means", torch.zeros(len(names), bands))
        self.register_buffer("deviations", torch.ones(len(names), bands))

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """Return the embedding of a log-mel spectrogram [B, bands, T]: float32 [B, speaker_dim] of norm 1."""
        x = self.embed(scaled(mel).to(self.head.weight.dtype))
        for layer in self.layers:
            h = layer(F.gelu(x))
            x = x + h if h.shape == x.shape else h
        x = F.gelu(x).float()
        deviation = (x.var(-1, correction=0) + 1e-5).sqrt()
        pooled = torch.cat([x.mean(-1), deviation], 1)  # [B, 2 width]
        return F.normalize(self.head(pooled.to(self.head.weight.dtype)).float(), dim=1)

    def logits(self, s: torch.Tensor, scale: float = 16.0, frozen: bool = False) -> torch.Tensor:
        """Return logits of the classes for embeddings [B, speaker_dim]: scaled cosines [B, variants * voices].

        Args:
            frozen: the classes get no gradient.
        """
        with torch.autocast(s.device.type, enabled=False):
            classes = self.classes.detach() if frozen else self.classes
            return scale * s.float() @ F.normalize(classes.float(), dim=1).T


class AdaptiveBlock(nn.Module):
    """Residual block of the decoder, whose channels get mean and deviation from the speaker (AdaIN-VC eq. 4)."""

    def __init__(self, width: int, speaker_dim: int, dilation: int = 1):
        super().__init__()
        self.affine = nn.Linear(speaker_dim, 2 * width)
        self.conv = nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation)
        nn.init.zeros_(self.affine.bias)

    def forward(self, x: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
        gain, shift = self.affine(s)[..., None].chunk(2, dim=1)  # [B, width, 1] each
        return x + self.conv(F.gelu(instance_norm(x) * (1 + gain) + shift))


class VoiceDecoder(ModelMixin, ConfigMixin):
    """Decoder of a spectrogram from content, speaker and pitch.

    Args:
        bands: of the spectrogram.
        width: of its layers.
        latent_dim: of the content.
        speaker_dim: of the speaker.
        num_layers: residual blocks at each of the two rates.
        pitches: steps from 50 to 500 Hz, even in the logarithm, of each of which it learns what harmonics look like.
    """

    @register_to_config
    def __init__(
        self,
        bands: int = 80,
        width: int = 192,
        latent_dim: int = 16,
        speaker_dim: int = 128,
        num_layers: int = 3,
        pitches: int = 96,
    ):
        super().__init__()
        self.embed = nn.Conv1d(latent_dim, width, 3, padding=1)
        self.coarse = nn.ModuleList(AdaptiveBlock(width, speaker_dim, 1 + i % 2) for i in range(num_layers))
        self.melody = nn.Linear(pitches + 1, width)
        self.fine = nn.ModuleList(AdaptiveBlock(width, speaker_dim, 1 + i % 2) for i in range(num_layers))
        # what is most of a voice, directly: in the logarithm, harmonics are added to the mean spectrum
        self.voice = nn.Linear(speaker_dim, bands)
        self.harmonics = nn.Linear(pitches + 1, bands)
        self.head = nn.Conv1d(width, bands, 5, padding=2)

    def steps(self, pitch: torch.Tensor) -> torch.Tensor:
        """Return the weights of the pitch steps of each frame, and whether it is voiced.

        Args:
            pitch: log2 Hz [B, T], 0 where nothing is voiced.

        Returns:
            float32 [B, T, pitches + 1].
        """
        low, high, number = math.log2(50), math.log2(500), self.config.pitches
        centres = torch.linspace(low, high, number, device=pitch.device, dtype=torch.float32)
        distance = (pitch.float().clamp(low, high)[..., None] - centres) * (number - 1) / (high - low)
        voiced = (pitch > 0).float()[..., None]
        return torch.cat([(-0.5 * distance.square()).softmax(-1) * voiced, voiced], -1)

    def forward(self, content: torch.Tensor, s: torch.Tensor, pitch: torch.Tensor) -> torch.Tensor:
        """Return a log-mel spectrogram, float32 [B, bands, T].

        Args:
            content: latents [B, D, ceil(T / 2)].
            s: embeddings of the speakers [B, speaker_dim].
            pitch: log2 Hz [B, T], 0 where nothing is voiced.
        """
        dtype, frames = self.head.weight.dtype, pitch.shape[-1]
        # on the sphere of radius sqrt(speaker_dim), where coordinates are about 1
        s = (s * s.shape[1] ** 0.5).to(dtype)
        steps = self.steps(pitch).to(dtype)
        x = self.embed(content.to(dtype))
        for block in self.coarse:
            x = block(x, s)  # [B, width, T / 2]
        x = F.interpolate(x.float(), scale_factor=2.0, mode="linear").to(dtype)[..., :frames]
        x = x + self.melody(steps).mT
        for block in self.fine:
            x = block(x, s)  # [B, width, T]
        x = self.head(F.gelu(x)) + self.voice(s)[..., None] + self.harmonics(steps).mT
        return 3 * x.float() - 6
