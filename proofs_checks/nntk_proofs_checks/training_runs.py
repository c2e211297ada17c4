"""`exponential` at finite width: networks trained on targets along the slowest mode, by Newton and by gradient descent."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from nntk_accelerated import ShallowNet, newton_step, outputs, regularization
from nntk_proofs_checks.claim import Effort, Finding, Problem, unmet
from nntk_proofs_checks.ensemble import curvature, draw_network, kernel, standardized, to_torch
from nntk_proofs_checks.panel import Panel, Series
from nntk_proofs_checks.statistics import Rate, judge, mean
from nntk_proofs_checks.trials import one_thread
from nntk_reference.arithmetic import Array

__all__ = ["gradient_descent_runs", "newton_runs"]

_BETA, _RHO, _STEPS = 0.6, 0.5, 5
_FINITE = 0.8
"""How much of the limit's rate ρ a finite network has to reach: the rest is for its distance from the limit."""

_SEEDS = {Effort.QUICK: 24, Effort.DEFAULT: 32, Effort.FULL: 50}
_WIDEST = {Effort.QUICK: 2**14, Effort.DEFAULT: 2**16, Effort.FULL: 2**18}
_APART = 0.35
"""The slower mode's eigenvalue is at most this part of the faster one's."""

_CURVATURE_RATIO = 0.15
"""As in `ensemble.Setup`, at the width that is used."""


@dataclass(frozen=True, eq=False)
class _Case:
    """Two points, targets of norm 1 along the slowest mode of B̄, whose eigenvalues are `slow` < `fast`; γ = λ_min(1-ρ)/ρ."""

    problem: Problem
    slow: float
    fast: float
    width: int

    @property
    def gamma(self) -> float:
        return self.slow * (1 - _RHO) / _RHO


def _case(problem: Problem) -> _Case | None:
    """The two inputs that are furthest apart, brought nearer to the origin until their modes differ, and the width they need.

    Far from it their kernel is nearly a multiple of the identity, and gradient descent as fast as Newton. None if all agree.
    """
    X = standardized(problem).X
    first = int(np.linalg.norm(X - X.mean(axis=0), axis=1).argmax())
    second = int(np.linalg.norm(X - X[first], axis=1).argmax())
    if (X[first] == X[second]).all():
        return None
    pair = Problem(X[[first, second]], np.ones(2), problem.source, problem.seed)
    values, vectors = np.linalg.eigh(kernel(pair))
    while values[0] > _APART * values[1]:
        pair = replace(pair, X=pair.X / 2)
        values, vectors = np.linalg.eigh(kernel(pair))
    exact = replace(pair, y=vectors[:, 0].copy())
    gamma = max(values[0] * (1 - _RHO) / _RHO, 1e-9)
    width = (curvature(exact) / (_CURVATURE_RATIO * gamma)) ** (1 / (1 - _BETA))
    return _Case(exact, float(values[0]), float(values[-1]), math.ceil(width))


def _newton(case: _Case) -> Callable[[ShallowNet, Tensor, Tensor], Tensor]:
    return lambda net, X, y: newton_step(net, X, y, case.gamma).update


def _descent(case: _Case) -> Callable[[ShallowNet, Tensor, Tensor], Tensor]:
    """Gradient descent (E12) at η̄ = 1/λ₁, the largest rate at which no mode overshoots; by automatic differentiation."""

    def step(net: ShallowNet, X: Tensor, y: Tensor) -> Tensor:
        loss = (net(X) - y).square().sum() / (2 * len(y))
        c, w, eta = torch.autograd.grad(loss, (net.c, net.w, net.eta))
        rate = 1 / (regularization(1.0, net.width, net.beta) * case.fast)
        gradient: Tensor = torch.cat([c[:, None], w, eta[:, None]], dim=1)
        return gradient.mul_(-rate)

    return step


def _errors(case: _Case, seeds: int, step: Callable[[ShallowNet, Tensor, Tensor], Tensor]) -> Array:
    """|f_t - y|/|f₀ - y| (seeds, T+1), for targets y + f₀: the error starts along the slowest mode."""
    X = torch.tensor(case.problem.X)
    out = np.empty((seeds, _STEPS + 1))
    for index in range(seeds):
        net = to_torch(draw_network(case.problem, _BETA, case.width, index))
        y = torch.tensor(case.problem.y) + outputs(net, X)
        for t in range(_STEPS + 1):
            out[index, t] = float((outputs(net, X) - y).norm())
            if t < _STEPS:
                net.move_(step(net, X, y))
    ratios: Array = out / out[:, :1]
    return ratios


def newton_runs(problem: Problem, effort: Effort) -> Finding:
    """Mean logarithm of the contraction per Newton step, against 0.8 of the limit's rate, for the worst targets."""
    return _finding(problem, effort, "Newton", _newton)


def gradient_descent_runs(problem: Problem, effort: Effort) -> Finding:
    """The same for gradient descent, which does not keep to it."""
    return _finding(problem, effort, "gradient descent", _descent)


def _finding(
    problem: Problem, effort: Effort, name: str, method: Callable[[_Case], Callable[[ShallowNet, Tensor, Tensor], Tensor]]
) -> Finding:
    case = _case(problem)
    if case is None:
        return unmet("assumption not met: all inputs are equal")
    if case.width > _WIDEST[effort]:
        return unmet(f"out of reach: even two of the points need more than {_WIDEST[effort]} neurons for this rate")
    with one_thread():
        errors = _errors(case, _SEEDS[effort], method(case))
    rates = np.log(errors[:, -1]) / _STEPS
    slowest = math.log1p(-case.slow / case.fast)
    wanted = math.log(1 - _FINITE * _RHO)
    rate = Rate(f"log of the error's factor per step, {name}, N = {case.width}", mean(rates), "≲", wanted, (slowest,))
    return judge([rate], len(rates), (_panel(case, name, errors),))


def _panel(case: _Case, name: str, errors: Array) -> Panel:
    t = tuple(float(k) for k in range(_STEPS + 1))
    measured = tuple(np.exp(np.log(errors).mean(axis=0)).tolist())
    low, high = tuple(errors.min(axis=0).tolist()), tuple(errors.max(axis=0).tolist())
    newton = tuple((1 - _RHO) ** k for k in t)
    descent = tuple((1 - case.slow / case.fast) ** k for k in t)
    series = (
        Series(f"{name}, N = {case.width}, and its range", t, measured, low, high),
        Series("Newton, limit", t, newton, style="dashed"),
        Series("gradient descent, limit", t, descent, style="dashed", colour=1),
    )
    return Panel(f"Two points, targets along the slowest mode: {name}", "step t", "|f_t - y| / |f₀ - y|", series, log="y")
