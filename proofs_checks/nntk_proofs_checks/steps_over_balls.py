"""Steps of the accelerated package held against (E6) over balls, with what they say of the inertia, and the paths they took."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import numpy as np
import torch
from flint import arb, ctx

from nntk_accelerated import NewtonStep, RangeError, RefinementError, SingularSystemError, newton_step
from nntk_proofs_checks.certify import norm
from nntk_proofs_checks.claim import Finding
from nntk_proofs_checks.ensemble import to_torch
from nntk_reference import Ball, Inertia, Network, Verdict, formulas, gradient, hessian, inertia, regularization
from nntk_reference.arithmetic import Array

__all__ = ["Case", "Exact", "ExactBlocks", "Held", "backward_error", "contradicts", "hold", "watching"]

_BALLS = Ball(192)
_LIMIT = 1024.0
"""The scaled residual, in units of the working dtype's last place, beyond which the accelerated step promises to raise."""
_CONDITION = 1e4
"""A system of at most this condition has a step: float32 leaves a digit or more of it to refine with."""


class Exact:
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


class ExactBlocks:
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
class Case:
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
class Held:
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


def backward_error(exact: Exact | ExactBlocks, step: NewtonStep, alpha: float) -> tuple[float, arb]:
    """An upper bound of ‖AΔ + α∇L‖/(‖A‖‖Δ‖ + α‖∇L‖), and a lower bound of ‖A‖."""
    slope = arb(alpha) * exact.slope
    update = _BALLS.array(step.update.double().numpy().reshape(-1))
    size = max((norm(exact.times(v)) / norm(v) for v in (exact.slope, update) if norm(v) > 0), key=lambda v: v.lower())
    scale = size.lower() * norm(update) + norm(slope)
    return float((norm(exact.times(update) + slope) / scale).upper()), size.lower()


def contradicts(step: NewtonStep, exact: Exact | ExactBlocks, room: arb) -> bool | None:
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
def watching() -> Iterator[set[str]]:
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


def hold(case: Case, held: Held) -> tuple[NewtonStep | None, set[str]]:
    """Take the case's steps, hold each against (E6), and add what they came to.

    The last step, None where one was refused, and what was called for it.
    """
    moving = to_torch(case.net).to(case.dtype)
    X, y = (torch.tensor(values, dtype=case.dtype) for values in (case.X, case.y))
    eps, step, seen, theta = torch.finfo(case.dtype).eps, None, set[str](), moving.theta
    for _ in range(case.steps):
        net = Network.from_theta(theta.double().numpy(), case.net.beta, case.net.activation)
        exact = (ExactBlocks if case.few_inputs else Exact)(net, case.X, case.y, case.gamma)
        held.cases += 1
        with ctx.workprec(_BALLS.bits):
            try:
                with watching() as seen:
                    step = newton_step(moving, X, y, case.gamma, alpha=case.alpha, precision=case.precision, chunk=case.chunk)
            except (RangeError, RefinementError, SingularSystemError) as error:
                size = norm(exact.times(exact.slope)) / norm(exact.slope)
                apart = [exact.inertia(sign * size / _CONDITION) for sign in (1, -1)]
                conditioned = apart[0].negative == apart[1].negative and not any(a.undecided for a in apart)
                held.refused, held.unknown = held.refused + conditioned, held.unknown + (not conditioned)
                held.reason = str(error)
                return None, seen
            backward, size = backward_error(exact, step, case.alpha)
            wrong = contradicts(step, exact, size * _LIMIT * eps)
            held.indefinite += step.negative_eigenvalues > 0
        held.units = max(held.units, backward / eps) if backward == backward else math.inf
        held.wrong, held.unknown = held.wrong + bool(wrong), held.unknown + (wrong is None)
        moving.move_(step.update)
        theta = theta + step.update  # where the next step has to be taken
    return step, seen
