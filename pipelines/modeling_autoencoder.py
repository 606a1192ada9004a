"""An auto-encoder with a vector code: convolutional, or fully connected as in Hinton and Salakhutdinov 2006.

    z = E(x),   x_hat = D(z)

Hinton, Salakhutdinov: Reducing the Dimensionality of Data with Neural Networks, 2006, https://doi.org/10.1126/science.1127647
"""

from __future__ import annotations

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import nn

from pipelines.blocks import convolutional_decoder, convolutional_encoder, fully_connected
from pipelines.mixture import MixtureMixin

ACTIVATIONS = {"silu": nn.SiLU, "sigmoid": nn.Sigmoid, "relu": nn.ReLU}


class AutoencoderModel(MixtureMixin, ModelMixin, ConfigMixin):
    """Encoder and decoder, and statistics of the codes of the training images.

    Images are [B, C, S, S] in [-1, 1]; codes are [B, code_dim], float32.

    Args:
        sample_size: S, side of the images.
        channels: C, 1 or 3.
        code_dim: d, length of the code.
        network: "convolutional" or "fully_connected".
        block_out_channels, layers_per_block: of the convolutional network, see `convolutional_encoder`.
        hidden_sizes: of the fully connected encoder; the decoder mirrors them. None between pixels and code: a linear
            auto-encoder, which finds the subspace of the principal components (Baldi and Hornik 1989).
        activation: between fully connected layers, "silu", "relu" or "sigmoid". The code itself is linear.
        bounded: whether the output goes through a sigmoid, which fits pictures with many black and white pixels.
        num_classes: classes with a mixture and a Gaussian of their own; 0: none.
        mixture_components: Gaussians of each mixture fitted after training.

    Raises:
        ValueError: sizes that do not divide, or an unknown network or activation.
    """

    code_means: torch.Tensor
    code_cholesky: torch.Tensor
    code_range: torch.Tensor

    @register_to_config
    def __init__(
        self,
        sample_size: int = 28,
        channels: int = 1,
        code_dim: int = 32,
        network: str = "convolutional",
        block_out_channels: tuple[int, ...] = (48, 128),
        layers_per_block: int = 1,
        hidden_sizes: tuple[int, ...] = (1000, 500, 250),
        activation: str = "silu",
        bounded: bool = True,
        num_classes: int = 0,
        mixture_components: int = 10,
    ):
        super().__init__()
        if network == "convolutional":
            shape = (sample_size, channels, tuple(block_out_channels), layers_per_block)
            self.encoder = convolutional_encoder(*shape, code_dim)
            self.decoder = convolutional_decoder(*shape, code_dim)
        elif network == "fully_connected":
            if activation not in ACTIVATIONS:
                raise ValueError(f"activation: choose {', '.join(map(repr, ACTIVATIONS))}, not {activation!r}.")
            sizes = (channels * sample_size**2, *hidden_sizes, code_dim)
            self.encoder = nn.Sequential(nn.Flatten(), *fully_connected(sizes, ACTIVATIONS[activation]))
            self.decoder = nn.Sequential(
                *fully_connected(sizes[::-1], ACTIVATIONS[activation]),
                nn.Unflatten(1, (channels, sample_size, sample_size)),
            )
        else:
            raise ValueError(f"network: choose 'convolutional' or 'fully_connected', not {network!r}.")
        groups = max(num_classes, 1)
        self._register_mixture(groups, mixture_components, code_dim)
        # One Gaussian for each class and, in the last row, one for all codes; and the box that holds them. Before `fit` they
        # are standard, with the means of the classes apart.
        means = torch.randn(groups, code_dim) / 2 if num_classes else torch.zeros(1, code_dim)
        self.register_buffer("code_means", torch.cat([means, torch.zeros(1, code_dim)]))
        self.register_buffer("code_cholesky", torch.eye(code_dim).repeat(groups + 1, 1, 1))
        self.register_buffer("code_range", torch.tensor([[-1.0], [1.0]]).repeat(1, code_dim))  # least and greatest

    @apply_forward_hook
    def encode(self, x: torch.Tensor) -> torch.Tensor:
        """Return the codes of images [B, C, S, S], float32 [B, d]."""
        return self.encoder(x).float()

    @apply_forward_hook
    def decode_logits(self, z: torch.Tensor) -> torch.Tensor:
        """Return the decoder's output for codes [B, d], before the sigmoid if it has one, float32 [B, C, S, S]."""
        return self.decoder(z.to(next(self.decoder.parameters()).dtype)).float()

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Return the images of codes [B, d], float32 [B, C, S, S], in [-1, 1] up to errors of an unbounded output."""
        x = self.decode_logits(z)
        return x.sigmoid() * 2 - 1 if self.config.bounded else x

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Encode images [B, C, S, S] and return the decoder's logits, float32 [B, C, S, S]."""
        return self.decode_logits(self.encode(x))

    @torch.no_grad()
    def set_gaussian(self, row: int, z: torch.Tensor) -> None:
        """Set the mean and covariance of a class, or with row -1 of all codes.

        The covariance is shrunk towards its diagonal, so that a class with few images has one that can be inverted.

        Args:
            z: codes float64 [n, d], n at least 1.
        """
        centred = z - z.mean(0)
        covariance = centred.T @ centred / max(len(z) - 1, 1)
        variance = covariance.diagonal().clamp(min=1e-6)
        shrunk = 0.95 * covariance + 0.05 * torch.diag(variance) + 1e-6 * torch.eye(len(variance), dtype=z.dtype)
        self.code_means[row].copy_(z.mean(0))
        self.code_cholesky[row].copy_(torch.linalg.cholesky(shrunk))

    def code_distance(self, z: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        """Return the squared Mahalanobis distance of codes from the Gaussian of a row, divided by d.

        Args:
            z: [N, d].
            row: int64 [N], a class, or the last row: all codes.

        Returns:
            float32 [N]; its mean over the codes that the Gaussian was fitted to is about 1.
        """
        diff = (z.float() - self.code_means.float()[row])[:, :, None]  # [N, d, 1]
        white = torch.linalg.solve_triangular(self.code_cholesky.float()[row], diff, upper=False)
        return white.square().mean((1, 2))
