"""Objectives of generative adversarial networks: what critic and generator minimise, and the penalties on the critic's slope.

A critic D gives each image a number, high for real ones. The functions here take any critic, of pictures or of points.

    non_saturating   critic  softplus(-D(x)) + softplus(D(x'))     generator  softplus(-D(x'))        1/2 |grad D(x)|^2
    wgan_clip        critic  D(x') - D(x)                          generator  -D(x')                  weights clipped
    wgan_gp          critic  D(x') - D(x)                          generator  -D(x')                  (|grad D| - 1)^2
    relativistic     critic  softplus(D(x') - D(x))                generator  softplus(D(x) - D(x'))  R1 and R2

Papers:
    Goodfellow et al.: Generative Adversarial Nets, 2014, https://arxiv.org/abs/1406.2661 (sec. 3, the non-saturating loss)
    Arjovsky, Chintala, Bottou: Wasserstein GAN, 2017, https://arxiv.org/abs/1701.07875 (alg. 1, clipping)
    Gulrajani et al.: Improved Training of Wasserstein GANs, 2017, https://arxiv.org/abs/1704.00028 (eq. 3)
    Mescheder, Geiger, Nowozin: Which Training Methods for GANs do actually Converge?, 2018,
        https://arxiv.org/abs/1801.04406 (eq. 9 is R1; R2 follows it)
    Huang et al.: The GAN is dead; long live the GAN! A Modern Baseline GAN, 2024, https://arxiv.org/abs/2501.05441 (R3GAN:
        eq. 2, relativistic pairing with R1 and R2)
    Zhao et al.: Differentiable Augmentation for Data-Efficient GAN Training, 2020, https://arxiv.org/abs/2006.10738
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

OBJECTIVES = ("non_saturating", "wgan_clip", "wgan_gp", "relativistic")
Critic = Callable[[torch.Tensor], torch.Tensor]  # inputs [B, ...] -> scores [B]


def critic_loss(objective: str, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return what the critic minimises, for each row: float [B].

    Args:
        objective: of OBJECTIVES.
        real, fake: the critic's scores [B]; the fake inputs are detached.
    """
    if objective == "non_saturating":
        return F.softplus(-real) + F.softplus(fake)
    return F.softplus(fake - real) if objective == "relativistic" else fake - real


def generator_loss(objective: str, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
    """Return what the generator minimises, for each row: float [B].

    Args:
        objective: of OBJECTIVES.
        real: scores [B]; only the relativistic loss looks at them, and they get no gradient.
        fake: scores [B] by a critic with detached weights.
    """
    if objective == "non_saturating":
        return F.softplus(-fake)
    return F.softplus(real.detach() - fake) if objective == "relativistic" else -fake


def gradient_norm(critic: Critic, x: torch.Tensor, step: float = 0.01) -> torch.Tensor:
    """Return the norm of the critic's gradient at each input, with gradients for the critic's weights: float32 [B].

    Differentiating a gradient would send the backward pass through the network a second time. This function takes central
    differences along the gradient's own direction u instead, |grad D(x)| = (D(x + h u) - D(x - h u)) / 2 h + O(h^2). The
    norm's derivative by a weight is u . d(grad D)/d(weight), whatever u does, so u is a constant here.

    Args:
        critic: row i of its scores depends on row i of its inputs only.
        x: inputs [B, ...].
        step: h, a Euclidean distance between inputs.
    """
    with torch.enable_grad(), torch.autocast(x.device.type, enabled=False):  # differences need all bits of float32
        x = x.detach().float().requires_grad_()
        (gradient,) = torch.autograd.grad(critic(x).sum(), x)
        length = gradient.flatten(1).norm(dim=1).clamp(min=1e-12)
        move = step * gradient / length.reshape(-1, *[1] * (x.ndim - 1))
        x = x.detach()
        return (critic(x + move).float() - critic(x - move).float()) / (2 * step)


def penalty(
    objective: str, critic: Critic, real: torch.Tensor, fake: torch.Tensor, uniform: torch.Tensor
) -> torch.Tensor | None:
    """Return the penalty on the critic's slope that goes with an objective, without its weight: scalar, or None.

    Args:
        objective: of OBJECTIVES.
        critic: see `gradient_norm`.
        real, fake: inputs [B, ...].
        uniform: numbers in (0, 1) [B], which choose a point of the line between each real input and a fake one.
    """
    if objective == "wgan_clip":
        return None
    if objective == "wgan_gp":
        between = torch.lerp(fake.detach(), real, uniform.reshape(-1, *[1] * (real.ndim - 1)).to(real.dtype))
        return (gradient_norm(critic, between) - 1).square().mean()
    total = gradient_norm(critic, real).square().mean()
    if objective == "relativistic":
        total = total + gradient_norm(critic, fake).square().mean()
    return total / 2


@torch.no_grad()
def clip_weights(critic: nn.Module, limit: float) -> None:
    """Move every weight into [-limit, limit] in place, which bounds the critic's slope (Arjovsky et al. 2017 alg. 1)."""
    for weight in critic.parameters():
        weight.clamp_(-limit, limit)


def held_out(images: torch.Tensor, one_in: int = 32) -> torch.Tensor:
    """Choose images that the critic is not trained on, by their contents: bool [B].

    The critic's scores of images that it has learnt from and of others show whether it learns them by heart. The choice is the
    same in every epoch, and for a mirror image.

    Args:
        images: [B, C, H, W] in [-1, 1].
        one_in: about one image in so many is chosen.
    """
    levels = ((images.float() + 1) * 127.5).round().long().sum((1, 2, 3))
    return levels % one_in == 0


def augment(x: torch.Tensor, kinds: tuple[str, ...], generator: torch.Generator | None) -> torch.Tensor:
    """Move, cut and recolour images at random, with a gradient (Zhao et al. 2020 sec. 3).

    The critic sees real and generated images through this. So the generator does not learn to make cut images, and a small
    data set seems larger to the critic.

    Args:
        x: [B, C, H, W] in [-1, 1].
        kinds: of "translation" (by up to an eighth of the side; the border is repeated), "cutout" (a square of half the side
            becomes grey), "colour" (brightness, saturation, contrast).
        generator: of all draws, on the images' device.
    """
    number, _, height, width = x.shape

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator, device=x.device)

    if "colour" in kinds:
        brightness, saturation, contrast = uniform(3, number, 1, 1, 1).to(x.dtype)
        x = x + (brightness - 0.5)
        grey = x.mean(1, keepdim=True)
        x = grey + (x - grey) * 2 * saturation
        mean = x.mean((1, 2, 3), keepdim=True)
        x = mean + (x - mean) * (contrast + 0.5)
    if "translation" in kinds:
        reach = max(height // 8, 1)
        down, right = (uniform(2, number) * (2 * reach + 1)).long()
        x = F.pad(x, [reach] * 4, mode="replicate")
        rows = down[:, None] + torch.arange(height, device=x.device)  # [B, H]
        columns = right[:, None] + torch.arange(width, device=x.device)  # [B, W]
        x = x.gather(2, rows[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))
        x = x.gather(3, columns[:, None, None, :].expand(-1, x.shape[1], height, -1))
    if "cutout" in kinds:
        top, left = uniform(2, number, 1) * torch.tensor([height, width], device=x.device).reshape(2, 1, 1)
        row, column = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
        rows, columns = (row - top).abs() < height / 4, (column - left).abs() < width / 4  # [B, H], [B, W]
        x = x * ~(rows[:, None, :, None] & columns[:, None, None, :])
    return x
