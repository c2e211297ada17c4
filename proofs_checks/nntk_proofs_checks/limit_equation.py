"""`limit-equation`: a wide network's training follows the limit equation (E11), at which rate, and because of what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np

from nntk_accelerated import regularization
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, for_its_reason
from nntk_proofs_checks.ensemble import (
    BETAS,
    SEEDS,
    WIDTHS,
    Run,
    Setup,
    collect,
    ensemble,
    kernel,
    standardized,
    suitable_gamma,
    textbook,
    unmet_assumption,
)
from nntk_proofs_checks.initial_networks import WIDTHS as START_WIDTHS
from nntk_proofs_checks.initial_networks import Start, starts
from nntk_proofs_checks.panel import Panel
from nntk_proofs_checks.statistics import Rate, exponent, judge, rate_panel, until_decided
from nntk_reference.arithmetic import Array

__all__ = ["CLAIM"]

_STEPS = 3
_APART = 0.4
"""Chosen: the exponent of the kernel's part, squared, is told from exponents so far away."""

_STARTS = {Effort.QUICK: (150, 300, 600, 1200), Effort.DEFAULT: (1800, 3600), Effort.FULL: (4800, 9600)}
"""Networks before training, of the largest width, and how many there may be, as `SEEDS`."""


def _trajectory(B: Array, gamma: float, y: Array, start: Array) -> Array:
    """(E11) with the kernel B and α = 1, (T+1, M)."""
    operator = np.linalg.solve(B + gamma * np.eye(len(B)), B)
    path = [start]
    for _ in range(_STEPS):
        path.append(path[-1] + operator @ (y - path[-1]))
    return np.array(path)


def _sup(difference: Array) -> float:
    """The largest over t of the root mean square over the points."""
    return float(np.sqrt((difference**2).mean(axis=1)).max())


def _against_limit(problem: Problem, gamma: float) -> Callable[[Run], float]:
    """The largest over t of |f_t - f*_t|, f* from the network's own f₀."""
    B = kernel(problem)
    return lambda run: _sup(run.outputs - _trajectory(B, gamma, problem.y, run.outputs[0]))


_STEP = 1e-30
"""Of a derivative, along the imaginary axis: it is right to rounding, since nothing is subtracted."""


def _beyond(B: Array, gamma: float, y: Array, run: Run) -> Array:
    """f_t - f*_t (T+1, M) without the derivative of f* along B̄ᴺ - B̄, which has mean 0 and the order N^(-1/2)."""
    path = _trajectory(B + 1j * _STEP * (run.kernel - B), gamma, y, run.outputs[0])
    difference: Array = run.outputs - path.real - path.imag / _STEP
    return difference


def _distances(problem: Problem, setup: Setup) -> list[Array]:
    """How far the networks are from (E11), but for the kernel's part, by width."""
    B, gamma = kernel(problem), suitable_gamma(problem, setup)
    return collect(ensemble(problem, setup), lambda run: _sup(_beyond(B, gamma, problem.y, run)))


def _followed(setup: Setup, distances: list[Array], looks: int = 1) -> Rate:
    """Does the network follow (E11) at the rate N^-(1-β)?"""
    bound = setup.beta - 1
    what = f"f - f* but for the kernel's part, β = {setup.beta}"
    return Rate(what, exponent(setup.widths, distances, looks=looks), "≲", bound, (bound / 2,))


def _kernel_part(problem: Problem, columns: list[list[Start]], gamma: float) -> list[Array]:
    """Squares of the distance that B̄ᴺ in place of B̄ makes, both from 0. B̄ᴺ does not depend on β: every network will do."""
    zero = np.zeros_like(problem.y)
    target = _trajectory(kernel(problem), gamma, problem.y, zero)
    return [np.array([_sup(_trajectory(s.kernel, gamma, problem.y, zero) - target) ** 2 for s in column]) for column in columns]


def _initial_part(columns: list[list[Start]], looks: int) -> Rate:
    """The exponent of f₀² N^(2β-1), over all β together."""
    squares = [
        np.array([(s.outputs**2).mean() / regularization(1.0, N, s.beta) for s in column])
        for N, column in zip(START_WIDTHS, columns, strict=True)
    ]
    slowest = 2 * min(BETAS) - 1  # what f₀² would have to lose for it not to vanish
    return Rate("initial output, f₀² N^(2β-1)", exponent(START_WIDTHS, squares, of="mean", looks=looks), "≲", 0.0, (slowest,))


