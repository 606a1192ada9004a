"""The three networks of a GAN: generator, critic, and an encoder that is trained after them.

    w = M(z, y),  x' = S(w)        generator: mapping M and synthesis S (Karras et al. 2019 sec. 2)
    D(x, y) = a . phi(x) + b + e_y . phi(x)        critic: projection (Miyato and Koyama 2018 eq. 3)
    E(x) = (w, z, log p(y))        encoder

Neither network normalises its features: residual blocks start as the identity (R3GAN, Huang et al. 2024 sec. 3.2), so that
the critic's score of an image does not depend on its batch.

Papers:
    Miyato, Koyama: cGANs with Projection Discriminator, 2018, https://arxiv.org/abs/1802.05637
    Härkönen et al.: GANSpace: Discovering Interpretable GAN Controls, 2020, https://arxiv.org/abs/2004.02546
    Aitken et al.: Checkerboard Artifact Free Sub-Pixel Convolution, 2017, https://arxiv.org/abs/1707.02937
    Karras, Laine, Aila: A Style-Based Generator Architecture for Generative Adversarial Networks, 2019,
        https://arxiv.org/abs/1812.04948
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

from pipelines.blocks import ResidualBlock, convolutional_encoder, shrinking_layers, smallest_side

RUNNING = 0.99  # decay of the running means of the critic's scores
COARSE = 7  # side of the view of a picture by which its noise is guessed
LAST_WIDTH = 8  # channels at the images' own resolution, where every one is costly


class ModulatedBlock(ResidualBlock):
    """A residual block whose input is scaled and shifted, channel by channel, as w says.

    Args:
        channels: of input and output.
        style_dim: length of w.
    """

    def __init__(self, channels: int, style_dim: int):
        super().__init__(channels)
        self.affine = nn.Linear(style_dim, 2 * channels)
        nn.init.zeros_(self.affine.weight)
        nn.init.zeros_(self.affine.bias)

    def modulated(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Return block(x, w): [B, channels, h, h], [B, style_dim] -> [B, channels, h, h]."""
        scale, shift = self.affine(w)[:, :, None, None].chunk(2, dim=1)
        h = self.conv1(F.silu(x * (1 + scale) + shift))
        return x + self.conv2(F.silu(h))


