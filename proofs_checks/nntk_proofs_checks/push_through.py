"""`push-through`: what makes the exact step cheap, (E13) and (E14), over the rationals; and that (E4) is the Hessian."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
import sympy
import torch
from flint import fmpq, fmpq_mat

import nntk_accelerated
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, together
from nntk_proofs_checks.rational import drawn, negative_eigenvalues
from nntk_proofs_checks.steps_over_balls import Case, Held, hold
from nntk_proofs_checks.trials import trials
from nntk_proofs_checks.tried import LAW, of_networks
from nntk_reference import (
    FLOAT64,
    Network,
    Verdict,
    formulas,
    regularization,
    sample_network,
)
from nntk_reference.arithmetic import Array

__all__ = ["CLAIM"]

_DRAWS = {Effort.QUICK: 60, Effort.DEFAULT: 300, Effort.FULL: 3000}
_DIMENSIONS = {Effort.QUICK: (1, 2, 3), Effort.DEFAULT: (1, 2, 3, 4), Effort.FULL: (1, 2, 3, 4) * 8}
_NEAR = 1e-6
"""How near to singular, relative to γ_N, a block is made for the border, which takes those below 1e-4."""
_WIDE, _FEW = 513, 8
"""N = M and the distinct inputs for the compiled loops: 513² is beyond their gate, 2¹⁶ entries, and the last block not full."""


@dataclass(frozen=True, eq=False)
class _System:
    """A rational network state: J (M, P), the blocks of D, and γ_N."""

    J: fmpq_mat
    S: fmpq_mat
    damping: fmpq

    @property
    def count(self) -> int:
        return int(self.J.nrows())


def _systems(seed: int) -> Iterator[_System]:
    """States with arbitrary rational values of σ, σ', σ'': any activation takes such values somewhere."""
    rng = np.random.default_rng(seed)
    for N, d, M in itertools.cycle(itertools.product((1, 2, 3), (1, 2, 3), (1, 2, 4))):
        inputs = formulas.augmented(drawn(rng, M, d))
        jets = (drawn(rng, M, N) for _ in range(3))
        state = formulas.State(fmpq(1, int(rng.integers(2, 9))), drawn(rng, N), inputs, *jets)
        S = formulas.residual_hessian(state, drawn(rng, M))
        zero = np.full((N * (d + 2), N * (d + 2)), fmpq(0), dtype=object)
        dense = fmpq_mat(formulas.add_blocks(zero, S).tolist())
        J = fmpq_mat(formulas.jacobian(state).reshape(M, -1).tolist())
        yield _System(J, dense, abs(drawn(rng, 1)[0]) + fmpq(1, 100))


def _identity(size: int, factor: fmpq) -> fmpq_mat:
    return fmpq_mat(size, size, [factor if i == j else fmpq(0) for i in range(size) for j in range(size)])


def _gaps(system: _System, *, drop_residual: bool) -> tuple[fmpq, int] | None:
    """(largest difference of the two sides of E13, difference of those of E14); None where a matrix is singular.

    `drop_residual` plants the control's fault: D = γ_N I on the right-hand sides.
    """
    J, M = system.J, system.count
    shift = _identity(J.ncols(), system.damping)
    H = J.transpose() * J * fmpq(1, M) + system.S + shift
    stated = _stated(J, shift if drop_residual else system.S + shift, M)
    if H.det() == 0 or stated is None:
        return None
    difference = H.solve(J.transpose()) * fmpq(1, M) - stated[0]
    largest = max(abs(v) for v in difference.entries())
    return largest, abs(negative_eigenvalues(H) - stated[1])


def _stated(J: fmpq_mat, D: fmpq_mat, M: int) -> tuple[fmpq_mat, int] | None:
    """What E13 and E14 state: D⁻¹Jᵀ(M I + J D⁻¹Jᵀ)⁻¹, neg(D) - neg(M I + J D⁻¹Jᵀ); None where an inverse is missing."""
    if D.det() == 0:
        return None
    solved = D.solve(J.transpose())
    small = _identity(J.nrows(), fmpq(M)) + J * solved
    if small.det() == 0:
        return None
    return solved * small.inv(), negative_eigenvalues(D) - negative_eigenvalues(small)


def _over_rationals(effort: Effort, *, drop_residual: bool) -> tuple[fmpq, int, int, int]:
    """(largest gap in E13, largest gap in E14, cases, cases with an indefinite matrix)."""
    worst, worst_inertia, cases, indefinite = fmpq(0), 0, 0, 0
    for system in _systems(seed=20260508):
        if cases == _DRAWS[effort]:
            break
        gaps = _gaps(system, drop_residual=drop_residual)
        if gaps is not None:
            worst, worst_inertia, cases = max(worst, gaps[0]), max(worst_inertia, gaps[1]), cases + 1
            indefinite += negative_eigenvalues(system.S + _identity(system.J.ncols(), system.damping)) > 0
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


# ------------------------------------------------------------------------------------------- the accelerated step, over balls


