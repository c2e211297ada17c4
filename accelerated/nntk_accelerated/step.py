"""The exact regularized Newton step (E6) in O(N(d+2)M² + M³), by push-through (E13), refined and certified."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nntk_accelerated import stream
from nntk_accelerated.bounds import Radii, jacobian_bound, radii, residual_bound, residual_error
from nntk_accelerated.certificate import Certificate, certify
from nntk_accelerated.dense import Factor
from nntk_accelerated.errors import RangeError, RefinementError
from nntk_accelerated.instance import PRECISIONS, Instance, instance, memory_guard
from nntk_accelerated.scaling import damping_of
from nntk_accelerated.validation import positive

__all__ = ["NewtonStep", "check_damping", "gauss_newton_step", "newton_step"]

_TARGET = 32.0
_LIMIT = 1024.0
"""Refinement stops at _TARGET units of the last place, or where it stagnates; beyond _LIMIT that is an error."""

_REFINEMENTS = {PRECISIONS["float64"]: 10, PRECISIONS["mixed"]: 40, PRECISIONS["float32"]: 10}


@dataclass(frozen=True)
class NewtonStep:
    """Δ = -α (H + γ_N I)⁻¹ Jᵀr/M (E6), to be added to the parameters, and its evidence. The same on every rank but `update`.

    update                (n, d+2): (c, w, η) of each neuron held here; a view of (d+2, n) storage, in the working dtype.
    damping               γ_N, the number added to H's diagonal.
    loss                  L = |r|²/(2M) (E2) before the step.
    residual              ‖AΔ + α∇L‖ / (‖A‖‖Δ‖ + α‖∇L‖), A = H + γ_N I, in 2-norms, as measured: of the system whose r, S and J
                          are those computed, in floating point, ‖A‖ a Rayleigh quotient from below. It says how well that
                          system was solved, and is no bound for the exact one: the errors of r, S, J and γ_N are not in it.
                          0 where Δ and ∇L are both computed as exactly 0.
    residual_bound        a proved upper bound of the same for the exact A and ∇L, and γ_N as reported here; infinite where none
                          below 1, which is always one, is known: for relu, or where ∇L is rounding error alone.
    negative_eigenvalues  of A: as proved in `certificate`, else by the floating-point factorization.
    negative_eigenvalues_proved  which of the two it is.
    certificate           what is proved of A.
    gradient_norm         ‖∇L‖.
    refinements           refinement steps taken.
    border                nearly singular block directions that were moved into the M×M system.
    seconds               wall-clock seconds per stage.
    """

    update: Tensor
    damping: float
    loss: float
    residual: float
    residual_bound: float
    negative_eigenvalues: int
    negative_eigenvalues_proved: bool
    certificate: Certificate
    gradient_norm: float
    refinements: int
    border: int
    seconds: dict[str, float]


class _Clock:
    """Seconds per stage; on a GPU each stage ends when its work has."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds, self.last = device, dict[str, float](), time.perf_counter()

    def stage(self, name: str) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self.last
        self.last = now


def check_damping(task: Instance, damping: float) -> None:
    """Raise RangeError if γ_N is no normal number of the working dtype."""
    kind = torch.finfo(task.dtype)
    if not kind.tiny <= damping <= kind.max:
        raise RangeError(f"the damping is {damping}, outside the normal numbers of {task.dtype}")


def newton_step(
    net: Any,
    X: Any,
    y: Any,
    gamma: float,
    *,
    alpha: float = 1.0,
    scaling: str = "width",
    precision: str | None = None,
    chunk: int | None = None,
) -> NewtonStep:
    """The exact regularized Newton step Δ = -α (H + γ_N I)⁻¹ Jᵀr/M (E6). The net is left as it is.

    net        a ShallowNet, whole or one rank's part; X (M, d), y (M,) of its dtype, on its device.
    gamma      γ > 0; γ_N = γ N^(1-2β) (E5), or γ_N = γ with scaling="fixed".
    precision  "float64", "mixed" (M×M products in float32, everything else and the accuracy in float64) or "float32"; by
               default the net's dtype.
    chunk      neurons at a time. Same chunk, thread count and machine: same bits.

    The step is the exact one whether or not H + γ_N I is positive definite; the result says which it was.
    Raises InputError before any work; SingularSystemError, RefinementError or RangeError if there is no step to the accuracy of
    the precision; MemoryLimitError; ProcessGroupError.
    """
    return _step(net, X, y, gamma, alpha, scaling, precision, chunk, curvature=True)


