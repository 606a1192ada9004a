"""A vocoder: the log-mel spectrogram of a sound in closed form, and sound from it by a small network.

    m = log(max(M |STFT(x)|, 1e-5)),   X_hat = exp(a) (cos p + j sin p) with (a, p) = f(m),   x_hat = ISTFT(X_hat)

The network predicts every frame's magnitudes and phases, all at the frame rate, and the inverse Fourier transform makes
sound of them: Siuzdak, Vocos: Closing the Gap between Time-domain and Fourier-based Neural Vocoders, 2023
(https://arxiv.org/abs/2306.00814), with the ConvNeXt blocks of Liu et al. 2022 (https://arxiv.org/abs/2201.03545) and a
tenth of its parameters. What trains it is in vocoder_losses.py.
"""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

FLOOR = 1e-5  # of mel magnitudes, before the logarithm: far below any sound at speech level


# ---- analysis ----


def hz_to_mel(hz: torch.Tensor) -> torch.Tensor:
    """Convert Hz to Slaney's mel scale (Auditory Toolbox, 1998): linear below 1 kHz, logarithmic above."""
    return torch.where(hz < 1000, 3 * hz / 200, 15 + 27 * torch.log(hz.clamp(min=1) / 1000) / math.log(6.4))


def mel_to_hz(mel: torch.Tensor) -> torch.Tensor:
    """Convert Slaney's mel scale to Hz."""
    return torch.where(mel < 15, 200 * mel / 3, 1000 * torch.exp((mel - 15) * math.log(6.4) / 27))


