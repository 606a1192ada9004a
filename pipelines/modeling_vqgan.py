"""A convolutional auto-encoder with a codebook, and what helps to train it: a patch discriminator, a codebook average.

    z_e = E(x),   k = argmin_j |z_e - e_j|^2,   z_q = e_k,   x_hat = D(z_q)          for each place of the code map

van den Oord, Vinyals, Kavukcuoglu, Neural Discrete Representation Learning, 2017 (https://arxiv.org/abs/1711.00937),
written VQ-VAE below; Esser, Rombach, Ommer, Taming Transformers for High-Resolution Image Synthesis, 2021
(https://arxiv.org/abs/2012.09841), written VQGAN.

diffusers' VQModel is not used: its codebook learns by gradients only, without averages, restarts or statistics, and its
GroupNorm layers take half of the training time on a CPU; a network this shallow trains as well without.
"""

import itertools

import torch
import torch.distributed as dist
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn


class ResidualBlock(nn.Module):
    """Pre-activation residual block; the last convolution starts at zero, so the block as identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.conv1(F.silu(x))  # [B, C, H, W]
        return x + self.conv2(F.silu(h))  # [B, C, H, W]


class VQGANModel(ModelMixin, ConfigMixin):
    """Encoder, codebook and decoder.

    Images are [B, C, H, W] in [-1, 1]; latents [B, code_dim, h, w], h = H / 2^levels; codes int64 [B, h, w]. Distances to
    the codebook are computed in float32 whatever the dtype of the weights.

    Args:
        sample_size: height and width of the images; a multiple of 2 to the number of `block_out_channels`.
        channels: 1 (grey) or 3 (colour).
        block_out_channels: width of each level of the encoder, each at half the resolution of the one before; the first
            works at half resolution already. The decoder mirrors it. Two levels: f = 4, three: f = 8.
        encoder_layers, decoder_layers: residual blocks per level.
        codebook_size: K, number of codes.
        code_dim: D, length of a code. Few dimensions keep more of the codes in use (Yu et al. 2022, sec. 3.2,
            https://arxiv.org/abs/2110.04627).
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 28,
        channels: int = 1,
        block_out_channels: tuple[int, ...] = (64, 128),
        encoder_layers: int = 1,
        decoder_layers: int = 2,
        codebook_size: int = 512,
        code_dim: int = 16,
    ):
        super().__init__()
        widths = tuple(block_out_channels)
        if sample_size % 2 ** len(widths):
            raise ValueError(f"sample_size: {sample_size} is not a multiple of {2 ** len(widths)}; use fewer blocks.")

        # The first level takes pixels by space-to-depth, which loses nothing and costs nothing.
        layers = [nn.PixelUnshuffle(2), nn.Conv2d(4 * channels, widths[0], 3, padding=1)]
        layers += [ResidualBlock(widths[0]) for _ in range(encoder_layers)]
        for previous, width in itertools.pairwise(widths):
            layers += [nn.Conv2d(previous, width, 4, stride=2, padding=1)]
            layers += [ResidualBlock(width) for _ in range(encoder_layers)]
        layers += [nn.SiLU(), nn.Conv2d(widths[-1], code_dim, 1)]
        self.encoder = nn.Sequential(*layers)

        # Sub-pixel convolutions (Shi et al. 2016) double the resolution at a quarter of the cost of convolving after
        # upsampling.
        layers = [nn.Conv2d(code_dim, widths[-1], 3, padding=1)]
        for width, following in zip(widths[::-1], (*widths[-2::-1], channels), strict=True):
            layers += [ResidualBlock(width) for _ in range(decoder_layers)]
            layers += [nn.SiLU(), nn.Conv2d(width, 4 * following, 3, padding=1), nn.PixelShuffle(2)]
        self.decoder = nn.Sequential(*layers)

        # Learned by averages of the latents, not by gradients: a buffer, which is saved with the weights.
        self.register_buffer("codebook", torch.randn(codebook_size, code_dim))

    @property
    def last_layer(self) -> nn.Parameter:
        """The weight that VQGAN eq. 7 measures gradients at."""
        return self.decoder[-2].weight

    @property
    def map_size(self) -> int:
        """h = w of the code map."""
        return self.config.sample_size // 2 ** len(self.config.block_out_channels)

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Images [B, C, H, W] -> latents before quantisation, float32 [B, D, h, w]."""
        return self.encoder(x).float()

    def nearest(self, z: torch.Tensor) -> torch.Tensor:
        """The code nearest to each latent (VQ-VAE eq. 1): [B, D, h, w] -> int64 [B, h, w]."""
        with torch.autocast(z.device.type, enabled=False):
            flat, codebook = z.float().movedim(1, -1), self.codebook.float()  # [B, h, w, D], [K, D]
            # |z - e|^2 without |z|^2, which is the same for all codes
            distances = codebook.square().sum(1) - 2 * flat @ codebook.T  # [B, h, w, K]
            return distances.argmin(-1)

    def embed(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes int64 [B, h, w] -> their vectors, float32 [B, D, h, w] (VQ-VAE eq. 2)."""
        return self.codebook.float()[codes].movedim(-1, 1)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Latents [B, D, h, w], quantised or not -> images, float32 [B, C, H, W], nearly in [-1, 1]."""
        return self.decoder(z.to(self.last_layer.dtype)).float()

    def decode_codes(self, codes: torch.Tensor) -> torch.Tensor:
        """Codes int64 [B, h, w] -> images, float32 [B, C, H, W], nearly in [-1, 1]."""
        return self.decode(self.embed(codes))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Through the bottleneck, with the straight-through gradient: the decoder's for z_q goes to z_e unchanged (VQ-VAE
        sec. 3.1).

        Args:
            x: images [B, C, H, W] in [-1, 1].

        Returns:
            reconstruction float32 [B, C, H, W], latents z_e float32 [B, D, h, w], codes int64 [B, h, w].
        """
        z = self.encode(x)  # [B, D, h, w]
        codes = self.nearest(z)  # [B, h, w]
        straight = z + (self.embed(codes) - z).detach()  # the value of z_q, the gradient of z_e
        return self.decode(straight), z, codes


