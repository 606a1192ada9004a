"""Variational autoencoder with a vector latent, a prior with one mean per class, and a mixture fitted after training.

    y ~ uniform,  z | y ~ N(mu_y, I),  x | z ~ p(x | z),  q(z | x) = N(m(x), diag s(x)^2)
    ELBO = E_q[log p(x | z)] - KL(q(z | x) || p(z | y))        Kingma and Welling eq. 3

Likelihoods are densities of images in [-1, 1]. For the probability of an image of 8-bit pixels, multiply the density
by the volume of its cell, 1 / 127.5 in each of the D dimensions (pixels times channels):

    log p(x8) ~ log p(x) - D log 127.5        bits/dim = (log 127.5 - log p(x) / D) / log 2

Papers:
    Kingma, Welling: Auto-Encoding Variational Bayes, 2013, https://arxiv.org/abs/1312.6114
    Burda, Grosse, Salakhutdinov: Importance Weighted Autoencoders, 2015, https://arxiv.org/abs/1509.00519
    Higgins et al.: beta-VAE, 2017, https://openreview.net/forum?id=Sy2fzU9gl
    Bowman et al.: Generating Sentences from a Continuous Space (KL annealing), 2015, https://arxiv.org/abs/1511.06349
    Rybkin, Daniilidis, Levine: Simple and Effective VAE Training with Calibrated Decoders (sigma-VAE), 2020,
        https://arxiv.org/abs/2006.13202
    Ghosh et al.: From Variational to Deterministic Autoencoders (ex-post density), 2019, https://arxiv.org/abs/1903.12436
    White: Sampling Generative Networks (slerp), 2016, https://arxiv.org/abs/1609.04468
    Ho, Salimans: Classifier-Free Diffusion Guidance, 2022, https://arxiv.org/abs/2207.12598 (the weight of a class)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Literal

import torch
from diffusers import DiffusionPipeline, ModelMixin

from pipelines.family import Generators
from pipelines.images import ImageFamilyMixin, task
from pipelines.interpolation import slerp
from pipelines.mixture import fit_mixtures
from pipelines.modeling_vae import VAEModel


class VAEPipeline(ImageFamilyMixin, DiffusionPipeline):
    """Variational autoencoder: one network pass makes an image, and each image has a place in a small latent space.

    Args:
        vae: `VAEModel`, encoder, decoder, class means and fitted mixture.
        beta: weight of the KL in the training loss; below 1 sharper reconstructions, above 1 a smoother latent space.
        kl_annealing: fraction of the training over which that weight rises linearly from 0.
    """

    vae: VAEModel
    code_kind = "vector"
    likelihood_kind = "bound"
    model_cpu_offload_seq = "vae"

    def __init__(
        self,
        vae: ModelMixin,
        sample_size: int | None = None,
        channels: int | None = None,
        beta: float = 1.0,
        kl_annealing: float = 0.0,
        id2label: dict[str, str] | None = None,
        anomaly_quantiles: dict[str, list[float]] | None = None,
    ):
        super().__init__()
        self._register(
            locals(),
            sample_size=sample_size or vae.config.sample_size,
            channels=channels or vae.config.channels,
        )

    @classmethod
    def build(
        cls,
        sample_size: int,
        channels: int,
        id2label: dict[str, str] | None = None,
        class_conditional: bool = True,
        beta: float = 1.0,
        kl_annealing: float = 0.0,
        **architecture,
    ) -> VAEPipeline:
        """Make a pipeline with fresh weights.

        Args:
            class_conditional: learn a mean of the prior for each class of `id2label`; otherwise the prior is N(0, I).
            architecture: the other parameters of `VAEModel`.

        Raises:
            TypeError: a parameter that `VAEModel` does not have.
            ValueError: a likelihood it does not know, or sizes that do not divide.
        """
        id2label = id2label if class_conditional else None
        vae = VAEModel(sample_size, channels, num_classes=len(id2label or ()), **architecture)
        return cls(vae, beta=beta, kl_annealing=kl_annealing, id2label=id2label)

    # ---- training ----

    def loss(self, batch: dict, generator: torch.Generator | None = None, progress: float = 1.0):
        """Return the negative ELBO with the KL weighted by beta, per pixel and channel.

        loss = (E_q[-log p(x | z)] + beta min(1, progress / kl_annealing) KL) / D. Dividing by the number of dimensions
        changes no optimum; it keeps the size of the gradient, which training clips, independent of the image size.

        Args:
            batch: "images" [B, C, H, W] in [-1, 1] and "class_labels" int64 [B] or None; -1 is an image without class, whose
                prior is that of any class.
            generator: of the latent noise, on the images' device.
            progress: part of the training that is done, in [0, 1].

        Returns:
            (scalar, {"reconstruction", "kl", "kl_weight"}), the first two in nats per image.
        """
        images = batch["images"]
        labels = batch.get("class_labels") if self.config.id2label else None
        reconstruction, kl = self.vae(images, labels, generator)  # [B], [B]
        warm = min(1.0, progress / self.config.kl_annealing) if self.config.kl_annealing > 0 else 1.0
        weight = self.config.beta * warm
        loss = (reconstruction + weight * kl).mean() / images[0].numel()
        parts = {"reconstruction": reconstruction.mean().detach(), "kl": kl.mean().detach()}
        return loss, {**parts, "kl_weight": torch.tensor(weight)}

    @torch.no_grad()
    def fit(self, batches: Iterable[dict]) -> None:
        """Fit a Gaussian mixture with full covariances to the latents, for each class its own (Ghosh et al. sec. 4).

        The aggregate of q(z | x) over the data is never quite N(mu_y, I); sampling from what it is closes the gap
        without touching the networks. One latent is drawn from q(z | x) for each image, with seed 0. A class with fewer
        images than components gets as many components as it has images. A class with fewer than two keeps the prior of the
        training.

        Args:
            batches: of `{"images", "class_labels"}`, one pass over the training data; images of class -1 are left out.

        Raises:
            ImportError: scikit-learn is missing.
        """
        if not self.vae.config.mixture_components:
            return
        generator = torch.Generator().manual_seed(0)
        encoded: list[tuple[torch.Tensor, torch.Tensor]] = []
        for batch in batches:
            z = self.encode(batch["images"], generator, sample=True).cpu()
            known = batch.get("class_labels") if self.config.id2label else None
            encoded.append((z, torch.zeros(len(z), dtype=torch.int64) if known is None else known.cpu()))
        latents, labels = (torch.cat(column) for column in zip(*encoded, strict=True))
        fit_mixtures(self.vae, latents, labels, self.vae.class_means)

    def remarks(self, class_counts: dict[str, int]) -> list[str]:
        """Return what a person should know before training: which classes have fewer images than the mixture has components.

        Args:
            class_counts: number of training images by the name of the class.
        """
        most = self.vae.config.mixture_components
        small = [f"{name} ({number})" for name, number in class_counts.items() if number < most]
        if not (small and self.config.id2label):
            return []
        return [f"fewer images than the mixture's {most} components: {', '.join(small)}; their mixtures get fewer."]

    # ---- the latent space ----

    @property
    def code_shape(self) -> tuple[int, ...]:
        """(d,)."""
        return (self.vae.config.latent_dim,)

    @task
    def encode(self, x, generator, sample: bool = False):
        """Encode images as latents, float32 [N, d].

        Args:
            generator: one `torch.Generator`, or a list with one for each image (with `sample`).
            class_labels: not used: the encoder knows no class.
            sample: Take a draw from q(z | x) instead of its mean.
        """
        return self._latents(x, generator, sample)

    @task
    def decode(self, codes):
        """Decode latents [N, d] as the mean of p(x | z).

        Args:
            class_labels: not used: the decoder knows no class.
        """
        return self.vae.decode(codes)

    def _latents(self, x: torch.Tensor, generator: Generators, sample: bool) -> torch.Tensor:
        """Return the mean of q(z | x) for images x [N, C, S, S], or a draw from it, float32 [N, d]."""
        mean, logvar = self.vae.encode(x)  # 2 x [N, d]
        return self._draw(mean, logvar, generator) if sample else mean

    def _draw(self, mean: torch.Tensor, logvar: torch.Tensor, generator: Generators) -> torch.Tensor:
        """Draw z ~ N(mean, exp(logvar)) by the reparameterisation (Kingma and Welling sec. 2.4): [N, d]."""
        return mean + (0.5 * logvar).exp() * self._randn(mean.shape, generator).float()

    # ---- the tasks ----

    @task
    def __call__(
        self,
        batch_size,
        generator,
        labels,
        report,
        prior: Literal["mixture", "standard"] = "mixture",
        temperature: Annotated[float, {"minimum": 0.0, "maximum": 1.5, "step": 0.05}] = 1.0,
    ):
        """Generate images: draw a latent from the prior and decode it.

        Args:
            class_labels: int, list or int64 tensor [N]; None: each sample's generator draws its class.
            prior: "mixture" follows the latents of the training images closely and looks best; "standard" is the prior of the training, a round Gaussian about the mean of the class.
            temperature: Spread of the latents around the means of the prior's Gaussians; 0 gives typical images only, 1 the prior itself.
        """
        noise = self._randn((batch_size, self.vae.config.latent_dim + 2), generator)
        z = self.vae.sample_prior(noise, labels, prior == "mixture" and self.vae.is_fitted, temperature)
        x = self.vae.decode(z)
        report(0, 0, 1, x)
        return x

    @task
    def reconstruct(self, x, generator, labels, report, sample: bool = False):
        """Encode images and decode them again.

        Args:
            class_labels: checked and not used: encoder and decoder know no class, only the prior does.
            sample: Decode a draw from the posterior q(z | x) instead of its mean, to see what the latent leaves open.
        """
        x = self.vae.decode(self._latents(x, generator, sample))
        report(0, 0, 1, x)
        return x

    @task
    def interpolate(self, a, b, num_frames, report, mode: Literal["slerp", "lerp"] = "slerp"):
        """Interpolate between two images through the latent space; the ends are the two reconstructions.

        Args:
            generator: not used: the path between two posterior means is deterministic.
            mode: "slerp" walks an arc around the centre of the prior and keeps to its typical distance (White 2016 sec. 2.1); "lerp" walks the straight line, which passes nearer to the centre.
        """
        za, zb = (self.vae.encode(x)[0][0] for x in (a, b))  # 2 x [d]
        weights = torch.linspace(0, 1, num_frames, device=za.device, dtype=torch.float32)
        if mode == "slerp":
            centre = self.vae.class_means.float().mean(0)
            z = centre + slerp(za - centre, zb - centre, weights)  # [M, d]
        else:
            z = torch.lerp(za, zb, weights[:, None])
        x = self.vae.decode(z)
        report(0, 0, 1, x)
        return x

    @task
    def anomaly_score(
        self,
        x,
        generator,
        labels,
        report,
        score: Literal["elbo", "reconstruction"] = "elbo",
        num_samples: Annotated[int, {"minimum": 1, "maximum": 64, "step": 1}] = 8,
        class_weight: Annotated[float, {"minimum": 0.0, "maximum": 300.0, "step": 1.0, "needs": "classes"}] = 100.0,
    ):
        """Measure how strange an image is to the model, in nats.

        The map is the pixels' part: E_q[(x - decoder(z))^2 / (2 sigma^2)] for the Gaussians, E_q[cross-entropy] for
        Bernoulli, summed over channels. The "reconstruction" score is its sum. The "elbo" score is the negative ELBO:
        that sum, the Gaussian's constant D log(sigma sqrt(2 pi)), and the KL.

        With a class y given, the KL becomes KL + w (KL_y - KL), where KL_y is the KL to the prior of the class and w is
        `class_weight`. With w = 1 the score is the negative ELBO of p(x | y). There the class has little effect: a few nats
        beside hundreds of the pixels. As with a guidance scale (Ho and Salimans 2022 eq. 6), a larger w counts p(y | x)
        more often. With the default, class and pixels weigh about the same on Fashion-MNIST. The "reconstruction" score
        does not depend on the class.

        Args:
            class_labels: int, list or int64 tensor [N], the class that each image should be of; None: any.
            score: "elbo" is the negative evidence lower bound; "reconstruction" looks only at what the decoder could not restore.
            num_samples: Draws of the latent for each image; more is steadier.
            class_weight: Weight of the class, where one is given; 0 ignores it, 1 is the plain likelihood of images of the class.
        """
        mean, logvar = self.vae.encode(x)  # 2 x [N, d]
        constant = 0.0  # of -log p(x | z), per pixel and channel
        if self.vae.config.likelihood != "bernoulli":
            constant = float(self.vae.gaussian_log_sigma()) + 0.5 * math.log(2 * math.pi)
        maps = torch.zeros(len(x), *x.shape[2:], device=x.device, dtype=torch.float32)  # [N, H, W]
        for i in range(num_samples):
            z = self._draw(mean, logvar, generator)
            maps += (-self.vae.log_likelihood_map(x, z) - constant).sum(1).clamp(min=0) / num_samples
            if report:
                report(i, i, num_samples, self.vae.decode(z))
        scores = maps.sum((1, 2))
        if score == "elbo":
            kl = self.vae.kl(mean, logvar)
            if labels is not None:
                kl = kl + class_weight * (self.vae.kl(mean, logvar, labels) - kl)
            scores = scores + constant * x[0].numel() + kl
        return scores, maps, "nats"

    @task
    def log_likelihood(
        self,
        x,
        generator,
        labels,
        prior: Literal["standard", "mixture"] = "standard",
        num_samples: Annotated[int, {"minimum": 1, "maximum": 5000, "step": 1}] = 64,
    ):
        """Bound log p(x) from below by importance sampling, the tighter the more samples (Burda et al. eq. 8).

        L_k = E[log 1/k sum_i p(x | z_i) p(z_i) / q(z_i | x)] with z_i from q(z | x); one sample gives the ELBO.

        Args:
            class_labels: for log p(x | y); None: log p(x), the classes being equally likely.
            prior: p(z) of the training, or the mixture fitted afterwards.
            num_samples: k, latents drawn for each image.

        Returns:
            float32 [N] in nats: a log-density on the [-1, 1] scale (see the top of this file for bits/dim); for the
            Bernoulli decoder a log-probability.
        """
        if prior == "mixture" and not self.vae.is_fitted:
            raise ValueError("prior: choose 'standard'; this checkpoint has no fitted mixture.")
        mean, logvar = self.vae.encode(x)  # 2 x [N, d]
        log_w = []
        for _ in range(num_samples):
            noise = self._randn(mean.shape, generator).float()
            z = mean + (0.5 * logvar).exp() * noise
            log_q = -0.5 * (noise.square() + logvar + math.log(2 * math.pi)).sum(1)
            log_p = self.vae.log_likelihood_map(x, z).sum((1, 2, 3)) + self.vae.log_prior(z, labels, prior == "mixture")
            log_w.append(log_p - log_q)  # [N]
        return torch.logsumexp(torch.stack(log_w), dim=0) - math.log(num_samples)