@functools.lru_cache(maxsize=64)
def mel_filters(sampling_rate: int, n_fft: int, bands: int, shift: float = 1.0) -> torch.Tensor:
    """Return triangles of equal area, evenly spaced in mel from 0 Hz to half the rate: float32 [n_fft / 2 + 1, bands].

    Args:
        shift: what the bands then see is a voice with all frequencies, pitch and formants alike, multiplied by this
            (vocal tract length perturbation; Jaitly and Hinton 2013), at its own tempo. S'(f) = S(f / shift).
    """
    high = hz_to_mel(torch.tensor(sampling_rate / 2, dtype=torch.float64))
    edges = mel_to_hz(torch.linspace(0, 1, bands + 2, dtype=torch.float64) * high)  # [bands + 2]
    bins = torch.linspace(0, sampling_rate / 2, n_fft // 2 + 1, dtype=torch.float64)[:, None] * shift
    rise = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    area = (edges[2:] - edges[:-2]) / 2
    return (torch.minimum(rise, fall).clamp(min=0) / area * shift).float()


def magnitudes(x: torch.Tensor, n_fft: int, hop_length: int) -> torch.Tensor:
    """Return |STFT| of waveforms [B, T], frame t centred on its hop, float32 [B, n_fft / 2 + 1, T / hop].

    T has to be a multiple of the hop.
    """
    with torch.autocast(x.device.type, enabled=False):
        side = (n_fft - hop_length) // 2
        x = F.pad(x.float(), (side, n_fft - hop_length - side), mode="reflect")
        window = torch.hann_window(n_fft, device=x.device, dtype=torch.float32)
        spectrum = torch.stft(x, n_fft, hop_length, window=window, center=False, return_complex=True)
        # not abs(): its gradient at 0 is none
        return (spectrum.real.square() + spectrum.imag.square() + 1e-10).sqrt()


PITCHES = 60.0, 420.0  # Hz, between which voices speak


def pitch(x: torch.Tensor, sampling_rate: int, hop_length: int) -> torch.Tensor:
    """Estimate the pitch of waveforms [B, T], in log2 Hz, 0 in unvoiced frames, float32 [B, T / hop].

    The period is at the highest peak of the autocorrelation of windowed frames, divided by that of the window (Boersma 1993,
    Accurate Short-term Analysis of the Fundamental Frequency, eq. 9). The shorter of two periods is preferred. The
    autocorrelation is averaged over three frames, and a median over five frames removes leaps. T has to be a multiple of the
    hop.
    """
    with torch.autocast(x.device.type, enabled=False):
        size = round(3.6 * sampling_rate / PITCHES[0]) // 2 * 2
        shortest, longest = math.floor(sampling_rate / PITCHES[1]), math.ceil(sampling_rate / PITCHES[0])
        side = (size - hop_length) // 2
        frames = F.pad(x.float(), (side, size - hop_length - side)).unfold(-1, size, hop_length)  # [B, frames, size]
        window = torch.hann_window(size, device=x.device, dtype=torch.float32)
        n_fft = 2 ** math.ceil(math.log2(size + longest + 2))

        def correlation(y: torch.Tensor) -> torch.Tensor:
            return torch.fft.irfft(torch.fft.rfft(y, n_fft).abs().square(), n_fft)[..., : longest + 2]

        centred = (frames - frames.mean(-1, keepdim=True)) * window
        power = correlation(centred)
        r = power / power[..., :1].clamp(min=1e-6) / (correlation(window) / correlation(window)[0])
        r = F.avg_pool1d(F.pad(r.transpose(1, 2), (1, 1), mode="replicate"), 3, 1).transpose(1, 2)
        lags = torch.arange(shortest, longest + 1, device=x.device)
        inner, before, after = r[..., lags], r[..., lags - 1], r[..., lags + 1]
        peaks = (inner >= before) & (inner >= after)
        rank = torch.where(peaks, inner - 0.03 * torch.log2(lags.float() / shortest), -1.0)
        best = rank.argmax(-1, keepdim=True)
        a, b, c = (y.gather(-1, best)[..., 0] for y in (before, inner, after))
        # the top of the parabola through three points
        lag = lags[best[..., 0]] + 0.5 * (a - c) / (a - 2 * b + c).clamp(max=-1e-6)
        loud = power[..., 0] > 1e-4 * power[..., 0].amax(-1, keepdim=True)
        voiced = (b > 0.4) & loud & (rank.amax(-1) > -1)
        found = torch.where(voiced, torch.log2(sampling_rate / lag.clamp(shortest, longest)), 0.0)
        # the median counts what is not voiced as low: so a lone voiced frame vanishes, and a lone leap is mended
        return F.pad(found, (2, 2)).unfold(-1, 5, 1).median(-1).values


# ---- the way back ----


class ConvNeXtBlock(nn.Module):
    """Residual block: a convolution of each channel, then a network of each frame, whose output starts small."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.conv = nn.Conv1d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.expand = nn.Linear(width, hidden)
        self.reduce = nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((width,), 0.2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.conv(x).transpose(1, 2))  # [B, T, width]
        h = self.scale * self.reduce(F.gelu(self.expand(h)))
        return x + h.transpose(1, 2)  # [B, width, T]


class VoiceVocoder(ModelMixin, ConfigMixin):
    """Analysis of speech as log-mel spectrograms, and synthesis from them.

    Waveforms are [B, T], spectrograms float32 [B, bands, frames] with frames = T / hop.

    Args:
        sampling_rate: of the sound, Hz.
        n_fft: window of the analysis and of the synthesis, samples.
        hop_length: samples from one frame to the next.
        bands: of the mel spectrogram.
        width, hidden, num_layers: of the ConvNeXt blocks.
    """

    @register_to_config
    def __init__(
        self,
        sampling_rate: int = 16000,
        n_fft: int = 800,
        hop_length: int = 200,
        bands: int = 80,
        width: int = 256,
        hidden: int = 768,
        num_layers: int = 6,
    ):
        super().__init__()
        self.embed = nn.Conv1d(bands, width, 7, padding=3)
        self.norm_in = nn.LayerNorm(width, eps=1e-6)
        self.blocks = nn.ModuleList(ConvNeXtBlock(width, hidden) for _ in range(num_layers))
        self.norm_out = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, n_fft + 2)  # n_fft / 2 + 1 log-magnitudes and as many phases
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv1d)):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.constant_(self.head.bias[: n_fft // 2 + 1], -3)  # about the magnitudes of speech

    @property
    def context(self) -> int:
        """The frames on either side on which a frame's sound depends, through convolutions and overlapping windows."""
        overlap = math.ceil(self.config.n_fft / self.config.hop_length / 2)
        return 3 * (1 + self.config.num_layers) + overlap

    def analyse(self, x: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor:
        """Return the log-mel spectrogram of waveforms [B, T]: float32 [B, bands, ceil(T / hop)].

        Args:
            shift: factor for all frequencies of each row, float [B]; see `mel_filters`.
        """
        return self.to_mel(self.magnitudes(x), shift)

    def pitch(self, x: torch.Tensor) -> torch.Tensor:
        """Return the pitch of waveforms [B, T]: log2 Hz, float32 [B, ceil(T / hop)], 0 where nothing is voiced."""
        c = self.config
        return pitch(F.pad(x, (0, -x.shape[-1] % c.hop_length)), c.sampling_rate, c.hop_length)

    def magnitudes(self, x: torch.Tensor) -> torch.Tensor:
        """Return |STFT| of waveforms [B, T]: float32 [B, n_fft / 2 + 1, ceil(T / hop)]."""
        c = self.config
        return magnitudes(F.pad(x, (0, -x.shape[-1] % c.hop_length)), c.n_fft, c.hop_length)

    def to_mel(self, magnitude: torch.Tensor, shift: torch.Tensor | None = None) -> torch.Tensor:
        """Return the log-mel [B, bands, frames] of |STFT| [B, n_fft / 2 + 1, frames], with `shift` as in `analyse`."""
        c = self.config
        shifts = [1.0] if shift is None else [round(float(s), 3) for s in shift]
        filters = torch.stack([mel_filters(c.sampling_rate, c.n_fft, c.bands, s) for s in shifts])  # [1 or B, F, bands]
        with torch.autocast(magnitude.device.type, enabled=False):
            return (filters.to(magnitude.device).mT @ magnitude).clamp(min=FLOOR).log()

    def forward(self, mel: torch.Tensor) -> torch.Tensor:
        """Synthesise a log-mel spectrogram [B, bands, frames]: float32 [B, frames * hop]."""
        n_fft, hop = self.config.n_fft, self.config.hop_length
        x = self.embed(((mel + 6) / 3).to(self.head.weight.dtype))  # to about mean 0 and deviation 1
        x = self.norm_in(x.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            x = block(x)  # [B, width, frames]
        out = self.head(self.norm_out(x.transpose(1, 2)))  # [B, frames, n_fft + 2]
        with torch.autocast(mel.device.type, enabled=False):
            log_magnitude, phase = out.float().chunk(2, dim=-1)
            spectrum = torch.polar(log_magnitude.clamp(max=5).exp(), phase)  # [B, frames, n_fft / 2 + 1]
            return istft(spectrum, n_fft, hop)

    def griffin_lim(self, mel: torch.Tensor, phase: torch.Tensor, num_iterations: int = 32) -> torch.Tensor:
        """Synthesise a log-mel spectrogram [B, bands, frames] without the network, as waveforms [B, frames * hop].

        Magnitudes by the filters' pseudo-inverse, phases by the fast Griffin-Lim iteration (Perraudin et al. 2013).

        Args:
            phase: to begin with, radians [B, n_fft / 2 + 1, frames].
        """
        c = self.config
        inverse = torch.linalg.pinv(mel_filters(c.sampling_rate, c.n_fft, c.bands)).to(mel.device)  # [bands, F]
        magnitude = (inverse.mT @ mel.float().exp()).clamp(min=0)
        previous, spectrum = torch.zeros_like(magnitude), torch.polar(magnitude, phase.float())
        side = (c.n_fft - c.hop_length) // 2
        window = torch.hann_window(c.n_fft, device=mel.device, dtype=torch.float32)
        for _ in range(num_iterations):
            x = istft(spectrum.mT, c.n_fft, c.hop_length)
            x = F.pad(x, (side, c.n_fft - c.hop_length - side), mode="reflect")
            again = torch.stft(x, c.n_fft, c.hop_length, window=window, center=False, return_complex=True)
            ahead = again + 0.99 * (again - previous)
            previous = again
            spectrum = magnitude * ahead / ahead.abs().clamp(min=1e-8)
        return istft(spectrum.mT, c.n_fft, c.hop_length)


def istft(spectrum: torch.Tensor, n_fft: int, hop_length: int) -> torch.Tensor:
    """Return the least-squares inverse of an STFT, complex [B, frames, n_fft / 2 + 1], as waveforms [B, frames * hop].

    torch.istft cannot be used here. It refuses windows that do not add up at the ends, where frames are cut at half a hop.
    """
    window = torch.hann_window(n_fft, device=spectrum.device, dtype=torch.float32)
    frames = torch.fft.irfft(spectrum, n=n_fft) * window  # [B, frames, n_fft]
    number, side = spectrum.shape[1], (n_fft - hop_length) // 2
    length = (number - 1) * hop_length + n_fft

    def overlap_add(x: torch.Tensor) -> torch.Tensor:
        return F.fold(x.mT, (1, length), (1, n_fft), stride=(1, hop_length))[:, 0, 0]  # [B, length]

    x = overlap_add(frames) / overlap_add(window.square().expand(1, number, n_fft)).clamp(min=1e-8)
    return x[:, side : side + number * hop_length]
