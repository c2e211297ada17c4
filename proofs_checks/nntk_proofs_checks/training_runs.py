"""`exponential` at finite width: networks trained on the data by Newton, and by gradient descent as the control.

With targets y + f₀ the error starts at -y, and in the limit it is -φ(B̄)y after T steps, φ(λ) = (1 - αλ/(γ + λ))ᵀ. A network of
width N differs from that by the change of its kernel, Δ = B̄ᴺ - B̄, to first order Dφ[Δ], whose mean is 0 and which is taken
away; and in the mean by O(N^(-2(1-β))) (E21). So the mean logarithm of the contraction, from two widths, has a limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from nntk_accelerated import ShallowNet, newton_step, ntk, outputs, regularization
from nntk_proofs_checks.claim import Effort, Finding, Problem, for_its_reason, unmet
from nntk_proofs_checks.ensemble import curvature, draw_network, kernel, standardized, to_torch
from nntk_proofs_checks.panel import Panel, Series
from nntk_proofs_checks.statistics import Interval, Rate, judge, mean, until_decided
from nntk_proofs_checks.trials import filled
from nntk_reference.arithmetic import Array

__all__ = ["gradient_descent_runs", "newton_runs"]

_BETA, _RHO, _STEPS = 0.6, 0.2, 3
_WIDER = 4
"""The second width over the first."""

_SEEDS = {Effort.QUICK: (16, 32), Effort.DEFAULT: (16, 32), Effort.FULL: (24, 48)}
"""Networks of each width, and how many there may be, as `ensemble.SEEDS`."""

_WIDEST = {Effort.QUICK: 2**12, Effort.DEFAULT: 2**13, Effort.FULL: 2**17}
_NARROWEST = 2**9
_CURVATURE_RATIO = 0.15
"""As in `ensemble.Setup`, at the smaller width."""

_MOST_POINTS = 16
_OFF = 1.05
"""By how much γ may not be off without being noticed."""

_FAR_OFF = 1.5
"""The same without the control variate, which a limit kernel that is wrong would also take away."""

_APART = 0.1
"""The slower mode's eigenvalue is at most this part of the faster one's in the control, whose factor is then at least 0.9,
where Newton's is 1 - ρ = 0.8."""


# ------------------------------------------------------------------------------------------------------------- data and widths


@dataclass(frozen=True, eq=False)
class _Case:
    """Points with targets of norm 1; γ = λ_min(1-ρ)/ρ for the points' B̄, and the smaller of the two widths."""

    problem: Problem

    @cached_property
    def modes(self) -> tuple[Array, Array]:
        """Eigenvalues of B̄, ascending, and eigenvectors."""
        values, vectors = np.linalg.eigh(kernel(self.problem))
        return values, vectors

    @property
    def gamma(self) -> float:
        return float(self.modes[0][0]) * (1 - _RHO) / _RHO

    @property
    def slowest(self) -> Array:
        """The eigenvector of λ_min, for which the rate is attained."""
        vector: Array = self.modes[1][:, 0].copy()
        return vector

    @cached_property
    def width(self) -> int:
        sizes = [curvature(replace(self.problem, y=y)) for y in (self.slowest, self.problem.y)]
        width = math.pow(max(sizes) / (_CURVATURE_RATIO * max(self.gamma, 1e-9)), 1 / (1 - _BETA))
        return max(_NARROWEST, math.ceil(width))


def _spread(X: Array) -> list[int]:
    """Points in the order of their distance to those before, at most 16; the first is the furthest from the mean."""
    order = [int(np.linalg.norm(X - X.mean(axis=0), axis=1).argmax())]
    distance = np.linalg.norm(X - X[order[0]], axis=1)
    while len(order) < _MOST_POINTS and distance.max() > 0:
        order.append(int(distance.argmax()))
        distance = np.minimum(distance, np.linalg.norm(X - X[order[-1]], axis=1))
    return order


def _of(problem: Problem, chosen: Sequence[int]) -> _Case:
    y = problem.y[chosen]
    return _Case(replace(problem, X=problem.X[chosen], y=y / max(float(np.linalg.norm(y)), 1e-300)))


def _within_reach(problem: Problem, widest: int) -> _Case | None:
    """As many of the points, spread, as widths up to this one can learn at the rate; None if not two."""
    data, found = standardized(problem, len(problem.X)), None
    order = _spread(data.X)
    for count in range(2, len(order) + 1):
        case = _of(data, order[:count])
        if _WIDER * case.width > widest:
            break
        found = case
    return found


def _pair(problem: Problem) -> _Case | None:
    """The two points that are furthest apart, brought nearer to the origin until their modes differ; None if all are equal.

    Far from it their kernel is nearly a multiple of the identity, and gradient descent as fast as Newton.
    """
    data = standardized(problem, len(problem.X))
    order = _spread(data.X)
    if len(order) < 2:
        return None
    case = _of(data, order[:2])
    while case.modes[0][0] > _APART * case.modes[0][1]:
        case = _Case(replace(case.problem, X=case.problem.X / math.sqrt(2)))
    return case