def gauss_newton_step(
    net: Any,
    X: Any,
    y: Any,
    gamma: float,
    *,
    alpha: float = 1.0,
    scaling: str = "width",
    precision: str | None = None,
    chunk: int | None = None,
) -> NewtonStep:
    """The Gauss-Newton step -α (JᵀJ/M + γ_N I)⁻¹ Jᵀr/M (E6 without S): always positive definite. As `newton_step` otherwise."""
    return _step(net, X, y, gamma, alpha, scaling, precision, chunk, curvature=False)


def _step(
    net: Any, X: Any, y: Any, gamma: Any, alpha: Any, scaling: str, precision: str | None, chunk: int | None, *, curvature: bool
) -> NewtonStep:
    task = instance(net, X, y, precision=precision, chunk=chunk)
    damping = damping_of(net, gamma, scaling)
    size = positive("alpha", alpha)
    with memory_guard(task), torch.no_grad():
        return take(task, damping, size, curvature=curvature)


def take(
    task: Instance, damping: float, alpha: float, *, curvature: bool, known: tuple[Tensor, Tensor] | None = None
) -> NewtonStep:
    """The step for a checked net and data, damping γ_N and step size α; `known` are residual and S, where at hand."""
    check_damping(task, damping)
    clock = _Clock(task.device)
    r = stream.outputs(task) - task.y if known is None else known[0]
    loss = float(r.double().square().sum()) / (2 * task.M)
    if not math.isfinite(loss):
        raise RangeError(f"the loss is {loss} in {task.dtype}")
    clock.stage("outputs")
    blocks: dict[str, Tensor] = {"r": r} if known is None else {"S": known[1]}
    K = stream.gram(task, damping, **blocks) if curvature else stream.gram(task, damping)
    clock.stage("gram")
    F, counted = stream.factor(task, K)
    clock.stage("factor")
    error: Radii | None = radii(task, r) if curvature else None
    solution = _refine(task, K, F, r, alpha, error)
    clock.stage("solve")
    certificate = certify(task, K.S, damping, error)
    clock.stage("certificate")
    return NewtonStep(
        update=solution.update.t(),
        damping=damping,
        loss=loss,
        residual=solution.residual,
        residual_bound=solution.bound,
        negative_eigenvalues=counted if certificate.negative is None else certificate.negative,
        negative_eigenvalues_proved=certificate.negative is not None,
        certificate=certificate,
        gradient_norm=solution.gradient,
        refinements=solution.rounds,
        border=0 if K.border is None else K.border.values.shape[0],
        seconds=clock.seconds,
    )


@dataclass(frozen=True)
class _Solution:
    update: Tensor
    residual: float
    bound: float
    gradient: float
    rounds: int


