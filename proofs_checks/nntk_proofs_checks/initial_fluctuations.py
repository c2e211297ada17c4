"""`initial-fluctuations`: how far a network is from the limit before training: (E19) and (E20) with their constants."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from nntk_accelerated import regularization
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, together, unmet
from nntk_proofs_checks.ensemble import BETAS, kernel, standardized
from nntk_proofs_checks.initial_networks import WIDTHS, Start, starts
from nntk_proofs_checks.statistics import Rate, exponent, judge, mean, rate_panel
from nntk_proofs_checks.tried import ACTIVATION, LAW
from nntk_reference import Verdict, activation
from nntk_reference.arithmetic import FLOAT64, Array

__all__ = ["CLAIM", "constants"]

_RUNS = {Effort.QUICK: 300, Effort.DEFAULT: 1200, Effort.FULL: 4800}
"""Networks of each width, shared among the β."""

_SECOND, _FOURTH = float(LAW.output.second_moment), float(LAW.output.fourth_moment)


@dataclass(frozen=True, eq=False)
class Constants:
    """second: E[c²]E[σ(zₘ)²] (M,), which is N^(2β-1) E f₀(xₘ)² (E19); variance: V = N E‖B̄ᴺ - B̄‖²_F (E20)."""

    second: Array
    variance: float


def constants(X: Array) -> Constants | None:
    """The constants of (E19) and (E20) for inputs X (M, d), to about 1e-9; None where the quadrature does not settle.

    Two-dimensional trapezoidal sums over (z, z'), at halved steps until two agree. The sums converge exponentially, and a
    coarse one takes no more than 2^20 values at a time.
    """
    coarse = _quadrature(X, 0.4)
    for step in (0.2, 0.1, 0.05):
        fine = _quadrature(X, step)
        settled = abs(fine.variance - coarse.variance) <= 1e-9 * fine.variance
        if settled and np.allclose(fine.second, coarse.second, rtol=1e-9, atol=0):
            return fine
        coarse = fine
    return None


def _quadrature(X: Array, step: float) -> Constants:
    M = len(X)
    inputs = np.concatenate([X, np.ones((M, 1))], axis=1)
    covariance = inputs @ inputs.T
    u = step * np.arange(-math.ceil(9 / step), math.ceil(9 / step) + 1)
    weight = np.exp(-(u**2) / 2)
    weight /= weight.sum()
    jets = activation(ACTIVATION).jets
    second, total = np.empty(M), 0.0
    for m in range(M):
        a = covariance[m, m]
        value, slope, _ = jets(math.sqrt(a) * u, FLOAT64)
        second[m] = _SECOND * (weight @ value**2)
        for n in range(m, M):
            b = covariance[m, n]
            rest = math.sqrt(max(covariance[n, n] - b * b / a, 0.0))
            value2, slope2, _ = jets(b / math.sqrt(a) * u[:, None] + rest * u[None, :], FLOAT64)
            p, q = value[:, None] * value2, slope[:, None] * slope2 * b
            both = weight[:, None] * weight[None, :]
            square = p * p + 2 * _SECOND * p * q + _FOURTH * q * q
            variance = (both * square).sum() - ((both * (p + _SECOND * q)).sum()) ** 2
            total += (1 if m == n else 2) * variance
    return Constants(second, float(total) / M**2)


def _outputs_ratio(start: Start, width: int, second: Array) -> float:
    """Mean over the points of f₀² N^(2β-1), over its expectation."""
    return float((start.outputs**2).mean() / regularization(1.0, width, start.beta) / second.mean())


def _kernel_ratio(columns: list[list[Start]], limit: Array, variance: float) -> Rate:
    ratios = [((s.kernel - limit) ** 2).sum() * N / variance for N, column in zip(WIDTHS, columns, strict=True) for s in column]
    return Rate("E‖B̄ᴺ - B̄‖² N / V", mean(np.array(ratios)), "≈", 1.0, (0.5, 2.0))


_OUT_OF_REACH = unmet("out of reach: the constants of E19 and E20 do not settle at step 0.05; rescale the inputs")


def check(problem: Problem, effort: Effort) -> Finding:
    """Means of f₀² and of ‖B̄ᴺ - B̄‖² against their constants at all widths together, and their exponents."""
    problem = standardized(problem)
    expected = constants(problem.X)
    if expected is None:
        return _OUT_OF_REACH
    columns, limit = starts(problem, _RUNS[effort]), kernel(problem)
    squares = [
        np.array([_outputs_ratio(s, N, expected.second) for s in column]) for N, column in zip(WIDTHS, columns, strict=True)
    ]
    distances = [np.array([((s.kernel - limit) ** 2).sum() for s in column]) for column in columns]
    betas = np.array([s.beta for column in columns for s in column])
    pooled = np.concatenate(squares)
    rates = [Rate(f"E f₀² / constant, β = {beta}", mean(pooled[betas == beta]), "≈", 1.0, (0.5, 2.0)) for beta in BETAS]
    rates += [
        _kernel_ratio(columns, limit, expected.variance),
        Rate("exponent of f₀² N^(2β-1)", exponent(WIDTHS, squares, of="mean"), "≈", 0.0, (-0.2, 0.2)),
        Rate("exponent of ‖B̄ᴺ - B̄‖²", exponent(WIDTHS, distances, of="mean"), "≈", -1.0, (-1.2, -0.8)),
    ]
    curves = []
    for beta in BETAS:
        roots = [np.array([np.sqrt((s.outputs**2).mean()) for s in column if s.beta == beta]) for column in columns]
        curves.append((f"|f₀|, β = {beta}", roots, 0.5 - beta))
    curves.append(("‖B̄ᴺ - B̄‖", [np.sqrt(d) for d in distances], -0.5))
    panel = rate_panel("At initialization", "root mean square over the points; Frobenius norm", WIDTHS, curves)
    return judge(rates, len(betas), (panel,))


def control(problem: Problem, effort: Effort) -> Finding:
    """Outputs at β = 1/2, which must not vanish; and kernels of networks that hold every neuron twice."""
    problem = standardized(problem)
    expected = constants(problem.X)
    if expected is None:
        return _OUT_OF_REACH
    halves = starts(problem, 240, beta=0.5)
    squares = [np.array([(s.outputs**2).mean() for s in column]) for column in halves]
    slowest = 1 - 2 * min(BETAS)
    vanish = Rate("exponent of f₀² at β = 1/2", exponent(WIDTHS, squares, of="mean"), "≲", slowest, (slowest / 2,))
    doubled = starts(problem, 120, copies=2)
    parts = {
        "β = 1/2": judge([vanish], sum(map(len, halves))),
        "every neuron twice": judge([_kernel_ratio(doubled, kernel(problem), expected.variance)], sum(map(len, doubled))),
    }
    return together(parts, Verdict.REFUTED)


CLAIM = Claim(
    id="initial-fluctuations",
    statement="E f₀(x)² = N^(1-2β) E[c²] E[σ(z)²] (E19) and E‖B̄ᴺ - B̄‖²_F = V/N (E20), with these constants",
    assumptions="independent neurons, E c = 0, β > 1/2 for f₀ to vanish",
    evidence=Evidence.MEASURED,
    check=check,
    control=control,
    control_reason="at β = 1/2 the initial output does not vanish; with every neuron twice, half as many are independent",
)