class CodebookAverage(nn.Module):
    """Keeps a codebook at the moving averages of the latents it stands for, and restarts codes that nobody uses.

        N_i <- g N_i + (1 - g) n_i,   m_i <- g m_i + (1 - g) sum_j z_ij,   e_i = m_i / N_i          VQ-VAE eq. 6-8

    with n_i latents z_i1 ... in this batch nearest to code i. A code with N_i below `restart_below` of a fair share is put
    where a latent of this batch is (Dhariwal et al. 2020, sec. 3.1, https://arxiv.org/abs/2005.00341), with twice that
    share: if nobody takes it up, it moves on after log 2 / (1 - g) steps, soon enough for latents that still drift. All N_i
    are 0 at first, so the first batch places the whole codebook. Under torchrun the sums are over all processes.

    Only training needs it; it is not part of a checkpoint.
    """

    def __init__(self, codebook_size: int, code_dim: int, decay: float = 0.99, restart_below: float = 0.1):
        super().__init__()
        self.decay, self.restart_below = decay, restart_below
        self.register_buffer("counts", torch.zeros(codebook_size))  # N
        self.register_buffer("sums", torch.zeros(codebook_size, code_dim))  # m

    @torch.no_grad()
    def update(
        self,
        codebook: torch.Tensor,
        z: torch.Tensor,
        codes: torch.Tensor,
        restart: bool = True,
        generator: torch.Generator | None = None,
    ) -> dict[str, torch.Tensor]:
        """One step, in place.

        Args:
            codebook: [K, D].
            z: latents [B, D, h, w].
            codes: int64 [B, h, w], the nearest codes to `z`.
            restart: whether dead codes are restarted.
            generator: chooses the latents for them, on the device of `z`.

        Returns:
            {"perplexity": exp of the entropy of the codes' use in this batch, "restarted": number of codes}.
        """
        flat = z.float().movedim(1, -1).flatten(0, -2)  # [M, D]
        codes = codes.flatten()  # [M]
        number = torch.zeros_like(self.counts).index_add_(0, codes, torch.ones_like(codes, dtype=torch.float32))  # n
        total = torch.zeros_like(self.sums).index_add_(0, codes, flat)
        size = len(self.counts)
        chosen = flat[torch.randint(len(flat), (size,), generator=generator, device=flat.device)]  # [K, D]
        if dist.is_available() and dist.is_initialized():
            dist.all_reduce(number)
            dist.all_reduce(total)
            dist.broadcast(chosen, 0)

        self.counts.lerp_(number, 1 - self.decay)
        self.sums.lerp_(total, 1 - self.decay)
        limit = self.restart_below * number.sum() / size
        dead = self.counts < limit if restart else torch.zeros_like(self.counts, dtype=torch.bool)
        self.counts.copy_(torch.where(dead, 2 * limit, self.counts))
        self.sums.copy_(torch.where(dead[:, None], 2 * limit * chosen, self.sums))
        # A code unused for so long that its average is lost in rounding stays where it was.
        known = self.counts[:, None] > 1e-6
        codebook.copy_(torch.where(known, self.sums / self.counts.clamp(min=1e-6)[:, None], codebook))

        p = number / number.sum()
        return {"perplexity": torch.special.entr(p).sum().exp(), "restarted": dead.sum().float()}


