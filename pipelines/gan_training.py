"""Losses of the three stages of a GAN; see `pipeline_gan`.

Each takes the networks of `modeling_gan`, images x float32 [B, C, S, S] in [-1, 1], class labels int64 [B] or None, and the generator
of all random numbers. Each returns the scalar to minimise and its parts by name, detached.

Papers:
    Larsen et al.: Autoencoding beyond pixels using a learned similarity metric, 2016, https://arxiv.org/abs/1512.09300 (a
        variational decoder that a critic trains)
    Chen et al.: InfoGAN, 2016, https://arxiv.org/abs/1606.03657 (eq. 6: the noise can be read off the picture)
    Karras et al.: Analyzing and Improving the Image Quality of StyleGAN, 2020, https://arxiv.org/abs/1912.04958 (appendix B:
        a penalty in one of several steps)
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F

from pipelines.adversarial import pyramid_distance, with_detached_weights, zero_gradients
from pipelines.adversarial_objectives import (
    augment,
    clip_weights,
    critic_loss,
    generator_loss,
    held_out,
    penalty,
)

Loss = tuple[torch.Tensor, dict[str, torch.Tensor]]
VARIANCE = 0.05  # of a pixel given the noise, in the stage "decoder"


def decoder_loss(
    model: Any, encoder: Any, x: torch.Tensor, labels: torch.Tensor | None, generator: torch.Generator | None
) -> Loss:
    """Return the negative evidence lower bound in nats for each value of an image, without its constant.

    Given the noise, each value has a Gaussian of the variance 0.05 around the generator's.
    """
    found = encoder(x)
    log_variance = found.log_variance.clamp(-20.0, 10.0)
    draw = torch.randn(found.z.shape, generator=generator, device=x.device)
    drawn = model(found.z + draw * (log_variance / 2).exp(), labels)
    pixels = (drawn - x).square().mean()
    divergence = 0.5 * (found.z.square() + log_variance.exp() - log_variance - 1).sum(1).mean()
    total = pixels / (2 * VARIANCE) + divergence / x[0].numel()
    return total, {"pixels": pixels.detach(), "divergence": divergence.detach()}


def adversarial_loss(
    config: Any,
    model: Any,
    critic: Any,
    x: torch.Tensor,
    labels: torch.Tensor | None,
    generator: torch.Generator | None,
    progress: float,
) -> Loss:
    """Return the sum of both sides' losses, each seeing the other one detached.

    Args:
        config: of the pipeline, whose arguments say what each setting means.
        progress: part of the stage that is done, 0 ... 1.
    """
    number = len(x)
    if config.objective == "wgan_clip":
        clip_weights(critic, config.clip)
    # by chance and not by counting, so that a step depends on its generator alone
    chance = torch.rand(2, generator=generator, device=x.device)
    z = torch.randn(number, model.config.latent_dim, generator=generator, device=x.device)
    with torch.set_grad_enabled(bool(chance[0] * config.critic_steps < 1)):
        fake = model(z, labels)
    kinds = tuple(config.augmentations or ())
    shown, faked = (augment(images, kinds, generator) for images in (x.float(), fake))
    real, of_fake = critic(shown, labels), critic(faked.detach(), labels)
    held = held_out(x)
    learnt = (~held).float()
    loss_critic = (learnt * critic_loss(config.objective, real, of_fake)).sum() / learnt.sum().clamp(min=1)
    gap = critic.score_gap(real.detach(), held)
    seen = critic.coarse(fake, torch.randn(x.shape, generator=generator, device=x.device))
    information = (critic.noise_head(seen.detach()) - z).square().mean()
    informing = config.information_weight * (1 - 0.9 * progress)
    parts = {"critic": loss_critic, "distance": (real - of_fake).mean(), "gap": gap, "information": information}
    total = loss_critic + informing * information
    if fake.requires_grad:
        score = with_detached_weights(critic, faked, labels)
        parts["generator"] = generator_loss(config.objective, real, score).mean()
        found = (with_detached_weights(critic.noise_head, seen) - z).square().mean()
        total = total + parts["generator"] + informing * found
    if chance[1] * config.penalty_every < 1:
        rows = (~held).nonzero()[:, 0][: max(1, round(config.penalty_share * number))]
        known = None if labels is None else labels[rows]
        uniform = torch.rand(len(rows), generator=generator, device=x.device)
        pair = shown[rows], faked[rows].detach()
        slope = penalty(config.objective, lambda x: critic(x, known), *pair, uniform) if len(rows) else None
        if slope is not None:
            parts["penalty"] = slope
            first, last = config.penalty_weights
            total = total + config.penalty_every * first * (last / first) ** progress * slope
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # Several processes wait for a gradient of each weight. Alone, a network without gradient just rests.
        total = total + zero_gradients(model) + zero_gradients(critic)
    return total, {name: value.detach() for name, value in parts.items()}


def encoder_loss(
    model: Any, encoder: Any, x: torch.Tensor, labels: torch.Tensor | None, generator: torch.Generator | None
) -> Loss:
    """Return how badly the encoder finds noise, style and class of generated images, and the image of real ones."""
    z = torch.randn(len(x), model.config.latent_dim, generator=generator, device=x.device)
    with torch.no_grad():
        w = model.style(z, model.embed(labels, len(x)))
        fake = model.synthesize(w)
    found = encoder(fake)
    style = (found.w - (w - model.style_means[-1]) / model.style_std).square().mean()
    noise = (found.z - z).square().mean()
    guess = encoder(x)
    pixels = pyramid_distance(model.synthesize(model.style_from_units(guess.w)), x)
    total = style + noise + 4 * pixels + 0.01 * guess.w.square().mean()
    parts = {"style": style, "noise": noise, "pixels": pixels}
    if labels is not None:
        parts["class"] = F.cross_entropy(found.logits, labels.clamp(min=0))
        total = total + parts["class"]
    return total, {name: value.detach() for name, value in parts.items()}
