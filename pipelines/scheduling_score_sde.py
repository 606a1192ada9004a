"""Noise levels and preconditioning of a score-based model.

    D(y; sigma) = c_skip y + c_out F(c_in y; c_noise)       Karras et al. 2022 eq. 7, F the network

Papers:
    Karras et al.: Elucidating the Design Space of Diffusion-Based Generative Models, 2022, https://arxiv.org/abs/2206.00364
    Song et al.: Score-Based Generative Modeling through Stochastic Differential Equations, 2021,
        https://arxiv.org/abs/2011.13456
    Kingma et al.: Variational Diffusion Models, 2021, https://arxiv.org/abs/2107.00630 (low-variance noise levels)
"""

from __future__ import annotations

import torch
from diffusers import SchedulerMixin
from diffusers.configuration_utils import ConfigMixin, register_to_config

from pipelines.processes import EDM, VE, VP, Process, SubVP


class ScoreSdeScheduler(SchedulerMixin, ConfigMixin):
    """Noise levels, preconditioning and forward processes of a score-based model. It has no state but its configuration.

    Args:
        sigma_data: deviation of the data about 0, in their range [-1, 1].
        sigma_min, sigma_max: the noise levels where sampling ends and begins; VP and sub-VP begin where t = 1 lies.
        rho: spacing of EDM's noise levels (Karras et al. 2022 eq. 5).
        beta_min, beta_max: of VP and sub-VP (Song et al. 2021 app. C).
        log_sigma_mean, log_sigma_std: P_mean and P_std of the training's noise levels (Karras et al. 2022 tab. 1).
        network: what the network gives: "edm", F of Karras et al. 2022 eq. 7; or "score", grad log p itself, of images in
            [0, 1] and asked at the noise level, as in diffusers' ScoreSdeVePipeline.

    Raises:
        ValueError: noise levels that are not 0 < sigma_min < sigma_max, or an unknown kind of network.
    """

    order = 1

    @register_to_config
    def __init__(
        self,
        sigma_data: float = 0.5,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        rho: float = 7.0,
        beta_min: float = 0.1,
        beta_max: float = 20.0,
        log_sigma_mean: float = -1.2,
        log_sigma_std: float = 1.2,
        network: str = "edm",
    ):
        if network not in ("edm", "score"):
            raise ValueError(f"network: choose 'edm' or 'score', not {network!r}.")
        if not 0 < sigma_min < sigma_max:
            raise ValueError(f"sigma_min, sigma_max: need 0 < sigma_min < sigma_max, not {sigma_min} and {sigma_max}.")

    @classmethod
    def adopt(cls, stock: SchedulerMixin) -> ScoreSdeScheduler:
        """Return the noise levels of diffusers' `ScoreSdeVeScheduler`, doubled: images here span [-1, 1], there [0, 1]."""
        return cls(sigma_min=2 * stock.config.sigma_min, sigma_max=2 * stock.config.sigma_max, network="score")

    def preconditioning(self, sigma: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return (c_skip, c_out, c_in, c_noise) of D = c_skip y + c_out F(c_in y; c_noise), Karras et al. 2022 eq. 7, tab. 1.

        Args:
            sigma: any shape, which the four share.
        """
        data = self.config.sigma_data
        total = sigma**2 + data**2
        return data**2 / total, sigma * data / total.sqrt(), 1 / total.sqrt(), sigma.log() / 4

    def loss_weight(self, sigma: torch.Tensor) -> torch.Tensor:
        """Return lambda(sigma) = (sigma^2 + sigma_data^2) / (sigma sigma_data)^2 = 1 / c_out^2 (Karras et al. 2022 tab. 1)."""
        return (sigma**2 + self.config.sigma_data**2) / (sigma * self.config.sigma_data) ** 2

    def training_sigmas(self, num: int, generator: torch.Generator | None, device) -> torch.Tensor:
        """Draw noise levels sigma [num] of a training batch, log sigma ~ N(P_mean, P_std^2).

        The batch takes `num` equally likely slices of the distribution, one draw each, all with one offset: each sigma has
        the distribution of the paper, and the loss less variance (Kingma et al. 2021 app. I.1).
        """
        offset = torch.rand(1, generator=generator, device=device, dtype=torch.float32)
        u = (torch.arange(num, device=device) + offset) / num
        z = torch.special.ndtri(u.clamp(1e-6, 1 - 1e-6))
        return (self.config.log_sigma_mean + self.config.log_sigma_std * z).exp()

    def process(self, name: str) -> Process:
        """Return a forward process by its name.

        Raises:
            ValueError: an unknown name.
        """
        c = self.config
        if name == "edm":
            return EDM(c.sigma_min, c.sigma_max, c.rho)
        if name == "ve":
            return VE(c.sigma_min, c.sigma_max)
        if name == "vp":
            return VP(c.sigma_min, c.beta_min, c.beta_max)
        if name == "sub-vp":
            return SubVP(c.sigma_min, c.beta_min, c.beta_max)
        raise ValueError(f"process: choose 'edm', 've', 'vp' or 'sub-vp', not {name!r}.")

    def levels(self, num: int, sigma_max: float | None = None) -> list[float]:
        """Return `num` falling noise levels from sigma_max to sigma_min, spaced by Karras et al. 2022 eq. 5."""
        return EDM(self.config.sigma_min, sigma_max or self.config.sigma_max, self.config.rho).times(num)
