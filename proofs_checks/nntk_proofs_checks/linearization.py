"""`linearization`: a wide network's training is that of its linearization, and its Newton NTK stays where it starts."""

from __future__ import annotations

from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, together
from nntk_proofs_checks.ensemble import BETAS, SEEDS, WIDTHS, Setup, collect, ensemble, standardized, textbook, unmet_assumption
from nntk_proofs_checks.panel import Panel
from nntk_proofs_checks.statistics import Rate, exponent, judge, rate_panel
from nntk_reference import Verdict

__all__ = ["CLAIM"]


def _measure(
    problem: Problem, betas: tuple[float, ...], widths: tuple[int, ...], seeds: int, bound: float | None
) -> tuple[list[Rate], tuple[Panel, ...]]:
    """Exponents of the two quantities at every β, held against `bound`, by default -(1-β)."""
    rates, panels = [], []
    for beta in betas:
        runs = ensemble(problem, Setup(beta, widths, seeds, features=True))
        taylor, drift = collect(runs, lambda run: run.taylor), collect(runs, lambda run: run.drift)
        limit = beta - 1 if bound is None else bound
        rates += [
            Rate(f"f - its linearization, β = {beta}", exponent(widths, taylor), "≲", limit, (limit / 2,)),
            Rate(f"𝓑 - 𝓑₀, β = {beta}", exponent(widths, drift), "≲", limit, (limit / 2,)),
        ]
        curves = [("|f(θ_T) - f(θ₀) - J₀(θ_T - θ₀)|", taylor, limit), ("‖𝓑_T - 𝓑₀‖", drift, limit)]
        panels.append(rate_panel(f"After 3 exact steps, β = {beta}", "distance", widths, curves))
    return rates, tuple(panels)


def check(problem: Problem, effort: Effort) -> Finding:
    """What is left of f after T steps beyond its linearization, and how far 𝓑 has moved, against N^-(1-β)."""
    missing = unmet_assumption(problem)
    if missing:
        return missing
    rates, panels = _measure(standardized(problem), BETAS, WIDTHS[effort], SEEDS[effort], None)
    return judge(rates, len(BETAS) * len(WIDTHS[effort]) * SEEDS[effort], panels)


def control(problem: Problem, effort: Effort) -> Finding:
    """β = 1, mean-field scaling, held against the slowest of the rates: features move however wide the network is."""
    widths, seeds = WIDTHS[Effort.QUICK], SEEDS[Effort.QUICK]
    rates, _ = _measure(textbook(problem), (1.0,), widths, seeds, max(BETAS) - 1)
    return together({rate.what: judge([rate], len(widths) * seeds) for rate in rates}, Verdict.REFUTED)


CLAIM = Claim(
    id="linearization",
    statement="|f(θ_T) - f(θ₀) - J₀(θ_T - θ₀)| and ‖𝓑_T - 𝓑₀‖ are O(N^-(1-β)): after T steps the network is its linearization",
    assumptions="1/2 < β < 1, γ_N = γ N^(1-2β), finitely many steps",
    evidence=Evidence.MEASURED,
    check=check,
    control=control,
    control_reason="at β = 1 every neuron moves by O(1), and the features with it",
)
