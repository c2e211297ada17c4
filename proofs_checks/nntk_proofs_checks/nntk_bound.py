"""`nntk-bound`: the eigenvalues of the Newton NTK are bounded below uniformly, if γ is chosen by λ_min."""

from __future__ import annotations

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
    proved_spectrum,
    settle,
    unit_interval,
    unmet_assumption,
)
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, together
from nntk_proofs_checks.panel import Panel
from nntk_proofs_checks.tried import LAW, with_limit_kernel
from nntk_reference import Network, Verdict, formulas, sample_network
from nntk_reference.arithmetic import Array, Ball
from nntk_reference.linalg import enclose_eigenvalues, symmetric_solve

__all__ = ["CLAIM"]

_RHO = (0.5, 0.9, 0.99)
_SHOWN = 0.9  # the ρ of the figure
_FACTORS = (arb(2), arb(32))  # γ_N/s̄: the bounds of E18 are a factor of 3 apart, and 1.07
_SEEDS = {Effort.QUICK: 2, Effort.DEFAULT: 4, Effort.FULL: 20}
_EDGE = arb(2) ** -20  # how far inside and outside the bound on γ the claim is tested


def _limit_nntk_eigenvalues(kernel: Array, gamma: arb) -> Array:
    """Enclosed eigenvalues of 𝓑* = B̄(γI + B̄)⁻¹, descending, from the matrix itself and not from those of B̄."""
    product = symmetric_solve(BALLS, formulas.add_diagonal(kernel, gamma), kernel)[0]
    return enclose_eigenvalues((product + product.T) / 2)


def _limit_comparisons(X: Array, activation: str, place: str, bits: int) -> list[Comparison]:
    spectrum = limit_spectrum_at(X, activation, bits)
    out = []
    for rho in _RHO:
        threshold = spectrum.smallest.mid() * (1 - arb(rho)) / arb(rho)
        for side, relation in ((1 - _EDGE, ">"), (1 + _EDGE, "<")):
            gamma = (threshold * side).mid()
            smallest = _limit_nntk_eigenvalues(spectrum.kernel, gamma)[-1]
            what = f"λ_min(𝓑*), {activation}, {place}, γ {'inside' if relation == '>' else 'outside'} λ_min(1-ρ)/ρ"
            out.append(Comparison(what, smallest, relation, arb(rho), shown=relation == ">"))
    return out


def _finite_comparisons(problem: Problem, seed: int, factor: arb, bits: int) -> list[Comparison]:
    """(E18) for a small network and at most eight of the points, with γ_N = factor s̄.

    For every k the lower bound, then the upper one. With S dropped (E18) is an equality, which comes last.
    """
    ar = Ball(bits)
    chosen = np.unique(np.linspace(0, len(problem.X) - 1, 8).round().astype(int))
    X, y = problem.X[chosen], problem.y[chosen]
    net: Network = sample_network(12, X.shape[1], beta=0.75, seed=np.random.default_rng([problem.seed, seed]), law=LAW)
    state = formulas.state(ar, net, X)
    r = formulas.outputs(state) - ar.array(y)
    S = formulas.residual_hessian(state, r)
    ends = [enclose_eigenvalues(block) for block in S]
    spread = max((max(abs(e[0]).upper(), abs(e[-1]).upper()) for e in ends), default=arb(0))
    damping = (factor * spread + arb(2) ** -60).upper()
    J = formulas.jacobian(state).reshape(len(X), -1)
    base = enclose_eigenvalues(formulas.ntk(state))

    def newton(A: Array) -> Array:
        product = J @ symmetric_solve(ar, formulas.add_diagonal(A, damping), J.T.copy())[0] / len(X)
        return enclose_eigenvalues((product + product.T) / 2)

    where = f"at N = 12, seed {seed}, γ_N = {float(factor):g} s̄"
    out = []
    for k, (value, b) in enumerate(zip(newton(formulas.hessian(state, r)), base, strict=True)):
        for relation, end in (("≥", spread), ("≤", -spread)):
            out.append(Comparison(f"λ_{k + 1}(𝓑) {where}", value, relation, b / (damping + end + b), shown=False))
    for k, (value, b) in enumerate(zip(newton(formulas.gauss_newton_matrix(state)), base, strict=True)):
        for relation, side in (("≥", 1 - _EDGE), ("≤", 1 + _EDGE)):  # equality has no proof
            what = f"λ_{k + 1}(𝓑) without S {where}"
            out.append(Comparison(what, value, relation, b / (damping + b) * side, shown=False))
    return out


def _limit_check(problem: Problem, effort: Effort) -> Finding:
    """Both sides of γ = λ_min(1-ρ)/ρ, on the data and on grids of [0, 1]."""
    places = {"the data": problem.X} | {f"{M} points of [0, 1]": unit_interval(M).X for M in GRIDS[effort]}
    comparisons = [
        c
        for name in with_limit_kernel(effort)
        for place, X in places.items()
        for c in settle(partial(_limit_comparisons, X, name, place))
    ]
    finding = conclude(comparisons, len(comparisons), "λ_min(𝓑*) ≥ ρ up to γ = λ_min(1-ρ)/ρ and not beyond")
    return replace(finding, panels=(_limit_panel(problem.X, with_limit_kernel(effort)[0]),))


