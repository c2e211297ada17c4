"""The certified half of `vanishing-updates`: (E17) bounds the update of every single neuron.

Derivation. Δᵢ = -α Dᵢ⁻¹Jᵢᵀv with v = (M I + JD⁻¹Jᵀ)⁻¹r (E13). If D ≻ 0, then |v| ≤ |r|/M; the rows of Jᵢ are at most N^(-β)ℓᵢ
long, so |Jᵢᵀv| ≤ N^(-β)ℓᵢ Σ|vₘ| ≤ N^(-β)ℓᵢ √M|v| ≤ N^(-β)ℓᵢ √(2L), since |r| = √(2ML).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from flint import arb, ctx

from nntk_accelerated import ShallowNet, newton_step, sufficient_gamma
from nntk_proofs_checks.certify import Comparison, conclude, norm
from nntk_proofs_checks.claim import Effort, Finding, Problem, together, unmet
from nntk_proofs_checks.ensemble import draw_network, to_torch
from nntk_proofs_checks.tried import ACTIVATION, LAW, of_networks
from nntk_proofs_checks.wide import affordable, states
from nntk_reference import (
    FLOAT64,
    Ball,
    Network,
    Verdict,
    activation,
    eigenvalues,
    formulas,
    hessian,
    regularization,
    sample_network,
)
from nntk_reference import newton_step as reference_step
from nntk_reference.arithmetic import Array

__all__ = ["control", "update_bound_findings"]

_PARAMETERS = {Effort.QUICK: 18, Effort.DEFAULT: 30, Effort.FULL: 60}  # of the networks in balls
_WIDTHS = {Effort.QUICK: (2**12,), Effort.DEFAULT: (2**12, 2**15), Effort.FULL: (2**12, 10**5, 10**6)}
_WORK = {Effort.QUICK: 3e7, Effort.DEFAULT: 3e8, Effort.FULL: 3e9}  # N(d+2)M² of a step
_BETAS = (0.6, 0.9)
_FACTORS = (1.25, 4.0)  # γ in units of the bound that makes D ≻ 0
_SHARP = 100.0  # γ, or what S asks of it, in units of the kernel, where v is nearly r/M, which (E17) takes it for
_BALL = Ball(128)
_U = 2.0**-53
_THIRD = 2.0  # sup|σ'''| of `ACTIVATION`, tanh, and no less than sup|σ'|: the registry has none
_NETWORKS = 10  # drawn in search of a control


# -------------------------------------------------------------------------------------------------------- (E17) and its states


def _right_side(alpha: float, least: Any, longest: Any, root: Any) -> Any:
    """(E17): α |Dᵢ⁻¹| N^(-β)ℓᵢ √(2L), with least = 1/|Dᵢ⁻¹|."""
    return alpha * longest * root / least


def _longest(lengths: Array) -> Array:
    """N^(-β)ℓᵢ (N,), from the lengths of Jᵢ's rows (M, N)."""
    out: Array = lengths.max(axis=0)
    return out


def _root_of_loss(size: Any, root_of_M: Any) -> Any:
    """√(2L) = |r|/√M."""
    return size / root_of_M


@dataclass(frozen=True, eq=False)
class _State:
    """Data on which a network takes a step; γ is `factor` times what makes D ≻ 0, or the kernel if that is more."""

    X: Array
    y: Array
    factor: float
    alpha: float
    kernel: float


def _states(net: Network, X: Array, y: Array, least: Callable[[Array, Array], float]) -> list[_State]:
    """What (E17) is held against; `least(X, y)` is the γ that makes D ≻ 0.

    1. All data with γ near it, where S and JᵀJ/M both matter, and further from it.
    2. One point and a γ so large that neither does: (E17) is nearly attained.
    3. One point whose residual is so large that S matters and JᵀJ/M does not: nearly attained where Jᵢ lies along the weakest
       direction of Dᵢ, so that |Dᵢ⁻¹| cannot be less.
    4. All data with equal residuals and a large γ, where √(2L) cannot be less for rows of Jᵢ that are nearly parallel.
    5. Two points of which one is fitted and a large γ, where ℓᵢ cannot be a mean over the data.
    """
    f = sum((formulas.outputs(s) for _, s in states(net, X)), np.zeros(len(X)))
    r = f - y
    one, size, kernel = np.argsort(np.abs(y))[-1:], max(float(np.abs(r).max()), 1e-3), _kernel(net, X)
    far = [int(one[0]), int(np.linalg.norm(X - X[one], axis=1).argmax())]
    needed = least(X[one], f[one] - size)
    larger = _SHARP * kernel / needed if needed > 0 else 1.0
    fitted = f[far] - size * np.array([1.0, 0.0])
    return [
        _State(X, y, _FACTORS[0], 1.0, 0.0),
        _State(X, y, _FACTORS[1], 0.5, 0.0),
        _State(X[one], y[one], _SHARP, 1.0, kernel),
        _State(X[one], f[one] - larger * size, _FACTORS[0], 1.0, 0.0),
        _State(X, f - size, _SHARP, 0.5, kernel),
        _State(X[far], fitted, _SHARP, 1.0, kernel),
    ]


