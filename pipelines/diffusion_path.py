"""The path and the target of a diffusion network's training, seen from the straight path.

With data z and noise e ~ N(0, I), a network was trained on x_t = signal z + scale e to predict

    flow_matching   signal = 1 - t, scale = t:  v = e - z             Lipman et al. 2023 eq. 22 and 23, Liu et al. 2023 eq. 1
    v_prediction    signal e - scale z                                Salimans and Ho 2022 app. D
    epsilon         e                                                 Ho et al. 2020 eq. 14, Rombach et al. 2022 eq. 2

where the last two have signal = cos(pi t / 2) and scale = sin(pi t / 2), or the discrete schedule of a stock checkpoint, with
signal^2 = alpha_bar and t a timestep. Scaling and schedule only choose the speed and the units along the same curves (Karras
et al. 2022 eq. 4). So samplers keep the state as if the path were straight, and this module translates:

    u = (1 - r) z + r e,   x_t = u / sqrt((1 - r)^2 + r^2),   t such that the ratio of scale to signal is that of r to 1 - r

Papers:
    Ho, Jain, Abbeel: Denoising Diffusion Probabilistic Models, 2020, https://arxiv.org/abs/2006.11239
    Rombach et al.: High-Resolution Image Synthesis with Latent Diffusion Models, 2022, https://arxiv.org/abs/2112.10752
    Salimans, Ho: Progressive Distillation for Fast Sampling of Diffusion Models, 2022, https://arxiv.org/abs/2202.00512
    Lipman et al.: Flow Matching for Generative Modeling, 2023, https://arxiv.org/abs/2210.02747
    Liu, Gong, Liu: Flow Straight and Fast (rectified flow), 2023, https://arxiv.org/abs/2209.03003
    Esser et al.: Scaling Rectified Flow Transformers, 2024, https://arxiv.org/abs/2403.03206 (eq. 19, logit-normal times)
    Karras et al.: Elucidating the Design Space of Diffusion-Based Generative Models, 2022, https://arxiv.org/abs/2206.00364
"""

from __future__ import annotations

import math

import torch

from pipelines.velocity import sample_times

EPSILON_START = 0.99  # of r: at r = 1 a prediction of the noise says nothing of the image


def _column(values: torch.Tensor) -> torch.Tensor:
    """Return [N] as [N, 1, 1, 1]."""
    return values[:, None, None, None]


class DiffusionPath:
    """The path of a network's training.

    Args:
        target: what it predicts: "flow_matching", "v_prediction" or "epsilon".
        alphas_cumprod: alpha_bar at each timestep of a discrete schedule [T]; None: the continuous paths above.
    """

    def __init__(self, target: str, alphas_cumprod: torch.Tensor | None = None):
        self.target, self.alphas_cumprod = target, alphas_cumprod

    @property
    def start(self) -> float:
        """The r at which sampling begins, and encoding ends."""
        last = 1.0 if self.alphas_cumprod is None else self._levels("cpu")[-1].sigmoid().item()
        return min(last, EPSILON_START) if self.target == "epsilon" else last

    # ---- training ----

    def times(self, number: int, generator: torch.Generator | None, device: torch.device) -> torch.Tensor:
        """Draw times for training, logit-normal for straight paths and uniform for the others, float32 [number]."""
        kind = "logit_normal" if self.target == "flow_matching" else "uniform"
        return sample_times(kind, number, generator, device)

    def noised(self, z: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return x_t and the network's target: z and noise [N, c, h, w], t [N] in [0, 1]."""
        t = _column(t)
        if self.target == "flow_matching":
            return (1 - t) * z + t * noise, noise - z
        if self.alphas_cumprod is not None:
            levels = self._levels(t.device)
            place = t.double() * (len(levels) - 1)
            below = place.floor().long().clamp(max=len(levels) - 2)
            level = torch.lerp(levels[below], levels[below + 1], place - below)
            signal, scale = (torch.sigmoid(2 * sign * level).sqrt().float() for sign in (-1, 1))
        else:
            signal, scale = torch.cos(t * math.pi / 2), torch.sin(t * math.pi / 2)
        wanted = noise if self.target == "epsilon" else signal * noise - scale * z
        return signal * z + scale * noise, wanted

    # ---- sampling ----

    def place(self, u: torch.Tensor, r: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]]:
        """Return x_t, t [N] and (signal, scale) of the training's path where the straight one is at u [N, c, h, w], r [N]."""
        signal, scale = _column(1 - r), _column(r)
        if self.target == "flow_matching":
            return u, r, (signal, scale)
        norm = (signal.square() + scale.square()).sqrt()
        return u / norm, self._time(r), (signal / norm, scale / norm)

    def velocity(self, output: torch.Tensor, x: torch.Tensor, rates: tuple[torch.Tensor, ...]) -> torch.Tensor:
        """Return the velocity e - z of the straight path, from the network's output at x_t and (signal, scale) there."""
        signal, scale = rates
        if self.target == "flow_matching":
            return output
        if self.target == "epsilon":
            return output - (x - scale * output) / signal
        return (scale * x + signal * output) - (signal * x - scale * output)

    def _levels(self, device: torch.device | str) -> torch.Tensor:
        """Return log(scale / signal) at each timestep of a discrete schedule, rising, float64 [T]."""
        assert self.alphas_cumprod is not None
        return -0.5 * torch.logit(self.alphas_cumprod.to(device, torch.float64), eps=1e-12)

    def _time(self, r: torch.Tensor) -> torch.Tensor:
        """Return the time [N] in [0, 1] at which the path of the training has this ratio of scale to signal.

        A discrete schedule is interpolated linearly between its timesteps, and ends with its first and its last.
        """
        if self.alphas_cumprod is None:
            return torch.atan2(r, 1 - r) * 2 / math.pi
        levels, level = self._levels(r.device), torch.logit(r.double(), eps=1e-12)
        above = torch.searchsorted(levels, level).clamp(1, len(levels) - 1)
        low, high = levels[above - 1], levels[above]
        place = above - 1 + ((level - low) / (high - low)).clamp(0, 1)
        return (place / (len(levels) - 1)).float()
