"""The three networks of a GAN: generator, critic, and an encoder that is trained after them.

    w = M(z, y),  x' = S(w)        generator: mapping M and synthesis S (Karras et al. 2019 sec. 2)
    D(x, y) = a . phi(x) + b + e_y . phi(x)        critic: projection (Miyato and Koyama 2018 eq. 3)
    E(x) = (w, mean and variance of z, log p(y))        encoder

The layers are those of DCGAN (Radford et al. 2016 sec. 3): strided convolutions in the critic, transposed ones with batch
normalisation in the generator. The critic normalises nothing, so that its score of an image does not depend on the batch.

Papers:
    Miyato, Koyama: cGANs with Projection Discriminator, 2018, https://arxiv.org/abs/1802.05637
    Härkönen et al.: GANSpace: Discovering Interpretable GAN Controls, 2020, https://arxiv.org/abs/2004.02546
    Ioffe, Szegedy: Batch Normalization, 2015, https://arxiv.org/abs/1502.03167
    Radford, Metz, Chintala: Unsupervised Representation Learning with DCGANs, 2016, https://arxiv.org/abs/1511.06434
    Odena, Dumoulin, Olah: Deconvolution and Checkerboard Artifacts, 2016, https://doi.org/10.23915/distill.00003
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

from pipelines.blocks import convolutional_encoder, smallest_side

RUNNING = 0.99  # decay of the running means of the critic's scores
COARSE = 7  # side of the view of a picture by which its noise is guessed


class Growth(nn.Module):
    """Normalise features over the batch, scale and shift them channel by channel as w says, and double the resolution.

        h = Up(SiLU((1 + s(w)) N(x) + b(w)))        N: batch normalisation (Ioffe and Szegedy 2015 alg. 1)

    The statistics of a batch tie its images together: a batch whose images are all alike cannot pass. Without them every image
    of a class becomes the same.

    Args:
        channels: of the input.
        following: of the output.
        style_dim: length of w.
    """

    def __init__(self, channels: int, following: int, style_dim: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.affine = nn.Linear(style_dim, 2 * channels)
        nn.init.normal_(self.affine.weight, std=0.02)
        nn.init.zeros_(self.affine.bias)
        # a kernel that the stride divides leaves no chequerboard (Odena et al. 2016)
        self.up = nn.ConvTranspose2d(channels, following, 4, stride=2, padding=1)

    def forward(self, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        """Return features of twice the resolution: [B, channels, h, h], [B, style_dim] -> [B, following, 2h, 2h]."""
        scale, shift = self.affine(w)[:, :, None, None].chunk(2, dim=1)
        return self.up(F.silu(self.norm(x) * (1 + scale) + shift))


class GeneratorModel(ModelMixin, ConfigMixin):
    """Mapping network and synthesis network, from noise to images [B, C, S, S] in [-1, 1].

    Args:
        sample_size: S, side of the images.
        channels: C, 1 or 3.
        latent_dim: length of z.
        style_dim: d, length of w.
        num_classes: K; 0: none.
        block_out_channels: channels of each level, finest first; each level halves the resolution once more.

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
        block_out_channels: tuple[int, ...] = (48, 96),
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
        pairs = itertools.pairwise((*reversed(widths), channels))
        self.layers = nn.ModuleList(Growth(width, following, style_dim) for width, following in pairs)
        # Each layer keeps the size of its input. With torch's own start, noise would all but vanish on the way to the features,
        # and every picture of a class would stay the same.
        for layer in (*self.mapping, *self.first):
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="linear")
                nn.init.zeros_(layer.bias)
        # mean of w for each class and, in the last row, for all; and its standard deviation; see `measure_styles`
        self.register_buffer("style_means", torch.zeros(max(num_classes, 1) + 1, style_dim))
        self.register_buffer("style_std", torch.ones(style_dim))
        self.eval()  # as `from_pretrained` leaves it: only a training normalises by the statistics of its batch

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
        """Return images S(w): [B, d] -> float32 [B, C, S, S] in [-1, 1]."""
        w = w.to(self.class_embedding.weight.dtype)
        h = self.first(w)
        for layer in self.layers:
            h = layer(h, w)
        return torch.tanh(h.float())

    def forward(self, z: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Return images of noise [B, latent_dim] and classes int64 [B]: float32 [B, C, S, S]."""
        return self.synthesize(self.style(z, self.embed(labels, len(z))))

    def style_from_units(self, u: torch.Tensor) -> torch.Tensor:
        """Return w from its deviation u from the mean of all in standard deviations: [N, d] -> float32 [N, d]."""
        return self.style_means[-1].float() + u * self.style_std.float()

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
    """A convolutional critic without batch normalisation, class-conditional by projection.

    Args:
        sample_size, channels, latent_dim, num_classes, block_out_channels: as in `GeneratorModel`.
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
        block_out_channels: tuple[int, ...] = (48, 96),
        feature_dim: int = 256,
    ):
        super().__init__()
        widths = tuple(block_out_channels)
        side = smallest_side(sample_size, len(widths))
        trunk: list[nn.Module] = []
        for previous, width in itertools.pairwise((channels, *widths)):
            trunk += [nn.Conv2d(previous, width, 4, stride=2, padding=1), nn.LeakyReLU(0.2)]
        last = nn.Linear(widths[-1] * side**2, feature_dim)
        self.trunk = nn.Sequential(*trunk, nn.Flatten(), last, nn.LeakyReLU(0.2))
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
    """What the encoder finds in images.

    w float32 [B, d]; mean of the noise float32 [B, latent_dim] and the logarithm of its variance; class logits float32 [B, K].
    """

    w: torch.Tensor
    z: torch.Tensor
    log_variance: torch.Tensor
    logits: torch.Tensor


class EncoderModel(ModelMixin, ConfigMixin):
    """A convolutional encoder: what noise, style and class a generator would need for an image.

    Args:
        sample_size, channels, latent_dim, style_dim, num_classes, block_out_channels: as in `GeneratorModel`.
        layers_per_block: residual blocks of each level.
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
        self.sizes = [style_dim, latent_dim, latent_dim, max(num_classes, 1)]
        self.network = convolutional_encoder(
            sample_size, channels, tuple(block_out_channels), layers_per_block, sum(self.sizes)
        )

    def forward(self, x: torch.Tensor) -> Encoding:
        """Return the `Encoding` of images [B, C, S, S]; w is in standard deviations from the mean of all."""
        return Encoding(*self.network(x).float().split(self.sizes, 1))