# ----------------------------------------------------------------------------------------------------------------- in balls


@dataclass(frozen=True, eq=False)
class _Case:
    """(E17) of all neurons of one network; is D proved positive definite, and H + γ_N I?"""

    comparisons: list[Comparison]
    definite: bool
    negative: int


def _in_balls(net: Network, X: Array, y: Array, gamma: float, alpha: float, label: str) -> _Case:
    """Both sides of (E17), enclosed, with |Dᵢ⁻¹| = 1/min|λ(Dᵢ)|; without neurons where an eigenvalue has no proved sign."""
    step = reference_step(net, X, y, gamma, alpha=alpha, arithmetic=_BALL)
    with ctx.workprec(2 * _BALL.bits):
        s = formulas.state(_BALL, net, X)
        r = formulas.outputs(s) - _BALL.array(y)
        S, J = formulas.residual_hessian(s, r), formulas.jacobian(s)
        root, definite, comparisons = _root_of_loss(norm(r), arb(len(X)).sqrt()), True, []
        longest = _longest(np.array([[norm(row).upper() for row in rows] for rows in J], dtype=object))
        for i in range(net.width):
            values = [v + step.damping for v in eigenvalues(S[i], _BALL)]
            definite = definite and all(v > 0 for v in values)
            if any(v.contains(0) for v in values):
                continue
            least = min((abs(v) for v in values), key=lambda v: v.lower())
            if least > 0 and longest[i] > 0:
                bound = _right_side(alpha, least, longest[i], root)
                comparisons.append(Comparison(f"|Δᵢ|/bound, {label}, neuron {i}", norm(step.update[i]) / bound, "≤", arb(1)))
    return _Case(comparisons, definite, step.negative_eigenvalues)


