"""Adversarial training: discriminators of patches, their losses, and distances of images that go with them.

Generator and discriminator share one scalar loss here. The discriminator's loss sees detached images. The generator's loss
asks `with_detached_weights`, so that its gradient reaches the images and not the discriminator.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn


class PatchDiscriminator(nn.Module):
    """A discriminator that rates each patch of an image by how real it looks (Isola et al. 2017, https://arxiv.org/abs/1611.07004, sec. 3.2.2).

    It has no batch normalisation, so that the logits of an image do not depend on its batch. Only training needs it. It is
    not part of a checkpoint.

    Args:
        channels: of the images.
        widths: of its layers, each at half the resolution of the one before.
        num_outputs: logits for each patch, one for each class or style of the images.
    """

    def __init__(self, channels: int, widths: tuple[int, ...] = (64, 128), num_outputs: int = 1):
        super().__init__()
        sizes = (channels, *widths)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(sizes))
        self.mix = nn.Conv2d(widths[-1], widths[-1], 3, padding=1)
        self.head = nn.Conv2d(widths[-1], num_outputs, 3, padding=1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return logits and features.

        Args:
            x: images [B, C, H, W].

        Returns:
            float32 [B, num_outputs, h, w], high for real patches; and the features of each layer.
        """
        features = []
        for layer in (*self.layers, self.mix):
            x = F.leaky_relu(layer(x), 0.2)
            features.append(x)
        return self.head(x).float(), features


def with_detached_weights(module: nn.Module, *inputs: Any) -> Any:
    """Call a module with weights that get no gradient; the inputs do."""
    weights = {name: p.detach() for name, p in module.named_parameters()}
    return torch.func.functional_call(module, weights, inputs)


def hinge_loss(real: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
    """Return the discriminator's hinge loss (Lim and Ye 2017; as in the code of VQGAN): scalar.

    1/2 E max(0, 1 - D(x)) + 1/2 E max(0, 1 + D(x')), the second a mean over the kinds of x' that are not real.

    Args:
        real: logits of real images, of any shape.
        others: logits of each kind of other images.
    """
    return 0.5 * (F.relu(1 - real).mean() + torch.stack([F.relu(1 + other).mean() for other in others]).mean())


def feature_distance(real: list[torch.Tensor], fake: list[torch.Tensor]) -> torch.Tensor:
    """Return the mean absolute difference of a discriminator's features, relative to their size: scalar.

    Feature matching (Larsen et al. 2016, https://arxiv.org/abs/1512.09300; Wang et al. 2018,
    https://arxiv.org/abs/1711.11585, eq. 4) has the similarity that the discriminator has learnt in place of a pretrained
    one. The real features get no gradient.
    """
    terms = [
        (a.detach().float() - b.float()).abs().mean() / a.detach().float().abs().mean().clamp(min=1e-4)
        for a, b in zip(real, fake, strict=True)
    ]
    return torch.stack(terms).mean()


def adaptive_weight(
    reconstruction: torch.Tensor,
    adversarial: torch.Tensor,
    at: torch.Tensor,
    maximum: float = 1e4,
    adversarial_at: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return lambda = |grad L_rec| / (|grad L_GAN| + 1e-6): scalar (Esser, Rombach and Ommer 2021, eq. 7).

    With it, the adversarial gradient is as large as that of the reconstruction, however sure the discriminator is
    (https://arxiv.org/abs/2012.09841).

    Args:
        reconstruction, adversarial: the two losses.
        at: the tensor with respect to which the gradients are taken, the decoder's last weight or the images.
        maximum: of lambda.
        adversarial_at: for the adversarial loss, where that is another tensor.
    """
    rec = torch.autograd.grad(reconstruction, at, retain_graph=True)[0].float().norm()
    gan = (
        torch.autograd.grad(adversarial, at if adversarial_at is None else adversarial_at, retain_graph=True)[0]
        .float()
        .norm()
    )
    return (rec / (gan + 1e-6)).clamp(max=maximum).detach()


def add_adversarial_terms(
    loss: torch.Tensor,
    reconstruction: torch.Tensor,
    at: torch.Tensor,
    real: tuple[torch.Tensor, list[torch.Tensor]],
    others: list[torch.Tensor],
    fake: tuple[torch.Tensor, list[torch.Tensor]],
    adversarial_weight: float,
    feature_weight: float,
    share: float,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Add the terms of a discriminator to the loss of an auto-encoder, for both sides (Esser et al. 2021 eq. 6, 7).

    Args:
        loss: without them.
        reconstruction: the part of it beside which they stand.
        at: where the gradients are compared, see `adaptive_weight`.
        real: logits and features of real images.
        others: logits of each kind of images that are not real, detached.
        fake: logits and features of the images with gradient, by detached weights.
        adversarial_weight: of -E D(x_hat), beside the adaptive lambda.
        feature_weight: of the feature distance.
        share: factor of the auto-encoder's side, see `ramp`.

    Returns:
        scalar, {name: scalar}.
    """
    critic = hinge_loss(real[0], *others)
    adversarial = -fake[0].mean()
    weight = adaptive_weight(reconstruction, adversarial, at)
    matching = feature_distance(real[1], fake[1])
    generator = adversarial_weight * weight * adversarial + feature_weight * matching
    parts = {"discriminator": critic, "adversarial": adversarial, "adversarial_weight": weight, "features": matching}
    return loss + share * generator + critic, parts


def zero_gradients(module: nn.Module) -> torch.Tensor:
    """Return 0 with a gradient of zero for every weight: several processes wait for the gradient of each."""
    return 0.0 * torch.stack([p.sum() for p in module.parameters()]).sum()


def ramp(progress: float, start: float, length: float) -> float:
    """Return 0 before `start`, 1 after `start + length`, and a straight line between."""
    if progress < start:
        return 0.0
    return 1.0 if length <= 0 else min(1.0, (progress - start) / length)


def laplacian_pyramid(x: torch.Tensor, levels: int) -> list[torch.Tensor]:
    """Return the bands of an image [B, C, H, W] from fine to coarse (Burt and Adelson 1983); the last is the small image.

    The filters are boxes. A side that is odd is not halved any further.
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
    """Return the mean absolute difference of the bands of two images [B, C, H, W], summed over the bands: scalar.

    The Lap_1 loss of Bojanowski et al., Optimizing the Latent Space of Generative Networks, 2018
    (https://arxiv.org/abs/1707.05776): their weights 4^j of sums are equal weights of means. It stands where VQGAN has
    LPIPS, whose network is many times larger than ours. It measures edges and structure at several scales, but not what a
    picture shows.
    """
    bands = laplacian_pyramid((x - y).float(), levels)  # the pyramid is linear
    return torch.stack([band.abs().mean() for band in bands]).sum()


def logits_of(
    answer: tuple[torch.Tensor, list[torch.Tensor]], classes: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Return a discriminator's logits for each image's class, [B, h, w] of [B, K, h, w], and its features."""
    logits, features = answer
    return logits[torch.arange(len(logits), device=logits.device), classes], features
