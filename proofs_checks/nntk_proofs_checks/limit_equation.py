"""`limit-equation`: a wide network's training follows the limit equation (E11), at which rate, and because of what."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nntk_accelerated import regularization
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, together
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
from nntk_proofs_checks.panel import Panel, Series
from nntk_proofs_checks.statistics import Rate, exceedance, exponent, judge, rate_panel
from nntk_reference.arithmetic import Array

__all__ = ["CLAIM"]

_STEPS = 3
_STARTS = {Effort.QUICK: 300, Effort.DEFAULT: 1200, Effort.FULL: 4800}


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
    B = kernel(problem)
    return lambda run: _sup(run.outputs - _trajectory(B, gamma, problem.y, run.outputs[0]))


def _kernel_part(problem: Problem, columns: list[list[Start]], gamma: float) -> list[Array]:
    """Squares of the distance that B̄ᴺ in place of B̄ makes, both from 0. B̄ᴺ does not depend on β: every network will do."""
    zero = np.zeros_like(problem.y)
    target = _trajectory(kernel(problem), gamma, problem.y, zero)
    return [np.array([_sup(_trajectory(s.kernel, gamma, problem.y, zero) - target) ** 2 for s in column]) for column in columns]


def _initial_part(columns: list[list[Start]]) -> Rate:
    """The exponent of f₀² N^(2β-1), over all β together."""
    squares = [
        np.array([(s.outputs**2).mean() / regularization(1.0, N, s.beta) for s in column])
        for N, column in zip(START_WIDTHS, columns, strict=True)
    ]
    slowest = 2 * min(BETAS) - 1  # what f₀² would have to lose for it not to vanish
    return Rate("initial output, f₀² N^(2β-1)", exponent(START_WIDTHS, squares, of="mean"), "≲", 0.0, (slowest,))


def _in_probability(widths: Sequence[int], distances: Sequence[Array]) -> tuple[Finding, Series]:
    """How often the distance exceeds its median at the first width, at the last; with the frequencies at all."""
    verdict, series, why = exceedance(widths, distances)
    cases = sum(map(len, distances))
    if not series.y:
        return Finding.undecided(why, cases=cases), series
    return Finding(verdict, series.y[-1], "<", series.y[0], cases, why), series


def check(problem: Problem, effort: Effort) -> Finding:
    """Three parts of f_t - f*_t, whose norms bound it, each with its own power of N; and convergence in probability."""
    missing = unmet_assumption(problem)
    if missing:
        return missing
    problem, widths = standardized(problem), WIDTHS[effort]
    columns = starts(problem, _STARTS[effort])
    rates, panels = [_initial_part(columns)], []
    frequencies: list[Series] = []
    parts: dict[str, Finding] = {}
    for beta in BETAS:
        setup = Setup(beta, widths, SEEDS[effort], steps=_STEPS, features=True)  # shared with `linearization`
        gamma, runs = suitable_gamma(problem, setup), ensemble(problem, setup)
        own = collect(runs, lambda run: _sup(run.outputs - run.linear))
        total = collect(runs, _against_limit(problem, gamma))
        by_kernel = exponent(START_WIDTHS, _kernel_part(problem, columns, gamma), of="mean")
        bound = beta - 1
        rates += [
            Rate(f"nonlinear part, β = {beta}", exponent(widths, own), "≲", bound, (bound / 2,)),
            Rate(f"kernel's part, squared, β = {beta}", by_kernel, "≈", -1.0, (-1.4, -0.6)),
        ]
        parts[f"in probability, β = {beta}"], series = _in_probability(widths, total)
        frequencies.append(Series(f"β = {beta}", series.x, series.y, style="line", colour=len(frequencies)))
        curves = [("f - own linear dynamics", own, 2 * bound), ("f - f* from the same f₀", total, max(2 * bound, -0.5))]
        panels.append(rate_panel(f"Distance, sup over {_STEPS} steps, β = {beta}", "root mean square", widths, curves))
    title = "How often the distance exceeds its median at the first width"
    panels.append(Panel(title, "width N", "frequency", tuple(frequencies), log="x", base=2))
    networks = len(BETAS) * len(widths) * SEEDS[effort] + sum(map(len, columns))
    return together({"rates": judge(rates, networks, tuple(panels)), **parts})


def control(problem: Problem, effort: Effort) -> Finding:
    """Damping that does not scale with the width, γ_N = γ: the network hardly moves and stays away from the limit equation."""
    problem, widths, beta = textbook(problem), WIDTHS[Effort.QUICK], BETAS[0]
    setup = Setup(beta, widths, 8, steps=_STEPS, scaling="fixed")
    distances = collect(ensemble(problem, setup), _against_limit(problem, suitable_gamma(problem, setup)))
    rate = Rate(f"f - f*, γ_N = γ, β = {beta}", exponent(widths, distances), "≲", beta - 1, ((beta - 1) / 2,))
    return judge([rate], sum(setup.counts))


CLAIM = Claim(
    id="limit-equation",
    statement="sup over t of |f_t - f*_t| → 0 in probability. It is at most the sum of a nonlinear part O(N^-(1-β)), of the "
    "effect of the kernel's fluctuation N^(-1/2), and of |f₀| = O(N^-(β-1/2))",
    assumptions="1/2 < β < 1, γ_N = γ N^(1-2β) (E5), α = 1, finitely many steps",
    evidence=Evidence.MEASURED,
    check=check,
    control=control,
    control_reason="without the width in γ_N (E5) the damping outweighs the NTK, which falls like N^(1-2β)",
)
