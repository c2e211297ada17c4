"""`one-step`: as γ → 0, one Newton step in the limit reaches the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from flint import arb

from nntk_proofs_checks.certify import (
    BALLS,
    GRIDS,
    Comparison,
    at_rising_precision,
    conclude,
    curve,
    limit_spectrum_at,
    norm,
    proved_spectrum,
    settle,
    unit_interval,
    unmet_assumption,
)
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem
from nntk_proofs_checks.panel import Panel
from nntk_proofs_checks.trials import trials
from nntk_proofs_checks.tried import ACTIVATION, with_limit_kernel
from nntk_reference import PrecisionError, Verdict, formulas
from nntk_reference.arithmetic import Array
from nntk_reference.linalg import enclose_eigenvalues, symmetric_solve

__all__ = ["CLAIM"]

_EXPONENTS = (1, 3, 6, 12)  # γ = λ_min 10^-j
_CONTROL_EXPONENT = 6  # one γ will do: what is left does not depend on it
_ROOM = arb(2) ** -20  # on either side of the bound, which is attained: equality has no proof
_BEYOND = 60 + 28  # bits: log2(1e12) for the last γ, 20 for the room, and what elimination loses by rounding


def _one_step(kernel: Array, gamma: arb, target: Array) -> Array:
    """f*₁ = B̄(γI + B̄)⁻¹y, after one step with α = 1 from f*₀ = 0 (E10, E11); a column for each y.

    Not from y - f*₁ = γ(γI + B̄)⁻¹y, which needs less precision but would take the solver's word for the damping.
    """
    solved, _ = symmetric_solve(BALLS, formulas.add_diagonal(kernel, gamma), target)
    reached: Array = kernel @ solved
    return reached


def _left_over(kernel: Array, y: Array, gamma: arb) -> arb:
    """|f*₁ - y|/|y|."""
    target = BALLS.array(y)
    return norm(target - _one_step(kernel, gamma, target)) / norm(target)


def _most_left_over(kernel: Array, gamma: arb) -> arb:
    """The norm of I - 𝓑*, which the slowest mode attains."""
    reached = _one_step(kernel, gamma, BALLS.array(np.eye(len(kernel))))
    largest: arb = enclose_eigenvalues(formulas.add_diagonal(-(reached + reached.T) / 2, arb(1)))[0]
    return largest


def _bound(gamma: arb, smallest: arb) -> arb:
    """γ/(γ + λ_min)."""
    return gamma / (gamma + smallest)


def _comparisons(problem: Problem, activation: str, place: str, bits: int) -> list[Comparison]:
    """For each γ what is left of the data's y, and of the worst, which attains the bound."""
    spectrum = limit_spectrum_at(problem.X, activation, bits)
    out = []
    for j in _EXPONENTS:
        gamma = (spectrum.smallest * arb(10) ** -j).mid()
        left = _left_over(spectrum.kernel, problem.y, gamma)
        bound = _bound(gamma, spectrum.smallest)
        limit = bound * (1 + _ROOM)
        where = f"{activation}, {place}, γ = λ_min·1e-{j}"
        out.append(Comparison(f"|f₁ - y|/|y|, {where}", left, "≤", limit, shown=j == _EXPONENTS[-1]))
        what = f"largest |f₁ - y|/|y| over all y, {where}"
        most = _most_left_over(spectrum.kernel, gamma)
        out.append(Comparison(what, most, "≤", limit, shown=False))
        out.append(Comparison(f"{what}, which is attained", most, "≥", bound * (1 - _ROOM), shown=False))
    return out


def _enough(problem: Problem, activation: str) -> int:
    """Bits that should decide: a guess. Raises NotProved where λ_min has no proved sign."""
    magnitude = -float(proved_spectrum(problem.X, activation).smallest.log()) / math.log(2)
    # elimination takes up to a quarter more than the bits of λ_min
    return 16 * math.ceil((_BEYOND + 1.25 * max(0.0, magnitude)) / 16)


