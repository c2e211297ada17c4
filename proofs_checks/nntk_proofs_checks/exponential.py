"""`exponential`: in the limit every mode of the error contracts at one rate; gradient descent's do not."""

from __future__ import annotations

from flint import arb

from nntk_proofs_checks.certify import (
    ACTIVATIONS,
    BALLS,
    Comparison,
    LimitSpectrum,
    at_rising_precision,
    conclude,
    limit_spectrum_at,
    norm,
    unmet_assumption,
)
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem
from nntk_reference import formulas
from nntk_reference.arithmetic import Array
from nntk_reference.linalg import enclose_eigenvalues, symmetric_solve

__all__ = ["CLAIM"]

_RHO = 0.9
_STEPS = 10


def _errors(operator: Array, y: Array, steps: int) -> list[arb]:
    """|f*ₜ - y| for t = 0 … steps, where f*₀ = 0 and f*ₜ₊₁ = f*ₜ + operator (y - f*ₜ)."""
    target = BALLS.array(y)
    f, out = 0 * target, [norm(target)]
    for _ in range(steps):
        f = f + operator @ (target - f)
        out.append(norm(f - target))
    return out


def _against_rate(label: str, errors: list[arb], rate: arb) -> list[Comparison]:
    return [Comparison(f"|f_{t} - y|, {label}", error, "≤", rate**t * errors[0]) for t, error in enumerate(errors) if t > 0]


def _newton(spectrum: LimitSpectrum, y: Array, activation: str) -> list[Comparison]:
    # a little inside the bound on γ, so that strict inequalities can be proved
    gamma = (spectrum.smallest * (1 - arb(_RHO)) / arb(_RHO) * (1 - arb(2) ** -20)).mid()
    B = spectrum.kernel
    solved = symmetric_solve(BALLS, formulas.add_diagonal(B, gamma), B)[0]
    out = []
    for alpha in (1.0, 0.5):
        rate = 1 - arb(alpha) * arb(_RHO)
        left = -arb(alpha) * (solved + solved.T) / 2
        slowest = enclose_eigenvalues(formulas.add_diagonal(left, arb(1)))[0]
        out.append(Comparison(f"slowest mode's factor, {activation}, α = {alpha}", slowest, "<", rate))
        out += _against_rate(f"Newton, {activation}, α = {alpha}", _errors(arb(alpha) * solved, y, _STEPS), rate)
    return out


def check(problem: Problem, effort: Effort) -> Finding:
    """The slowest mode's factor and the error of ten steps, for γ = λ_min(1-ρ)/ρ with ρ = 0.9 and α = 1, 1/2."""
    unmet = unmet_assumption(problem, effort)
    if unmet:
        return unmet

    def attempt(bits: int) -> Finding:
        names = ACTIVATIONS[effort]
        comparisons = [c for n in names for c in _newton(limit_spectrum_at(problem.X, n, bits), problem.y, n)]
        return conclude(
            comparisons, 2 * len(names), f"the error stays below (1 - αρ)ᵗ for {_STEPS} steps and no mode is slower"
        )

    return at_rising_precision(attempt)


def control(problem: Problem, effort: Effort) -> Finding:
    """Gradient descent at η̄ = 1/λ₁, held against the same rate."""
    unmet = unmet_assumption(problem, effort)
    if unmet:
        return unmet

    def attempt(bits: int) -> Finding:
        spectrum = limit_spectrum_at(problem.X, "tanh", bits)
        errors = _errors(spectrum.kernel / spectrum.eigenvalues[0], problem.y, _STEPS)
        rate = 1 - arb(_RHO)
        slowest = 1 - spectrum.smallest / spectrum.eigenvalues[0]
        comparisons = [Comparison("slowest mode's factor, gradient descent, tanh", slowest, "<", rate)]
        comparisons += _against_rate("gradient descent, tanh", errors, rate)
        return conclude(comparisons, 1, "gradient descent keeps to the same rate")

    return at_rising_precision(attempt)


CLAIM = Claim(
    id="exponential",
    statement="|f*ₜ - y| ≤ (1 - αλ_min/(γ + λ_min))ᵗ |f*₀ - y| for 0 < α ≤ 1, and no mode contracts more slowly",
    assumptions="distinct inputs; infinite width",
    evidence=Evidence.CERTIFIED,
    check=check,
    control=control,
    control_reason="gradient descent contracts mode λ by 1 - η̄λ, which is near 1 for the small eigenvalues",
)
