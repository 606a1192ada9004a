"""A convolutional auto-encoder with a codebook.

    z_e = E(x),   k = argmin_j |z_e - e_j|^2,   z_q = e_k,   x_hat = D(z_q)          for each place of the code map

van den Oord, Vinyals, Kavukcuoglu, Neural Discrete Representation Learning, 2017 (https://arxiv.org/abs/1711.00937),
written VQ-VAE below; Esser, Rombach, Ommer, Taming Transformers for High-Resolution Image Synthesis, 2021
(https://arxiv.org/abs/2012.09841), written VQGAN.

diffusers' VQModel is not used: its codebook learns by gradients only, without averages, restarts or statistics, and its
GroupNorm layers take half of the training time on a CPU; a network this shallow trains as well without.
"""

import torch
from diffusers import ConfigMixin, ModelMixin, VQModel
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

from pipelines.blocks import ResidualBlock, growing_layers, shrinking_layers, smallest_side
from pipelines.codebook import CodebookMixin


class VQGANModel(CodebookMixin, ModelMixin, ConfigMixin):
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
        smallest_side(sample_size, len(widths))  # refuses what does not divide

        # The first level takes pixels by space-to-depth, which loses nothing and costs nothing.
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(2),
            nn.Conv2d(4 * channels, widths[0], 3, padding=1),
            *(ResidualBlock(widths[0]) for _ in range(encoder_layers)),
            *shrinking_layers(widths[0], widths[1:], encoder_layers),
            nn.SiLU(),
            nn.Conv2d(widths[-1], code_dim, 1),
        )
        self.decoder = nn.Sequential(
            nn.Conv2d(code_dim, widths[-1], 3, padding=1),
            *growing_layers(widths, channels, decoder_layers),
        )

        # Learned by averages of the latents, not by gradients: a buffer, which is saved with the weights.
        self.register_buffer("codebook", torch.randn(codebook_size, code_dim))

    @property
    def last_layer(self) -> nn.Parameter:
        """The weight that VQGAN eq. 7 measures gradients at."""
        return self.decoder.get_parameter(f"{len(self.decoder) - 2}.weight")

    @property
    def map_size(self) -> int:
        """Side of the code map, h = w."""
        return self.config.sample_size // 2 ** len(self.config.block_out_channels)

    @apply_forward_hook
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Encode images [B, C, H, W] as latents before quantisation, float32 [B, D, h, w]."""
        return self.encoder(x).float()

    @apply_forward_hook
    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Decode latents [B, D, h, w], quantised or not, as images, float32 [B, C, H, W], nearly in [-1, 1]."""
        return self.decoder(z.to(self.last_layer.dtype)).float()

    def decode_codes(self, codes: torch.Tensor) -> torch.Tensor:
        """Decode codes int64 [B, h, w] as images, float32 [B, C, H, W], nearly in [-1, 1]."""
        return self.decode(self.embed(codes))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Encode, quantise with the straight-through gradient, and decode (VQ-VAE sec. 3.1).

        Args:
            x: images [B, C, H, W] in [-1, 1].

        Returns:
            reconstruction float32 [B, C, H, W], latents z_e float32 [B, D, h, w], codes int64 [B, h, w].
        """
        z = self.encode(x)  # [B, D, h, w]
        quantized, codes = self.quantize(z)  # [B, D, h, w], [B, h, w]
        return self.decode(quantized), z, codes


class StockCodec:
    """diffusers' `VQModel` with the methods of `VQGANModel`.

    Raises:
        ValueError: it is no auto-encoder of square images.
    """

    def __init__(self, model: VQModel):
        config = model.config
        shrinking = 2 ** (len(config.block_out_channels) - 1)  # every level but the last halves the resolution
        if config.in_channels != config.out_channels or config.in_channels not in (1, 3):
            raise ValueError(
                f"vqgan: turns {config.in_channels} channels into {config.out_channels}; it must be 1 or 3."
            )
        if not isinstance(config.sample_size, int) or config.sample_size % shrinking:
            raise ValueError(f"vqgan: images of {config.sample_size} pixels do not divide into squares of {shrinking}.")
        self.model, self.channels, self.map_size = model, config.in_channels, config.sample_size // shrinking

    @property
    def codebook(self) -> torch.Tensor:
        return self.model.quantize.embedding.weight  # [K, D]

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        return self.model.encode(x).latents.float()

    def nearest(self, z: torch.Tensor) -> torch.Tensor:
        distances = torch.cdist(z.movedim(1, -1).flatten(1, 2), self.codebook.float()[None])  # [B, h w, K]
        return distances.argmin(-1).unflatten(1, z.shape[2:])

    def embed(self, codes: torch.Tensor) -> torch.Tensor:
        return self.codebook.float()[codes].movedim(-1, 1)

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        # Not `model.decode`: that takes z for codes if `lookup_from_codebook` is set, and may quantise it.
        z = z.to(self.model.dtype)
        spatial = z if self.model.config.norm_type == "spatial" else None
        return self.model.decoder(self.model.post_quant_conv(z), spatial).float()

    def decode_codes(self, codes: torch.Tensor) -> torch.Tensor:
        return self.decode(self.embed(codes))
