"""A velocity field between data and noise, on pixels or on latents: its views, times, schedulers, and statistics.

    x_t = (1 - t) x_0 + t x_1,   x_1 ~ N(0, I)        Lipman et al. 2023 eq. 22 (sigma_min = 0), Liu et al. 2023 eq. 1
    v(x_t, t) ~ E[x_1 - x_0 | x_t]                    Lipman et al. 2023 eq. 23, Liu et al. 2023 eq. 1
    x_0 = x - t v,  x_1 = x + (1 - t) v,  score = -x_1 / t          the other views of one velocity

t = 0 is data and t = 1 noise, as in diffusers' FlowMatch schedulers. In the papers time runs the other way.

Papers:
    Lipman et al.: Flow Matching for Generative Modeling, 2023, https://arxiv.org/abs/2210.02747
    Liu, Gong, Liu: Flow Straight and Fast (rectified flow), 2023, https://arxiv.org/abs/2209.03003
    Esser et al.: Scaling Rectified Flow Transformers, 2024, https://arxiv.org/abs/2403.03206 (logit-normal times)
    Karras et al.: Elucidating the Design Space of Diffusion-Based Generative Models, 2022, https://arxiv.org/abs/2206.00364
    Lee, Lin, Fanti: Improving the Training of Rectified Flows, 2024, https://arxiv.org/abs/2405.20320
    Zhao et al.: UniPC, 2023, https://arxiv.org/abs/2302.04867
    Mahmood et al.: Multiscale Score Matching for Out-of-Distribution Detection, 2021, https://arxiv.org/abs/2010.13132
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from diffusers import (
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    SchedulerMixin,
    UniPCMultistepScheduler,
)

View = Literal["x0", "noise", "score"]
ERROR_TIMES = (0.1, 0.3, 0.5, 0.7, 0.9)  # where predicted velocities are compared with true ones
SCORE_TIMES = (0.05, 0.2, 0.5)  # where the noise is measured that the network sees in a clean sample


# ---- the views of one velocity ----


def from_velocity(kind: View, v: torch.Tensor, x: torch.Tensor, t: float | torch.Tensor) -> torch.Tensor:
    """Return what the velocity v at (x, t) says of x_0, of the noise x_1, or of the score grad log p_t(x).

    x_t = (1 - t) x_0 + t x_1 and v = x_1 - x_0 are solved for x_0 and x_1. The score is -E[x_1 | x_t] / t, since x_t given
    x_0 is N((1 - t) x_0, t^2 I).

    Args:
        kind: the view.
        v, x: [N, ...].
        t: in [0, 1], not 0 for "score"; broadcasts against x.

    Raises:
        ValueError: an unknown view.
    """
    if kind == "x0":
        return x - t * v
    if kind == "noise":
        return x + (1 - t) * v
    if kind == "score":
        return -(x + (1 - t) * v) / t
    raise ValueError(f"kind: choose 'x0', 'noise' or 'score', not {kind!r}.")


def to_velocity(kind: View, value: torch.Tensor, x: torch.Tensor, t: float | torch.Tensor) -> torch.Tensor:
    """Return the velocity of which `from_velocity` makes a value. "x0" needs t > 0, "noise" and "score" t < 1.

    Raises:
        ValueError: an unknown view.
    """
    if kind == "x0":
        return (x - value) / t
    if kind == "noise":
        return (value - x) / (1 - t)
    if kind == "score":
        return (-t * value - x) / (1 - t)
    raise ValueError(f"kind: choose 'x0', 'noise' or 'score', not {kind!r}.")


# ---- times ----


def sample_times(kind: str, number: int, generator: torch.Generator | None, device: Any) -> torch.Tensor:
    """Draw the times of a training batch, float32 [number] in (0, 1).

    "uniform" (Lipman et al. 2023), "logit_normal": sigmoid of N(0, 1) (Esser et al. 2024 eq. 19), or "u_shaped": density
    in proportion to e^(4 t) + e^(4 (1 - t)), for students (Lee et al. 2024).

    Raises:
        ValueError: an unknown kind.
    """
    how = {"generator": generator, "device": device, "dtype": torch.float32}
    if kind == "logit_normal":
        return torch.sigmoid(torch.randn(number, **how))
    u = torch.rand(number, **how)
    if kind == "uniform":
        return u
    if kind == "u_shaped":
        t = torch.log1p(u * (math.exp(4) - 1)) / 4  # inverse of the distribution function of e^(4 t)
        return torch.where(torch.rand(number, **how) < 0.5, t, 1 - t)
    raise ValueError(f"time_sampling: choose 'logit_normal', 'uniform' or 'u_shaped', not {kind!r}.")


def falling_times(start: float, number: int) -> np.ndarray:
    """Return `number` times from `start` to start / number in equal steps; one step more would reach 0."""
    return np.linspace(start, start / number, number)


def flow_scheduler(
    sampler: str, config: Mapping[str, Any], num_inference_steps: int, start: float, device: Any
) -> SchedulerMixin:
    """Return a fresh diffusers scheduler that goes from time `start` to 0 in equal steps.

    Args:
        sampler: "euler", "heun", or "unipc": UniPC of order 2.
        config: of a `FlowMatchEulerDiscreteScheduler`.
    """
    if sampler == "unipc":
        options = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "solver_order": 2}
        scheduler = UniPCMultistepScheduler(num_train_timesteps=config["num_train_timesteps"], **options)
        scheduler.set_timesteps(sigmas=falling_times(start, num_inference_steps), device=device)
        # `step` solves for its coefficients in the default dtype.
        scheduler.sigmas = scheduler.sigmas.to(torch.get_default_dtype())
    elif sampler == "euler":
        scheduler = FlowMatchEulerDiscreteScheduler.from_config(config)
        scheduler.set_timesteps(sigmas=falling_times(start, num_inference_steps), device=device)
    else:
        scheduler = FlowMatchHeunDiscreteScheduler.from_config(config)
        # Equal steps, of which the last, to 0, is Euler's (as in Karras et al. 2022 alg. 1). diffusers would correct it by
        # the velocity at t = 0.001, where logit-normal times hardly ever train the network: that adds noise.
        scheduler.sigma_max, scheduler.sigma_min = start, start / num_inference_steps
        scheduler.set_timesteps(num_inference_steps, device=device)
    scheduler.set_begin_index(0)
    return scheduler


# ---- what a velocity field says of a sample ----


def velocity_errors(
    velocity: Callable,
    x: torch.Tensor,
    conditions: Sequence[torch.Tensor | None],
    noise: Callable[[], torch.Tensor],
    report: Callable,
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Measure (v_hat - v)^2 at the ERROR_TIMES, under several conditions at the same x_t.

    Args:
        velocity: called as (x_t, t [N], labels).
        x: float32 [N, C, H, W].
        conditions: labels [N, ...] or None, for each condition.
        noise: called for float32 noise [N, C, H, W], once for each time.
        report: called after each time as (number of the time, time, x_0 as predicted under the last condition).

    Returns:
        (errors [N, T], maps [N, H, W]: mean over the times of (x_0_hat - x_0)^2 = t^2 (v_hat - v)^2), each a list with one
        entry for each condition.
    """
    errors: list[list[torch.Tensor]] = [[] for _ in conditions]
    maps = [torch.zeros_like(x[:, 0]) for _ in conditions]
    for i, time in enumerate(ERROR_TIMES):
        x_1 = noise()
        t = x.new_full((len(x),), time)
        x_t = (1 - time) * x + time * x_1
        for k, labels in enumerate(conditions):
            v = velocity(x_t, t, labels)
            squared = (v - (x_1 - x)).square()  # [N, C, H, W]
            errors[k].append(squared.mean((1, 2, 3)))
            maps[k] = maps[k] + time**2 * squared.mean(1) / len(ERROR_TIMES)
        report(i, time, from_velocity("x0", v, x_t, time))
    return [torch.stack(means, dim=1) for means in errors], maps


def noise_seen(velocity: Callable, x: torch.Tensor) -> list[torch.Tensor]:
    """Return the noise x_1 that the network sees at each of the SCORE_TIMES in (1 - t) x, where there is none.

    -x_1 / t is the score there (Mahmood et al. 2021 measure its norm).

    Args:
        velocity: called as (x_t, t [N], None).
        x: float32 [N, C, H, W].

    Returns:
        [N, C, H, W] for each time.
    """
    seen = []
    for time in SCORE_TIMES:
        x_t = (1 - time) * x
        seen.append(from_velocity("noise", velocity(x_t, x.new_full((len(x),), time), None), x_t, time))
    return seen


def noise_statistics(noise: torch.Tensor) -> list[torch.Tensor]:
    """Return the mean square of noise [N, C, H, W], and its correlations along rows and columns: three [N].

    Of white noise they are about 1, 0 and 0.
    """
    return [
        noise.square().mean((1, 2, 3)),
        (noise[..., 1:] * noise[..., :-1]).mean((1, 2, 3)),
        (noise[..., 1:, :] * noise[..., :-1, :]).mean((1, 2, 3)),
    ]