def _accelerated(problem: Problem, effort: Effort) -> Finding:
    """What computes in O(N) by E13 and E14 against (E6), over balls: two steps in a row, with and without an indefinite D."""
    held = Held()
    (first, *others), systems = of_networks(Effort.FULL), list(itertools.product(_DIMENSIONS[effort], (1e-3, 1e-1, 10.0)))
    # Every system with the first activation, whichever others there are: few of them have a negative eigenvalue that E14 takes
    # away. Then half as many with the others, or more, so that each has its turn.
    names = [first] * len(systems) + [others[k % len(others)] for k in range(max(len(others), len(systems) // 2))]
    for index, name in enumerate(names):
        d, gamma = systems[index % len(systems)]
        rng = np.random.default_rng([problem.seed, index])
        X, y, alpha = rng.uniform(-1, 1, (4, d)), rng.standard_normal(4), (1.0, 0.5)[index % 2]
        net = sample_network(6, d, beta=0.75, activation=name, seed=rng, law=LAW)
        hold(Case(net, X, y, gamma, alpha, steps=2), held)
    return held.finding()


def _drawn(rng: np.random.Generator, name: str, N: int, M: int, d: int) -> tuple[Network, Array, Array]:
    """A network and data whose numbers float32 has, too."""
    net = sample_network(N, d, beta=0.75, activation=name, seed=rng, law=LAW)
    theta, X, y = (_short(values) for values in (net.theta, rng.uniform(-1, 1, (M, d)), 1 + rng.standard_normal(M)))
    return Network.from_theta(theta, net.beta, name), X, y


def _short(values: Array) -> Array:
    return values.astype(np.float32).astype(np.float64)


def _block_values(net: Network, X: Array, y: Array) -> Array:
    """The eigenvalues of all Sᵢ, ascending, in units of γ: γ_N = -λ for γ = -λ in these units."""
    s = formulas.state(FLOAT64, net, X)
    S = formulas.residual_hessian(s, formulas.outputs(s) - y)
    values: Array = np.sort(np.linalg.eigvalsh(S).reshape(-1)) / regularization(1.0, net.width, net.beta)
    return values


def _small(problem: Problem, effort: Effort) -> Iterator[Case]:
    """Near the border on either side, where neg(D) is within reach of M and where it is beyond; in each precision; in lanes."""
    names = of_networks(Effort.FULL)
    for index, d in enumerate(_DIMENSIONS[effort]):
        rng = np.random.default_rng([problem.seed, 1000 + index])
        net, X, y = _drawn(rng, names[index % len(names)], 6, 4, d)
        values = _block_values(net, X, y)
        for near, k in itertools.product((1 - _NEAR, 1 + _NEAR), (0, len(X) + 1)):
            yield Case(net, X, y, -near * values[k], (1.0, 0.5)[k > 0])
        for share in (0.3, 3.0):
            case = Case(net, X, y, -share * values[0])
            yield replace(case, precision="float32", steps=2)
            yield case
            yield replace(case, precision="mixed")
            yield replace(case, chunk=2)


def _wide(problem: Problem, effort: Effort) -> Iterator[Case]:
    """Many points at few inputs; d = 1, which has loops of its own, and 2; D definite, indefinite and near singular."""
    cases = list(itertools.product(_compiled(), (1, 2)))
    for name, d in cases[::3] if effort is Effort.QUICK else cases:
        rng = np.random.default_rng([problem.seed, 2000 + d])
        net, X, _ = _drawn(rng, name, _WIDE, _FEW, d)
        X, y = X[rng.integers(0, _FEW, _WIDE)], 1 + rng.standard_normal(_WIDE)
        values = _block_values(net, X, y)
        for gamma in (-2 * values[0], -values[0] / 2, -(1 + _NEAR) * values[2]):
            yield Case(net, X, y, float(gamma), few_inputs=True)


def _paths(problem: Problem, effort: Effort) -> Finding:
    """The step's paths that few neurons in float64, with blocks far from singular, do not take: each entered, each held.

    *Compiled loops*: with the last block of neurons not full. *Border*: γ_N within a millionth of what makes a block singular.
    *Lanes*: as many threads as chunks. *float32* and *mixed*: as they say; mixed precision ends with other bits than float64.
    """
    held, paths = Held(), ("compiled loops", "border", "lanes", "mixed", "float32")
    entered, before = {path: 0 for path in paths if path != "compiled loops" or _compiled()}, None
    for case in itertools.chain(_small(problem, effort), _wide(problem, effort)):
        if not case.gamma > 0:
            held.unknown, held.reason = held.unknown + 1, "no block has a negative eigenvalue to stand near"
            continue
        with _threads(1 if case.chunk is None else 3):
            step, seen = hold(case, held)
        if held.false:
            break
        if step is not None:
            taken = {
                "compiled loops": {"_compiled_gram", "compiled"} <= seen,
                "border": step.border > 0,
                "lanes": "lane" in seen,
                "mixed": case.precision == "mixed" and before is not None and not torch.equal(step.update, before.update),
                "float32": step.update.dtype == torch.float32,
            }
            entered = {path: count + taken[path] for path, count in entered.items()}
        before = step
    said = ", ".join(f"{path} {count}" for path, count in entered.items())
    return held.finding(f"; entered: {said}", ", ".join(path for path, count in entered.items() if not count))


def _compiled() -> list[str]:
    """The activations that the accelerated package has compiled loops for; none where numba, an extra, is not installed."""
    if importlib.util.find_spec("numba") is None:
        return []
    return [name for name in of_networks(Effort.FULL) if nntk_accelerated.activation(name).compiled is not None]


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _steps(name: str, problem: Problem, effort: Effort) -> Finding:
    return (_accelerated if name == "accelerated" else _paths)(problem, effort)


def check(problem: Problem, effort: Effort) -> Finding:
    """Both identities on random rational states, the blocks symbolically, and the accelerated step that rests on them.

    Where the identities are refuted, the step is not looked at.
    """
    parts = {"identities": _identities(effort)}
    if parts["identities"].verdict is not Verdict.REFUTED:
        steps = ("accelerated", "its other paths")
        parts |= zip(steps, trials(_steps, [(name, problem, effort) for name in steps]), strict=True)
    return together(parts)


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
