"""`linearization`: a wide network's training is that of its linearization, and its Newton NTK stays where it starts."""

from __future__ import annotations

from functools import partial

from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, for_its_reason, together
from nntk_proofs_checks.ensemble import BETAS, SEEDS, WIDTHS, Setup, collect, ensemble, standardized, textbook, unmet_assumption
from nntk_proofs_checks.panel import Panel
from nntk_proofs_checks.statistics import Rate, exponent, judge, rate_panel, until_decided
from nntk_reference import Verdict
from nntk_reference.arithmetic import Array

__all__ = ["CLAIM"]


def _at(
    problem: Problem, beta: float, widths: tuple[int, ...], limit: float, seeds: int, looks: int
) -> tuple[list[Rate], tuple[list[Array], list[Array]]]:
    """Exponents of the two quantities at one β, and the quantities by width."""
    runs = ensemble(problem, Setup(beta, widths, seeds, features=True))
    taylor, drift = collect(runs, lambda run: run.taylor), collect(runs, lambda run: run.drift)
    rates = [
        Rate(f"f - its linearization, β = {beta}", exponent(widths, taylor, looks=looks), "≲", limit, (limit / 2,)),
        Rate(f"𝓑 - 𝓑₀, β = {beta}", exponent(widths, drift, looks=looks), "≲", limit, (limit / 2,)),
    ]
    return rates, (taylor, drift)


def _measure(
    problem: Problem, betas: tuple[float, ...], effort: Effort, bound: float | None
) -> tuple[list[Rate], int, tuple[Panel, ...]]:
    """Exponents at every β, held against `bound`, by default -(1-β); the number of networks; panels."""
    rates: list[Rate] = []
    panels, cases, widths = [], 0, WIDTHS[effort]
    for beta in betas:
        limit = beta - 1 if bound is None else bound
        found, (taylor, drift), seeds = until_decided(SEEDS[effort], partial(_at, problem, beta, widths, limit))
        rates += found
        cases += len(widths) * seeds
        curves = [("|f(θ_T) - f(θ₀) - J₀(θ_T - θ₀)|", taylor, limit), ("‖𝓑_T - 𝓑₀‖", drift, limit)]
        panels.append(rate_panel(f"After 3 exact steps, β = {beta}", "distance", widths, curves))
    return rates, cases, tuple(panels)


def check(problem: Problem, effort: Effort) -> Finding:
    """What is left of f after T steps beyond its linearization, and how far 𝓑 has moved, against N^-(1-β)."""
    missing = unmet_assumption(problem)
    if missing:
        return missing
    return judge(*_measure(standardized(problem), BETAS, effort, None))


def control(problem: Problem, effort: Effort) -> Finding:
    """β = 1, mean-field scaling, held against the slowest of the rates: features move however wide the network is.

    Refuted only if the same measurement holds at a β of the statement.
    """
    kept = judge(*_measure(textbook(problem), BETAS[:1], Effort.QUICK, None))
    rates, cases, _ = _measure(textbook(problem), (1.0,), Effort.QUICK, max(BETAS) - 1)
    return for_its_reason(together({rate.what: judge([rate], cases) for rate in rates}, Verdict.REFUTED), kept)


CLAIM = Claim(
    id="linearization",
    statement="|f(θ_T) - f(θ₀) - J₀(θ_T - θ₀)| and ‖𝓑_T - 𝓑₀‖ are O(N^-(1-β)): after T steps the network is its linearization",
    assumptions="1/2 < β < 1, γ_N = γ N^(1-2β), finitely many steps",
    evidence=Evidence.MEASURED,
    check=check,
    control=control,
    control_reason="at β = 1 every neuron moves by O(1), and the features with it",
)