class PatchDiscriminator(nn.Module):
    """Says of each patch how real it looks (Isola et al. 2017, https://arxiv.org/abs/1611.07004, sec. 3.2.2).

    Without batch normalisation, so that an image's answer does not depend on its batch. Only training needs it; it is not
    part of a checkpoint.

    Args:
        channels: of the images.
        widths: of its layers, each at half the resolution of the one before.
    """

    def __init__(self, channels: int, widths: tuple[int, ...] = (64, 128)):
        super().__init__()
        sizes = (channels, *widths)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(sizes))
        self.mix = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.head = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Images [B, C, H, W] -> logits float32 [B, 1, h, w] (high: real), and the features of each layer."""
        features = []
        for layer in (*self.layers, self.mix):
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.head(x).float(), features


# ---- the terms of the first stage's loss ----


def laplacian_pyramid(x: torch.Tensor, levels: int) -> list[torch.Tensor]:
    """Bands of an image [B, C, H, W] from fine to coarse (Burt and Adelson 1983), the last being the small image itself.

    With box filters; a side that is odd is not halved any further.
    """
    bands = []
    for _ in range(levels - 1):
        if x.shape[-1] % 2 or x.shape[-1] < 4:
            break
        small = F.avg_pool2d(x, 2)
        bands.append(x - F.interpolate(small, scale_factor=2.0, mode="nearest"))
        x = small
    return [*bands, x]


def pyramid_distance(x: torch.Tensor, y: torch.Tensor, levels: int = 4) -> torch.Tensor:
    """Mean absolute difference of the bands, summed over the bands: scalar.

    The Lap_1 loss of Bojanowski et al., Optimizing the Latent Space of Generative Networks, 2018
    (https://arxiv.org/abs/1707.05776): their weights 4^j of sums are equal weights of means. It stands where VQGAN has
    LPIPS, whose network is many times larger than ours: it knows edges and structure at several scales, but nothing of
    what a picture shows.
    """
    bands = laplacian_pyramid((x - y).float(), levels)  # the pyramid is linear
    return torch.stack([band.abs().mean() for band in bands]).sum()


def hinge_loss(real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """The discriminator's: 1/2 E max(0, 1 - D(x)) + 1/2 E max(0, 1 + D(x_hat)) (as in the code of VQGAN)."""
    return 0.5 * (F.relu(1 - real).mean() + F.relu(1 + fake).mean())


def feature_distance(real: list[torch.Tensor], fake: list[torch.Tensor]) -> torch.Tensor:
    """Mean absolute difference of a discriminator's features, relative to their size: scalar.

    Feature matching (Larsen et al. 2016, https://arxiv.org/abs/1512.09300; Wang et al. 2018,
    https://arxiv.org/abs/1711.11585, eq. 4): the similarity that the discriminator has learnt, in place of a pretrained one.
    """
    terms = [
        (a.detach().float() - b.float()).abs().mean() / a.detach().float().abs().mean().clamp(min=1e-4)
        for a, b in zip(real, fake, strict=True)
    ]
    return torch.stack(terms).mean()


def adaptive_weight(
    reconstruction: torch.Tensor, adversarial: torch.Tensor, last_layer: torch.Tensor, maximum: float = 1e4
) -> torch.Tensor:
    """lambda = |grad L_rec| / (|grad L_GAN| + 1e-6) with respect to the decoder's last layer (VQGAN eq. 7): scalar.

    So the adversarial gradient is there as large as that of the reconstruction, however sure the discriminator is.
    """
    rec = torch.autograd.grad(reconstruction, last_layer, retain_graph=True)[0].float().norm()
    gan = torch.autograd.grad(adversarial, last_layer, retain_graph=True)[0].float().norm()
    return (rec / (gan + 1e-6)).clamp(max=maximum).detach()


def ramp(progress: float, start: float, length: float) -> float:
    """0 before `start`, 1 after `start + length`, a straight line between."""
    if progress < start:
        return 0.0
    return 1.0 if length <= 0 else min(1.0, (progress - start) / length)
