"""A stack of restricted Boltzmann machines unrolled into a deep auto-encoder.

The way up becomes the encoder and the way down, with the same weights, the decoder. Fine-tuning then trains all weights at once,
each on its own (Hinton and Salakhutdinov 2006 fig. 1).

Hinton, Salakhutdinov: Reducing the Dimensionality of Data with Neural Networks, 2006, https://doi.org/10.1126/science.1127647
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from pipelines.boltzmann import BoltzmannMachine
from pipelines.modeling_autoencoder import AutoencoderModel


@torch.no_grad()
def unroll(machines: Sequence[BoltzmannMachine], autoencoder: AutoencoderModel) -> None:
    """Put the weights of a stack into a fully connected auto-encoder with sigmoid units, in place.

    The auto-encoder's pixels lie in [-1, 1] and those of the stack in [0, 1], so the first layer's weights are halved. Its code
    is the logits of the top machine, so the hidden units of that one should be Gaussian.

    Args:
        machines: from the pixels up, without class units.
        autoencoder: with `network` "fully_connected", `activation` "sigmoid", and as many units in each layer.

    Raises:
        ValueError: another network, or other sizes.
    """
    config = autoencoder.config
    sizes = [machines[0].num_visible, *(machine.num_hidden for machine in machines)]
    wanted = [config.channels * config.sample_size**2, *config.hidden_sizes, config.code_dim]
    if config.network != "fully_connected" or config.activation != "sigmoid" or not config.bounded:
        raise ValueError("autoencoder: must be fully connected, bounded, and have sigmoid units.")
    if sizes != wanted:
        raise ValueError(f"autoencoder: has layers of {wanted}, and the stack has {sizes}.")
    encoder = [layer for layer in autoencoder.encoder if isinstance(layer, nn.Linear)]
    decoder = [layer for layer in autoencoder.decoder if isinstance(layer, nn.Linear)]
    for machine, up, down in zip(machines, encoder, reversed(decoder), strict=True):
        up.weight.copy_(machine.weight.T)
        up.bias.copy_(machine.hidden_bias - machine.visible_mean @ machine.weight)
        down.weight.copy_(machine.weight)
        down.bias.copy_(machine.visible_bias - machine.weight @ machine.hidden_mean)
    first = encoder[0]  # v = (x + 1) / 2
    first.bias.add_(first.weight.sum(1) / 2)
    first.weight.div_(2)
