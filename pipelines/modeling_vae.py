"""A variational autoencoder with a vector latent and a prior with one mean per class.

    y ~ uniform,  z | y ~ N(mu_y, I),  x | z ~ Bernoulli or Gaussian around decoder(z),  q(z | x) = N(m(x), diag s(x)^2)

Kingma and Welling, Auto-Encoding Variational Bayes, 2013 (https://arxiv.org/abs/1312.6114), written VAE below.
"""

import math

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from diffusers.utils.accelerate_utils import apply_forward_hook
from diffusers.utils.torch_utils import randn_tensor
from torch import nn

from pipelines.blocks import convolutional_decoder, convolutional_encoder, fully_connected
from pipelines.mixture import MixtureMixin

LOG_2PI = math.log(2 * math.pi)


class VAEModel(MixtureMixin, ModelMixin, ConfigMixin):
    r"""Residual convolutional encoder and decoder, class means of the prior, and the mixture fitted to the latents.

    Images are [B, C, H, W] in [-1, 1]; latents are [B, latent_dim]. All log-densities and divergences are in nats, one
    for each image, and computed in float32 whatever the dtype of the weights.

    Args:
        sample_size: height and width of the images; a multiple of 2 to the number of `block_out_channels`.
        channels: 1 (grey) or 3 (colour).
        latent_dim: size d of the latent vector.
        block_out_channels: width of each level of the encoder, each at half the resolution of the one before; the
            decoder mirrors it. The first level already works at half resolution: that is where the time goes.
        layers_per_block: residual blocks per level.
        hidden_sizes: widths of fully connected layers in place of all that; the decoder mirrors them. For data that are no
            pictures, such as points of a plane as pictures of one pixel.
        likelihood: p(x | z).
            `"bernoulli"`: cross-entropy on pixels in [0, 1] (VAE, appendix C.1). For grey data it is not a normalised
            density, but the usual lower bound up to a constant.
            `"gaussian"`: N(x; decoder(z), sigma^2 I) (VAE, appendix C.2), `sigma` fixed.
            `"learned_gaussian"`: the same with one learned sigma for all pixels (sigma-VAE, Rybkin et al. 2021,
            https://arxiv.org/abs/2006.13202, section 3.1): the data decide how much to reconstruct and how much to
            compress. One sigma, not one for each pixel: constant background pixels would drive theirs to zero and
            the likelihood to infinity.
        sigma: standard deviation of the Gaussians on the [-1, 1] scale; the learned one starts there.
        num_classes: number of classes with a mean of their own; 0: the prior is N(0, I).
        mixture_components: Gaussians for each class (or in all, without classes) of the mixture fitted after training.
    """

    @register_to_config
    def __init__(
        self,
        sample_size: int = 28,
        channels: int = 1,
        latent_dim: int = 32,
        block_out_channels: tuple[int, ...] = (64, 128),
        layers_per_block: int = 1,
        likelihood: str = "learned_gaussian",
        sigma: float = 0.2,
        num_classes: int = 0,
        mixture_components: int = 10,
        hidden_sizes: tuple[int, ...] | None = None,
    ):
        super().__init__()
        widths = tuple(block_out_channels)
        if likelihood not in ("bernoulli", "gaussian", "learned_gaussian"):
            raise ValueError(f"likelihood: choose 'bernoulli', 'gaussian' or 'learned_gaussian', not {likelihood!r}.")
        groups = max(num_classes, 1)

        if hidden_sizes:
            pixels, hidden = channels * sample_size**2, tuple(hidden_sizes)
            to_image = nn.Unflatten(1, (channels, sample_size, sample_size))
            self.encoder = nn.Sequential(nn.Flatten(), *fully_connected((pixels, *hidden, 2 * latent_dim), nn.SiLU))
            self.decoder = nn.Sequential(*fully_connected((latent_dim, *hidden[::-1], pixels), nn.SiLU), to_image)
        else:
            shape = (sample_size, channels, widths, layers_per_block)
            self.encoder = convolutional_encoder(*shape, 2 * latent_dim)
            self.decoder = convolutional_decoder(*shape, latent_dim)

        log_sigma = torch.tensor(math.log(sigma))
        if likelihood == "learned_gaussian":
            self.log_sigma = nn.Parameter(log_sigma)
        else:
            self.register_buffer("log_sigma", log_sigma)

        # mu_y. They start apart, at about the distance sqrt(d / 2) that well-separated classes keep.
        means = torch.randn(groups, latent_dim) / 2 if num_classes else torch.zeros(1, latent_dim)
        self.class_means = nn.Parameter(means, requires_grad=num_classes > 0)

        self._register_mixture(groups, mixture_components, latent_dim)

    @apply_forward_hook
    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the parameters of q(z | x): mean and log-variance.

        Args:
            x: images [B, C, H, W] in [-1, 1].

        Returns:
            two float32 tensors [B, latent_dim].
        """
        mean, logvar = self.encoder(x).float().chunk(2, dim=1)  # 2 x [B, d]
        return mean, logvar.clamp(-20.0, 10.0)

    @apply_forward_hook
    def decode_logits(self, z: torch.Tensor) -> torch.Tensor:
        """Return what p(x | z) is written in: logits (Bernoulli) or the mean in [-1, 1] (Gaussian), float32 [B, C, H, W]."""
        return self.decoder(z.to(self.class_means.dtype)).float()

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        """Return E[x | z].

        Args:
            z: latents [B, latent_dim].

        Returns:
            float32 [B, C, H, W] in [-1, 1] (a Gaussian mean may overshoot slightly).
        """
        x = self.decode_logits(z)
        return x.sigmoid() * 2 - 1 if self.config.likelihood == "bernoulli" else x

    def log_likelihood_map(self, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        """Return log p(x | z) of each pixel and channel, with its constant.

        Args:
            x: images [B, C, H, W] in [-1, 1].
            z: latents [B, latent_dim].

        Returns:
            float32 [B, C, H, W] in nats; Gaussian densities are with respect to the [-1, 1] scale.
        """
        x, logits = x.float(), self.decode_logits(z)
        if self.config.likelihood == "bernoulli":
            return -F.binary_cross_entropy_with_logits(logits, x / 2 + 0.5, reduction="none")
        log_sigma = self.gaussian_log_sigma()
        return -0.5 * ((x - logits) * torch.exp(-log_sigma)).square() - log_sigma - 0.5 * LOG_2PI

    def gaussian_log_sigma(self) -> torch.Tensor:
        """Return log sigma, not below one grey level of 8 bits: a density on discrete data could grow without bound there."""
        return self.log_sigma.float().clamp(min=math.log(1 / 127.5))

    @apply_forward_hook
    def kl(self, mean: torch.Tensor, logvar: torch.Tensor, class_labels: torch.Tensor | None = None) -> torch.Tensor:
        r"""Return KL(q(z | x) || p(z)) for each image, in closed form.

        With a class, the prior is N(mu_y, I) (VAE, appendix B, with a mean):
            KL_y = 1/2 sum_i (s_i^2 + (m_i - mu_yi)^2 - 1 - log s_i^2)
        Without, y is a latent too: with the best q(y | x), proportional to exp(-KL_y), the divergence of (y, z) is
            -log mean_y exp(-KL_y),
        an upper bound of the divergence to the marginal mixture that needs no samples, so that the ELBO stays a bound.

        Args:
            mean, logvar: of q(z | x), [B, latent_dim].
            class_labels: int64 [B], -1 for images without class, or None.

        Returns:
            float32 [B] in nats.
        """
        if class_labels is not None and (class_labels < 0).any():
            known = self.kl(mean, logvar, class_labels.clamp(min=0))
            return torch.where(class_labels < 0, self.kl(mean, logvar), known)
        if class_labels is not None:
            mu = self.class_means.float()[class_labels]  # [B, d]
            return 0.5 * (logvar.exp() + (mean - mu).square() - 1.0 - logvar).sum(1)
        square = (mean[:, None] - self.class_means.float()).square()  # [B, classes, d]
        kl = 0.5 * (logvar.exp() - 1.0 - logvar).sum(1, keepdim=True) + 0.5 * square.sum(2)  # [B, classes]
        return math.log(kl.shape[1]) - torch.logsumexp(-kl, dim=1)

    @apply_forward_hook
    def log_prior(
        self, z: torch.Tensor, class_labels: torch.Tensor | None = None, mixture: bool = False
    ) -> torch.Tensor:
        """Return the exact log p(z) or log p(z | y) of the standard prior or of the fitted mixture.

        Args:
            z: latents [B, latent_dim].
            class_labels: int64 [B]; None: marginal of uniformly drawn classes.
            mixture: the fitted mixture in place of N(mu_y, I).

        Returns:
            float32 [B] in nats.
        """
        z, d = z.float(), z.shape[1]
        if mixture:
            log_p = self.mixture_log_density(z)  # [B, classes]
        else:
            log_p = -0.5 * (z[:, None] - self.class_means.float()).square().sum(2) - 0.5 * d * LOG_2PI  # [B, classes]
        if class_labels is not None:
            return log_p.gather(1, class_labels[:, None])[:, 0]
        return torch.logsumexp(log_p, dim=1) - math.log(log_p.shape[1])

    @apply_forward_hook
    def sample_prior(
        self, noise: torch.Tensor, class_labels: torch.Tensor | None = None, mixture: bool = False, scale: float = 1.0
    ) -> torch.Tensor:
        """Turn standard normal noise into draws from the prior, row by row.

        Args:
            noise: standard normal [B, latent_dim + 2]; the last two columns choose the class (where none is given) and
                the component, by their uniform Phi(noise).
            class_labels: int64 [B] or None.
            mixture: draw from the fitted mixture, else from N(mu_y, I).
            scale: factor on the deviations from the mean of the Gaussian (temperature).

        Returns:
            float32 latents [B, latent_dim].
        """
        noise, uniform = noise[:, :-2].float(), torch.special.ndtr(noise[:, -2:].float())  # [B, d], [B, 2]
        if class_labels is None:
            groups = self.class_means.shape[0]
            class_labels = (uniform[:, 0] * groups).long().clamp(max=groups - 1)
        if not mixture:
            return self.class_means.float()[class_labels] + scale * noise
        return self.draw_mixture(noise, uniform[:, 1:], class_labels, scale)

    def forward(
        self, x: torch.Tensor, class_labels: torch.Tensor | None = None, generator: torch.Generator | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the two halves of the ELBO, from one draw of z (VAE, eq. 10).

        Args:
            x: images [B, C, H, W] in [-1, 1].
            class_labels: int64 [B], -1 for images without class, or None.
            generator: of the draw.

        Returns:
            -log p(x | z) and KL(q(z | x) || p(z)), float32 [B] in nats.
        """
        mean, logvar = self.encode(x)  # 2 x [B, d]
        noise = randn_tensor(mean.shape, generator=generator, device=mean.device, dtype=mean.dtype)
        z = mean + (0.5 * logvar).exp() * noise  # [B, d], the reparameterisation
        return -self.log_likelihood_map(x, z).sum((1, 2, 3)), self.kl(mean, logvar, class_labels)
