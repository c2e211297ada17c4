"""`push-through`: what makes the exact step cheap, (E13) and (E14), over the rationals; and that (E4) is the Hessian."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import sympy
import torch
from flint import arb, ctx, fmpq, fmpq_mat

from nntk_accelerated import NewtonStep, newton_step
from nntk_proofs_checks.certify import norm
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, together
from nntk_proofs_checks.ensemble import to_torch
from nntk_proofs_checks.tried import LAW, of_networks
from nntk_reference import (
    Ball,
    Inertia,
    Network,
    Verdict,
    formulas,
    gradient,
    hessian,
    inertia,
    regularization,
    sample_network,
)
from nntk_reference.arithmetic import Array

__all__ = ["CLAIM"]

_DRAWS = {Effort.QUICK: 60, Effort.DEFAULT: 300, Effort.FULL: 3000}
_DIMENSIONS = {Effort.QUICK: (1, 2, 3), Effort.DEFAULT: (1, 2, 3, 4), Effort.FULL: (1, 2, 3, 4) * 8}
_BALLS = Ball(192)
_BACKWARD = 1024 * float(np.finfo(np.float64).eps)
"""The scaled residual beyond which `nntk_accelerated.newton_step` promises to raise."""


@dataclass(frozen=True, eq=False)
class _System:
    """A rational network state: J (M, P), the blocks of D, and γ_N."""

    J: fmpq_mat
    S: fmpq_mat
    damping: fmpq

    @property
    def count(self) -> int:
        return int(self.J.nrows())


def _rational(rng: np.random.Generator, *shape: int) -> Array:
    numerators, denominators = rng.integers(-(2**15), 2**15, shape), rng.integers(1, 2**8, shape)
    out = np.empty(shape, dtype=object)
    for index in np.ndindex(*shape):
        out[index] = fmpq(int(numerators[index]), int(denominators[index]))
    return out


def _systems(seed: int) -> Iterator[_System]:
    """States with arbitrary rational values of σ, σ', σ'': any activation takes such values somewhere."""
    rng = np.random.default_rng(seed)
    for N, d, M in itertools.cycle(itertools.product((1, 2, 3), (1, 2, 3), (1, 2, 4))):
        inputs = formulas.augmented(_rational(rng, M, d))
        jets = (_rational(rng, M, N) for _ in range(3))
        state = formulas.State(fmpq(1, int(rng.integers(2, 9))), _rational(rng, N), inputs, *jets)
        S = formulas.residual_hessian(state, _rational(rng, M))
        zero = np.full((N * (d + 2), N * (d + 2)), fmpq(0), dtype=object)
        dense = fmpq_mat(formulas.add_blocks(zero, S).tolist())
        J = fmpq_mat(formulas.jacobian(state).reshape(M, -1).tolist())
        yield _System(J, dense, abs(_rational(rng, 1)[0]) + fmpq(1, 100))


def _negative(A: fmpq_mat) -> int:
    """Negative eigenvalues of a symmetric matrix, exactly.

    Its characteristic polynomial p has real roots only, so Descartes' rule of signs, applied to p(-x), counts them.
    """
    signs = [(1 if c > 0 else -1) * (-1) ** k for k, c in enumerate(A.charpoly().coeffs()) if c != 0]
    return sum(a != b for a, b in itertools.pairwise(signs))


def _identity(size: int, factor: fmpq) -> fmpq_mat:
    return fmpq_mat(size, size, [factor if i == j else fmpq(0) for i in range(size) for j in range(size)])


def _gaps(system: _System, *, drop_residual: bool) -> tuple[fmpq, int] | None:
    """(largest difference of the two sides of E13, difference of those of E14); None where a matrix is singular.

    `drop_residual` plants the control's fault: D = γ_N I on the right-hand sides.
    """
    J, M = system.J, system.count
    shift = _identity(J.ncols(), system.damping)
    H = J.transpose() * J * fmpq(1, M) + system.S + shift
    D = shift if drop_residual else system.S + shift
    if H.det() == 0 or D.det() == 0:
        return None
    solved = D.solve(J.transpose())
    small = _identity(M, fmpq(M)) + J * solved
    if small.det() == 0:
        return None
    difference = H.solve(J.transpose()) * fmpq(1, M) - solved * small.inv()
    largest = max(abs(v) for v in difference.entries())
    return largest, abs(_negative(H) - (_negative(D) - _negative(small)))


