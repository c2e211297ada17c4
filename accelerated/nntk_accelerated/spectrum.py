"""Inertia and single eigenvalues of the Hessian, and what damping or width makes it positive definite. H is never formed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from nntk_accelerated import stream
from nntk_accelerated.certificate import Certificate, Radii, certify, gamma_bound, jacobian_bound, largest, radii, rho_bound
from nntk_accelerated.errors import InputError, RangeError, SingularSystemError
from nntk_accelerated.model import ShallowNet
from nntk_accelerated.problem import Problem, memory_guard, problem
from nntk_accelerated.scaling import damping, regularization
from nntk_accelerated.validation import positive, whole_number

__all__ = [
    "Inertia",
    "MinEigenvalue",
    "RequiredGamma",
    "RequiredWidth",
    "inertia",
    "min_eigenvalue",
    "required_gamma",
    "required_width",
    "sufficient_gamma",
]


@dataclass(frozen=True)
class Inertia:
    """Numbers of negative and positive eigenvalues of H + γ_N I; `proved` if they are certain, else by floating point."""

    negative: int
    positive: int
    proved: bool
    certificate: Certificate


def inertia(
    net: Any, X: Any, y: Any, gamma: float, *, scaling: str = "width", precision: str | None = None, chunk: int | None = None
) -> Inertia:
    """Inertia of H + γ_N I (E14), exact for any P: neg(D) - neg(M I + J D⁻¹ Jᵀ). Raises as `newton_step`.

    Where every block is proved positive definite that settles it, and the M×M matrix is not formed.
    """
    P = problem(net, X, y, precision=precision, chunk=chunk)
    mu = damping(net, gamma, scaling)
    with memory_guard(P), torch.no_grad():
        r = stream.outputs(P) - P.y
        S, error = stream.residual_blocks(P, r), radii(P, r)
        certificate = certify(P, S, mu, error, count=True)
        negative = certificate.negative
        if negative is None:
            negative = count(P, S, mu)
        return Inertia(negative, net.width * P.p - negative, certificate.negative is not None, certificate)


def count(P: Problem, S: Tensor, mu: float) -> int:
    """neg(H + μI) in floating point. Raises SingularSystemError at an eigenvalue."""
    K = stream.gram(P, mu, S=S)
    return stream.factor(P, K)[1]


@dataclass(frozen=True)
class MinEigenvalue:
    """λ_min(H) lies in [lower, upper], with `value` in the middle; `proved` if both ends are certified.

    evaluations   inertia counts spent.
    converged     is the interval as narrow as was asked for? Not where λ_min is lost among rounding errors.
    """

    value: float
    lower: float
    upper: float
    proved: bool
    converged: bool
    evaluations: int

    def __float__(self) -> float:
        return self.value


def min_eigenvalue(
    net: Any, X: Any, y: Any, *, rtol: float = 1e-6, precision: str | None = None, chunk: int | None = None
) -> MinEigenvalue:
    """λ_min(H) by spectrum slicing (E14): bisection on the inertia of H - xI, until the interval's width is rtol·|λ_min|.

    JᵀJ/M has rank at most M and is positive semidefinite, so λ_min(H) lies between the smallest and the (M+1)-th smallest
    eigenvalue of S, which cost O(N): few counts of O(NM²) remain.
    Raises InputError for rtol outside [1e-14, 1), and as `newton_step`.
    """
    if not 1e-14 <= positive("rtol", rtol) < 1:
        raise InputError("rtol", "a number in [1e-14, 1)", repr(rtol))
    P = problem(net, X, y, precision=precision, chunk=chunk)
    with memory_guard(P), torch.no_grad():
        return _min_eigenvalue(P, float(rtol))


def _min_eigenvalue(P: Problem, rtol: float) -> MinEigenvalue:
    r = stream.outputs(P) - P.y
    S, error = stream.residual_blocks(P, r), radii(P, r)
    lower, upper, size = _bracket(P, S)
    if not all(map(math.isfinite, (lower, upper, size))):
        raise RangeError(f"the Hessian is not finite in {P.dtype}: rescale the problem")
    doubt = largest(P, error.values)  # of S in the 2-norm, and so of its eigenvalues
    known = math.isfinite(doubt)
    doubt = doubt if known else 0.0
    if size == 0 and P.net.width * P.p > P.M:  # r = 0: H = JᵀJ/M, singular
        return MinEigenvalue(0.0, -doubt, doubt, known, doubt == 0, 0)
    noise = max(64 * torch.finfo(P.dtype).eps * size, 2 * doubt)
    spent = 0
    lower, upper = lower - noise, upper + noise

    def below(x: float) -> bool:
        """Has H an eigenvalue below x? At an eigenvalue, to rounding, the answer is either."""
        nonlocal spent
        spent += 1
        try:
            return count(P, S, -x) > 0
        except SingularSystemError:
            return True

    while upper - lower > rtol * max(abs(lower), abs(upper)) and upper - lower > 4 * noise:
        middle = (lower + upper) / 2
        if below(middle):
            upper = middle
        else:
            lower = middle
    converged = upper - lower <= rtol * max(abs(lower), abs(upper))
    # widen by half a width: proofs need room, and the answer keeps its accuracy
    room = (upper - lower) / 2 + noise
    at_lower = certify(P, S, -(lower - room), error)
    at_upper = certify(P, S, -(upper + room), error)
    proved = at_lower.verdict == "positive definite" and at_upper.verdict == "indefinite"
    middle = (lower + upper) / 2
    if proved:
        lower, upper = lower - room, upper + room
    return MinEigenvalue(middle, lower, upper, proved, converged, spent)


def _bracket(P: Problem, S: Tensor) -> tuple[float, float, float]:
    """(λ₁(S), upper bound of λ_min(H), ‖S‖): Weyl and, for a matrix of rank M added, Cauchy interlacing."""
    smallest, most = [], P.zeros(1, dtype=torch.float64)
    for _, values, _, _ in stream.eigen_blocks(P, S, torch.arange(P.local, device=P.device), 0.0):
        flat = values.reshape(-1)
        smallest.append(flat.topk(min(P.M + 1, flat.shape[0]), largest=False).values)
        most = torch.maximum(most, flat.abs().max().double())
    P.ranks.max(most)
    own = torch.cat(smallest)
    every = P.ranks.gather(own.topk(min(P.M + 1, own.shape[0]), largest=False).values).sort().values
    low, size = float(every[0]), float(most)
    if every.shape[0] > P.M:
        return low, float(every[P.M]), size
    # fewer parameters than points: the mean of the eigenvalues of H bounds the smallest, and |H| ≤ |S| + |J|²/M
    return low, size + jacobian_bound(P) ** 2 / (P.M * P.net.width * P.p), max(size, jacobian_bound(P) ** 2 / P.M)


@dataclass(frozen=True)
class RequiredGamma:
    """γ at which H + γ N^(1-2β) I becomes positive definite.

    sufficient   by (E16), from the parameters and residuals alone; certainly enough.
    lower        at or below this γ it is indefinite; 0 if H itself is positive definite.
    upper        at or above this γ it is positive definite.
    proved       are `lower` and `upper` certified?
    """

    sufficient: float
    lower: float
    upper: float
    proved: bool


def required_gamma(
    net: Any, X: Any, y: Any, *, rtol: float = 1e-6, precision: str | None = None, chunk: int | None = None
) -> RequiredGamma:
    """The exact threshold -λ_min(H) N^(2β-1) by bisection on the inertia, and the bound (E16). Raises as `min_eigenvalue`."""
    smallest = min_eigenvalue(net, X, y, rtol=rtol, precision=precision, chunk=chunk)
    unit = 1 / regularization(1.0, net.width, net.beta)
    enough = sufficient_gamma(net, X, y, precision=precision, chunk=chunk)
    down, up = 1 - 16 * torch.finfo(torch.float64).eps, 1 + 16 * torch.finfo(torch.float64).eps  # γ N^(1-2β) is rounded, too
    lower, upper = max(0.0, -smallest.upper * unit * down), max(0.0, -smallest.lower * unit * up)
    return RequiredGamma(enough, lower, upper, smallest.proved)


def sufficient_gamma(net: Any, X: Any, y: Any, *, precision: str | None = None, chunk: int | None = None) -> float:
    """γ = N^(β-1) ρ, ρ = maxᵢ (1/M)Σₘ|rₘ|hᵢ(xₘ), above which (E16) makes H + γ_N I positive definite. Raises as `newton_step`.

    hᵢ(x) = ½(|κ|q² + √(κ²q⁴ + 4s²q²)), κ = cσ'', s = σ', q = |x̃| (E15). The errors of r, σ' and σ'' are added;
    infinite where they have no bound.
    """
    P = problem(net, X, y, precision=precision, chunk=chunk)
    with memory_guard(P), torch.no_grad():
        return gamma_bound(P)


@dataclass(frozen=True)
class RequiredWidth:
    """Width from which H + γ_N I is positive definite, for nets drawn by one law.

    sufficient   N > (ρ/γ)^(1/(1-β)) (E16), with ρ from the widest net looked at; may exceed what fits any machine.
    first        smallest width looked at, on a path of doubling and bisection, that is proved positive definite, as is the next
                 wider one; None if none was up to the largest.
    observed     (width, certificate's verdict) of every net looked at, by width.
    """

    sufficient: float
    first: int | None
    observed: tuple[tuple[int, str], ...]


def required_width(
    make: Callable[[int], ShallowNet],
    X: Any,
    y: Any,
    gamma: float,
    *,
    largest: int = 2**20,
    precision: str | None = None,
    chunk: int | None = None,
) -> RequiredWidth:
    """The width at which nets make(N) become positive definite at this γ (E5): by (E16), and by certificates along a bisection.

    The nets are random, so the threshold is that of these nets, and need not be sharp; all that was seen is returned.
    Raises InputError if make(N) is no ShallowNet of width N, or `largest` is below 1; otherwise as `newton_step`.
    """
    if not callable(make):
        raise InputError("make", "a function from a width to a ShallowNet", type(make).__name__)
    whole_number("largest", largest)
    g = positive("gamma", gamma)
    seen: dict[int, tuple[str, float, float]] = {}

    def definite(width: int) -> bool:
        if width not in seen:
            net = make(width)
            if type(net) is not ShallowNet or net.width != width:
                raise InputError("make", f"a ShallowNet of width {width} for make({width})", repr(net))
            P = problem(net, X, y, precision=precision, chunk=chunk)
            with memory_guard(P), torch.no_grad():
                r = stream.outputs(P) - P.y
                error: Radii = radii(P, r)
                verdict = certify(P, stream.residual_blocks(P, r), damping(net, g), error).verdict
                seen[width] = verdict, rho_bound(P), net.beta
        return seen[width][0] == "positive definite"

    width, low = 1, 0
    while not definite(width) and width < largest:
        low, width = width, min(2 * width, largest)
    # the first success may be luck of a narrow net: it has to hold at twice the width, too
    while definite(width) and width < largest and not definite(min(2 * width, largest)):
        low, width = min(2 * width, largest), min(4 * width, largest)
        while not definite(width) and width < largest:
            low, width = width, min(2 * width, largest)
    first: int | None = None
    if definite(width):
        first = width
        while first - low > max(1, low // 64):
            middle = (low + first) // 2
            if definite(middle):
                first = middle
            else:
                low = middle
    widest = max(seen)
    _, rho, beta = seen[widest]
    try:
        sufficient = (rho / g) ** (1 / (1 - beta))
    except (OverflowError, ZeroDivisionError):
        sufficient = math.inf
    return RequiredWidth(sufficient, first, tuple((n, seen[n][0]) for n in sorted(seen)))
