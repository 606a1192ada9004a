"""What the flows of pictures share: the spline in front, the classes, and the two ways through the network."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

import torch
from diffusers import ConfigMixin, ModelMixin

from pipelines.flow_layers import EdgeSpline, known_labels

# called after each step of the way back as (step, function that returns the numbers so far as a picture [N, C, S, S])
AfterStep = Callable[[int, Callable[[], torch.Tensor]], None]


class PictureFlow(ModelMixin, ConfigMixin):
    """An invertible network between pictures x and noise z, both [N, C, S, S], conditional on a class or on none.

    A subclass has `num_classes` in its configuration, sets `spline`, and writes the way there and back behind the spline.
    """

    spline: EdgeSpline | None

    @property
    @abstractmethod
    def number_of_steps(self) -> int:
        """How often `inverse` calls `after_step`."""

    @abstractmethod
    def _forward(self, x: torch.Tensor, labels: torch.Tensor | None) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return z and the maps of the log-determinant, each [N, C, S, S], of x float32 and labels as `known_labels` gives them."""

    @abstractmethod
    def _inverse(
        self, z: torch.Tensor, labels: torch.Tensor | None, guidance_scale: float, after_step: AfterStep
    ) -> torch.Tensor:
        """Return x of z, both float32."""

    def forward(self, x: torch.Tensor, labels: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Return z [N, C, S, S] and the maps [K, N, C, S, S] of K layers.

        The sum of the maps over all but N is the log-determinant.

        Args:
            x: [N, C, S, S].
            labels: int64 [N]; negative numbers, and None, mean "no class".
        """
        labels = known_labels(labels, len(x), self.config.num_classes, x.device)
        if self.spline is None:
            z, maps = self._forward(x.float(), labels)
            return z, torch.stack(maps)
        x, log_slope = self.spline(x)
        z, maps = self._forward(x, labels)
        return z, torch.stack([log_slope, *maps])

    @torch.no_grad()
    def inverse(
        self,
        z: torch.Tensor,
        labels: torch.Tensor | None = None,
        guidance_scale: float = 1.0,
        after_step: AfterStep = lambda step, picture: None,
    ) -> torch.Tensor:
        """Return x of z, both [N, C, S, S].

        Args:
            labels: as in `forward`.
            guidance_scale: see `guided_affine`; 1 is the model itself.
            after_step: called as (step, function that returns the picture so far), `number_of_steps` times.
        """
        labels = known_labels(labels, len(z), self.config.num_classes, z.device)

        def finished(x: torch.Tensor) -> torch.Tensor:
            return x if self.spline is None else self.spline.inverse(x)

        def after(step: int, picture: Callable[[], torch.Tensor]) -> None:
            after_step(step, lambda: finished(picture()))

        return finished(self._inverse(z.float(), labels, guidance_scale, after))