def _over_rationals(effort: Effort, *, drop_residual: bool) -> tuple[fmpq, int, int, int]:
    """(largest gap in E13, largest gap in E14, cases, cases with an indefinite matrix)."""
    worst, worst_inertia, cases, indefinite = fmpq(0), 0, 0, 0
    for system in _systems(seed=20260508):
        if cases == _DRAWS[effort]:
            break
        gaps = _gaps(system, drop_residual=drop_residual)
        if gaps is not None:
            worst, worst_inertia, cases = max(worst, gaps[0]), max(worst_inertia, gaps[1]), cases + 1
            indefinite += _negative(system.S + _identity(system.J.ncols(), system.damping)) > 0
    return worst, worst_inertia, cases, indefinite


@lru_cache
def _jet(order: int) -> type[sympy.Function]:
    """A function symbol σ⁽ᵒʳᵈᵉʳ⁾ whose derivative is the next one: a general activation."""

    def fdiff(self: Any, argindex: int = 1) -> Any:
        return _jet(order + 1)(self.args[0])

    return type(f"sigma{order}", (sympy.Function,), {"fdiff": fdiff})


def _symbolic_gap(N: int, d: int, M: int) -> int:
    """Entries in which `formulas.hessian` differs from the Hessian of the loss, differentiated by sympy for a general σ."""
    c, eta = sympy.symbols(f"c:{N}"), sympy.symbols(f"eta:{N}")
    w = [sympy.symbols(f"w{i}_:{d}") for i in range(N)]
    x = [sympy.symbols(f"x{m}_:{d}") for m in range(M)]
    y, scale = sympy.symbols(f"y:{M}"), sympy.Symbol("scale")
    sigma = [_jet(k) for k in range(3)]
    z = [[sum(a * b for a, b in zip(w[i], x[m], strict=True)) + eta[i] for i in range(N)] for m in range(M)]
    r = [scale * sum(c[i] * sigma[0](z[m][i]) for i in range(N)) - y[m] for m in range(M)]
    loss = sum(v * v for v in r) / (2 * M)
    order = [p for i in range(N) for p in (c[i], *w[i], eta[i])]

    jets = (np.array([[s(z[m][i]) for i in range(N)] for m in range(M)], dtype=object) for s in sigma)
    inputs = formulas.augmented(np.array(x, dtype=object))
    H = formulas.hessian(formulas.State(scale, np.array(c, dtype=object), inputs, *jets), np.array(r, dtype=object))
    slopes = [sympy.diff(loss, p) for p in order]
    return sum(
        sympy.expand(sympy.diff(slopes[i], order[j]) - H[i, j]) != 0 for i in range(len(order)) for j in range(len(order))
    )


def _identities(effort: Effort) -> Finding:
    shapes = [(2, 1, 2), (2, 2, 1)]
    wrong = sum(_symbolic_gap(*shape) for shape in shapes)
    worst, worst_inertia, cases, indefinite = _over_rationals(effort, drop_residual=False)
    cases += len(shapes)
    if wrong:
        return Finding(Verdict.REFUTED, float(wrong), "=", 0.0, cases, f"{wrong} entries of (E4) are not those of the Hessian")
    same = worst == 0 and worst_inertia == 0
    verdict = Verdict.REFUTED if not same else Verdict.HOLDS if indefinite else Verdict.UNDECIDED
    why = (
        f"E13 differs by {float(worst):.3g}, E14 by {worst_inertia}, over {cases} cases, {indefinite} with indefinite D; "
        "(E4) equals the symbolic Hessian for a general σ, d = 1, 2"
    )
    gap = float(max(worst, fmpq(worst_inertia)))
    return Finding(verdict, gap, "=", 0.0, cases, why)


