"""`initial-fluctuations`: how far a network is from the limit before training: (E19) and (E20) with their constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from nntk_accelerated import regularization
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, for_its_reason, together, unmet
from nntk_proofs_checks.ensemble import BETAS, kernel, standardized
from nntk_proofs_checks.initial_networks import WIDTHS, Start, starts
from nntk_proofs_checks.statistics import Rate, exponent, judge, mean, rate_panel, until_decided
from nntk_proofs_checks.tried import ACTIVATION, LAW
from nntk_reference import Verdict, activation
from nntk_reference.arithmetic import FLOAT64, Array

__all__ = ["CLAIM", "constants"]

_RUNS = {Effort.QUICK: (150, 300, 600, 1200), Effort.DEFAULT: (1800, 3600), Effort.FULL: (4800, 9600, 19200)}
"""Networks of the largest width, shared among the β, and how many there may be where an interval is too wide to decide."""

_RESOLVED = {Effort.QUICK: 2.0, Effort.DEFAULT: 1.1, Effort.FULL: 1.05}
"""Chosen: the constants are told from constants so many times as large and as small."""

_RESOLVED_AT_A_BETA = {Effort.QUICK: 2.0, Effort.DEFAULT: 1.5, Effort.FULL: 1.2}
"""The same at each β alone, which has a third of the networks: there a wrong power of N has to show."""

_APART = 0.2
"""Chosen: the exponents are told from exponents so far away."""

_CONTROL_RUNS = 90

_SECOND, _FOURTH = float(LAW.output.second_moment), float(LAW.output.fourth_moment)

Shift = tuple[float, float]
"""Added to every c and to every η."""

_OFF_CENTRE: Shift = (1.0, 1.0)
"""c ~ U(0, 2); and E σ(z) ≠ 0, without which c_i σ(z_i) would have mean 0 all the same, σ being odd."""


@dataclass(frozen=True, eq=False)
class Constants:
    """second: E[c²]E[σ(zₘ)²] (M,), which is N^(2β-1) E f₀(xₘ)² (E19); variance: V = N E‖B̄ᴺ - B̄‖²_F (E20).

    first: E[c]E[σ(zₘ)] (M,), which (E19) takes to be 0. Where it is not, N^(2β-1) E f₀² = second + (N - 1) first².
    """

    first: Array
    second: Array
    variance: float


def constants(X: Array, shift: Shift = (0.0, 0.0)) -> Constants | None:
    """The constants of (E19) and (E20) for inputs X (M, d), to about 1e-9; None where the quadrature does not settle.

    Two-dimensional trapezoidal sums over (z, z'), at halved steps until two agree. The sums converge exponentially, and a
    coarse one takes no more than 2^20 values at a time.
    """
    coarse = _quadrature(X, 0.4, shift)
    for step in (0.2, 0.1, 0.05):
        fine = _quadrature(X, step, shift)
        settled = abs(fine.variance - coarse.variance) <= 1e-9 * fine.variance
        if settled and np.allclose(fine.second, coarse.second, rtol=1e-9, atol=0):
            return fine
        coarse = fine
    return None


def _quadrature(X: Array, step: float, shift: Shift) -> Constants:
    M, (moved, centre) = len(X), shift
    # of c + moved, c being symmetric; z has the mean `centre`
    c2, c4 = _SECOND + moved**2, _FOURTH + 6 * moved**2 * _SECOND + moved**4
    inputs = np.concatenate([X, np.ones((M, 1))], axis=1)
    covariance = inputs @ inputs.T
    u = step * np.arange(-math.ceil(9 / step), math.ceil(9 / step) + 1)
    weight = np.exp(-(u**2) / 2)
    weight /= weight.sum()
    jets = activation(ACTIVATION).jets
    first, second, total = np.empty(M), np.empty(M), 0.0
    for m in range(M):
        a = covariance[m, m]
        value, slope, _ = jets(centre + math.sqrt(a) * u, FLOAT64)
        first[m], second[m] = moved * (weight @ value), c2 * (weight @ value**2)
        for n in range(m, M):
            b = covariance[m, n]
            rest = math.sqrt(max(covariance[n, n] - b * b / a, 0.0))
            value2, slope2, _ = jets(centre + b / math.sqrt(a) * u[:, None] + rest * u[None, :], FLOAT64)
            p, q = value[:, None] * value2, slope[:, None] * slope2 * b
            both = weight[:, None] * weight[None, :]
            square = p * p + 2 * c2 * p * q + c4 * q * q
            variance = (both * square).sum() - ((both * (p + c2 * q)).sum()) ** 2
            total += (1 if m == n else 2) * variance
    return Constants(first, second, float(total) / M**2)


Columns = list[list[Start]]


def _outputs_ratios(columns: Columns, mean_square: Callable[[int], Array]) -> list[Array]:
    """By width N, f₀² N^(2β-1) over `mean_square(N)` (M,), both as means over the points: a number a network."""
    return [
        np.array([(s.outputs**2).mean() / regularization(1.0, N, s.beta) for s in column]) / mean_square(N).mean()
        for N, column in zip(WIDTHS, columns, strict=True)
    ]


def _is_one(what: str, ratios: Array, factor: float, looks: int) -> Rate:
    """That these have mean 1, and not `factor` or 1/`factor`."""
    return Rate(what, mean(ratios, looks=looks), "≈", 1.0, (1 / factor, factor))


def _outputs_means(columns: Columns, ratios: list[Array], what: str, factor: float, looks: int = 1) -> list[Rate]:
    """That these ratios have mean 1, for every β, over all widths."""
    betas, pooled = np.array([s.beta for column in columns for s in column]), np.concatenate(ratios)
    return [_is_one(f"E f₀² / {what}, β = {beta}", pooled[betas == beta], factor, looks) for beta in BETAS]


def _outputs_rates(columns: Columns, expected: Constants, effort: Effort, looks: int = 1) -> list[Rate]:
    """(E19): means, at each β and over all, and exponent."""
    ratios = _outputs_ratios(columns, lambda N: expected.second)
    flat = Rate("exponent of f₀² N^(2β-1)", exponent(WIDTHS, ratios, of="mean", looks=looks), "≈", 0.0, (-_APART, _APART))
    all_together = _is_one("E f₀² / constant, all β", np.concatenate(ratios), _RESOLVED[effort], looks)
    return [*_outputs_means(columns, ratios, "constant", _RESOLVED_AT_A_BETA[effort], looks), all_together, flat]


def _kernel_rate(columns: Columns, limit: Array, variance: float, effort: Effort, looks: int = 1) -> Rate:
    """(E20): N‖B̄ᴺ - B̄‖² over V has mean 1."""
    ratios = [((s.kernel - limit) ** 2).sum() * N / variance for N, column in zip(WIDTHS, columns, strict=True) for s in column]
    return _is_one("E‖B̄ᴺ - B̄‖² N / V", np.array(ratios), _RESOLVED[effort], looks)


_OUT_OF_REACH = unmet("out of reach: the constants of E19 and E20 do not settle at step 0.05; rescale the inputs")


def _measure(
    problem: Problem, effort: Effort, expected: Constants, runs: int, looks: int
) -> tuple[list[Rate], tuple[Columns, list[Array]]]:
    """All rates, with the networks, and ‖B̄ᴺ - B̄‖² by width."""
    columns, limit = starts(problem, runs), kernel(problem)
    distances = [np.array([((s.kernel - limit) ** 2).sum() for s in column]) for column in columns]
    falls = exponent(WIDTHS, distances, of="mean", looks=looks)
    rates = [
        *_outputs_rates(columns, expected, effort, looks),
        _kernel_rate(columns, limit, expected.variance, effort, looks),
        Rate("exponent of ‖B̄ᴺ - B̄‖²", falls, "≈", -1.0, (-1 - _APART, -1 + _APART)),
    ]
    return rates, (columns, distances)


def check(problem: Problem, effort: Effort) -> Finding:
    """Means of f₀² and of ‖B̄ᴺ - B̄‖² against their constants at all widths together, and their exponents."""
    problem = standardized(problem)
    expected = constants(problem.X)
    if expected is None:
        return _OUT_OF_REACH
    rates, (columns, distances), _ = until_decided(_RUNS[effort], partial(_measure, problem, effort, expected))
    curves = []
    for beta in BETAS:
        roots = [np.array([np.sqrt((s.outputs**2).mean()) for s in column if s.beta == beta]) for column in columns]
        curves.append((f"|f₀|, β = {beta}", roots, 0.5 - beta))
    curves.append(("‖B̄ᴺ - B̄‖", [np.sqrt(d) for d in distances], -0.5))
    panel = rate_panel("At initialization", "root mean square over the points; Frobenius norm", WIDTHS, curves)
    return judge(rates, sum(map(len, columns)), (panel,))


def _off_centre(problem: Problem, shift: Shift) -> Finding:
    """(E19) for c and η moved by `shift`, with the constants of that law."""
    expected = constants(problem.X, shift)
    if expected is None:
        return _OUT_OF_REACH
    columns = starts(problem, _CONTROL_RUNS, shift=shift)
    ratios = _outputs_ratios(columns, lambda N: expected.second + (N - 1) * expected.first**2)
    found = judge(_outputs_rates(columns, expected, Effort.QUICK), sum(map(len, columns)))
    return for_its_reason(found, judge(_outputs_means(columns, ratios, "constant with (E c E σ)²", 2.0), found.cases))


def _copied(problem: Problem, copies: int, expected: Constants) -> Finding:
    """(E20) for networks that hold every neuron `copies` times, whose kernels vary as at a width that much smaller."""
    columns, limit = starts(problem, _CONTROL_RUNS, copies=copies), kernel(problem)
    rate = _kernel_rate(columns, limit, expected.variance, Effort.QUICK)
    instead = _kernel_rate(columns, limit, copies * expected.variance, Effort.QUICK)
    found, what = judge([rate], sum(map(len, columns))), f"E‖B̄ᴺ - B̄‖² N / {copies} V"
    return for_its_reason(found, judge([replace(instead, what=what)], found.cases))


def control(problem: Problem, effort: Effort) -> Finding:
    """(E19) with E c ≠ 0, and (E20) with every neuron twice. Each has to fail, and by as much as it must."""
    problem = standardized(problem)
    expected = constants(problem.X)
    if expected is None:
        return _OUT_OF_REACH
    parts = {"E c = 1": _off_centre(problem, _OFF_CENTRE), "every neuron twice": _copied(problem, 2, expected)}
    return together(parts, Verdict.REFUTED)


CLAIM = Claim(
    id="initial-fluctuations",
    statement="E f₀(x)² = N^(1-2β) E[c²] E[σ(z)²] (E19) and E‖B̄ᴺ - B̄‖²_F = V/N (E20), with these constants",
    assumptions="independent neurons with E[c σ(z)] = 0, as E c = 0 makes it; β > 1/2 for f₀ to vanish",
    evidence=Evidence.MEASURED,
    check=check,
    control=control,
    control_reason="with E c E σ(z) ≠ 0 the neurons' outputs add up; with every neuron twice, half as many are independent",
)
