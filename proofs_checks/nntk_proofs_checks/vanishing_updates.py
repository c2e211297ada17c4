"""`vanishing-updates`: the step of a single neuron is bounded by (E17) and falls like N^-(1-β)."""

from __future__ import annotations

from functools import partial

from nntk_proofs_checks import update_bound
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, for_its_reason, together
from nntk_proofs_checks.ensemble import BETAS, SEEDS, WIDTHS, Setup, collect, ensemble, standardized, textbook, unmet_assumption
from nntk_proofs_checks.statistics import Rate, exponent, judge, rate_panel, until_decided
from nntk_reference import Verdict
from nntk_reference.arithmetic import Array

__all__ = ["CLAIM"]


def _at(
    problem: Problem, beta: float, widths: tuple[int, ...], limit: float, seeds: int, looks: int
) -> tuple[list[Rate], list[Array]]:
    """The exponent at one β, and the updates by width.

    At the damping of `linearization`: γ_N is a few times s̄ at the smallest width, so that a step is far from one of gradient
    descent.
    """
    updates = collect(ensemble(problem, Setup(beta, widths, seeds, steps=1)), lambda run: float(run.updates[0]))
    return [Rate(f"|Δᵢ|, β = {beta}", exponent(widths, updates, looks=looks), "≲", limit, (limit / 2,))], updates


def _exponents(problem: Problem, betas: tuple[float, ...], effort: Effort, bound: float | None) -> Finding:
    rates, curves, cases, widths = [], [], 0, WIDTHS[effort]
    for beta in betas:
        limit = beta - 1 if bound is None else bound
        found, updates, seeds = until_decided(SEEDS[effort], partial(_at, problem, beta, widths, limit))
        rates += found
        cases += len(widths) * seeds
        curves.append((f"β = {beta}", updates, limit))
    panel = rate_panel("A neuron's first update", "root mean square of |Δᵢ| over the neurons", widths, curves)
    return judge(rates, cases, (panel,))


def check(problem: Problem, effort: Effort) -> Finding:
    """(E17) on every instance drawn, and the exponent of the root mean square over the neurons.

    Not of the maximum: an extreme value creeps towards its supremum as N grows, which hides a part of the power.
    """
    missing = unmet_assumption(problem)
    if missing:
        return missing
    measured = _exponents(standardized(problem), BETAS, effort, None)
    return together(
        {"exponents": measured, "E17": update_bound.update_bound_findings(standardized(problem, len(problem.y)), effort)}
    )


def control(problem: Problem, effort: Effort) -> Finding:
    """β = 1, held against the slowest of the rates, and (E17) where D is not positive definite.

    The first is refuted only if the same measurement holds at a β of the statement.
    """
    kept = _exponents(textbook(problem), BETAS[:1], Effort.QUICK, None)
    measured = _exponents(textbook(problem), (1.0,), Effort.QUICK, max(BETAS) - 1)
    return together(
        {"β = 1": for_its_reason(measured, kept), "E17": update_bound.control(standardized(problem, len(problem.y)), effort)},
        Verdict.REFUTED,
    )


CLAIM = Claim(
    id="vanishing-updates",
    statement="|Δᵢ| ≤ α |Dᵢ⁻¹| N^(-β) ℓᵢ √(2L) when D ≻ 0 (E17), so with (E5) a neuron moves by O(N^-(1-β)/γ)",
    assumptions="D ≻ 0; 1/2 < β < 1 and γ_N = γ N^(1-2β) for the exponent",
    evidence=Evidence.MEASURED,
    check=check,
    control=control,
    control_reason="at β = 1 (mean-field scaling) the exponent is 0; without D ≻ 0 the inequality has no proof",
)
