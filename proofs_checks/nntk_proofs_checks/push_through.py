"""`push-through`: what makes the exact step cheap, (E13) and (E14), over the rationals; and that (E4) is the Hessian."""

from __future__ import annotations

import importlib.util
import itertools
import math
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from types import FrameType
from typing import Any

import numpy as np
import sympy
import torch
from flint import arb, ctx, fmpq, fmpq_mat

import nntk_accelerated
from nntk_accelerated import NewtonStep, RangeError, RefinementError, SingularSystemError, newton_step
from nntk_proofs_checks.certify import norm
from nntk_proofs_checks.claim import Claim, Effort, Evidence, Finding, Problem, together
from nntk_proofs_checks.ensemble import to_torch
from nntk_proofs_checks.rational import drawn, negative_eigenvalues
from nntk_proofs_checks.tried import LAW, of_networks
from nntk_reference import (
    FLOAT64,
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
_LIMIT = 1024.0
"""The scaled residual, in units of the working dtype's last place, beyond which the accelerated step promises to raise."""
_CONDITION = 1e4
"""A system of at most this condition has a step: float32 leaves a digit or more of it to refine with."""
_NEAR = 1e-6
"""How near to singular, relative to γ_N, a block is made for the border, which takes those below 1e-4."""
_WIDE, _FEW = 513, 8
"""N = M and the distinct inputs for the compiled loops: 513² is just beyond their gate, 2¹⁸ entries."""


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


class _Exact:
    """(E6) of a network at its data, over balls: A = H + γ_N I is `matrix + γ_N I`, ∇L is `slope`."""

    def __init__(self, net: Network, X: Array, y: Array, gamma: float) -> None:
        self.slope: Array = gradient(net, X, y, arithmetic=_BALLS).reshape(-1)
        H = hessian(net, X, y, arithmetic=_BALLS)
        with ctx.workprec(_BALLS.bits):
            self.A = formulas.add_diagonal(H, regularization(gamma, net.width, net.beta, arithmetic=_BALLS))

    def times(self, v: Array) -> Array:
        """A v."""
        image: Array = self.A @ v
        return image

    def inertia(self, shift: arb) -> Inertia:
        """Of A + shift I."""
        return inertia(formulas.add_diagonal(self.A, shift), _BALLS)


class _ExactBlocks:
    """The same where data points share inputs, in O(N), from (E4)'s blocks: with K distinct inputs, input k in nₖ points,

    JᵀJ/M = Σₖ (nₖ/M) jₖjₖᵀ,  ∇L = Σₖ jₖRₖ/M,  Sᵢ as for the K inputs and residuals RₖK/M,  Rₖ = nₖf(xₖ) - Σ y over its points.

    The inertia is E14's for these: neg(D) - neg(diag(M/nₖ) + J D⁻¹Jᵀ).
    """

    def __init__(self, net: Network, X: Array, y: Array, gamma: float) -> None:
        inputs, which, counts = np.unique(X, axis=0, return_inverse=True, return_counts=True)
        K, M = len(inputs), len(X)
        with ctx.workprec(_BALLS.bits):
            s = formulas.state(_BALLS, net, inputs)
            targets = _BALLS.array(y)
            sums = np.array([targets[which.reshape(-1) == k].sum() for k in range(K)], dtype=object)
            self.weights = _BALLS.array(counts.astype(float)) / M
            residuals = self.weights * formulas.outputs(s) - sums / M
            self.J = formulas.jacobian(s).reshape(K, -1)
            self.S = formulas.residual_hessian(s, residuals * K)
            self.slope: Array = self.J.T @ residuals
            self.damping = regularization(gamma, net.width, net.beta, arithmetic=_BALLS)

    def times(self, v: Array) -> Array:
        """A v."""
        blocks = v.reshape(len(self.S), -1)
        curved = (self.S * blocks[:, None, :]).sum(axis=2).reshape(-1)
        image: Array = curved + self.damping * v + self.J.T @ (self.weights * (self.J @ v))
        return image

    def inertia(self, shift: arb) -> Inertia:
        """Of A + shift I."""
        K, p = len(self.J), self.S.shape[1]
        small, negative = np.diag(1 / self.weights), 0
        D, left = self.S.copy(), self.J.reshape(K, -1, p).transpose(1, 2, 0).copy()  # (N, p, p), (N, p, K)
        D[:, range(p), range(p)] += self.damping + shift
        # J D⁻¹ Jᵀ by LDLᵀ of all blocks at once: over balls no pivot has to be large, only of a known sign
        for k in range(p):
            pivot = D[:, k, k]
            if any(v.contains(0) for v in pivot):
                return Inertia(0, 0, 0, self.J.shape[1])
            negative += sum(bool(v < 0) for v in pivot)
            scaled = left[:, k] / pivot[:, None]
            small = small + left[:, k].T @ scaled
            column = D[:, k + 1 :, k]
            left[:, k + 1 :] = left[:, k + 1 :] - column[:, :, None] * scaled[:, None, :]
            D[:, k + 1 :, k + 1 :] -= column[:, :, None] * (column / pivot[:, None])[:, None, :]
        counts = inertia(small, _BALLS)
        own = negative - counts.negative
        return Inertia(own, 0, self.J.shape[1] - own - counts.undecided, counts.undecided)


@dataclass(frozen=True, eq=False)
class _Case:
    """A step to be held against (E6): of `net`, whose numbers are those of the dtype, with `precision`."""

    net: Network
    X: Array
    y: Array
    gamma: float
    alpha: float = 1.0
    precision: str = "float64"
    chunk: int | None = None
    steps: int = 1
    few_inputs: bool = False

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32 if self.precision == "float32" else torch.float64


@dataclass
class _Held:
    """What steps came to. `units`: the largest backward error, in units of the last place of the working dtype."""

    units: float = 0.0
    wrong: int = 0
    unknown: int = 0
    refused: int = 0
    indefinite: int = 0
    cases: int = 0
    reason: str = ""

    @property
    def false(self) -> bool:
        """Is E6, or what is said of the inertia, proved wrong?"""
        return not self.units <= _LIMIT or self.wrong > 0 or self.refused > 0

    def finding(self, entered: str = "", missing: str = "") -> Finding:
        """Refuted by one step; undecided where an inertia or an error was, or a path was not entered."""
        known = self.indefinite and not self.unknown and not missing
        verdict = Verdict.REFUTED if self.false else Verdict.HOLDS if known else Verdict.UNDECIDED
        why = (
            f"backward error of {self.units:.3g} units in the last place, {self.wrong} wrong inertias, "
            f"{self.indefinite} of {self.cases} indefinite{entered}"
        )
        if self.reason:
            why += f", {self.refused} well-conditioned systems refused, {self.unknown} undecided ({self.reason})"
        return Finding(verdict, self.units, "≤", _LIMIT, self.cases, f"{why}; not entered: {missing}" if missing else why)


def _backward_error(exact: _Exact | _ExactBlocks, step: NewtonStep, alpha: float) -> tuple[float, arb]:
    """An upper bound of ‖AΔ + α∇L‖/(‖A‖‖Δ‖ + α‖∇L‖), and a lower bound of ‖A‖."""
    slope = arb(alpha) * exact.slope
    update = _BALLS.array(step.update.double().numpy().reshape(-1))
    size = max((norm(exact.times(v)) / norm(v) for v in (exact.slope, update) if norm(v) > 0), key=lambda v: v.lower())
    scale = size.lower() * norm(update) + norm(slope)
    return float((norm(exact.times(update) + slope) / scale).upper()), size.lower()


def _contradicts(step: NewtonStep, exact: _Exact | _ExactBlocks, room: arb) -> bool | None:
    """Does what the step says of A's inertia contradict what is proved of it? None where nothing is.

    What it says is proved has to be the inertia of A; a count that is not, that of a matrix within `room` of A.
    """
    proved, certificate, zero = exact.inertia(arb(0)), step.certificate, arb(0)
    if proved.undecided:
        return None
    own, verdict = proved.negative, certificate.verdict
    if certificate.at_least > own or certificate.negative not in (None, own):
        return True
    if (verdict == "positive definite" and own) or (verdict == "indefinite" and not own):
        return True
    if step.negative_eigenvalues == own:
        return False
    if step.negative_eigenvalues_proved:
        return True
    least, most = exact.inertia(room - zero), exact.inertia(zero - room)
    if least.undecided or most.undecided:
        return None
    return not least.negative <= step.negative_eigenvalues <= most.negative


@contextmanager
def _watching() -> Iterator[set[str]]:
    """The names of all functions of the accelerated package that run meanwhile, in any thread: which paths a step took."""
    seen: set[str] = set()

    def profile(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and str(frame.f_globals.get("__name__")).startswith("nntk_accelerated"):
            seen.add(frame.f_code.co_name)

    before, before_threads = sys.getprofile(), threading.getprofile()
    threading.setprofile(profile)
    sys.setprofile(profile)
    try:
        yield seen
    finally:
        sys.setprofile(before)
        threading.setprofile(before_threads)


def _hold(case: _Case, held: _Held) -> tuple[NewtonStep | None, set[str]]:
    """Take the case's steps, hold each against (E6), and add what they came to.

    The last step, None where one was refused, and what was called for it.
    """
    moving = to_torch(case.net).to(case.dtype)
    X, y = (torch.tensor(values, dtype=case.dtype) for values in (case.X, case.y))
    eps, step, seen, theta = torch.finfo(case.dtype).eps, None, set[str](), moving.theta
    for _ in range(case.steps):
        net = Network.from_theta(theta.double().numpy(), case.net.beta, case.net.activation)
        exact = (_ExactBlocks if case.few_inputs else _Exact)(net, case.X, case.y, case.gamma)
        held.cases += 1
        with ctx.workprec(_BALLS.bits):
            try:
                with _watching() as seen:
                    step = newton_step(moving, X, y, case.gamma, alpha=case.alpha, precision=case.precision, chunk=case.chunk)
            except (RangeError, RefinementError, SingularSystemError) as error:
                size = norm(exact.times(exact.slope)) / norm(exact.slope)
                apart = [exact.inertia(sign * size / _CONDITION) for sign in (1, -1)]
                conditioned = apart[0].negative == apart[1].negative and not any(a.undecided for a in apart)
                held.refused, held.unknown = held.refused + conditioned, held.unknown + (not conditioned)
                held.reason = str(error)
                return None, seen
            backward, size = _backward_error(exact, step, case.alpha)
            contradicts = _contradicts(step, exact, size * _LIMIT * eps)
            held.indefinite += step.negative_eigenvalues > 0
        held.units = max(held.units, backward / eps) if backward == backward else math.inf
        held.wrong, held.unknown = held.wrong + bool(contradicts), held.unknown + (contradicts is None)
        moving.move_(step.update)
        theta = theta + step.update  # where the next step has to be taken
    return step, seen


def _accelerated(problem: Problem, effort: Effort) -> Finding:
    """What computes in O(N) by E13 and E14 against (E6), over balls: two steps in a row, with and without an indefinite D."""
    held = _Held()
    (first, *others), systems = of_networks(Effort.FULL), list(itertools.product(_DIMENSIONS[effort], (1e-3, 1e-1, 10.0)))
    # Every system with the first activation, whichever others there are: few of them have a negative eigenvalue that E14 takes
    # away. Then half as many with the others, or more, so that each has its turn.
    names = [first] * len(systems) + [others[k % len(others)] for k in range(max(len(others), len(systems) // 2))]
    for index, name in enumerate(names):
        d, gamma = systems[index % len(systems)]
        rng = np.random.default_rng([problem.seed, index])
        X, y, alpha = rng.uniform(-1, 1, (4, d)), rng.standard_normal(4), (1.0, 0.5)[index % 2]
        net = sample_network(6, d, beta=0.75, activation=name, seed=rng, law=LAW)
        _hold(_Case(net, X, y, gamma, alpha, steps=2), held)
    return held.finding()


# ------------------------------------------------------------------------------------------------------ and its other paths


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


def _small(problem: Problem, effort: Effort) -> Iterator[_Case]:
    """Near the border on either side, where neg(D) is within reach of M and where it is beyond; in each precision; in lanes."""
    names = of_networks(Effort.FULL)
    for index, d in enumerate(_DIMENSIONS[effort]):
        rng = np.random.default_rng([problem.seed, 1000 + index])
        net, X, y = _drawn(rng, names[index % len(names)], 6, 4, d)
        values = _block_values(net, X, y)
        for near, k in itertools.product((1 - _NEAR, 1 + _NEAR), (0, len(X) + 1)):
            yield _Case(net, X, y, -near * values[k], (1.0, 0.5)[k > 0])
        for share in (0.3, 3.0):
            case = _Case(net, X, y, -share * values[0])
            yield replace(case, precision="float32", steps=2)
            yield case
            yield replace(case, precision="mixed")
            yield replace(case, chunk=2)


def _wide(problem: Problem, effort: Effort) -> Iterator[_Case]:
    """Many points at few inputs; d = 1, which has loops of its own, and 2; D definite, indefinite and near singular."""
    cases = list(itertools.product(_compiled(), (1, 2)))
    for name, d in cases[::3] if effort is Effort.QUICK else cases:
        rng = np.random.default_rng([problem.seed, 2000 + d])
        net, X, _ = _drawn(rng, name, _WIDE, _FEW, d)
        X, y = X[rng.integers(0, _FEW, _WIDE)], 1 + rng.standard_normal(_WIDE)
        values = _block_values(net, X, y)
        for gamma in (-2 * values[0], -values[0] / 2, -(1 + _NEAR) * values[2]):
            yield _Case(net, X, y, float(gamma), few_inputs=True)


def _paths(problem: Problem, effort: Effort) -> Finding:
    """The step's paths that few neurons in float64, with blocks far from singular, do not take: each entered, each held.

    *Compiled loops*: with the last block of neurons not full. *Border*: γ_N within a millionth of what makes a block singular.
    *Lanes*: as many threads as chunks. *float32* and *mixed*: as they say; mixed precision ends with other bits than float64.
    """
    held, paths = _Held(), ("compiled loops", "border", "lanes", "mixed", "float32")
    entered, before = {path: 0 for path in paths if path != "compiled loops" or _compiled()}, None
    for case in itertools.chain(_small(problem, effort), _wide(problem, effort)):
        if not case.gamma > 0:
            held.unknown, held.reason = held.unknown + 1, "no block has a negative eigenvalue to stand near"
            continue
        with _threads(1 if case.chunk is None else 3):
            step, seen = _hold(case, held)
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


def check(problem: Problem, effort: Effort) -> Finding:
    """Both identities on random rational states, the blocks symbolically, and the accelerated step that rests on them.

    What follows a refuted part is not looked at.
    """
    parts = {"identities": _identities(effort)}
    for name, part in (("accelerated", _accelerated), ("its other paths", _paths)):
        if not any(finding.verdict is Verdict.REFUTED for finding in parts.values()):
            parts[name] = part(problem, effort)
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