def _settled(problem: Problem, activation: str, place: str) -> Sequence[Comparison]:
    attempt = partial(_comparisons, problem, activation, place)
    try:
        return settle(attempt, _enough(problem, activation))
    except PrecisionError:  # the guess is beyond what can be had, and less may do
        return settle(attempt)


def _limit_check(problem: Problem, effort: Effort) -> Finding:
    """|f*₁ - y|/|y| ≤ γ/(γ + λ_min) for γ/λ_min from 1e-1 to 1e-12, for the y of the data and for the worst one."""
    unmet = unmet_assumption(problem, effort)
    if unmet:
        return unmet
    places = {"the data": problem} | {f"{M} points of [0, 1]": unit_interval(M) for M in GRIDS[effort]}
    names = with_limit_kernel(effort)
    cases = trials(_settled, [(data, name, place) for name in names for place, data in places.items()])
    comparisons = [c for case in cases for c in case]
    finding = conclude(comparisons, len(comparisons), "what one step leaves falls with γ")
    return replace(finding, panels=(_panel(f"one step in the limit, {names[0]}", cases[0]),))


def _panel(title: str, comparisons: Sequence[Comparison]) -> Panel:
    data, worst = comparisons[::3], comparisons[1::3]
    x = [10.0**-j for j in _EXPONENTS]
    series = (
        curve("the data's y", x, [c.number for c in data]),
        curve("the worst y", x, [c.number for c in worst], colour=1),
        curve("γ/(γ + λ_min)", x, [c.limit for c in data], style="dashed"),
    )
    return Panel(title, "γ/λ_min", "|f*₁ - y|/|y|", series, log="xy")


def _one_input_twice(problem: Problem, apart: float, bits: int) -> Finding:
    """The bound where the first input comes once more, with targets `apart`; λ_min is that of the M distinct inputs.

    A copy of an input adds an eigenvalue 0, and leaves the others at least M/(M+1) of what they were.
    """
    M = len(problem.X)
    once_more = np.append(np.arange(M), 0)
    spectrum = limit_spectrum_at(problem.X, ACTIVATION, bits)
    kernel = spectrum.kernel[np.ix_(once_more, once_more)] * M / (M + 1)  # the limit NTK of the M + 1 points
    gamma = (spectrum.smallest * arb(10) ** -_CONTROL_EXPONENT).mid()
    left = _left_over(kernel, np.append(problem.y, problem.y[0] + apart), gamma)
    what = f"|f₁ - y|/|y|, {ACTIVATION}, one input twice, targets {apart:g} apart, γ = λ_min·1e-{_CONTROL_EXPONENT}"
    comparison = Comparison(what, left, "≤", _bound(gamma, spectrum.smallest * M / (M + 1)))
    return conclude([comparison], 1, "one step reaches both targets at one input")


def _limit_control(problem: Problem, effort: Effort) -> Finding:
    """One input twice, with targets max|y| apart: at least 1/√2 of the difference is left, whatever γ.

    Refuted counts only if with the same target twice the bound holds.
    """
    unmet = unmet_assumption(problem, effort)
    if unmet:
        return unmet

    unequal = at_rising_precision(partial(_one_input_twice, problem, float(np.abs(problem.y).max())))
    if unequal.verdict is not Verdict.REFUTED:
        return unequal
    equal = at_rising_precision(partial(_one_input_twice, problem, 0.0))
    if equal.verdict is Verdict.HOLDS:
        return unequal
    return Finding.undecided(f"{unequal.why}; but not for the reason stated: {equal.why}", cases=1)


CLAIM = Claim(
    id="one-step",
    statement="with α = 1, |f*₁ - y| ≤ γ/(γ + λ_min) |f*₀ - y|, with equality for some f*₀: as γ → 0 one step reaches the data",
    assumptions="distinct inputs; infinite width",
    evidence=Evidence.CERTIFIED,
    check=_limit_check,
    control=_limit_control,
    control_reason="two equal inputs with unequal targets: no function takes both values",
)