def _backward_error(net: Network, step: NewtonStep, X: Array, y: Array, gamma: float, alpha: float) -> tuple[float, Inertia]:
    """Of a step from `net`: an upper bound of its backward error in (E6), and the proved inertia of H + γ_N I."""
    A = hessian(net, X, y, arithmetic=_BALLS)
    with ctx.workprec(_BALLS.bits):
        A = formulas.add_diagonal(A, regularization(gamma, net.width, net.beta, arithmetic=_BALLS))
        slope = arb(alpha) * gradient(net, X, y, arithmetic=_BALLS).reshape(-1)
        update = _BALLS.array(step.update.numpy().reshape(-1))
        left = norm(A @ update + slope)
        # the Frobenius norm of A over √P bounds ‖A‖ from below
        size = norm(A.reshape(-1)) / arb(len(A)).sqrt() * norm(update) + norm(slope)
        return float((left / size).upper()), inertia(A, _BALLS)


def _accelerated(problem: Problem, effort: Effort) -> Finding:
    """What computes in O(N) by E13 and E14 against (E6), over balls: two steps in a row, with and without an indefinite D."""
    worst, wrong, open_, cases, indefinite = 0.0, 0, 0, 0, 0
    (first, *others), systems = of_networks(Effort.FULL), list(itertools.product(_DIMENSIONS[effort], (1e-3, 1e-1, 10.0)))
    # Every system with the first activation, whichever others there are: few of them have a negative eigenvalue that E14 takes
    # away. Then half as many with the others, or more, so that each has its turn.
    names = [first] * len(systems) + [others[k % len(others)] for k in range(max(len(others), len(systems) // 2))]
    for index, name in enumerate(names):
        d, gamma = systems[index % len(systems)]
        rng = np.random.default_rng([problem.seed, index])
        X, y, alpha = rng.uniform(-1, 1, (4, d)), rng.standard_normal(4), (1.0, 0.5)[index % 2]
        net = sample_network(6, d, beta=0.75, activation=name, seed=rng, law=LAW)
        moving = to_torch(net)
        for _ in range(2):
            step = newton_step(moving, torch.tensor(X), torch.tensor(y), gamma, alpha=alpha)
            error, proved = _backward_error(net, step, X, y, gamma, alpha)
            worst, cases = max(worst, error), cases + 1
            wrong += proved.undecided == 0 and step.negative_eigenvalues != proved.negative
            open_ += proved.undecided > 0
            indefinite += proved.negative > 0
            moving.move_(step.update)
            net = net.moved(step.update.numpy())
    false = not worst <= _BACKWARD or wrong > 0
    verdict = Verdict.REFUTED if false else Verdict.HOLDS if indefinite and not open_ else Verdict.UNDECIDED
    why = f"backward error {worst:.2g} of the accelerated step, {wrong} wrong inertias, {indefinite} of {cases} indefinite"
    return Finding(verdict, worst, "≤", _BACKWARD, cases, why)


def check(problem: Problem, effort: Effort) -> Finding:
    """Both identities on random rational states, the blocks symbolically, and the accelerated step that rests on them."""
    return together({"identities": _identities(effort), "accelerated": _accelerated(problem, effort)})


def control(problem: Problem, effort: Effort) -> Finding:
    """The same identities with S dropped from D."""
    worst, worst_inertia, cases, _ = _over_rationals(Effort.QUICK, drop_residual=True)
    same = worst == 0 and worst_inertia == 0
    why = f"without S in D, E13 differs by {float(worst):.3g} and E14 by {worst_inertia}"
    return Finding(
        Verdict.HOLDS if same else Verdict.REFUTED, float(worst) if worst != 0 else float(worst_inertia), "=", 0.0, cases, why
    )


CLAIM = Claim(
    id="push-through",
    statement="(H + γ_N I)⁻¹Jᵀ/M = D⁻¹Jᵀ(M I + J D⁻¹Jᵀ)⁻¹ and neg(H + γ_N I) = neg(D) - neg(M I + J D⁻¹Jᵀ), D = S + γ_N I "
    "(E13, E14), with H and S as in (E4)",
    assumptions="D and H + γ_N I are nonsingular",
    evidence=Evidence.EXACT,
    check=check,
    control=control,
    control_reason="S is dropped from D, so D + JᵀJ/M is no longer H + γ_N I",
)
