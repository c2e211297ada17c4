"""`nntk-bound`: the eigenvalues of the Newton NTK are bounded below uniformly, if γ is chosen by λ_min."""

from __future__ import annotations

import numpy as np
from flint import arb

from nntk_proofs_checks.certify import (
    ACTIVATIONS,
    BALLS,
    Comparison,
    at_rising_precision,
    conclude,
    limit_spectrum_at,
    unmet_assumption,
)
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem
from nntk_reference import Network, formulas, sample_network
from nntk_reference.arithmetic import Array, Ball
from nntk_reference.linalg import enclose_eigenvalues, symmetric_solve

__all__ = ["CLAIM"]

_RHO = (0.5, 0.9, 0.99)
_SEEDS = {Effort.QUICK: 2, Effort.DEFAULT: 4, Effort.FULL: 20}
_EDGE = arb(2) ** -20  # how far inside and outside the bound on γ the claim is tested


def _limit_nntk_eigenvalues(kernel: Array, gamma: arb) -> Array:
    """Enclosed eigenvalues of 𝓑* = B̄(γI + B̄)⁻¹, descending, from the matrix itself and not from those of B̄."""
    product = symmetric_solve(BALLS, formulas.add_diagonal(kernel, gamma), kernel)[0]
    return enclose_eigenvalues((product + product.T) / 2)


def _limit_comparisons(problem: Problem, activation: str, bits: int) -> list[Comparison]:
    spectrum = limit_spectrum_at(problem.X, activation, bits)
    out = []
    for rho in _RHO:
        threshold = spectrum.smallest.mid() * (1 - arb(rho)) / arb(rho)
        for side, relation in ((1 - _EDGE, ">"), (1 + _EDGE, "<")):
            gamma = (threshold * side).mid()
            smallest = _limit_nntk_eigenvalues(spectrum.kernel, gamma)[-1]
            what = f"λ_min(𝓑*), {activation}, γ {'inside' if relation == '>' else 'outside'} λ_min(1-ρ)/ρ"
            out.append(Comparison(what, smallest, relation, arb(rho), shown=relation == ">"))
    return out


def _finite_comparisons(problem: Problem, seed: int, bits: int) -> list[Comparison]:
    """(E18) for a small network and at most eight of the points, with γ_N twice what makes D ≻ 0."""
    ar = Ball(bits)
    chosen = np.unique(np.linspace(0, len(problem.X) - 1, 8).round().astype(int))
    X, y = problem.X[chosen], problem.y[chosen]
    net: Network = sample_network(12, X.shape[1], beta=0.75, seed=seed)
    state = formulas.state(ar, net, X)
    r = formulas.outputs(state) - ar.array(y)
    S = formulas.residual_hessian(state, r)
    ends = [enclose_eigenvalues(block) for block in S]
    spread = max((max(abs(e[0]).upper(), abs(e[-1]).upper()) for e in ends), default=arb(0))
    damping = (2 * spread + arb(2) ** -20).upper()
    J = formulas.jacobian(state).reshape(len(X), -1)
    A = formulas.add_diagonal(formulas.hessian(state, r), damping)
    newton = J @ symmetric_solve(ar, A, J.T.copy())[0] / len(X)
    B = formulas.ntk(state)
    out = []
    for k, (value, base) in enumerate(zip(enclose_eigenvalues((newton + newton.T) / 2), enclose_eigenvalues(B), strict=True)):
        what = f"λ_{k + 1}(𝓑) at N = 12, seed {seed}"
        out.append(Comparison(what, value, "≥", base / (damping + spread + base), shown=False))
        out.append(Comparison(what, value, "≤", base / (damping - spread + base), shown=False))
    return out


def check(problem: Problem, effort: Effort) -> Finding:
    """Both sides of γ = λ_min(1-ρ)/ρ in the limit, and (E18) at finite width."""
    unmet = unmet_assumption(problem, effort)
    if unmet:
        return unmet

    def attempt(bits: int) -> Finding:
        limit = [c for name in ACTIVATIONS[effort] for c in _limit_comparisons(problem, name, bits)]
        finite = [c for seed in range(_SEEDS[effort]) for c in _finite_comparisons(problem, seed, bits)]
        return conclude(
            limit + finite, len(limit) + _SEEDS[effort], "λ_min(𝓑*) ≥ ρ up to γ = λ_min(1-ρ)/ρ and not beyond; E18 holds"
        )

    return at_rising_precision(attempt)


def control(problem: Problem, effort: Effort) -> Finding:
    """γ kept at what is right for 4 points of [0, 1] while their number grows to 16."""
    rho = 0.9

    def attempt(bits: int) -> Finding:
        few = limit_spectrum_at(_grid(4), "erf", bits)
        gamma = (few.smallest * (1 - arb(rho)) / arb(rho) * (1 - _EDGE)).mid()
        comparisons = [
            Comparison(
                f"λ_min(𝓑*), erf, {M} points, γ as for 4",
                _limit_nntk_eigenvalues(limit_spectrum_at(_grid(M), "erf", bits).kernel, gamma)[-1],
                ">",
                arb(rho),
            )
            for M in (4, 8, 16)
        ]
        return conclude(comparisons, len(comparisons), "λ_min(𝓑*) ≥ ρ at every M")

    return at_rising_precision(attempt)


def _grid(M: int) -> Array:
    return np.linspace(0.0, 1.0, M)[:, None]


CLAIM = Claim(
    id="nntk-bound",
    statement="every eigenvalue of 𝓑* is at least λ_min/(γ + λ_min), so at least ρ when γ ≤ λ_min(1-ρ)/ρ; at finite width, "
    "with D ≻ 0, λₖ(B)/(γ_N + s̄ + λₖ(B)) ≤ λₖ(𝓑) ≤ λₖ(B)/(γ_N - s̄ + λₖ(B)) (E18)",
    assumptions="distinct inputs; γ_N > s̄ = ‖S‖ at finite width",
    evidence=Evidence.CERTIFIED,
    check=check,
    control=control,
    control_reason="γ is fixed while the number of points grows, and λ_min(B̄) falls below it",
)
