"""`exponential`: every mode of the error contracts at one rate, in the limit and in wide networks; not so gradient descent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

from flint import arb

from nntk_proofs_checks import training_runs
from nntk_proofs_checks.certify import (
    BALLS,
    GRIDS,
    Comparison,
    LimitSpectrum,
    conclude,
    curve,
    limit_spectrum_at,
    norm,
    proved_spectrum,
    settle,
    unit_interval,
    unmet_assumption,
)
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, together
from nntk_proofs_checks.panel import Panel
from nntk_proofs_checks.trials import trials
from nntk_proofs_checks.tried import ACTIVATION, with_limit_kernel
from nntk_reference import Verdict, formulas
from nntk_reference.arithmetic import Array
from nntk_reference.linalg import enclose_eigenvalues, symmetric_solve

__all__ = ["CLAIM"]

_RHO = 0.9
_STEPS = 10
_EDGE = arb(2) ** -20  # how far γ is inside its bound, so that inequalities that are attained can be proved


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


def _gamma(spectrum: LimitSpectrum) -> arb:
    return (spectrum.smallest * (1 - arb(_RHO)) / arb(_RHO) * (1 - _EDGE)).mid()


def _newton(problem: Problem, activation: str, place: str, bits: int) -> list[Comparison]:
    """For α = 1 and then 1/2: the slowest mode's factor from both sides, and the error after 1 … _STEPS steps."""
    spectrum = limit_spectrum_at(problem.X, activation, bits)
    B = spectrum.kernel
    solved = symmetric_solve(BALLS, formulas.add_diagonal(B, _gamma(spectrum)), B)[0]
    out = []
    for alpha in (1.0, 0.5):
        rate = 1 - arb(alpha) * arb(_RHO)
        left = -arb(alpha) * (solved + solved.T) / 2
        slowest = enclose_eigenvalues(formulas.add_diagonal(left, arb(1)))[0]
        where = f"{activation}, {place}, α = {alpha}"
        out.append(Comparison(f"slowest mode's factor, {where}", slowest, "<", rate))
        # attained: γ smaller by ε raises ρ by a factor of less than 1 + ε
        out.append(Comparison(f"slowest mode's factor, {where}", slowest, ">", 1 - arb(alpha) * arb(_RHO) * (1 + _EDGE)))
        out += _against_rate(f"Newton, {where}", _errors(arb(alpha) * solved, problem.y, _STEPS), rate)
    return out


def _limit_check(problem: Problem, effort: Effort) -> Finding:
    """The slowest mode's factor, which is the rate, and the error of ten steps; γ = λ_min(1-ρ)/ρ, ρ = 0.9 and α = 1, 1/2."""
    unmet = unmet_assumption(problem, effort)
    if unmet:
        return unmet
    names = with_limit_kernel(effort)
    places = {"the data": problem} | {f"{M} points of [0, 1]": unit_interval(M) for M in GRIDS[effort]}
    attempts = [(partial(_newton, data, name, place),) for name in names for place, data in places.items()]
    cases = trials(settle, attempts)
    comparisons = [c for case in cases for c in case]
    finding = conclude(comparisons, 2 * len(cases), f"the error stays below (1 - αρ)ᵗ for {_STEPS} steps, the slowest mode's")
    trajectory = _trajectory_panel(f"Newton in the limit, {names[0]}, α = 1", cases[0][2 : _STEPS + 2])
    return replace(finding, panels=(_factor_panel(problem.X, names[0]), trajectory))


def _factor_panel(X: Array, activation: str) -> Panel:
    spectrum, k = proved_spectrum(X, activation), range(1, len(X) + 1)
    gamma, values = _gamma(spectrum), spectrum.eigenvalues
    series = (
        curve("Newton, α = 1", k, gamma / (gamma + values)),
        curve("gradient descent, η̄ = 1/λ₁", k[1:], 1 - values[1:] / values[0], colour=1),
        curve(f"1 - ρ = {1 - _RHO:.1f}", k, [1 - arb(_RHO)] * len(X), style="dashed"),
    )
    return Panel(f"error factor per step of each mode, {activation}, {len(X)} points", "k", "factor", series)


def _trajectory_panel(title: str, errors: Sequence[Comparison]) -> Panel:
    steps = range(1, len(errors) + 1)
    series = (
        curve("error", steps, [c.number for c in errors]),
        curve("bound", steps, [c.limit for c in errors], style="dashed"),
    )
    return Panel(title, "step t", "|f*ₜ - y|", series, log="y")


def _limit_control(problem: Problem, effort: Effort) -> Finding:
    """Gradient descent at η̄ = 1/λ₁, held against the same rate."""
    unmet = unmet_assumption(problem, effort)
    if unmet:
        return unmet

    def attempt(bits: int) -> list[Comparison]:
        spectrum = limit_spectrum_at(problem.X, ACTIVATION, bits)
        errors = _errors(spectrum.kernel / spectrum.eigenvalues[0], problem.y, _STEPS)
        rate = 1 - arb(_RHO)
        slowest = 1 - spectrum.smallest / spectrum.eigenvalues[0]
        comparisons = [Comparison(f"slowest mode's factor, gradient descent, {ACTIVATION}", slowest, "<", rate)]
        return comparisons + _against_rate(f"gradient descent, {ACTIVATION}", errors, rate)

    comparisons = settle(attempt)
    finding = conclude(comparisons, 1, "gradient descent keeps to the same rate")
    return replace(finding, panels=(_trajectory_panel(f"gradient descent in the limit, {ACTIVATION}", comparisons[1:]),))


def check(problem: Problem, effort: Effort) -> Finding:
    """The limit, certified, and networks of finite width, measured."""
    limit = _limit_check(problem, effort)
    if not limit.applies:
        return limit
    return together({"limit": limit, "finite width": training_runs.newton_runs(problem, effort)})


def control(problem: Problem, effort: Effort) -> Finding:
    """Gradient descent in both."""
    limit = _limit_control(problem, effort)
    if not limit.applies:
        return limit
    return together({"limit": limit, "finite width": training_runs.gradient_descent_runs(problem, effort)}, Verdict.REFUTED)


CLAIM = Claim(
    id="exponential",
    statement="in the limit |f*ₜ - y| ≤ (1 - αλ_min/(γ + λ_min))ᵗ |f*₀ - y| for 0 < α ≤ 1, with equality along the slowest "
    "mode (certified); a network's contraction per step tends to that factor along this mode as N → ∞, and to no more for the "
    "data's own targets (measured)",
    assumptions="distinct inputs; at finite width γ_N = γ N^(1-2β)",
    evidence=Evidence.MEASURED,
    check=check,
    control=control,
    control_reason="gradient descent contracts mode λ by 1 - η̄λ, which is near 1 for the small eigenvalues",
)