class GeneratorModel(ModelMixin, ConfigMixin):
    """Mapping network and residual synthesis network, from noise to images [B, C, S, S] in [-1, 1].

    The output is linear. A bounded one would give no gradient where pictures are black.

    Args:
        sample_size: S, side of the images.
        channels: C, 1 or 3.
        latent_dim: length of z.
        style_dim: d, length of w.
        num_classes: K; 0: none.
        block_out_channels: channels of each level, finest first; each level halves the resolution once more.
        layers_per_block: residual blocks of each level.

    Raises:
        ValueError: the image does not divide into that many levels.
    """

    style_means: torch.Tensor
    style_std: torch.Tensor

    @register_to_config
    def __init__(
        self,
        sample_size: int = 28,
        channels: int = 1,
        latent_dim: int = 64,
        style_dim: int = 96,
        num_classes: int = 0,
        block_out_channels: tuple[int, ...] = (48, 128),
        layers_per_block: int = 1,
    ):
        super().__init__()
        widths = tuple(block_out_channels)
        side = smallest_side(sample_size, len(widths))
        self.class_embedding = nn.Embedding(max(num_classes, 1), latent_dim)
        self.mapping = nn.Sequential(
            nn.Linear(2 * latent_dim, 2 * style_dim), nn.SiLU(), nn.Linear(2 * style_dim, style_dim)
        )
        self.first = nn.Sequential(
            nn.Linear(style_dim, widths[-1] * side**2), nn.Unflatten(1, (widths[-1], side, side))
        )
        layers: list[nn.Module] = []
        for width, following in itertools.pairwise((*reversed(widths), LAST_WIDTH)):
            layers += [ModulatedBlock(width, style_dim) for _ in range(layers_per_block)]
            grow = nn.Conv2d(width, 4 * following, 3, padding=1)
            # The four pixels that come of one start equal (Aitken et al. 2017), or every picture begins as a chequerboard.
            grow.weight.data = grow.weight.data[::4].repeat_interleave(4, dim=0)
            layers += [nn.SiLU(), grow, nn.PixelShuffle(2)]
        self.layers = nn.ModuleList([*layers, nn.SiLU(), nn.Conv2d(LAST_WIDTH, channels, 3, padding=1)])
        # Each layer keeps the size of its input. With torch's own start, noise would all but vanish on the way to the features,
        # and every picture of a class would stay the same.
        for layer in (*self.mapping, *self.first):
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
                nn.init.zeros_(layer.bias)
        # mean of w for each class and, in the last row, for all; and its standard deviation; see `measure_styles`
        self.register_buffer("style_means", torch.zeros(max(num_classes, 1) + 1, style_dim))
        self.register_buffer("style_std", torch.ones(style_dim))

    def embed(self, labels: torch.Tensor | None, number: int) -> torch.Tensor:
        """Return the embedding of classes, [B, latent_dim]; the mean of all for a label of -1, and for None."""
        mean = self.class_embedding.weight.mean(0).expand(number, -1)
        if labels is None:
            return mean
        return torch.where(labels[:, None] < 0, mean, self.class_embedding(labels.clamp(min=0)))

    @apply_forward_hook
    def style(self, z: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        """Return w = M(z, y): two [B, latent_dim] -> float32 [B, d]."""
        return self.mapping(torch.cat([z.to(embedding.dtype), embedding], dim=1)).float()

    @apply_forward_hook
    def first_features(self, w: torch.Tensor) -> torch.Tensor:
        """Return the features that the synthesis begins with, an affine function of w: [B, d] -> [B, C, s, s]."""
        return self.first(w.to(self.class_embedding.weight.dtype))

    @apply_forward_hook
    def synthesize(self, w: torch.Tensor) -> torch.Tensor:
        """Return images S(w): [B, d] -> float32 [B, C, S, S], about in [-1, 1]."""
        w = w.to(self.class_embedding.weight.dtype)
        h = self.first(w)
        for layer in self.layers:
            # Not by its class: diffusers loads this file once for each component, and each time makes the class anew.
            modulated = getattr(layer, "modulated", None)
            h = layer(h) if modulated is None else modulated(h, w)
        return h.float()

    def forward(self, z: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Return images of noise [B, latent_dim] and classes int64 [B]: float32 [B, C, S, S]."""
        return self.synthesize(self.style(z, self.embed(labels, len(z))))

    @torch.no_grad()
    def measure_styles(self, number: int = 2000) -> None:
        """Measure mean and standard deviation of w, by class and of all, from `number` draws with seed 0."""
        groups, device = len(self.style_means) - 1, self.style_means.device
        z = torch.randn(number, self.config.latent_dim, generator=torch.Generator().manual_seed(0)).to(device)
        styles = []
        for label in range(groups):
            known = torch.full((number,), label, device=device) if self.config.num_classes else None
            styles.append(self.style(z, self.embed(known, number)))
            self.style_means[label] = styles[-1].mean(0)
        everything = torch.cat(styles)
        self.style_means[-1] = everything.mean(0)
        self.style_std.copy_(everything.std(0).clamp(min=1e-3))

    @torch.no_grad()
    def directions(self, number: int = 8, num_samples: int = 1000) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the principal components of the first features as directions of w (GANSpace sec. 2.1 and 2.2).

        Coordinates on the components are regressed on w, as GANSpace does for BigGAN: the K columns of U minimise
        sum_j |U x_j - (w_j - mean)|^2. The draws have seed 0 and the classes in turn.

        Args:
            number: of directions, K.
            num_samples: draws of w.

        Returns:
            float32 [K, d], each as long as one standard deviation of its coordinate; float32 [K], its share of the features'
            variance.
        """
        random, device = torch.Generator().manual_seed(0), self.style_std.device
        z = torch.randn(num_samples, self.config.latent_dim, generator=random).to(device)
        labels = torch.arange(num_samples, device=device) % max(self.config.num_classes, 1)
        w = self.style(z, self.embed(labels if self.config.num_classes else None, num_samples))
        features = self.first_features(w).flatten(1).float()
        left, values, _ = torch.linalg.svd(features - features.mean(0), full_matrices=False)
        number = min(number, w.shape[1])
        coordinates = left[:, :number] * (num_samples - 1) ** 0.5  # of unit variance, uncorrelated
        found = coordinates.T @ (w - w.mean(0)) / (num_samples - 1)
        return found, values[:number].square() / values.square().sum()


class CriticModel(ModelMixin, ConfigMixin):
    """A residual critic without batch normalisation, class-conditional by projection.

    Args:
        sample_size, channels, latent_dim, num_classes, block_out_channels, layers_per_block: as in `GeneratorModel`.
        feature_dim: length of phi(x).
    """

    running_scores: torch.Tensor

    @register_to_config
    def __init__(
        self,
        sample_size: int = 28,
        channels: int = 1,
        latent_dim: int = 64,
        num_classes: int = 0,
        block_out_channels: tuple[int, ...] = (48, 128),
        layers_per_block: int = 1,
        feature_dim: int = 128,
    ):
        super().__init__()
        widths = tuple(block_out_channels)
        side = smallest_side(sample_size, len(widths))
        trunk = shrinking_layers(channels, widths, layers_per_block)
        last = nn.Linear(widths[-1] * side**2, feature_dim)
        self.trunk = nn.Sequential(*trunk, nn.SiLU(), nn.Flatten(), last, nn.SiLU())
        self.head = nn.Linear(feature_dim, 1)
        # It guesses the noise that a picture was drawn from, by a coarse view of it. Only training needs it.
        guess = nn.Linear(channels * COARSE**2, 2 * feature_dim), nn.SiLU(), nn.Linear(2 * feature_dim, latent_dim)
        self.noise_head = nn.Sequential(nn.Flatten(), *guess)
        self.class_embedding = nn.Embedding(max(num_classes, 1), feature_dim)
        nn.init.zeros_(self.class_embedding.weight)
        # moving averages of its scores: of images that it learns from, and of images held out
        self.register_buffer("running_scores", torch.zeros(2))

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Score images, high for real ones.

        Args:
            x: [B, C, S, S] in [-1, 1].
            labels: int64 [B]. Where it is -1 or None, the class counts for nothing.

        Returns:
            float32 [B].
        """
        phi = self.trunk(x)  # [B, feature_dim]
        score = self.head(phi)[:, 0]
        if labels is not None:
            projection = (self.class_embedding(labels.clamp(min=0)) * phi).sum(1)
            score = score + torch.where(labels < 0, torch.zeros_like(projection), projection)
        return score.float()

    @staticmethod
    def coarse(x: torch.Tensor, disturbance: torch.Tensor) -> torch.Tensor:
        """Return the coarse, disturbed view that `noise_head` guesses from: two [B, C, S, S] -> [B, C, 7, 7].

        Neither a fine pattern nor a faint one can be seen in it, so that noise must show in what a picture depicts.
        """
        return F.adaptive_avg_pool2d(x.float() + disturbance / 2, COARSE)

    @apply_forward_hook
    def best_class(self, x: torch.Tensor) -> torch.Tensor:
        """Return the score of the class that suits each image best: [B, C, S, S] -> float32 [B]."""
        phi = self.trunk(x)
        return (self.head(phi) + phi @ self.class_embedding.weight.T).amax(1).float()

    @torch.no_grad()
    def score_gap(self, scores: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
        """Update the running means of scores of real images; return how much higher those are that it learns from: scalar.

        Args:
            scores: float [B].
            held: bool [B], whether an image is held out.
        """
        for i, rows in enumerate((~held, held)):
            if rows.any():
                self.running_scores[i].lerp_(scores[rows].mean(), 1 - RUNNING)
        return self.running_scores[0] - self.running_scores[1]


class Encoding(NamedTuple):
    """What the encoder finds in images: w float32 [B, d], z float32 [B, latent_dim], class logits float32 [B, K]."""

    w: torch.Tensor
    z: torch.Tensor
    logits: torch.Tensor


class EncoderModel(ModelMixin, ConfigMixin):
    """A convolutional encoder: what noise, style and class a generator would need for an image.

    Args:
        sample_size, channels, latent_dim, style_dim, num_classes, block_out_channels, layers_per_block: as in
            `GeneratorModel`.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 28,
        channels: int = 1,
        latent_dim: int = 64,
        style_dim: int = 96,
        num_classes: int = 0,
        block_out_channels: tuple[int, ...] = (32, 64),
        layers_per_block: int = 1,
    ):
        super().__init__()
        outputs = style_dim + latent_dim + max(num_classes, 1)
        self.network = convolutional_encoder(
            sample_size, channels, tuple(block_out_channels), layers_per_block, outputs
        )

    def forward(self, x: torch.Tensor) -> Encoding:
        """Return the `Encoding` of images [B, C, S, S]; w is in standard deviations from the mean of all."""
        config = self.config
        return Encoding(
            *self.network(x).float().split([config.style_dim, config.latent_dim, max(config.num_classes, 1)], 1)
        )