def _setup(beta: float, effort: Effort, seeds: int) -> Setup:
    return Setup(beta, WIDTHS[effort], seeds, steps=_STEPS, features=True)  # shared with `linearization`


def _before_training(problem: Problem, effort: Effort, runs: int, looks: int) -> tuple[list[Rate], int]:
    """The two parts that are there from the start: |f₀|, and what B̄ᴺ in place of B̄ makes of the limit equation; cases."""
    columns = starts(problem, runs)
    rates = [_initial_part(columns, looks)]
    for beta in BETAS:
        squares = _kernel_part(problem, columns, suitable_gamma(problem, _setup(beta, effort, 0)))
        by_kernel = exponent(START_WIDTHS, squares, of="mean", looks=looks)
        rates.append(Rate(f"kernel's part, squared, β = {beta}", by_kernel, "≈", -1.0, (-1 - _APART, -1 + _APART)))
    return rates, sum(map(len, columns))


def _while_training(problem: Problem, effort: Effort, beta: float, seeds: int, looks: int) -> tuple[list[Rate], Panel]:
    """The distance to (E11) but for the kernel's part, and its nonlinear part."""
    setup, bound, widths = _setup(beta, effort, seeds), beta - 1, WIDTHS[effort]
    runs, distances = ensemble(problem, setup), _distances(problem, setup)
    own = collect(runs, lambda run: _sup(run.outputs - run.linear))
    rates = [
        _followed(setup, distances, looks),
        Rate(f"nonlinear part, β = {beta}", exponent(widths, own, looks=looks), "≲", bound, (bound / 2,)),
    ]
    curves = [
        (
            "f - f* from the same f₀",
            collect(runs, _against_limit(problem, suitable_gamma(problem, setup))),
            max(2 * bound, -0.5),
        ),
        ("f - f* but for the kernel's part", distances, 2 * bound),
        ("f - own linear dynamics", own, 2 * bound),
    ]
    return rates, rate_panel(f"Distance, sup over {_STEPS} steps, β = {beta}", "root mean square", widths, curves)


def check(problem: Problem, effort: Effort) -> Finding:
    """The distance to (E11), and its three parts, whose norms bound it, each with its own power of N."""
    missing = unmet_assumption(problem)
    if missing:
        return missing
    problem, panels = standardized(problem), []
    rates, cases, _ = until_decided(_STARTS[effort], partial(_before_training, problem, effort))
    for beta in BETAS:
        found, panel, seeds = until_decided(SEEDS[effort], partial(_while_training, problem, effort, beta))
        rates += found
        panels.append(panel)
        cases += len(WIDTHS[effort]) * seeds
    return judge(rates, cases, tuple(panels))


def _scaled(problem: Problem, scaling: Literal["width", "fixed"]) -> Finding:
    """Do networks follow (E11) where γ scales with the width as (E5), or not at all?"""

    def measure(seeds: int, looks: int) -> tuple[list[Rate], int]:
        setup = replace(_setup(BETAS[0], Effort.QUICK, seeds), scaling=scaling)
        return [_followed(setup, _distances(problem, setup), looks)], sum(setup.counts)

    rates, cases, _ = until_decided(SEEDS[Effort.QUICK], measure)
    return judge(rates, cases)


def control(problem: Problem, effort: Effort) -> Finding:
    """Damping that does not scale with the width, γ_N = γ: the network hardly moves and stays away from the limit equation.

    Refuted only if networks follow it where γ does scale.
    """
    return for_its_reason(_scaled(textbook(problem), "fixed"), _scaled(textbook(problem), "width"))


CLAIM = Claim(
    id="limit-equation",
    statement="sup over t of |f_t - f*_t| → 0 in probability. It is at most the sum of a nonlinear part O(N^-(1-β)), of the "
    "effect of the kernel's fluctuation N^(-1/2), and of |f₀| = O(N^-(β-1/2)): f follows (E11) and no other equation",
    assumptions="1/2 < β < 1, γ_N = γ N^(1-2β) (E5), α = 1, finitely many steps",
    evidence=Evidence.MEASURED,
    check=check,
    control=control,
    control_reason="without the width in γ_N (E5) the damping outweighs the NTK, which falls like N^(1-2β)",
)