def _finite_check(problem: Problem, effort: Effort) -> Finding:
    """(E18), with γ_N near s̄ and far from it."""
    cases = [
        settle(partial(_finite_comparisons, problem, seed, factor)) for seed in range(_SEEDS[effort]) for factor in _FACTORS
    ]
    finding = conclude([c for case in cases for c in case], len(cases), "E18 holds, with equality where S is dropped")
    return replace(finding, panels=(_sandwich_panel(cases[0]),))


def check(problem: Problem, effort: Effort) -> Finding:
    """Both sides of γ = λ_min(1-ρ)/ρ in the limit, and (E18) at finite width."""
    unmet = unmet_assumption(problem, effort, targets=False)
    if unmet:
        return unmet
    return together({"limit": _limit_check(problem, effort), "finite width": _finite_check(problem, effort)})


def _limit_panel(X: Array, activation: str) -> Panel:
    spectrum, k = proved_spectrum(X, activation), range(1, len(X) + 1)
    series = []
    for colour, (label, factor) in enumerate({"γ at the bound": 1, "γ 16 times as large": 16}.items()):
        gamma = factor * spectrum.smallest.mid() * (1 - arb(_SHOWN)) / arb(_SHOWN)
        series.append(curve(label, k, spectrum.eigenvalues / (gamma + spectrum.eigenvalues), colour=colour))
    series.append(curve(f"ρ = {_SHOWN}", k, [arb(_SHOWN)] * len(X), style="dashed"))
    return Panel(f"limit NNTK, {activation}, {len(X)} points", "k", "λₖ(𝓑*)", tuple(series))


def _sandwich_panel(comparisons: Sequence[Comparison]) -> Panel:
    pairs = comparisons[: len(comparisons) // 2]
    lower, upper = pairs[::2], pairs[1::2]
    k = range(1, len(lower) + 1)
    series = (
        curve("λₖ(𝓑)", k, [c.number for c in lower]),
        curve("lower bound", k, [c.limit for c in lower], style="dashed", colour=1),
        curve("upper bound", k, [c.limit for c in upper], style="dashed", colour=2),
    )
    return Panel("NNTK at N = 12 between the bounds of E18", "k", "λₖ(𝓑)", series, log="y")


def _limit_control(problem: Problem, effort: Effort) -> Finding:
    """γ kept at what is right for 4 points of [0, 1] while their number grows to 16."""
    rho = 0.9

    def attempt(bits: int) -> Finding:
        few = limit_spectrum_at(unit_interval(4).X, "erf", bits)
        gamma = (few.smallest * (1 - arb(rho)) / arb(rho) * (1 - _EDGE)).mid()
        comparisons = [
            Comparison(
                f"λ_min(𝓑*), erf, {M} points, γ as for 4",
                _limit_nntk_eigenvalues(limit_spectrum_at(unit_interval(M).X, "erf", bits).kernel, gamma)[-1],
                ">",
                arb(rho),
            )
            for M in (4, 8, 16)
        ]
        return conclude(comparisons, len(comparisons), "λ_min(𝓑*) ≥ ρ at every M")

    return at_rising_precision(attempt)


def _finite_control(problem: Problem, effort: Effort) -> Finding:
    """(E18) with γ_N = s̄/4, for 8 points of [0, 1]: D is indefinite, and the upper bounds of small λₖ(B) are negative."""
    comparisons = settle(partial(_finite_comparisons, unit_interval(8), 0, arb("0.25")))
    return conclude(comparisons, 1, "E18 holds though γ_N < s̄")


def control(problem: Problem, effort: Effort) -> Finding:
    """Each half with its assumption broken."""
    parts = {"limit": _limit_control(problem, effort), "finite width": _finite_control(problem, effort)}
    return together(parts, wanted=Verdict.REFUTED)


CLAIM = Claim(
    id="nntk-bound",
    statement="every eigenvalue of 𝓑* is at least λ_min/(γ + λ_min), so at least ρ when γ ≤ λ_min(1-ρ)/ρ; at finite width, "
    "with D ≻ 0, λₖ(B)/(γ_N + s̄ + λₖ(B)) ≤ λₖ(𝓑) ≤ λₖ(B)/(γ_N - s̄ + λₖ(B)) (E18)",
    assumptions="distinct inputs; γ_N > s̄ = ‖S‖ at finite width",
    evidence=Evidence.CERTIFIED,
    check=check,
    control=control,
    control_reason="γ is fixed while the number of points grows, and λ_min(B̄) falls below it; at finite width γ_N < s̄",
)