# ------------------------------------------------------------------------------------------------------------------- the runs


Step = Callable[[ShallowNet, Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class _Method:
    """A training method: its step, and the limit's factor of a mode of eigenvalue λ, with its derivative in λ."""

    name: str
    step: Step
    factor: Callable[[Array], Array]
    slope: Callable[[Array], Array]


def _newton(case: _Case, alpha: float) -> _Method:
    gamma = case.gamma

    def step(net: ShallowNet, X: Tensor, y: Tensor) -> Tensor:
        return newton_step(net, X, y, gamma, alpha=alpha).update

    return _Method(
        f"Newton, α = {alpha:g}", step, lambda v: 1 - alpha * v / (gamma + v), lambda v: -alpha * gamma / (gamma + v) ** 2
    )


def _descent(case: _Case) -> _Method:
    """Gradient descent (E12) at η̄ = 1/λ₁, the largest rate at which no mode overshoots; by automatic differentiation."""
    eta_bar = 1 / float(case.modes[0][-1])

    def step(net: ShallowNet, X: Tensor, y: Tensor) -> Tensor:
        loss = (net(X) - y).square().sum() / (2 * len(y))
        c, w, eta = torch.autograd.grad(loss, (net.c, net.w, net.eta))
        rate = eta_bar / regularization(1.0, net.width, net.beta)
        gradient: Tensor = torch.cat([c[:, None], w, eta[:, None]], dim=1)
        return gradient.mul_(-rate)

    return _Method("gradient descent", step, lambda v: 1 - eta_bar * v, lambda v: np.full_like(v, -eta_bar))


def _derivative(values: Array, method: _Method) -> Array:
    """Divided differences of φ (M, M): Dφ[Δ] is Δ times them, entry by entry, in the eigenvectors of B̄ (Daleckii and Krein)."""
    power = method.factor(values) ** _STEPS
    gap = values[:, None] - values
    near = np.abs(gap) <= 1e-6 * values[-1]
    middle = (values[:, None] + values) / 2
    slope = _STEPS * method.factor(middle) ** (_STEPS - 1) * method.slope(middle)
    out: Array = np.where(near, slope, (power[:, None] - power) / np.where(near, 1.0, gap))
    return out


@dataclass(frozen=True, eq=False)
class _Runs:
    """Networks trained at both widths, the smaller first: (2, seeds, …).

    errors  |f_t - y| for t = 0 … T, 1 at t = 0.
    first   what Δ adds to log|f_T - y|/T, to first order; its mean over the networks' law is 0.
    """

    errors: Array
    first: Array

    @property
    def logs(self) -> Array:
        """(2, seeds): log|f_T - y|/T."""
        out: Array = np.log(self.errors[:, :, -1]) / _STEPS
        return out


def _trained(X: Array, y: Array, width: int, index: int, method: _Method, seed: int) -> tuple[list[float], Array]:
    """|f_t - y| for t = 0 … T with targets y + f₀, and B̄ᴺ (M, M) at the start, of one network."""
    net = to_torch(draw_network(Problem(X, y, "", seed), _BETA, width, index))
    points = torch.tensor(X)
    targets = torch.tensor(y) + outputs(net, points)
    before, errors = ntk(net, points, normalized=True).numpy(), []
    for t in range(_STEPS + 1):
        errors.append(float((outputs(net, points) - targets).norm()))
        if t < _STEPS:
            net.move_(method.step(net, points, targets))
    return errors, before


def _trainer(case: _Case, y: Array, method: _Method) -> Callable[[int], _Runs]:
    """From a number of networks of each width to their runs. Those that it made before are not made again."""
    columns: list[list[tuple[list[float], Array]]] = [[], []]
    widths, X, (values, vectors) = (case.width, _WIDER * case.width), case.problem.X, case.modes
    start = vectors.T @ y
    end, derivative = method.factor(values) ** _STEPS * start, _derivative(values, method)

    def first(before: Array) -> float:
        off = vectors.T @ before @ vectors - np.diag(values)
        return float(end @ (derivative * off) @ start / (end @ end) / _STEPS)

    def runs(seeds: int) -> _Runs:
        made = filled(columns, [seeds] * 2, _trained, lambda k, n: (X, y, widths[k], n, method, case.problem.seed))
        errors = np.array([[errors for errors, _ in column] for column in made])
        return _Runs(errors, np.array([[first(before) for _, before in column] for column in made]))

    return runs


def _at_infinity(numbers: Array, looks: int = 1) -> Interval:
    """The limit for N → ∞ of the mean of numbers (2, seeds) at both widths.

    With corrections N^-p of one sign, p ≥ 2(1-β) (E21), it lies between the mean at the larger width and what that is
    extrapolated to with p = 2(1-β): the interval reaches over those of both.
    """
    growth = _WIDER ** (2 * (1 - _BETA))
    beyond = (growth * numbers[1] - numbers[0]) / (growth - 1)
    wider, extrapolated = mean(numbers[1], looks=looks), mean(beyond, looks=looks)
    return Interval(extrapolated.value, min(wider.low, extrapolated.low), max(wider.high, extrapolated.high))


# ------------------------------------------------------------------------------------------------------------------- findings


def _log_rate(alpha: float, off: float = 1.0) -> float:
    """log(1 - αλ_min/(γ' + λ_min)) with γ' = `off` times γ = λ_min(1-ρ)/ρ."""
    return math.log1p(-alpha / (1 + off * (1 - _RHO) / _RHO))


def _along_slowest(runs: _Runs, what: str, alpha: float, looks: int = 1) -> list[Rate]:
    """The rate is attained: γ 5 % larger or smaller has to be excluded, and without the control variate 50 %."""
    rates = []
    for label, numbers, off in (("", runs.logs - runs.first, _OFF), (", kernels as drawn", runs.logs, _FAR_OFF)):
        alternatives = _log_rate(alpha, off), _log_rate(alpha, 1 / off)
        rates.append(Rate(f"{what}{label}", _at_infinity(numbers, looks), "≈", _log_rate(alpha), alternatives))
    return rates


def newton_runs(problem: Problem, effort: Effort) -> Finding:
    """The contraction per step for N → ∞: with targets along the slowest mode the rate, with the data's own no slower."""
    widest = _WIDEST[effort]
    case = _within_reach(problem, widest)
    if case is None:
        return unmet(f"out of reach: two of the points differ by too little to be told apart by {widest} neurons at this rate")
    M, learns = len(case.problem.y), bool(case.problem.y.any())
    half, full = _newton(case, 0.5), _newton(case, 1.0)
    along_slowest, own = _trainer(case, case.slowest, half), _trainer(case, case.problem.y, full) if learns else None
    what = f"log of the error's factor per step, {M} points, N = {case.width} and {_WIDER * case.width}"

    def measure(seeds: int, looks: int) -> tuple[list[Rate], _Runs]:
        runs = along_slowest(seeds)
        rates = _along_slowest(runs, f"{what}, targets along the slowest mode, {half.name}", 0.5, looks)
        if own is not None:
            found = own(seeds)
            factor = _at_infinity(found.logs - found.first, looks)
            rates.append(Rate(f"{what}, the data's targets, {full.name}", factor, "≲", _log_rate(1.0), (_log_rate(1.0, _OFF),)))
        return rates, runs

    rates, runs, seeds = until_decided(_SEEDS[effort], measure)
    finding = judge(rates, 2 * seeds * (1 + learns), (_panel(case, half, runs),))
    return replace(finding, why=f"{finding.why} ({M} of {len(problem.y)} points within reach)")


def gradient_descent_runs(problem: Problem, effort: Effort) -> Finding:
    """Gradient descent on two points held against Newton's rate; refuted counts only where (E12) gives its factor."""
    case = _pair(problem)
    if case is None:
        return unmet("assumption not met: all inputs are equal")
    return _held_against_newton(case, _descent(case), _SEEDS[Effort.QUICK])


def _held_against_newton(case: _Case, method: _Method, seeds: Sequence[int]) -> Finding:
    train = _trainer(case, case.slowest, method)
    what = f"log of the error's factor per step, {method.name}, N = {case.width} and {_WIDER * case.width}"
    factor = float(np.log(method.factor(case.modes[0][:1]))[0])

    def measure(count: int, looks: int) -> tuple[list[Rate], _Runs]:
        runs = train(count)
        own = Rate(what, _at_infinity(runs.logs - runs.first, looks), "≈", factor, ())
        return [_along_slowest(runs, what, 1.0, looks)[0], own], runs

    (newton, own), runs, count = until_decided(seeds, measure)
    return for_its_reason(judge([newton], 2 * count, (_panel(case, method, runs),)), judge([own], 2 * count))


def _panel(case: _Case, method: _Method, runs: _Runs) -> Panel:
    errors = runs.errors[1]
    t = tuple(float(k) for k in range(_STEPS + 1))
    measured = tuple(np.exp(np.log(errors).mean(axis=0)).tolist())
    low, high = tuple(errors.min(axis=0).tolist()), tuple(errors.max(axis=0).tolist())
    slowest, others = case.modes[0][:1], {m.name: m for m in (method, _newton(case, 1.0), _descent(case))}
    series = [Series(f"{method.name}, N = {_WIDER * case.width}, and its range", t, measured, low, high)]
    for colour, other in enumerate(others.values()):
        factor = float(other.factor(slowest)[0])
        series.append(Series(f"{other.name}, limit", t, tuple(factor**k for k in t), style="dashed", colour=colour))
    points = len(case.problem.y)
    return Panel(
        f"{points} points, targets along the slowest mode: {method.name}",
        "step t",
        "|f_t - y| / |f₀ - y|",
        tuple(series),
        log="y",
    )
