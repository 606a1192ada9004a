"""A content encoder, a style encoder and a decoder that draws the one in the manner of the other; a discriminator to train it.

    c = IN(E_c(x)),   s = E_s(y),   x_hat = D(c, s)          with AdaIN(h, s) = gamma(s) (h - mu(h)) / sigma(h) + beta(s)

mu and sigma are the mean and the standard deviation of each channel over the picture. Without style the content encoder's
maps are normalised, which takes them away; the decoder gets them from the style, in each of its layers.

Huang and Belongie, Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization, 2017
(https://arxiv.org/abs/1703.06868), written AdaIN below; Chou, Yeh and Lee, One-shot Voice Conversion by Separating Speaker
and Content Representations with Instance Normalization, 2019 (https://arxiv.org/abs/1904.05742).
"""

import itertools
import math

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn

from pipelines.blocks import ResidualBlock

EPSILON = 1e-3  # of a variance: a channel that is nearly constant stays so, and its rounding errors small


def statistics(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and deviation of each channel of pictures [B, C, H, W] (AdaIN eq. 5, 6), each float32 [B, C]."""
    variance, mean = torch.var_mean(x.float(), dim=(2, 3), correction=0)
    return mean, (variance + EPSILON).sqrt()


def instance_norm(x: torch.Tensor) -> torch.Tensor:
    """Normalise each channel of pictures [B, C, H, W] to mean 0 and deviation 1, in float32."""
    mean, deviation = statistics(x)
    return ((x.float() - mean[..., None, None]) / deviation[..., None, None]).to(x.dtype)


def adain(x: torch.Tensor, deviation: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
    """Give each channel of each picture another deviation and mean (AdaIN eq. 8).

    Args:
        x: [B, C, H, W].
        deviation, mean: [B, C].
    """
    own_mean, own_deviation = statistics(x)
    gain = deviation.float() / own_deviation  # one multiplication and one addition for each pixel
    shift = mean.float() - own_mean * gain
    return (x.float() * gain[..., None, None] + shift[..., None, None]).to(x.dtype)


class StyledBlock(nn.Module):
    """A residual block with AdaIN before each activation.

    The weights of the style start at zero, so that AdaIN starts as instance normalisation.
    """

    def __init__(self, channels: int, style_dim: int):
        super().__init__()
        self.affine = nn.Linear(style_dim, 4 * channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        for layer in (self.affine, self.conv2):
            nn.init.zeros_(layer.get_parameter("weight"))
            nn.init.zeros_(layer.get_parameter("bias"))

    def forward(self, x: torch.Tensor, style: torch.Tensor) -> torch.Tensor:
        """Return the maps [B, C, H, W] in the styles [B, style_dim]."""
        gain1, mean1, gain2, mean2 = self.affine(style).chunk(4, dim=1)  # 4 x [B, C]
        h = self.conv1(F.silu(adain(x, 1 + gain1, mean1)))  # [B, C, H, W]
        return x + self.conv2(F.silu(adain(h, 1 + gain2, mean2)))  # [B, C, H, W]


class ContentEncoder(nn.Module):
    """An encoder of what is drawn: normalised maps of each level, from full detail to the broad layout.

    The finer the map, the fewer its channels: the coarse ones are to carry what a drawing shows.
    """

    def __init__(self, channels: int, widths: tuple[int, ...], content_channels: tuple[int, ...], layers: int):
        super().__init__()
        entries: list[nn.Module] = [
            nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, widths[0], 3, padding=1))
        ]
        entries += [nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(widths)]
        self.levels = nn.ModuleList(
            nn.Sequential(entry, *(ResidualBlock(width) for _ in range(layers)))
            for entry, width in zip(entries, widths, strict=True)
        )
        self.exits = nn.ModuleList(nn.Conv2d(w, c, 1) for w, c in zip(widths, content_channels, strict=True))

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        maps = []
        for level, out in zip(self.levels, self.exits, strict=True):
            x = level(x)
            maps.append(instance_norm(out(F.silu(x))))
        return maps


class StyleEncoder(nn.Module):
    """An encoder of how it is drawn, as one vector from the mean and deviation of each channel of each level."""

    def __init__(self, channels: int, widths: tuple[int, ...], style_dim: int):
        super().__init__()
        entries: list[nn.Module] = [
            nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, widths[0], 3, padding=1))
        ]
        entries += [nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(widths)]
        # a residual block at full detail would cost as much as all the rest
        blocks = [nn.Identity(), *(ResidualBlock(width) for width in widths[1:])]
        self.levels = nn.ModuleList(nn.Sequential(e, b) for e, b in zip(entries, blocks, strict=True))
        self.mix = nn.Sequential(
            nn.Linear(2 * sum(widths), 2 * style_dim), nn.SiLU(), nn.Linear(2 * style_dim, style_dim)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled: list[torch.Tensor] = []
        for level in self.levels:
            x = level(x)
            pooled += statistics(F.silu(x))  # 2 x [B, C]
        return self.mix(torch.cat(pooled, 1).to(x.dtype)).float()  # [B, style_dim]


class Decoder(nn.Module):
    """A decoder from content maps and a style to a picture."""

    def __init__(
        self, channels: int, widths: tuple[int, ...], content_channels: tuple[int, ...], style_dim: int, layers: int
    ):
        super().__init__()
        self.entries = nn.ModuleList(
            nn.Conv2d(c, w, 3, padding=1) for c, w in zip(content_channels, widths, strict=True)
        )
        self.blocks = nn.ModuleList(nn.ModuleList(StyledBlock(w, style_dim) for _ in range(layers)) for w in widths)
        # Sub-pixel convolutions (Shi et al. 2016), which convolve before the resolution is doubled
        self.ups = nn.ModuleList(
            nn.Sequential(nn.SiLU(), nn.Conv2d(b, 4 * a, 1), nn.PixelShuffle(2)) for a, b in itertools.pairwise(widths)
        )
        self.affine = nn.Linear(style_dim, 2 * widths[0])
        nn.init.zeros_(self.affine.weight)
        nn.init.zeros_(self.affine.bias)
        self.last = nn.Conv2d(widths[0], 4 * channels, 3, padding=1)

    def forward(self, content: list[torch.Tensor], style: torch.Tensor) -> torch.Tensor:
        x = torch.zeros((), dtype=content[0].dtype, device=content[0].device)
        for i in reversed(range(len(content))):  # from the coarse map to the fine
            x = x + self.entries[i](content[i])
            for block in self.blocks[i].children():
                x = block(x, style)
            if i:
                x = self.ups[i - 1](x)
        gain, mean = self.affine(style).chunk(2, dim=1)
        return F.pixel_shuffle(self.last(F.silu(adain(x, 1 + gain, mean))), 2)


class StyleAutoencoder(ModelMixin, ConfigMixin):
    """The two encoders and the decoder of a style autoencoder.

    Images are [B, C, H, W] in [-1, 1]; content is a list of maps, [B, content_channels[i], H / 2^(i+1), W / 2^(i+1)];
    styles are [B, style_dim], float32.

    Args:
        sample_size: height and width of the images; a multiple of 2 to the number of `block_out_channels`.
        channels: 1 (grey) or 3 (colour).
        block_out_channels: width of each level, each at half the resolution of the one before; the first works at half
            resolution already.
        content_channels: of the content's map at each level: the bottleneck.
        encoder_layers, decoder_layers: residual blocks per level.
        style_dim: length of a style.
        num_styles: styles that have names, whose means `style_means` [num_styles, style_dim] keeps; zero until measured.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 64,
        channels: int = 3,
        block_out_channels: tuple[int, ...] = (48, 96, 192),
        content_channels: tuple[int, ...] = (4, 16, 64),
        encoder_layers: int = 1,
        decoder_layers: int = 2,
        style_dim: int = 64,
        num_styles: int = 0,
    ):
        super().__init__()
        widths, content_channels = tuple(block_out_channels), tuple(content_channels)
        if sample_size % 2 ** len(widths):
            raise ValueError(f"sample_size: {sample_size} is not a multiple of {2 ** len(widths)}; use fewer blocks.")
        if len(content_channels) != len(widths):
            raise ValueError(f"content_channels: give {len(widths)} numbers, one for each of block_out_channels.")
        self.content_encoder = ContentEncoder(channels, widths, content_channels, encoder_layers)
        self.style_encoder = StyleEncoder(channels, tuple(max(width // 2, 1) for width in widths), style_dim)
        self.decoder = Decoder(channels, widths, content_channels, style_dim, decoder_layers)
        self.register_buffer("style_means", torch.zeros(num_styles, style_dim))  # saved with the weights

    def encode_content(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Encode images [B, C, H, W] as content maps, the finest first."""
        return self.content_encoder(x)

    def encode_style(self, x: torch.Tensor) -> torch.Tensor:
        """Encode images [B, C, H, W] as styles, float32 [B, style_dim]."""
        return self.style_encoder(x)

    def decode(self, content: list[torch.Tensor], style: torch.Tensor) -> torch.Tensor:
        """Decode content maps and styles [B, style_dim] to images, float32 [B, C, H, W], nearly in [-1, 1]."""
        return self.decoder(content, style.to(content[0].dtype)).float()

    @property
    def content_shapes(self) -> list[tuple[int, int, int]]:
        """Shapes [c, h, w] of the content's maps, the finest first."""
        sides = [self.config.sample_size // 2 ** (i + 1) for i in range(len(self.config.content_channels))]
        return [(c, side, side) for c, side in zip(self.config.content_channels, sides, strict=True)]

    @property
    def vector_size(self) -> int:
        """Length of the vectors of `encode_vector`."""
        return self.config.style_dim + sum(math.prod(shape) for shape in self.content_shapes)

    def encode_vector(self, x: torch.Tensor) -> torch.Tensor:
        """Encode images as vectors, the style's numbers first, then the content's maps: float32 [B, vector_size]."""
        content = [maps.flatten(1).float() for maps in self.encode_content(x)]
        return torch.cat([self.encode_style(x), *content], 1)

    def decode_vector(self, vectors: torch.Tensor) -> torch.Tensor:
        """Decode the vectors of `encode_vector` to images, float32 [B, C, H, W]."""
        shapes = self.content_shapes
        style, *content = vectors.split([self.config.style_dim, *(math.prod(shape) for shape in shapes)], 1)
        maps = [part.unflatten(1, shape).to(self.dtype) for part, shape in zip(content, shapes, strict=True)]
        return self.decode(maps, style)

    def forward(
        self, content: torch.Tensor, style: torch.Tensor, mixing: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Combine the content of one image with the style of another.

        Args:
            content, style: images [B, C, H, W] in [-1, 1].
            mixing: [B, B], rows that sum to 1: row i is drawn in this mean of the styles; None: in its own.

        Returns:
            images float32 [B, C, H, W], styles before mixing float32 [B, style_dim].
        """
        styles = self.encode_style(style)
        mixed = styles if mixing is None else mixing.to(styles) @ styles
        return self.decode(self.encode_content(content), mixed), styles


class StyleJudge(nn.Module):
    """A classifier of whole pictures: real ones by their style, generated ones as a further class, the last.

    It follows Salimans et al. 2016, https://arxiv.org/abs/1606.03498, sec. 5. Only training needs it, so it is not part of
    a checkpoint.

    Args:
        channels: of the images.
        widths: of its layers, each at half the resolution of the one before.
        num_styles: classes of real pictures.
    """

    def __init__(self, channels: int, widths: tuple[int, ...] = (32, 64, 128), num_styles: int = 1):
        super().__init__()
        layers = []
        for a, b in itertools.pairwise((channels, *widths)):
            layers += [nn.Conv2d(a, b, 4, stride=2, padding=1), nn.GroupNorm(1, b), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], widths[-1], 3, padding=1), nn.LeakyReLU(0.2))
        self.head = nn.Linear(2 * widths[-1], num_styles + 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of images [B, C, H, W], float32 [B, num_styles + 1]."""
        h = self.layers(x)
        return self.head(torch.cat([h.mean((2, 3)), h.amax((2, 3))], 1)).float()


# ---- the terms of the loss ----


def disturb(x: torch.Tensor, generator: torch.Generator | None, shift: int = 4, noise: float = 0.1) -> torch.Tensor:
    """Return the same pictures [B, C, H, W], all mirrored or not and shifted by up to `shift` pixels, with Gaussian noise.

    A judge that sees nothing undisturbed neither learns the training pictures by heart (Zhao et al. 2020,
    https://arxiv.org/abs/2006.10738) nor can be pleased by patterns too faint to see.
    """

    def draw(high: int) -> int:
        return int(torch.randint(high, (1,), generator=generator, device=x.device))

    if draw(2):
        x = x.flip(-1)
    height, width, top, left = *x.shape[-2:], draw(2 * shift + 1), draw(2 * shift + 1)
    x = F.pad(x, (shift,) * 4, mode="replicate")[..., top : top + height, left : left + width]
    return x + noise * torch.randn(x.shape, generator=generator, device=x.device)
