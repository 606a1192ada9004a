"""Feature networks of the Fréchet distance and of precision and recall: uint8 [N, 3, H, W] to float32 [N, num_features].

Distances in different feature spaces cannot be compared, so each figure carries the name of its network.
"""

from __future__ import annotations

import torch
from torch import nn
from tqdm.auto import tqdm

from genarium.errors import GenariumError, NotMeasurableError
from pipelines.feature_network import load_efficientnet, resized


class EfficientNetLite0(nn.Module):
    """ImageNet features that come with a package, so that quality can be measured without a network connection.

    The last convolution's 1280 channels, averaged over the image (Tan and Le 2019, https://arxiv.org/abs/1905.11946).
    Images are scaled to 112 pixels: half of what the network was trained on, at a quarter of the time.
    Always float32: figures must not depend on the precision that a machine prefers.

    Raises:
        NotMeasurableError: the packages are not installed.
    """

    name = "efficientnet-lite0"
    title = "EfficientNet-Lite0, ImageNet, 1280 features, 112 px"
    num_features = 1280
    input_size = 112
    variant = 0  # of EfficientNet-Lite

    def __init__(self):
        super().__init__()
        try:
            self.network = load_efficientnet(self.input_size, self.variant)
        except ImportError as error:
            raise NotMeasurableError(str(error)) from error

    @torch.inference_mode()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute features float32 [N, 1280] of images uint8 [N, 3, H, W]."""
        return self.network.extract_features(resized(images, self.input_size)).mean(dim=(2, 3))


class EfficientNetLite2(EfficientNetLite0):
    """The same for the larger EfficientNet-Lite2: the second judge, by which no setting is chosen.

    Images are scaled to 128 pixels, half of what the network was trained on.

    Raises:
        NotMeasurableError: the packages are not installed.
    """

    name = "efficientnet-lite2"
    title = "EfficientNet-Lite2, ImageNet, 1280 features, 128 px"
    input_size = 128
    variant = 2


class Inception(nn.Module):
    """The network of the original FID (Heusel et al. 2017, https://arxiv.org/abs/1706.08500), through torchmetrics.

    torch-fidelity fetches its weights when first used.

    Raises:
        NotMeasurableError: torch-fidelity is not installed, or the weights cannot be fetched.
    """

    name = "inception"
    title = "Inception-v3 (torch-fidelity), 2048 features"
    num_features = 2048

    def __init__(self):
        super().__init__()
        from torchmetrics.image.fid import NoTrainInceptionV3

        try:
            self.network = NoTrainInceptionV3("inception-v3-compat", [str(self.num_features)])
        except Exception as error:  # not installed, no connection, a damaged file: each library has its own
            raise NotMeasurableError(
                f"The Inception network cannot be had ({error}). It needs `pip install torch-fidelity` and, once, a "
                "connection to fetch its weights. Offline, use --features efficientnet-lite0."
            ) from error

    @torch.inference_mode()
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Compute features float32 [N, 2048] of images uint8 [N, 3, H, W]."""
        return self.network(images).reshape(len(images), -1).float()


NETWORKS = {network.name: network for network in (EfficientNetLite0, EfficientNetLite2, Inception)}


def load_network(features: str | nn.Module) -> nn.Module:
    """Return a feature network by name, or the given module, which has `num_features` and takes uint8 [N, 3, H, W].

    Raises:
        GenariumError: an unknown name, or a module without `num_features`.
        NotMeasurableError: a package is missing, or weights cannot be fetched.
    """
    if isinstance(features, nn.Module):
        if not isinstance(getattr(features, "num_features", None), int):
            raise GenariumError("A feature network needs an attribute num_features, a whole number.")
        return features.eval()
    if features not in NETWORKS:
        raise GenariumError(f"There is no feature network {features!r}; choose {' or '.join(NETWORKS)}.")
    return NETWORKS[features]()


def extract(
    network: nn.Module, images: torch.Tensor, batch_size: int = 64, description: str | None = None
) -> torch.Tensor:
    """Compute features of many images, on the device of the network.

    Args:
        network: of `load_network`.
        images: uint8 [N, C, H, W] with C 1 or 3. Grey images are repeated over three channels.
        batch_size: images computed at once.
        description: of the progress bar. None shows no bar.

    Returns:
        float32 [N, num_features] on the CPU.
    """
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    parts = []
    for batch in tqdm(images.split(batch_size), desc=description, disable=description is None, leave=False):
        parts.append(network(batch.to(device).expand(-1, 3, -1, -1)).float().cpu())
    return torch.cat(parts) if parts else torch.empty(0, int(network.num_features))  # type: ignore[arg-type]