def _refine(task: Instance, K: stream.Gram, F: Factor, r: Tensor, alpha: float, error: Radii | None) -> _Solution:
    """Solve W (v, t) = (-αr, 0), and again for what is left, until the residual of A Δ = -α Jᵀr/M is at rounding level.

    While it helps, v is refined: a pass forms Δ = D⁻¹Jᵀv anew and measures h - Mv - JΔ and Jᵀv - DΔ, whose sizes bound the
    residual. That ends where v lies along the small modes: Jᵀv cancels, and D⁻¹ enlarges its rounding error. Then Δ itself is
    refined, at one pass more for the residual.
    """
    M, eps = task.M, torch.finfo(task.dtype).eps
    r_error = residual_error(task, r)
    # The system is linear in r: with |r| near 1 no norm under- or overflows.
    exponent = int(torch.frexp(r.abs().max()).exponent)
    if not bool((r != 0).any()):
        return _Solution(task.zeros(task.p, task.local), 0.0, math.inf, 0.0, 0)
    r = torch.ldexp(r, torch.tensor(-exponent, device=r.device))
    k = 0 if K.border is None else K.border.values.shape[0]
    h = -alpha * r
    update = task.zeros(task.p, task.local)
    solution = F.solve(torch.cat([h, task.zeros(k)]))
    bound_J = jacobian_bound(task)
    first = stream.solve(task, K, solution[:M].contiguous(), solution[M:], update, r=r)
    gradient = first.gradient / M
    if not math.isfinite(gradient):
        raise RangeError(f"the gradient is not finite in {task.dtype}: rescale the problem")
    floor = alpha * bound_J * float(r.double().norm()) / M  # g itself is computed to eps times this

    def sizes(norm: float, solved: stream.Pass) -> tuple[float, float]:
        if not (math.isfinite(norm) and math.isfinite(solved.length)):
            raise RangeError(f"the step is not finite in {task.dtype}: rescale the problem, or raise gamma")
        scale = first.operator * solved.length + alpha * gradient
        return (norm / (scale + floor), norm / scale if scale else 0.0) if norm else (0.0, 0.0)

    def finished(v: Tensor, left: Tensor, norm: float, reported: float) -> _Solution:
        bound = residual_bound(
            task,
            K.S,
            K.shift,
            error,
            h=h,
            v=v,
            left=left,
            update=update,
            measured=norm,
            length=solved.length,
            operator=first.operator,
            gradient=gradient,
            r_error=r_error,
            alpha=alpha,
            exponent=exponent,
        )
        return _rescaled(task, update, reported, bound, gradient, rounds, exponent)

    solved, best, rounds, most = first, math.inf, 0, _REFINEMENTS[task.precision]
    while True:
        left = h - M * solution[:M] - solved.image
        backward, reported = sizes(solved.local + bound_J * float(left.double().norm()) / M, solved)
        if backward <= _TARGET * eps:
            return finished(solution[:M], left, solved.local, reported)
        if backward > best / 4 or rounds == most:
            break
        best, rounds = backward, rounds + 1
        if K.border is not None:
            left = torch.cat([left, K.border.values * solution[M:] - K.border.JV.t() @ solution[:M]])
        solution = solution + F.solve(left)
        solved = stream.solve(task, K, solution[:M].contiguous(), solution[M:], update)

    best, most = math.inf, rounds + most
    while True:
        v = (h - solved.image) / M
        norm, right = stream.residual(task, K, update, v)
        backward, reported = sizes(norm, solved)
        stagnates = backward > best / 2
        if backward <= _TARGET * eps or (stagnates and backward <= _LIMIT * eps):
            return finished(v, torch.zeros_like(v), norm, reported)
        if (stagnates and backward > best) or rounds == most:
            break
        best, rounds = min(best, backward), rounds + 1
        solved = stream.correct(task, K, update, v, F.solve(right))
    advice = "raise gamma" + ("" if task.precision.product == torch.float64 else ", or use precision='float64'")
    raise RefinementError(
        f"the scaled residual stays at {min(best, backward):.1e} after {rounds} refinements, above {_LIMIT * eps:.1e}: "
        f"the damped Hessian is singular to within {task.precision.product}; {advice}"
    )


def _rescaled(
    task: Instance, update: Tensor, residual: float, bound: float, gradient: float, rounds: int, exponent: int
) -> _Solution:
    """The solution for the residual times 2^exponent. Raises RangeError where it overflows."""
    half = exponent // 2  # 2^exponent itself may be out of range
    update.mul_(2.0**half).mul_(2.0 ** (exponent - half))
    outside = task.zeros(1).add_(not math.isfinite(float(torch.linalg.vector_norm(update, math.inf))))
    task.ranks.max(outside)  # every rank refuses, or none: the others would wait for one that has left
    if bool(outside):
        raise RangeError(f"the step is not finite in {update.dtype}: rescale the problem, or raise gamma")
    return _Solution(update, residual, bound, math.ldexp(gradient, exponent), rounds)