def _small(problem: Problem, effort: Effort) -> Finding | None:
    """Small networks in balls; None where the inputs have too many dimensions."""
    X, y = problem.X, problem.y
    M, d = X.shape
    width = min(20, _PARAMETERS[effort] // (d + 2))
    if width == 0:
        return None
    cases = []
    few = np.unique(np.linspace(0, M - 1, min(M, 8)).round().astype(int))
    for k, name in enumerate(of_networks(effort)):
        rng = np.random.default_rng([problem.seed, width, k])
        net = sample_network(width, d, beta=0.75, activation=name, seed=rng, law=LAW)
        for state in _states(net, X[few], y[few], partial(_least_gamma, net)):
            gamma = state.factor * max(_least_gamma(net, state.X, state.y), state.kernel)
            label = f"{name}, N = {width}, M = {len(state.X)}, γ = {gamma:.4g}, α = {state.alpha:g}"
            cases.append(_in_balls(net, state.X, state.y, gamma, state.alpha, label))
    if not all(case.definite for case in cases):
        return Finding.undecided("D was not proved positive definite", cases=len(cases))
    comparisons = [c for case in cases for c in case.comparisons]
    with ctx.workprec(_BALL.bits):
        return conclude(comparisons, len(comparisons), f"(E17) holds for every neuron of {len(cases)} small networks, in balls")


def _least_gamma(net: Network, X: Array, y: Array) -> float:
    """Above this γ, D ≻ 0, to rounding: max|Sᵢ| N^(2β-1)."""
    s = formulas.state(FLOAT64, net, X)
    S = formulas.residual_hessian(s, formulas.outputs(s) - y)
    return float(np.abs(np.linalg.eigvalsh(S)).max() / regularization(1.0, net.width, net.beta))


def _kernel(net: Network, X: Array) -> float:
    """The size of the width-normalized NTK (E7): its trace."""
    squares = sum(float((formulas.jacobian(s) ** 2).sum()) for _, s in states(net, X))
    return float(squares / len(X) / regularization(1.0, net.width, net.beta))


# --------------------------------------------------------------------------------------------------------------- wide networks


@dataclass(frozen=True, eq=False)
class _Errors:
    """Bounds of the rounding errors of a network's float64 quantities, for the activation of the wide networks.

    most       the largest of sup|σ|, sup|σ'|, sup|σ''|.
    jet        (N,) error of σ and σ': of z times the slope, and 32 units for the functions.
    curvature  (N,) error of σ'', likewise.
    residual   of every rₘ: c σ summed in any order.
    """

    most: float
    jet: Array
    curvature: Array
    residual: float


def _errors(net: Network, X: Array, r: Array, y: Array) -> _Errors:
    reach = np.abs(net.w) @ np.abs(X).max(axis=0) + np.abs(net.eta)
    most = max(activation(net.activation).suprema(FLOAT64))
    argument = (net.dim + 4) * _U * reach
    jet, curvature = most * (argument + 32 * _U), _THIRD * (argument + 32 * _U)
    scale = float(net.width) ** -net.beta
    terms = np.abs(net.c) * (jet + (net.width + 64) * _U * most)
    largest = float((np.abs(r) + 2 * np.abs(y)).max())
    return _Errors(most, jet, curvature, 1.001 * (scale * float(terms.sum()) + 8 * _U * largest))


@dataclass(frozen=True)
class _Ratio:
    """Proved ends of max |Δᵢ|/bound over the neurons of one network, at the neuron with the largest upper end."""

    label: str
    low: float
    high: float


def _ratio(net: Network, X: Array, y: Array, gamma: float, alpha: float, label: str) -> _Ratio | None:
    """Both sides of (E17) with all rounding errors; infinite where D is not proved positive definite.

    The step comes from the accelerated package, everything else from the definitions in NumPy. With A = H + γ_N I ⪰ D and
    g = ∇L the computed Δ̂ = Δ + e has |Ae| ≤ η(‖A‖|Δ̂| + α|g|), where η is the residual that the step proves, of the exact A
    and g. So |eᵢ| ≤ |e| ≤ |Ae|/λ_min(D). None where the step proves none.
    """
    M, q = len(X), math.sqrt(1 + float((X * X).sum(axis=1).max()))
    step = newton_step(to_torch(net), torch.tensor(X), torch.tensor(y), gamma, alpha=alpha)
    if not step.residual_bound < 1:
        return None
    r = sum((formulas.outputs(s) for _, s in states(net, X)), np.zeros(M)) - y
    error = _errors(net, X, r, y)
    scale, mean = float(net.width) ** -net.beta, float(np.abs(r).mean())
    c = np.abs(net.c)
    jacobian_error = 1.001 * scale * (error.jet + c * q * error.jet + 32 * _U * error.most * (1 + c * q))  # of a row of Jᵢ
    of_sum = np.maximum(error.jet, error.curvature) + (M + 64) * _U * error.most
    block_error = 1.001 * scale * (1.5 * q + c * q * q) * (error.residual * error.most + mean * of_sum)
    longest, largest, eigen, sizes = (np.empty(net.width) for _ in range(4))
    for part, s in states(net, X):
        S = formulas.residual_hessian(s, r)
        rows = np.sqrt((formulas.jacobian(s) ** 2).sum(axis=2))
        longest[part], largest[part], eigen[part] = _longest(rows), rows.max(axis=0), _lowest(S)
        sizes[part] = np.sqrt((S * S).sum(axis=(1, 2)))
    damping = step.damping
    block_error = block_error + 16 * (net.dim + 2) ** 2 * _U * (sizes + damping)
    least_low, least_high = damping + eigen - block_error, damping + eigen + block_error
    if not least_low.min() > 0:
        return _Ratio(label, 0.0, math.inf)

    frobenius = math.sqrt(M * float(((largest + jacobian_error) ** 2).sum()))
    size_r = float(np.linalg.norm(r)) + math.sqrt(M) * error.residual
    A, gradient = frobenius**2 / M + float(sizes.max() + block_error.max()) + damping, frobenius * size_r / M
    update = step.update.numpy()
    length = float(np.linalg.norm(update))
    off = 1.01 * step.residual_bound * (A * length + alpha * gradient) / least_low.min()

    moved = np.sqrt((update * update).sum(axis=1))
    root = _root_of_loss(float(np.linalg.norm(r)), math.sqrt(M))
    with np.errstate(divide="ignore", invalid="ignore"):
        low_bound = _right_side(alpha, least_high, longest - jacobian_error, root - error.residual) * (1 - 1e-12)
        high_bound = _right_side(alpha, least_low, longest + jacobian_error, root + error.residual) * (1 + 1e-12)
        high = np.where(low_bound > 0, (moved * (1 + 1e-12) + off) / low_bound, math.inf)
        low = (moved * (1 - 1e-12) - off) / high_bound
    # a neuron proved to violate the bound decides, whatever the others do
    k = int(low.argmax()) if low.max() > 1 else int(high.argmax())
    return _Ratio(label, float(low[k]), float(high[k]))


def _lowest(S: Array) -> Array:
    """The smallest eigenvalue of every block (N,)."""
    out: Array = np.linalg.eigvalsh(S)[:, 0]
    return out


def _wide(problem: Problem, effort: Effort) -> Finding:
    """Wide networks in float64, with γ beyond (E16)."""
    ratios: list[_Ratio | None] = []
    neurons = 0
    for beta in _BETAS:
        for width in affordable(_WIDTHS[effort], problem, _WORK[effort]):
            net = draw_network(problem, beta, width, 0)
            fast = to_torch(net)

            def least(X: Array, y: Array, fast: ShallowNet = fast) -> float:
                return sufficient_gamma(fast, torch.tensor(X), torch.tensor(y))

            for state in _states(net, problem.X, problem.y, least):
                gamma = state.factor * max(least(state.X, state.y), state.kernel)
                label = f"{ACTIVATION}, β = {beta}, N = {width}, M = {len(state.X)}, γ = {gamma:.4g}, α = {state.alpha:g}"
                ratios.append(_ratio(net, state.X, state.y, gamma, state.alpha, label))
                neurons += width
    return _judged(ratios, neurons)


def _judged(found: Sequence[_Ratio | None], neurons: int) -> Finding:
    """The finding; steps without a proved residual are left out and counted."""
    ratios = [ratio for ratio in found if ratio is not None]
    if not ratios:
        return unmet("no step has a proved residual")
    left_out = f"; left out: {len(found) - len(ratios)} steps without a proved residual" if len(ratios) < len(found) else ""
    if not all(math.isfinite(ratio.low) and not math.isnan(ratio.high) for ratio in ratios):
        return Finding.undecided("|Δᵢ|/bound is not a number somewhere", cases=neurons)
    broken = max(ratios, key=lambda ratio: ratio.low)
    worst = max(ratios, key=lambda ratio: ratio.high)
    if broken.low > 1:
        return Finding(Verdict.REFUTED, broken.low, "≤", 1.0, neurons, f"proved false: |Δᵢ|/bound at {broken.label}")
    if not worst.high <= 1:
        why = f"|Δᵢ|/bound is not known better than [{worst.low:.6g}, {worst.high:.6g}] at {worst.label}"
        return Finding.undecided(why, cases=neurons)
    why = f"(E17) holds for {neurons} neurons of {len(ratios)} wide networks; closest: {worst.high:.6g} at {worst.label}"
    return Finding(Verdict.HOLDS, worst.high, "≤", 1.0, neurons, why + left_out)


# ------------------------------------------------------------------------------------------------------------------- findings


def update_bound_findings(problem: Problem, effort: Effort) -> Finding:
    """(E17) for every neuron of small networks in balls, and of wide ones in float64 with all rounding errors bounded."""
    wide, small = _wide(problem, effort), _small(problem, effort)
    parts = {"wide networks": wide} | ({"small networks": small} if small is not None else {})
    found = together(parts)
    if found.verdict is Verdict.HOLDS:
        return replace(found, number=max(f.number for f in parts.values() if f.applies and f.number is not None))
    return found


def control(problem: Problem, effort: Effort) -> Finding:
    """(E17) without D ≻ 0: γ_N just above -λ_min(H), where H + γ_N I is positive definite and some Dᵢ is not.

    One step then goes as far as it likes, since |v| ≤ |r|/M is lost, while |Dᵢ⁻¹| stays bounded. Shown in balls.
    """
    d = problem.X.shape[1]
    points = np.argsort(np.abs(problem.y))[-2:]
    X, y = problem.X[points], problem.y[points]
    width = max(2, min(6, _PARAMETERS[effort] // (d + 2)))
    last = Finding.undecided("no network was found where a step leaves the bound behind")
    for seed in range(_NETWORKS):
        net = sample_network(width, d, beta=0.75, seed=np.random.default_rng([problem.seed, width, seed]), law=LAW)
        least = float(np.linalg.eigvalsh(hessian(net, X, y))[0])
        if least >= 0:
            continue
        for near in (1e-2, 1e-4, 1e-6, 1e-8):
            gamma = -least * (1 + near) / regularization(1.0, width, net.beta)
            case = _in_balls(net, X, y, gamma, 1.0, f"N = {width}, γ_N = -(1 + {near:g}) λ_min(H)")
            if case.definite or case.negative or not case.comparisons:
                continue
            with ctx.workprec(_BALL.bits):
                last = conclude(case.comparisons, len(case.comparisons), "(E17) without D ≻ 0")
            if last.verdict is Verdict.REFUTED:
                return replace(last, why=f"{last.why}; H + γ_N I is positive definite, D is not")
    return last
