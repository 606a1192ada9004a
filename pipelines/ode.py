"""Solvers of dy/dt = f(y, t) for a batch in which no sample depends on the others.

A field is called as f(y, t, rows): y [n, ...], t [n] of y's type, and rows, int64 [n], the places of these samples in the
whole batch. A solver that gives each sample steps of its own asks for some of them only.

Papers:
    Runge: Ueber die numerische Aufloesung von Differentialgleichungen, 1895 (the midpoint rule)
    Dormand, Prince: A Family of Embedded Runge-Kutta Formulae, 1980
    Hairer, Norsett, Wanner: Solving Ordinary Differential Equations I, sec. II.4 (control of the step size)
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Callable

import torch

Field = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def midpoint(f: Field, y: torch.Tensor, times: list[float], report: Callable) -> torch.Tensor:
    """Solve by the explicit midpoint rule from time to time.

    Args:
        f: the field.
        y: [N, ...] at times[0].
        times: rising or falling.
        report: called as (step, t, y, dy/dt) with where the step began.

    Returns:
        y at times[-1].
    """
    rows = torch.arange(len(y), device=y.device)
    for i, (start, end) in enumerate(itertools.pairwise(times)):
        t = y.new_full((len(y),), start)
        slope = f(y, t, rows)
        middle = f(y + (end - start) / 2 * slope, t + (end - start) / 2, rows)
        report(i, t, y, slope)
        y = y + (end - start) * middle
    return y


# Butcher's tableau of Dormand and Prince 1980 (table 2, RK5(4)7M). The last row of stages is the fifth-order solution,
# which the next step begins with. The errors are its difference from the embedded fourth-order solution.
DORMAND_PRINCE_NODES = (0, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1)
DORMAND_PRINCE_STAGES = (
    (),
    (1 / 5,),
    (3 / 40, 9 / 40),
    (44 / 45, -56 / 15, 32 / 9),
    (19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729),
    (9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656),
    (35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84),
)
DORMAND_PRINCE_ERROR = (71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40)


def _weighted(weights: tuple[float, ...], slopes: list[torch.Tensor]) -> torch.Tensor:
    terms = (weight * slope for weight, slope in zip(weights, slopes, strict=True) if weight)
    return functools.reduce(operator.add, terms)


def dormand_prince(
    f: Field,
    y: torch.Tensor,
    start: float,
    end: float,
    tolerance: float,
    report: Callable,
    shortest: float = 1e-3,
    growth: float = 10.0,
    scale: Callable[[torch.Tensor], torch.Tensor] = lambda size: size.clamp(min=1),
) -> torch.Tensor:
    """Solve by the adaptive Runge-Kutta method of order 5(4), RK45, with a time, a step and an error for each sample.

    One step size for the whole batch, as in `scipy.integrate.solve_ivp`, would let samples depend on each other.

    Args:
        f: the field. It gets its times in y's type.
        y: [N, ...] at `start`.
        start, end: times, rising or falling.
        tolerance: of the error of a step, as a root mean square over a sample's entries, in units of `scale`.
        report: called after each round as (part, t, y, dy/dt): the part of the way that the slowest sample has gone, in
            [0, 1], and all samples' times [N], states and slopes.
        shortest: part of the way that a step is at least. A step as short is taken whatever its error, so that the
            rounding of a network in half precision cannot hold up the solver.
        growth: limit of the ratio of a step to the one before.
        scale: unit of the error, from the larger one of |y| before and after the step.

    Returns:
        y at `end`.
    """

    def column(values: torch.Tensor) -> torch.Tensor:
        return values.to(y.dtype).reshape(-1, *[1] * (y.ndim - 1))

    span, direction = abs(end - start), math.copysign(1.0, end - start)
    gone = torch.zeros(len(y), dtype=torch.float64, device=y.device)  # of the span
    steps = torch.full_like(gone, span / 20)
    rows = torch.arange(len(y), device=y.device)
    y = y.clone()
    slopes = f(y, (start + direction * gone).to(y.dtype), rows)
    while len(rows):
        rest = span - gone[rows]
        h = torch.minimum(steps[rows], rest)
        last = h >= rest
        y0, h_y, k = y[rows], column(direction * h), [slopes[rows]]
        for node, weights in zip(DORMAND_PRINCE_NODES[1:], DORMAND_PRINCE_STAGES[1:], strict=True):
            y1 = y0 + h_y * _weighted(weights, k)
            k.append(f(y1, (start + direction * (gone[rows] + node * h)).to(y.dtype), rows))
        error = h_y * _weighted(DORMAND_PRINCE_ERROR, k)
        unit = tolerance * scale(torch.maximum(y0.abs(), y1.abs()))
        norm = (error / unit).square().flatten(1).mean(1).sqrt().double()
        taken = (norm <= 1) | (h <= shortest * span)
        moved = rows[taken]
        y[moved], slopes[moved] = y1[taken], k[-1][taken]
        gone[moved] = torch.where(last, span, gone[rows] + h)[taken]
        steps[rows] = (h * (0.9 * norm.clamp(min=1e-10) ** -0.2).clamp(0.2, growth)).clamp(min=shortest * span)
        rows = rows[~(taken & last)]
        report(float(gone.min() / span), (start + direction * gone).to(y.dtype), y, slopes)
    return y


def reported_in_parts(report: Callable, number: int) -> Callable:
    """Return a report for `dormand_prince` that passes on each of `number` equal parts of the way once.

    An adaptive solver cannot know its number of steps beforehand.

    Args:
        report: called as (part, t, y, dy/dt), part being 0 ... number - 1.
    """
    done = 0

    def parts(part: float, *state: torch.Tensor) -> None:
        nonlocal done
        while done < number and part >= (done + 1) / number * (1 - 1e-9):
            report(done, *state)
            done += 1

    return parts


def check_strength(strength: float) -> None:
    """Refuse a part of the way into noise that is none.

    Raises:
        ValueError: it does not lie in (0, 1].
    """
    if not 0 < strength <= 1:
        raise ValueError(f"strength: must lie above 0 and not above 1, not {strength}.")
