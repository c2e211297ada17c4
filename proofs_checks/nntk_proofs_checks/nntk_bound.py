"""`nntk-bound`: the eigenvalues of the Newton NTK are bounded below uniformly, if γ is chosen by λ_min."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from flint import arb

from nntk_proofs_checks.certify import (
    BALLS,
    GRIDS,
    Comparison,
    conclude,
    curve,
    limit_spectrum_at,
    proved_spectrum,
    settle,
    unit_interval,
    unmet_assumption,
)
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, for_its_reason, together
from nntk_proofs_checks.ensemble import standardized
from nntk_proofs_checks.panel import Panel
from nntk_proofs_checks.trials import trials
from nntk_proofs_checks.tried import ACTIVATION, LAW, with_limit_kernel
from nntk_reference import ACTIVATIONS, FLOAT64, Network, Verdict, formulas, sample_network
from nntk_reference.arithmetic import Array, Ball
from nntk_reference.linalg import enclose_eigenvalues, symmetric_solve

__all__ = ["CLAIM"]

_RHO = (0.5, 0.9, 0.99)
_SHOWN = 0.9  # the ρ of the figure
_FACTORS = (arb(2), arb(32))  # γ_N/s̄: the bounds of E18 are a factor of 3 apart, and 1.07
_SEEDS = {Effort.QUICK: 2, Effort.DEFAULT: 4, Effort.FULL: 20}
_POINTS = 8  # at finite width, where the order of matrices of balls is 12(d+2)
_EDGE = arb(2) ** -20  # how far inside and outside the bound on γ the claim is tested
_ARGUMENT = 0.05  # z of neurons for which (E18) is attained with (1 - 2z²) s̄ in the place of s̄
_LOST = 1e-6  # targets below which a residual of their size is no longer that of the float64 outputs
_SHORT = arb("0.99")  # a little less than 1 - 2z²


def _limit_nntk_eigenvalues(kernel: Array, gamma: arb) -> Array:
    """Enclosed eigenvalues of 𝓑* = B̄(γI + B̄)⁻¹, descending, from the matrix itself and not from those of B̄."""
    product = symmetric_solve(BALLS, formulas.add_diagonal(kernel, gamma), kernel)[0]
    return enclose_eigenvalues((product + product.T) / 2)


def _largest_gamma(smallest: arb, rho: float) -> arb:
    """λ_min(1-ρ)/ρ, up to which γ keeps λ_min(𝓑*) at ρ or above."""
    return smallest * (1 - arb(rho)) / arb(rho)


def _limit_comparisons(X: Array, activation: str, place: str, bits: int, right_for: Array | None = None) -> list[Comparison]:
    """Both sides of γ = λ_min(1-ρ)/ρ, λ_min that of the points `right_for`: X itself unless given, as for the control."""
    spectrum = limit_spectrum_at(X, activation, bits)
    bounding = spectrum if right_for is None else limit_spectrum_at(right_for, activation, bits)
    out = []
    for rho in _RHO:
        threshold = _largest_gamma(bounding.smallest.mid(), rho)
        for side, relation in ((1 - _EDGE, ">"), (1 + _EDGE, "<")):
            gamma = (threshold * side).mid()
            smallest = _limit_nntk_eigenvalues(spectrum.kernel, gamma)[-1]
            what = f"λ_min(𝓑*), {activation}, {place}, γ {'inside' if relation == '>' else 'outside'} λ_min(1-ρ)/ρ"
            out.append(Comparison(what, smallest, relation, arb(rho), shown=relation == ">"))
    return out


@dataclass(frozen=True, eq=False)
class _Small:
    """A small network at its data, in balls.

    base          eigenvalues of B, descending.
    lowest, size  λ_min(S), and s̄ = ‖S‖ from above.
    """

    J: Array
    hessian: Array
    gauss_newton: Array
    base: Array
    lowest: arb
    size: arb


def _drawn(problem: Problem, seed: int) -> tuple[Network, Array, Array]:
    """12 neurons, and at most eight of the points with their targets."""
    chosen = np.unique(np.linspace(0, len(problem.X) - 1, _POINTS).round().astype(int))
    rng = np.random.default_rng([problem.seed, seed])
    net = sample_network(12, problem.X.shape[1], beta=0.75, seed=rng, law=LAW)
    return net, problem.X[chosen], problem.y[chosen]


def _aligned(problem: Problem, sign: int) -> tuple[Network, Array, Array]:
    """Equal neurons and one point, the one with the largest target, for which S is nearly `sign` s̄ along J.

    With w = 0 the block (E4) acts on c and x̃ as r N^-β ((0, σ'q), (σ'q, cσ''q²)), and Jᵢ is N^-β (σ, cσ'q): an eigenvector for
    c²q² = 1/((σ'/σ)² - σ''/σ). For tanh at a small z the eigenvalue is 1 - 2z² of the other's size.
    The targets are such that the residual has the size of the largest one, and is positive; 1 where that would be lost beside
    the rounding of the outputs.
    """
    z = np.array([[_ARGUMENT]])
    value, slope, curvature = (float(v[0, 0]) for v in ACTIVATIONS[ACTIVATION].jets(z, FLOAT64))
    k = int(np.abs(problem.y).argmax())
    X, largest = problem.X[k : k + 1], abs(float(problem.y[k]))
    size = largest if largest > _LOST else 1.0
    q = math.sqrt(1 + float((X * X).sum()))
    c = sign / (q * math.sqrt((slope / value) ** 2 - curvature / value))
    net = Network(np.full(4, c), np.zeros((4, X.shape[1])), np.full(4, _ARGUMENT), 0.75, ACTIVATION)
    return net, X, formulas.outputs(formulas.state(FLOAT64, net, X)) - size


def _norm(ends: Sequence[Array]) -> arb:
    """s̄ = ‖S‖ from above, from the eigenvalues of its blocks."""
    size: arb = max(max(abs(e[0]).upper(), abs(e[-1]).upper()) for e in ends)
    return size


def _small(net: Network, X: Array, y: Array, ar: Ball) -> _Small:
    state = formulas.state(ar, net, X)
    r = formulas.outputs(state) - ar.array(y)
    ends = [enclose_eigenvalues(block) for block in formulas.residual_hessian(state, r)]
    return _Small(
        formulas.jacobian(state).reshape(len(X), -1),
        formulas.hessian(state, r),
        formulas.gauss_newton_matrix(state),
        enclose_eigenvalues(formulas.ntk(state)),
        min(e[-1] for e in ends),
        _norm(ends),
    )


def _nntk_eigenvalues(net: _Small, A: Array, damping: arb, ar: Ball) -> Array:
    """Enclosed eigenvalues of J(A + γ_N I)⁻¹Jᵀ/M, descending."""
    product = net.J @ symmetric_solve(ar, formulas.add_diagonal(A, damping), net.J.T.copy())[0] / len(net.J)
    return enclose_eigenvalues((product + product.T) / 2)


def _bounds(b: arb, damping: arb, size: arb) -> tuple[arb, arb]:
    """(E18) for λₖ(B) = b: what λₖ(𝓑) lies between."""
    return b / (damping + size + b), b / (damping - size + b)


def _sandwich(net: _Small, damping: arb, where: str, ar: Ball) -> list[Comparison]:
    """(E18): for every k the lower bound, then the upper one."""
    return [
        Comparison(f"λ_{k + 1}(𝓑) {where}", value, relation, bound, shown=False)
        for k, (value, b) in enumerate(zip(_nntk_eigenvalues(net, net.hessian, damping, ar), net.base, strict=True))
        for relation, bound in zip("≥≤", _bounds(b, damping, net.size), strict=True)
    ]


def _equality(net: _Small, damping: arb, where: str, ar: Ball) -> list[Comparison]:
    """(E18) with S dropped, where it is an equality; that has no proof, so to a relative 2⁻²⁰. True whatever γ_N > 0 is."""
    return [
        Comparison(f"λ_{k + 1}(𝓑) without S {where}", value, relation, bound * side, shown=False)
        for k, (value, b) in enumerate(zip(_nntk_eigenvalues(net, net.gauss_newton, damping, ar), net.base, strict=True))
        for relation, bound, side in zip("≥≤", _bounds(b, damping, arb(0)), (1 - _EDGE, 1 + _EDGE), strict=True)
    ]


def _damping(net: _Small, factor: arb) -> arb:
    """γ_N a little more than factor s̄, so that no multiple of S by a whole number makes it exactly singular."""
    return (factor * net.size * (1 + arb(2) ** -60)).upper() if net.size > 0 else arb(2) ** -60


def _both(net: _Small, factor: arb, where: str, ar: Ball) -> list[Comparison]:
    damping = _damping(net, factor)
    place = f"at {where}, γ_N = {float(factor):g} s̄"
    return _sandwich(net, damping, place, ar) + _equality(net, damping, place, ar)


def _finite_comparisons(problem: Problem, seed: int, factor: arb, bits: int) -> list[Comparison]:
    """(E18) for a small network and at most eight of the points, with γ_N = factor s̄; with S dropped it comes last."""
    ar = Ball(bits)
    return _both(_small(*_drawn(problem, seed), ar), factor, f"N = 12, seed {seed}", ar)


def _attained_comparisons(problem: Problem, sign: int, bits: int) -> list[Comparison]:
    """(E18) where a side is nearly attained, the lower for `sign` 1, the upper for -1; first, that 0.99 s̄ is too small."""
    ar = Ball(bits)
    net, where = _small(*_aligned(problem, sign), ar), "four equal neurons"
    found = _both(net, _FACTORS[0], where, ar)
    side, relation = (0, "≤") if sign == 1 else (1, "≥")
    limit = _bounds(net.base[0], _damping(net, _FACTORS[0]), _SHORT * net.size)[side]
    return [Comparison(f"λ_1(𝓑), 0.99 s̄, {where}", found[side].number, relation, limit, shown=False), *found]


def _limit_check(problem: Problem, effort: Effort) -> Finding:
    """Both sides of γ = λ_min(1-ρ)/ρ, on the data and on grids of [0, 1]."""
    places = {"the data": problem.X} | {f"{M} points of [0, 1]": unit_interval(M).X for M in GRIDS[effort]}
    names = with_limit_kernel(effort)
    attempts = [(partial(_limit_comparisons, X, name, place),) for name in names for place, X in places.items()]
    comparisons = [c for case in trials(settle, attempts) for c in case]
    finding = conclude(comparisons, len(comparisons), "λ_min(𝓑*) ≥ ρ up to γ = λ_min(1-ρ)/ρ and not beyond")
    return replace(finding, panels=(_limit_panel(problem.X, names[0]),))


def _finite_check(problem: Problem, effort: Effort) -> Finding:
    """(E18), with γ_N near s̄ and far from it, and where it is nearly attained."""
    attempts = [partial(_finite_comparisons, problem, seed, factor) for seed in range(_SEEDS[effort]) for factor in _FACTORS]
    attempts += [partial(_attained_comparisons, problem, sign) for sign in (1, -1)]
    cases = trials(settle, [(attempt,) for attempt in attempts])
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
        gamma = factor * _largest_gamma(spectrum.smallest.mid(), _SHOWN)
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


def _refuted_alone(broken: Sequence[Comparison], sound: Sequence[Comparison], holds: str) -> Finding:
    """A control's finding: `broken` with the assumption broken, for its reason only if all that is `sound` holds.

    `sound` is the statement for the same kernel where the assumption is kept.
    """
    return for_its_reason(conclude(broken, 1, holds), conclude(sound, 1, holds))


def _limit_control(problem: Problem, effort: Effort) -> Finding:
    """γ kept at what is right for every second of (at most 16) points, for all of them.

    M λ_min(B̄) does not rise when points are added (interlacing), so λ_min falls by half at least; γ is then beyond its bound by
    a factor of 2 - 2⁻²⁰. A single point gets a second one at distance 1.
    """
    X = standardized(problem, 2 * _POINTS).X
    X = X if len(X) > 1 else np.concatenate([X, X + np.eye(1, X.shape[1])])
    few, activation = X[::2], with_limit_kernel(effort)[0]
    place = f"{len(X)} of the points with λ_min of {len(few)}"
    broken = settle(partial(_limit_comparisons, X, activation, place, right_for=few))
    sound = settle(partial(_limit_comparisons, few, activation, f"{len(few)} of the points"))
    return _refuted_alone(broken, sound, "λ_min(𝓑*) ≥ ρ with γ as for half the points")


def _beyond(problem: Problem, seed: int, bits: int) -> list[Comparison]:
    """(E18) with γ_N just above -λ_min(H), which is below s̄: H + γ_N I is nearly singular, and λ₁(𝓑) as large as one likes.

    Its upper bound λ₁(B)/(γ_N - s̄ + λ₁(B)) is not, since γ_N is far from s̄ - λ₁(B). First, that γ_N < s̄, and D is indefinite.
    """
    ar = Ball(bits)
    net = _small(*_drawn(problem, seed), ar)
    lowest = np.linalg.eigvalsh(np.array([[float(v.mid()) for v in row] for row in net.hessian]))[0]
    damping = arb(-float(lowest)) * (1 + _EDGE**2)
    where = f"at N = 12, seed {seed}, γ_N = {float(damping / net.size):.4g} s̄"
    assumption = [
        Comparison(f"γ_N {where}", damping, "<", net.size, shown=False),
        Comparison(f"λ_min(D) {where}", net.lowest + damping, "<", arb(0), shown=False),
    ]
    return assumption + _equality(net, damping, where, ar) + _sandwich(net, damping, where, ar)[1:2]


def _finite_control(problem: Problem, effort: Effort) -> Finding:
    """(E18) for λ₁(𝓑) with γ_N so small that D is indefinite, on standardized data; the same network obeys it at γ_N = 2 s̄."""
    data = standardized(problem, _POINTS)
    *kept, decisive = settle(partial(_beyond, data, 0))
    sound = [*settle(partial(_finite_comparisons, data, 0, _FACTORS[0])), *kept]
    return _refuted_alone([decisive], sound, "E18 holds though D is indefinite")


def control(problem: Problem, effort: Effort) -> Finding:
    """Each half with its assumption broken."""
    parts = {"limit": _limit_control(problem, effort), "finite width": _finite_control(problem, effort)}
    return together(parts, wanted=Verdict.REFUTED)


CLAIM = Claim(
    id="nntk-bound",
    statement="every eigenvalue of 𝓑* is at least λ_min/(γ + λ_min), so at least ρ when γ ≤ λ_min(1-ρ)/ρ; at finite width, "
    "with D ≻ 0, λₖ(B)/(γ_N + s̄ + λₖ(B)) ≤ λₖ(𝓑) ≤ λₖ(B)/(γ_N - s̄ + λₖ(B)) (E18), and not with 0.99 s̄",
    assumptions="distinct inputs; γ_N > s̄ = ‖S‖ at finite width",
    evidence=Evidence.CERTIFIED,
    check=check,
    control=control,
    control_reason="γ is fixed while the number of points grows, and λ_min(B̄) falls below it; at finite width γ_N < s̄ and D is "
    "indefinite",
)
