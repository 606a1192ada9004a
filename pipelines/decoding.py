"""Drawing codes or tokens from the distributions that a network gives, in order or by filling masks.

Papers:
    Chang et al.: MaskGIT: Masked Generative Image Transformer, 2022, https://arxiv.org/abs/2202.04200
    Fan, Lewis, Dauphin: Hierarchical Neural Story Generation, 2018, https://arxiv.org/abs/1805.04833 (top-k)
    Holtzman et al.: The Curious Case of Neural Text Degeneration, 2020, https://arxiv.org/abs/1904.09751 (top-p)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


def truncate(logits: torch.Tensor, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0) -> torch.Tensor:
    """Return log-probabilities [..., K] of softmax(logits / temperature) with the unlikely ones at -inf, not normalised again.

    Args:
        logits: [..., K].
        temperature: 0 leaves the most likely one only.
        top_k: keep that many of the likeliest (Fan et al. 2018); 0: all.
        top_p: keep the fewest of the likeliest that have this probability together (Holtzman et al. 2020 eq. 2, 3).
    """
    if temperature == 0:
        temperature, top_k = 1.0, 1
    log_p = (logits / temperature).log_softmax(-1)
    if not top_k and top_p >= 1:
        return log_p
    ordered, order = log_p.sort(dim=-1, descending=True)
    before = ordered.exp().cumsum(-1) - ordered.exp()  # probability of those that are likelier
    keep = (before < top_p) | (torch.arange(logits.shape[-1], device=logits.device) == 0)
    if top_k:
        keep &= torch.arange(logits.shape[-1], device=logits.device) < top_k
    keep = torch.zeros_like(keep).scatter(-1, order, keep)
    return log_p.masked_fill(~keep, -torch.inf)


def draw(log_p: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """Draw codes by the inverse of the distribution function.

    Args:
        log_p: log-probabilities [..., K], normalised or not.
        uniform: numbers [...] in (0, 1).

    Returns:
        int64 [...].
    """
    cumulative = log_p.double().exp().cumsum(-1)
    return (cumulative <= uniform.double()[..., None] * cumulative[..., -1:]).sum(-1).clamp(max=log_p.shape[-1] - 1)


def masked_share(r: torch.Tensor | float) -> Any:
    """Return the share of the codes that is masked at r in [0, 1], cos(pi r / 2) (MaskGIT, "Masking Design")."""
    return torch.cos(r * math.pi / 2) if isinstance(r, torch.Tensor) else math.cos(r * math.pi / 2)


def random_masks(number: torch.Tensor, size: int, generator: torch.Generator | None) -> torch.Tensor:
    """Return masks, bool [N, size], of `number` int64 [N] places each, chosen at random."""
    order = torch.rand(len(number), size, generator=generator, device=number.device).argsort(1).argsort(1)
    return order < number[:, None]


@dataclass(frozen=True)
class Choice:
    """The parameters of `truncate`, by which codes are drawn from logits."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0

    def draw(self, logits: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
        """Draw codes int64 [...] from logits [..., K] by uniform numbers [...] in (0, 1)."""
        return draw(truncate(logits, self.temperature, self.top_k, self.top_p), uniform)


def fill_masks(
    network: Callable[[torch.Tensor], torch.Tensor],
    codes: torch.Tensor,
    mask_code: int,
    uniform: Callable[[], torch.Tensor],
    num_inference_steps: int,
    choice: Choice,
    choice_temperature: float,
    on_step: Callable[[int, int, torch.Tensor, torch.Tensor], None],
) -> torch.Tensor:
    """Draw the masked ones of codes, many at a time (MaskGIT, "Iterative Decoding").

    Each step draws every masked code, keeps those that the network is surest of, and masks the others again:
    floor(cos(pi t / 2 T) n) of the n masks at first remain. Confidence is the log-probability of what was drawn, plus
    Gumbel noise that falls linearly to nothing (as in MaskGIT's code). Without the noise, maps would fill with the most
    common code first.

    Args:
        network: takes codes [N, T] and returns logits [N, T, K].
        codes: int64 [N, T], of which some are `mask_code`.
        uniform: draws numbers [N, T] in (0, 1).
        num_inference_steps: steps, at most as many as there are masks.
        choice: how codes are drawn.
        choice_temperature: factor of the Gumbel noise.
        on_step: called as (step, number of steps, codes drawn so far [N, T], which of them stay [N, T]).

    Returns:
        int64 [N, T].
    """
    unknown = codes == mask_code  # [N, T]
    number = unknown.sum(1)  # [N]
    steps = max(1, min(num_inference_steps, int(number.max())))
    for i in range(steps):
        logits = network(codes)  # [N, T, K]
        drawn = torch.where(unknown, choice.draw(logits, uniform()), codes)
        left = 1 - (i + 1) / steps
        gumbel = -(-uniform().log()).log()
        sure = logits.log_softmax(-1).gather(-1, drawn[..., None])[..., 0] + choice_temperature * left * gumbel
        rank = sure.masked_fill(~unknown, torch.inf).argsort(1).argsort(1)
        remaining = (number * masked_share((i + 1) / steps) + 1e-6).floor().long()
        remaining = torch.minimum(remaining, (unknown.sum(1) - 1).clamp(min=0))  # every step decides something
        unknown = rank < remaining[:, None]
        codes = torch.where(unknown, mask_code, drawn)
        on_step(i, steps, drawn, ~unknown)
    return codes


def draw_in_order(
    network: Callable[[torch.Tensor], torch.Tensor],
    uniform: torch.Tensor,
    choice: Choice,
    on_step: Callable[[int, torch.Tensor], None],
) -> torch.Tensor:
    """Draw codes one after another, each given those before.

    Args:
        network: takes the last code drawn [N, 1], or [N, 0] at first, and returns the logits of the next one [N, K].
        uniform: numbers [N, T] in (0, 1), one for each code.
        choice: how codes are drawn.
        on_step: called as (place, codes so far [N, place + 1]).

    Returns:
        int64 [N, T].
    """
    codes = torch.zeros(len(uniform), 0, dtype=torch.int64, device=uniform.device)
    for i in range(uniform.shape[1]):
        codes = torch.cat([codes, choice.draw(network(codes[:, -1:]), uniform[:, i])[:, None]], dim=1)
        on_step(i, codes)
    return codes
